/* phase.c: the driver, and the phases that need no event: accept and route. */
#include "proxy/phase.h"

#include <stdlib.h>

#include "core/http_field.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "core/text.h"
#include "proxy/affinity.h"
#include "proxy/client.h"
#include "proxy/client_conn.h"
#include "proxy/client_identity.h"
#include "proxy/fetch_queue.h"
#include "proxy/error_page.h"
#include "proxy/grpc.h"
#include "proxy/listener.h"
#include "proxy/proxy_worker.h"
#include "proxy/purge.h"
#include "proxy/split.h"
#include "proxy/to_https.h"
#include "proxy/tunnel.h"
#include "proxy/upstream.h"

#define LOCATION_MAX (16 * KB)

static enum phase_result (*const phase_table[PHASE_COUNT])(struct exchange *x) = {
#define X(id, fn) phase_##fn,
    PHASES(X)
#undef X
};

void phase_set(struct exchange *x, enum phase_id to)
{
    static const uint16_t legal[PHASE_COUNT] = {
        [PHASE_ACCEPT] = 1u << PHASE_ROUTE | 1u << PHASE_DELIVER,
        [PHASE_ROUTE] = 1u << PHASE_LIMIT | 1u << PHASE_AUTH | 1u << PHASE_LOOKUP | 1u << PHASE_DELIVER,
        [PHASE_LIMIT] = 1u << PHASE_AUTH | 1u << PHASE_LOOKUP | 1u << PHASE_DELIVER,
        [PHASE_AUTH] = 1u << PHASE_LOOKUP | 1u << PHASE_DELIVER,
        [PHASE_LOOKUP] = 1u << PHASE_WAIT | 1u << PHASE_SLICES | 1u << PHASE_REMOTE | 1u << PHASE_FETCH |
                         1u << PHASE_DELIVER,
        [PHASE_WAIT] = 1u << PHASE_LOOKUP | 1u << PHASE_FETCH | 1u << PHASE_DELIVER | 1u << PHASE_LOG,
        [PHASE_SLICES] = 1u << PHASE_LOOKUP | 1u << PHASE_FETCH | 1u << PHASE_DELIVER | 1u << PHASE_LOG,
        [PHASE_REMOTE] = 1u << PHASE_FETCH | 1u << PHASE_LOOKUP | 1u << PHASE_DELIVER | 1u << PHASE_LOG,
        [PHASE_FETCH] = 1u << PHASE_DELIVER | 1u << PHASE_LOOKUP | 1u << PHASE_LOG,
        [PHASE_DELIVER] = 1u << PHASE_TUNNEL | 1u << PHASE_LOG | 1u << PHASE_FETCH, /* own_fetch.h */
        [PHASE_TUNNEL] = 1u << PHASE_LOG,
        [PHASE_LOG] = 0,
    };
    ASSERT((legal[x->phase] >> to) & 1);
    x->phase = (uint8_t)to;
}

void phase_run(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->run_again = true;
    if (x->running)
        return;
    enum phase_result r = PHASE_MORE;
    x->running = true;
    rcu_enter();
    while (r == PHASE_MORE || (r == PHASE_PARK && x->run_again)) {
        x->run_again = false;
        r = phase_table[x->phase](x);
        if (r == PHASE_PARK && !exchange_own_head(x) && x->client != NULL)
            client_break(x);
    }
    rcu_leave();
    if (r == PHASE_DONE)
        return;
    x->running = false;
    struct client_conn *c = x->client;
    if (c != NULL && !c->running && c->broken)
        client_conn_close(c, CLOSE_CLIENT_ABORTED);
}

static void exchange_drop_fetch(struct exchange *x)
{
    phase_fetch_release(x, FETCH_CANCELLED);
    fetch_queue_leave(x);
    phase_limit_cancel(x);
    phase_auth_cancel(x);
    phase_remote_cancel(x);
    if (x->flight != NULL)
        x->no_store = NO_STORE_ABANDONED;
    if (x->flight != NULL && x->filling)
        cache_fill_abort(&x->flight);
    else if (x->flight != NULL)
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
}

bool phase_fetch_is_wanted(struct exchange *x)
{
    if (x->is_mirror)
        return true;
    if (x->flight == NULL || x->upstream == NULL)
        return false;
    if (x->filling)
        return !cache_fill_is_unwanted(x->flight);
    return cache_flight_has_followers(x->flight);
}

void phase_client_gone(struct exchange *x)
{
    deadline_clear(x->pw->worker, &x->wait_deadline);
    if (x->follower != NULL)
        cache_follower_close(&x->follower);
    if (x->phase == PHASE_LOG)
        return;
    if (x->phase == PHASE_WAIT || x->phase == PHASE_SLICES) {
        x->verdict = VERDICT_COLLAPSED;
        x->no_store = NO_STORE_ABANDONED;
    }
    if (phase_fetch_is_wanted(x)) {
        upstream_resume(x);
        return;
    }
    if (x->phase == PHASE_TUNNEL && tunnel_outlives_client(x))
        return;
    exchange_drop_fetch(x);
    if (x->phase != PHASE_WAIT && x->phase != PHASE_SLICES && x->phase != PHASE_REMOTE &&
        x->phase != PHASE_FETCH && x->phase != PHASE_DELIVER && x->phase != PHASE_TUNNEL)
        phase_set(x, PHASE_DELIVER);
    phase_set(x, PHASE_LOG);
    phase_run(x);
}

void exchange_abandon(struct exchange *x)
{
    ASSERT(x->client == NULL);
    exchange_drop_fetch(x);
    phase_set(x, PHASE_LOG);
    phase_run(x);
}

/* ---- our own answers ---- */

enum phase_result phase_answer(struct exchange *x, unsigned status, slice_t type, slice_t body)
{
    if (status / 100 == 2 && UNLIKELY(tunnel_is_connect(x)))
        return phase_answer_error(x, 403, "there is no WebSocket here");
    x->status = (uint16_t)status;
    x->source = SOURCE_LOCAL;
    x->local_type = type;
    x->local_body = body;
    x->response_length = (int64_t)body.len;
    phase_set(x, PHASE_DELIVER);
    return PHASE_MORE;
}

enum phase_result phase_answer_error(struct exchange *x, unsigned status, const char *detail)
{
    if (UNLIKELY(x->grpc != NULL)) {
        grpc_answer(x, status, detail);
        return PHASE_MORE;
    }
    struct error_page page = error_page_make(&x->arena, &x->req, status, detail, exchange_request_id(x));
    return phase_answer(x, status, page.type, page.body.ptr == NULL ? SLICE_EMPTY : page.body);
}

bool exchange_client_addr(const struct exchange *x, struct net_addr *out)
{
    char text[NET_ADDR_TEXT];
    slice_t ip = x->client_ip;
    bool v6 = slice_find(ip, ':', 0) != SIZE_MAX;
    struct text t = text_make(text, sizeof text);
    text_put(&t, v6 ? SLICE_LIT("[") : SLICE_EMPTY);
    text_put(&t, ip);
    text_put(&t, v6 ? SLICE_LIT("]:0") : SLICE_LIT(":0"));
    return net_addr_parse(text_slice(&t), out);
}

bool exchange_client_in(const struct exchange *x, const struct config_cidrs *list)
{
    struct net_addr a = {.len = sizeof a.un};
    if (!exchange_client_addr(x, &a))
        a.sa.sa_family = AF_UNIX;
    return net_cidr_match(list->items, list->count, &a);
}

/* ---- accept ---- */

static enum phase_result accept_refuse(struct exchange *x, unsigned status, const char *detail)
{
    proxy_count(x->pw, METRIC_BAD_REQUESTS, 1);
    x->keep_alive = false;
    if (x->close_reason == CLOSE_OPEN || x->close_reason == CLOSE_NO_KEEP_ALIVE)
        x->close_reason = CLOSE_BAD_REQUEST;
    return phase_answer_error(x, status, detail);
}

/* What a client takes back in Connection does not reach the instance; so it must not choose the route, the
 * key or the variant either. */
static void accept_connection(struct exchange *x)
{
    const struct http_field *f = http_head_get(&x->req, HTTP_FIELD_CONNECTION);
    if (!slice_ieq(f->value, SLICE_LIT("keep-alive")) || http_head_count(&x->req, HTTP_FIELD_CONNECTION) > 1)
        http_head_drop_named_by_connection(&x->req);
}

static bool accept_expect(struct exchange *x)
{
    const struct http_field *f = http_head_get(&x->req, HTTP_FIELD_EXPECT);
    if (f == NULL || x->req.version_minor == 0)
        return true;
    x->expects_continue = x->body_state == BODY_UNREAD;
    return slice_ieq(f->value, SLICE_LIT("100-continue"));
}

/* Behind trusted proxies the client is the first address of X-Forwarded-For, from the right, that is none of
 * theirs. */
static void accept_forwarded_for(struct exchange *x)
{
    const struct config_cidrs *trusted = &x->view->shared->config->main.trusted_proxies;
    for (unsigned i = x->req.field_count; i-- > 0;) {
        if (x->req.fields[i].id != HTTP_FIELD_X_FORWARDED_FOR)
            continue;
        slice_t list = x->req.fields[i].value;
        while (list.len > 0) {
            size_t comma = list.len;
            while (comma > 0 && list.ptr[comma - 1] != ',')
                comma--;
            slice_t ip = slice_trim(slice_make(list.ptr + comma, list.len - comma));
            struct net_cidr parsed;
            if (!net_cidr_parse(ip, &parsed) || parsed.bits != 128 || parsed.is_unix)
                return;
            x->client_ip = ip;
            if (!exchange_client_in(x, trusted))
                return;
            list.len = comma > 0 ? comma - 1 : 0;
        }
    }
}

enum phase_result phase_accept(struct exchange *x)
{
    const struct http_field *host = http_head_get(&x->req, HTTP_FIELD_HOST);
    enum h1_error e = h1_request_framing(&x->req, &x->framing);
    if (e == H1_OK)
        e = h1_target_split(&x->req, &x->target);
    if (e != H1_OK)
        return accept_refuse(x, h1_error_status(e), h1_error_text(e));
    if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_CONNECTION)))
        accept_connection(x);
    if (UNLIKELY(x->peer != NULL || x->view->shared->config->reads_identity) && !client_identity_tell(x))
        return accept_refuse(x, 503, "out of memory");
    x->keep_alive = x->framing.keep_alive && !x->pw->draining;
    if (!x->keep_alive)
        x->close_reason = x->framing.keep_alive ? CLOSE_SHUTDOWN : CLOSE_NO_KEEP_ALIVE;
    x->host = x->target.authority.len > 0 ? x->target.authority : host != NULL ? host->value : SLICE_EMPTY;
    if (UNLIKELY(x->stream != NULL))
        h2_stream_frame_body(x->stream, &x->framing);
    x->body_left = x->framing.kind == H1_BODY_LENGTH ? x->framing.length : 0;
    if (UNLIKELY(x->client->peer_trusted))
        accept_forwarded_for(x);
    bool has_body = x->framing.kind == H1_BODY_CHUNKED || x->body_left > 0;
    x->body_state = has_body ? BODY_UNREAD : BODY_ABSENT;
    if (UNLIKELY(x->body_left > (uint64_t)x->listen->max_body_bytes))
        return accept_refuse(x, 413, "the request body is larger than max_body_size");
    if (UNLIKELY(http_head_has(&x->req, HTTP_FIELD_EXPECT)) && !accept_expect(x))
        return accept_refuse(x, 417, "only Expect: 100-continue is understood");
    if (UNLIKELY(x->req.method == HTTP_CONNECT))
        return accept_refuse(x, 501, "CONNECT is not supported");
    if (UNLIKELY(x->req.method == HTTP_TRACE))
        return phase_answer_error(x, 405, "TRACE is not allowed");
    phase_set(x, PHASE_ROUTE);
    return PHASE_MORE;
}

/* ---- route ---- */

static bool route_allows(const struct exchange *x)
{
    const struct config_route *r = x->route->config;
    if (r->deny.count > 0 && exchange_client_in(x, &r->deny))
        return false;
    return r->allow.count == 0 || exchange_client_in(x, &r->allow);
}

static enum phase_result route_redirect(struct exchange *x)
{
    const struct config_route *r = x->route->config;
    size_t bound = strlen(r->redirect_target) + 1;
    for (const char *p = r->redirect_target; (p = strchr(p, '$')) != NULL; p++)
        bound += x->host.len + x->req.target.len;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return phase_answer_error(x, 503, "out of memory");
    struct text t = text_make(buf, bound);
    for (const char *p = r->redirect_target; *p != '\0';) {
        if (strncmp(p, "$uri", 4) == 0) {
            text_put(&t, x->target.path);
            if (x->target.query.ptr != NULL) {
                text_put_char(&t, '?');
                text_put(&t, x->target.query);
            }
            p += 4;
        } else if (strncmp(p, "$host", 5) == 0) {
            text_put(&t, x->host);
            p += 5;
        } else {
            text_put_char(&t, *p++);
        }
    }
    x->location = text_slice(&t);
    if (x->location.len > LOCATION_MAX)
        return phase_answer_error(x, 414, "the address to redirect to would be too long");
    return phase_answer_error(x, (unsigned)r->redirect_status, "The page is at another address.");
}

static inline enum phase_result route_look_up(struct exchange *x)
{
    if (x->target.path.len == 1 && x->target.path.ptr[0] == '*')
        return phase_answer(x, 200, SLICE_EMPTY, SLICE_EMPTY);
    phase_set(x, PHASE_LOOKUP);
    return PHASE_MORE;
}

void phase_route_drop(struct exchange *x)
{
    const struct route *r = x->route;
    const bool files = r->config->root[0] != '\0';
    uint64_t fields = files || (r->auth != NULL && !r->tells_user) ? HTTP_BIT(AUTHORIZATION) : 0;
    if (files && r->config->key.cookies.count == 0 && r->config->bypass_cookie[0] == '\0')
        fields |= HTTP_BIT(COOKIE);
    http_head_drop(&x->req, fields);
}

enum phase_result phase_route_go_on(struct exchange *x)
{
    const struct config_route *r = x->route->config;
    if (x->route->auth != NULL && x->phase != PHASE_AUTH) {
        phase_set(x, PHASE_AUTH);
        return PHASE_MORE;
    }
    phase_route_drop(x);
    if (r->root[0] != '\0' && x->req.method != HTTP_GET && x->req.method != HTTP_HEAD)
        return phase_answer_error(x, 405, "This page can be read, and nothing else.");
    if (r->redirect_status != 0)
        return route_redirect(x);
    if (r->respond_status != 0)
        return phase_answer(x, (unsigned)r->respond_status, SLICE_LIT("text/plain; charset=utf-8"),
                            slice_str(r->respond_text));
    if (UNLIKELY(x->route->split != NULL)) {
        split_choose(x);
        proxy_count(x->pw, METRIC_SPLIT_CANARY, x->route->stable != NULL);
    }
    if (x->route->has_affinity)
        affinity_read(x);
    return route_look_up(x);
}

static enum phase_result route_not_plain(struct exchange *x)
{
    if (!route_allows(x))
        return phase_answer_error(x, 403, "this address is not allowed here");
    if (x->route->rate.step_ns == 0)
        return phase_route_go_on(x);
    phase_set(x, PHASE_LIMIT);
    return PHASE_MORE;
}

enum phase_result phase_route(struct exchange *x)
{
    enum phase_result diverted;
    if (UNLIKELY(x->listen->diverts) && to_https_answers(x, &diverted))
        return diverted;
    const struct route_request rr = {x->host, route_path_normalise(&x->arena, x->target.path), &x->req};
    if (rr.path.ptr == NULL)
        return phase_answer_error(x, 503, "out of memory");
    x->route = route_match(x->view->shared, &rr);
    if (UNLIKELY(purge_is_asked(x)))
        return purge_answer(x);
    if (x->route == NULL)
        return phase_answer_error(x, 404, "no route of this server matches the request");
    return LIKELY(x->route->is_plain) ? route_look_up(x) : route_not_plain(x);
}
