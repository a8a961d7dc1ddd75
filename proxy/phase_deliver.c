/* phase_deliver.c: the body on its way to the client, from wherever it comes. Nothing is produced while the
 * client connection has output waiting; being called again is exchange_on_client_writable's work. */
#include "core/metrics.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/client.h"
#include "proxy/compress.h"
#include "proxy/deliver.h"
#include "proxy/deliver_range.h"
#include "proxy/error_page.h"
#include "proxy/mirror.h"
#include "proxy/own_fetch.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"
#include "proxy/upstream.h"

#define BATCH_MAX_BYTES (64 * KB) /* pipelined answers gathered before a write */
#define PUMP_IOV        32

static enum phase_result deliver_done(struct exchange *x)
{
    phase_set(x, PHASE_LOG);
    return PHASE_MORE;
}

/* What is served must outlive this call: the client could not take all of it. */
static enum phase_result deliver_park(struct exchange *x)
{
    if (x->follower != NULL)
        cache_follower_set_stalled(x->follower);
    if (x->source == SOURCE_OBJECT && !x->object_held) {
        cache_object_ref(x->object);
        x->object_held = true;
    }
    return PHASE_PARK;
}

/* The client has its whole answer, but the fetch goes on for the cache: let it go. */
static enum phase_result deliver_detach(struct exchange *x)
{
    struct client_conn *c = x->client;
    struct h2_stream *s = x->stream;
    exchange_detach_client(x);
    if (x->follower != NULL)
        cache_follower_close(&x->follower);
    if (s != NULL)
        h2_stream_exchange_done(s);
    else
        client_conn_exchange_done(c, x->keep_alive);
    return PHASE_PARK;
}

/* May the answer wait in the batch for the next pipelined one, although this exchange ends before the write?
 * Only when all its pieces outlive it: those of an object that is merely borrowed, in the RCU section of
 * h1_server_run. What lies in the arena (a head with edits, a 304, trailers, tags that are shown), or in an
 * object we or our follower hold, does not. */
static bool deliver_may_gather(const struct exchange *x)
{
    const struct client_conn *c = x->client;
    return c->running && c->in_len > 0 && c->pw->out.bytes <= BATCH_MAX_BYTES && x->source == SOURCE_OBJECT &&
           !x->object_held && x->status == x->info.status && x->status != 206 && !x->route->edits_response &&
           !http_head_has(&x->req, HTTP_FIELD_FASTLY_DEBUG);
}

static NOINLINE enum phase_result deliver_finish_stream(struct exchange *x)
{
    if (!x->end_sent)
        h2_stream_finish(x->stream, x->source == SOURCE_RELAY ? x->trailers : SLICE_EMPTY);
    x->end_sent = true;
    if (!client_flush(x))
        return deliver_park(x);
    return x->upstream != NULL ? deliver_detach(x) : deliver_done(x);
}

/* Everything was handed over: mark the end, and write it unless more pipelined answers may join the batch. */
static enum phase_result deliver_finish(struct exchange *x)
{
    struct client_conn *c = x->client;
    if (UNLIKELY(x->stream != NULL))
        return deliver_finish_stream(x);
    if (x->out_framing == FRAME_CHUNKED && !x->end_sent) {
        TEXT_LIT_OUT(c, "0\r\n");
        client_out_add(c, x->trailers.ptr, x->source == SOURCE_RELAY ? x->trailers.len : 0, NULL);
        TEXT_LIT_OUT(c, "\r\n");
    }
    x->end_sent = true;
    if (!deliver_may_gather(x) && !client_out_flush(c))
        return deliver_park(x);
    if (x->upstream != NULL)
        return deliver_detach(x);
    return deliver_done(x);
}

/* The body ends broken: what there is goes out, the end is not marked, the connection closes. */
static enum phase_result deliver_cut(struct exchange *x)
{
    x->keep_alive = false;
    const bool behind = UNLIKELY(x->own_fetch != NULL) && x->own_fetch->state != OWN_FETCH_RELAYS;
    x->close_reason = behind ? CLOSE_LEFT_BEHIND : CLOSE_UPSTREAM_CUT;
    if (x->client != NULL && !client_cut(x))
        return deliver_park(x);
    return deliver_done(x);
}

size_t deliver_step(const struct exchange *x, struct iovec *iov, size_t *n)
{
    size_t step = SIZE_MAX, bytes = 0;
    if (x->source == SOURCE_FOLLOW)
        step = UNLIKELY(cache_follower_in_window(x->follower)) ? DELIVER_STEP_LEAST : DELIVER_STEP_FOLLOW;
    if (x->source == SOURCE_FOLLOW && x->stream != NULL)
        step = h2_stream_room(x->stream);
    for (size_t i = 0; i < *n; i++) {
        iov[i].iov_len = MIN(iov[i].iov_len, step - bytes);
        bytes += iov[i].iov_len;
        if (bytes == step)
            *n = i + 1;
    }
    return bytes;
}

static NOINLINE bool pump_to_stream(struct exchange *x, struct iovec *iov, size_t n)
{
    if (!h2_stream_ready(x->stream))
        return false;
    const size_t total = deliver_step(x, iov, &n);
    for (size_t i = 0; i < n; i++)
        h2_stream_add(x->stream, iov[i].iov_base, iov[i].iov_len, x->object);
    x->offset += total;
    x->response_bytes += total;
    return true;
}

/* Adds what the object has from the offset on. false: the client cannot take more now. */
static bool pump_object(struct exchange *x)
{
    struct client_conn *c = x->client;
    struct iovec iov[PUMP_IOV];
    if (UNLIKELY(x->range != NULL))
        return deliver_range_pump(x);
    size_t n = cache_object_iov(x->object, x->offset, iov, PUMP_IOV), total = 0;
    for (size_t i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (UNLIKELY(total > DELIVER_STEP_LEAST))
        total = deliver_step(x, iov, &n);
    if (total == 0)
        return true;
    if (UNLIKELY(x->stream != NULL))
        return pump_to_stream(x, iov, n);
    if (!client_out_ready(c, (unsigned)n + 2, 32))
        return false;
    if (x->out_framing == FRAME_CHUNKED) {
        char *head = client_out_reserve(c, 32);
        client_out_commit(c, h1_chunk_head(head, total));
    }
    for (size_t i = 0; i < n; i++)
        client_out_add(c, iov[i].iov_base, iov[i].iov_len, x->object);
    if (x->out_framing == FRAME_CHUNKED)
        TEXT_LIT_OUT(c, "\r\n");
    x->offset += total;
    x->response_bytes += total;
    return true;
}

static enum phase_result deliver_object(struct exchange *x)
{
    uint64_t length = cache_object_filled(x->object);
    while (!x->body_suppressed && x->offset < length) {
        if (!pump_object(x))
            return deliver_park(x);
    }
    return deliver_finish(x);
}

static enum phase_result deliver_follow(struct exchange *x)
{
    if (x->body_suppressed)
        return deliver_finish(x);
    cache_follower_set_offset(x->follower, x->offset); /* nothing waits: all of it is out */
    for (;;) {
        bool complete = cache_object_is_complete(x->object);
        bool cut = x->body_cut || cache_follower_is_cut(x->follower);
        while (x->offset < cache_object_filled(x->object)) {
            if (!pump_object(x) || !client_flush(x))
                return deliver_park(x);
            cache_follower_set_offset(x->follower, x->offset);
        }
        if (complete || (x->range != NULL && deliver_range_is_done(x->range)))
            return deliver_finish(x);
        if (cut) {
            if (x->no_store == NO_STORE_STORED)
                x->no_store = NO_STORE_INCOMPLETE;
            return deliver_cut(x);
        }
        if (!client_flush(x))
            return deliver_park(x);
        if (x->upstream != NULL || cache_follower_arm(x->follower, x->offset))
            return PHASE_PARK;
    }
}

static enum phase_result deliver_local(struct exchange *x)
{
    if (x->offset == 0 && x->local_body.len > 0 && !x->body_suppressed) {
        if (!client_ready(x, 2, 0))
            return PHASE_PARK;
        client_add(x, x->local_body.ptr, x->local_body.len, NULL);
        x->offset = x->local_body.len;
        x->response_bytes = x->local_body.len;
    }
    /* The page lies in this exchange's arena: it must be out, or copied, before the exchange ends. */
    if (!client_flush(x))
        return PHASE_PARK;
    return deliver_finish(x);
}

/* A piece of a relayed body. */
static inline void relay_add(struct exchange *x, const char *data, size_t n)
{
    struct client_conn *c = x->client;
    if (x->out_framing == FRAME_CHUNKED) {
        char *head = client_out_reserve(c, 32);
        client_out_commit(c, h1_chunk_head(head, n));
    }
    client_out_add(c, data, n, NULL);
    if (x->out_framing == FRAME_CHUNKED)
        TEXT_LIT_OUT(c, "\r\n");
    x->response_bytes += n;
}

/* What compressing kept until the end. false: the client cannot take it now. */
static NOINLINE bool deliver_tail_of_relay(struct exchange *x)
{
    if (!client_ready(x, 4, 32))
        return false;
    const slice_t tail = compress_take_tail(x);
    if (tail.len == 0 || x->body_suppressed)
        return true;
    if (x->stream == NULL) {
        relay_add(x, tail.ptr, tail.len);
    } else {
        client_add(x, tail.ptr, tail.len, NULL);
        x->response_bytes += tail.len;
    }
    return true;
}

static enum phase_result deliver_from_relay(struct exchange *x)
{
    if (x->body_cut)
        return deliver_cut(x);
    if (x->upstream_done && UNLIKELY(x->compress != NULL) && !deliver_tail_of_relay(x))
        return PHASE_PARK;
    if (x->upstream_done)
        return client_flush(x) ? deliver_finish(x) : PHASE_PARK;
    if (x->body_suppressed && x->upstream != NULL && x->conditions_dropped)
        phase_fetch_release(x, FETCH_NONE);
    if (x->upstream == NULL)
        return x->own_fetch != NULL && own_fetch_is_due(x) ? PHASE_MORE : deliver_finish(x);
    if (upstream_is_paused(x))
        upstream_resume(x);
    return PHASE_PARK;
}

static NOINLINE enum phase_result deliver_slices(struct exchange *x)
{
    switch (slices_pump(x)) {
    case SLICES_DONE:
        return deliver_finish(x);
    case SLICES_PARK:
        return deliver_park(x);
    case SLICES_CUT:
        break;
    }
    return deliver_cut(x);
}

enum phase_result phase_deliver(struct exchange *x)
{
    if (x->client == NULL)
        return x->upstream != NULL ? PHASE_PARK : deliver_done(x);
    if (x->head_sent) {
        if (client_is_broken(x) || client_is_blocked(x))
            return deliver_park(x);
    } else {
        if (x->body_cut && x->offset == 0 && x->source == SOURCE_RELAY)
            return deliver_cut(x);
        if (!client_ready(x, 4, 12 * KB))
            return deliver_park(x);
        if (!deliver_head(x)) {
            client_break(x);
            return deliver_park(x);
        }
    }
    switch ((enum exchange_source)x->source) {
    case SOURCE_OBJECT:
        return deliver_object(x);
    case SOURCE_FOLLOW:
        return deliver_follow(x);
    case SOURCE_SLICES:
        return deliver_slices(x);
    case SOURCE_LOCAL:
        return deliver_local(x);
    case SOURCE_RELAY:
        return deliver_from_relay(x);
    case SOURCE_TUNNEL:
        if (!client_flush(x))
            return PHASE_PARK;
        phase_set(x, PHASE_TUNNEL);
        return PHASE_MORE;
    case SOURCE_NONE:
        break;
    }
    PANIC("delivery without a source");
}

static NOINLINE void relay_to_stream(struct exchange *x, const char *data, size_t n)
{
    if (client_is_broken(x))
        return;
    ASSERT(x->head_sent && !client_is_blocked(x));
    client_add(x, data, n, NULL);
    x->response_bytes += n;
    client_flush(x);
}

void deliver_relay(struct exchange *x, const char *data, size_t n)
{
    struct client_conn *c = x->client;
    if (c == NULL && x->is_mirror)
        mirror_discard(x, n);
    if (c == NULL || x->source != SOURCE_RELAY || x->body_suppressed || n == 0)
        return;
    if (UNLIKELY(x->stream != NULL)) {
        relay_to_stream(x, data, n);
        return;
    }
    if (c->broken)
        return;
    ASSERT(x->head_sent && !client_out_is_blocked(c));
    ASSERT(client_out_ready(c, 4, 32)); /* the batch holds this answer's head at most */
    relay_add(x, data, n);
    if (!client_out_flush(c) && c->broken)
        phase_run(x); /* ends it: nobody reads this any more, and no event of the client need follow */
}

void deliver_refuse(struct exchange *x, unsigned status, const char *detail)
{
    struct error_page page = error_page_make(&x->arena, &x->req, status, detail, exchange_request_id(x));
    if (x->follower != NULL)
        cache_follower_close(&x->follower);
    x->status = (uint16_t)status;
    x->source = SOURCE_LOCAL;
    x->local_type = page.type;
    x->local_body = page.body.ptr == NULL ? SLICE_EMPTY : page.body;
    x->response_length = (int64_t)x->local_body.len;
}
