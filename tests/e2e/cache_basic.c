/* cache_basic.c: what is answered from the cache, what never is, how long, and how it goes away. Each page's
 * body counts the answers of the origin ("/page#2"), so a stored answer is told from a new one by its text.
 */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

static struct millpond *start(struct page *pages, struct origin **origin, const char *sections)
{
    struct origin *o = origin_start(pages_script, pages);
    if (origin != NULL)
        *origin = o;
    return millpond_before_(o, sections);
}

/* What `target` answers now. */
static char *body_of(struct millpond *m, const char *target, const char *fields)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_end(r, MESSAGE_COMPLETE);
    return r->body;
}
#define expect_page(m, target, fields, body) (SUPPORT_AT, expect_page_(m, target, fields, body))
static void expect_page_(struct millpond *m, const char *target, const char *fields, const char *body)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_status(r, 200);
    message_expect_body(r, body);
}

static void fresh_page_is_answered_without_the_origin(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p", .fields = "Cache-Control: max-age=600\r\nX-App: 1\r\nContent-Type: text/plain\r\n"},
        {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "");
    struct message *first = client_get(m->port, "/p", "");
    expect_status(first, 200);
    expect_body(first, "/p#1");
    expect_field_in(first, "Cache-Status", "millpond; fwd=");
    expect_field_in(first, "Cache-Status", "stored");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 10; i++) {
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
        struct message *r = client_read(c);
        expect_status(r, 200);
        expect_body(r, "/p#1");
        expect_field_in(r, "Cache-Status", "millpond; hit; ttl=");
        expect_field(r, "X-App", "1");
        expect_field(r, "Content-Type", "text/plain");
        expect_field(r, "Content-Length", "4");
        const char *age = message_field(r, "Age");
        assert_true(age != NULL && atoi(age) >= 0 && atoi(age) < 60);
        assert_int_equal(message_field_count(r, "Date"), 1); /* RFC 9110 section 6.6.1: added when missing */
    }
    assert_int_equal(origin_requests(o), 1);
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\n\r\n");
    struct message *head = client_read_no_body(c);
    expect_status(head, 200);
    expect_field(head, "Content-Length", "4");
    expect_field_in(head, "Cache-Status", "hit");
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void key_tells_hosts_queries_and_paths_apart(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                           {.path = "/P", .fields = "Cache-Control: max-age=600\r\n"},
                           {.path = "/%41b", .fields = "Cache-Control: max-age=600\r\n"},
                           {.path = "/Ab", .fields = "Cache-Control: max-age=600\r\n"},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "");
    expect_page(m, "/p", "", "/p#1");
    expect_page(m, "/p?", "", "/p#2"); /* an empty query is not no query */
    expect_page(m, "/p?a=1", "", "/p#3");
    expect_page(m, "/p?a=2", "", "/p#4");
    expect_page(m, "/P", "", "/P#1");
    expect_page(m, "/p?a=1", "", "/p#3");
    expect_body(client_raw(m->port, "GET /p HTTP/1.1\r\nHost: other\r\n\r\n"), "/p#5");
    expect_body(client_raw(m->port, "GET /p HTTP/1.1\r\nHost: TEST:80\r\n\r\n"), "/p#1"); /* the same host */
    expect_body(client_raw(m->port, "GET http://test/p HTTP/1.1\r\nHost: ignored\r\n\r\n"), "/p#1");
    expect_body(client_raw(m->port, "GET /p HTTP/1.1\r\nHost: test:81\r\n\r\n"), "/p#6");
    expect_page(m, "/%41b", "", "/%41b#1");
    expect_page(m, "/Ab", "", "/%41b#1"); /* RFC 3986 section 6.2.2.2 */
    millpond_stop(m);
}

/* Asked for twice; `stored` says whether the second is the first. */
static const struct {
    const char *fields, *request;
    bool stored;
} rules[] = {
    {"Cache-Control: max-age=60\r\n", "", true},
    {"Cache-Control: s-maxage=60, max-age=0\r\n", "", true},
    {"Cache-Control: max-age=60, s-maxage=0\r\n", "", false},
    {"Cache-Control: public, max-age=60\r\n", "Authorization: Bearer x\r\n", true},
    {"Cache-Control: s-maxage=60\r\n", "Authorization: Bearer x\r\n", true},
    {"Cache-Control: must-revalidate, max-age=60\r\n", "Authorization: Bearer x\r\n", true},
    {"Cache-Control: max-age=60\r\n", "Authorization: Bearer x\r\n", false},
    {"Cache-Control: private, max-age=60\r\n", "", false},
    {"Cache-Control: PRIVATE, Max-Age=60\r\n", "", false},
    {"Cache-Control: no-store, max-age=60\r\n", "", false},
    {"Cache-Control: max-age=60\r\nCache-Control: no-store\r\n", "", false},
    {"Cache-Control: no-store\r\nCDN-Cache-Control: max-age=60\r\n", "", true},
    {"Cache-Control: no-store\r\nCDN-Cache-Control: max-age=60,\r\n", "", false},
    {"Cache-Control: max-age=60\r\nCDN-Cache-Control: no-store\r\n", "", false},
    {"Cache-Control: max-age=60\r\nSet-Cookie: a=b\r\n", "", false},
    {"Cache-Control: public, max-age=60\r\nSet-Cookie: a=b\r\n", "", false},
    {"Cache-Control: max-age=60\r\nVary: *\r\n", "", false},
    {"Cache-Control: max-age=60\r\nAge: 61\r\n", "", false},
    {"Cache-Control: max-age=60\r\nAge: 10\r\n", "", true},
    {"Cache-Control: max-age=60\r\n", "Cookie: a=b\r\n", true},
    {"Cache-Control: max-age=60\r\n", "Cache-Control: no-cache\r\nPragma: no-cache\r\n", true},
    {"Cache-Control: max-age=nonsense\r\n", "", false},
    {"Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", "", true},
    {"Expires: 0\r\n", "", false},
    {"Expires: Thu, 01 Jan 1970 00:00:00 GMT\r\n", "", false},
    {"Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\nCache-Control: max-age=0\r\n", "", false},
    {"Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", "", true}, /* heuristic, 10% up to 1d */
    {"", "", false},
};

static void rules_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static _Atomic unsigned n;
    UNUSED(arg);
    char body[32];
    snprintf(body, sizeof(body), "%u", ++n);
    origin_respond(c, 200, rules[atoi(request->target + 1)].fields, body);
}

static void only_what_may_be_shared_is_stored(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start(rules_script, NULL), "");
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const char *first = body_of(m, textf("/%zu", i), rules[i].request);
        const char *second = body_of(m, textf("/%zu", i), "");
        if ((strcmp(first, second) == 0) != rules[i].stored) {
            print_error("rule %zu: %s and %s, but it should %sbe stored: %s%s\n", i, first, second,
                        rules[i].stored ? "" : "not ", rules[i].fields, rules[i].request);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
    millpond_stop(m);
}

static void one_clients_page_is_never_anothers(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/me", .fields = "Cache-Control: max-age=60\r\n", .vary_on = "Authorization"},
        {.path = "/cart", .fields = "Cache-Control: max-age=60\r\nSet-Cookie: id=1\r\n", .vary_on = "Cookie"},
        {.path = "/post", .fields = "Cache-Control: max-age=60\r\n"},
        {0}};
    struct millpond *m = start(pages, NULL, "");
    expect_page(m, "/me", "Authorization: a\r\n", "/me#1 a");
    expect_page(m, "/me", "Authorization: b\r\n", "/me#2 b");
    expect_page(m, "/me", "", "/me#3 none");
    /* Stored now, by the request without Authorization: RFC 9111 lets it answer others, whatever they carry.
     */
    expect_page(m, "/cart", "Cookie: a\r\n", "/cart#1 a");
    expect_page(m, "/cart", "Cookie: b\r\n", "/cart#2 b");
    expect_body(client_ask(m->port, "POST", "/post", "", "x"), "/post#1");
    expect_body(client_ask(m->port, "POST", "/post", "", "x"), "/post#2");
    expect_page(m, "/post", "", "/post#3");
    expect_body(client_ask(m->port, "POST", "/post", "", "x"), "/post#4"); /* never answered from the store */
    millpond_stop(m);
}

static void page_expires(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\nAge: 598\r\n"},
                           {.path = "/ttl", .fields = "Cache-Control: max-age=600\r\n"},
                           {0}};
    struct millpond *m = start(pages, NULL, "[route short]\npath = /ttl\nttl = 300ms\n[route rest]\n");
    struct message *r = client_get(m->port, "/p", "");
    expect_body(r, "/p#1");
    r = client_get(m->port, "/p", "");
    expect_body(r, "/p#1");
    assert_true(atoi(message_field(r, "Age")) >= 598);
    expect_page(m, "/ttl", "", "/ttl#1");
    expect_page(m, "/ttl", "", "/ttl#1");
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    bool p = false, ttl = false;
    while (!(p && ttl) && clock_mono_ms() < deadline) {
        p = p || strcmp(body_of(m, "/p", ""), "/p#2") == 0;
        ttl = ttl || strcmp(body_of(m, "/ttl", ""), "/ttl#2") == 0;
    }
    EXPECT(p && ttl, "did not expire: %s", p ? "/ttl" : "/p");
    millpond_stop(m);
}

static void stored_page_answers_conditions(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p",
                            .fields = "Cache-Control: max-age=600\r\nLast-Modified: Thu, 01 Jan 2015 "
                                      "00:00:00 GMT\r\nX-Big: body field\r\n",
                            .etag = "\"v1\""},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "");
    expect_page(m, "/p", "", "/p#1");
    static const struct {
        const char *fields;
        int status;
    } asks[] = {
        {"If-None-Match: \"v1\"\r\n", 304},
        {"If-None-Match: \"v0\", W/\"v1\"\r\n", 304}, /* weak comparison, RFC 9110 section 13.1.2 */
        {"If-None-Match: *\r\n", 304},
        {"If-None-Match: \"v2\"\r\n", 200},
        {"If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT\r\n", 304},
        {"If-Modified-Since: Wed, 31 Dec 2014 23:59:59 GMT\r\n", 200},
        {"If-Modified-Since: nonsense\r\n", 200},
        {"If-None-Match: \"v2\"\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n", 200},
    };
    struct client *c = client_open(m->port);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++) {
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n%s\r\n", asks[i].fields);
        struct message *r = client_read(c);
        EXPECT(r->status == asks[i].status, "%s: %d", asks[i].fields, r->status);
        expect_field(r, "ETag", "\"v1\"");
        expect_body(r, r->status == 304 ? "" : "/p#1");
        expect_field_in(r, "Cache-Control", "max-age=600");
    }
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void stale_page_is_revalidated(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p", .fields = "Cache-Control: no-cache\r\nX-V: 1\r\n", .etag = "\"v1\""}, {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "");
    expect_page(m, "/p", "", "/p#1");
    pages[0].fields =
        "Cache-Control: no-cache\r\nX-V: 2\r\n"; /* the 304 brings new fields (RFC 9111 section 4.3.4) */
    struct message *r = client_get(m->port, "/p", "");
    expect_status(r, 200);
    expect_body(r, "/p#1");
    expect_field(r, "X-V", "2");
    expect_field(origin_request(o, 1), "If-None-Match", "\"v1\"");
    r = client_get(m->port, "/p", "If-None-Match: \"v1\"\r\n");
    expect_status(r, 304);
    assert_int_equal(origin_requests(o), 3);
    assert_int_equal(millpond_figure(m, "cache_revalidations"), 2);
    pages[0].etag = "\"v2\""; /* it changed: the new one takes its place */
    expect_page(m, "/p", "", "/p#2");
    expect_page(m, "/p", "", "/p#2");
    expect_field(origin_request(o, 4), "If-None-Match", "\"v2\"");
    /* A client's own validator is not what the stored page is checked with. */
    r = client_get(m->port, "/p", "If-None-Match: \"other\"\r\n");
    expect_status(r, 200);
    expect_body(r, "/p#2");
    millpond_stop(m);
}

static void variants_follow_vary(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p",
                            .fields = "Cache-Control: max-age=600\r\nVary: Accept-Language\r\n",
                            .vary_on = "Accept-Language"},
                           {0}};
    struct origin *o;
    struct millpond *m = start(pages, &o, "");
    expect_page(m, "/p", "Accept-Language: de\r\n", "/p#1 de");
    expect_page(m, "/p", "Accept-Language: en\r\n", "/p#2 en");
    expect_page(m, "/p", "", "/p#3 none");
    expect_page(m, "/p", "Accept-Language: de\r\n", "/p#1 de");
    expect_page(m, "/p", "Accept-Language: en\r\nX-Else: 1\r\n", "/p#2 en");
    expect_page(m, "/p", "", "/p#3 none");
    expect_page(m, "/p", "Accept-Language:  de \r\n", "/p#1 de");
    expect_page(m, "/p", "Accept-Language: DE,\r\n", "/p#1 de"); /* RFC 9111 section 4.1 */
    assert_int_equal(origin_requests(o), 3);
    millpond_purge(m, url_of("/p")); /* all variants */
    expect_page(m, "/p", "Accept-Language: en\r\n", "/p#4 en");
    expect_page(m, "/p", "Accept-Language: de\r\n", "/p#5 de");
    millpond_stop(m);
}

static void routes_override_the_response(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/forced", .fields = "Cache-Control: max-age=0\r\n"},
                           {.path = "/silent", .fields = ""},
                           {.path = "/off", .fields = "Cache-Control: max-age=600\r\n"},
                           {.path = "/gone", .fields = "", .status = 404},
                           {.path = "/broken", .fields = "Cache-Control: max-age=600\r\n", .status = 500},
                           {.path = "/bypass", .fields = "Cache-Control: max-age=600\r\n"},
                           {.path = "/secret", .fields = "Cache-Control: private\r\nSet-Cookie: a=b\r\n"},
                           {.path = "/clamped", .fields = "Cache-Control: max-age=9999\r\n"},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.cache = "default_ttl = 1m\ncache_status = no",
                       .rest = textf("%s"
                                     "[route forced]\npath = /forced, /secret\nttl = 10m\n"
                                     "[route off]\npath = /off\ncache = off\n"
                                     "[route gone]\npath = /gone, /broken\nttl_404 = 10m\n"
                                     "[route bypass]\npath = /bypass\ncache = bypass_if=cookie:session\n"
                                     "[route clamped]\npath = /clamped\nmax_ttl = 5s\n"
                                     "[route rest]\n",
                                     pool_lines("app", 1, o)));
    expect_page(m, "/forced", "", "/forced#1");
    struct message *r = client_get(m->port, "/forced", "");
    expect_body(r, "/forced#1");
    expect_no_field(r, "Cache-Status");
    expect_page(m, "/silent", "", "/silent#1");
    expect_page(m, "/silent", "", "/silent#1"); /* default_ttl */
    expect_page(m, "/off", "", "/off#1");
    expect_page(m, "/off", "", "/off#2");
    expect_body(client_get(m->port, "/gone", ""), "/gone#1");
    expect_body(client_get(m->port, "/gone", ""), "/gone#1");
    expect_body(client_get(m->port, "/broken", ""), "/broken#1");
    expect_page(m, "/bypass", "", "/bypass#1");
    expect_page(m, "/bypass", "Cookie: other=1; session=2\r\n", "/bypass#2");
    expect_page(m, "/bypass", "", "/bypass#1"); /* the bypassing answer was not stored over it */
    expect_page(m, "/secret", "", "/secret#1");
    expect_page(m, "/secret", "", "/secret#2"); /* ttl does not lift Set-Cookie: promise 1 */
    millpond_stop(m);
}

static void large_objects_pass_through(void **state)
{
    UNUSED(state);
    const char *big = text_repeat('b', 200 * KB);
    struct origin *o = origin_start_fixed(textf(
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: %zu\r\n\r\n%s", strlen(big), big));
    struct origin *chunked =
        origin_start_fixed(textf("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: "
                                 "chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n",
                                 strlen(big), big));
    struct millpond *m =
        millpond_start(.cache = "max_object_size = 100K",
                       .rest = textf("%s%s[route c]\npath = /chunked\npool = chunked\n[route rest]\n",
                                     pool_lines("app", 1, o), pool_lines("chunked", 1, chunked)));
    for (int i = 0; i < 2; i++) {
        expect_body(client_get(m->port, "/sized", ""), big);
        expect_body(client_get(m->port, "/chunked", ""), big);
    }
    assert_int_equal(origin_requests(o) + origin_requests(chunked), 4);
    millpond_stop(m);
}

static void status_script(struct origin_conn *c, const struct message *request, void *arg)
{
    origin_respond(c, atoi(request->target + 1), arg, "page");
}

static void any_final_status_is_stored_for_as_long_as_it_says(void **state)
{
    UNUSED(state);
    static const int statuses[] = {200, 201, 226, 299, 302, 399, 402, 418, 451, 499, 500, 503, 599};
    static const struct {
        const char *fields;
        bool hit;
    } rows[] = {
        {"Cache-Control: max-age=60\r\n", true},
        {"Cache-Control: s-maxage=60\r\n", true},
        {"Expires: Wed, 01 Jan 2099 00:00:00 GMT\r\n", true},
        {"", false},
        {"X-Nothing: about freshness\r\n", false},
    };
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct origin *o = origin_start(status_script, (void *)(uintptr_t)rows[r].fields);
        struct millpond *m = millpond_before(o, "retries = 0\n");
        for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
            const char *target = textf("/%d", statuses[i]);
            for (unsigned n = 0; n < 2; n++) {
                struct message *answer = client_get(m->port, target, "");
                expect_status(answer, statuses[i]);
                expect_body(answer, "page");
            }
            EXPECT(origin_requests_for(o, target) == (rows[r].hit ? 1 : 2), "%s with \"%s\": %u requests",
                   target, rows[r].fields, origin_requests_for(o, target));
        }
        millpond_stop(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(fresh_page_is_answered_without_the_origin),
        E2E_TEST(key_tells_hosts_queries_and_paths_apart),
        E2E_TEST(only_what_may_be_shared_is_stored),
        E2E_TEST(one_clients_page_is_never_anothers),
        E2E_TEST(page_expires),
        E2E_TEST(stored_page_answers_conditions),
        E2E_TEST(stale_page_is_revalidated),
        E2E_TEST(variants_follow_vary),
        E2E_TEST(routes_override_the_response),
        E2E_TEST(large_objects_pass_through),
        E2E_TEST(any_final_status_is_stored_for_as_long_as_it_says),
    };
    return E2E_RUN("cache_basic", tests);
}
