/* test_http_date.c: the three formats, their limits, and writing. The C library is the witness. */
#include "core/http_date.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define NOW_2026 INT64_C(1780000000)

static void good(const char *text, wall_s_t now_s, wall_s_t want)
{
    wall_s_t got = -1;
    assert_true(http_date_parse(slice_str(text), now_s, &got));
    assert_int_equal(got, want);
}

static void bad(const char *text)
{
    wall_s_t got;
    assert_false(http_date_parse(slice_str(text), NOW_2026, &got));
}

static void test_formats(void **state)
{
    UNUSED(state);
    good("Sun, 06 Nov 1994 08:49:37 GMT", NOW_2026, 784111777);
    good("Sunday, 06-Nov-94 08:49:37 GMT", NOW_2026, 784111777);
    good("Sun Nov  6 08:49:37 1994", NOW_2026, 784111777);
    good("Wed Nov 16 08:49:37 1994", NOW_2026, 784111777 + 10 * 86400);
    good("Thu, 01 Jan 1970 00:00:00 GMT", NOW_2026, 0);
    good("Thu, 31 Dec 2026 23:59:60 GMT", NOW_2026, 1798761600);
    good("Thu, 29 Feb 2024 00:00:00 GMT", NOW_2026, 1709164800);
    good("Tue, 29 Feb 2000 00:00:00 GMT", NOW_2026, 951782400);
    good("Mon, 26 Jul 1997 05:00:00 GMT", NOW_2026, 869893200); /* a Saturday; let through */
    good("Fri, 31 Dec 9999 23:59:59 GMT", NOW_2026, INT64_C(253402300799));
    good("Sat, 01 Jan 0000 00:00:00 GMT", NOW_2026, INT64_C(-62167219200));
    good("SUN, 06 nov 1994 08:49:37 gmt", NOW_2026, 784111777);
    good("sunday, 06-NOV-94 08:49:37 Gmt", NOW_2026, 784111777);
    good("sUN nOV  6 08:49:37 1994", NOW_2026, 784111777);
}

static void test_refused(void **state)
{
    UNUSED(state);
    static const char *const rows[] = {"",
                                       "0",
                                       "-1",
                                       "Sun",
                                       "Sun,",
                                       "784111777",
                                       "Sun, 06 Nov 1994 08:49:37",
                                       "Sun, 06 Nov 1994 08:49:37 UTC",
                                       "Sun, 06 Nov 1994 08:49:37 GMT ",
                                       " Sun, 06 Nov 1994 08:49:37 GMT",
                                       "Sun, 6 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 94 08:49:37 GMT",
                                       "Sun, 06-Nov-1994 08:49:37 GMT",
                                       "Sunday, 06-Nov-1994 08:49:37 GMT",
                                       "Sunday, 06 Nov 1994 08:49:37 GMT",
                                       "Xyz, 06 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Xyz 1994 08:49:37 GMT",
                                       "Sun, 00 Nov 1994 08:49:37 GMT",
                                       "Sun, 31 Nov 1994 08:49:37 GMT",
                                       "Sun, 32 Dec 1994 08:49:37 GMT",
                                       "Sun, 29 Feb 2023 08:49:37 GMT",
                                       "Sun, 29 Feb 1900 08:49:37 GMT",
                                       "Sun, 30 Feb 2024 08:49:37 GMT",
                                       "Sun, 06 Nov 1994 24:00:00 GMT",
                                       "Sun, 06 Nov 1994 08:60:00 GMT",
                                       "Sun, 06 Nov 1994 08:00:61 GMT",
                                       "Sun, 06 Nov 1994 8:49:37 GMT",
                                       "Sun, 06 Nov 1994 08:49 GMT",
                                       "Sun, +6 Nov 1994 08:49:37 GMT",
                                       "Sun Nov 6 08:49:37 1994",
                                       "Sun Nov  06 08:49:37 1994",
                                       "Sun Nov  6 08:49:37 1994 GMT",
                                       "Sun Nov  0 08:49:37 1994",
                                       "Sunday, 29-Feb-23 08:49:37 GMT",
                                       "Sunday, 00-Nov-94 08:49:37 GMT",
                                       "Sun, 06 Nov 1994  08:49:37 GMT",
                                       "Sun,06 Nov 1994 08:49:37 GMT",
                                       "Sun, 06 Nov 19945 08:49:37 GMT"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        bad(rows[i]);
    wall_s_t out;
    assert_false(http_date_parse(SLICE_LIT("Sun, 06 Nov 1994 08:49:37\0GMT"), NOW_2026, &out));
}

/* At most 50 years ahead, to the second. */
static void test_two_digit_years(void **state)
{
    UNUSED(state);
    wall_s_t now_s = INT64_C(1767225600); /* Thu, 01 Jan 2026 00:00:00 */
    good("Wednesday, 01-Jan-76 00:00:00 GMT", now_s, INT64_C(3345062400));
    good("Thursday, 01-Jan-76 00:00:01 GMT", now_s, 189302401);
    good("Thursday, 01-Jan-76 00:00:01 GMT", now_s + 1, INT64_C(3345062401));
    good("Thursday, 01-Jan-26 00:00:00 GMT", now_s, now_s);
    good("Thursday, 01-Jan-70 00:00:00 GMT", now_s, INT64_C(3155760000));
    good("Friday, 31-Dec-99 23:59:59 GMT", now_s, 946684799);
    /* near the end of a century the next one is meant */
    good("Friday, 01-Jan-05 00:00:00 GMT", INT64_C(4070908800), INT64_C(4260211200));
}

static void test_write_and_read_back(void **state)
{
    UNUSED(state);
    static const wall_s_t rows[] = {0,        -1,         784111777,  951782400,    951868799,   1709164800,
                                    NOW_2026, 4107542399, 4107542400, -62167219200, 253402300799};
    char buf[HTTP_DATE_LEN + 1], want[64];
    for (size_t i = 0; i < ARRAY_LEN(rows) + 4000; i++) {
        wall_s_t t = i < ARRAY_LEN(rows) ? rows[i] : (wall_s_t)(i * INT64_C(63072123)) - 62000000000;
        if (t > 253402300799)
            break;
        time_t tt = (time_t)t;
        struct tm tm;
        assert_non_null(gmtime_r(&tt, &tm));
        size_t n = strftime(want, sizeof want, "%a, %d %b ", &tm);
        int year = tm.tm_year + 1900;
        for (int d = 1000; d > 0; d /= 10)
            want[n++] = (char)('0' + year / d % 10);
        n += strftime(want + n, sizeof want - n, " %H:%M:%S GMT", &tm);
        assert_int_equal(n, HTTP_DATE_LEN);
        buf[HTTP_DATE_LEN] = '#';
        http_date_write(buf, t);
        assert_int_equal(buf[HTTP_DATE_LEN], '#');
        assert_memory_equal(buf, want, HTTP_DATE_LEN);
        wall_s_t back;
        assert_true(http_date_parse(slice_make(buf, HTTP_DATE_LEN), NOW_2026, &back));
        assert_int_equal(back, t);
    }
}

static void test_write_beyond_four_digits(void **state)
{
    UNUSED(state);
    char buf[HTTP_DATE_LEN];
    http_date_write(buf, INT64_MAX);
    assert_memory_equal(buf, "Fri, 31 Dec 9999 23:59:59 GMT", HTTP_DATE_LEN);
    http_date_write(buf, INT64_MIN);
    assert_memory_equal(buf, "Sat, 01 Jan 0000 00:00:00 GMT", HTTP_DATE_LEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_two_digit_years),
        cmocka_unit_test(test_write_and_read_back),
        cmocka_unit_test(test_write_beyond_four_digits),
    };
    return cmocka_run_group_tests_name("core/http_date", tests, NULL, NULL);
}
