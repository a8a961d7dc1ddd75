/* cache_requests.c: what a request makes of the cache: directives of clients (RFC 9111 section 5.2.1) where a
 * route obeys them, and methods that change what is stored (section 4.4). */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define LONG  "Cache-Control: max-age=600\r\n"
#define OBEY  "[route all]\nignore_client_cache_control = no\n"
#define CC(d) "Cache-Control: " d "\r\n"

/* One request: its fields, the body that comes back, and what Cache-Status holds. */
struct ask {
    const char *target, *fields, *body, *status;
};

static void expect_asks(struct millpond *m, const struct ask *asks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct message *r = client_get(m->port, asks[i].target, asks[i].fields);
        EXPECT(r->status == 200 && strcmp(r->body, asks[i].body) == 0, "ask %zu: %s %s: %d %s", i,
               asks[i].target, asks[i].fields, r->status, r->body);
        expect_field_in(r, "Cache-Status", asks[i].status);
    }
}

static void clients_cannot_go_past_the_cache_by_default(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG}, {.path = "/q", .fields = LONG}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    static const struct ask asks[] = {
        {"/p", "", "/p#1", "fwd=uri-miss; stored"},
        {"/p", CC("no-cache"), "/p#1", "hit"},
        {"/p", CC("no-store, max-age=0, min-fresh=9999"), "/p#1", "hit"},
        {"/p", "Pragma: no-cache\r\n", "/p#1", "hit"},
        {"/q", CC("only-if-cached, no-store"), "/q#1", "fwd=uri-miss; stored"},
        {"/q", "", "/q#1", "hit"},
    };
    expect_asks(m, asks, ARRAY_LEN(asks));
    millpond_stop(m);
}

static void directives_are_obeyed_where_the_route_says_so(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p", .fields = LONG},
        {.path = "/tag", .fields = LONG, .etag = "\"v1\""},
        {.path = "/old", .fields = LONG "Age: 700\r\n", .etag = "\"v1\""},
        {.path = "/must", .fields = CC("max-age=600, must-revalidate") "Age: 700\r\n", .etag = "\"v1\""},
        {.path = "/private", .fields = LONG},
        {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), OBEY);
    static const struct ask asks[] = {
        {"/p", "", "/p#1", "fwd=uri-miss; stored"},
        {"/p", CC("max-age=500, min-fresh=60, no-transform"), "/p#1", "hit"},
        {"/p", CC("no-cache"), "/p#2", "fwd=request; stored"},
        {"/p", "", "/p#2", "hit"}, /* the newer one took its place */
        {"/p", CC("max-age=0"), "/p#3", "fwd=request; stored"},
        {"/p", CC("min-fresh=601"), "/p#4", "fwd=request; stored"},
        {"/p", "Pragma: no-cache\r\n", "/p#5", "fwd=request; stored"},
        {"/p", "Pragma: no-cache\r\n" CC("max-stale"), "/p#5", "hit"},
        {"/p", CC("no-store"), "/p#5", "hit"},
        {"/p", CC("no-cache, no-store"), "/p#6", "fwd=request; detail=request_no_store"},
        {"/p", CC("only-if-cached"), "/p#5", "hit"},
        {"/tag", "", "/tag#1", "fwd=uri-miss; stored"},
        {"/tag", CC("no-cache"), "/tag#1", "fwd=request; fwd-status=304"},
        {"/old", "", "/old#1", "fwd=uri-miss; stored"},
        {"/old", CC("max-stale"), "/old#1", "hit; ttl=-"},
        {"/old", CC("max-stale=5000"), "/old#1", "hit; ttl=-"},
        {"/old", CC("max-stale=5"), "/old#1", "fwd=stale; fwd-status=304"},
        {"/must", "", "/must#1", "fwd=uri-miss; stored"},
        {"/must", CC("max-stale"), "/must#1", "fwd=stale; fwd-status=304"},
        {"/private", CC("no-store"), "/private#1", "fwd=uri-miss; detail=request_no_store"},
        {"/private", "", "/private#2", "fwd=uri-miss; stored"},
    };
    expect_asks(m, asks, ARRAY_LEN(asks));
    millpond_stop(m);
}

static void only_if_cached_is_answered_without_the_origin(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, OBEY);
    struct client *c = client_open(m->port);
    for (int i = 0; i < 2; i++) { /* the connection goes on */
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\nCache-Control: only-if-cached\r\n\r\n");
        struct message *r = client_read(c);
        expect_status(r, 504);
        expect_field(r, "Cache-Status", "millpond; detail=only_if_cached");
        expect_in(r->body, "only-if-cached");
    }
    assert_int_equal(origin_requests(o), 0);
    struct message *first = client_get(m->port, "/p", "");
    expect_body(first, "/p#1");
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\nCache-Control: only-if-cached, no-cache\r\n\r\n");
    expect_status(client_read(c), 504); /* there is one, but not without asking */
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\nCache-Control: only-if-cached\r\n\r\n");
    expect_status(client_read_no_body(c), 200);
    assert_int_equal(origin_requests(o), 1);
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              "millpond_no_store_total{reason=\"only_if_cached\"} 3");
    millpond_stop(m);
}

/* What a fetch from before the request brings may be older than the client wants. */
static void reload_does_not_join_an_older_fetch(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct page pages[] = {{.path = "/p", .fields = LONG, .gate = g}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), OBEY);
    struct client *first = client_open(m->port), *reload = client_open(m->port);
    client_send(first, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    client_send(reload, "GET /p HTTP/1.1\r\nHost: test\r\nCache-Control: no-cache\r\n\r\n");
    gate_wait_arrived(g, 2);
    gate_open(g);
    struct message *r = client_read(reload);
    expect_body(r, "/p#2");
    expect_field_in(r, "Cache-Status", "fwd=uri-miss; detail=request_reload");
    expect_body(client_read(first), "/p#1");
    millpond_stop(m);
}

/* ---- unsafe methods ---- */

/* GET counts answers by path, as pages do, and varies by X-V. All else answers as X-Answer says: a status,
 * and fields separated by '|'. */
static void shop_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct gate *held = arg;
    static _Atomic unsigned served;
    const char *answer = message_field(request, "X-Answer");
    char fields[512] = "", body[64];
    if (answer == NULL) {
        snprintf(body, sizeof(body), "%s#%u", request->target, ++served);
        origin_respond(c, 200, LONG "Vary: X-V\r\n", body);
        return;
    }
    size_t n = 0;
    for (const char *p = strchr(answer, '|'); p != NULL; p = strchr(p + 1, '|'))
        n += (size_t)snprintf(fields + n, sizeof(fields) - n, "%.*s\r\n", (int)strcspn(p + 1, "|"), p + 1);
    origin_send(c, "HTTP/1.1 %d Scripted\r\n%sContent-Length: 4\r\n\r\n", atoi(answer), fields);
    if (held != NULL)
        gate_pass(held);
    origin_send(c, "done");
}

static const char *shop_get(struct millpond *m, const char *target, const char *fields)
{
    struct message *r = client_get(m->port, target, fields);
    expect_status(r, 200);
    return r->body;
}

/* Stores `target`, sends the request, and says whether the page is gone. */
static bool goes(struct millpond *m, const char *target, const char *method, const char *to,
                 const char *answer)
{
    const char *before = shop_get(m, target, "");
    assert_string_equal(shop_get(m, target, ""), before);
    client_ask(m->port, method, to, textf("X-Answer: %s\r\n", answer), "");
    return strcmp(shop_get(m, target, ""), before) != 0;
}

static void success_of_an_unsafe_method_invalidates(void **state)
{
    UNUSED(state);
    static const struct {
        const char *target, *method, *to, *answer;
        bool gone;
    } rows[] = {
        {"/p", "POST", "/p", "200", true},
        {"/p", "PUT", "/p", "201", true},
        {"/p", "DELETE", "/p", "202", true},
        {"/p", "PATCH", "/p", "200", true},
        {"/p", "POST", "/p", "303|Location: /elsewhere", true},
        {"/p", "MAKEITSO", "/p", "200", true},
        {"/p", "OPTIONS", "/p", "200", false},
        {"/p", "POST", "/p", "400", false},
        {"/p", "PUT", "/p", "412", false},
        {"/p", "DELETE", "/p", "500", false},
        {"/p", "POST", "/q", "200", false},
        {"/p", "POST", "/p?x", "200", false},
        {"/p?x", "POST", "/p?x", "200", true},
        {"/list/5", "POST", "/list", "201|Location: /list/5", true},
        {"/list/5", "POST", "/list/", "201|Location: 5", true},
        {"/list/5", "POST", "/list", "201|Location: http://test/list/5#x", true},
        {"/list/5", "POST", "/list", "200|Content-Location: list/./5", true},
        {"/list/5", "POST", "/list", "303|Content-Location: /a|Location: //test/list/5", true},
        {"/list/5", "POST", "/list", "201|Location: http://other/list/5", false},
        {"/list/5", "POST", "/list", "404|Location: /list/5", false},
        {"/list/5", "OPTIONS", "/list", "200|Location: /list/5", false},
    };
    struct millpond *m = millpond_before(origin_start(shop_script, NULL), "");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bool gone = goes(m, rows[i].target, rows[i].method, rows[i].to, rows[i].answer);
        EXPECT(gone == rows[i].gone, "row %zu: %s by %s %s answered %s: %s", i, rows[i].target,
               rows[i].method, rows[i].to, rows[i].answer, gone ? "gone" : "kept");
    }
    millpond_stop(m);
}

static void all_variants_go_and_nothing_else(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start(shop_script, NULL), "");
    const char *a = shop_get(m, "/p", "X-V: a\r\n"), *b = shop_get(m, "/p", "X-V: b\r\n");
    const char *q = shop_get(m, "/q", "");
    assert_string_equal(shop_get(m, "/p", "X-V: a\r\n"), a);
    assert_string_equal(shop_get(m, "/p", "X-V: b\r\n"), b);
    client_ask(m->port, "POST", "/p", "X-V: c\r\nX-Answer: 200\r\n", "x");
    assert_string_not_equal(shop_get(m, "/p", "X-V: a\r\n"), a);
    assert_string_not_equal(shop_get(m, "/p", "X-V: b\r\n"), b);
    assert_string_equal(shop_get(m, "/q", ""), q);
    assert_int_equal(millpond_figure(m, "invalidations"), 1);
    client_ask(m->port, "POST", "/never/seen", "X-Answer: 200\r\n", "x");
    assert_int_equal(millpond_figure(m, "invalidations"), 1);
    millpond_stop(m);
}

/* The client holds no more than the head of the answer, and the old page is gone already. */
static void page_is_gone_before_the_answer_is_there(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct millpond *m =
        millpond_before(origin_start(shop_script, g), "[route post]\nmethod = POST\ncache = off\n"
                                                      "[route rest]\n");
    const char *before = shop_get(m, "/p", "");
    struct client *c = client_open(m->port);
    client_send(c, "POST /p HTTP/1.1\r\nHost: test\r\nX-Answer: 200\r\nContent-Length: 0\r\n\r\n");
    struct message *r = client_read_head(c);
    expect_status(r, 200);
    assert_string_not_equal(shop_get(m, "/p", ""), before);
    gate_open(g);
    wire_read_body(&c->wire, r);
    expect_body(r, "done");
    millpond_stop(m);
}

/* Promise 2: the fetch began before the answer, so what it brings is from before. */
static void fetch_from_before_is_not_kept(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct page pages[] = {{.path = "/p", .fields = LONG, .gate = g}, {0}};
    struct origin *slow = origin_start(pages_script, pages), *fast = origin_start(shop_script, NULL);
    struct millpond *m =
        millpond_start(.rest = textf("%s%s[route post]\nmethod = POST\npool = fast\n"
                                     "[route get]\npool = slow\n",
                                     pool_lines("slow", 1, slow), pool_lines("fast", 1, fast)));
    struct client *early = client_open(m->port), *late = client_open(m->port);
    client_send(early, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    expect_status(client_ask(m->port, "POST", "/p", "X-Answer: 200\r\n", "x"), 200);
    client_send(late, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 2); /* it did not join */
    gate_open(g);
    expect_body(client_read(early), "/p#1");
    expect_body(client_read(late), "/p#2");
    expect_body(client_get(m->port, "/p", ""), "/p#2");
    millpond_stop(m);
}

static void warning_is_dropped(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG "Warning: 110 - \"stale\"\r\n"},
                           {.path = "/pass", .fields = "Warning: 110 - \"stale\"\r\nX-Kept: 1\r\n"},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_no_field(client_get(m->port, "/p", ""), "Warning");
    expect_no_field(client_get(m->port, "/p", ""), "Warning");
    struct message *r = client_get(m->port, "/pass", "");
    expect_no_field(r, "Warning");
    expect_field(r, "X-Kept", "1");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(clients_cannot_go_past_the_cache_by_default),
        E2E_TEST(directives_are_obeyed_where_the_route_says_so),
        E2E_TEST(only_if_cached_is_answered_without_the_origin),
        E2E_TEST(reload_does_not_join_an_older_fetch),
        E2E_TEST(success_of_an_unsafe_method_invalidates),
        E2E_TEST(all_variants_go_and_nothing_else),
        E2E_TEST(page_is_gone_before_the_answer_is_there),
        E2E_TEST(fetch_from_before_is_not_kept),
        E2E_TEST(warning_is_dropped),
    };
    return E2E_RUN("cache_requests", tests);
}
