/* compress.c: see compress.h. The bodies; heads are changed in compress_head.c.
 *
 * An encoder takes up to 2 MB while its response is under way, so a worker has so many that they stay below
 * COMPRESS_MEMORY; what comes when it is used up goes out, and is stored, as it came. Rejected: waiting for
 * one that ends, since that may be a client that reads slowly; a thread that compresses for all workers,
 * which would need a queue with limits of its own, and copies.
 *
 * The turns: a step is taken if less than one was in this turn and nobody waits. Who may not, is put into a
 * list. The mail that a worker sends itself at the end of such a turn lets the first of them go on, in the
 * turn after, so that events of others always come between two steps. */
#include "proxy/compress.h"

#include <stdlib.h>

#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/compress_head.h"
#include "proxy/deliver.h"
#include "proxy/phase.h"
#include "proxy/upstream.h"

#define COMPRESS_MEMORY ((size_t)128 * MB) /* of all encoders of a worker */
#define FLUSH_AFTER_MS  DEADLINE_TICK_MS

/* Of an exchange whose response is being compressed. Its worker's; ends with it (compress_free), or passes to
 * another (compress_hand_over). */
struct compress {
    struct exchange *exchange;
    struct encoder *encoder; /* NULL: the body has ended */
    enum coding coding;
    bool granted;              /* it is its turn */
    struct list node;          /* compress_worker.waiting */
    struct deadline flush_due; /* set: something waits in the encoder */
    char *tail;                /* the last bytes of a relayed body, or NULL */
    size_t tail_bytes;
};

/* Of a worker, from the first response that is compressed until it ends. */
struct compress_worker {
    struct proxy_worker *pw;
    size_t memory; /* of encoders, by encoder_memory */
    size_t fed;    /* bytes in this turn */
    struct list waiting;
    struct turn_hook hook;
    struct mail mail;
    bool mailed;
    char out[ENCODER_OUT_BYTES];
};

/* ---- turns ---- */

static void on_mail(struct worker *worker, struct mail *m)
{
    struct compress_worker *w = CONTAINER_OF(m, struct compress_worker, mail);
    UNUSED(worker);
    w->mailed = false;
    struct list *n = list_pop_front(&w->waiting);
    if (n == NULL)
        return;
    struct compress *k = CONTAINER_OF(n, struct compress, node);
    k->granted = true;
    worker_at_turn_end(w->pw->worker, &w->hook);
    if (k->exchange->upstream != NULL)
        upstream_resume(k->exchange);
}

static void on_turn_end(struct turn_hook *h)
{
    struct compress_worker *w = CONTAINER_OF(h, struct compress_worker, hook);
    w->fed = 0;
    if (w->mailed || list_empty(&w->waiting))
        return;
    w->mailed = true;
    worker_post(w->pw->worker, &w->mail);
}

static struct compress_worker *worker_of(struct proxy_worker *pw)
{
    struct compress_worker *w = pw->compress;
    if (w != NULL || (w = malloc(sizeof *w)) == NULL)
        return w;
    w->pw = pw;
    w->memory = w->fed = 0;
    w->mailed = false;
    w->mail.on_mail = on_mail;
    w->hook.on_turn_end = on_turn_end;
    list_init(&w->waiting);
    list_init(&w->hook.node);
    pw->compress = w;
    return w;
}

void compress_worker_free(struct proxy_worker *pw)
{
    ASSERT(pw->compress == NULL || (list_empty(&pw->compress->waiting) && pw->compress->memory == 0));
    free(pw->compress);
    pw->compress = NULL;
}

bool compress_wants_pause(struct exchange *x)
{
    struct compress *k = x->compress;
    struct compress_worker *w = x->pw->compress;
    if (k->encoder == NULL || (w->fed < ENCODER_STEP_BYTES && (k->granted || list_empty(&w->waiting))))
        return false;
    k->granted = false;
    if (list_empty(&k->node))
        list_push_back(&w->waiting, &k->node);
    worker_at_turn_end(w->pw->worker, &w->hook);
    return true;
}

/* ---- one body ---- */

static bool put(struct compress *k, const char *in, size_t n, enum encoder_op op, size_t *out)
{
    struct proxy_worker *pw = k->exchange->pw;
    struct compress_worker *w = pw->compress;
    w->fed += n;
    worker_at_turn_end(pw->worker, &w->hook);
    if (!encoder_put(k->encoder, in, n, op, w->out, out))
        return false;
    proxy_count(pw, METRIC_COMPRESS_BYTES_IN, (int64_t)n);
    proxy_count(pw, METRIC_COMPRESS_BYTES_OUT, (int64_t)*out);
    return true;
}

static void encoder_end(struct compress *k)
{
    struct proxy_worker *pw = k->exchange->pw;
    if (k->encoder == NULL)
        return;
    encoder_free(&k->encoder);
    pw->compress->memory -= encoder_memory(k->coding);
    proxy_count(pw, METRIC_COMPRESSIONS_OPEN, -1);
    deadline_clear(pw->worker, &k->flush_due);
    list_remove(&k->node);
}

void compress_free(struct exchange *x)
{
    struct compress *k = x->compress;
    x->compress = NULL;
    encoder_end(k);
    free(k->tail);
    free(k);
}

void compress_hand_over(struct exchange *from, struct exchange *to)
{
    to->compress = from->compress;
    from->compress = NULL;
    to->compress->exchange = to;
}

bool compress_body(struct exchange *x, const char **data, size_t *n)
{
    size_t out;
    if (!put(x->compress, *data, *n, ENCODER_GO, &out))
        return false;
    *data = x->pw->compress->out;
    *n = out;
    return true;
}

/* Into the object. */
static bool store_piece(struct exchange *x, const char *data, size_t n)
{
    if (!phase_store_put(x, data, n))
        return false;
    if (UNLIKELY(x->remote != NULL) && n > 0)
        phase_remote_on_body(x);
    return true;
}

/* The connection of the instance is gone by now, and the client may be full: what is relayed waits for it. */
bool compress_end(struct exchange *x)
{
    struct compress *k = x->compress;
    const char *out = x->pw->compress->out;
    size_t n;
    bool ok = put(k, NULL, 0, ENCODER_END, &n);
    encoder_end(k);
    if (ok && x->filling)
        return store_piece(x, out, n);
    if (ok && x->client != NULL && n > 0) {
        k->tail = malloc(n);
        ok = k->tail != NULL;
        if (ok)
            memcpy(k->tail, out, n);
        k->tail_bytes = ok ? n : 0;
    }
    return ok;
}

slice_t compress_take_tail(struct exchange *x)
{
    struct compress *k = x->compress;
    const slice_t tail = slice_make(k->tail, k->tail_bytes);
    k->tail_bytes = 0;
    return tail;
}

/* ---- what must not wait ---- */

static void flush_later(struct compress *k)
{
    struct worker *w = k->exchange->pw->worker;
    deadline_set(w, &k->flush_due, worker_now_ms(w) + FLUSH_AFTER_MS);
}

void compress_rested(struct exchange *x)
{
    struct compress *k = x->compress;
    if (k->encoder != NULL && encoder_holds(k->encoder) && !deadline_is_set(&k->flush_due))
        flush_later(k);
}

static void on_flush_due(struct deadline *d)
{
    struct compress *k = CONTAINER_OF(d, struct compress, flush_due);
    struct exchange *x = k->exchange;
    size_t n;
    if (x->phase != PHASE_DELIVER || x->upstream == NULL)
        return;
    const bool full = x->client != NULL && (!x->head_sent || client_is_broken(x) || client_is_blocked(x));
    if ((!x->filling && full) || !list_empty(&k->node)) { /* there is more, it only waits for its turn */
        flush_later(k);
        return;
    }
    if (!put(k, NULL, 0, ENCODER_FLUSH, &n))
        exchange_on_upstream_error(x, FETCH_NO_MEMORY);
    else if (!x->filling)
        deliver_relay(x, x->pw->compress->out, n);
    else if (!store_piece(x, x->pw->compress->out, n))
        exchange_on_upstream_error(x, FETCH_NO_MEMORY);
    else
        phase_run(x);
}

/* ---- the beginning ---- */

static bool begin(struct exchange *x, enum coding c)
{
    struct compress_worker *w = worker_of(x->pw);
    if (w == NULL || w->memory + encoder_memory(c) > COMPRESS_MEMORY)
        return false;
    struct compress *k = malloc(sizeof *k);
    if (k == NULL)
        return false;
    *k = (struct compress){.exchange = x, .encoder = encoder_new(c), .coding = c};
    if (k->encoder == NULL) {
        free(k);
        return false;
    }
    list_init(&k->node);
    deadline_init(&k->flush_due, on_flush_due);
    w->memory += encoder_memory(c);
    proxy_count(x->pw, METRIC_COMPRESSIONS_OPEN, 1);
    x->compress = k;
    return true;
}

const struct http_head *compress_response(struct exchange *x, const struct http_head *head)
{
    const enum compress_case what = compress_head_case(x, head);
    if (x->compress != NULL)
        compress_free(x);
    if (what == COMPRESS_NOTHING)
        return head;
    enum coding c =
        what == COMPRESS_BODY ? coding_choose(&x->req, &x->route->config->compress) : CODING_IDENTITY;
    if (c != CODING_IDENTITY && x->req.method != HTTP_HEAD && !begin(x, c)) {
        proxy_count(x->pw, METRIC_COMPRESS_REFUSED, 1);
        c = CODING_IDENTITY;
    }
    const struct http_head *changed = compress_head_change(x, head, c);
    if (changed == NULL && x->compress != NULL)
        compress_free(x);
    if (changed == NULL)
        return head;
    if (c != CODING_IDENTITY)
        x->response_framing.has_length = false;
    if (x->compress != NULL)
        metrics_count_reason(x->pw->worker->metrics, METRICS_REASON_COMPRESSED, c);
    return changed;
}
