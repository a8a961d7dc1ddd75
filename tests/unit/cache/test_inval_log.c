/* test_inval_log.c: ids, every kind of event, the bounded tables and their floors: never too little purged.
 */
#include "cache/inval_log.h"

#include "tests/unit/cache/fixture.h"

#define NOW_MS 1700000000000

static struct cache_inval_log *open_log(size_t capacity)
{
    struct cache_inval_log *log = aligned_alloc(CACHE_LINE, sizeof *log);
    assert_non_null(log);
    assert_true(cache_inval_open(log, capacity));
    return log;
}

static void close_log(struct cache_inval_log *log)
{
    cache_inval_close(log);
    free(log);
}

static uint64_t append(struct cache_inval_log *log, enum cache_purge_kind kind, bool soft, const char *text)
{
    const struct cache_purge p = {.kind = kind, .soft = soft, .text = slice_str(text)};
    return cache_inval_append(log, NOW_MS, &p, 1);
}

static struct cache_inval_found find(struct cache_inval_log *log, const char *key, const char *tags,
                                     uint64_t since_id)
{
    const struct cache_key k = fix_key(key);
    const struct cache_inval_subject s = cache_inval_subject(k.text, k.hash.lo, slice_str(tags));
    return cache_inval_find(log, &s, since_id);
}

static bool is_purged(struct cache_inval_log *log, const char *key, const char *tags, uint64_t since_id)
{
    return find(log, key, tags, since_id).hard > since_id;
}

/* The i-th URL of many. */
static const char *nth_url(uint64_t i, char buf[64])
{
    snprintf(buf, 64, "http://h/%llu", (unsigned long long)i);
    return buf;
}

static void test_ids_grow_with_the_clock_and_without_it(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(16);
    const struct cache_purge p[3] = {{CACHE_PURGE_TAG, false, SLICE_LIT("a")},
                                     {CACHE_PURGE_TAG, true, SLICE_LIT("b")},
                                     {CACHE_PURGE_URL, false, SLICE_LIT("http://h/")}};
    uint64_t first = cache_inval_append(log, NOW_MS, p, 1);
    assert_int_equal(cache_inval_ms(first), NOW_MS);
    uint64_t same_ms = cache_inval_append(log, NOW_MS, p, 3);
    assert_int_equal(same_ms, first + 3);
    assert_int_equal(cache_inval_head(log), same_ms);
    uint64_t earlier = cache_inval_append(log, NOW_MS - 5000, p, 1);
    assert_int_equal(earlier, same_ms + 1);
    uint64_t later = cache_inval_append(log, NOW_MS + 7, p, 1);
    assert_int_equal(cache_inval_ms(later), NOW_MS + 7);
    assert_true(later > earlier);
    assert_true(is_purged(log, "http://h/", "", first));
    close_log(log);
}

/* Every kind that names URLs, written by either scheme, for what is stored by either. */
static void test_both_schemes_are_concerned(void **state)
{
    UNUSED(state);
    static const struct {
        enum cache_purge_kind kind;
        const char *text, *other;
    } events[] = {
        {CACHE_PURGE_URL, "http://h/a?q", "http://h/b?q"},
        {CACHE_PURGE_URL, "https://h/a?q", "https://h/b?q"},
        {CACHE_PURGE_URL_ANY_QUERY, "http://h/a", "http://h/b"},
        {CACHE_PURGE_URL_ANY_QUERY, "https://h/a", "https://h/b"},
        {CACHE_PURGE_PREFIX, "http://h/a", "http://h/b"},
        {CACHE_PURGE_PREFIX, "https://h/a", "https://h/b"},
        {CACHE_PURGE_GLOB, "http://*/a*", "http://*/b*"},
        {CACHE_PURGE_GLOB, "https://h/?*q", "https://h/b*"},
        {CACHE_PURGE_GLOB, "*/a?q", "*/b?q"},
        {CACHE_PURGE_GLOB, "http*://h/a?q", "ftp*"},
        {CACHE_PURGE_HOST, "h", "g"},
    };
    static const char *const keys[] = {"http://h/a?q", "https://h/a?q", "http://h/a?q part=1",
                                       "https://h/a?q part=1"};
    for (size_t i = 0; i < ARRAY_LEN(events); i++) {
        struct cache_inval_log *log = open_log(16);
        append(log, events[i].kind, false, events[i].other);
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            assert_false(is_purged(log, keys[k], "", 0));
        append(log, events[i].kind, false, events[i].text);
        for (size_t k = 0; k < ARRAY_LEN(keys); k++) {
            if (!is_purged(log, keys[k], "", 0))
                fail_msg("%s is not purged by %s", keys[k], events[i].text);
        }
        close_log(log);
    }
}

static void test_only_later_events_count(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(16);
    uint64_t before = cache_inval_head(log);
    assert_false(is_purged(log, "http://h/a", "", before));
    uint64_t id = append(log, CACHE_PURGE_URL, false, "http://h/a");
    assert_true(is_purged(log, "http://h/a", "", before));
    assert_false(is_purged(log, "http://h/a", "", id));
    assert_false(is_purged(log, "http://h/b", "", before));
    uint64_t again = append(log, CACHE_PURGE_URL, false, "http://h/a");
    assert_true(is_purged(log, "http://h/a", "", id));
    assert_false(is_purged(log, "http://h/a", "", again));
    close_log(log);
}

/* What each kind concerns, and what not. */
static const struct {
    enum cache_purge_kind kind;
    const char *text, *key, *tags;
    bool concerns;
} kinds[] = {
    {CACHE_PURGE_URL, "http://h/p", "http://h/p", "", true},
    {CACHE_PURGE_URL, "http://h/p", "http://h/p?q", "", false},
    {CACHE_PURGE_URL, "http://h/p", "http://h/p mobile", "", true},
    {CACHE_PURGE_URL, "http://h/p", "http://h/pp", "", false},
    {CACHE_PURGE_URL_ANY_QUERY, "http://h/p", "http://h/p?q=1", "", true},
    {CACHE_PURGE_URL_ANY_QUERY, "http://h/p?x", "http://h/p", "", true},
    {CACHE_PURGE_URL_ANY_QUERY, "http://h/p?x", "http://h/p?q=1 mobile", "", true},
    {CACHE_PURGE_URL_ANY_QUERY, "http://h/p", "http://h/pp?q=1", "", false},
    {CACHE_PURGE_TAG, "a", "http://h/p", "a", true},
    {CACHE_PURGE_TAG, "c", "http://h/p", "a bb c", true},
    {CACHE_PURGE_TAG, "b", "http://h/p", "a bb c", false},
    {CACHE_PURGE_TAG, "http://h/p", "http://h/p", "", false},
    {CACHE_PURGE_PREFIX, "http://h/blog/", "http://h/blog/1", "", true},
    {CACHE_PURGE_PREFIX, "http://h/blog/", "http://h/blog", "", false},
    {CACHE_PURGE_PREFIX, "http://h/blog/1", "http://h/blog/1 m", "", true},
    {CACHE_PURGE_GLOB, "http://h/*.png", "http://h/a/b.png", "", true},
    {CACHE_PURGE_GLOB, "http://h/*.png", "http://h/a/b.png m", "", true},
    {CACHE_PURGE_GLOB, "http://h/*.png", "http://h/a/b.jpg", "", false},
    {CACHE_PURGE_HOST, "h:8080", "https://h:8080/x?y", "", true},
    {CACHE_PURGE_HOST, "h", "http://h:8080/x", "", false},
    {CACHE_PURGE_ALL, "", "http://h/x", "", true},
};

static void test_every_kind_hard_and_soft(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(kinds) * 2; i++) {
        const size_t k = i / 2;
        const bool soft = i % 2;
        struct cache_inval_log *log = open_log(16);
        append(log, CACHE_PURGE_TAG, false, "unrelated");
        uint64_t since = cache_inval_head(log);
        uint64_t id = append(log, kinds[k].kind, soft, kinds[k].text);
        const struct cache_inval_found f = find(log, kinds[k].key, kinds[k].tags, since);
        if (f.hard != (kinds[k].concerns && !soft ? id : 0) || f.soft != (kinds[k].concerns && soft ? id : 0))
            fail_msg("case %zu soft %d: hard %llu soft %llu", k, soft, (unsigned long long)f.hard,
                     (unsigned long long)f.soft);
        close_log(log);
    }
}

static void test_a_fingerprint_has_a_hard_and_a_soft_id(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(16);
    uint64_t hard = append(log, CACHE_PURGE_TAG, false, "t"), soft = append(log, CACHE_PURGE_TAG, true, "t");
    struct cache_inval_found f = find(log, "http://h/", "t", 0);
    assert_int_equal(f.hard, hard);
    assert_int_equal(f.soft, soft);
    assert_int_equal(find(log, "http://h/", "t", hard).hard, 0);
    assert_int_equal(find(log, "http://h/", "t", hard).soft, soft);
    close_log(log);
}

static void test_overflow_raises_the_floor(void **state)
{
    UNUSED(state);
    enum { CAPACITY = 32, EVENTS = 300 };
    struct cache_inval_log *log = open_log(CAPACITY);
    uint64_t ids[EVENTS + 1] = {0};
    char url[64];
    for (uint64_t i = 1; i <= EVENTS; i++) {
        ids[i] = append(log, CACHE_PURGE_URL, false, nth_url(i, url));
        /* whatever was purged is purged for everything older, however long ago */
        for (uint64_t j = 1; j <= i; j++)
            assert_true(is_purged(log, nth_url(j, url), "", ids[j - 1]));
        /* and the last CAPACITY events hurt nobody else */
        if (i > CAPACITY)
            assert_false(is_purged(log, "http://h/other", "", ids[i - CAPACITY]));
    }
    assert_true(is_purged(log, "http://h/other", "", ids[1])); /* too much, as documented */
    assert_int_equal(find(log, "http://h/other", "", ids[1]).soft, 0);
    close_log(log);
}

static void test_soft_overflow_makes_stale_not_gone(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(4);
    char url[64];
    uint64_t first = append(log, CACHE_PURGE_URL, true, "http://h/first");
    for (uint64_t i = 0; i < 20; i++)
        append(log, CACHE_PURGE_URL, true, nth_url(i, url));
    assert_true(find(log, "http://h/first", "", first - 1).soft >= first);
    assert_int_equal(find(log, "http://h/first", "", first - 1).hard, 0);
    close_log(log);
}

static void test_pattern_overflow_raises_the_floor(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(16);
    uint64_t first = append(log, CACHE_PURGE_PREFIX, false, "http://first/");
    uint64_t soft = append(log, CACHE_PURGE_GLOB, true, "http://second/*");
    for (int i = 0; i < CACHE_INVAL_PATTERNS - 2; i++)
        append(log, CACHE_PURGE_PREFIX, i % 2, "http://other/");
    assert_false(is_purged(log, "http://h/", "", first - 1));
    append(log, CACHE_PURGE_PREFIX, false, "http://other/");
    assert_true(is_purged(log, "http://first/", "", first - 1));
    assert_true(is_purged(log, "http://h/", "", first - 1)); /* too much */
    assert_false(is_purged(log, "http://h/", "", first));
    append(log, CACHE_PURGE_PREFIX, false, "http://other/");
    assert_true(find(log, "http://second/", "", soft - 1).soft >= soft);
    assert_false(is_purged(log, "http://second/", "", soft - 1));
    close_log(log);
}

static void test_repeated_purges_of_one_key_do_not_overflow(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(4);
    for (int i = 0; i < 10000; i++)
        append(log, CACHE_PURGE_URL, i % 2, "http://h/5");
    assert_false(is_purged(log, "http://h/6", "", 0));
    close_log(log);
}

static void test_purge_all_empties_the_tables(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(4);
    append(log, CACHE_PURGE_URL, false, "http://h/5");
    uint64_t id = append(log, CACHE_PURGE_ALL, false, "");
    assert_true(is_purged(log, "http://h/99", "", id - 1));
    assert_false(is_purged(log, "http://h/99", "", id));
    assert_false(is_purged(log, "http://h/5", "", id));
    assert_int_equal(log->gen[0].count + log->gen[1].count, 0);
    close_log(log);
}

static void test_crowded_before_a_floor_can_rise(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(8);
    char url[64];
    uint64_t n = 0;
    while (!cache_inval_is_crowded(log, 0)) {
        assert_int_equal(atomic_load(&log->floor[CACHE_INVAL_HARD]), 0);
        append(log, CACHE_PURGE_URL, false, nth_url(n++, url));
    }
    assert_in_range(n, 8, 16);
    assert_false(cache_inval_is_crowded(log, cache_inval_head(log)));
    uint64_t swept = cache_inval_head(log);
    for (int i = 0; i < CACHE_INVAL_PATTERNS / 2; i++) {
        assert_false(cache_inval_is_crowded(log, swept));
        append(log, CACHE_PURGE_PREFIX, false, "http://x/");
    }
    assert_true(cache_inval_is_crowded(log, swept));
    close_log(log);
}

static void test_no_memory(void **state)
{
    UNUSED(state);
    for (long n = 0; n < 2; n++) {
        static struct cache_inval_log log;
        cache_memory_fail_after(n);
        assert_false(cache_inval_open(&log, 4));
        cache_memory_fail_after(-1);
    }
    struct cache_inval_log *log = open_log(4); /* no room for a pattern: everything */
    cache_memory_fail_after(0);
    uint64_t id = append(log, CACHE_PURGE_PREFIX, false, "http://x/");
    cache_memory_fail_after(-1);
    assert_true(is_purged(log, "http://h/", "", id - 1));
    close_log(log);
}

/* A writer that overflows all the time; a reader that must never see a purge missing. */
struct race {
    struct cache_inval_log *log;
    enum cache_purge_kind kind;
    _Atomic uint64_t published, ids[20001];
};

static void *race_writer(void *arg)
{
    struct race *r = arg;
    char url[64];
    rcu_thread_start();
    for (uint64_t i = 1; i < ARRAY_LEN(r->ids); i++) {
        atomic_store_explicit(&r->ids[i], append(r->log, r->kind, i % 3 == 0, nth_url(i, url)),
                              memory_order_relaxed);
        atomic_store_explicit(&r->published, i, memory_order_release);
    }
    rcu_thread_stop();
    return NULL;
}

static void test_reader_never_misses_a_purge(void **state)
{
    UNUSED(state);
    static const enum cache_purge_kind tried[] = {CACHE_PURGE_URL, CACHE_PURGE_PREFIX};
    for (size_t t = 0; t < ARRAY_LEN(tried); t++) {
        static struct race r;
        char url[64];
        pthread_t writer;
        memset(&r, 0, sizeof r);
        r.log = open_log(16);
        r.kind = tried[t];
        assert_int_equal(pthread_create(&writer, NULL, race_writer, &r), 0);
        uint64_t seen, missed = 0;
        do {
            seen = atomic_load_explicit(&r.published, memory_order_acquire);
            for (uint64_t back = 0; back < 300 && back < seen; back += 1 + back / 8) {
                uint64_t i = seen - back, id = atomic_load(&r.ids[i]);
                cache_inval_head(r.log);
                const struct cache_inval_found f = find(r.log, nth_url(i, url), "", id - 1);
                missed += MAX(f.hard, f.soft) < id || (i % 3 != 0 && f.hard < id);
            }
        } while (seen < ARRAY_LEN(r.ids) - 1);
        pthread_join(writer, NULL);
        assert_int_equal(missed, 0);
        rcu_flush();
        close_log(r.log);
    }
}

/* What lies under a rule of No-Vary-Search serves other queries, too: whatever may name one of them purges
 * it. */
static void test_what_lies_under_a_rule(void **state)
{
    UNUSED(state);
    static const struct {
        enum cache_purge_kind kind;
        const char *text;
        bool ruled, plain; /* is purged */
    } rows[] = {
        {CACHE_PURGE_URL, "http://h/p?a=1", true, true},
        {CACHE_PURGE_URL, "http://h/p", true, false},
        {CACHE_PURGE_URL, "http://h/p?b", true, false},
        {CACHE_PURGE_URL, "http://h/pp?b", false, false},
        {CACHE_PURGE_URL_ANY_QUERY, "http://h/p", true, true},
        {CACHE_PURGE_PREFIX, "http://h/p?b", true, false},
        {CACHE_PURGE_PREFIX, "http://h/p?", true, true},
        {CACHE_PURGE_PREFIX, "http://h/pp?b", false, false},
        {CACHE_PURGE_PREFIX, "http://h/q", false, false},
        {CACHE_PURGE_GLOB, "http://h/p?b=*", true, false},
        {CACHE_PURGE_GLOB, "http://h/p?b=2", true, false},
        {CACHE_PURGE_GLOB, "*b=2", true, false},
        {CACHE_PURGE_GLOB, "http://h/p*b=2", true, false},
        {CACHE_PURGE_GLOB, "http://?/p?b", true, false},
        {CACHE_PURGE_GLOB, "http://h/??b", true, false},
        {CACHE_PURGE_GLOB, "http://h/p", true, false},
        {CACHE_PURGE_GLOB, "http://h/q?b", false, false},
        {CACHE_PURGE_GLOB, "http://h/p/?b", false, false},
        {CACHE_PURGE_GLOB, "http://h/q*", false, false},
        {CACHE_PURGE_HOST, "h", true, true},
        {CACHE_PURGE_TAG, "t", true, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        for (int soft = 0; soft < 2; soft++) {
            struct cache_inval_log *log = open_log(16);
            uint64_t since_id = append(log, CACHE_PURGE_TAG, false, "z");
            cache_inval_keep_paths(log, NOW_MS);
            append(log, rows[i].kind, soft != 0, rows[i].text);
            static const char *const ruled[] = {"http://h/p?a=1 no-vary:except:b",
                                                "http://h/p?a=1 no-vary:none rules:1"};
            for (size_t k = 0; k < ARRAY_LEN(ruled); k++) {
                const struct cache_inval_found f = find(log, ruled[k], "t", since_id);
                if ((soft != 0 ? f.soft > since_id : f.hard > since_id) != rows[i].ruled)
                    fail_msg("%s and %s", rows[i].text, ruled[k]);
            }
            const struct cache_inval_found f = find(log, "http://h/p?a=1 rules:1", "t", since_id);
            if ((soft != 0 ? f.soft > since_id : f.hard > since_id) != rows[i].plain)
                fail_msg("%s and what lies under no rule", rows[i].text);
            close_log(log);
        }
    }
}

/* Keeping paths is an event, once, that concerns nothing. */
static void test_paths_are_kept_from_an_id_on(void **state)
{
    UNUSED(state);
    struct cache_inval_log *log = open_log(4);
    uint64_t before = append(log, CACHE_PURGE_URL, false, "http://h/x");
    assert_int_equal(cache_inval_paths_id(log), 0);
    cache_inval_keep_paths(log, NOW_MS);
    uint64_t id = cache_inval_paths_id(log);
    assert_true(id > before && cache_inval_head(log) == id);
    cache_inval_keep_paths(log, NOW_MS + 1);
    assert_true(cache_inval_paths_id(log) == id && cache_inval_head(log) == id);
    assert_false(is_purged(log, "http://h/p no-vary:none", "", before));
    char url[64];
    for (uint64_t i = 0; i < 100; i++) { /* it needs twice the room, which is made */
        append(log, CACHE_PURGE_URL, false, nth_url(i, url));
        assert_true(is_purged(log, strcat(url, " no-vary:none"), "", id));
    }
    close_log(log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids_grow_with_the_clock_and_without_it),
        cmocka_unit_test(test_both_schemes_are_concerned),
        cmocka_unit_test(test_only_later_events_count),
        cmocka_unit_test(test_every_kind_hard_and_soft),
        cmocka_unit_test(test_a_fingerprint_has_a_hard_and_a_soft_id),
        cmocka_unit_test(test_overflow_raises_the_floor),
        cmocka_unit_test(test_soft_overflow_makes_stale_not_gone),
        cmocka_unit_test(test_pattern_overflow_raises_the_floor),
        cmocka_unit_test(test_repeated_purges_of_one_key_do_not_overflow),
        cmocka_unit_test(test_purge_all_empties_the_tables),
        cmocka_unit_test(test_crowded_before_a_floor_can_rise),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_reader_never_misses_a_purge),
        cmocka_unit_test(test_what_lies_under_a_rule),
        cmocka_unit_test(test_paths_are_kept_from_an_id_on),
    };
    return cmocka_run_group_tests_name("cache/inval_log", tests, fix_group_setup, fix_group_teardown);
}
