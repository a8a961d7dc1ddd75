/* test_forward.c: heads as they leave us, towards instances and towards clients and the cache. */
#include "proxy/forward.h"

#include "core/http_date.h"
#include "fixture.h"
#include "proxy/own_fetch.h"

#define TRUSTING "[millpond]\ntrusted_proxies = 192.0.2.0/24, 2001:db8::/32, unix\n" FIX_APP

/* The request head as text; lives as long as the exchange. */
static const char *forwarded(struct exchange *x)
{
    slice_t head = forward_request_head(x);
    assert_non_null(head.ptr);
    assert_true(slice_ends(head, SLICE_LIT("\r\n\r\n")));
    slice_t copy = arena_copy(&x->arena, head);
    assert_non_null(copy.ptr);
    return copy.ptr;
}

static void expect(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("no \"%s\" in: %s", part, text);
}

static void expect_not(const char *text, const char *part)
{
    if (strcasestr(text, part) != NULL)
        fail_msg("\"%s\" in: %s", part, text);
}

struct one {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    int other;
};

static const char *start(struct one *o, const char *ini, const char *peer, const char *request)
{
    fix_start(&o->f, ini, false);
    o->c = fix_client(&o->f, peer, &o->other);
    o->x = fix_exchange(&o->f, o->c, request);
    return forwarded(o->x);
}

static void end(struct one *o)
{
    fix_drop(o->x);
    client_conn_close(o->c, CLOSE_CLIENT_CLOSED);
    close(o->other);
    fix_end(&o->f);
}

/* ---- requests ---- */

static void test_plain_request(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o, FIX_APP, "198.51.100.7:4",
                          "GET /a%20b?q=1&r= HTTP/1.0\r\nHost: h.example:81\r\nX-Own: v\r\n\r\n");
    assert_string_equal(h, "GET /a%20b?q=1&r= HTTP/1.1\r\n"
                           "Host: h.example:81\r\n"
                           "X-Own: v\r\n"
                           "X-Forwarded-For: 198.51.100.7\r\n"
                           "X-Forwarded-Proto: http\r\n"
                           "X-Forwarded-Host: h.example:81\r\n"
                           "Forwarded: for=198.51.100.7;proto=http;host=\"h.example:81\"\r\n"
                           "Via: 1.1 millpond\r\n"
                           "X-Request-Id: 0123456789abcdef0000000000000001\r\n"
                           "\r\n");
    end(&o);
}

/* absolute-form wins over Host (RFC 9112 section 3.2.2); an empty query keeps its mark. */
static void test_absolute_form(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h =
        start(&o, FIX_APP, "198.51.100.7:4", "GET http://real.example:8080? HTTP/1.1\r\nHost: fake\r\n\r\n");
    expect(h, "GET /? HTTP/1.1\r\nHost: real.example:8080\r\n");
    expect_not(h, "fake");
    end(&o);
}

static void test_hop_by_hop(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h =
        start(&o, FIX_APP, "198.51.100.7:4",
              "GET / HTTP/1.1\r\nHost: h\r\nConnection: close, X-Hop, \r\nConnection: x-second\r\n"
              "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n"
              "Upgrade: h2c\r\nHTTP2-Settings: AA\r\nProxy-Authorization: Basic x\r\nX-Hop: 1\r\n"
              "x-SECOND: 2\r\nX-Hop-Not: 3\r\nX-Third: 4\r\n\r\n");
    static const char *const gone[] = {"Connection:", "Keep-Alive", "TE:",    "Upgrade",
                                       "HTTP2",       "Proxy-",     "X-Hop:", "X-Second"};
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        expect_not(h, gone[i]);
    expect(h, "X-Hop-Not: 3\r\n");
    expect(h, "X-Third: 4\r\n");
    end(&o);
}

/* A client must not make us strip what the application relies on. */
static void test_connection_cannot_strip(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h =
        start(&o, FIX_APP, "198.51.100.7:4",
              "POST / HTTP/1.1\r\nHost: h\r\n"
              "Connection: authorization, cookie, host, content-length, x-forwarded-for, forwarded, via, "
              "x-forwarded-host, x-forwarded-proto, x-request-id, cache-control, content-type\r\n"
              "Authorization: a\r\nCookie: c\r\nContent-Length: 3\r\nCache-Control: no-cache\r\n"
              "Content-Type: t/t\r\n\r\n");
    static const char *const kept[] = {"Authorization: a\r\n",
                                       "Cookie: c\r\n",
                                       "\r\nHost: h\r\n",
                                       "Content-Length: 3\r\n",
                                       "Cache-Control: no-cache\r\n",
                                       "Content-Type: t/t\r\n",
                                       "X-Forwarded-For: 198.51.100.7\r\n",
                                       "X-Forwarded-Host: h\r\n",
                                       "X-Forwarded-Proto: http\r\n",
                                       "\r\nForwarded: for=198.51.100.7;",
                                       "Via: 1.1 millpond\r\n",
                                       "X-Request-Id: "};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        assert_int_equal(fix_count(h, kept[i]), 1);
    end(&o);
}

#define CLAIMS                                                                                               \
    "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\n"                \
    "X-Forwarded-Proto: https\r\nX-Forwarded-Host: public\r\nForwarded: for=10.0.0.1;proto=https\r\n"        \
    "Via: 1.0 before\r\nX-Request-Id: theirs-1\r\n\r\n"

static void test_untrusted_claims(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o, TRUSTING, "198.51.100.7:4", CLAIMS);
    expect(h, "X-Forwarded-For: 198.51.100.7\r\n");
    expect(h, "X-Forwarded-Proto: http\r\n");
    expect(h, "X-Forwarded-Host: h\r\n");
    expect(h, "\r\nForwarded: for=198.51.100.7;proto=http;host=\"h\"\r\n");
    expect(h, "Via: 1.0 before, 1.1 millpond\r\n"); /* Via is no claim of identity: it stays, against loops */
    expect(h, "X-Request-Id: 0123456789abcdef0000000000000001\r\n");
    expect_not(h, "10.0.0.");
    expect_not(h, "public");
    expect_not(h, "theirs");
    end(&o);
}

static void test_trusted_claims(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o, TRUSTING, "192.0.2.9:4", CLAIMS);
    expect(h, "X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.9\r\n");
    expect(h, "X-Forwarded-Proto: https\r\n");
    expect(h, "X-Forwarded-Host: public\r\n");
    expect(h, "\r\nForwarded: for=10.0.0.1;proto=https, for=192.0.2.9;proto=http;host=\"h\"\r\n");
    expect(h, "X-Request-Id: theirs-1\r\n");
    static const char *const once[] = {
        "X-Forwarded-For:", "X-Forwarded-Proto:", "X-Forwarded-Host:", "\r\nForwarded:", "Via:",
        "X-Request-Id:"};
    for (size_t i = 0; i < ARRAY_LEN(once); i++)
        assert_int_equal(fix_count(h, once[i]), 1);
    end(&o);
}

/* An id that would break a log line or a header is replaced, even a trusted one. */
static void test_insane_request_id(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"a b", "\xc3\xa9", "", "a\tb"};
    char request[512];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct one o;
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: %s\r\n\r\n", bad[i]);
        expect(start(&o, TRUSTING, "192.0.2.9:4", request),
               "X-Request-Id: 0123456789abcdef0000000000000001\r\n");
        end(&o);
    }
    for (int len = 128; len <= 129; len++) {
        struct one o;
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\nX-Request-Id: %0*d\r\n\r\n", len, 7);
        const char *h = start(&o, TRUSTING, "192.0.2.9:4", request);
        expect(h, len == 128 ? "00000007\r\n" : "X-Request-Id: 0123456789abcdef0");
        end(&o);
    }
}

static void test_ipv6_peer(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o, TRUSTING, "[2001:db8::5]:4",
                          "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nForwarded: for=a\r\n\r\n");
    expect(
        h,
        "X-Forwarded-For: 2001:db8::5\r\n"); /* plain there, quoted in brackets here (RFC 7239 section 6) */
    expect(h, "\r\nForwarded: for=a, for=\"[2001:db8::5]\";proto=http;host=\"[2001:db8::1]:80\"\r\n");
    end(&o);
    h = start(&o, FIX_APP, "[::ffff:198.51.100.7]:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(h, "X-Forwarded-For: 198.51.100.7\r\n");
    expect(h, "\r\nForwarded: for=198.51.100.7;proto=http;");
    end(&o);
}

static void test_unix_peer(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h =
        start(&o, TRUSTING, "unix:/tmp/x", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
    expect(h, "X-Forwarded-For: 10.0.0.1, unix\r\n");
    expect(h, "\r\nForwarded: for=unknown;proto=http;host=\"h\"\r\n");
    end(&o);
}

/* What could break out of the quoted string is left out rather than escaped. */
static void test_no_host(void **state)
{
    UNUSED(state);
    struct one o;
    start(&o, FIX_APP, "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    o.x->host = SLICE_EMPTY;
    expect(forwarded(o.x), "\r\nForwarded: for=198.51.100.7;proto=http\r\n");
    end(&o);
}

static void test_edits(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h =
        start(&o,
              FIX_APP "[route r]\nset_request_header = X-Set: ip=$client_ip host=$host id=$request_id $\n"
                      "set_request_header = User-Agent: us\nset_request_header = Host: inner\n"
                      "remove_request_header = Cookie, X-Gone\n",
              "198.51.100.7:4",
              "GET / HTTP/1.1\r\nHost: h\r\nuser-agent: them\r\nCookie: c\r\nCOOKIE: d\r\nx-gone: 1\r\n"
              "X-Set: forged\r\nX_set: forged\r\nX-Stay: 1\r\nX_Other: 1\r\n\r\n");
    expect(h, "X-Set: ip=198.51.100.7 host=h id=0123456789abcdef0000000000000001 $\r\n");
    expect(h, "User-Agent: us\r\n");
    expect(h, "\r\nHost: inner\r\n");
    expect(h, "X-Stay: 1\r\n");
    expect(h, "X_Other: 1\r\n");
    assert_int_equal(fix_count(h, "\r\nHost:"), 1);
    static const char *const gone[] = {"them", "Cookie", "X-Gone", "forged"};
    for (size_t i = 0; i < ARRAY_LEN(gone); i++)
        expect_not(h, gone[i]);
    end(&o);
}

/* Of the two names that are one variable to CGI, the route's has either form. */
static void test_edits_by_variable(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o,
                          FIX_APP "[route r]\nset_request_header = REMOTE_USER: us\n"
                                  "set_request_header = X_Request_Id: $request_id\n",
                          "198.51.100.7:4",
                          "GET / HTTP/1.1\r\nHost: h\r\nRemote-User: root\r\nremote_user: root\r\n"
                          "Remote-Use: 1\r\nRemote-Users: 2\r\n\r\n");
    expect(h, "\r\nREMOTE_USER: us\r\n");
    expect(h, "\r\nX-Request-Id: "); /* ours is sent by both names */
    expect(h, "\r\nX_Request_Id: ");
    expect(h, "\r\nRemote-Use: 1\r\nRemote-Users: 2\r\n");
    expect_not(h, "root");
    end(&o);
}

/* The room for edits is counted, not guessed: a long host named often fits, up to the arena's ceiling. */
static void test_edits_with_long_host(void **state)
{
    UNUSED(state);
    static char host[7001], request[8192];
    struct one o;
    memset(host, 'a', sizeof host - 1);
    snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", host);
    const char *h = start(&o, FIX_APP "[route r]\nset_request_header = X-A: $host,$host,$host,$host\n",
                          "198.51.100.7:4", request);
    assert_int_equal(fix_count(h, host), 6);
    assert_int_equal(fix_count(h, "host="), 0); /* too long for Forwarded */
    end(&o);
}

#define FOLDING FIX_APP "[route r]\nkey_device = yes\nkey_language = en, de\n"

/* The instance learns the classes from us alone, and nothing of the languages they were made of. */
static void test_folded_classes(void **state)
{
    UNUSED(state);
    static const char request[] = "GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: a Mobile b\r\n"
                                  "Accept-Language: xx, de-AT;q=0.5\r\nAccept-Language: yy\r\n"
                                  "Millpond-Device: forged\r\nmillpond-language: forged\r\n"
                                  "millpond-mirror: forged\r\n\r\n";
    struct one o;
    const char *h = start(&o, FOLDING, "198.51.100.7:4", request);
    expect(h, "\r\nMillpond-Device: mobile\r\nMillpond-Language: de\r\nAccept-Language: de\r\n");
    expect(h, "\r\nUser-Agent: a Mobile b\r\n");
    assert_int_equal(fix_count(h, "\r\nAccept-Language:"), 1);
    expect_not(h, "forged");
    end(&o);
    h = start(&o, FIX_APP, "198.51.100.7:4", request); /* no folding, no class */
    expect_not(h, "millpond-");
    expect(h, "\r\nAccept-Language: xx, de-AT;q=0.5\r\nAccept-Language: yy\r\n");
    end(&o);
    h = start(&o, FOLDING "set_request_header = Accept-Language: fr\n", "198.51.100.7:4", request);
    expect(h, "\r\nAccept-Language: fr\r\n");
    assert_int_equal(fix_count(h, "\r\nAccept-Language:"), 1);
    end(&o);
}

static void test_conditions_of_a_leader(void **state)
{
    UNUSED(state);
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"a\"\r\nIf-Modified-Since: x\r\nIf-Match: *\r\n"
        "If-Unmodified-Since: y\r\nIf-Range: \"a\"\r\nRange: bytes=0-1\r\n\r\n";
    struct one o;
    const char *h = start(&o, FIX_APP, "198.51.100.7:4", request);
    expect(h, "If-None-Match: \"a\"\r\nIf-Modified-Since: x\r\nIf-Match: *\r\nIf-Unmodified-Since: y\r\n"
              "If-Range: \"a\"\r\nRange: bytes=0-1\r\n");
    o.x->conditions_dropped = true;
    h = forwarded(o.x);
    expect_not(h, "If-");
    expect_not(h, "Range");
    struct own_fetch own = {.offset = 12345678901, .validator = SLICE_LIT("\"b\"")};
    o.x->own_fetch = &own;
    h = forwarded(o.x);
    expect(h, "Range: bytes=12345678901-\r\nIf-Range: \"b\"\r\n");
    assert_int_equal(fix_count(h, "Range:"), 2);
    own.validator = SLICE_EMPTY; /* the whole, then */
    expect_not(forwarded(o.x), "Range");
    end(&o);
}

static void test_revalidation(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    struct cache_key key;
    char key_text[64];
    enum no_store_reason pass;
    int other;
    fix_start(&f, FIX_APP, true);
    fix_store(&f, "h", "/", "HTTP/1.1 200 OK\r\nETag: \"stored\"\r\n", "body");
    struct client_conn *c = fix_client(&f, "198.51.100.7:4", &other);
    struct exchange *x =
        fix_exchange(&f, c, "GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"client\"\r\n\r\n");
    cache_key_build(key_text, SLICE_LIT("http"), x->host, x->target.path, x->target.query, &key);
    rcu_enter();
    struct cache_object *o = cache_find(f.cache, &key, &x->req, &x->arena, &pass);
    assert_non_null(o);
    x->stale = cache_object_ref(o);
    rcu_leave();
    x->conditions_dropped = true;
    const char *h = forwarded(x);
    expect(h, "If-None-Match: \"stored\"\r\n");
    assert_int_equal(fix_count(h, "If-"), 1);
    fix_drop(x);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

static void test_request_framing(void **state)
{
    UNUSED(state);
    struct one o;
    const char *h = start(&o, FIX_APP, "198.51.100.7:4",
                          "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n");
    assert_int_equal(fix_count(h, "Transfer-Encoding: chunked\r\n"), 1);
    expect_not(h, "Content-Length");
    end(&o);
    h = start(&o, FIX_APP, "198.51.100.7:4", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    expect(h, "Content-Length: 0\r\n");
    expect_not(h, "Transfer-Encoding");
    end(&o);
    h = start(&o, FIX_APP, "198.51.100.7:4", "POST / HTTP/1.1\r\nHost: h\r\n\r\n");
    expect_not(h, "Content-Length");
    end(&o);
}

/* Filled up to its ceiling, the arena says no, and so does every function here; nothing else happens. */
static void test_arena_ceiling(void **state)
{
    UNUSED(state);
    struct one o;
    struct http_field fields[1] = {{SLICE_LIT("X"), SLICE_LIT("y"), 0}};
    struct http_head head = {.fields = fields, .field_count = 1, .status = 200};
    start(&o, FIX_APP, "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    o.x->request_id = SLICE_EMPTY;
    while (arena_alloc(&o.x->arena, 16) != NULL)
        continue;
    assert_null(forward_request_head(o.x).ptr);
    assert_null(forward_response_head(o.x, &head, false).ptr);
    assert_null(forward_response_head(o.x, &head, true).ptr);
    assert_null(forward_interim(o.x, &head).ptr);
    assert_int_equal(forward_trailers(o.x, &head, true).len, 0);
    assert_int_equal(exchange_request_id(o.x).len, 0);
    assert_false(exchange_own_head(o.x));
    end(&o);
}

/* ---- responses ---- */

static struct http_field response_fields[64];

/* The response head as text, in the exchange's arena. */
static const char *answered(struct exchange *x, const char *response, bool for_store)
{
    struct http_head head = {.fields = response_fields};
    fix_parse_response(response, &head);
    slice_t text = forward_response_head(x, &head, for_store);
    assert_non_null(text.ptr);
    slice_t copy = arena_copy(&x->arena, text);
    assert_non_null(copy.ptr);
    return copy.ptr;
}

static void test_response_head(void **state)
{
    UNUSED(state);
    struct one o;
    start(&o, FIX_APP, "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    o.f.worker->now_wall_ms = 784111777000;
    assert_string_equal(
        answered(o.x,
                 "HTTP/1.0 200 Fine\r\nContent-Length: 3\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
                 false),
        "HTTP/1.1 200 Fine\r\nX-A: 1\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nVia: 1.1 millpond\r\n");
    const char *h =
        answered(o.x,
                 "HTTP/1.1 299 \r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\nVia: 1.0 a\r\nVIA: 1.1 b\r\n"
                 "Age: 7\r\n\r\n",
                 false);
    assert_string_equal(h, "HTTP/1.1 299 Unknown\r\nDate: Mon, 07 Nov 1994 08:49:37 GMT\r\nAge: 7\r\n"
                           "Via: 1.0 a, 1.1 b, 1.1 millpond\r\n");
    assert_int_equal(fix_count(answered(o.x, "HTTP/1.1 404 \r\n\r\n", false), "HTTP/1.1 404 Not Found\r\n"),
                     1);
    end(&o);
}

static void test_response_hop_by_hop(void **state)
{
    UNUSED(state);
    static const char response[] =
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, etag, cache-control, set-cookie\r\nX-Hop: 1\r\nETag: \"e\"\r\n"
        "Cache-Control: max-age=5\r\nSet-Cookie: s\r\nKeep-Alive: x\r\nTransfer-Encoding: "
        "chunked\r\nUpgrade: h2c\r\n"
        "Proxy-Authenticate: x\r\nAge: 3\r\nTrailer: T\r\n\r\n";
    struct one o;
    start(&o, FIX_APP, "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    for (int store = 0; store < 2; store++) {
        const char *h = answered(o.x, response, store);
        static const char *const gone[] = {"Connection", "X-Hop",   "Keep-Alive",
                                           "Transfer-",  "Upgrade", "Proxy-"};
        for (size_t i = 0; i < ARRAY_LEN(gone); i++)
            expect_not(h, gone[i]);
        expect(h, "ETag: \"e\"\r\n");
        expect(h, "Cache-Control: max-age=5\r\n");
        assert_int_equal(fix_count(h, "Age: 3"), !store);
        assert_int_equal(fix_count(h, "Set-Cookie"), !store); /* promise 1 */
    }
    end(&o);
}

static void test_interim(void **state)
{
    UNUSED(state);
    struct one o;
    struct http_head head = {.fields = response_fields};
    start(&o, FIX_APP "[route r]\nremove_response_header = X-Gone\n", "198.51.100.7:4",
          "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    fix_parse_response(
        "HTTP/1.1 103 \r\nLink: </a>\r\nConnection: close, x-hop\r\nContent-Length: 3\r\nX-Hop: 1\r\n"
        "Set-Cookie: a=1\r\nSurrogate-Key: k\r\nSurrogate-Control: max-age=1\r\n"
        "Millpond-Cache-Control: no-store\r\nX-Gone: 1\r\nxkey: k\r\n\r\n",
        &head);
    slice_t text = forward_interim(o.x, &head);
    assert_true(slice_eq(text, SLICE_LIT("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")));
    end(&o);
}

static void test_trailers(void **state)
{
    UNUSED(state);
    struct one o;
    struct http_head head = {.fields = response_fields};
    struct h1_parser p = {0};
    const struct h1_limits limits = {64 * KB, 0, ARRAY_LEN(response_fields)};
    static const char text[] = "X-Sum: 1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: "
                               "evil\r\nAuthorization: a\r\nSet-Cookie: s\r\n"
                               "Cache-Control: max-age=1\r\nConnection: x\r\nTrailer: y\r\nVary: "
                               "*\r\nContent-Type: t/t\r\nDate: z\r\n"
                               "Expect: 100-continue\r\nCookie: c\r\nserver-timing: t\r\n\r\n";
    start(&o, FIX_APP, "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(h1_parse_fields(&p, text, sizeof text - 1, &head, &limits), H1_DONE);
    assert_true(slice_eq(forward_trailers(o.x, &head, true), SLICE_LIT("X-Sum: 1\r\nserver-timing: t\r\n")));
    head.field_count = 0;
    assert_int_equal(forward_trailers(o.x, &head, true).len, 0);
    end(&o);
}

/* What the route says of the request is not said otherwise behind its body. */
static void test_trailers_with_edits(void **state)
{
    UNUSED(state);
    struct one o;
    struct http_head head = {.fields = response_fields};
    struct h1_parser p = {0};
    const struct h1_limits limits = {64 * KB, 0, ARRAY_LEN(response_fields)};
    static const char text[] = "x-user: root\r\nX_User: root\r\nX-Gone: 1\r\nX-Sum: 1\r\n\r\n";
    start(&o, FIX_APP "[route r]\nset_request_header = X-User: us\nremove_request_header = X-Gone\n",
          "198.51.100.7:4", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(h1_parse_fields(&p, text, sizeof text - 1, &head, &limits), H1_DONE);
    assert_true(slice_eq(forward_trailers(o.x, &head, true), SLICE_LIT("X-Sum: 1\r\n")));
    assert_true(slice_eq(forward_trailers(o.x, &head, false), slice_make(text, sizeof text - 3)));
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_request),
        cmocka_unit_test(test_absolute_form),
        cmocka_unit_test(test_hop_by_hop),
        cmocka_unit_test(test_connection_cannot_strip),
        cmocka_unit_test(test_untrusted_claims),
        cmocka_unit_test(test_trusted_claims),
        cmocka_unit_test(test_insane_request_id),
        cmocka_unit_test(test_ipv6_peer),
        cmocka_unit_test(test_unix_peer),
        cmocka_unit_test(test_no_host),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_edits_by_variable),
        cmocka_unit_test(test_edits_with_long_host),
        cmocka_unit_test(test_folded_classes),
        cmocka_unit_test(test_conditions_of_a_leader),
        cmocka_unit_test(test_revalidation),
        cmocka_unit_test(test_request_framing),
        cmocka_unit_test(test_arena_ceiling),
        cmocka_unit_test(test_response_head),
        cmocka_unit_test(test_response_hop_by_hop),
        cmocka_unit_test(test_interim),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_trailers_with_edits),
    };
    return cmocka_run_group_tests_name("proxy/forward", tests, fix_group_setup, fix_group_teardown);
}
