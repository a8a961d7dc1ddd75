/* test_key_fold.c: devices by real User-Agents, languages by the examples of RFC 4647 and by weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/key_fold.h"
#include "core/panic.h"
#include "tests/unit/cache/text_head.h"

struct row {
    const char *lines, *want;
};

static void test_devices(void **state)
{
    UNUSED(state);
    static const struct row rows[] = {
        {"", "desktop"},
        {"User-Agent:", "desktop"},
        {"User-Agent: curl/8", "desktop"},
        {"User-Agent: Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
         "Chrome/120.0.0.0 Safari/537.36",
         "desktop"},
        {"User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/17.1 "
         "Safari/605.1.15",
         "desktop"},
        {"User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) AppleWebKit/605.1.15 "
         "Mobile/15E148 Safari/604.1",
         "mobile"},
        {"User-Agent: Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
         "tablet"},
        {"User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile "
         "Safari/537.36",
         "mobile"},
        {"User-Agent: Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
         "tablet"},
        {"User-Agent: Mozilla/5.0 (Android 13; Mobile; rv:109.0) Gecko/120.0 Firefox/120.0", "mobile"},
        {"User-Agent: Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/120.0 Firefox/120.0", "tablet"},
        {"User-Agent: Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Tablet PC 2.0)", "desktop"},
        {"User-Agent: Opera/9.80 (J2ME/MIDP; Opera Mini/9.80; U; en) Presto/2.5.25", "mobile"},
        {"User-Agent: IPOD TOUCH", "mobile"},
        {"Sec-CH-UA-Mobile: ?1\nUser-Agent: curl/8", "mobile"},
        {"Sec-CH-UA-Mobile: ?1\nUser-Agent: x iPad", "mobile"},
        {"Sec-CH-UA-Mobile: ?0\nUser-Agent: x iPad", "tablet"},
        {"sec-ch-ua-mobile: 1", "desktop"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, rows[i].lines);
        if (!slice_eq(cache_key_device(&t.head), slice_str(rows[i].want)))
            fail_msg("%s: " SLICE_FMT, rows[i].lines, SLICE_ARG(cache_key_device(&t.head)));
        text_head_free(&t);
    }
}

/* Only so much of it is looked at. */
static void test_long_agent(void **state)
{
    UNUSED(state);
    char line[1024] = "User-Agent: ";
    memset(line + 12, 'x', 508);
    strcpy(line + 12 + 508, "mobi");
    struct text_head t;
    text_head_request(&t, HTTP_GET, line);
    assert_true(slice_eq(cache_key_device(&t.head), SLICE_LIT("mobile")));
    text_head_free(&t);
    strcpy(line + 12 + 508, "xmobi");
    text_head_request(&t, HTTP_GET, line);
    assert_true(slice_eq(cache_key_device(&t.head), SLICE_LIT("desktop")));
    text_head_free(&t);
}

static void test_languages(void **state)
{
    UNUSED(state);
    static const char *tags[] = {"en", "de", "fr", "pt-BR", "zh-Hant"};
    static const struct config_strings list = {tags, ARRAY_LEN(tags)};
    static const struct row rows[] = {
        {"", "en"},
        {"Accept-Language:", "en"},
        {"Accept-Language: *", "en"},
        {"Accept-Language: de", "de"},
        {"Accept-Language: DE", "de"},
        {"Accept-Language: de-AT", "de"},
        {"Accept-Language: de-Latn-DE-1996, fr", "de"},
        {"Accept-Language: pt-br", "pt-BR"},
        {"Accept-Language: pt", "en"}, /* a range matches no longer tag by look-up */
        {"Accept-Language: pt, fr;q=0.5", "fr"},
        {"Accept-Language: zh-Hant-CN-x-private1-private2", "zh-Hant"},
        {"Accept-Language: zh-Hant-x-y", "zh-Hant"},
        {"Accept-Language: dex, deu", "en"},
        {"Accept-Language: fr;q=0.8, de;q=0.9", "de"},
        {"Accept-Language: fr, de", "fr"},
        {"Accept-Language: fr;q=0.5,de;q=0.5", "fr"},
        {"Accept-Language: fr ; q=0.1 , de;Q=1.0", "de"},
        {"Accept-Language: da, en-gb;q=0.8, fr;q=0.7", "en"},
        {"Accept-Language: de;q=0, fr;q=0.001", "fr"},
        {"Accept-Language: de;q=0", "en"},
        {"Accept-Language: de;q=0.000", "en"},
        {"Accept-Language: de;q=x, fr;q=0.1", "fr"},
        {"Accept-Language: de;q=, de;w=1, fr;q=0.1", "fr"},
        {"Accept-Language: de;q=2, fr;q=0.1", "fr"},
        {"Accept-Language: de;q=1.5, fr;q=0.9", "de"},
        {"Accept-Language: de;q=0.1234, fr;q=0.1", "fr"},
        {"Accept-Language: ;;, fr", "fr"},
        {"Accept-Language: -, --, -a, a-, fr", "fr"},
        {"Accept-Language: de;q=0.5\nAccept-Language: fr", "fr"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text_head t;
        text_head_request(&t, HTTP_GET, rows[i].lines);
        slice_t got = cache_key_language(&t.head, &list);
        if (!slice_eq(got, slice_str(rows[i].want)))
            fail_msg("%s: " SLICE_FMT, rows[i].lines, SLICE_ARG(got));
        text_head_free(&t);
    }
}

static void test_many_languages(void **state)
{
    UNUSED(state);
    static const char *tags[] = {"en", "de"};
    static const struct config_strings list = {tags, ARRAY_LEN(tags)};
    char line[512] = "Accept-Language: ";
    for (int i = 0; i < 31; i++)
        strcat(line, "xx, ");
    strcat(line, "de");
    struct text_head t;
    text_head_request(&t, HTTP_GET, line);
    assert_true(slice_eq(cache_key_language(&t.head, &list), SLICE_LIT("de")));
    text_head_free(&t);
    strcpy(line + strlen(line) - 2, "xx, de");
    text_head_request(&t, HTTP_GET, line);
    assert_true(slice_eq(cache_key_language(&t.head, &list), SLICE_LIT("en")));
    text_head_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_long_agent),
        cmocka_unit_test(test_languages),
        cmocka_unit_test(test_many_languages),
    };
    return cmocka_run_group_tests_name("cache/key_fold", tests, NULL, NULL);
}
