/* test_reference.c: references in responses to keys; the relative ones are those of RFC 3986 section 5.4. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/reference.h"

struct row {
    const char *host, *path, *reference;
    const char *key; /* NULL: none of ours */
};

static void expect_keys(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        slice_t host = slice_str(rows[i].host), path = slice_str(rows[i].path);
        slice_t reference = slice_str(rows[i].reference);
        /* Exact sizes, so that AddressSanitizer sees a bound that is too small. */
        char *buf = malloc(cache_reference_bound(host, path, reference));
        struct cache_url url;
        struct cache_key key = {SLICE_EMPTY, {0, 0}};
        struct arena arena;
        arena_init(&arena, NULL, 0, 64 * KB);
        assert_non_null(buf);
        bool ok = cache_reference_url(buf, host, path, reference, &url);
        if (ok)
            assert_true(cache_key_of_url(&arena, &cache_key_default, &url, &key));
        if (ok != (rows[i].key != NULL))
            fail_msg("%s: %s", rows[i].reference, ok ? "taken" : "refused");
        if (ok && !slice_eq(key.text, slice_str(rows[i].key)))
            fail_msg("%s: " SLICE_FMT, rows[i].reference, SLICE_ARG(key.text));
        if (ok)
            assert_true(key.hash.lo == hash_bytes(rows[i].key, strlen(rows[i].key)).lo);
        arena_reset(&arena);
        free(buf);
    }
}

#define A "http://a"

static void test_relative(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"a", "/b/c/d;p", "g", A "/b/c/g"},
        {"a", "/b/c/d;p", "./g", A "/b/c/g"},
        {"a", "/b/c/d;p", "g/", A "/b/c/g/"},
        {"a", "/b/c/d;p", "/g", A "/g"},
        {"a", "/b/c/d;p", "?y", A "/b/c/d;p?y"},
        {"a", "/b/c/d;p", "g?y", A "/b/c/g?y"},
        {"a", "/b/c/d;p", "g#s", A "/b/c/g"},
        {"a", "/b/c/d;p", "g?y/./x#s", A "/b/c/g?y/./x"},
        {"a", "/b/c/d;p", ";x", A "/b/c/;x"},
        {"a", "/b/c/d;p", ".", A "/b/c/"},
        {"a", "/b/c/d;p", "..", A "/b/"},
        {"a", "/b/c/d;p", "../g", A "/b/g"},
        {"a", "/b/c/d;p", "../../g", A "/g"},
        {"a", "/b/c/d;p", "../../../../g", A "/g"},
        {"a", "/b/c/d;p", "/./g", A "/g"},
        {"a", "/b/c/d;p", "g.", A "/b/c/g."},
        {"a", "/b/c/d;p", "..g", A "/b/c/..g"},
        {"a", "/b/c/d;p", "./../g", A "/b/g"},
        {"a", "/b/c/d;p", "g;x=1/../y", A "/b/c/y"},
        {"a", "/b/c/d;p", "g?", A "/b/c/g?"},
        {"a", "/", "g", A "/g"},
        {"a", "/items", "items/5", A "/items/5"},
        {"a", "/b", "/%7eg", A "/~g"},
        {"a", "/b", "", NULL},
        {"a", "/b", "#s", NULL},
    };
    expect_keys(rows, ARRAY_LEN(rows));
}

static void test_origins(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"a", "/b", "http://a/g", A "/g"},
        {"a", "/b", "HTTP://A:80/g", A "/g"},
        {"a:80", "/b", "http://a/g", A "/g"},
        {"a", "/b", "//a/g?x", A "/g?x"},
        {"a", "/b", "http://a", A "/"},
        {"a", "/b", "http://a?x", A "/?x"},
        {"a", "/b", "http://a/x/../g", A "/g"},
        {"a", "/b", "https://a/g", A "/g"}, /* TLS ends in front of us */
        {"a", "/b", "https://a:443/g", A "/g"},
        {"a:8080", "/b", "http://a:8080/g", "http://a:8080/g"},
        {"[::1]:8080", "/b", "http://[::1]:8080/g", "http://[::1]:8080/g"},
        {"a", "/b", "http://b/g", NULL},
        {"a", "/b", "//b/g", NULL},
        {"a", "/b", "http://a.b/g", NULL},
        {"a.b", "/b", "http://a/g", NULL},
        {"a", "/b", "http://a:8080/g", NULL},
        {"a", "/b", "https://a:8443/g", NULL},
        {"a", "/b", "http://user@a/g", NULL},
        {"a", "/b", "http:///g", NULL},
        {"a", "/b", "http:g", NULL},
        {"a", "/b", "https:/g", NULL},
        {"a", "/b", "ftp://a/g", NULL},
        {"a", "/b", "mailto:a@a", NULL},
        {"", "/b", "/g", "http:///g"},
    };
    expect_keys(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_relative), cmocka_unit_test(test_origins)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
