/* test_purge_request.c: what people write as what the cache is asked for, and the one call that does it. The
 * cache is a stand-in that remembers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "cache/purge_request.h"

static struct {
    unsigned calls;
    size_t count;
    bool soft;
    const char *problem;
} fake;

bool cache_purge(struct cache *c, const struct cache_purge *p, size_t count, struct cache_purge_result *out)
{
    UNUSED(c);
    fake.calls++;
    fake.count = count;
    fake.soft = true;
    for (size_t i = 0; i < count; i++)
        fake.soft &= p[i].soft;
    *out = (struct cache_purge_result){.id = 17, .removed = 2, .problem = fake.problem};
    return fake.problem == NULL;
}

struct fix {
    struct arena arena;
    struct cache_purge_request r;
};

static int setup(void **state)
{
    struct fix *f = malloc(sizeof *f);
    arena_init(&f->arena, NULL, 0, 64 * KB);
    cache_purge_request_init(&f->r, &f->arena);
    memset(&fake, 0, sizeof fake);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;
    arena_reset(&f->arena);
    free(f);
    return 0;
}

/* From an exact copy that is gone afterwards. */
static bool add(struct fix *f, enum cache_purge_kind kind, const char *text)
{
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1);
    memcpy(copy, text, len);
    f->r.problem = f->r.hint = NULL;
    bool ok = cache_purge_request_add(&f->r, kind, slice_make(copy, len));
    free(copy);
    assert_true(ok == (f->r.problem == NULL) && ok == (f->r.hint == NULL));
    return ok;
}

static void test_spellings(void **state)
{
    static const struct {
        enum cache_purge_kind kind;
        const char *text, *key; /* NULL: refused */
    } rows[] = {
        {CACHE_PURGE_URL, "http://example.com/page", "http://example.com/page"},
        {CACHE_PURGE_URL, "HTTP://EXAMPLE.com:80/page", "http://example.com/page"},
        {CACHE_PURGE_URL, "https://example.com:443/page", "http://example.com/page"},
        {CACHE_PURGE_URL, "https://example.com:80/page", "http://example.com:80/page"},
        {CACHE_PURGE_URL, "example.com/page", "http://example.com/page"},
        {CACHE_PURGE_URL, "http://example.com", "http://example.com/"},
        {CACHE_PURGE_URL, "http://example.com/page?", "http://example.com/page?"},
        {CACHE_PURGE_URL, "example.com/p?u=http://x/", "http://example.com/p?u=http://x/"},
        {CACHE_PURGE_URL, "localhost:8080/%7euser#top", "http://localhost:8080/~user"},
        {CACHE_PURGE_URL, "[::1]:8080/x", "http://[::1]:8080/x"},
        {CACHE_PURGE_URL, "/page", NULL},
        {CACHE_PURGE_URL, "nonsense", NULL},
        {CACHE_PURGE_URL, "example.com", NULL},
        {CACHE_PURGE_URL, "ftp://example.com/", NULL},
        {CACHE_PURGE_URL, "http://", NULL},
        {CACHE_PURGE_URL, "http:///page", NULL},
        {CACHE_PURGE_URL, "http:/page", NULL},
        {CACHE_PURGE_URL, "http://user@example.com/", NULL},
        {CACHE_PURGE_URL, "http://a/b c", NULL},
        {CACHE_PURGE_URL, "http://a/b\n", NULL},
        {CACHE_PURGE_URL, "http://a/\xc3\xa4", NULL},
        {CACHE_PURGE_URL, "", NULL},
        {CACHE_PURGE_TAG, "news", "news"},
        {CACHE_PURGE_TAG, "a,b", "a,b"},
        {CACHE_PURGE_TAG, "/x", "/x"},
        {CACHE_PURGE_TAG, "gr\xc3\xbcn", "gr\xc3\xbcn"},
        {CACHE_PURGE_TAG, "two words", NULL},
        {CACHE_PURGE_TAG, "", NULL},
        {CACHE_PURGE_PREFIX, "http://Example.com/News/", "http://example.com/News/"},
        {CACHE_PURGE_PREFIX, "example.com/n", "http://example.com/n"},
        {CACHE_PURGE_PREFIX, "https://example.com", "http://example.com/"},
        {CACHE_PURGE_PREFIX, "example.com/p?", "http://example.com/p?"},
        {CACHE_PURGE_PREFIX, "http://exam", "http://exam/"},
        {CACHE_PURGE_PREFIX, "example.com/%", "http://example.com/%"},
        {CACHE_PURGE_PREFIX, "/news/", NULL},
        {CACHE_PURGE_PREFIX, "example", NULL},
        {CACHE_PURGE_PREFIX, "example.com/#a", NULL},
        {CACHE_PURGE_GLOB, "*.png", "*.png"},
        {CACHE_PURGE_GLOB, "*", "*"},
        {CACHE_PURGE_GLOB, "*://example.com/x", "*://example.com/x"},
        {CACHE_PURGE_GLOB, "http://Example.com:80/A*.png", "http://example.com/A*.png"},
        {CACHE_PURGE_GLOB, "https://example.com/%7e*", "http://example.com/~*"},
        {CACHE_PURGE_GLOB, "example.com/*?x=1", "http://example.com/*?x=1"},
        {CACHE_PURGE_GLOB, "http://*.Example.com/*", "http://*.example.com/*"},
        {CACHE_PURGE_GLOB, "http://WWW?.example.com/A", "http://www?.example.com/A"},
        {CACHE_PURGE_GLOB, "example.com*", "http://example.com*"},
        {CACHE_PURGE_GLOB, "/img/*", NULL},
        {CACHE_PURGE_GLOB, "ftp://x/*", NULL},
        {CACHE_PURGE_GLOB, "http://a/*#x", NULL},
        {CACHE_PURGE_GLOB, "http://us er/*", NULL},
        {CACHE_PURGE_HOST, "Example.COM", "example.com"},
        {CACHE_PURGE_HOST, "example.com.", "example.com"},
        {CACHE_PURGE_HOST, "example.com:8080", "example.com:8080"},
        {CACHE_PURGE_HOST, "example.com:80", "example.com"},
        {CACHE_PURGE_HOST, "[::1]", "[::1]"},
        {CACHE_PURGE_HOST, "http://example.com", NULL},
        {CACHE_PURGE_HOST, "example.com/", NULL},
        {CACHE_PURGE_HOST, "*.example.com", NULL},
        {CACHE_PURGE_HOST, "a?b", NULL},
        {CACHE_PURGE_HOST, ":80", NULL},
        {CACHE_PURGE_ALL, "", ""},
    };
    struct fix *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        f->r.count = 0;
        bool ok = add(f, rows[i].kind, rows[i].text);
        if (ok != (rows[i].key != NULL))
            fail_msg("%d %s: %s", rows[i].kind, rows[i].text, ok ? "taken" : f->r.problem);
        assert_int_equal(f->r.count, ok);
        if (ok &&
            (f->r.items[0].kind != rows[i].kind || !slice_eq(f->r.items[0].text, slice_str(rows[i].key))))
            fail_msg("%d %s: " SLICE_FMT, rows[i].kind, rows[i].text, SLICE_ARG(f->r.items[0].text));
    }
}

static void test_a_host_with_the_port_of_https(void **state)
{
    struct fix *f = *state;
    assert_true(add(f, CACHE_PURGE_HOST, "example.com:443"));
    assert_int_equal(f->r.count, 2);
    assert_true(slice_eq(f->r.items[0].text, SLICE_LIT("example.com:443")));
    assert_true(slice_eq(f->r.items[1].text, SLICE_LIT("example.com")));
}

static void test_any_query(void **state)
{
    struct fix *f = *state;
    f->r.any_query = true;
    assert_true(add(f, CACHE_PURGE_URL, "http://a/p?x=1"));
    assert_true(cache_purge_request_add_key(&f->r, SLICE_LIT("http://a/q")));
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(f->r.items[i].kind, CACHE_PURGE_URL_ANY_QUERY);
    assert_true(slice_eq(f->r.items[0].text, SLICE_LIT("http://a/p")));
    assert_false(cache_purge_request_is_counted(&f->r));
}

static void expect_tags(struct fix *f, const char *list, bool commas, const char *joined)
{
    char got[256] = "";
    f->r.count = 0;
    bool ok = cache_purge_request_add_tags(&f->r, slice_str(list), commas);
    for (size_t i = 0; ok && i < f->r.count; i++) {
        assert_int_equal(f->r.items[i].kind, CACHE_PURGE_TAG);
        snprintf(got + strlen(got), sizeof got - strlen(got), SLICE_FMT "|", SLICE_ARG(f->r.items[i].text));
    }
    if (ok != (joined != NULL) || (ok && strcmp(got, joined) != 0))
        fail_msg("%s: %s", list, ok ? got : f->r.problem);
}

static void test_tag_lists(void **state)
{
    struct fix *f = *state;
    expect_tags(f, "a b", false, "a|b|");
    expect_tags(f, "\ta  b ", false, "a|b|");
    expect_tags(f, "a,b", false, "a,b|");
    expect_tags(f, "a,b", true, "a|b|");
    expect_tags(f, ", a ,, b c,", true, "a|b|c|");
    expect_tags(f, "", true, NULL);
    expect_tags(f, " ,", true, NULL);
    expect_tags(f, "a\x7f", true, NULL);
}

static void test_limits(void **state)
{
    struct fix *f = *state;
    char *text = malloc(CACHE_PURGE_TEXT_MAX + 2);
    memset(text, 'a', CACHE_PURGE_TEXT_MAX + 1);
    text[CACHE_PURGE_TEXT_MAX + 1] = '\0';
    assert_false(add(f, CACHE_PURGE_TAG, text));
    assert_true(add(f, CACHE_PURGE_TAG, text + 1));
    for (size_t i = 1; i < CACHE_PURGE_ITEMS_MAX; i++)
        assert_true(add(f, CACHE_PURGE_TAG, "t"));
    assert_false(add(f, CACHE_PURGE_TAG, "t"));
    assert_non_null(strstr(f->r.hint, "256"));
    free(text);
}

static void test_no_memory(void **state)
{
    struct fix *f = *state;
    arena_init(&f->arena, NULL, 0, 0);
    assert_false(add(f, CACHE_PURGE_URL, "http://a/"));
    assert_false(add(f, CACHE_PURGE_TAG, "t"));
    assert_false(add(f, CACHE_PURGE_GLOB, "*"));
    assert_false(add(f, CACHE_PURGE_GLOB, "http://*"));
    assert_false(add(f, CACHE_PURGE_HOST, "a"));
    assert_string_equal(f->r.problem, "out of memory");
    assert_true(add(f, CACHE_PURGE_ALL, ""));
}

static bool run(struct fix *f, struct metrics_shard *metrics)
{
    struct cache_purge_result result;
    return cache_purge_request_run(NULL, &f->r, PURGE_SOURCE_API, SLICE_LIT("192.0.2.1"), metrics, &result);
}

static void test_run_counts_by_kind_and_source(void **state)
{
    struct fix *f = *state;
    struct metrics_shard *metrics = metrics_shard_new();
    uint64_t purges = metrics_total(METRIC_PURGES);
    uint64_t tags = metrics_reason_total(METRICS_REASON_PURGE_KINDS, PURGE_KIND_TAG);
    uint64_t urls = metrics_reason_total(METRICS_REASON_PURGE_KINDS, PURGE_KIND_URL);
    uint64_t api = metrics_reason_total(METRICS_REASON_PURGE_SOURCES, PURGE_SOURCE_API);
    assert_true(add(f, CACHE_PURGE_TAG, "a") && add(f, CACHE_PURGE_TAG, "b") &&
                add(f, CACHE_PURGE_URL, "a/x"));
    f->r.soft = true;
    assert_true(run(f, metrics));
    assert_int_equal(fake.calls, 1);
    assert_int_equal(fake.count, 3);
    assert_true(fake.soft);
    assert_int_equal(metrics_total(METRIC_PURGES), purges + 1);
    assert_int_equal(metrics_reason_total(METRICS_REASON_PURGE_KINDS, PURGE_KIND_TAG), tags + 2);
    assert_int_equal(metrics_reason_total(METRICS_REASON_PURGE_KINDS, PURGE_KIND_URL), urls + 1);
    assert_int_equal(metrics_reason_total(METRICS_REASON_PURGE_SOURCES, PURGE_SOURCE_API), api + 3);
    fake.problem = "no";
    assert_false(run(f, metrics));
    assert_string_equal(f->r.problem, "no");
    assert_int_equal(metrics_total(METRIC_PURGES), purges + 1);
    metrics_shard_free(metrics);
}

static void test_what_does_not_go_together(void **state)
{
    struct fix *f = *state;
    assert_true(add(f, CACHE_PURGE_TAG, "a"));
    f->r.any_query = true;
    assert_false(run(f, NULL));
    f->r.any_query = false;
    assert_true(add(f, CACHE_PURGE_ALL, ""));
    assert_false(run(f, NULL));
    assert_int_equal(fake.calls, 0);
    f->r.count--;
    assert_true(run(f, NULL));
}

/* The line in the log is of bounded length, whatever is purged. */
static void test_much_and_long(void **state)
{
    struct fix *f = *state;
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_true(add(f, CACHE_PURGE_TAG, text));
    for (size_t i = 1; i < CACHE_PURGE_ITEMS_MAX; i++)
        assert_true(add(f, CACHE_PURGE_TAG, "t"));
    assert_true(run(f, NULL));
    f->r.items[0].text.len = 199;
    assert_true(run(f, NULL));
    f->r.items[0].text.len = 1;
    f->r.items[100].text = f->r.items[255].text = slice_str(text);
    assert_true(run(f, NULL));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_spellings),
        T(test_a_host_with_the_port_of_https),
        T(test_any_query),
        T(test_tag_lists),
        T(test_limits),
        T(test_no_memory),
        T(test_run_counts_by_kind_and_source),
        T(test_what_does_not_go_together),
        T(test_much_and_long),
    };
    return cmocka_run_group_tests_name("cache/purge_request", tests, NULL, NULL);
}
