/* test_stale.c: the windows of RFC 5861, and what of them eviction knows. */
#include "cache/stale.h"

#include "tests/unit/cache/fixture.h"

static const struct cache_rules rules = {.stale_while_revalidate_ms = 7000, .stale_if_error_ms = 9000};

static struct cache_stale windows(const char *head, struct cache_freshness fresh)
{
    const struct cache_object_info info = {.head = slice_str(head), .status = 200, .fresh = fresh};
    return cache_stale_of_stored(&info, &rules);
}

static void test_response_comes_before_the_options(void **state)
{
    UNUSED(state);
    static const struct {
        const char *head;
        dur_ms_t while_revalidate_ms, if_error_ms;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n", 7000, 9000},
        {"HTTP/1.1 200 a:b\r\nCache-Control: max-age=1, stale-while-revalidate=2\r\n", 2000, 9000},
        {"HTTP/1.1 200 OK\r\ncache-control: stale-if-error=0\r\nX: stale-if-error=5\r\n", 7000, 0},
        {"HTTP/1.1 200 OK\r\nCDN-Cache-Control: max-age=1, stale-if-error=6\r\nCache-Control: "
         "stale-if-error=3\r\n",
         7000, 6000},
        {"HTTP/1.1 200 OK\r\nCache-Control: stale-if-error=3\r\nA: b\r\nCache-Control: "
         "stale-while-revalidate=4\r\n",
         4000, 3000},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct cache_stale s = windows(rows[i].head, (struct cache_freshness){.lifetime_ms = 1});
        assert_int_equal(s.while_revalidate_ms, rows[i].while_revalidate_ms);
        assert_int_equal(s.if_error_ms, rows[i].if_error_ms);
    }
}

/* Lines that no client gets count like all others. */
static void test_hidden_lines_count(void **state)
{
    static const char shown[] = "HTTP/1.1 200 OK\r\nCache-Control: stale-if-error=3\r\n";
    static const char text[] =
        "HTTP/1.1 200 OK\r\nCache-Control: stale-if-error=3\r\n"
        "Surrogate-Control: max-age=1+5\r\nMillpond-Cache-Control: max-age=1, immutable, "
        "stale-if-error=4\r\n";
    const struct cache_object_info info = {.head = slice_make(text, sizeof shown - 1),
                                           .hidden_bytes = sizeof text - sizeof shown,
                                           .fresh = {.lifetime_ms = 1},
                                           .status = 200};
    struct cache_control cc;
    UNUSED(state);
    assert_int_equal(cache_stale_of_stored(&info, &rules).if_error_ms, 4000);
    assert_int_equal(cache_stale_of_stored(&info, &rules).while_revalidate_ms, 7000);
    assert_true(cache_control_of_stored(&info, &cc));
    assert_int_equal(cc.flags, CC_TARGETED | CC_IMMUTABLE);
}

static void test_too_many_lines_say_nothing(void **state)
{
    char text[1024] = "HTTP/1.1 200 OK\r\n";
    struct cache_object_info info = {.status = 200};
    struct cache_control cc;
    UNUSED(state);
    for (int i = 0; i < 17; i++)
        strcat(text, "Cache-Control: stale-if-error=3\r\n");
    info.head = slice_str(text);
    assert_int_equal(cache_stale_of_stored(&info, &rules).if_error_ms, 0);
    assert_false(cache_control_of_stored(&info, &cc));
}

static void test_what_must_be_asked_for_has_none(void **state)
{
    UNUSED(state);
    static const char head[] =
        "HTTP/1.1 200 OK\r\nCache-Control: stale-if-error=3, stale-while-revalidate=4\r\n";
    struct cache_stale s = windows(head, (struct cache_freshness){.never_stale = true});
    assert_int_equal(s.while_revalidate_ms + s.if_error_ms, 0);
    s = windows(head, (struct cache_freshness){.revalidate_always = true});
    assert_int_equal(s.while_revalidate_ms + s.if_error_ms, 0);
}

/* Kept to be asked about for each client: only what the response itself says counts. */
static void test_options_do_not_count_without_freshness(void **state)
{
    UNUSED(state);
    const struct cache_freshness none = {0};
    struct cache_stale s = windows("HTTP/1.1 200 OK\r\n", none);
    assert_int_equal(s.while_revalidate_ms + s.if_error_ms, 0);
    s = windows("HTTP/1.1 200 OK\r\nCache-Control: max-age=0, stale-if-error=3\r\n", none);
    assert_int_equal(s.while_revalidate_ms, 0);
    assert_int_equal(s.if_error_ms, 3000);
    s = windows("HTTP/1.1 200 OK\r\nCache-Control: public, max-age=0\r\n", none);
    assert_int_equal(s.while_revalidate_ms, 7000);
    assert_int_equal(s.if_error_ms, 9000);
}

static void test_assets_are_kept_at_least(void **state)
{
    UNUSED(state);
    struct cache_rules keeps = rules;
    struct cache_object_info info = {
        .head = SLICE_LIT("HTTP/1.1 200 OK\r\n"), .status = 200, .fresh = {.lifetime_ms = 1}};
    keeps.keep_assets_ms = 8999;
    assert_int_equal(cache_stale_of_stored(&info, &keeps).if_error_ms, 9000);
    keeps.keep_assets_ms = 9001;
    assert_int_equal(cache_stale_of_stored(&info, &keeps).if_error_ms, 9001);
    assert_int_equal(cache_stale_of_stored(&info, &keeps).while_revalidate_ms, 7000);
    info.head = SLICE_LIT("HTTP/1.1 200 OK\r\nCache-Control: stale-if-error=3\r\n");
    assert_int_equal(cache_stale_of_stored(&info, &keeps).if_error_ms, 9001);
    info.fresh.never_stale = true;
    assert_int_equal(cache_stale_of_stored(&info, &keeps).if_error_ms, 0);
}

static void test_keep_code_covers_the_longer_window(void **state)
{
    UNUSED(state);
    static const struct {
        dur_ms_t ms;
        unsigned code;
    } rows[] = {{0, 0}, {1, 1}, {1000, 1}, {1001, 2}, {3600000, 13}, {INT64_C(2147483648) * 1000, 31}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(cache_stale_keep_code(&(struct cache_stale){rows[i].ms, 0}), rows[i].code);
        assert_int_equal(cache_stale_keep_code(&(struct cache_stale){0, rows[i].ms}), rows[i].code);
    }
    struct cache_freshness f = {.response_ms = 1000, .lifetime_ms = 5000, .keep_code = 2};
    assert_false(cache_freshness_is_fresh(&f, 6000));
    assert_false(cache_freshness_is_spent(&f, 7999));
    assert_true(cache_freshness_is_spent(&f, 8000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_response_comes_before_the_options),
        cmocka_unit_test(test_hidden_lines_count),
        cmocka_unit_test(test_too_many_lines_say_nothing),
        cmocka_unit_test(test_what_must_be_asked_for_has_none),
        cmocka_unit_test(test_options_do_not_count_without_freshness),
        cmocka_unit_test(test_assets_are_kept_at_least),
        cmocka_unit_test(test_keep_code_covers_the_longer_window),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
