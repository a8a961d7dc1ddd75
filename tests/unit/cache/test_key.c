/* test_key.c: cache keys. Equal requests have equal keys, different ones different keys, normalising twice
 * changes nothing, and the announced bound holds to the byte (buffers are exact, for AddressSanitizer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/key.h"
#include "core/http_field.h"
#include "tests/unit/cache/text_head.h"

#define NO_QUERY ((slice_t){NULL, 0})

struct built {
    struct cache_key key;
    char *buf;
};

static struct built build(slice_t scheme, slice_t host, slice_t path, slice_t query)
{
    struct built b;
    size_t bound = cache_key_bound(scheme, host, path, query);
    slice_t parts[4] = {scheme, host, path, query};
    b.buf = malloc(bound);
    assert_non_null(b.buf);
    for (int i = 0; i < 4; i++)
        parts[i] = parts[i].ptr != NULL ? text_head_copy(parts[i]) : parts[i];
    cache_key_build(b.buf, parts[0], parts[1], parts[2], parts[3], &b.key);
    assert_ptr_equal(b.key.text.ptr, b.buf);
    assert_true(b.key.text.len <= bound);
    assert_true(hash_eq(b.key.hash, hash_bytes(b.key.text.ptr, b.key.text.len)));
    for (int i = 0; i < 4; i++)
        free((void *)(uintptr_t)parts[i].ptr);
    return b;
}

static slice_t part(const char *s)
{
    return slice_str(s);
}

static void assert_slice(slice_t got, const char *want)
{
    if (!slice_eq(got, slice_str(want)))
        fail_msg("got \"" SLICE_FMT "\", want \"%s\"", SLICE_ARG(got), want);
}

struct row {
    const char *scheme, *host, *path, *query, *want;
};

static const struct row rows[] = {
    {"http", "example.com", "/", NULL, "http://example.com/"},
    {"https", "example.com", "/", NULL, "https://example.com/"},
    {"HTTP", "example.com", "/", NULL, "http://example.com/"},
    /* host */
    {"http", "EXAMPLE.Com", "/A", NULL, "http://example.com/A"},
    {"http", "AZaz@[`{09", "/", NULL, "http://azaz@[`{09/"},
    {"http", "ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz.09", "/", NULL,
     "http://abcdefghijklmnopqrstuvwxyz-abcdefghijklmnopqrstuvwxyz.09/"},
    {"http", "\xc1\xda\xe1\xfa\x80\xff\xc3\x84", "/", NULL, "http://\xc1\xda\xe1\xfa\x80\xff\xc3\x84/"},
    {"http", "a%4A", "/", NULL, "http://a%4a/"},
    {"http", "example.com:80", "/", NULL, "http://example.com/"},
    {"https", "example.com:443", "/", NULL, "https://example.com/"},
    {"http", "example.com:443", "/", NULL, "http://example.com:443/"},
    {"https", "example.com:80", "/", NULL, "https://example.com:80/"},
    {"http", "example.com:8080", "/", NULL, "http://example.com:8080/"},
    {"http", "example.com:", "/", NULL, "http://example.com/"},
    {"http", "example.com:080", "/", NULL, "http://example.com/"},
    {"https", "example.com:00443", "/", NULL, "https://example.com/"},
    {"http", "example.com:0", "/", NULL, "http://example.com:0/"},
    {"http", "example.com:00", "/", NULL, "http://example.com:0/"},
    {"http", "example.com:800", "/", NULL, "http://example.com:800/"},
    {"http", "example.com:8", "/", NULL, "http://example.com:8/"},
    {"http", "example.com.", "/", NULL, "http://example.com/"},
    {"http", "example.com.:80", "/", NULL, "http://example.com/"},
    {"http", "example.com.:81", "/", NULL, "http://example.com:81/"},
    {"http", "example.com..", "/", NULL, "http://example.com../"},
    {"http", ".", "/", NULL, "http://./"},
    {"http", "..", "/", NULL, "http://../"},
    {"http", "a.", "/", NULL, "http://a/"},
    {"http", "[::1]", "/", NULL, "http://[::1]/"},
    {"http", "[::1]:80", "/", NULL, "http://[::1]/"},
    {"https", "[::1]:80", "/", NULL, "https://[::1]:80/"},
    {"http", "[2001:DB8::A]:8080", "/", NULL, "http://[2001:db8::a]:8080/"},
    {"http", "[::1]:", "/", NULL, "http://[::1]/"},
    {"http", "[::80", "/", NULL, "http://[::80/"},
    {"http", "10.0.0.1:80", "/", NULL, "http://10.0.0.1/"},
    {"http", "a:80:80", "/", NULL, "http://a:80:80/"},
    {"http", "a:80.", "/", NULL, "http://a:80./"},
    {"http", "a:x", "/", NULL, "http://a:x/"},
    /* path */
    {"http", "h", "", NULL, "http://h/"},
    {"http", "h", "", "q", "http://h/?q"},
    {"http", "h", "*", NULL, "http://h*"},
    {"http", "h", "//", NULL, "http://h//"},
    {"http", "h", "/a//b", NULL, "http://h/a//b"},
    {"http", "h", "/a/../b/./c", NULL, "http://h/a/../b/./c"},
    {"http", "h", "/a/", NULL, "http://h/a/"},
    {"http", "h", "/Case/IS/Kept", NULL, "http://h/Case/IS/Kept"},
    {"http", "h", "/%41%5a%61%7A%30%39%2d%2E%5f%7e", NULL, "http://h/AZaz09-._~"},
    {"http", "h", "/a%2fb%2Fc", NULL, "http://h/a%2Fb%2Fc"},
    {"http", "h", "/%3f%23%25", NULL, "http://h/%3F%23%25"},
    {"http", "h", "/%c3%a4", NULL, "http://h/%C3%A4"},
    {"http", "h", "/%00%0a%7f%20", NULL, "http://h/%00%0A%7F%20"},
    {"http", "h", "/%2541", NULL, "http://h/%2541"},
    {"http", "h", "/%2e%2e/x", NULL, "http://h/../x"},
    {"http", "h", "/ok%20%7euser", NULL, "http://h/ok%20~user"},
    {"http", "h", "/%", NULL, "http://h/%"},
    {"http", "h", "/%4", NULL, "http://h/%4"},
    {"http", "h", "/%zz%41", NULL, "http://h/%zz%41"},
    {"http", "h", "/%4g%41", NULL, "http://h/%4g%41"},
    {"http", "h", "/%41%", NULL, "http://h/A%"},
    {"http", "h", "/%41%%34%31", NULL, "http://h/A%%34%31"},
    {"http", "h", "/%%34%31", NULL, "http://h/%%34%31"},
    /* query: more in test_key_query.c */
    {"http", "h", "/", "", "http://h/?"},
    {"http", "h", "/", "a=1&b=2", "http://h/?a=1&b=2"},
    {"http", "h", "/", "b=2&a=1", "http://h/?a=1&b=2"},
    {"http", "h", "/", "%41=%7e%2f", "http://h/?A=~%2F"},
    {"http", "h", "/", "a?b/c", "http://h/?a?b/c"},
};

static void test_normalises(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct built b = build(part(r->scheme), part(r->host), part(r->path), part(r->query));
        assert_slice(b.key.text, r->want);
        free(b.buf);
    }
}

/* The longest text there can be fills the bound but for the '?' that is not there, and the copy of a query.
 */
static void test_bound_is_tight(void **state)
{
    UNUSED(state);
    struct built b = build(part("https"), part("h:1"), part("/%2F"), part("q"));
    assert_int_equal(b.key.text.len + strlen("q"),
                     cache_key_bound(part("https"), part("h:1"), part("/%2F"), part("q")));
    free(b.buf);
    assert_int_equal(cache_key_bound(part("http"), part("h"), NO_QUERY, NO_QUERY), strlen("http://h/") + 1);
}

/* Parts that are all different must give keys that are all different, whatever they are combined with. */
static void test_different_requests_differ(void **state)
{
    static const char *const schemes[] = {"http", "https"};
    static const char *const hosts[] = {"a",   "b",  "a.b",   "ab",    "a:81",     "a:8", "a:808",
                                        "www", "a*", "[::1]", "[::2]", "[::1]:81", "a..", "80"};
    static const char *const paths[] = {"/",    "//",    "/a",   "/A",     "/a/",   "/a/b", "/a%2Fb", "/b",
                                        "/%3F", "/%3Fq", "/%25", "/%2541", "/%41x", "/%zz", "/%20",   "/+"};
    static const char *const queries[] = {NULL,   "",  "q", "Q",   "q=", "q=1", "a&b",
                                          "a&&b", "?", "/", "%2F", "+",  "%20"};
    enum { TOTAL = ARRAY_LEN(schemes) * ARRAY_LEN(hosts) * ARRAY_LEN(paths) * ARRAY_LEN(queries) };
    static struct built all[TOTAL];
    size_t n = 0;
    UNUSED(state);
    for (size_t s = 0; s < ARRAY_LEN(schemes); s++)
        for (size_t h = 0; h < ARRAY_LEN(hosts); h++)
            for (size_t p = 0; p < ARRAY_LEN(paths); p++)
                for (size_t q = 0; q < ARRAY_LEN(queries); q++)
                    all[n++] = build(part(schemes[s]), part(hosts[h]), part(paths[p]), part(queries[q]));
    assert_int_equal(n, TOTAL);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            if (slice_eq(all[i].key.text, all[j].key.text))
                fail_msg("two requests share " SLICE_FMT, SLICE_ARG(all[i].key.text));
        }
    }
    for (size_t i = 0; i < n; i++)
        free(all[i].buf);
}

static void test_from_url(void **state)
{
    static const struct {
        const char *url, *want; /* NULL: refused */
    } urls[] = {
        {"http://example.com/", "http://example.com/"},
        {"http://example.com", "http://example.com/"},
        {"http://example.com?", "http://example.com/?"},
        {"http://example.com?a=b", "http://example.com/?a=b"},
        {"HTTPS://Example.COM.:443/x?y", "https://example.com/x?y"},
        {"http://[::1]:8080/x", "http://[::1]:8080/x"},
        {"http://h/a?b?c", "http://h/a?b?c"},
        {"http://h/%7e", "http://h/~"},
        {"http://h/a#frag", "http://h/a"},
        {"http://h/a?b#frag?x", "http://h/a?b"},
        {"http://h#frag/x", "http://h/"},
        {"http://h/?/..//", "http://h/?/..//"},
        {"", NULL},
        {"http", NULL},
        {"http:", NULL},
        {"http:/", NULL},
        {"http://", NULL},
        {"http:///x", NULL},
        {"http://?x", NULL},
        {"http://#x", NULL},
        {"https://", NULL},
        {"httpx://h/", NULL},
        {"ftp://h/", NULL},
        {"//h/", NULL},
        {"/path", NULL},
        {"h/path", NULL},
        {" http://h/", NULL},
        {"http://h/a b", NULL},
        {"http://h/\t", NULL},
        {"http://h/\r\nX: y", NULL},
        {"http://h/\x7f", NULL},
        {"http://h/\xc3\xa4", NULL},
        {"http://user@h/", NULL},
        {"http://user:pw@h/", NULL},
        {"http://h:99999/", NULL},
        {"http://h:8x/", NULL},
        {"http://h:80:80/", NULL},
        {"http://[::1/", NULL},
        {"http://[zz]/", NULL},
        {"http://h%zz/", NULL},
    };
    struct arena arena;
    UNUSED(state);
    arena_init(&arena, NULL, 0, 64 * KB);
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct cache_key key;
        slice_t url = text_head_copy(slice_str(urls[i].url));
        bool ok = cache_key_from_url(&arena, url, &key);
        if (ok != (urls[i].want != NULL))
            fail_msg("\"%s\" was %s", urls[i].url, ok ? "taken" : "refused");
        if (ok)
            assert_slice(key.text, urls[i].want);
        free((void *)(uintptr_t)url.ptr);
    }
    arena_reset(&arena);
    struct cache_key key;
    assert_false(cache_key_from_url(&arena, slice_make("http://h/\0x", 11), &key));
    arena_init(&arena, NULL, 0, 0);
    assert_false(cache_key_from_url(&arena, SLICE_LIT("http://h/"), &key)); /* no memory */
    arena_reset(&arena);
}

/* The key text of any key is itself a URL with the same key: normalising is idempotent, and a purge of what
 * the log shows finds the object. */
static void test_normalising_is_idempotent(void **state)
{
    struct arena arena;
    UNUSED(state);
    arena_init(&arena, NULL, 0, 64 * KB);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct cache_key again;
        if (!http_host_is_valid(part(r->host)) || strcmp(r->path, "*") == 0)
            continue;
        assert_true(cache_key_from_url(&arena, part(r->want), &again));
        assert_slice(again.text, r->want);
    }
    arena_reset(&arena);
}

static void check_names(const char *lines, const char *want, bool want_star)
{
    struct text_head t;
    struct arena arena;
    bool star = !want_star;
    arena_init(&arena, NULL, 0, 64 * KB);
    text_head_response(&t, 200, lines);
    slice_t names = cache_vary_names(&arena, &t.head, &star);
    assert_int_equal(star, want_star);
    if (want == NULL)
        assert_null(names.ptr);
    else
        assert_slice(names, want);
    text_head_free(&t);
    arena_reset(&arena);
}

static void test_vary_names(void **state)
{
    UNUSED(state);
    check_names("", "", false);
    check_names("Vary:", "", false);
    check_names("Vary: , ,", "", false);
    check_names("Vary: Accept-Encoding", "accept-encoding", false);
    check_names("Vary: B, a,c", "a,b,c", false);
    check_names("Vary: b\nvary: A", "a,b", false);
    check_names("Vary: a, A, a\nVary: a", "a", false);
    check_names("Vary: ab, a, abc", "a,ab,abc", false);
    check_names("Vary: *", NULL, true);
    check_names("Vary: a, *", NULL, true);
    check_names("Vary: a\nVary: *", NULL, true);
    check_names("Vary: **", "**", false); /* a token, if a strange one */
    check_names("Vary: a b", NULL, true);
    check_names("Vary: \"a\"", NULL, true);
    check_names("Vary: a;b", NULL, true);
    check_names("Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", false);
    check_names("Vary: p,o,n,m,l,k,j,i,h,g,f,e,d,c,b,a,a,b,p", "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", false);
    check_names("Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", NULL, false);
    check_names("Vary: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\nVary: *", NULL, true);

    struct text_head t;
    struct arena arena;
    bool star;
    arena_init(&arena, NULL, 0, 0);
    text_head_response(&t, 200, "Vary: a");
    assert_null(cache_vary_names(&arena, &t.head, &star).ptr);
    assert_false(star);
    text_head_free(&t);
}

static void check_vary(const char *names, const char *lines, const char *want)
{
    struct text_head t;
    struct arena arena;
    arena_init(&arena, NULL, 0, 64 * KB);
    text_head_request(&t, HTTP_GET, lines);
    assert_slice(cache_vary_key(&arena, slice_str(names), &t.head), want);
    text_head_free(&t);
    arena_reset(&arena);
}

static void test_vary_key(void **state)
{
    UNUSED(state);
    check_vary("", "Accept: x", "");
    check_vary("accept", "", "accept\n");
    check_vary("accept", "Accept:", "accept: \n");
    check_vary("accept", "ACCEPT: x", "accept: x\n");
    check_vary("accept", "Accept: x\nAccept: y", "accept: x, y\n");
    check_vary("accept", "Accept: x\nOther: z\nAccept:   y  ", "accept: x, y\n");
    check_vary("accept", "Accept: X", "accept: X\n");
    check_vary("accept,accept-encoding", "Accept-Encoding: gzip", "accept\naccept-encoding: gzip\n");
    check_vary("x-a,x-b", "X-B: 2\nX-A: 1", "x-a: 1\nx-b: 2\n");
    check_vary("x-a", "X-AB: 1\nX: 2", "x-a\n");
    check_vary("x-a", "X-a: 1\nx-A: 2", "x-a: 1, 2\n");
    /* what would be one text without the separators */
    check_vary("a,b", "A: 1", "a: 1\nb\n");
    check_vary("a,b", "B: 1", "a\nb: 1\n");
    check_vary("a", "A: , ", "a: \n");
}

/* What means the same selects the same variant (RFC 9111 section 4.1). */
static void test_vary_key_normalises(void **state)
{
    UNUSED(state);
    check_vary("a", "A: 1,2", "a: 1, 2\n");
    check_vary("a", "A:  1 ,\t2 , ", "a: 1, 2\n");
    check_vary("a", "A: 1\nA: 2,3", "a: 1, 2, 3\n");
    check_vary("a", "A: 2, 1", "a: 2, 1\n");
    check_vary("a", "A: \"1,2\" ,3", "a: \"1,2\", 3\n");
    check_vary("user-agent", "User-Agent: X (KHTML, like Gecko)", "user-agent: X (KHTML, like Gecko)\n");
    check_vary("accept-language", "Accept-Language: de, en", "accept-language: de, en\n");
    check_vary("accept-language", "Accept-Language: EN,de", "accept-language: de, en\n");
    check_vary("accept-language", "Accept-Language: en; q=0.5 , de\nAccept-Language: fr,en",
               "accept-language: de, en, en;q=0.5, fr\n");
    check_vary("accept-language", "Accept-Language:", "accept-language: \n");
    check_vary("accept-encoding", "Accept-Encoding: gzip,BR , deflate,br",
               "accept-encoding: br, deflate, gzip\n");
    /* too many to sort: left in their order */
    check_vary("accept-encoding", "Accept-Encoding: q,p,o,n,m,l,k,j,i,h,g,f,e,d,c,b,A",
               "accept-encoding: q, p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, A\n");
    /* credentials as they came */
    check_vary("cookie", "Cookie: a=1,2", "cookie: a=1,2\n");
    check_vary("cookie", "Cookie: a=1 , 2", "cookie: a=1 , 2\n");
    check_vary("authorization", "Authorization: Digest a=1,b=2", "authorization: Digest a=1,b=2\n");
}

static void test_vary_key_is_bounded(void **state)
{
    static char lines[8192];
    struct text_head t;
    struct arena arena;
    UNUSED(state);
    arena_init(&arena, NULL, 0, 64 * KB);
    /* "a: " + value + "\n" is exactly the limit */
    snprintf(lines, sizeof lines, "A: %0*d", CACHE_VARY_MAX_BYTES - 4, 1);
    text_head_request(&t, HTTP_GET, lines);
    assert_int_equal(cache_vary_key(&arena, SLICE_LIT("a"), &t.head).len, CACHE_VARY_MAX_BYTES);
    text_head_free(&t);
    snprintf(lines, sizeof lines, "A: %0*d", CACHE_VARY_MAX_BYTES - 3, 1);
    text_head_request(&t, HTTP_GET, lines);
    assert_null(cache_vary_key(&arena, SLICE_LIT("a"), &t.head).ptr);
    assert_null(cache_vary_key(&arena, SLICE_LIT("a,b"), &t.head).ptr);
    assert_slice(cache_vary_key(&arena, SLICE_LIT("b"), &t.head), "b\n");
    arena_reset(&arena);
    arena_init(&arena, NULL, 0, 0);
    assert_null(cache_vary_key(&arena, SLICE_LIT("b"), &t.head).ptr);
    text_head_free(&t);
}

/* Any two requests that differ in a field that Vary names have different secondary keys. */
static void test_vary_keys_differ(void **state)
{
    static const char *const requests[] = {
        "",           "A:",          "B:",         "A:\nB:",     "A: 1",     "B: 1",     "A: 1\nB: 1",
        "A: 1\nB: 2", "A: 2\nB: 1",  "A: 1\nA: 2", "A: 2\nA: 1", "A: b",     "A: b: 1",  "A: B",
        "A: 1;2",     "A: 1\nB: b:", "B: a",       "A: b\nB:",   "A: \"1\"", "A: 1\nB:",
    };
    slice_t keys[ARRAY_LEN(requests)];
    struct arena arena;
    UNUSED(state);
    arena_init(&arena, NULL, 0, 64 * KB);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, requests[i]);
        keys[i] = cache_vary_key(&arena, SLICE_LIT("a,b"), &t.head);
        text_head_free(&t);
        for (size_t j = 0; j < i; j++)
            assert_false(slice_eq(keys[i], keys[j]));
    }
    arena_reset(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalises),
        cmocka_unit_test(test_bound_is_tight),
        cmocka_unit_test(test_different_requests_differ),
        cmocka_unit_test(test_from_url),
        cmocka_unit_test(test_normalising_is_idempotent),
        cmocka_unit_test(test_vary_names),
        cmocka_unit_test(test_vary_key),
        cmocka_unit_test(test_vary_key_normalises),
        cmocka_unit_test(test_vary_key_is_bounded),
        cmocka_unit_test(test_vary_keys_differ),
    };
    return cmocka_run_group_tests_name("cache/key", tests, NULL, NULL);
}
