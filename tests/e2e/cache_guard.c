/* cache_guard.c: the rules of docs/leak-guard.md one by one, each with what it lets through and what not:
 * cookies in requests and responses, paths that look like files, and fields that change a response behind the
 * key's back. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

static struct millpond *start(struct page *pages, struct origin **origin, const char *sections)
{
    *origin = origin_start(pages_script, pages);
    return millpond_before_(*origin, sections);
}

#define expect_page(m, target, fields, body) (SUPPORT_AT, expect_page_(m, target, fields, body))
static struct message *expect_page_(struct millpond *m, const char *target, const char *fields,
                                    const char *body)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_body(r, body);
    return r;
}

#define ALICE "Cookie: sid=alice\r\n"
#define BOB   "Cookie: sid=bob\r\n"

/* ---- cookies of requests ---- */

static void cookie_on_a_ttl_route_is_not_shared(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = ""}, {.path = "/q", .fields = ""}, {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route r]\nttl = 1h\n");
    expect_field_in(expect_page(m, "/p", ALICE, "/p#1"), "Cache-Status", "detail=cookie");
    expect_page(m, "/p", ALICE, "/p#2");
    expect_page(m, "/p", BOB, "/p#3");
    expect_page(m, "/p", "", "/p#4"); /* those without are none the worse for it */
    expect_field_in(expect_page(m, "/p", "", "/p#4"), "Cache-Status", "hit");
    expect_field_in(expect_page(m, "/p", BOB, "/p#5"), "Cache-Status", "fwd=bypass; detail=cookie");
    expect_page(m, "/p", "", "/p#4");
    expect_page(m, "/p", "Cookie: \r\n", "/p#4"); /* none in it */
    expect_field_in(expect_page(m, "/q", "Authorization: Bearer a\r\n", "/q#1"), "Cache-Status",
                    "detail=authorization");
    expect_page(m, "/q", "", "/q#2");
    expect_page(m, "/q", "Authorization: Bearer a\r\n", "/q#3");
    millpond_stop(m);
}

static void refused_client_that_wants_no_fetch_gets_none(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = ""}, {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route r]\nttl = 1h\nignore_client_cache_control = no\n");
    expect_page(m, "/p", "", "/p#1");
    expect_status(client_get(m->port, "/p", ALICE "Cache-Control: only-if-cached\r\n"), 504);
    expect_status(client_get(m->port, "/p", "Cache-Control: only-if-cached\r\n"), 200);
    expect_field_in(expect_page(m, "/p", ALICE "Cache-Control: max-stale\r\n", "/p#2"), "Cache-Status",
                    "detail=cookie");
    millpond_stop(m);
}

static void response_that_allows_it_is_shared_for_the_ttl(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/public", .fields = "Cache-Control: public\r\n"},
                           {.path = "/shared", .fields = "Cache-Control: s-maxage=1\r\n"},
                           {.path = "/targeted", .fields = "CDN-Cache-Control: max-age=1\r\n"},
                           {.path = "/max-age", .fields = "Cache-Control: max-age=1\r\n"},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route r]\nttl = 1h\n");
    for (struct page *p = pages; p->path != NULL; p++) {
        expect_page(m, p->path, ALICE, textf("%s#1", p->path));
        struct message *r = expect_page(m, p->path, BOB, textf("%s#1", p->path));
        expect_field_in(r, "Cache-Status", "hit; ttl=3");
        expect_page(m, p->path, "", textf("%s#1", p->path));
    }
    expect_page(m, "/public?2", "Authorization: Bearer a\r\n", "/public#2");
    expect_page(m, "/public?2", "Authorization: Bearer b\r\n", "/public#2");
    expect_page(m, "/max-age?2", "Authorization: Bearer a\r\n", "/max-age#2");
    expect_page(m, "/max-age?2", "Authorization: Bearer b\r\n", "/max-age#3");
    millpond_stop(m);
}

static void removed_cookies_never_reach_the_application(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .vary_on = "Cookie", .fields = ""}, {0}};
    struct origin *o;
    struct millpond *m =
        start(pages, &o,
              "[route some]\npath = /p\nheader = X-Some: 1\nttl = 1h\nremove_cookies = _ga*, "
              "theme\ncache = bypass_if=cookie:member\n"
              "[route all]\nttl = 1h\nremove_cookies = all\n");
#define SOME "X-Some: 1\r\n"
    expect_page(m, "/p", SOME "Cookie: _ga=1; theme=a; _gat_x=2; junk\r\nCookie: sid=1; _ga2=2\r\n",
                "/p#1 junk"); /* the first line of what is left */
    expect_page(m, "/p", SOME "Cookie: sid=1\r\n", "/p#2 sid=1");
    expect_page(m, "/p", SOME "Cookie: _ga=1; theme=a\r\n", "/p#3 none");
    expect_page(m, "/p", SOME "Cookie: _ga=2\r\n", "/p#3 none");
    expect_page(m, "/p", SOME, "/p#3 none");
    expect_page(m, "/p", SOME "Cookie: member=1; _ga=1\r\n", "/p#4 member=1; _ga=1"); /* past the cache */
    expect_page(m, "/p?all", "Cookie: sid=1; _ga=2\r\n", "/p#5 none");
    expect_page(m, "/p?all", BOB, "/p#5 none");
    struct message *r = client_ask(m->port, "POST", "/p?all", "Cookie: sid=1; _ga=2\r\n", "x");
    expect_body(r, "/p#6 sid=1; _ga=2"); /* never answered from the cache */
    millpond_stop(m);
}

/* ---- fields that Millpond writes ---- */

static void what_varies_by_client_is_not_shared(void **state)
{
    UNUSED(state);
#define VARIES(name) "Cache-Control: max-age=600\r\nVary: Accept, " name "\r\n"
    struct page pages[] = {{.path = "/address", .fields = VARIES("X-Forwarded-For")},
                           {.path = "/set", .fields = VARIES("X-Real-IP")},
                           {.path = "/fixed", .fields = VARIES("X-Fixed")},
                           {.path = "/gone", .fields = VARIES("Forwarded")},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o,
                               "[route r]\nset_request_header = X-Real-IP: $client_ip\n"
                               "set_request_header = X-Fixed: 1\nremove_request_header = Forwarded\n");
    static const struct {
        const char *path;
        bool stored;
    } rows[] = {{"/address", false}, {"/set", false}, {"/fixed", true}, {"/gone", true}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        expect_page(m, rows[i].path, "", textf("%s#1", rows[i].path));
        struct message *r =
            expect_page(m, rows[i].path, "", textf("%s#%d", rows[i].path, rows[i].stored ? 1 : 2));
        if (!rows[i].stored)
            expect_field_in(r, "Cache-Status", "detail=");
    }
    millpond_stop(m);
}

/* ---- cookies of responses ---- */

#define COOKIE "Set-Cookie: sid=new\r\n"

static void set_cookie_is_its_clients_alone(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/no", .fields = "Cache-Control: max-age=600\r\n" COOKIE},
                           {.path = "/yes",
                            .fields = "Cache-Control: max-age=600\r\n" COOKIE "Set-Cookie: b=2\r\n",
                            .etag = "\"e\""},
                           {.path = "/held", .fields = "Cache-Control: max-age=600\r\n" COOKIE},
                           {0}};
    struct gate *gate = gate_new();
    pages[2].gate = gate;
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route no]\npath = /no\n[route yes]\nignore_set_cookie = yes\n");
    expect_field_in(expect_page(m, "/no", "", "/no#1"), "Cache-Status", "detail=set_cookie");
    expect_field(expect_page(m, "/no", "", "/no#2"), "Set-Cookie", "sid=new");
    struct message *r = expect_page(m, "/yes", "", "/yes#1");
    assert_int_equal(message_field_count(r, "Set-Cookie"), 2);
    expect_field_in(r, "Cache-Status", "stored");
    expect_no_field(expect_page(m, "/yes", "", "/yes#1"), "Set-Cookie");
    expect_no_field(expect_page(m, "/yes", "Range: bytes=1-2\r\n", "ye"), "Set-Cookie");
    r = client_get(m->port, "/yes", "If-None-Match: \"e\"\r\n");
    expect_status(r, 304);
    expect_no_field(r, "Set-Cookie");
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /yes HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_no_field(client_read_no_body(c), "Set-Cookie");
    /* The first asks for a range, the second waits for what comes. */
    r = expect_page(m, "/yes?range", "Range: bytes=1-2\r\n", "ye");
    expect_status(r, 206);
    assert_int_equal(message_field_count(r, "Set-Cookie"), 2);
    struct client *leader = client_open(m->port), *follower = client_open(m->port);
    client_send(leader, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    r = client_read_head(leader);
    expect_field(r, "Set-Cookie", "sid=new");
    client_send(follower, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    r = client_read_head(follower);
    expect_field_in(r, "Cache-Status", "collapsed");
    expect_no_field(r, "Set-Cookie");
    gate_open(gate);
    millpond_stop(m);
}

static void cookie_of_a_confirmation_is_its_clients_alone(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p", .fields = "Cache-Control: max-age=0\r\nX-Was: 1\r\n", .etag = "\"e\""},
        {.path = "/i", .fields = "Cache-Control: max-age=0\r\nX-Was: 1\r\n", .etag = "\"e\""},
        {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route i]\npath = /i\nignore_set_cookie = yes\n[route p]\n");
    for (struct page *p = pages; p->path != NULL; p++) {
        bool merged = p->path[1] == 'i';
        expect_page(m, p->path, "", textf("%s#1", p->path));
        p->fields = "Cache-Control: max-age=0\r\nX-Was: 2\r\n" COOKIE;
        struct message *r = expect_page(m, p->path, ALICE, textf("%s#1", p->path));
        expect_field(r, "Set-Cookie", "sid=new");
        assert_int_equal(message_field_count(r, "Age"), 1);
        expect_field_in(r, "Cache-Status", "fwd-status=304");
        p->fields = "Cache-Control: max-age=0\r\n";
        r = expect_page(m, p->path, BOB, textf("%s#1", p->path));
        expect_no_field(r, "Set-Cookie");
        expect_field(r, "X-Was", merged ? "2" : "1"); /* what came with a cookie is not for all */
    }
    millpond_stop(m);
}

static void confirmation_for_one_client_changes_nothing_for_others(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "Cache-Control: public\r\nX-Was: 1\r\n", .etag = "\"e\""},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "[route r]\nttl = 1h\nignore_client_cache_control = no\n");
    expect_page(m, "/p", "", "/p#1");
    pages[0].fields = "Cache-Control: no-cache\r\nX-Was: alice\r\n";
    struct message *r = expect_page(m, "/p", ALICE "Cache-Control: no-cache\r\n", "/p#1");
    expect_field_in(r, "Cache-Status", "fwd-status=304");
    expect_field(expect_page(m, "/p", "", "/p#1"), "X-Was", "1");
    expect_field(expect_page(m, "/p", BOB, "/p#1"), "X-Was", "1");
    millpond_stop(m);
}

/* ---- errors of others ---- */

static void reset_alice(struct origin_conn *c, const struct message *request, void *arg)
{
    const char *token = message_field(request, "Authorization"), *cookie = message_field(request, "Cookie");
    if (strcmp(token != NULL ? token : cookie != NULL ? cookie : "", "alice") == 0) {
        gate_pass(arg);
        origin_reset(c);
    } else {
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "fine");
    }
}

static void error_of_another_is_not_pushed(void **state)
{
    UNUSED(state);
    static const char *const fields[] = {"Cookie", "Authorization"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct gate *gate = gate_new();
        struct origin *o = origin_start(reset_alice, gate);
        struct millpond *m =
            millpond_start(.main = "workers = 1\n",
                           .rest = textf("%sretries = 0\n[route r]\nttl = 1h\n", pool_lines("app", 1, o)));
        struct client *alice = client_open(m->port), *bob = client_open(m->port), *any = client_open(m->port);
        client_send(alice, "GET /p HTTP/1.1\r\nHost: test\r\n%s: alice\r\n\r\n", fields[i]);
        origin_wait_requests(o, 1);
        client_send(bob, "GET /p HTTP/1.1\r\nHost: test\r\n%s: bob\r\n\r\n", fields[i]);
        client_send(any, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
        millpond_wait_figure(m, "requests_in_flight", 3);
        gate_open(gate);
        expect_status(client_read(alice), 502);
        expect_body(client_read(bob), "fine");
        expect_body(client_read(any), "fine");
        millpond_stop(m);
    }
}

static void reset_who_asks_for_nobody(struct origin_conn *c, const struct message *request, void *arg)
{
    if (message_field(request, "Cookie") == NULL) {
        gate_pass(arg);
        origin_reset(c);
    } else {
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "fine");
    }
}

static void error_of_nobody_is_not_pushed_to_somebody(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct origin *o = origin_start(reset_who_asks_for_nobody, gate);
    struct millpond *m =
        millpond_start(.main = "workers = 1\n",
                       .rest = textf("%sretries = 0\n[route r]\nttl = 1h\n", pool_lines("app", 1, o)));
    struct client *any = client_open(m->port), *bob = client_open(m->port);
    client_send(any, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    origin_wait_requests(o, 1);
    client_send(bob, "GET /p HTTP/1.1\r\nHost: test\r\n" BOB "\r\n");
    millpond_wait_figure(m, "requests_in_flight", 2);
    gate_open(gate);
    expect_status(client_read(any), 502);
    expect_body(client_read(bob), "fine");
    millpond_stop(m);
}

#define OLD "Cache-Control: public, max-age=0, stale-if-error=600\r\n"

static void refuse_alice(struct origin_conn *c, const struct message *request, void *arg)
{
    if (message_field(request, "Authorization") != NULL) {
        gate_pass(arg);
        origin_respond(c, 503, "", "not for alice");
    } else {
        origin_respond(c, 200, OLD, origin_requests(c->origin) == 1 ? "old" : "new");
    }
}

static void error_status_of_another_makes_nothing_stale(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct origin *o = origin_start(refuse_alice, gate);
    struct millpond *m =
        millpond_start(.main = "workers = 1\n", .rest = textf("%sretries = 0\n", pool_lines("app", 1, o)));
    expect_page(m, "/p", "", "old");
    struct client *alice = client_open(m->port), *any = client_open(m->port);
    client_send(alice, "GET /p HTTP/1.1\r\nHost: test\r\nAuthorization: alice\r\n\r\n");
    origin_wait_requests(o, 2);
    client_send(any, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "requests_in_flight", 2);
    gate_open(gate);
    expect_body(client_read(alice), "old"); /* said to be public, and for this case */
    expect_body(client_read(any), "new");
    millpond_stop(m);
}

static void hold_the_second(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    if (origin_requests(c->origin) == 2)
        gate_pass(arg);
    origin_respond(c, 200, "", "fine");
}

/* Once a response to credentials could not be shared, the next ones do not queue for each other. */
static void requests_with_credentials_do_not_queue(void **state)
{
    UNUSED(state);
    struct gate *gate = gate_new();
    struct origin *o = origin_start(hold_the_second, gate);
    struct millpond *m = millpond_before(o, "[route r]\nttl = 1h\n");
    expect_page(m, "/p", ALICE, "fine");
    struct client *alice = client_open(m->port);
    client_send(alice, "GET /p HTTP/1.1\r\nHost: test\r\n" ALICE "\r\n");
    origin_wait_requests(o, 2);
    expect_page(m, "/p", BOB, "fine"); /* while alice is waiting */
    expect_page(m, "/p", "", "fine");
    gate_open(gate);
    expect_body(client_read(alice), "fine");
    expect_field_in(expect_page(m, "/p", "", "fine"), "Cache-Status", "hit");
    millpond_stop(m);
}

static void gone_later(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (origin_requests(c->origin) == 1)
        origin_respond(c, 200, "Cache-Control: max-age=0, stale-while-revalidate=600\r\n", "there");
    else
        origin_respond(c, 404, "", message_field(request, "Cookie") != NULL ? "gone for bob" : "gone");
}

/* A fetch in the background has the credentials of who set it off. */
static void background_fetch_is_its_clients_own(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(gone_later, NULL);
    struct millpond *m = millpond_before(o, "[route r]\nttl_404 = 1h\n");
    expect_page(m, "/p", "", "there");
    expect_page(m, "/p", BOB, "there");
    origin_wait_requests(o, 2);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    expect_page(m, "/p", "", "there");
    origin_wait_requests(o, 3);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    expect_page(m, "/p", "", "gone");
    millpond_stop(m);
}

/* ---- paths that look like files ---- */

static void account_script(struct origin_conn *c, const struct message *request, void *arg)
{
    char who[128];
    snprintf(who, sizeof who, "account of %s", message_field(request, "X-User"));
    origin_respond(c, 200, arg, who);
}

static void path_that_looks_like_a_file_is_not_believed(void **state)
{
    UNUSED(state);
    static const char *const paths[] = {
        "/account/x.css",      "/account;x.css",        "/account%2fx.css",     "/account%2Fx.CSS",
        "/account%00.css",     "/account%0a.css",       "/account%3fx.css",     "/account%23x.js",
        "/account/x%2ecss",    "/account/x%2e%63ss",    "/account/.png",        "/account/x.css?a=1",
        "/account/a.b.woff2",  "/account%5c..%5cx.gif", "/static/..%2faccount", "/static/../account",
        "/static/%2e%2e/user", "/account;/../static/x", "/account/x.xyz",       "/account/x.pdf",
    };
    static const char *const sayings[] = {
        "Content-Type: text/html\r\n",
        "Content-Type: application/json; charset=utf-8\r\n",
        "Cache-Control: max-age=600\r\nContent-Type: text/html; charset=utf-8\r\n",
        "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Type: text/html\r\n",
        "",
    };
    for (size_t s = 0; s < ARRAY_LEN(sayings); s++) {
        struct origin *o = origin_start(account_script, (void *)(uintptr_t)sayings[s]);
        struct millpond *m = millpond_before(
            o, "[route files]\npath = *.css, *.js, *.png, *.woff2, *.gif, *.pdf, *.xyz, /static/*\nttl = 1h\n"
               "[route rest]\nttl = 1h\n");
        for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
            /* by the response's own word the application may keep what it likes behind any path */
            if (s > 1 && (strstr(paths[i], "static") != NULL || strstr(paths[i], "xyz") != NULL))
                continue;
            if (s == 1 && strstr(paths[i], "xyz") != NULL)
                continue; /* no page */
            client_ask_(m->port, "GET", paths[i], "X-User: alice\r\n", "");
            struct message *r = client_ask_(m->port, "GET", paths[i], "X-User: bob\r\n", "");
            EXPECT(strcmp(r->body, "account of bob") == 0, "%s: %s\n%s%s", paths[i], sayings[s], r->head,
                   r->body);
        }
        millpond_stop(m);
        origin_stop(o);
    }
}

static void files_are_kept(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/a.css", .fields = "Content-Type: text/css; charset=utf-8\r\n"},
        {.path = "/a.js", .fields = "Content-Type: application/javascript\r\n"},
        {.path = "/a.PNG", .fields = "Content-Type: image/webp\r\n"},
        {.path = "/a.woff2", .fields = "Content-Type: font/woff2\r\n"},
        {.path = "/a.ico", .fields = "Content-Type: image/vnd.microsoft.icon\r\n"},
        {.path = "/a.zip", .fields = "Content-Type: application/octet-stream\r\n"},
        {.path = "/page.html", .fields = "Content-Type: text/html\r\n"},
        {.path = "/v1.2/page", .fields = "Content-Type: text/html\r\n"},
        {.path = "/john.doe", .fields = "Content-Type: text/html\r\n"},
        {.path = "/100%20percent", .fields = "Content-Type: text/html\r\n"},
        {.path = "/wiki/Photo.jpg", .fields = "Cache-Control: s-maxage=60\r\nContent-Type: text/html\r\n"},
        {.path = "/missing.png", .status = 404, .fields = "Content-Type: text/html\r\n"},
        {.path = "/off/x.css", .fields = "Content-Type: text/html\r\n"},
        {.path = "/off/..%2fx", .fields = "Content-Type: text/html\r\n"},
        {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o,
                               "[route off]\npath = /off/*, /x\nttl = 1h\ndeception_guard = no\n"
                               "[route r]\nttl = 1h\nttl_404 = 1h\n");
    for (struct page *p = pages; p->path != NULL; p++) {
        expect_page(m, p->path, "", textf("%s#1", p->path));
        expect_page(m, p->path, "", textf("%s#1", p->path));
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(cookie_on_a_ttl_route_is_not_shared),
        E2E_TEST(refused_client_that_wants_no_fetch_gets_none),
        E2E_TEST(response_that_allows_it_is_shared_for_the_ttl),
        E2E_TEST(removed_cookies_never_reach_the_application),
        E2E_TEST(what_varies_by_client_is_not_shared),
        E2E_TEST(set_cookie_is_its_clients_alone),
        E2E_TEST(cookie_of_a_confirmation_is_its_clients_alone),
        E2E_TEST(confirmation_for_one_client_changes_nothing_for_others),
        E2E_TEST(error_of_another_is_not_pushed),
        E2E_TEST(error_of_nobody_is_not_pushed_to_somebody),
        E2E_TEST(error_status_of_another_makes_nothing_stale),
        E2E_TEST(requests_with_credentials_do_not_queue),
        E2E_TEST(background_fetch_is_its_clients_own),
        E2E_TEST(path_that_looks_like_a_file_is_not_believed),
        E2E_TEST(files_are_kept),
    };
    return E2E_RUN("cache_guard", tests);
}
