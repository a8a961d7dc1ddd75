/* h2_guard.c: see h2_guard.h. What nghttp2 bounds by itself: CONTINUATION frames per head, entries of
 * SETTINGS, answers to PING and SETTINGS that wait to be sent. */
#include "proxy/h2_guard.h"

#include "proxy/listener.h"

#define NOISE_WINDOW_MS   10000
#define NOISE_FREE        500
#define NOISE_PER_REQUEST 8
#define NOISE_PER_PIECE   4   /* of a response, sent as soon as it was there: two windows, and a PING */
#define NOISE_BYTES       512 /* sent, for one more */

static uint64_t noise_allowed(const struct h2_conn *h)
{
    return NOISE_FREE + (uint64_t)h->noise_requests * NOISE_PER_REQUEST +
           (uint64_t)h->noise_pieces * NOISE_PER_PIECE +
           (h->client->bytes_out - h->noise_bytes_out) / NOISE_BYTES;
}

void h2_guard_noise(struct h2_conn *h)
{
    const mono_ms_t now_ms = worker_now_ms(h->client->pw->worker);
    if (h->noise == 0 || now_ms - h->noise_since_ms > NOISE_WINDOW_MS) {
        h->noise = h->noise_requests = h->noise_pieces = 0;
        h->noise_since_ms = now_ms;
        h->noise_bytes_out = h->client->bytes_out;
    }
    if (++h->noise > noise_allowed(h))
        h2_conn_fail(h, NGHTTP2_ENHANCE_YOUR_CALM, CLOSE_H2_FLOOD);
}

void h2_guard_frame(struct h2_conn *h, const nghttp2_frame_hd *hd)
{
    if (hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_RST_STREAM)
        return; /* looked at when it is known what they are */
    if ((hd->type == NGHTTP2_PING || hd->type == NGHTTP2_SETTINGS) && (hd->flags & NGHTTP2_FLAG_ACK) != 0)
        return;
    h2_guard_noise(h);
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
