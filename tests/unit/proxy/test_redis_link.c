/* test_redis_link.c: settings of the client from the file, for each mode, and authorities that are missing.
 */
#include "fixture.h"

#include "proxy/redis_link.h"

#define REDIS FIX_APP "[redis]\n"

static bool is(slice_t s, const char *text)
{
    return slice_eq(s, slice_str(text));
}

static void test_standalone(void **state)
{
    UNUSED(state);
    char err[256] = "";
    struct config *c =
        fix_config(REDIS "url = redis://app:p%40ss@redis.example/3\ntimeout = 250ms\nconnections = 5\n");
    struct redis_link *l = redis_link_new(c, err, sizeof err);
    assert_non_null(l);
    config_unref(c); /* it holds it itself */
    const struct redis_settings *s = redis_link_settings(l);
    assert_int_equal(s->mode, REDIS_STANDALONE);
    assert_int_equal(s->server_count, 1);
    assert_true(is(s->servers[0], "redis.example:6379"));
    assert_true(is(s->login->username, "app") && is(s->login->password, "p@ss"));
    assert_int_equal(s->login->database, 3);
    assert_null(s->login->tls);
    assert_null(s->login->tls_name);
    assert_int_equal(s->limits.connections, 5);
    assert_int_equal(s->limits.calls_max, 5 * REDIS_CALLS_MAX);
    assert_int_equal(s->limits.timeout_ms, 250);
    assert_int_equal(s->limits.connect_timeout_ms, 2500);
    redis_link_free(l);
}

static void test_sentinel(void **state)
{
    UNUSED(state);
    char err[256] = "";
    struct config *c =
        fix_config(REDIS "mode = sentinel\nsentinel_name = main\nurl = redis://s:sp@127.0.0.1/3\n"
                         "url = redis://127.0.0.1:7/3\nusername = app\npassword = p\n");
    struct redis_link *l = redis_link_new(c, err, sizeof err);
    assert_non_null(l);
    config_unref(c);
    const struct redis_settings *s = redis_link_settings(l);
    assert_int_equal(s->mode, REDIS_SENTINEL);
    assert_int_equal(s->server_count, 2);
    assert_true(is(s->servers[0], "127.0.0.1:26379") && is(s->servers[1], "127.0.0.1:7"));
    assert_true(is(s->sentinel_name, "main"));
    assert_true(is(s->login->username, "app") && is(s->login->password, "p"));
    assert_true(is(s->sentinel_login->username, "s") && is(s->sentinel_login->password, "sp"));
    assert_int_equal(s->login->database, 3);
    assert_int_equal(s->sentinel_login->database, 0); /* they have none */
    assert_int_equal(s->limits.connect_timeout_ms, 1000);
    redis_link_free(l);
}

static void test_tls(void **state)
{
    UNUSED(state);
    char err[256] = "";
    struct config *c = fix_config(REDIS "mode = cluster\nurl = rediss://127.0.0.1\n");
    struct redis_link *l = redis_link_new(c, err, sizeof err);
    assert_non_null(l);
    assert_int_equal(redis_link_settings(l)->mode, REDIS_CLUSTER);
    assert_non_null(redis_link_settings(l)->login->tls);
    redis_link_free(l);
    config_unref(c);
    c = fix_config(REDIS "url = rediss://127.0.0.1\ntls_ca = /nowhere/ca.pem\n");
    assert_null(redis_link_new(c, err, sizeof err));
    assert_string_equal(err, "test.ini:6: [redis] tls_ca: /nowhere/ca.pem cannot be read: No such file or "
                             "directory; name a PEM file that can");
    config_unref(c);
    redis_link_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_standalone),
        cmocka_unit_test(test_sentinel),
        cmocka_unit_test(test_tls),
    };
    return cmocka_run_group_tests_name("proxy/redis_link", tests, NULL, NULL);
}
