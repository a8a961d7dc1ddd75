/* root_fetch.c: see root_fetch.h. Worker thread.
 *
 * To the exchange a file is a connection to an instance: it has a struct upstream_conn, in state ACTIVE but
 * with no socket, whose event is made active by hand. It reads the request as it would be sent
 * (`upstream_head`), answers as an origin does (conditions, one range), and hands over head and body by the
 * calls that h1_client makes. So storing, freshness, waiting for others' fetches, slices, purges and what
 * becomes of slow clients are as for any response.
 *
 * A turn reads READS_PER_TURN pieces at most, then others have theirs; what was opened is served even if
 * another file takes its name, and one that gets shorter meanwhile ends as cut short. Reading may wait for
 * the disk; what is asked for often is in the page cache, or our own. Rejected: a thread that reads, which
 * costs each file two hand-overs for the sake of those that are not; sendfile, as most of what is read is
 * stored. */
#include "proxy/root_fetch.h"

#include <errno.h>
#include <event2/event.h>
#include <unistd.h>

#include "cache/range.h"
#include "core/http_date.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/proxy_worker.h"
#include "proxy/root_open.h"
#include "proxy/root_path.h"
#include "proxy/upstream.h"

#define READ_BYTES     (64 * KB)
#define READS_PER_TURN 4
#define NS_PER_S       UINT64_C(1000000000)
#define TELLING_S      (INT64_C(315532800) + 2 * 86400) /* 1980, in any time zone */
#define ETAG_BYTES     48

/* What is answered. */
struct answer {
    unsigned status;
    const char *text; /* the body, when it is no file's */
    slice_t location;
    const char *type;
    char etag[ETAG_BYTES], last_modified[HTTP_DATE_LEN];
    wall_s_t last_modified_s;
    bool validators;
    struct cache_range part; /* of the file */
    uint64_t size;
};

/* ---- what the request gets ---- */

static void answer_text(struct answer *a, unsigned status, const char *text)
{
    a->status = status;
    a->text = text;
    a->type = "text/plain; charset=utf-8";
    a->part = (struct cache_range){0, strlen(text)};
}

/* When it was written. Builds that are to come out the same each time (Nix, Bazel, SOURCE_DATE_EPOCH) give
 * all files one time, the beginning of Unix' or of ZIP's, by which no two versions could be told apart; when
 * it got here then. */
static const struct timespec *written_at(const struct stat *st)
{
    return st->st_mtim.tv_sec < TELLING_S ? &st->st_ctim : &st->st_mtim;
}

/* Within a second of its writing the file may be written again and look the same (RFC 9110 section 8.8.1). */
static void answer_set_validators(struct answer *a, const struct stat *st, wall_ms_t now_ms)
{
    const struct timespec *at = written_at(st);
    struct text t = text_make(a->etag, sizeof a->etag - 1);
    if ((wall_s_t)at->tv_sec >= now_ms / 1000 - 1)
        TEXT_LIT(&t, "W/");
    char hex[32];
    text_put_hex16(hex, (uint64_t)at->tv_sec * NS_PER_S + (uint64_t)at->tv_nsec);
    text_put_hex16(hex + 16, (uint64_t)st->st_size);
    TEXT_LIT(&t, "\"");
    text_put(&t, slice_make(hex, 16));
    TEXT_LIT(&t, "-");
    text_put(&t, slice_make(hex + 20, 12));
    TEXT_LIT(&t, "\"");
    *t.at = '\0';
    a->last_modified_s = MIN((wall_s_t)at->tv_sec, now_ms / 1000);
    http_date_write(a->last_modified, a->last_modified_s);
    a->validators = true;
}

static void answer_file(struct answer *a, const struct http_head *request, const struct stat *st,
                        wall_ms_t now_ms)
{
    answer_set_validators(a, st, now_ms);
    a->size = (uint64_t)st->st_size;
    a->part = (struct cache_range){0, a->size};
    a->status = 200;
    struct cache_validators v = {.etag = slice_str(a->etag),
                                 .last_modified = slice_make(a->last_modified, sizeof a->last_modified),
                                 .last_modified_s = a->last_modified_s};
    const enum cache_cond cond = cache_cond_evaluate(request, &v, now_ms / 1000);
    if (cond == CACHE_COND_NOT_MODIFIED) {
        a->status = 304;
        return;
    }
    if (cond == CACHE_COND_FAILED) {
        answer_text(a, 412, "A condition of the request does not hold.\n");
        return;
    }
    struct cache_range_set set;
    if (request->method != HTTP_GET || http_head_count(request, HTTP_FIELD_RANGE) != 1 ||
        !cache_if_range_holds(request, &v, now_ms / 1000, now_ms / 1000))
        return;
    switch (cache_range_parse(http_head_get(request, HTTP_FIELD_RANGE)->value, a->size, &set)) {
    case CACHE_RANGE_PARTS:
        if (set.count > 1) /* whoever stores it cuts them out */
            return;
        a->status = 206;
        a->part = set.parts[0];
        return;
    case CACHE_RANGE_UNSATISFIABLE:
        answer_text(a, 416, "The requested range lies beyond the end of the content.\n");
        return;
    case CACHE_RANGE_WHOLE:
        return;
    }
}

/* Where a folder is: the same path with a slash. The query only if the key has all of it: what one client
 * asks is not for others who get the stored answer. `.ptr` NULL: no memory. */
static slice_t folder_location(struct exchange *x, const struct h1_target *target)
{
    const bool told = target->query.ptr != NULL && x->route->config->key.query == CONFIG_QUERY_ALL;
    return arena_printf(&x->arena, SLICE_FMT "/%s" SLICE_FMT, SLICE_ARG(target->path), told ? "?" : "",
                        told ? (int)target->query.len : 0, told ? target->query.ptr : "");
}

/* Opens what is asked for and says what is answered. FETCH_NONE, or why there is no answer. */
static enum fetch_error find_answer(struct upstream_conn *u, const struct http_head *request,
                                    struct answer *a)
{
    struct exchange *x = u->exchange;
    const struct config_route *r = x->route->config;
    char name[ROOT_PATH_BYTES];
    struct h1_target target;
    struct stat st;
    enum root_found found = ROOT_NOTHING;
    if (h1_target_split(request, &target) == H1_OK && root_path_map(target.path, name))
        found = root_open(r->root, name, &u->fd, &st);
    switch (found) {
    case ROOT_FILE:
        a->type = root_path_type(slice_str(name));
        answer_file(a, request, &st, x->pw->worker->now_wall_ms);
        break;
    case ROOT_FOLDER:
        if (slice_ends(target.path, SLICE_LIT("/"))) { /* one that is named index.html */
            answer_text(a, 404, "There is no such page.\n");
            break;
        }
        answer_text(a, 301, "The page is at another address.\n");
        a->location = folder_location(x, &target);
        if (a->location.ptr == NULL)
            return FETCH_NO_MEMORY;
        break;
    case ROOT_NOTHING:
        answer_text(a, 404, "There is no such page.\n");
        break;
    case ROOT_FORBIDDEN:
        answer_text(a, 403, "This page may not be read.\n");
        break;
    case ROOT_FAILED:
        log_warn("[route %s] root: %s, or a file in it, cannot be opened: %s", r->name, r->root,
                 strerror(errno));
        return FETCH_NO_FOLDER;
    case ROOT_NO_MEMORY:
        return FETCH_NO_MEMORY;
    }
    return FETCH_NONE;
}

/* ---- the answer as a response ---- */

static void put_field(struct text *t, const char *name, slice_t value)
{
    text_put(t, slice_str(name));
    TEXT_LIT(t, ": ");
    text_put(t, value);
    TEXT_LIT(t, "\r\n");
}

static void put_content_range(struct text *t, const struct answer *a)
{
    TEXT_LIT(t, "Content-Range: bytes ");
    if (a->status == 416) {
        TEXT_LIT(t, "*");
    } else {
        text_put_u64(t, a->part.start);
        TEXT_LIT(t, "-");
        text_put_u64(t, a->part.end - 1);
    }
    TEXT_LIT(t, "/");
    text_put_u64(t, a->size);
    TEXT_LIT(t, "\r\n");
}

static slice_t write_head(char *buf, size_t bytes, const struct exchange *x, const struct answer *a)
{
    const char *server = x->view->shared->config->main.server_header;
    struct text t = text_make(buf, bytes);
    TEXT_LIT(&t, "HTTP/1.1 ");
    text_put_u64(&t, a->status);
    TEXT_LIT(&t, " ");
    text_put(&t, http_status_reason(a->status));
    TEXT_LIT(&t, "\r\n");
    if (server[0] != '\0')
        put_field(&t, "Server", slice_str(server));
    if (a->validators && a->text == NULL) {
        put_field(&t, "ETag", slice_str(a->etag));
        put_field(&t, "Last-Modified", slice_make(a->last_modified, sizeof a->last_modified));
        TEXT_LIT(&t, "Accept-Ranges: bytes\r\n");
    }
    if (a->location.len > 0)
        put_field(&t, "Location", a->location);
    if (a->status == 206 || a->status == 416)
        put_content_range(&t, a);
    if (a->status != 304) {
        put_field(&t, "Content-Type", slice_str(a->type));
        TEXT_LIT(&t, "Content-Length: ");
        text_put_u64(&t, a->part.end - a->part.start);
        TEXT_LIT(&t, "\r\n");
    }
    TEXT_LIT(&t, "\r\n");
    return t.overflow ? SLICE_EMPTY : text_slice(&t);
}

/* The request as it would be sent. Its fields are the worker's scratch. false: there are more than fit. */
static bool read_request(struct exchange *x, struct http_head *request)
{
    struct h1_parser p = {0};
    const struct h1_limits limits = {x->upstream_head.len, x->upstream_head.len, x->pw->field_capacity};
    *request = (struct http_head){.fields = x->pw->fields};
    return h1_parse_request(&p, x->upstream_head.ptr, x->upstream_head.len, request, &limits) == H1_DONE;
}

/* true: there is a body, and somebody to take it. */
static bool root_begin(struct upstream_conn *u)
{
    struct exchange *x = u->exchange;
    struct proxy_worker *pw = u->pw;
    struct answer a = {.size = 0};
    struct http_head request, head = {.fields = pw->response_fields};
    struct h1_parser p = {0};
    const enum fetch_error e = read_request(x, &request) ? find_answer(u, &request, &a) : FETCH_NO_MEMORY;
    if (e != FETCH_NONE) {
        exchange_on_upstream_error(x, e);
        return false;
    }
    const slice_t text = write_head(pw->relay_buffer, READ_BUFFER_BYTES, x, &a);
    const struct h1_limits limits = {READ_BUFFER_BYTES, 0, pw->field_capacity};
    if (h1_parse_response(&p, text.ptr, text.len, &head, &limits) != H1_DONE ||
        h1_response_framing(&head, (enum http_method)x->req.method, &u->framing) != H1_OK) {
        exchange_on_upstream_error(x, FETCH_BAD_RESPONSE); /* a URL that is too long to be named */
        return false;
    }
    const struct h1_framing framing = u->framing;
    u->file_text = a.text;
    u->file_at = a.part.start;
    u->body_left = framing.length;
    u->reading = UPSTREAM_READ_BODY;
    if (framing.kind == H1_BODY_NONE || framing.length == 0)
        upstream_leave(x);
    exchange_on_response_head(x, &head, &framing);
    return u->exchange != NULL;
}

/* ---- the body ---- */

static ssize_t root_read(struct upstream_conn *u, char *to, size_t n)
{
    ssize_t got = (ssize_t)n;
    if (u->file_text != NULL) {
        memcpy(to, u->file_text + u->file_at, n);
    } else {
        do
            got = pread(u->fd, to, n, (off_t)u->file_at);
        while (got < 0 && errno == EINTR);
    }
    u->file_at += got > 0 ? (uint64_t)got : 0;
    u->body_left -= got > 0 ? (uint64_t)got : 0;
    return got;
}

/* false: the exchange is done with it, or has ended. */
static bool root_read_once(struct upstream_conn *u)
{
    struct exchange *x = u->exchange;
    size_t room = 0;
    char *direct = exchange_body_buffer(x, &room);
    if (direct == NULL)
        room = exchange_relay_room(x, READ_BUFFER_BYTES);
    room = (size_t)MIN(MIN((uint64_t)room, (uint64_t)READ_BYTES), u->body_left);
    char *to = direct != NULL ? direct : u->pw->relay_buffer;
    const ssize_t n = root_read(u, to, room);
    if (n <= 0) { /* it was longer when it was opened */
        exchange_on_upstream_error(x, FETCH_CUT_SHORT);
        return false;
    }
    if (direct != NULL)
        exchange_on_body_filled(x, (size_t)n);
    else
        exchange_on_response_body(x, to, (size_t)n);
    if (u->exchange == NULL)
        return false;
    if (u->body_left > 0)
        return true;
    x = u->exchange; /* perhaps another one by now, which goes on in its place */
    upstream_leave(x);
    exchange_on_response_end(x, NULL);
    return false;
}

static void root_pump(struct upstream_conn *u)
{
    unsigned reads = 0;
    for (;;) {
        u->paused = exchange_wants_pause(u->exchange);
        if (u->paused)
            break;
        if (++reads > READS_PER_TURN) {
            worker_at_turn_end(u->pw->worker, &u->again);
            break;
        }
        if (!root_read_once(u))
            return;
    }
    exchange_on_upstream_rested(u->exchange);
}

static void root_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct upstream_conn *u = arg;
    UNUSED(fd);
    UNUSED(what);
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    ASSERT(u->pw->out.conn == NULL);
    worker_refresh_clock(u->pw->worker);
    if (u->state != UPSTREAM_ACTIVE || u->exchange == NULL)
        return;
    if (u->reading != UPSTREAM_READ_HEAD || root_begin(u))
        root_pump(u);
}

enum phase_result root_fetch(struct exchange *x)
{
    if (x->upstream != NULL)
        return PHASE_PARK;
    x->upstream = upstream_conn_open_file(x->pw, x, root_on_event);
    if (x->upstream == NULL) {
        phase_fetch_failed(x, FETCH_NO_MEMORY);
        return PHASE_PARK; /* and runs again */
    }
    x->sent_wall_ms = x->pw->worker->now_wall_ms;
    x->connected_us = x->pw->worker->now_us;
    return PHASE_PARK;
}
