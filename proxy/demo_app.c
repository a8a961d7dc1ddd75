/* demo_app.c: see demo_app.h.
 *
 * evhttp, since this is the application and not the proxy. The price of the product lies in a file that all
 * instances share, as a database would hold it, so that it does not matter which of them is asked or told.
 * Whatever comes from a request is escaped before it is shown.
 *
 * evhttp frees a request together with its connection, so a slow answer that is still waiting gives up when
 * the connection's close callback comes. */
#include "proxy/demo_app.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/http_date.h"
#include "core/list.h"
#include "core/net.h"
#include "core/panic.h"
#include "proxy/demo_pages.h"

#define DEMO_APP_MAGIC    0x44454d4fu
#define SLOW_MAX_MS       20000
#define ASSET_MODIFIED    "Thu, 01 Jan 2026 00:00:00 GMT"
#define FIRST_PRICE_CENTS 1000
#define PRICE_STEP_CENTS  125
#define MAX_HEADER_BYTES  (16 * 1024)
#define MAX_BODY_BYTES    (1 << 20)
#define MAX_PRICE_CENTS   100000000

struct demo_app { /* owner: demo_app_create's caller */
    uint32_t magic;
    /* set once */
    struct event_base *base;
    struct evhttp *http;
    char *name, *data_path, *purge_command;
    uint16_t port;
    /* the loop's thread */
    long price_cents;    /* without a data file */
    struct list waiting; /* slow answers */
};

struct slow_answer { /* from the request to its answer, or to the end of its connection */
    struct list node;
    struct demo_app *app;
    struct evhttp_request *req;
    struct event *timer;
    int ms;
};

/* ---- answering ---- */

static void put_field(struct evhttp_request *req, const char *name, const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

/* Takes over `body`; NULL (out of memory) is answered 503. */
static void answer(struct evhttp_request *req, int status, const char *type, const char *cache_control,
                   struct evbuffer *body)
{
    char length[24];
    if (body == NULL) {
        evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
        return;
    }
    put_field(req, "Content-Type", type);
    put_field(req, "Cache-Control", cache_control);
    bool is_head = evhttp_request_get_command(req) == EVHTTP_REQ_HEAD;
    snprintf(length, sizeof length, "%zu", evbuffer_get_length(body));
    if (is_head)
        put_field(req, "Content-Length", length);
    evhttp_send_reply(req, status, NULL, is_head ? NULL : body);
    evbuffer_free(body);
}

static void put_escaped(struct evbuffer *out, const char *text)
{
    char *safe = text != NULL ? evhttp_htmlescape(text) : NULL;
    if (safe != NULL)
        evbuffer_add(out, safe, strlen(safe));
    free(safe);
}

static struct evbuffer *page_begin(struct demo_app *app, const char *title)
{
    struct evbuffer *out = evbuffer_new();
    char *name = evhttp_htmlescape(app->name);
    if (out != NULL && name != NULL)
        evbuffer_add_printf(out, demo_page_top, title, title, name);
    free(name);
    return out;
}

static void page_send(struct evhttp_request *req, int status, const char *cache_control, struct evbuffer *out)
{
    if (out != NULL)
        evbuffer_add(out, demo_page_end, strlen(demo_page_end));
    answer(req, status, "text/html; charset=utf-8", cache_control, out);
}

/* A number from the query, or `fallback` when it is absent, no number or out of range. */
static int query_int(struct evhttp_request *req, const char *key, int fallback, int min, int max)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
    struct evkeyvalq pairs;
    uint64_t value;
    int result = fallback;
    if (query == NULL || evhttp_parse_query_str(query, &pairs) != 0)
        return fallback;
    const char *text = evhttp_find_header(&pairs, key);
    if (text != NULL && slice_to_u64(slice_str(text), &value) && value >= (uint64_t)min &&
        value <= (uint64_t)max)
        result = (int)value;
    evhttp_clear_headers(&pairs);
    return result;
}

static const char *field(struct evhttp_request *req, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(req), name);
}

static void put_time(struct evbuffer *out, wall_s_t now_s)
{
    char date[HTTP_DATE_LEN + 1] = "";
    http_date_write(date, now_s);
    evbuffer_add_printf(out, "%s, <span data-made=\"%lld\">made just now</span>", date, (long long)now_s);
}

/* ---- pages ---- */

static void get_front(struct demo_app *app, struct evhttp_request *req)
{
    static const char *const shown[] = {
        "Host", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded",
        "Via",  "X-Request-Id",    "User-Agent"};
    struct evbuffer *out = page_begin(app, "A sample application");
    if (out != NULL) {
        evbuffer_add_printf(out, "<p>Made by <b>");
        put_escaped(out, app->name);
        evbuffer_add_printf(out, "</b>, ");
        put_time(out, clock_wall_s());
        evbuffer_add_printf(
            out, ".</p>\n<h2>What to look at</h2>\n%s<h2>What the application was sent</h2>\n<table>\n",
            demo_page_links);
        for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
            if (field(req, shown[i]) == NULL)
                continue;
            evbuffer_add_printf(out, "<tr><td>%s<td><code>", shown[i]);
            put_escaped(out, field(req, shown[i]));
            evbuffer_add_printf(out, "</code>\n");
        }
        evbuffer_add_printf(out, "</table>\n");
    }
    page_send(req, HTTP_OK, "no-store", out);
}

static void get_cached(struct demo_app *app, struct evhttp_request *req)
{
    struct evbuffer *out = page_begin(app, "A page that may be kept");
    if (out != NULL) {
        evbuffer_add_printf(out, "<p>");
        put_time(out, clock_wall_s());
        evbuffer_add_printf(
            out, ". It may be kept for 30 seconds (<code>max-age=30</code>): until then everybody gets this "
                 "copy.</p>\n");
    }
    page_send(req, HTTP_OK, "public, max-age=30", out);
}

static void get_vary(struct demo_app *app, struct evhttp_request *req)
{
    const char *language = field(req, "Accept-Language");
    bool german = language != NULL && (strncmp(language, "de", 2) == 0);
    struct evbuffer *out = page_begin(app, german ? "Guten Tag" : "Good day");
    if (out != NULL) {
        evbuffer_add_printf(out, "<p>%s ",
                            german ? "Diese Seite gibt es je Sprache einmal, hier f&uuml;r"
                                   : "There is one copy of this page per language, this one for");
        evbuffer_add_printf(out, "<code>Accept-Language: ");
        put_escaped(out, language != NULL ? language : "(none)");
        evbuffer_add_printf(out, "</code>.</p>\n");
    }
    put_field(req, "Vary", "Accept-Language");
    page_send(req, HTTP_OK, "public, max-age=60", out);
}

static void get_fail(struct demo_app *app, struct evhttp_request *req)
{
    int status = query_int(req, "status", 500, 400, 599);
    struct evbuffer *out = page_begin(app, "This page fails");
    if (out != NULL)
        evbuffer_add_printf(out, "<p>Status %d, on purpose.</p>\n", status);
    page_send(req, status, "no-store", out);
}

static void get_healthz(struct demo_app *app, struct evhttp_request *req)
{
    UNUSED(app);
    struct evbuffer *out = evbuffer_new();
    if (out != NULL)
        evbuffer_add_printf(out, "ok\n");
    answer(req, HTTP_OK, "text/plain", "no-store", out);
}

/* ---- the slow page ---- */

static void slow_free(struct slow_answer *s)
{
    list_remove(&s->node);
    if (s->timer != NULL)
        event_free(s->timer);
    free(s);
}

static void slow_on_close(struct evhttp_connection *connection, void *arg)
{
    UNUSED(connection);
    slow_free(arg);
}

static void slow_on_timer(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    struct slow_answer *s = arg;
    CHECK_MAGIC(s->app, DEMO_APP_MAGIC);
    evhttp_connection_set_closecb(evhttp_request_get_connection(s->req), NULL, NULL);
    struct evbuffer *out = page_begin(s->app, "A slow page");
    if (out != NULL)
        evbuffer_add_printf(
            out,
            "<p>This took %d ms to make and may be kept for 10 seconds. Of many who ask at once, one "
            "makes the application work.</p>\n",
            s->ms);
    page_send(s->req, HTTP_OK, "public, max-age=10", out);
    slow_free(s);
}

static void get_slow(struct demo_app *app, struct evhttp_request *req)
{
    int ms = query_int(req, "ms", 1500, 0, SLOW_MAX_MS);
    struct timeval tv = {ms / 1000, ms % 1000 * 1000};
    struct slow_answer *s = calloc(1, sizeof *s);
    if (s != NULL) {
        *s = (struct slow_answer){.app = app, .req = req, .ms = ms};
        list_init(&s->node);
        s->timer = evtimer_new(app->base, slow_on_timer, s);
    }
    if (s == NULL || s->timer == NULL || evtimer_add(s->timer, &tv) != 0) {
        if (s != NULL)
            slow_free(s);
        evhttp_send_error(req, HTTP_SERVUNAVAIL, NULL);
        return;
    }
    list_push_back(&app->waiting, &s->node);
    evhttp_connection_set_closecb(evhttp_request_get_connection(req), slow_on_close, s);
}

/* ---- assets ---- */

/* RFC 9110 section 13.2.2: If-Modified-Since counts only without If-None-Match. */
static bool asset_is_known(struct evhttp_request *req, const char *etag)
{
    const char *none_match = field(req, "If-None-Match"), *since = field(req, "If-Modified-Since");
    wall_s_t since_s, modified_s, now_s = clock_wall_s();
    if (none_match != NULL)
        return strcmp(none_match, "*") == 0 || strstr(none_match, etag) != NULL;
    return since != NULL && http_date_parse(slice_str(since), now_s, &since_s) &&
           http_date_parse(SLICE_LIT(ASSET_MODIFIED), now_s, &modified_s) && modified_s <= since_s;
}

static void get_asset(struct evhttp_request *req, const struct demo_asset *asset)
{
    char etag[DEMO_ETAG_BYTES];
    demo_asset_etag(asset, etag);
    put_field(req, "ETag", etag);
    put_field(req, "Last-Modified", ASSET_MODIFIED);
    if (asset_is_known(req, etag)) {
        put_field(req, "Cache-Control", "public, max-age=3600");
        evhttp_send_reply(req, HTTP_NOTMODIFIED, NULL, NULL);
        return;
    }
    struct evbuffer *out = evbuffer_new();
    if (out != NULL)
        evbuffer_add(out, asset->text.ptr, asset->text.len);
    answer(req, HTTP_OK, asset->type, "public, max-age=3600", out);
}

/* ---- the product ---- */

/* Reads the price, raised by `step` and written back when that is not 0; the lock orders instances. */
static long price_change(struct demo_app *app, long step)
{
    char text[32] = "";
    if (app->data_path[0] == '\0')
        return app->price_cents += step;
    int fd = open(app->data_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || flock(fd, LOCK_EX) != 0) {
        if (fd >= 0)
            close(fd);
        return app->price_cents;
    }
    long price = pread(fd, text, sizeof text - 1, 0) > 0 ? strtol(text, NULL, 10) : FIRST_PRICE_CENTS;
    if (price <= 0 || price > MAX_PRICE_CENTS)
        price = FIRST_PRICE_CENTS;
    if (step != 0) {
        price += step;
        int len = snprintf(text, sizeof text, "%ld\n", price);
        if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
            price -= step;
    }
    close(fd);
    return app->price_cents = price;
}

/* The purge line for this page as the asking client named it. */
static void put_purge_line(struct demo_app *app, struct evhttp_request *req, struct evbuffer *out, int id)
{
    const char *host =
        field(req, "X-Forwarded-Host") != NULL ? field(req, "X-Forwarded-Host") : field(req, "Host");
    evbuffer_add_printf(out, "<code>");
    put_escaped(out, app->purge_command);
    evbuffer_add_printf(out, " http://");
    put_escaped(out, host != NULL ? host : "HOST");
    evbuffer_add_printf(out, "/product/%d</code>", id);
}

static void get_product(struct demo_app *app, struct evhttp_request *req, int id)
{
    long price = price_change(app, 0);
    struct evbuffer *out = page_begin(app, "A product");
    if (out != NULL) {
        evbuffer_add_printf(out, "<p>Product %d costs <span class=\"big\">%ld.%02ld</span></p>\n<p>", id,
                            price / 100, price % 100);
        put_time(out, clock_wall_s());
        evbuffer_add_printf(
            out,
            ". This page may be kept for 5 minutes.</p>\n"
            "<form method=\"post\" action=\"http://127.0.0.1:%u/product/%d\"><button>Raise the "
            "price</button> at "
            "the application itself, behind the proxy's back</form>\n"
            "<p>The copy that the proxy keeps does not change by that. Make the new price seen with</p>\n<p>",
            app->port, id);
        put_purge_line(app, req, out, id);
        evbuffer_add_printf(out, "</p>\n");
    }
    page_send(req, HTTP_OK, "public, max-age=300", out);
}

static void post_product(struct demo_app *app, struct evhttp_request *req, int id)
{
    long price = price_change(app, PRICE_STEP_CENTS);
    struct evbuffer *out = page_begin(app, "The price has changed");
    if (out != NULL)
        evbuffer_add_printf(out,
                            "<p>Product %d costs <span class=\"big\">%ld.%02ld</span> now.</p>\n<p>Go back "
                            "and reload: a kept "
                            "copy still shows the old price until it is purged.</p>\n",
                            id, price / 100, price % 100);
    page_send(req, HTTP_OK, "no-store", out);
}

/* ---- routing ---- */

struct app_page {
    const char *path;
    void (*get)(struct demo_app *app, struct evhttp_request *req);
};

static const struct app_page app_pages[] = {
    {"/", get_front},    {"/cached", get_cached}, {"/vary", get_vary},
    {"/slow", get_slow}, {"/fail", get_fail},     {"/healthz", get_healthz},
};

static void refuse(struct demo_app *app, struct evhttp_request *req, int status, const char *title)
{
    struct evbuffer *out = page_begin(app, title);
    page_send(req, status, "no-store", out);
}

static bool route_get(struct demo_app *app, struct evhttp_request *req, const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(app_pages); i++) {
        if (strcmp(path, app_pages[i].path) == 0) {
            app_pages[i].get(app, req);
            return true;
        }
    }
    for (size_t i = 0; i < DEMO_ASSETS; i++) {
        if (strcmp(path, demo_assets[i].path) == 0) {
            get_asset(req, &demo_assets[i]);
            return true;
        }
    }
    return false;
}

static void on_request(struct evhttp_request *req, void *arg)
{
    struct demo_app *app = arg;
    CHECK_MAGIC(app, DEMO_APP_MAGIC);
    static const slice_t products = SLICE_LIT("/product/");
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(req));
    enum evhttp_cmd_type method = evhttp_request_get_command(req);
    bool is_read = method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD;
    slice_t text = slice_str(path);
    uint64_t id;
    put_field(req, "X-Served-By", app->name);
    if (slice_starts(text, products) &&
        slice_to_u64(slice_make(text.ptr + products.len, text.len - products.len), &id) && id <= INT32_MAX) {
        if (is_read)
            get_product(app, req, (int)id);
        else if (method == EVHTTP_REQ_POST)
            post_product(app, req, (int)id);
        else
            refuse(app, req, HTTP_BADMETHOD, "Not that way");
    } else if (!is_read) {
        refuse(app, req, HTTP_BADMETHOD, "Not that way");
    } else if (path == NULL || !route_get(app, req, path[0] != '\0' ? path : "/")) {
        refuse(app, req, HTTP_NOTFOUND, "There is no such page");
    }
}

/* ---- life ---- */

static bool app_serve(struct demo_app *app, int fd)
{
    struct net_addr bound;
    struct evconnlistener *listener =
        evconnlistener_new(app->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE, 0, fd);
    if (listener == NULL) {
        close(fd);
        return false;
    }
    app->port = net_local_addr(fd, &bound) ? net_addr_port(&bound) : 0;
    if ((app->http = evhttp_new(app->base)) == NULL || evhttp_bind_listener(app->http, listener) == NULL) {
        evconnlistener_free(listener);
        return false;
    }
    evhttp_set_max_headers_size(app->http, MAX_HEADER_BYTES);
    evhttp_set_max_body_size(app->http, MAX_BODY_BYTES);
    evhttp_set_gencb(app->http, on_request, app);
    return true;
}

struct demo_app *demo_app_create(struct event_base *base, int fd, const struct demo_app_settings *s)
{
    struct demo_app *app = calloc(1, sizeof *app);
    if (app == NULL) {
        close(fd);
        return NULL;
    }
    app->magic = DEMO_APP_MAGIC;
    app->base = base;
    app->price_cents = FIRST_PRICE_CENTS;
    app->name = strdup(s->name);
    app->data_path = strdup(s->data_path != NULL ? s->data_path : "");
    app->purge_command = strdup(s->purge_command != NULL ? s->purge_command : "millpond purge");
    list_init(&app->waiting);
    if (app_serve(app, fd) && app->name != NULL && app->data_path != NULL && app->purge_command != NULL)
        return app;
    demo_app_destroy(app);
    return NULL;
}

/* evhttp_free calls the close callbacks of its connections, which end the slow answers. */
void demo_app_destroy(struct demo_app *app)
{
    CHECK_MAGIC(app, DEMO_APP_MAGIC);
    if (app->http != NULL)
        evhttp_free(app->http);
    while (!list_empty(&app->waiting))
        slow_free(CONTAINER_OF(app->waiting.next, struct slow_answer, node));
    free(app->name);
    free(app->data_path);
    free(app->purge_command);
    app->magic = 0;
    free(app);
}

static void on_signal(evutil_socket_t fd, short what, void *base)
{
    UNUSED(fd);
    UNUSED(what);
    event_base_loopbreak(base);
}

static int app_run(int fd, const struct demo_app_settings *s)
{
    struct event_base *base = event_base_new();
    struct demo_app *app = base != NULL ? demo_app_create(base, fd, s) : NULL;
    struct event *term = app != NULL ? evsignal_new(base, SIGTERM, on_signal, base) : NULL;
    struct event *intr = app != NULL ? evsignal_new(base, SIGINT, on_signal, base) : NULL;
    bool ok = term != NULL && intr != NULL && event_add(term, NULL) == 0 && event_add(intr, NULL) == 0;
    if (ok)
        event_base_dispatch(base);
    else
        fprintf(stderr, "demo-app: out of memory\n");
    if (term != NULL)
        event_free(term);
    if (intr != NULL)
        event_free(intr);
    if (app != NULL)
        demo_app_destroy(app);
    if (base != NULL)
        event_base_free(base);
    return ok ? 0 : 1;
}

int demo_app_main(int argc, char **argv)
{
    static const struct option options[] = {{"port", required_argument, NULL, 'p'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"data", required_argument, NULL, 'd'},
                                            {"purge", required_argument, NULL, 'u'},
                                            {NULL, 0, NULL, 0}};
    struct demo_app_settings s = {.name = "app"};
    struct net_addr addr = {.len = sizeof addr.in4, .in4 = {.sin_family = AF_INET}};
    uint64_t port = 0;
    int opt;
    bool fine = true;
    optind = 0;
    while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (opt == 'p')
            fine = fine && slice_to_u64(slice_str(optarg), &port) && port > 0 && port <= UINT16_MAX;
        else if (opt == 'n')
            s.name = optarg;
        else if (opt == 'd')
            s.data_path = optarg;
        else if (opt == 'u')
            s.purge_command = optarg;
        else
            fine = false;
    }
    if (!fine || port == 0 || optind < argc) {
        fprintf(stderr, "usage: millpond demo-app --port N [--name NAME] [--data FILE] [--purge COMMAND]\n");
        return 2;
    }
    addr.in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.in4.sin_port = htons((uint16_t)port);
    signal(SIGPIPE, SIG_IGN);
    int fd = net_listen(&addr, 128, false);
    if (fd >= 0)
        return app_run(fd, &s);
    fprintf(stderr, "demo-app: 127.0.0.1:%u: %s\n", (unsigned)port, strerror(errno));
    return DEMO_APP_NO_PORT;
}
