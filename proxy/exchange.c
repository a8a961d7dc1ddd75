/* exchange.c: making and ending exchanges, and the events that resume them. What to do next is the phases'
 * business. */
#include "proxy/exchange.h"

#include <stdlib.h>

#include "core/metrics.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/affinity.h"
#include "proxy/client_conn.h"
#include "proxy/client_identity.h"
#include "proxy/compress.h"
#include "proxy/fetch_timeout.h"
#include "proxy/grpc.h"
#include "proxy/h2_conn.h"
#include "proxy/hedge.h"
#include "proxy/h2_stream.h"
#include "proxy/mirror.h"
#include "proxy/no_vary.h"
#include "proxy/listener.h"
#include "proxy/own_fetch.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

#define EXCHANGE_FREE_MAX    64
#define EXCHANGE_ARENA_EXTRA (256 * KB) /* beyond the listener's max_header_size, for copies of heads */

static void exchange_on_wait_deadline(struct deadline *d)
{
    struct exchange *x = CONTAINER_OF(d, struct exchange, wait_deadline);
    phase_wait_timeout(x);
}

/* All but what depends on where the request comes from. */
static inline __attribute__((always_inline)) struct exchange *
exchange_create(struct proxy_worker *pw, struct snapshot_view *view, size_t arena_bytes)
{
    struct list *n = list_pop_front(&pw->free_exchanges);
    struct exchange *x = n != NULL ? CONTAINER_OF(n, struct exchange, node) : malloc(sizeof *x);
    if (x == NULL)
        return NULL;
    pw->free_exchange_count -= n != NULL;
    memset(x, 0, offsetof(struct exchange, arena));
    x->magic = EXCHANGE_MAGIC;
    x->pw = pw;
    x->view = snapshot_view_ref(view);
    x->start_us = pw->worker->now_us;
    x->start_wall_ms = pw->worker->now_wall_ms;
    x->response_length = -1;
    deadline_init(&x->wait_deadline, exchange_on_wait_deadline);
    arena_init(&x->arena, x->arena_block, sizeof x->arena_block, arena_bytes);
    list_push_back(&pw->exchanges, &x->node);
    pw->exchange_count++;
    return x;
}

struct exchange *exchange_new(struct proxy_worker *pw, struct client_conn *c)
{
    const struct config_listen *listen = c->listener->config;
    struct exchange *x =
        exchange_create(pw, pw->view, (size_t)listen->max_header_bytes * 3 + EXCHANGE_ARENA_EXTRA);
    if (x == NULL)
        return NULL;
    x->client = c;
    x->listen = listen;
    x->client_ip = client_conn_ip(c);
    x->peer_trusted = c->peer_trusted;
    x->secure = c->tls != NULL;
    proxy_count(pw, METRIC_EXCHANGES_OPEN, 1);
    if (UNLIKELY(x->secure) && !client_identity_take(x)) {
        exchange_free(x);
        return NULL;
    }
    return x;
}

struct exchange *exchange_new_background(const struct exchange *of)
{
    struct exchange *x = exchange_create(of->pw, of->view, of->arena.ceiling_bytes);
    if (x == NULL)
        return NULL;
    x->phase = of->pw->remote != NULL && phase_remote_may_ask(of, of->object) ? PHASE_REMOTE : PHASE_FETCH;
    x->background = true;
    x->route = of->route;
    x->credentials = of->credentials;
    x->peer_trusted = of->peer_trusted;
    x->secure = of->secure;
    x->http2 = of->http2;
    x->certified = of->certified;
    x->identity_fields = of->identity_fields;
    x->req = of->req;
    x->target = of->target;
    x->host = of->host;
    x->client_ip = arena_copy(&x->arena, of->client_ip);
    x->key = (struct cache_key){arena_copy(&x->arena, of->key.text), of->key.hash};
    if (UNLIKELY(of->no_vary != NULL) && !no_vary_copy(x, of))
        x->key.text.ptr = NULL;
    if (UNLIKELY(of->affinity != NULL))
        affinity_copy(x, of);
    if ((of->auth != NULL && !phase_auth_copy(x, of)) || x->client_ip.ptr == NULL ||
        x->key.text.ptr == NULL || !client_identity_copy(x, of->peer) || !exchange_own_head(x)) {
        exchange_free(x);
        return NULL;
    }
    return x;
}

struct exchange *exchange_new_second(const struct exchange *of)
{
    struct exchange *x = exchange_create(of->pw, of->view, of->arena.ceiling_bytes);
    if (x == NULL)
        return NULL;
    list_remove(&x->node); /* who abandons exchanges abandons `of` */
    x->phase = PHASE_FETCH;
    x->background = x->head_owned = true;
    x->route = of->route;
    x->secure = of->secure;
    x->http2 = of->http2;
    x->req = of->req;
    x->target = of->target;
    x->host = of->host;
    x->client_ip = of->client_ip;
    x->conditions_dropped = of->conditions_dropped;
    x->upstream_head = of->upstream_head;
    return x;
}

/* The tries of `of` begin anew. */
static void heir_take_fetch(struct exchange *x, struct exchange *of)
{
    x->flight = of->flight;
    x->instance = of->instance;
    x->stale = of->stale;
    x->filling = of->filling;
    x->fetch_counted = of->fetch_counted;
    upstream_hand_over(of, x);
    if (UNLIKELY(of->compress != NULL))
        compress_hand_over(of, x);
    cache_fill_set_leader(x->flight, x);
    of->flight = NULL;
    of->instance = NULL;
    of->stale = NULL;
    of->filling = of->fetch_counted = of->fresh_only = false;
    of->tries = of->reuse_races = 0;
    of->upstream_head = (slice_t){NULL, 0};
}

struct exchange *exchange_new_heir(struct exchange *of)
{
    ASSERT(of->phase == PHASE_DELIVER && of->flight != NULL && of->upstream != NULL && of->client != NULL);
    struct exchange *x = exchange_create(of->pw, of->view, of->arena.ceiling_bytes);
    if (x == NULL)
        return NULL;
    if ((of->partial != NULL && (x->partial = arena_alloc(&x->arena, sizeof *x->partial)) == NULL) ||
        !phase_remote_inherit(x, of)) {
        exchange_free(x);
        return NULL;
    }
    if (of->partial != NULL)
        *x->partial = *of->partial;
    x->phase = PHASE_DELIVER;
    x->background = x->inherited = true;
    x->head_owned = true; /* the request has been sent; there is none here */
    x->route = of->route;
    x->status = of->status;
    x->response_framing = of->response_framing;
    exchange_set_object(x, of->object, SOURCE_FOLLOW);
    heir_take_fetch(x, of);
    exchange_count_with(x, of);
    return x;
}

void exchange_count_with(struct exchange *x, const struct exchange *of)
{
    ASSERT(x->tally == NULL);
    x->tally = of->tally;
    if (x->tally != NULL) {
        x->tally->refs++;
        x->tally->live++;
    }
}

void exchange_take_fetch(struct exchange *x, struct exchange *of)
{
    ASSERT(x->upstream == NULL && x->instance == NULL && x->last_instance == NULL && !x->fetch_counted);
    if (of->upstream != NULL)
        upstream_hand_over(of, x);
    x->instance = of->instance;
    x->last_instance = of->last_instance;
    x->fetch_counted = of->fetch_counted;
    x->conditions_dropped = of->conditions_dropped;
    x->request_sent = of->request_sent;
    x->response_framing = of->response_framing;
    x->fetch_error = of->fetch_error;
    x->tries = of->tries;
    x->reuse_races = of->reuse_races;
    memcpy(x->tried, of->tried, sizeof x->tried);
    x->sent_wall_ms = of->sent_wall_ms;
    x->fetch_us = of->fetch_us;
    x->connected_us = of->connected_us;
    x->first_byte_us = of->first_byte_us;
    of->instance = of->last_instance = NULL;
    of->fetch_counted = false;
}

struct exchange *exchange_new_mirror(const struct exchange *of, const struct route *route, slice_t head,
                                     slice_t body)
{
    struct exchange *x = exchange_create(of->pw, of->view, of->arena.ceiling_bytes);
    if (x == NULL)
        return NULL;
    x->phase = PHASE_FETCH;
    x->background = x->is_mirror = true;
    x->head_owned = true; /* of its own it has none */
    x->route = route;
    x->req.method = of->req.method;
    x->req.version_minor = of->req.version_minor;
    x->framing = of->framing;
    x->body_state = of->body_state == BODY_ABSENT ? BODY_ABSENT : BODY_DONE;
    x->client_ip = arena_copy(&x->arena, of->client_ip);
    x->upstream_head = arena_copy(&x->arena, head);
    x->replay = arena_copy(&x->arena, body);
    if (x->client_ip.ptr == NULL || x->upstream_head.ptr == NULL || x->replay.ptr == NULL) {
        exchange_free(x);
        return NULL;
    }
    return x;
}

/* What few have: one look at all of it. */
static NOINLINE void exchange_free_rare(struct exchange *x)
{
    if (x->remote != NULL)
        phase_remote_cancel(x);
    if (x->own_fetch != NULL)
        own_fetch_free(x);
    if (x->slices != NULL)
        slices_free(x);
    if (x->timeout != NULL)
        fetch_timeout_end(x);
    if (x->hedge != NULL)
        hedge_free(x);
    if (x->mirror != NULL)
        mirror_drop(x);
    if (x->grpc != NULL)
        grpc_free(x);
    if (x->compress != NULL)
        compress_free(x);
    if (x->tally != NULL) {
        x->tally->live--;
        h2_tally_unref(&x->tally);
    }
}

void exchange_free(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    struct proxy_worker *pw = x->pw;
    ASSERT(x->upstream == NULL && x->instance == NULL && x->flight == NULL);
    deadline_clear(pw->worker, &x->wait_deadline);
    if (UNLIKELY(((uintptr_t)x->remote | (uintptr_t)x->own_fetch | (uintptr_t)x->tally |
                  (uintptr_t)x->slices | (uintptr_t)x->timeout | (uintptr_t)x->hedge | (uintptr_t)x->mirror |
                  (uintptr_t)x->grpc | (uintptr_t)x->compress) != 0))
        exchange_free_rare(x);
    ASSERT(x->queued == NULL);
    if (x->follower != NULL)
        cache_follower_close(&x->follower);
    if (x->object_held)
        cache_object_unref(&x->object);
    if (x->stale != NULL)
        cache_object_unref(&x->stale);
    if (x->last_instance != NULL)
        instance_unref(x->last_instance);
    arena_reset(&x->arena);
    snapshot_view_unref(x->view);
    list_remove(&x->node);
    pw->exchange_count--;
    if (x->client != NULL)
        proxy_count(pw, METRIC_EXCHANGES_OPEN, -1);
    x->magic = 0;
    if (pw->free_exchange_count >= EXCHANGE_FREE_MAX) {
        free(x);
        return;
    }
    list_push_front(&pw->free_exchanges, &x->node);
    pw->free_exchange_count++;
}

void exchange_set_object(struct exchange *x, struct cache_object *o, enum exchange_source source)
{
    x->object = o;
    x->info = cache_object_info(o);
    x->source = (uint8_t)source;
}

static slice_t slice_rebase(slice_t s, const char *from, const char *to, size_t len)
{
    if (s.ptr >= from && s.ptr <= from + len)
        s.ptr = to + (s.ptr - from);
    return s;
}

bool exchange_own_head(struct exchange *x)
{
    if (x->head_owned)
        return true;
    struct http_head *h = &x->req;
    const char *from = h->method_text.ptr;
    const bool came = h->field_count > x->identity_fields; /* with any of its own */
    const struct http_field *last = came ? &h->fields[h->field_count - 1] : NULL;
    const char *end = last != NULL ? last->value.ptr + last->value.len : h->target.ptr + h->target.len;
    size_t len = (size_t)(end - from);
    char *copy = arena_alloc(&x->arena, len + 1);
    struct http_field *fields = arena_alloc(&x->arena, sizeof *fields * (h->field_count + 1u));
    if (copy == NULL || fields == NULL)
        return false;
    memcpy(copy, from, len);
    for (unsigned i = 0; i < h->field_count; i++) {
        fields[i] = h->fields[i];
        fields[i].name = slice_rebase(fields[i].name, from, copy, len);
        fields[i].value = slice_rebase(fields[i].value, from, copy, len);
    }
    h->fields = fields;
    client_identity_retell(x);
    h->method_text = slice_rebase(h->method_text, from, copy, len);
    h->target = slice_rebase(h->target, from, copy, len);
    x->target.scheme = slice_rebase(x->target.scheme, from, copy, len);
    x->target.authority = slice_rebase(x->target.authority, from, copy, len);
    x->target.path = slice_rebase(x->target.path, from, copy, len);
    x->target.query = slice_rebase(x->target.query, from, copy, len);
    x->host = slice_rebase(x->host, from, copy, len);
    x->client_ip = slice_rebase(x->client_ip, from, copy, len);
    x->head_owned = true;
    return true;
}

static bool request_id_is_sane(slice_t id)
{
    if (id.len == 0 || id.len > 128)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = ascii_lower(id.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') &&
            (c == '\0' || strchr("-._~:/+=@", c) == NULL))
            return false;
    }
    return true;
}

static slice_t exchange_make_id(struct exchange *x)
{
    struct proxy_worker *pw = x->pw;
    char *id = arena_alloc(&x->arena, 2 * sizeof pw->id_prefix);
    if (id == NULL)
        return SLICE_EMPTY;
    memcpy(id, pw->id_prefix, sizeof pw->id_prefix);
    text_put_hex16(id + sizeof pw->id_prefix, ++pw->id_counter);
    return slice_make(id, 2 * sizeof pw->id_prefix);
}

slice_t exchange_request_id(struct exchange *x)
{
    if (x->request_id.len > 0)
        return x->request_id;
    const struct http_field *f = NULL;
    if (x->client != NULL && x->client->peer_trusted)
        f = http_head_get(&x->req, HTTP_FIELD_X_REQUEST_ID);
    if (f != NULL && request_id_is_sane(f->value))
        x->request_id = arena_copy(&x->arena, f->value);
    else
        x->request_id = exchange_make_id(x);
    if (x->request_id.ptr == NULL)
        x->request_id = SLICE_EMPTY;
    return x->request_id;
}

void exchange_detach_client(struct exchange *x)
{
    slice_t ip = arena_copy(&x->arena, x->client_ip);
    x->client_ip = ip.ptr != NULL ? ip : SLICE_EMPTY;
    x->client = NULL;
    x->stream = NULL;
    x->listen = NULL; /* the connection's, not of `view` */
    proxy_count(x->pw, METRIC_EXCHANGES_OPEN, -1);
    x->end_us = x->pw->worker->now_us;
}

void exchange_client_gone(struct exchange *x, enum close_reason why)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    exchange_detach_client(x);
    x->keep_alive = false;
    if (x->close_reason == CLOSE_OPEN)
        x->close_reason = (uint8_t)why;
    phase_client_gone(x);
}

void exchange_on_client_writable(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase == PHASE_DELIVER)
        phase_run(x);
    else if (x->phase == PHASE_TUNNEL)
        tunnel_on_client_writable(x);
}

void exchange_on_client_readable(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->phase == PHASE_FETCH || x->phase == PHASE_DELIVER)
        fetch_pump_body(x);
    else if (x->phase == PHASE_TUNNEL)
        phase_run(x);
}

size_t exchange_stream_room(const struct exchange *x, size_t most)
{
    const size_t room = x->stream != NULL ? MIN(most, h2_stream_room(x->stream)) : most;
    return exchange_piece_room(x, room);
}
