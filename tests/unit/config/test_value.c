/* test_value.c: numbers, words and their way back. */
#include "config_test.h"

#include "config/value.h"

static void expect_duration(const char *text, int64_t ms)
{
    dur_ms_t v = -1;
    assert_null(value_parse_duration(slice_str(text), &v));
    assert_int_equal(v, ms);
}

static void expect_duration_bad(const char *text, const char *part)
{
    dur_ms_t v;
    const char *why = value_parse_duration(slice_str(text), &v);
    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_duration(void **state)
{
    UNUSED(state);
    expect_duration("250ms", 250);
    expect_duration("5s", 5000);
    expect_duration("1m", 60000);
    expect_duration("12h", 43200000);
    expect_duration("7d", 604800000);
    expect_duration("0", 0);
    expect_duration("0s", 0);
    expect_duration_bad("5", "has no unit");
    expect_duration_bad("5x", "unknown unit");
    expect_duration_bad("5S", "unknown unit");
    expect_duration_bad("5 s", "unknown unit");
    expect_duration_bad("1h30m", "unknown unit");
    expect_duration_bad("1.5s", "is not a whole number; write a smaller unit");
    expect_duration_bad("s", "not a duration");
    expect_duration_bad("-5s", "not a duration");
    expect_duration_bad("", "not a duration");
    expect_duration_bad("9223372036854775807d", "too long");
    expect_duration_bad("9223372036854775808ms", "not a duration");
}

static void expect_size(const char *text, int64_t bytes)
{
    int64_t v = -1;
    assert_null(value_parse_size(slice_str(text), &v));
    assert_int_equal(v, bytes);
}

static void test_size(void **state)
{
    int64_t v;
    UNUSED(state);
    expect_size("512K", 524288);
    expect_size("64M", 67108864);
    expect_size("2G", INT64_C(2147483648));
    expect_size("1T", INT64_C(1099511627776));
    expect_size("64m", 67108864);
    expect_size("100", 100);
    expect_size("0", 0);
    assert_non_null(strstr(value_parse_size(SLICE_LIT("64MB"), &v), "unknown unit"));
    assert_non_null(strstr(value_parse_size(SLICE_LIT("64 M"), &v), "unknown unit"));
    assert_non_null(strstr(value_parse_size(SLICE_LIT("M"), &v), "not a size"));
    assert_non_null(strstr(value_parse_size(SLICE_LIT("-1M"), &v), "not a size"));
    assert_non_null(strstr(value_parse_size(SLICE_LIT("9223372036854775807K"), &v), "too large"));
}

static void test_rate_percent_bool(void **state)
{
    int64_t v;
    bool on;
    UNUSED(state);
    assert_null(value_parse_byte_rate(SLICE_LIT("240/s"), &v));
    assert_int_equal(v, 240);
    assert_null(value_parse_byte_rate(SLICE_LIT("1K/s"), &v));
    assert_int_equal(v, 1024);
    assert_null(value_parse_byte_rate(SLICE_LIT("61/m"), &v));
    assert_int_equal(v, 2);
    assert_null(value_parse_byte_rate(SLICE_LIT("0"), &v));
    assert_int_equal(v, 0);
    static const char *const bad_rates[] = {"240", "240/h", "/s", "240/", "x/s", "240/s/s"};
    for (size_t i = 0; i < ARRAY_LEN(bad_rates); i++)
        assert_non_null(value_parse_byte_rate(slice_str(bad_rates[i]), &v));
    assert_null(value_parse_percent(SLICE_LIT("20%"), &v));
    assert_int_equal(v, 20);
    assert_non_null(value_parse_percent(SLICE_LIT("20"), &v));
    assert_non_null(value_parse_percent(SLICE_LIT("%"), &v));
    static const char *const yes[] = {"yes", "on", "true"}, *const no[] = {"no", "off", "false"};
    for (size_t i = 0; i < 3; i++) {
        assert_null(value_parse_bool(slice_str(yes[i]), &on));
        assert_true(on);
        assert_null(value_parse_bool(slice_str(no[i]), &on));
        assert_false(on);
    }
    assert_non_null(value_parse_bool(SLICE_LIT("1"), &on));
    assert_non_null(value_parse_bool(SLICE_LIT("Yes"), &on));
}

static void test_mode_status_heuristic(void **state)
{
    mode_t mode;
    struct config_status_range r;
    int percent;
    dur_ms_t max;
    UNUSED(state);
    assert_null(value_parse_mode(SLICE_LIT("0660"), &mode));
    assert_int_equal(mode, 0660);
    assert_null(value_parse_mode(SLICE_LIT("600"), &mode));
    static const char *const bad_modes[] = {"0999", "66", "rw-", "1777", "00660", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad_modes); i++)
        assert_non_null(value_parse_mode(slice_str(bad_modes[i]), &mode));
    assert_null(value_parse_status_range(SLICE_LIT("204"), &r));
    assert_true(r.from == 204 && r.to == 204);
    assert_null(value_parse_status_range(SLICE_LIT("200 - 399"), &r));
    assert_true(r.from == 200 && r.to == 399);
    static const char *const bad_ranges[] = {"99", "600", "399-200", "200-", "-200", "2xx", "200-300-400"};
    for (size_t i = 0; i < ARRAY_LEN(bad_ranges); i++)
        assert_non_null(value_parse_status_range(slice_str(bad_ranges[i]), &r));
    assert_null(value_parse_heuristic(SLICE_LIT("20% up to 12h"), &percent, &max));
    assert_true(percent == 20 && max == 43200000);
    assert_null(value_parse_heuristic(SLICE_LIT("off"), &percent, &max));
    assert_true(percent == 0 && max == 0);
    static const char *const bad_rules[] = {"20%",         "20% up to", "20 up to 1d", "101% up to 1d",
                                            "0% up to 1d", "20% to 1d", "20% up to 5", "20% up to 1d extra"};
    for (size_t i = 0; i < ARRAY_LEN(bad_rules); i++)
        assert_non_null(value_parse_heuristic(slice_str(bad_rules[i]), &percent, &max));
}

static void test_variables_and_names(void **state)
{
    slice_t unknown;
    UNUSED(state);
    assert_null(value_check_variables(SLICE_LIT("https://$host$uri"), "uri host", &unknown));
    assert_null(value_check_variables(SLICE_LIT("5$ and $5, $"), "uri", &unknown));
    assert_non_null(value_check_variables(SLICE_LIT("x$urix"), "uri", &unknown));
    assert_true(slice_eq(unknown, SLICE_LIT("urix")));
    assert_true(value_is_token(SLICE_LIT("X-Beta_1!")));
    assert_false(value_is_token(SLICE_LIT("X Beta")));
    assert_false(value_is_token(SLICE_LIT("X\0a")));
    assert_false(value_is_token(SLICE_EMPTY));
    assert_true(value_is_name(SLICE_LIT("a-1_B.c")));
    assert_false(value_is_name(SLICE_LIT("a/b")));
    assert_false(value_is_name(SLICE_EMPTY));
}

static void test_format(void **state)
{
    char buf[VALUE_TEXT];
    UNUSED(state);
    assert_string_equal(value_format_duration(0, buf), "0");
    assert_string_equal(value_format_duration(250, buf), "250ms");
    assert_string_equal(value_format_duration(90000, buf), "90s");
    assert_string_equal(value_format_duration(86400000, buf), "1d");
    assert_string_equal(value_format_size(0, buf), "0");
    assert_string_equal(value_format_size(1000, buf), "1000");
    assert_string_equal(value_format_size(1024, buf), "1K");
    assert_string_equal(value_format_size(INT64_C(3) << 30, buf), "3G");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_rate_percent_bool),
        cmocka_unit_test(test_mode_status_heuristic),
        cmocka_unit_test(test_variables_and_names),
        cmocka_unit_test(test_format),
    };
    return cmocka_run_group_tests_name("config/value", tests, NULL, NULL);
}
