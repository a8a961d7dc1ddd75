/* forward.c: see forward.h. Heads are built in one pass into arena memory sized by an upper bound. */
#include "proxy/forward.h"

#include "cache/storable.h"
#include "cache/tags.h"
#include "core/http_date.h"
#include "core/http_field.h"
#include "core/text.h"
#include "proxy/assets.h"
#include "proxy/client_conn.h"
#include "proxy/client_identity.h"
#include "proxy/exchange.h"
#include "proxy/fold.h"
#include "proxy/own_fetch.h"
#include "proxy/partial.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/tags.h"
#include "proxy/tunnel.h"
#include "proxy/unkeyed.h"

#define VIA_TEXT       "1.1 millpond"
#define VIA_TEXT_2     "2.0 millpond" /* by which protocol it came here */
#define OWN_FIELDS_MAX 1024           /* what we add, host and client address aside */
#define REQUEST_ID_MAX 128            /* a trusted one; see exchange_request_id */

static size_t head_bound(const struct http_head *h)
{
    size_t bytes = h->method_text.len + h->target.len + h->reason.len + 32;
    for (unsigned i = 0; i < h->field_count; i++)
        bytes += h->fields[i].name.len + h->fields[i].value.len + 4;
    return bytes;
}

size_t forward_edits_bound(const struct exchange *x, const struct config_field_edit *edits, size_t count)
{
    const size_t variable =
        MAX(MAX(x->host.len, x->client_ip.len), MAX((size_t)REQUEST_ID_MAX, phase_auth_user(x).len));
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (edits[i].value == NULL)
            continue;
        bytes += strlen(edits[i].name) + strlen(edits[i].value) + 4;
        for (const char *p = edits[i].value; (p = strchr(p, '$')) != NULL; p++)
            bytes += variable;
    }
    return bytes;
}

static void put_field(struct text *t, slice_t name, slice_t value)
{
    text_put(t, name);
    TEXT_LIT(t, ": ");
    text_put(t, value);
    TEXT_LIT(t, "\r\n");
}

/* An edited value: variables are replaced. */
static void put_edit_value(struct text *t, struct exchange *x, const char *value)
{
    static const struct {
        const char *name;
        size_t len;
    } vars[] = {{"$client_ip", 10}, {"$host", 5}, {"$request_id", 11}, {"$remote_user", 12}};
    while (*value != '\0') {
        size_t v = 0;
        while (v < ARRAY_LEN(vars) && strncmp(value, vars[v].name, vars[v].len) != 0)
            v++;
        if (v == ARRAY_LEN(vars)) {
            text_put_char(t, *value++);
            continue;
        }
        value += vars[v].len;
        if (v == 0)
            text_put(t, x->client_ip);
        else if (v == 3)
            text_put(t, phase_auth_user(x));
        else
            text_put(t, v == 1 ? x->host : exchange_request_id(x));
    }
}

void forward_put_edits(struct text *t, struct exchange *x, const struct config_field_edit *edits,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (edits[i].value == NULL)
            continue;
        text_put(t, slice_str(edits[i].name));
        TEXT_LIT(t, ": ");
        put_edit_value(t, x, edits[i].value);
        TEXT_LIT(t, "\r\n");
    }
}

/* Not inlined, so that request_is_edited is: it stands in nine places, and edits are rare. */
__attribute__((noinline)) bool forward_is_edited(const struct config_field_edit *edits, size_t count,
                                                 slice_t name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(name, slice_str(edits[i].name)))
            return true;
    }
    return false;
}

/* ---- requests ---- */

#define CONDITIONS                                                                                           \
    (HTTP_BIT(IF_MATCH) | HTTP_BIT(IF_NONE_MATCH) | HTTP_BIT(IF_MODIFIED_SINCE) |                            \
     HTTP_BIT(IF_UNMODIFIED_SINCE) | HTTP_BIT(IF_RANGE) | HTTP_BIT(RANGE))
#define REWRITTEN                                                                                            \
    (HTTP_BIT(HOST) | HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(X_FORWARDED_FOR) | HTTP_BIT(X_FORWARDED_PROTO) |   \
     HTTP_BIT(X_FORWARDED_HOST) | HTTP_BIT(FORWARDED) | HTTP_BIT(VIA) | HTTP_BIT(X_REQUEST_ID))

static char as_variable(char c)
{
    return c == '_' ? '-' : ascii_lower(c);
}

/* X_Remote_User is X-Remote-User to applications that take fields for variables (CGI, WSGI), and what the
 * route calls REMOTE_USER may come as Remote-User. */
static NOINLINE bool is_edited_or_like_it(const struct config_route *r, slice_t name)
{
    for (size_t i = 0; i < r->request_edit_count; i++) {
        const slice_t edited = slice_str(r->request_edits[i].name);
        size_t n = 0;
        while (edited.len == name.len && n < name.len &&
               as_variable(edited.ptr[n]) == as_variable(name.ptr[n]))
            n++;
        if (edited.len == name.len && n == name.len)
            return true;
    }
    return false;
}

/* A field of ours. */
static bool request_is_edited(const struct exchange *x, slice_t name)
{
    const struct config_route *r = x->route->config;
    return UNLIKELY(r->request_edit_count > 0) &&
           forward_is_edited(r->request_edits, r->request_edit_count, name);
}

/* A field of the client. */
static bool request_is_replaced(const struct exchange *x, slice_t name)
{
    const struct config_route *r = x->route->config;
    return UNLIKELY(r->request_edit_count > 0) && is_edited_or_like_it(r, name);
}

static bool request_field_travels(const struct exchange *x, const struct http_field *f, uint64_t dropped)
{
    if (f->id != HTTP_FIELD_OTHER && ((dropped >> f->id) & 1))
        return false;
    if (http_field_is_hop_by_hop(f->id) || http_field_named_by_connection(&x->req, f) ||
        (f->id == HTTP_FIELD_OTHER && unkeyed_is_removed(x, f)))
        return false;
    return !fold_is_ours(f) && !request_is_replaced(x, f->name);
}

/* All lines of a list field, then our own element. Nothing of an untrusted client's is kept. */
static void put_appended(struct text *t, const struct exchange *x, enum http_field_id id, slice_t name,
                         bool keep, slice_t own)
{
    if (request_is_edited(x, name))
        return;
    text_put(t, name);
    TEXT_LIT(t, ": ");
    for (unsigned i = 0; keep && i < x->req.field_count; i++) {
        if (x->req.fields[i].id != id)
            continue;
        text_put(t, x->req.fields[i].value);
        TEXT_LIT(t, ", ");
    }
    text_put(t, own);
    TEXT_LIT(t, "\r\n");
}

static void put_kept_or(struct text *t, const struct exchange *x, enum http_field_id id, slice_t name,
                        bool believes, slice_t own)
{
    const struct http_field *f = believes && unkeyed_is_believed(x, name) ? http_head_get(&x->req, id) : NULL;
    if (!request_is_edited(x, name))
        put_field(t, name, f != NULL ? f->value : own);
}

static void put_forwarding_fields(struct text *t, struct exchange *x)
{
    char own[600];
    struct text el = text_make(own, sizeof own);
    const struct client_conn *c = x->client;
    slice_t ip = c != NULL ? client_conn_ip(c) : SLICE_LIT("unknown");
    bool trusted = c != NULL && c->peer_trusted, believes = unkeyed_believes(x);
    put_appended(t, x, HTTP_FIELD_X_FORWARDED_FOR, SLICE_LIT("X-Forwarded-For"), trusted, ip);
    put_kept_or(t, x, HTTP_FIELD_X_FORWARDED_PROTO, SLICE_LIT("X-Forwarded-Proto"), believes,
                exchange_scheme(x));
    put_kept_or(t, x, HTTP_FIELD_X_FORWARDED_HOST, SLICE_LIT("X-Forwarded-Host"), believes, x->host);
    TEXT_LIT(&el, "for=");
    if (c == NULL || c->peer_is_unix)
        TEXT_LIT(&el, "unknown");
    else if (!c->peer_is_v4)
        TEXT_LIT(&el, "\"[");
    if (c != NULL && !c->peer_is_unix)
        text_put(&el, ip);
    if (c != NULL && !c->peer_is_unix && !c->peer_is_v4)
        TEXT_LIT(&el, "]\"");
    if (x->secure)
        TEXT_LIT(&el, ";proto=https");
    else
        TEXT_LIT(&el, ";proto=http");
    if (x->host.len > 0 && x->host.len < 256) { /* no quotes in it: http_host_is_valid */
        TEXT_LIT(&el, ";host=\"");
        text_put(&el, x->host);
        TEXT_LIT(&el, "\"");
    }
    put_appended(t, x, HTTP_FIELD_FORWARDED, SLICE_LIT("Forwarded"),
                 believes && unkeyed_is_believed(x, SLICE_LIT("Forwarded")), text_slice(&el));
    put_appended(t, x, HTTP_FIELD_VIA, SLICE_LIT("Via"), true,
                 x->http2 ? SLICE_LIT(VIA_TEXT_2) : SLICE_LIT(VIA_TEXT));
    if (!request_is_edited(x, SLICE_LIT("X-Request-Id")))
        put_field(t, SLICE_LIT("X-Request-Id"), exchange_request_id(x));
}

static void put_validators(struct text *t, const struct exchange *x)
{
    struct cache_validators v = cache_object_info(x->stale).validators;
    if (v.etag.len > 0)
        put_field(t, SLICE_LIT("If-None-Match"), v.etag);
    if (v.last_modified.len > 0)
        put_field(t, SLICE_LIT("If-Modified-Since"), v.last_modified);
}

static void put_request_line(struct text *t, const struct exchange *x)
{
    text_put(t, x->req.method_text);
    TEXT_LIT(t, " ");
    text_put(t, x->target.path);
    if (x->target.query.ptr != NULL) {
        TEXT_LIT(t, "?");
        text_put(t, x->target.query);
    }
    TEXT_LIT(t, " HTTP/1.1\r\n");
}

slice_t forward_request_head(struct exchange *x)
{
    const struct config_route *r = x->route->config;
    size_t bound = head_bound(&x->req) + OWN_FIELDS_MAX + FOLD_FIELDS_MAX + 2 * x->host.len + 256;
    bound += forward_edits_bound(x, r->request_edits, r->request_edit_count);
    if (UNLIKELY(x->peer != NULL))
        bound += client_identity_bound(x);
    if (x->stale != NULL)
        bound += cache_object_info(x->stale).head.len;
    else if (UNLIKELY(x->own_fetch != NULL))
        bound += x->own_fetch->validator.len;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    put_request_line(&t, x);
    if (!request_is_edited(x, SLICE_LIT("Host")))
        put_field(&t, SLICE_LIT("Host"), x->host);
    uint64_t dropped = REWRITTEN | (x->conditions_dropped ? CONDITIONS : 0) | fold_replaces(x);
    if (UNLIKELY(x->partial != NULL) && x->partial->kind == PARTIAL_ASKED)
        dropped &= ~HTTP_BIT(RANGE);
    if (!x->expects_continue)
        dropped |= HTTP_BIT(EXPECT);
    for (unsigned i = 0; i < x->req.field_count; i++) {
        if (request_field_travels(x, &x->req.fields[i], dropped))
            put_field(&t, x->req.fields[i].name, x->req.fields[i].value);
    }
    put_forwarding_fields(&t, x);
    if (UNLIKELY(x->peer != NULL))
        client_identity_put_fields(&t, x);
    if (UNLIKELY(x->tunnel != NULL))
        tunnel_put_fields(&t, x);
    fold_put_fields(&t, x);
    forward_put_edits(&t, x, r->request_edits, r->request_edit_count);
    if (UNLIKELY(x->partial != NULL))
        partial_put_fields(&t, x);
    if (x->stale != NULL && (x->partial == NULL || x->partial->kind == PARTIAL_SLICE))
        put_validators(&t, x);
    else if (UNLIKELY(x->own_fetch != NULL))
        own_fetch_put_fields(&t, x);
    if (x->framing.kind == H1_BODY_CHUNKED) {
        TEXT_LIT(&t, "Transfer-Encoding: chunked\r\n");
    } else if (x->framing.has_length) {
        TEXT_LIT(&t, "Content-Length: ");
        text_put_u64(&t, x->framing.length);
        TEXT_LIT(&t, "\r\n");
    }
    TEXT_LIT(&t, "\r\n");
    return t.overflow ? (slice_t){NULL, 0} : text_slice(&t);
}

/* ---- responses ---- */

static inline void put_status_line(struct text *t, const struct http_head *head)
{
    TEXT_LIT(t, "HTTP/1.1 ");
    text_put_u64(t, head->status);
    TEXT_LIT(t, " ");
    text_put(t, head->reason.len > 0 ? head->reason : http_status_reason(head->status));
    TEXT_LIT(t, "\r\n");
}

slice_t forward_response_head(struct exchange *x, const struct http_head *head, bool for_store)
{
    size_t bound = head_bound(head) + OWN_FIELDS_MAX;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    put_status_line(&t, head);
    uint64_t dropped = HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(VIA) | HTTP_BIT(WARNING) | CACHE_CONTROL_HIDDEN |
                       (for_store ? HTTP_BIT(AGE) : 0);
    if (UNLIKELY(head->status == 404 || head->status == 410))
        dropped |= assets_missing_drops(x, head);
    for (unsigned i = 0; i < head->field_count; i++) {
        const struct http_field *f = &head->fields[i];
        if (f->id != HTTP_FIELD_OTHER && ((dropped >> f->id) & 1))
            continue;
        if (for_store ? !cache_field_is_storable(head, f)
                      : http_field_is_hop_by_hop(f->id) || http_field_named_by_connection(head, f))
            continue;
        if (!for_store && UNLIKELY(cache_tag_field_of(f) != CACHE_TAG_FIELDS) && !tags_are_shown(x))
            continue;
        put_field(&t, f->name, f->value);
    }
    if (!http_head_has(head, HTTP_FIELD_DATE)) {
        char date[HTTP_DATE_LEN];
        http_date_write(date, x->pw->worker->now_wall_ms / 1000);
        put_field(&t, SLICE_LIT("Date"), slice_make(date, sizeof date));
    }
    if (UNLIKELY((dropped & HTTP_BIT(CACHE_CONTROL)) != 0))
        assets_put_missing(&t, head);
    TEXT_LIT(&t, "Via: ");
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id == HTTP_FIELD_VIA) {
            text_put(&t, head->fields[i].value);
            TEXT_LIT(&t, ", ");
        }
    }
    if (UNLIKELY(x->route->http2_pool))
        TEXT_LIT(&t, VIA_TEXT_2 "\r\n");
    else
        TEXT_LIT(&t, VIA_TEXT "\r\n");
    return t.overflow ? (slice_t){NULL, 0} : text_slice(&t);
}

/* What the final response would not bring either, be it hidden here or by the route, and no cookie: that may
 * still be taken out of it. */
static bool interim_field_travels(const struct exchange *x, const struct http_head *head,
                                  const struct http_field *f)
{
    const struct config_route *r = x->route->config;
    const uint64_t dropped =
        HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(WARNING) | HTTP_BIT(SET_COOKIE) | CACHE_CONTROL_HIDDEN;
    if (f->id != HTTP_FIELD_OTHER && ((dropped >> f->id) & 1))
        return false;
    return !http_field_is_hop_by_hop(f->id) && !http_field_named_by_connection(head, f) &&
           cache_tag_field_of(f) == CACHE_TAG_FIELDS &&
           !forward_is_edited(r->response_edits, r->response_edit_count, f->name);
}

slice_t forward_interim(struct exchange *x, const struct http_head *head)
{
    size_t bound = head_bound(head);
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, bound);
    put_status_line(&t, head);
    for (unsigned i = 0; i < head->field_count; i++) {
        if (interim_field_travels(x, head, &head->fields[i]))
            put_field(&t, head->fields[i].name, head->fields[i].value);
    }
    TEXT_LIT(&t, "\r\n");
    return t.overflow ? (slice_t){NULL, 0} : text_slice(&t);
}

/* Some applications take trailers for fields of the head, so what says something there says nothing here. */
static bool trailer_travels(const struct http_field *f)
{
    const uint64_t never = HTTP_BIT(CONTENT_LENGTH) | HTTP_BIT(HOST) | HTTP_BIT(AUTHORIZATION) |
                           HTTP_BIT(CACHE_CONTROL) | HTTP_BIT(SET_COOKIE) | HTTP_BIT(COOKIE) |
                           HTTP_BIT(VARY) | HTTP_BIT(CONTENT_TYPE) | HTTP_BIT(CONTENT_ENCODING) |
                           HTTP_BIT(CONTENT_RANGE) | HTTP_BIT(TRAILER) | HTTP_BIT(EXPECT) | HTTP_BIT(RANGE) |
                           HTTP_BIT(AGE) | HTTP_BIT(EXPIRES) | HTTP_BIT(DATE) | HTTP_BIT(LOCATION) |
                           HTTP_BIT(RETRY_AFTER) | REWRITTEN;
    if (f->id != HTTP_FIELD_OTHER)
        return !http_field_is_hop_by_hop(f->id) && !((never >> f->id) & 1);
    return unkeyed_kind(f->name) == UNKEYED_NONE && !unkeyed_is_disguised(f->name);
}

slice_t forward_trailers(struct exchange *x, const struct http_head *trailers, bool of_request)
{
    size_t bound = head_bound(trailers);
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return SLICE_EMPTY;
    struct text t = text_make(buf, bound);
    for (unsigned i = 0; i < trailers->field_count; i++) {
        if (trailer_travels(&trailers->fields[i]) &&
            !(of_request && request_is_replaced(x, trailers->fields[i].name)))
            put_field(&t, trailers->fields[i].name, trailers->fields[i].value);
    }
    return t.overflow ? SLICE_EMPTY : text_slice(&t);
}
