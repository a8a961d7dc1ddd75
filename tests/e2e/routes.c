/* routes.c: which route a request takes and what that route does with it: allow and deny, redirect, respond,
 * conditions, edits of header fields, and the cache options of a route. Whoever writes "deny" means it for
 * every spelling of a path, so those are asked for one by one. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define NO_CACHE "[cache]\nstore = off\n"

/* Every request is answered 200 with its target as the body. */
static void target_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    origin_respond(c, 200, "X-Origin: yes\r\nX-Powered-By: toys\r\n", request->target);
}

static struct message *ask_host(struct millpond *m, const char *host, const char *target)
{
    return client_raw_(m->port, textf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host));
}

/* ---- who may ---- */

static void deny_and_allow_answer_403(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m =
        millpond_before(o, NO_CACHE "[route denied]\npath = /denied/*\ndeny = 127.0.0.0/8\n"
                                    "[route other]\npath = /other/*\nallow = 10.0.0.0/8, 192.168.1.1\n"
                                    "[route mine]\npath = /mine/*\nallow = 10.0.0.0/8, 127.0.0.1\n"
                                    "[route both]\npath = /both/*\nallow = 127.0.0.0/8\ndeny = 127.0.0.1\n"
                                    "[route elsewhere]\npath = /elsewhere/*\ndeny = 10.0.0.0/8\n"
                                    "[route rest]\n");
    expect_status(client_get(m->port, "/denied/x", ""), 403);
    expect_status(client_get(m->port, "/other/x", ""), 403);
    expect_status(client_get(m->port, "/both/x", ""), 403); /* deny is the stronger one */
    struct message *r = client_get(m->port, "/denied/x", "Accept: application/json\r\n");
    expect_status(r, 403);
    expect_field(r, "Content-Type", "application/json");
    expect_field(r, "Cache-Control", "no-store");
    assert_int_equal(origin_requests(o), 0);
    /* What the client says about itself counts from trusted proxies only. */
    expect_status(client_get(m->port, "/other/x", "X-Forwarded-For: 10.0.0.1\r\n"), 403);
    expect_body(client_get(m->port, "/mine/x", ""), "/mine/x");
    expect_body(client_get(m->port, "/elsewhere/x", ""), "/elsewhere/x");
    expect_body(client_get(m->port, "/denied", ""), "/denied"); /* the prefix is with its slash */
    millpond_stop(m);
}

/* An instance may resolve any of these to /admin/x, so a route that guards /admin guards them all. */
static void no_spelling_of_a_path_gets_around_deny(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m = millpond_before(
        o, NO_CACHE "[route admin]\npath = /admin/*, /admin, *.secret, /a%20b\ndeny = 127.0.0.0/8\n"
                    "[route rest]\n");
    static const char *const guarded[] = {
        "/admin/x",
        "/admin",
        "/admin/",
        "/%61dmin/x",
        "/%61%64%6D%69%6e/x",
        "//admin/x",
        "/admin//x",
        "///admin",
        "/./admin/x",
        "/x/../admin/x",
        "/x/y/../../admin",
        "/../admin/x",
        "/admin/./x",
        "/admin/x/..",
        "/x/%2e%2e/admin/x",
        "/%2E/admin/x",
        "/x/.%2e//admin/x",
        "/admin/../admin/x",
        "/admin/x?q=1",
        "/%61dmin?x=/y",
        "/admin%2fx",
        "/x%2F..%2fadmin/x",
        "/a.secret",
        "/a.s%65cret",
        "/a%20b",
        "/b/../a%20b",
        "http://test//admin/x",
    };
    static const char *const open[] = {
        "/adminx/x",    "/x/admin/x",  "/admin/../x",  "/x?p=/admin/x", "/x?p=../admin/x",
        "/%2561dmin/x", "/a.secret/x", "/.../admin/x", "/Admin/x",      "/a%2520b",
    };
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(guarded) + ARRAY_LEN(open); i++) {
        bool deny = i < ARRAY_LEN(guarded);
        const char *target = deny ? guarded[i] : open[i - ARRAY_LEN(guarded)];
        struct message *r = client_get(m->port, target, "");
        if (r->status != (deny ? 403 : 200) || (!deny && strcmp(r->body, target) != 0)) {
            print_error("%s: %d %s\n", target, r->status, r->body);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    millpond_stop(m);
}

static void trusted_proxy_names_the_client(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m =
        millpond_start(.main = "trusted_proxies = 127.0.0.1", .cache = "store = off",
                       .rest = textf("%s[route a]\nallow = 10.0.0.0/8\n", pool_lines("app", 1, o)));
    expect_status(client_get(m->port, "/x", ""), 403);
    expect_status(client_get(m->port, "/x", "X-Forwarded-For: 10.0.0.1\r\n"), 200);
    expect_status(client_get(m->port, "/x", "X-Forwarded-For: 10.0.0.1, 8.8.8.8\r\n"),
                  403); /* the last one */
    millpond_stop(m);
}

/* ---- own answers ---- */

static void redirects_and_texts_need_no_instance(void **state)
{
    UNUSED(state);
    struct millpond *m =
        millpond_start(.rest = "[route old]\npath = /old/*\nredirect = 301 https://new.example$uri\n"
                               "[route host]\nhost = *.example.com\nredirect = 308 https://$host/at$uri\n"
                               "[route path]\npath = /moved\nredirect = 302 /here\n"
                               "[route closed]\npath = /closed\nrespond = 503 Back soon; really\n"
                               "[route empty]\npath = /empty\nrespond = 204\n");
    struct message *r = client_get(m->port, "/old/a%20b?q=1&r=%2f", "");
    expect_status(r, 301);
    expect_field(r, "Location", "https://new.example/old/a%20b?q=1&r=%2f");
    r = ask_host(m, "www.example.com:8080", "/x?y");
    expect_status(r, 308);
    expect_field(r, "Location", "https://www.example.com:8080/at/x?y");
    r = ask_host(m, "www.example.com", "/x?");
    expect_field(r, "Location", "https://www.example.com/at/x?");
    r = client_get(m->port, "/moved?a=b", "");
    expect_status(r, 302);
    expect_field(r, "Location", "/here");
    r = client_get(m->port, "/closed", "");
    expect_status(r, 503);
    expect_body(r, "Back soon; really");
    expect_field_in(r, "Content-Type", "text/plain");
    r = client_get(m->port, "/empty", "");
    expect_status(r, 204);
    expect_body(r, "");
    expect_status(client_get(m->port, "/none", ""), 404); /* no route at all */
    /* The connection stays usable after each of them, also after HEAD. */
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /closed HTTP/1.1\r\nHost: test\r\n\r\nGET /moved HTTP/1.1\r\nHost: test\r\n\r\n");
    r = client_read_no_body(c);
    expect_status(r, 503);
    expect_field(r, "Content-Length", "17");
    expect_status(client_read(c), 302);
    millpond_stop(m);
}

static void server_field_is_as_configured(void **state)
{
    UNUSED(state);
    static const struct {
        const char *main, *server;
    } cases[] = {{NULL, "millpond"}, {"server_header = shop 2", "shop 2"}, {"server_header = off", NULL}};
    struct origin *o = origin_start_fixed("HTTP/1.1 200 OK\r\nServer: app/1\r\nContent-Length: 2\r\n\r\nhi");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct millpond *m =
            millpond_start(.main = cases[i].main,
                           .rest = textf("%s[route t]\npath = /text\nrespond = 200 text\n[route rest]\n",
                                         pool_lines("app", 1, o)));
        struct message *r = client_get(m->port, "/text", "");
        if (cases[i].server != NULL)
            expect_field(r, "Server", cases[i].server);
        else
            expect_no_field(r, "Server");
        expect_field(client_get(m->port, "/app", ""), "Server", "app/1"); /* not ours */
        millpond_stop(m);
    }
}

static void response_edits_reach_our_own_answers(void **state)
{
    UNUSED(state);
    const char *edits = "set_response_header = X-Frame-Options: DENY\nset_response_header = Server: $host\n";
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[route r]\npath = /redirect\nredirect = 301 /x\n%s"
                           "[route t]\npath = /text\nrespond = 200 text\nremove_response_header = Date\n%s"
                           "[route d]\npath = /denied\nrespond = 200 never\ndeny = 127.0.0.0/8\n%s",
                           edits, edits, edits));
    static const char *const targets[] = {"/redirect", "/text", "/denied"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct message *r = client_get(m->port, targets[i], "");
        expect_field(r, "X-Frame-Options", "DENY");
        expect_field(r, "Server", "test");
        assert_int_equal(message_field_count(r, "Server"), 1);
    }
    expect_no_field(client_get(m->port, "/text", ""), "Date");
    expect_field(client_get(m->port, "/redirect", ""), "Location", "/x");
    expect_no_field(client_get(m->port, "/none", ""), "X-Frame-Options"); /* no route, no edits */
    millpond_stop(m);
}

/* ---- conditions ---- */

static void first_route_whose_conditions_hold_is_used(void **state)
{
    UNUSED(state);
    struct millpond *m =
        millpond_start(.rest = "[route host]\nhost = *.wild.example, one.example\nrespond = 200 host\n"
                               "[route write]\nmethod = POST, PUT\nrespond = 200 write\n"
                               "[route beta]\nheader = X-Beta: 1\nheader = X-Also\nrespond = 200 beta\n"
                               "[route exact]\npath = /a/exact, /also\nrespond = 200 exact\n"
                               "[route css]\npath = *.css\nrespond = 200 css\n"
                               "[route first]\npath = /a/*\nrespond = 200 first\n"
                               "[route deeper]\npath = /a/b/*\nrespond = 200 deeper\n"
                               "[route two]\nhost = two.example\npath = /two\nrespond = 200 two\n"
                               "[route rest]\nrespond = 200 rest\n");
    static const struct {
        const char *method, *host, *target, *fields, *route;
    } asks[] = {
        {"GET", "a.wild.example", "/", "", "host"},
        {"GET", "a.b.WILD.example:8080", "/a/exact", "", "host"},
        {"GET", "wild.example", "/", "", "rest"}, /* a star is at least one part */
        {"GET", "evilwild.example", "/", "", "rest"},
        {"GET", "one.example", "/", "", "host"},
        {"GET", "one.example.", "/", "", "host"},
        {"GET", "x.one.example", "/", "", "rest"},
        {"POST", "test", "/a/exact", "Content-Length: 0\r\n", "write"},
        {"DELETE", "test", "/a/exact", "", "exact"},
        {"GET", "test", "/a/exact", "X-Beta: 1\r\nX-Also: anything\r\n", "beta"},
        {"GET", "test", "/a/exact", "x-beta: 1\r\nx-also:\r\n", "beta"},
        {"GET", "test", "/a/exact", "X-Beta: 1\r\n", "exact"}, /* all conditions */
        {"GET", "test", "/a/exact", "X-Beta: 10\r\nX-Also: 1\r\n", "exact"},
        {"GET", "test", "/a/exact?q=/a/none", "", "exact"},
        {"GET", "test", "/also", "", "exact"},
        {"GET", "test", "/a/exact/", "", "first"},
        {"GET", "test", "/a/style.css", "", "css"},
        {"GET", "test", "/style.css?v=1", "", "css"},
        {"GET", "test", "/style.css/x", "", "rest"},
        {"GET", "test", "/x?file=.css", "", "rest"},
        {"GET", "test", "/a/b/c", "", "first"}, /* not the longest: the first */
        {"GET", "test", "/a", "", "rest"},
        {"GET", "test", "/A/b", "", "rest"},
        {"GET", "two.example", "/two", "", "two"},
        {"GET", "test", "/two", "", "rest"},
    };
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct message *r = client_raw(m->port, textf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", asks[i].method,
                                                      asks[i].target, asks[i].host, asks[i].fields));
        if (r->status != 200 || strcmp(r->body, asks[i].route) != 0) {
            print_error("%s %s at %s went to %d \"%s\", not \"%s\"\n", asks[i].method, asks[i].target,
                        asks[i].host, r->status, r->body, asks[i].route);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    millpond_stop(m);
}

/* ---- header fields ---- */

static void request_fields_are_set_and_removed(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(target_script, NULL);
    struct millpond *m =
        millpond_before(o, NO_CACHE "[route edit]\npath = /edit\nset_request_header = X-Set: new value\n"
                                    "set_request_header = X-Who: $client_ip at $host, $request_id\n"
                                    "remove_request_header = Cookie, X-Secret\n"
                                    "[route rest]\n");
    struct message *r =
        client_get(m->port, "/edit",
                   "Cookie: a=b\r\nX-Secret: 1\r\nx-secret: 2\r\nX-Set: old\r\nX-SET: older\r\n"
                   "X-Kept: yes\r\n");
    expect_status(r, 200);
    const struct message *seen = origin_request(o, 0);
    expect_no_field(seen, "Cookie");
    expect_no_field(seen, "X-Secret");
    expect_field(seen, "X-Set", "new value");
    assert_int_equal(message_field_count(seen, "X-Set"), 1);
    expect_field(seen, "X-Kept", "yes");
    expect_field(seen, "X-Who", textf("127.0.0.1 at test, %s", message_field(seen, "X-Request-Id")));
    client_get(m->port, "/plain", "Cookie: a=b\r\nX-Set: old\r\n");
    expect_field(origin_request(o, 1), "Cookie", "a=b");
    expect_field(origin_request(o, 1), "X-Set", "old");
    millpond_stop(m);
}

static void response_fields_are_set_and_removed_on_every_way_out(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p",
                            .fields = "Cache-Control: max-age=600\r\nX-Powered-By: toys\r\nX-Set: old\r\n"
                                      "X-Kept: yes\r\n",
                            .etag = "\"v1\""},
                           {.path = "/pass", .fields = "Cache-Control: no-store\r\nX-Powered-By: toys\r\n"},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "[route edit]\nset_response_header = X-Set: for $host\n"
                                            "set_response_header = Strict-Transport-Security: max-age=1\n"
                                            "remove_response_header = X-Powered-By\n");
    static const struct {
        const char *target, *fields, *cache;
        int status;
    } asks[] = {
        {"/p", "", "stored", 200},
        {"/p", "", "hit", 200},
        {"/p", "If-None-Match: \"v1\"\r\n", "hit", 304},
        {"/pass", "", "no_store", 200},
    };
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        struct message *r = client_get(m->port, asks[i].target, asks[i].fields);
        EXPECT(r->status == asks[i].status, "%s %s: %d", asks[i].target, asks[i].fields, r->status);
        expect_field_in(r, "Cache-Status", asks[i].cache);
        expect_field(r, "X-Set", "for test");
        assert_int_equal(message_field_count(r, "X-Set"), 1);
        expect_field(r, "Strict-Transport-Security", "max-age=1");
        expect_no_field(r, "X-Powered-By");
        if (asks[i].status == 200 && strcmp(asks[i].target, "/p") == 0)
            expect_field(r, "X-Kept", "yes");
    }
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

/* ---- cache ---- */

static void bypass_by_cookie_or_header_neither_reads_nor_writes(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages),
                                         "[route r]\ncache = bypass_if=cookie:session, header:X-Preview\n");
    expect_body(client_get(m->port, "/p", "Cookie: session=1\r\n"), "/p#1");
    expect_body(client_get(m->port, "/p", ""), "/p#2"); /* the first was not stored */
    expect_body(client_get(m->port, "/p", ""), "/p#2");
    struct message *r = client_get(m->port, "/p", "Cookie: a=b; session=1\r\n");
    expect_body(r, "/p#3");
    expect_field_in(r, "Cache-Status", "bypass_rule");
    expect_body(client_get(m->port, "/p", "x-preview:\r\n"), "/p#4");
    static const char *const same[] = {"Cookie: sessions=1\r\n", "Cookie: my_session=1\r\n",
                                       "Cookie: a=session=1\r\n", "X-Previews: 1\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        expect_body(client_get(m->port, "/p", same[i]), "/p#2");
    millpond_stop(m);
}

/* RFC 9111 section 5.2.2.7 with a field name: the page is shared, the field is the first client's alone. */
static void private_field_reaches_only_the_client_it_was_for(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p",
                            .fields = "Cache-Control: max-age=600, private=\"Set-Cookie, X-Mine\"\r\n"
                                      "Set-Cookie: id=first\r\nSet-Cookie: b=c\r\nX-Mine: 1\r\nX-All: 2\r\n"},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    struct message *first = client_get(m->port, "/p", ""), *second = client_get(m->port, "/p", "");
    expect_body(first, "/p#1");
    expect_field(first, "Set-Cookie", "id=first");
    assert_int_equal(message_field_count(first, "Set-Cookie"), 2);
    expect_field(first, "X-Mine", "1");
    expect_body(second, "/p#1");
    expect_field_in(second, "Cache-Status", "hit");
    expect_no_field(second, "Set-Cookie");
    expect_no_field(second, "X-Mine");
    expect_field(second, "X-All", "2");
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

/* Seconds a hit has left, or -1 when the second answer is not a hit. */
static long ttl_of(struct millpond *m, const char *target)
{
    client_ask_(m->port, "GET", target, "", "");
    const char *cs = message_field(client_ask_(m->port, "GET", target, "", ""), "Cache-Status");
    const char *ttl = cs != NULL ? strstr(cs, "; hit; ttl=") : NULL;
    return ttl != NULL ? strtol(ttl + strlen("; hit; ttl="), NULL, 10) : -1;
}

static void route_decides_how_long(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/ttl", .fields = "Cache-Control: max-age=5\r\n"},
                           {.path = "/ttl/private", .fields = "Cache-Control: private, max-age=5\r\n"},
                           {.path = "/ttl/404", .fields = "Cache-Control: max-age=5\r\n", .status = 404},
                           {.path = "/zero", .fields = "Cache-Control: max-age=500\r\n"},
                           {.path = "/neg/404", .fields = "", .status = 404},
                           {.path = "/neg/410", .fields = "", .status = 410},
                           {.path = "/neg/503", .fields = "", .status = 503},
                           {.path = "/neg/ok", .fields = "Cache-Control: max-age=5000\r\n"},
                           {.path = "/never/404", .fields = "Cache-Control: max-age=500\r\n", .status = 404},
                           {.path = "/never/500", .fields = "Cache-Control: max-age=500\r\n", .status = 500},
                           {.path = "/clamp/short", .fields = "Cache-Control: max-age=5\r\n"},
                           {.path = "/clamp/long", .fields = "Cache-Control: max-age=99999\r\n"},
                           {.path = "/clamp/within", .fields = "Cache-Control: max-age=300\r\n"},
                           {.path = "/clamp/no-store", .fields = "Cache-Control: no-store\r\n"},
                           {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages),
                                         "retries = 0\n"
                                         "[route ttl]\npath = /ttl, /ttl/*\nttl = 1000s\n"
                                         "[route zero]\npath = /zero\nttl = 0\n"
                                         "[route neg]\npath = /neg/*\nttl_404 = 200s\nttl_5xx = 100s\n"
                                         "[route never]\npath = /never/*\nttl_404 = 0\nttl_5xx = 0\n"
                                         "[route clamp]\npath = /clamp/*\nmin_ttl = 100s\nmax_ttl = 400s\n");
    static const struct {
        const char *target;
        long ttl_s; /* -1: not stored */
    } expected[] = {
        {"/ttl", 1000},          {"/ttl/404", 5},       {"/zero", -1},        {"/neg/404", 200},
        {"/neg/410", 200},       {"/neg/503", 100},     {"/neg/ok", 5000},    {"/never/404", -1},
        {"/never/500", -1},      {"/clamp/short", 100}, {"/clamp/long", 400}, {"/clamp/within", 300},
        {"/clamp/no-store", -1},
    };
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        long got = ttl_of(m, expected[i].target), want = expected[i].ttl_s;
        if (want < 0 ? got >= 0 : got > want || got < want - 4) {
            print_error("%s: ttl %ld, not %ld\n", expected[i].target, got, want);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(deny_and_allow_answer_403),
        E2E_TEST(no_spelling_of_a_path_gets_around_deny),
        E2E_TEST(trusted_proxy_names_the_client),
        E2E_TEST(redirects_and_texts_need_no_instance),
        E2E_TEST(server_field_is_as_configured),
        E2E_TEST(response_edits_reach_our_own_answers),
        E2E_TEST(first_route_whose_conditions_hold_is_used),
        E2E_TEST(request_fields_are_set_and_removed),
        E2E_TEST(response_fields_are_set_and_removed_on_every_way_out),
        E2E_TEST(bypass_by_cookie_or_header_neither_reads_nor_writes),
        E2E_TEST(private_field_reaches_only_the_client_it_was_for),
        E2E_TEST(route_decides_how_long),
    };
    return E2E_RUN("routes", tests);
}
