/* test_redis_url.c: urls of Redis servers: what they are taken for, what is refused, and that a password is
 * not shown. */
#include "config_test.h"

#include "config/redis_url.h"

static const struct {
    const char *text;
    enum redis_url_scheme scheme;
    const char *username, *password, *host; /* decoded */
    unsigned port, database;
} good[] = {
    {"redis://127.0.0.1:6379/0", REDIS_URL_PLAIN, "", "", "127.0.0.1", 6379, 0},
    {"redis://redis", REDIS_URL_PLAIN, "", "", "redis", 0, 0},
    {"redis://redis/", REDIS_URL_PLAIN, "", "", "redis", 0, 0},
    {"redis://[::1]", REDIS_URL_PLAIN, "", "", "[::1]", 0, 0},
    {"redis://[::1]:1/15", REDIS_URL_PLAIN, "", "", "[::1]", 1, 15},
    {"rediss://a.example:65535/2147483647", REDIS_URL_TLS, "", "", "a.example", 65535, 2147483647},
    {"redis://app@redis", REDIS_URL_PLAIN, "app", "", "redis", 0, 0},
    {"redis://:secret@redis:1", REDIS_URL_PLAIN, "", "secret", "redis", 1, 0},
    {"redis://app:s:e@redis:1", REDIS_URL_PLAIN, "app", "s:e", "redis", 1, 0},
    {"rediss://a%20b:%40%2f%2F%3A%25%3f@redis", REDIS_URL_TLS, "a b", "@//:%?", "redis", 0, 0},
    {"unix:/run/redis.sock", REDIS_URL_UNIX, "", "", "/run/redis.sock", 0, 0},
    {"unix:///run/redis.sock?db=3", REDIS_URL_UNIX, "", "", "/run/redis.sock", 0, 3},
    {"unix:/%41", REDIS_URL_UNIX, "", "", "/%41", 0, 0}, /* a path is as it is */
};

static void expect_decoded(slice_t encoded, const char *wanted)
{
    char out[64];
    size_t n = redis_url_decode(encoded, out);
    assert_true(n <= encoded.len);
    assert_true(slice_eq(slice_make(out, n), slice_str(wanted)));
}

static void test_good(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct redis_url url;
        const char *wrong = redis_url_parse(slice_str(good[i].text), &url);
        if (wrong != NULL)
            fail_msg("%s: the url %s", good[i].text, wrong);
        assert_int_equal(url.scheme, good[i].scheme);
        expect_decoded(url.username, good[i].username);
        expect_decoded(url.password, good[i].password);
        assert_true(slice_eq(url.host, slice_str(good[i].host)));
        assert_int_equal(url.port, good[i].port);
        assert_int_equal(url.database, good[i].database);
    }
}

static const struct {
    const char *text, *part;
} bad[] = {
    {"", "begins with neither"},
    {"127.0.0.1:6379", "begins with neither"},
    {"http://127.0.0.1", "begins with neither"},
    {"REDIS://a", "begins with neither"},
    {"redis:a", "begins with neither"},
    {"redis://", "has no usable host"},
    {"redis:///1", "has no usable host"},
    {"redis://:6379", "has no usable host"},
    {"redis://a b", "has a blank"},
    {"redis://a\tb", "has a blank"},
    {"redis://a,b", "has no usable host"},
    {"redis://::1", "has no usable host"},
    {"redis://[::1", "has no usable host"},
    {"redis://1.2.3", "has no usable host"},
    {"redis://a:", "has no usable port"},
    {"redis://a:0", "has no usable port"},
    {"redis://a:65536", "has no usable port"},
    {"redis://a:p", "has no usable port"},
    {"redis://a/x", "has no number where the database stands"},
    {"redis://a/-1", "has no number where the database stands"},
    {"redis://a/1/", "has no number where the database stands"},
    {"redis://a/2147483648", "has no number where the database stands"},
    {"redis://a?db=1", "has a ? or #"},
    {"redis://a#x", "has a ? or #"},
    {"redis://u:p?@a", "has a ? or #"},
    {"redis://@a", "neither user nor password"},
    {"redis://:@a", "neither user nor password"},
    {"redis://u:p@q@a", "has a slash or an @"},
    {"redis://u:p/q@a", "has a slash or an @"},
    {"redis://u:p%@a", "begins no escape"},
    {"redis://u:p%2@a", "begins no escape"},
    {"redis://u:p%zz@a", "begins no escape"},
    {"redis://u:p%00@a", "begins no escape"},
    {"redis://u%00:p@a", "begins no escape"},
    {"unix:", "has no usable path"},
    {"unix:run/x", "has no usable path"},
    {"unix://host/run/x", "has no usable path"},
    {"unix:/run/x?db=", "has no number"},
    {"unix:/run/x?db=a", "has no number"},
    {"unix:/run/x?database=1", "something else than a database"},
};

static void test_bad(void **state)
{
    struct redis_url url;
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        const char *wrong = redis_url_parse(slice_str(bad[i].text), &url);
        if (wrong == NULL || strstr(wrong, bad[i].part) == NULL || strchr(wrong, ';') == NULL)
            fail_msg("%s: %s, not: %s", bad[i].text, wrong, bad[i].part);
    }
    char path[200] = "unix:/";
    memset(path + 6, 'x', 107);
    assert_non_null(redis_url_parse(slice_str(path), &url));
    path[5 + 107] = '\0';
    assert_null(redis_url_parse(slice_str(path), &url));
}

static void test_passwords_are_hidden(void **state)
{
    char out[REDIS_URL_SHOWN], text[2000] = "redis://user:secret@a";
    UNUSED(state);
    assert_false(redis_url_hide(SLICE_LIT("redis://user@a:1/2"), out));
    assert_false(redis_url_hide(SLICE_LIT("unix:/x?db=1"), out));
    assert_true(redis_url_hide(SLICE_LIT("rediss://user:secret@a:1/2"), out));
    assert_string_equal(out, "rediss://user:***@a:1/2");
    assert_true(redis_url_hide(SLICE_LIT("redis://:secret@a"), out));
    assert_string_equal(out, "redis://:***@a");
    assert_true(redis_url_hide(SLICE_LIT("redis://user:sec/ret@a"), out));
    assert_string_equal(out, "***");
    memset(text + 8, 'u', 1500); /* cut, not overrun */
    memcpy(text + 1508, ":secret@a", 10);
    assert_true(redis_url_hide(slice_str(text), out));
    assert_int_equal(strlen(out), sizeof out - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_passwords_are_hidden),
    };
    return cmocka_run_group_tests_name("config/redis_url", tests, NULL, NULL);
}
