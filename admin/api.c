/* api.c: see api.h.
 *
 * Order of refusals: Host (421: the request was not meant for us), path (404), method (405), token (401). The
 * unix socket passes Host and token: who may open it was decided by its file mode. Everything is answered in
 * the callback, but for an explanation that Redis is asked for, and for an upgrade; nothing else is kept
 * between requests. A stop is another exception: the answer leaves first, the drain begins a tick later.
 *
 * Rejected: cookies and sessions for the page. A token in a header needs no defence against forged requests.
 */
#include "admin/api.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "admin/api_explain.h"
#include "admin/api_order.h"
#include "admin/api_purge.h"
#include "admin/api_server.h"
#include "admin/events.h"
#include "admin/metrics_page.h"
#include "admin/page.h"
#include "admin/status.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"

#define PAGE_POLICY                                                                                          \
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri " \
    "'none'; form-action 'none'; frame-ancestors 'none'"
#define STOP_AFTER_MS 50

/* ---- answering ---- */

static void api_send(struct api_call *c, int status, const char *type, struct evbuffer *body)
{
    struct evkeyvalq *h = evhttp_request_get_output_headers(c->req);
    evhttp_add_header(h, "Content-Type", type);
    evhttp_add_header(h, "Cache-Control", "no-store");
    evhttp_add_header(h, "X-Content-Type-Options", "nosniff");
    evhttp_add_header(h, "X-Frame-Options", "DENY");
    evhttp_add_header(h, "Referrer-Policy", "no-referrer");
    evhttp_add_header(h, "Cross-Origin-Resource-Policy", "same-origin");
    evhttp_add_header(h, "Content-Security-Policy", PAGE_POLICY);
    if (evhttp_request_get_command(c->req) == EVHTTP_REQ_HEAD) { /* evhttp would send the body */
        char length[24];
        snprintf(length, sizeof length, "%zu", evbuffer_get_length(body));
        evhttp_add_header(h, "Content-Length", length);
        body = NULL;
    }
    evhttp_send_reply(c->req, status, NULL, body);
}

static void api_send_text(struct api_call *c, int status, const char *type, const char *text, size_t len)
{
    struct evbuffer *body = evbuffer_new();
    if (body == NULL || evbuffer_add(body, text, len) != 0)
        evhttp_send_error(c->req, HTTP_SERVUNAVAIL, NULL);
    else
        api_send(c, status, type, body);
    if (body != NULL)
        evbuffer_free(body);
}

void api_send_json(struct api_call *c, int status, json_t *value)
{
    char *text =
        value != NULL ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(6)) : NULL;
    if (text == NULL)
        evhttp_send_error(c->req, HTTP_SERVUNAVAIL, NULL);
    else
        api_send_text(c, status, "application/json", text, strlen(text));
    free(text);
    json_decref(value);
}

void api_fail(struct api_call *c, int status, const char *error, const char *hint)
{
    api_send_json(c, status, json_pack("{s:s, s:s}", "error", error, "hint", hint));
}

/* ---- endpoints ---- */

static void api_get_page(struct api_call *c)
{
    api_send_text(c, HTTP_OK, "text/html; charset=utf-8", admin_page_html, strlen(admin_page_html));
}

static void api_get_css(struct api_call *c)
{
    api_send_text(c, HTTP_OK, "text/css; charset=utf-8", admin_page_css, strlen(admin_page_css));
}

static void api_get_js(struct api_call *c)
{
    api_send_text(c, HTTP_OK, "text/javascript; charset=utf-8", admin_page_js, strlen(admin_page_js));
}

static void api_get_status(struct api_call *c)
{
    api_send_json(c, HTTP_OK, admin_status_build(c->a));
}

static void api_get_pools(struct api_call *c)
{
    json_t *pools = admin_pools_build(c->a->ops.balancer(c->a->ops.arg));
    api_send_json(c, HTTP_OK, json_pack("{s:o}", "pools", pools));
}

static void api_get_events(struct api_call *c)
{
    api_send_json(c, HTTP_OK, json_pack("{s:o}", "events", admin_events_build(TIMELINE_EVENTS)));
}

static void api_get_config(struct api_call *c)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (out != NULL)
        config_print(c->a->ops.config(c->a->ops.arg), out);
    if (out == NULL || fclose(out) != 0)
        api_fail(c, HTTP_SERVUNAVAIL, "out of memory", "try again");
    else
        api_send_text(c, HTTP_OK, "text/plain; charset=utf-8", text, len);
    free(text);
}

static void api_get_metrics(struct api_call *c)
{
    struct evbuffer *page = evbuffer_new();
    if (page == NULL || !admin_metrics_write(c->a, page))
        api_fail(c, HTTP_SERVUNAVAIL, "out of memory", "try again");
    else
        api_send(c, HTTP_OK, PROMETHEUS_CONTENT_TYPE, page);
    if (page != NULL)
        evbuffer_free(page);
}

static void api_get_token(struct api_call *c)
{
    const char *token = admin_auth_token(c->a->auth);
    if (token[0] == '\0')
        api_fail(c, HTTP_NOTFOUND, "there is no token", "it is made when [admin] address is set");
    else
        api_send_json(c, HTTP_OK, json_pack("{s:s}", "token", token));
}

static void api_post_reload(struct api_call *c)
{
    json_t *problems = NULL;
    log_info("admin: reload asked for");
    bool ok = c->a->ops.reload(c->a->ops.arg, &problems);
    if (problems == NULL)
        problems = json_array();
    uint64_t generation = c->a->ops.config(c->a->ops.arg)->generation;
    json_t *o =
        json_pack("{s:b, s:I, s:o}", "ok", ok, "generation", (json_int_t)generation, "problems", problems);
    if (!ok && o != NULL) {
        json_object_set_new(o, "error", json_string("the new configuration was refused; the old one stays"));
        json_object_set_new(o, "hint",
                            json_string("correct what is listed; `millpond check` lists it beforehand"));
    }
    api_send_json(c, ok ? HTTP_OK : 422, o);
}

static void api_post_stop(struct api_call *c)
{
    log_info("admin: stop asked for");
    dur_ms_t timeout_ms = c->a->ops.config(c->a->ops.arg)->main.shutdown_timeout_ms;
    api_send_json(c, HTTP_OK,
                  json_pack("{s:b, s:I}", "stopping", 1, "shutdown_timeout_ms", (json_int_t)timeout_ms));
    deadline_set(c->a->control, &c->a->stop, worker_now_ms(c->a->control) + STOP_AFTER_MS);
}

static void api_post_upgrade(struct api_call *c)
{
    char who[128];
    const char *error = NULL, *hint = NULL;
    const struct admin_reply reply = api_later(c);
    struct bufferevent *connection = evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req));
    bufferevent_set_timeouts(connection, NULL, NULL); /* it takes as long as upgrade_timeout */
    if (reply.on_answer == NULL ||
        c->a->ops.upgrade(c->a->ops.arg, api_who(c, who, sizeof who), &reply, &error, &hint))
        return;
    api_not_later(&reply);
    api_fail(c, 409, error, hint);
}

json_t *api_body(struct api_call *c, const char *hint)
{
    struct evbuffer *in = evhttp_request_get_input_buffer(c->req);
    size_t len = evbuffer_get_length(in);
    const char *bytes = (const char *)evbuffer_pullup(in, -1);
    json_error_t error;
    json_t *body = len > 0 ? json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (json_is_object(body))
        return body;
    json_decref(body);
    api_fail(c, HTTP_BADREQUEST, "the body is not a JSON object", hint);
    return NULL;
}

const char *api_who(const struct api_call *c, char *buf, size_t bytes)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    int fd = bufferevent_getfd(evhttp_connection_get_bufferevent(evhttp_request_get_connection(c->req)));
    if (!c->door->trusted)
        snprintf(buf, bytes, "%s", c->req->remote_host != NULL ? c->req->remote_host : "?");
    else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
        snprintf(buf, bytes, "user %u", (unsigned)peer.uid);
    else
        snprintf(buf, bytes, "?");
    return buf;
}

/* ---- who may what ---- */

enum api_need {
    API_NEEDS_NOTHING, /* constant texts without a secret */
    API_NEEDS_READ,    /* the token, unless read = open */
    API_NEEDS_METRICS, /* the token, unless metrics = open or read = open */
    API_NEEDS_TOKEN,
    API_NEEDS_SOCKET /* only on the unix socket */
};

struct api_endpoint {
    const char *path;
    enum evhttp_cmd_type method;
    enum api_need need;
    void (*answer)(struct api_call *c);
};

/* config shows addresses and file names, so it is not opened by read = open. */
static const struct api_endpoint api_endpoints[] = {
    {"/", EVHTTP_REQ_GET, API_NEEDS_NOTHING, api_get_page},
    {"/page.css", EVHTTP_REQ_GET, API_NEEDS_NOTHING, api_get_css},
    {"/page.js", EVHTTP_REQ_GET, API_NEEDS_NOTHING, api_get_js},
    {"/api/status", EVHTTP_REQ_GET, API_NEEDS_READ, api_get_status},
    {"/api/pools", EVHTTP_REQ_GET, API_NEEDS_READ, api_get_pools},
    {"/api/events", EVHTTP_REQ_GET, API_NEEDS_READ, api_get_events},
    {"/api/explain", EVHTTP_REQ_GET, API_NEEDS_READ, api_get_explain},
    {"/api/config", EVHTTP_REQ_GET, API_NEEDS_TOKEN, api_get_config},
    {"/api/token", EVHTTP_REQ_GET, API_NEEDS_SOCKET, api_get_token},
    {"/api/reload", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_reload},
    {"/api/purge", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_purge},
    {"/api/drain", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_drain},
    {"/api/ready", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_ready},
    {"/api/weight", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_weight},
    {"/api/add", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_add},
    {"/api/remove", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_remove},
    {"/api/resume", EVHTTP_REQ_POST, API_NEEDS_TOKEN, api_post_resume},
    {"/api/stop", EVHTTP_REQ_POST, API_NEEDS_SOCKET, api_post_stop},
    {"/api/upgrade", EVHTTP_REQ_POST, API_NEEDS_SOCKET, api_post_upgrade},
    {"/metrics", EVHTTP_REQ_GET, API_NEEDS_METRICS, api_get_metrics},
};

static const struct api_endpoint *api_find(const char *path)
{
    for (size_t i = 0; path != NULL && i < ARRAY_LEN(api_endpoints); i++) {
        if (strcmp(api_endpoints[i].path, path) == 0)
            return &api_endpoints[i];
    }
    return NULL;
}

static bool api_method_fits(const struct api_endpoint *e, enum evhttp_cmd_type method)
{
    return method == e->method || (method == EVHTTP_REQ_HEAD && e->method == EVHTTP_REQ_GET);
}

/* Sends the refusal when the answer is false. */
static bool api_is_allowed(struct api_call *c, const struct api_endpoint *e)
{
    const struct admin_auth *auth = c->a->auth;
    if (c->door->trusted || e->need == API_NEEDS_NOTHING)
        return true;
    if (e->need == API_NEEDS_SOCKET) {
        api_fail(c, 403, "this is answered on the unix socket only",
                 "use the millpond command on the machine itself");
        return false;
    }
    if (e->need == API_NEEDS_READ && admin_auth_read_open(auth))
        return true;
    if (e->need == API_NEEDS_METRICS && (admin_auth_read_open(auth) || admin_auth_metrics_open(auth)))
        return true;
    const char *given = evhttp_find_header(evhttp_request_get_input_headers(c->req), "Authorization");
    if (admin_auth_token_ok(auth, given))
        return true;
    if (given != NULL)
        log_warn("admin: wrong token from %s for %s", c->req->remote_host != NULL ? c->req->remote_host : "?",
                 e->path);
    evhttp_add_header(evhttp_request_get_output_headers(c->req), "WWW-Authenticate",
                      "Bearer realm=\"millpond admin\"");
    api_fail(c, 401, given != NULL ? "the token is wrong" : "this needs the admin token",
             "send it as 'Authorization: Bearer TOKEN'; it is [admin] token, or in the file admin-token in "
             "state_dir");
    return false;
}

/* A repeated Host may be read differently by whoever stands in front; a target with an authority would
 * override it. */
static bool api_host_is_fine(struct api_call *c)
{
    if (c->door->trusted)
        return true;
    const char *host = NULL;
    unsigned count = 0;
    const struct evkeyvalq *fields = evhttp_request_get_input_headers(c->req);
    for (const struct evkeyval *field = fields->tqh_first; field != NULL; field = field->next.tqe_next) {
        if (evutil_ascii_strcasecmp(field->key, "Host") == 0) {
            host = field->value;
            count++;
        }
    }
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(c->req);
    return count == 1 && evhttp_uri_get_host(uri) == NULL && admin_auth_host_ok(c->a->auth, host);
}

void admin_api_on_request(struct admin_door *d, struct evhttp_request *req)
{
    struct api_call c = {d->arg, d, req};
    CHECK_MAGIC(c.a, ADMIN_MAGIC);
    if (c.a->moved) { /* what is done here would not count */
        evhttp_add_header(evhttp_request_get_output_headers(req), "Connection", "close");
        api_send_json(&c, HTTP_SERVUNAVAIL,
                      json_pack("{s:s, s:s, s:b}", "error", "another process has taken this one's place",
                                "hint", "connect again", "moved", 1));
        return;
    }
    if (!api_host_is_fine(&c)) {
        api_fail(&c, 421, "this name is not answered here",
                 "add it to [admin] allowed_hosts, or use the address itself");
        return;
    }
    const struct api_endpoint *e = api_find(evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req)));
    if (e == NULL) {
        api_fail(&c, HTTP_NOTFOUND, "there is nothing here", "GET / lists what there is");
    } else if (!api_method_fits(e, evhttp_request_get_command(req))) {
        evhttp_add_header(evhttp_request_get_output_headers(req), "Allow",
                          e->method == EVHTTP_REQ_GET ? "GET, HEAD" : "POST");
        api_fail(&c, HTTP_BADMETHOD, "this method is not for this address",
                 e->method == EVHTTP_REQ_GET ? "use GET" : "use POST");
    } else if (api_is_allowed(&c, e)) {
        e->answer(&c);
    }
}
