/* test_storable.c: which requests are looked up and which responses are kept (RFC 9111 section 3), row by
 * row; every reason that these functions can give is given at least once. The response arrives at NOW_MS, as
 * in test_freshness.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/storable.h"
#include "tests/unit/cache/text_head.h"

#define NOW_MS (INT64_C(784111777) * 1000)
#define DATE   "Date: Sun, 06 Nov 1994 08:49:37 GMT\n"
#define UNSET  CACHE_TTL_UNSET
#define OK     NO_STORE_STORED

static bool seen[NO_STORE_COUNT];

static const struct cache_rules plain = {
    .enabled = true,
    .bypass_cookie = SLICE_EMPTY,
    .bypass_header = SLICE_EMPTY,
    .heuristic_percent = 10,
    .heuristic_max_ms = 86400 * 1000,
    .ttl_ms = UNSET,
    .ttl_404_ms = UNSET,
    .ttl_5xx_ms = UNSET,
    .min_ttl_ms = UNSET,
    .max_ttl_ms = UNSET,
    .max_object_bytes = 1000,
};

static void check_usable(enum http_method method, const char *lines, bool has_body,
                         const struct cache_rules *rules, enum no_store_reason want)
{
    struct text_head t;
    text_head_request(&t, method, lines);
    enum no_store_reason got = cache_request_usable(&t.head, has_body, rules);
    seen[got] = true;
    if (got != want)
        fail_msg("%s %s: %s, not %s", t.head.method_text.ptr, lines, outcome_no_store_name(got),
                 outcome_no_store_name(want));
    text_head_free(&t);
}

static void test_request_usable(void **state)
{
    static const struct {
        enum http_method method;
        const char *lines;
        bool has_body;
        enum no_store_reason want;
    } cases[] = {
        {HTTP_GET, "", false, OK},
        {HTTP_HEAD, "", false, OK},
        {HTTP_GET, "Authorization: Basic eA==", false, OK},
        {HTTP_GET, "Cookie: session=1", false, OK},
        {HTTP_GET, "Cache-Control: no-store", false, OK},
        {HTTP_GET, "Cache-Control: no-cache\nPragma: no-cache", false, OK},
        {HTTP_GET, "If-None-Match: \"a\"", false, OK},
        {HTTP_GET, "If-Range: \"a\"", false, OK},
        {HTTP_GET, "X-Debug: 1", false, OK},
        {HTTP_METHOD_OTHER, "", false, NO_STORE_METHOD},
        {HTTP_POST, "", false, NO_STORE_METHOD},
        {HTTP_POST, "", true, NO_STORE_METHOD},
        {HTTP_PUT, "", false, NO_STORE_METHOD},
        {HTTP_DELETE, "", false, NO_STORE_METHOD},
        {HTTP_OPTIONS, "", false, NO_STORE_METHOD},
        {HTTP_TRACE, "", false, NO_STORE_METHOD},
        {HTTP_CONNECT, "", false, NO_STORE_METHOD},
        {HTTP_PATCH, "", false, NO_STORE_METHOD},
        {HTTP_PURGE, "", false, NO_STORE_METHOD},
        {HTTP_BAN, "", false, NO_STORE_METHOD},
        {HTTP_GET, "Content-Length: 1", true, NO_STORE_REQUEST_BODY},
        {HTTP_HEAD, "", true, NO_STORE_REQUEST_BODY},
        {HTTP_GET, "Content-Length: 0", false, OK},
        {HTTP_GET, "Connection: Upgrade\nUpgrade: websocket", false, NO_STORE_UPGRADE},
        {HTTP_GET, "Connection: keep-alive, upgrade\nUpgrade: websocket", false, NO_STORE_UPGRADE},
        {HTTP_GET, "Connection: keep-alive\nConnection: upgrade\nUpgrade: websocket", false,
         NO_STORE_UPGRADE},
        {HTTP_GET, "Upgrade: websocket", false, OK},
        {HTTP_GET, "Connection: close\nUpgrade: websocket", false, OK},
        {HTTP_GET, "Connection: upgrade", false, OK},
        {HTTP_GET, "Range: bytes=0-1", false, NO_STORE_STORED},
        {HTTP_HEAD, "Range: bytes=0-1", false, NO_STORE_STORED},
        {HTTP_GET, "Range: junk", false, NO_STORE_STORED},
        {HTTP_GET, "Range: bytes=0-1\nUpgrade: x", false, NO_STORE_STORED},
    };
    struct cache_rules off = plain;
    UNUSED(state);
    off.enabled = false;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_usable(cases[i].method, cases[i].lines, cases[i].has_body, &plain, cases[i].want);
        check_usable(cases[i].method, cases[i].lines, cases[i].has_body, &off, NO_STORE_CACHE_OFF);
    }
}

static void test_bypass(void **state)
{
    static const struct {
        const char *lines;
        bool cookie, header; /* does a rule for "session" or for "X-Debug" match? */
    } cases[] = {
        {"", false, false},
        {"Cookie: session=1", true, false},
        {"Cookie: session=", true, false},
        {"Cookie: session", true, false},
        {"Cookie: a=1; session=2", true, false},
        {"Cookie: a=1;session=2;b=3", true, false},
        {"Cookie: a=1;  session =2", true, false},
        {"Cookie: a=1\nCookie: session=2", true, false},
        {"Cookie: Session=1", false, false},
        {"Cookie: session2=1", false, false},
        {"Cookie: xsession=1", false, false},
        {"Cookie: a=session", false, false},
        {"Cookie: a=session=1", false, false},
        {"Cookie: a=1,session=2", false, false},
        {"Cookie:", false, false},
        {"Cookie: ;;; ;", false, false},
        {"Cookie: =session", false, false},
        {"Set-Cookie: session=1", false, false},
        {"X-Debug: 1", false, true},
        {"x-debug:", false, true},
        {"X-Debug2: 1", false, false},
        {"X-Debu: 1", false, false},
        {"Cookie: session=1\nX-Debug: 1", true, true},
    };
    struct cache_rules cookie = plain, header = plain, both = plain;
    UNUSED(state);
    cookie.bypass_cookie = both.bypass_cookie = SLICE_LIT("session");
    header.bypass_header = both.bypass_header = SLICE_LIT("X-Debug");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        bool c = cases[i].cookie, h = cases[i].header;
        check_usable(HTTP_GET, cases[i].lines, false, &plain, OK);
        check_usable(HTTP_GET, cases[i].lines, false, &cookie, c ? NO_STORE_BYPASS_RULE : OK);
        check_usable(HTTP_HEAD, cases[i].lines, false, &header, h ? NO_STORE_BYPASS_RULE : OK);
        check_usable(HTTP_GET, cases[i].lines, false, &both, c || h ? NO_STORE_BYPASS_RULE : OK);
        check_usable(HTTP_POST, cases[i].lines, false, &both, NO_STORE_METHOD);
    }
    header.bypass_header = SLICE_LIT("authorization"); /* a field with an id */
    check_usable(HTTP_GET, "Authorization: x", false, &header, NO_STORE_BYPASS_RULE);
    check_usable(HTTP_GET, "Range: bytes=0-1", false, &header, NO_STORE_STORED);
    check_usable(HTTP_GET, "X: y", false, &header, OK);
}

struct row {
    unsigned status;
    const char *request, *response;
    enum no_store_reason want;
};

static enum no_store_reason decide(enum http_method method, const struct row *r,
                                   const struct cache_rules *rules, int64_t body_bytes)
{
    struct text_head request, response;
    struct cache_control cc;
    struct cache_freshness f;
    text_head_request(&request, method, r->request);
    text_head_response(&response, r->status, r->response);
    cache_control_parse(&response.head, &cc);
    cache_freshness_compute(&response.head, &cc, rules, NOW_MS, NOW_MS, &f);
    enum no_store_reason why =
        cache_response_storable(&request.head, &response.head, &cc, &f, rules, body_bytes);
    seen[why] = true;
    text_head_free(&request);
    text_head_free(&response);
    return why;
}

static void check_rows(const struct row *rows, size_t count, const struct cache_rules *rules)
{
    for (size_t i = 0; i < count; i++) {
        enum no_store_reason got = decide(HTTP_GET, &rows[i], rules, 10);
        if (got != rows[i].want)
            fail_msg("%u [%s] [%s]: %s, not %s", rows[i].status, rows[i].request, rows[i].response,
                     outcome_no_store_name(got), outcome_no_store_name(rows[i].want));
    }
}

#define FRESH "Cache-Control: max-age=60\n"
#define AUTH  "Authorization: Bearer x"
#define ETAG  "ETag: \"v1\"\n"
#define OLD   "Last-Modified: Sun, 06 Nov 1994 08:32:57 GMT\n"

static const struct row sharing_rows[] = {
    {200, "", FRESH, OK},
    {200, "", "Cache-Control: s-maxage=60", OK},
    {200, "", "Cache-Control: public, max-age=60", OK},
    {200, "", DATE "Expires: Sun, 06 Nov 1994 08:50:37 GMT", OK},
    {200, "", FRESH "Pragma: no-cache", OK},
    {200, "Cache-Control: no-store", FRESH, OK},
    {200, "Cookie: a=b", FRESH, OK},
    {200, "", "Cache-Control: no-store", NO_STORE_NO_STORE},
    {200, "", "Cache-Control: no-store, max-age=60, public", NO_STORE_NO_STORE},
    {200, "", FRESH "Cache-Control: No-Store", NO_STORE_NO_STORE},
    {200, "", "Cache-Control: max-age=60; no-store", NO_STORE_NO_STORE},
    {200, "", "Cache-Control: private", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: private, max-age=60", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: public, private, s-maxage=60", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: private; max-age=60", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: private=x, max-age=60", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: private=\"x, max-age=60", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: private=\"x-user\", max-age=60", OK},
    {200, "", "Cache-Control: private=\"x-user\", private, max-age=60", NO_STORE_PRIVATE},
    /* must-understand */
    {200, "", "Cache-Control: must-understand, no-store, max-age=60", OK},
    {200, "", "Cache-Control: must-understand, max-age=60", OK},
    {299, "", "Cache-Control: must-understand, no-store, max-age=60", NO_STORE_STATUS},
    {299, "", "Cache-Control: must-understand, max-age=60", NO_STORE_STATUS},
    {200, "", "Cache-Control: must-understand, no-store, private", NO_STORE_PRIVATE},
    {200, "", "Cache-Control: must-understand=1, no-store", NO_STORE_NO_STORE},
    {302, "", "Cache-Control: must-understand, max-age=60", OK},
    {503, "", "Cache-Control: must-understand, max-age=60", OK},
    {201, "", "Cache-Control: must-understand, no-store, max-age=60", OK},
    {421, "", "Cache-Control: must-understand, no-store, max-age=60", OK},
    {407, "", "Cache-Control: must-understand, max-age=60", NO_STORE_STATUS},
    {418, "", "Cache-Control: must-understand, max-age=60", NO_STORE_STATUS},
    {429, "", "Cache-Control: must-understand, no-store, max-age=60", NO_STORE_STATUS},
    {226, "", "Cache-Control: must-understand, max-age=60", NO_STORE_STATUS},
    {226, "", "Cache-Control: max-age=60", OK},
    {226, "", "", NO_STORE_NO_FRESHNESS},
    /* Authorization, RFC 9111 section 3.5 */
    {200, AUTH, FRESH, NO_STORE_AUTHORIZATION},
    {200, AUTH, DATE OLD, NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: public, max-age=60", OK},
    {200, AUTH, "Cache-Control: s-maxage=60", OK},
    {200, AUTH, "Cache-Control: must-revalidate, max-age=60", OK},
    {200, AUTH, "Cache-Control: proxy-revalidate, max-age=60", NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: no-cache, max-age=60\n" ETAG, NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: max-age=60; must-revalidate", NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: max-age=60, public=1", NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: s-maxage=junk\n" ETAG, NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: s-maxage=0\n" ETAG, NO_STORE_AUTHORIZATION},
    {200, AUTH, "Cache-Control: public, private, max-age=60", NO_STORE_PRIVATE},
    {200, "Authorization:", FRESH, NO_STORE_AUTHORIZATION},
    {200, "Proxy-Authorization: x", FRESH, OK},
    /* Set-Cookie */
    {200, "", FRESH "Set-Cookie: a=b", NO_STORE_SET_COOKIE},
    {200, "", FRESH "set-cookie:", NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: public, s-maxage=60\nSet-Cookie: a=b", NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: max-age=60, no-cache=\"set-cookie\"\nSet-Cookie: a=b", OK},
    {200, "", "Cache-Control: max-age=60, private=\"Set-Cookie\"\nSet-Cookie: a=b", OK},
    {200, "", "Cache-Control: max-age=60, private=\"x, set-cookie\"\nSet-Cookie: a=b", OK},
    {200, "", "Cache-Control: max-age=60, private=\"x\"\nSet-Cookie: a=b", NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: max-age=60, no-cache=set-cookie\nSet-Cookie: a=b\n" ETAG, NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: max-age=60, x=\"set-cookie\"\nSet-Cookie: a=b", NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: private, no-cache=\"set-cookie\"\nSet-Cookie: a=b", NO_STORE_PRIVATE},
    /* Vary */
    {200, "", FRESH "Vary: Accept-Encoding", OK},
    {200, "", FRESH "Vary: *", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: a, *", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: a\nVary: *", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: accept, X-Forwarded-For", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: forwarded", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: X-Request-ID", NO_STORE_VARY_STAR},
    {200, "", FRESH "Vary: X-Forwarded-Proto, X-Real-IP", OK},
};

static const struct row freshness_rows[] = {
    {200, "", "", NO_STORE_NO_FRESHNESS},
    {200, "", DATE, NO_STORE_NO_FRESHNESS},
    {200, "", "Cache-Control: public", NO_STORE_NO_FRESHNESS},
    {200, "", "Cache-Control: must-revalidate", NO_STORE_NO_FRESHNESS},
    {302, "", "Location: /", NO_STORE_NO_FRESHNESS},
    {302, "", DATE OLD ETAG, NO_STORE_NO_FRESHNESS},
    {302, "", FRESH, OK},
    {500, "", "", NO_STORE_NO_FRESHNESS},
    {500, "", FRESH, OK},
    {404, "", FRESH, OK},
    {404, "", DATE OLD, OK}, /* heuristic */
    {200, "", DATE OLD, OK},
    {204, "", FRESH, OK},
    {299, "", FRESH, OK},
    {299, "", DATE OLD, NO_STORE_NO_FRESHNESS},
    {299, "", DATE OLD "Cache-Control: public", OK},
    /* out of date on arrival */
    {200, "", "Cache-Control: max-age=0", NO_STORE_ALREADY_EXPIRED},
    {200, "", "Cache-Control: s-maxage=0, max-age=60", NO_STORE_ALREADY_EXPIRED},
    {200, "", "Expires: 0", NO_STORE_ALREADY_EXPIRED},
    {200, "", FRESH "Age: 60", NO_STORE_ALREADY_EXPIRED},
    {200, "", FRESH "Age: 1, 2", NO_STORE_AGE_INVALID},
    {200, "", FRESH "Age: soon", NO_STORE_AGE_INVALID},
    {200, "", FRESH "Age: 59", OK},
    {200, "", FRESH "Date: Sun, 06 Nov 1994 08:48:37 GMT", NO_STORE_ALREADY_EXPIRED},
    {200, "", FRESH "Date: Sun, 06 Nov 1994 08:48:38 GMT", OK},
    {200, "", "Cache-Control: no-cache", NO_STORE_ALREADY_EXPIRED},
    {200, "", "Cache-Control: no-cache, max-age=60", NO_STORE_ALREADY_EXPIRED},
    /* with a validator it can be asked for */
    {200, "", ETAG, OK},
    {200, "", "ETag: W/\"v1\"", OK},
    {200, "", "ETag: v1", NO_STORE_NO_FRESHNESS},
    {200, "", "ETag: \"v1", NO_STORE_NO_FRESHNESS},
    {200, "", "ETag:", NO_STORE_NO_FRESHNESS},
    {200, "", "Cache-Control: max-age=0\n" ETAG, OK},
    {200, "", "Cache-Control: max-age=0\n" OLD, OK},
    {200, "", "Cache-Control: max-age=0\nLast-Modified: junk", NO_STORE_ALREADY_EXPIRED},
    {200, "", "Expires: 0\n" ETAG, OK},
    {200, "", FRESH "Age: 60\n" ETAG, OK},
    {200, "", "Cache-Control: no-cache\n" ETAG, OK},
    {200, "", "Cache-Control: no-cache\n" OLD, OK},
    {200, "", DATE "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT", OK},
    {301, "", "Cache-Control: no-cache\n" ETAG, OK},
    {302, "", "Cache-Control: no-cache\n" ETAG, NO_STORE_ALREADY_EXPIRED},
    {302, "", "Cache-Control: no-cache, public\n" ETAG, OK},
    {302, "", "Cache-Control: max-age=0\n" ETAG, OK},
    /* but an error is not kept for that */
    {404, "", "Cache-Control: max-age=0\n" ETAG, NO_STORE_ALREADY_EXPIRED},
    {404, "", ETAG, NO_STORE_NO_FRESHNESS},
    {500, "", "Cache-Control: no-cache\n" ETAG, NO_STORE_ALREADY_EXPIRED},
    /* order: what would leak is named before what is merely stale */
    {200, AUTH, "Cache-Control: max-age=0\nSet-Cookie: a=b\nVary: *", NO_STORE_AUTHORIZATION},
    {200, "", "Cache-Control: max-age=0\nSet-Cookie: a=b\nVary: *", NO_STORE_SET_COOKIE},
    {200, "", "Cache-Control: max-age=0\nVary: *", NO_STORE_VARY_STAR},
};

static void test_sharing(void **state)
{
    UNUSED(state);
    check_rows(sharing_rows, ARRAY_LEN(sharing_rows), &plain);
}

static void test_freshness(void **state)
{
    UNUSED(state);
    check_rows(freshness_rows, ARRAY_LEN(freshness_rows), &plain);
}

/* A route's ttl settles freshness, and opens nothing that keeps responses apart. */
static void test_route_ttl_leaks_nothing(void **state)
{
    static const struct row stored[] = {
        {200, "", "", OK},
        {200, "", "Cache-Control: no-cache", OK},
        {200, "", "Cache-Control: max-age=0", OK},
        {200, "", "Expires: 0", OK},
        {200, "", "Age: 99999", OK},
        {404, "", "", OK},
        {503, "", "", OK},
        {302, "", "", NO_STORE_NO_FRESHNESS},
        {403, "", "", NO_STORE_NO_FRESHNESS},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.ttl_ms = rules.ttl_404_ms = rules.ttl_5xx_ms = 60000;
    check_rows(sharing_rows, ARRAY_LEN(sharing_rows), &rules);
    check_rows(stored, ARRAY_LEN(stored), &rules);
    rules.ttl_ms = rules.ttl_404_ms = rules.ttl_5xx_ms = 0;
    for (size_t i = 0; i < ARRAY_LEN(sharing_rows); i++) {
        struct row r = sharing_rows[i];
        if (r.want == OK && (r.status == 200 || r.status >= 500))
            r.want = NO_STORE_TTL_ZERO;
        check_rows(&r, 1, &rules);
    }
    const struct row zero[] = {
        {200, "", ETAG, NO_STORE_TTL_ZERO},
        {404, "", FRESH, NO_STORE_TTL_ZERO},
        {503, "", FRESH, NO_STORE_TTL_ZERO},
        {302, "", FRESH, OK},
    };
    check_rows(zero, ARRAY_LEN(zero), &rules);
}

static void test_default_and_min_ttl(void **state)
{
    static const struct row rows[] = {
        {200, "", "", OK},
        {404, "", "", OK},
        {302, "", "", NO_STORE_NO_FRESHNESS},
        {200, "", "Cache-Control: max-age=0", OK},
        {200, "", "Cache-Control: no-cache", NO_STORE_ALREADY_EXPIRED},
        {200, "", "Set-Cookie: a=b", NO_STORE_SET_COOKIE},
        {200, AUTH, "", NO_STORE_AUTHORIZATION},
    };
    struct cache_rules rules = plain;
    UNUSED(state);
    rules.default_ttl_ms = 1000;
    rules.min_ttl_ms = 1000;
    check_rows(rows, ARRAY_LEN(rows), &rules);
}

static void test_method_status_and_size(void **state)
{
    const struct row good = {200, "", FRESH, OK};
    UNUSED(state);
    for (int m = HTTP_METHOD_OTHER; m < HTTP_METHOD_COUNT; m++)
        assert_int_equal(decide((enum http_method)m, &good, &plain, 10),
                         m == HTTP_GET ? OK : NO_STORE_METHOD);
    for (unsigned status = 100; status < 1000; status++) {
        struct row r = {status, "", FRESH, OK};
        if (status < 200 || status > 599 || status == 304)
            r.want = NO_STORE_STATUS;
        else if (status == 428 || status == 429 || status == 431 || status == 511) /* RFC 6585 */
            r.want = NO_STORE_STATUS;
        else if (status == 206)
            r.want = NO_STORE_PARTIAL;
        check_rows(&r, 1, &plain);
    }
    assert_int_equal(decide(HTTP_GET, &good, &plain, -1), OK);
    assert_int_equal(decide(HTTP_GET, &good, &plain, 0), OK);
    assert_int_equal(decide(HTTP_GET, &good, &plain, 1000), OK);
    assert_int_equal(decide(HTTP_GET, &good, &plain, 1001), NO_STORE_TOO_LARGE);
    assert_int_equal(decide(HTTP_GET, &good, &plain, INT64_MAX), NO_STORE_TOO_LARGE);
    struct cache_rules off = plain;
    off.enabled = false;
    assert_int_equal(decide(HTTP_GET, &good, &off, 10), NO_STORE_CACHE_OFF);
}

static void test_field_is_storable(void **state)
{
    static const struct {
        const char *lines; /* the first is asked about */
        bool want;
    } cases[] = {
        {"Content-Type: a", true},
        {"X-Anything: a", true},
        {"Cache-Control: private=\"x\"", true},
        {"Date: x", true},
        {"Set-Cookie: a=b", false},
        {"Set-Cookie: a=b\nCache-Control: private=\"set-cookie\"", false},
        {"Warning: 110 - \"stale\"", false},
        {"Surrogate-Key: a", false},
        {"cache-tag: a", false},
        {"XKey: a", false},
        {"Cache-Groups: \"a\"", true},
        {"Connection: close", false},
        {"Keep-Alive: 5", false},
        {"Proxy-Connection: x", false},
        {"Transfer-Encoding: chunked", false},
        {"Upgrade: h2c", false},
        {"TE: trailers", false},
        {"Proxy-Authenticate: x", false},
        {"X-Hop: a\nConnection: x-hop", false},
        {"X-Hop: a\nConnection: close, X-HOP", false},
        {"X-Hop: a\nConnection: x-ho", true},
        {"ETag: \"a\"\nConnection: etag", true},
        {"X-User: a\nCache-Control: private=\"x-user\"", false},
        {"x-user: a\nCache-Control: max-age=1\nCache-Control: no-cache=\"a, X-User\"", false},
        {"X-User: a\nCache-Control: private", true},
        {"X-User: a\nCache-Control: private=\"x-use\"", true},
        {"X-User: a\nCache-Control: ext=\"x-user\"", true},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head t;
        text_head_response(&t, 200, cases[i].lines);
        if (cache_field_is_storable(&t.head, &t.fields[0]) != cases[i].want)
            fail_msg("%s", cases[i].lines);
        text_head_free(&t);
    }
}

static void test_streams_of_events(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {200, "", FRESH "Content-Type: text/event-stream", NO_STORE_EVENT_STREAM},
        {200, "", FRESH "Content-Type: Text/Event-Stream;charset=utf-8", NO_STORE_EVENT_STREAM},
        {200, "", FRESH "Content-Type: text/event-streams", NO_STORE_STORED},
        {200, "", FRESH "Content-Type: text/event", NO_STORE_STORED},
        {200, "", FRESH, NO_STORE_STORED},
    };
    static const struct {
        const char *lines;
        bool wants;
    } requests[] = {
        {"Accept: text/event-stream", true},
        {"Accept: TEXT/event-stream, */*;q=0.1", true},
        {"Accept: text/html, text/event-stream", false}, /* a page would do, too */
        {"Accept: text/event-streams", false},
        {"Accept: */*", false},
        {"", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (decide(HTTP_GET, &rows[i], &plain, -1) != rows[i].want)
            fail_msg("%s", rows[i].response);
        assert_int_equal(decide(HTTP_GET, &rows[i], &plain, 10), NO_STORE_STORED); /* it has an end */
    }
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, requests[i].lines);
        if (cache_request_wants_events(&t.head) != requests[i].wants)
            fail_msg("%s", requests[i].lines);
        text_head_free(&t);
    }
}

/* Runs last. The others come from guard.c, from cache_fill_begin and later, or from what the client asks of
 * the cache. */
static void test_every_reason_was_given(void **state)
{
    static const enum no_store_reason elsewhere[] = {
        NO_STORE_VARY_TOO_LARGE,   NO_STORE_NO_MEMORY,      NO_STORE_INCOMPLETE,    NO_STORE_PURGED,
        NO_STORE_PASS_REMEMBERED,  NO_STORE_WAIT_LIMIT,     NO_STORE_SUPERSEDED,    NO_STORE_REQUEST_RELOAD,
        NO_STORE_REQUEST_NO_STORE, NO_STORE_ONLY_IF_CACHED, NO_STORE_COOKIE,        NO_STORE_DECEPTION,
        NO_STORE_NOT_FRESH,        NO_STORE_TAGS_TOO_LARGE, NO_STORE_KEY_TOO_LARGE, NO_STORE_FETCH_FAILED,
        NO_STORE_ABANDONED,        NO_STORE_OTHER_QUERIES,  NO_STORE_RATE_LIMITED,  NO_STORE_CERTIFICATE,
        NO_STORE_RANGES,           NO_STORE_NOT_SLICEABLE,  NO_STORE_UNAUTHORIZED,
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
        assert_false(seen[elsewhere[i]]);
        seen[elsewhere[i]] = true;
    }
    for (int why = 0; why < NO_STORE_COUNT; why++) {
        if (!seen[why])
            fail_msg("no test gives %s", outcome_no_store_name((enum no_store_reason)why));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_usable),
        cmocka_unit_test(test_bypass),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_freshness),
        cmocka_unit_test(test_route_ttl_leaks_nothing),
        cmocka_unit_test(test_default_and_min_ttl),
        cmocka_unit_test(test_method_status_and_size),
        cmocka_unit_test(test_field_is_storable),
        cmocka_unit_test(test_streams_of_events),
        cmocka_unit_test(test_every_reason_was_given),
    };
    return cmocka_run_group_tests_name("cache/storable", tests, NULL, NULL);
}
