/* h2_guard.c: see h2_guard.h. What nghttp2 bounds by itself: CONTINUATION frames per head, entries of
 * SETTINGS, answers to PING and SETTINGS that wait to be sent. */
#include "proxy/h2_guard.h"

#include "proxy/listener.h"

#define NOISE_FREE        500 /* and as many again in ten seconds */
#define NOISE_MOST        20000
#define NOISE_MS          20 /* for one more */
#define NOISE_PER_REQUEST 10 /* its head, its trailers or the end of its body, and eight */
#define NOISE_PER_DATA    4  /* the windows of its stream and of the connection, and a PING */
#define NOISE_PER_PAGE    2  /* the same windows for each page: Go's client gives back what each read took */
#define NOISE_PAGE_BYTES  4096
#define NOISE_OVER        64  /* frames of DATA for streams that are over, for one */
#define NOISE_DATA_BYTES  256 /* smaller frames are what windows of few bytes are answered with */

static void earn(struct h2_conn *h, uint32_t n)
{
    h->noise_left = MIN(h->noise_left + n, NOISE_MOST);
}

void h2_guard_begin(struct h2_conn *h)
{
    h2_walk_begin(&h->walk);
    h->noise_left = NOISE_FREE;
    h->noise_ms = worker_now_ms(h->client->pw->worker);
}

void h2_guard_request(struct h2_conn *h)
{
    earn(h, NOISE_PER_REQUEST);
}

void h2_guard_sent_data(struct h2_conn *h, size_t bytes, bool all)
{
    if (all || bytes >= NOISE_DATA_BYTES)
        earn(h, NOISE_PER_DATA + NOISE_PER_PAGE * (uint32_t)(bytes / NOISE_PAGE_BYTES));
}

void h2_guard_noise(struct h2_conn *h, unsigned frames)
{
    const dur_ms_t passed_ms = worker_now_ms(h->client->pw->worker) - h->noise_ms;
    if (h->noise_left < NOISE_FREE)
        h->noise_left = (uint32_t)MIN(h->noise_left + passed_ms / NOISE_MS, NOISE_FREE);
    h->noise_ms += passed_ms - passed_ms % NOISE_MS;
    if (h->noise_left < frames)
        h2_conn_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, CLOSE_H2_FLOOD);
    else
        h->noise_left -= frames;
}

void h2_guard_data(struct h2_conn *h)
{
    h->walk.data -= h->walk.data > 0;
}

/* What was begun and not shown was thrown away, but for the last, which may not have come whole. */
void h2_guard_came(struct h2_conn *h, unsigned noise)
{
    unsigned over = 0;
    if (UNLIKELY(h->walk.data > NOISE_OVER)) {
        over = (h->walk.data - 1) / NOISE_OVER;
        h->walk.data -= over * NOISE_OVER;
    }
    h2_guard_noise(h, noise + over);
}

void h2_guard_reset(struct h2_conn *h)
{
    const struct config_listen *l = h->client->listener->config;
    const int64_t now_us = h->client->pw->worker->now_us;
    proxy_count(h->client->pw, METRIC_H2_RESETS, 1);
    if (l->h2_max_resets.amount == 0)
        return;
    const int64_t room_us = (int64_t)l->h2_max_resets.per_s * 1000000,
                  step_us = room_us / l->h2_max_resets.amount;
    h->resets_paid_us = MAX(h->resets_paid_us, now_us) + step_us;
    if (h->resets_paid_us - now_us > room_us)
        h2_conn_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, CLOSE_H2_RESETS);
}
