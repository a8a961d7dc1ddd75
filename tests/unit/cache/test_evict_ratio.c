/* test_evict_ratio.c: what the eviction is there for: more hits than LRU, in a small form of what `make
 * trace` measures. Loss here means a change to evict.c costs hits; docs/hit-ratio.md has the figures. */
#include "bench/trace/policy.h"

#include "tests/unit/cache/fixture.h"

#define REQUESTS 30000
#define SEED     1

/* At or above LRU, and with even sizes at most what is possible. */
static void check_pattern(const char *pattern)
{
    static const unsigned cache_percent[] = {1, 5, 10, 25};
    struct trace t = trace_make(pattern, REQUESTS, SEED);
    for (unsigned i = 0; i < ARRAY_LEN(cache_percent); i++) {
        uint64_t capacity_bytes = t.footprint_bytes * cache_percent[i] / 100;
        struct trace_hit_ratio ours = trace_run(&trace_policy_millpond, &t, capacity_bytes);
        struct trace_hit_ratio lru = trace_run(&trace_policy_lru, &t, capacity_bytes);
        struct trace_hit_ratio best = trace_run(&trace_policy_belady, &t, capacity_bytes);
        if (ours.objects < lru.objects || ours.bytes < lru.bytes || (t.even && ours.objects > best.objects))
            fail_msg("%s, cache of %u%%: hits %.4f (bytes %.4f), LRU %.4f (%.4f), Belady %.4f", pattern,
                     cache_percent[i], ours.objects, ours.bytes, lru.objects, lru.bytes, best.objects);
    }
    trace_free(&t);
}

static void test_zipf(void **state)
{
    UNUSED(state);
    check_pattern("zipf-0.9");
    check_pattern("zipf-0.7");
}

static void test_zipf_with_uneven_sizes(void **state)
{
    UNUSED(state);
    check_pattern("zipf-sizes");
}

static void test_scan_and_zipf(void **state)
{
    UNUSED(state);
    check_pattern("scan");
    check_pattern("scan-twice");
}

static void test_popularity_that_moves(void **state)
{
    UNUSED(state);
    check_pattern("shift");
    check_pattern("news");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zipf),
        cmocka_unit_test(test_zipf_with_uneven_sizes),
        cmocka_unit_test(test_scan_and_zipf),
        cmocka_unit_test(test_popularity_that_moves),
    };
    return cmocka_run_group_tests_name("cache/evict_ratio", tests, fix_group_setup, fix_group_teardown);
}
