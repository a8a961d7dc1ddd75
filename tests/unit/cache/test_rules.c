/* test_rules.c: from the snapshot to plain numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cache/rules.h"

static struct config config;
static struct config_route route;
static struct cache_rules rules;

static int setup(void **state)
{
    UNUSED(state);
    config = (struct config){.cache = {.store = CONFIG_STORE_MEMORY,
                                       .max_object_bytes = 999,
                                       .default_ttl_ms = 1,
                                       .heuristic_percent = 2,
                                       .heuristic_max_ms = 3}};
    route = (struct config_route){.cache = CONFIG_CACHE_ON,
                                  .bypass_cookie = "",
                                  .bypass_header = "",
                                  .ttl_ms = 4,
                                  .ttl_404_ms = 5,
                                  .ttl_5xx_ms = 6,
                                  .min_ttl_ms = 7,
                                  .max_ttl_ms = 8,
                                  .stale_while_revalidate_ms = 10,
                                  .stale_if_error_ms = 11,
                                  .early_refresh = true,
                                  .ttl_jitter_percent = 12,
                                  .max_object_bytes = 9,
                                  .slice_bytes = 8,
                                  .tags = "a b",
                                  .ignore_client_cache_control = true};
    return 0;
}

static void test_copies_everything(void **state)
{
    UNUSED(state);
    cache_rules_from_config(&config, &route, &rules);
    assert_true(rules.enabled);
    assert_int_equal(rules.slice_bytes, 8);
    assert_int_equal(rules.bypass_cookie.len, 0);
    assert_int_equal(rules.bypass_header.len, 0);
    assert_int_equal(rules.default_ttl_ms, 1);
    assert_int_equal(rules.heuristic_percent, 2);
    assert_int_equal(rules.heuristic_max_ms, 3);
    assert_int_equal(rules.ttl_ms, 4);
    assert_int_equal(rules.ttl_404_ms, 5);
    assert_int_equal(rules.ttl_5xx_ms, 6);
    assert_int_equal(rules.min_ttl_ms, 7);
    assert_int_equal(rules.max_ttl_ms, 8);
    assert_int_equal(rules.stale_while_revalidate_ms, 10);
    assert_int_equal(rules.stale_if_error_ms, 11);
    assert_true(rules.early_refresh);
    assert_int_equal(rules.ttl_jitter_percent, 12);
    assert_int_equal(rules.max_object_bytes, 9); /* the route's, not that of [cache] */
    assert_true(slice_eq(rules.tags, SLICE_LIT("a b")));
    assert_false(rules.obey_client);
    route.ignore_client_cache_control = false;
    cache_rules_from_config(&config, &route, &rules);
    assert_true(rules.obey_client);
}

static void test_unset_stays_unset(void **state)
{
    UNUSED(state);
    route.ttl_ms = route.ttl_404_ms = route.ttl_5xx_ms = CONFIG_TTL_UNSET;
    route.min_ttl_ms = route.max_ttl_ms = CONFIG_TTL_UNSET;
    cache_rules_from_config(&config, &route, &rules);
    assert_true(rules.ttl_ms == CACHE_TTL_UNSET && rules.ttl_404_ms == CACHE_TTL_UNSET);
    assert_true(rules.ttl_5xx_ms == CACHE_TTL_UNSET && rules.min_ttl_ms == CACHE_TTL_UNSET);
    assert_true(rules.max_ttl_ms == CACHE_TTL_UNSET);
}

static void test_enabled(void **state)
{
    static const struct {
        enum config_store store;
        enum config_route_cache cache;
        bool want;
    } cases[] = {
        {CONFIG_STORE_MEMORY, CONFIG_CACHE_ON, true},        {CONFIG_STORE_MEMORY, CONFIG_CACHE_OFF, false},
        {CONFIG_STORE_MEMORY, CONFIG_CACHE_BYPASS_IF, true}, {CONFIG_STORE_OFF, CONFIG_CACHE_ON, false},
        {CONFIG_STORE_OFF, CONFIG_CACHE_BYPASS_IF, false},   {CONFIG_STORE_OFF, CONFIG_CACHE_OFF, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        config.cache.store = cases[i].store;
        route.cache = cases[i].cache;
        cache_rules_from_config(&config, &route, &rules);
        assert_int_equal(rules.enabled, cases[i].want);
    }
}

/* Slices are kept in memory only. */
static void test_slices_where_there_is_memory(void **state)
{
    UNUSED(state);
    config.cache.store = CONFIG_STORE_TIERED;
    cache_rules_from_config(&config, &route, &rules);
    assert_int_equal(rules.slice_bytes, 8);
    config.cache.store = CONFIG_STORE_REDIS;
    cache_rules_from_config(&config, &route, &rules);
    assert_int_equal(rules.slice_bytes, 0);
}

static void test_bypass_only_where_the_route_says_so(void **state)
{
    UNUSED(state);
    route.bypass_cookie = "session";
    route.bypass_header = "X-Debug";
    cache_rules_from_config(&config, &route, &rules);
    assert_int_equal(rules.bypass_cookie.len + rules.bypass_header.len, 0);
    route.cache = CONFIG_CACHE_BYPASS_IF;
    cache_rules_from_config(&config, &route, &rules);
    assert_true(slice_eq(rules.bypass_cookie, SLICE_LIT("session")));
    assert_true(slice_eq(rules.bypass_header, SLICE_LIT("X-Debug")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_copies_everything, setup),
        cmocka_unit_test_setup(test_unset_stays_unset, setup),
        cmocka_unit_test_setup(test_enabled, setup),
        cmocka_unit_test_setup(test_slices_where_there_is_memory, setup),
        cmocka_unit_test_setup(test_bypass_only_where_the_route_says_so, setup),
    };
    return cmocka_run_group_tests_name("cache/rules", tests, NULL, NULL);
}
