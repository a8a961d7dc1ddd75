/* test_build_redis.c: what the urls and keys of [redis] come to together. */
#include "config_test.h"

#define REDIS APP "[redis]\n"

static void test_no_section(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP);
    assert_false(c->redis.given);
    assert_int_equal(c->redis.servers.count, 0);
    assert_string_equal(c->redis.login.password, "");
    assert_null(config_redis_origin(c, "url").file);
    config_unref(c);
}

static void test_defaults(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(REDIS);
    assert_true(c->redis.given);
    assert_int_equal(c->redis.mode, CONFIG_REDIS_STANDALONE);
    assert_int_equal(c->redis.servers.count, 1);
    assert_string_equal(c->redis.servers.items[0], "127.0.0.1:6379");
    assert_false(c->redis.tls);
    assert_int_equal(c->redis.database, 0);
    assert_string_equal(c->redis.prefix, "millpond:");
    assert_string_equal(c->redis.channel, "millpond:purge");
    assert_int_equal(c->redis.timeout_ms, 50);
    assert_int_equal(c->redis.connections, 2);
    assert_int_equal(c->redis.max_object_bytes, 1 << 20);
    assert_int_equal(c->redis.compress, CONFIG_REDIS_COMPRESS_OFF);
    assert_int_equal(c->redis.stream_length, 100000);
    assert_string_equal(c->redis.sentinel_name, "");
    assert_string_equal(c->redis.tls_ca, "");
    assert_int_equal(config_redis_origin(c, "url").line, 3); /* the section */
    config_unref(c);
}

static void test_members(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(REDIS "url = rediss://redis.example/7\nusername = app\npassword = p w;d\n"
                                     "tls_ca = /ca.pem\nprefix = a/\ntimeout = 1s\nconnections = 16\n"
                                     "max_object_size = 2M\ncompress = zstd\nstream_length = 5\n");
    assert_string_equal(c->redis.servers.items[0], "redis.example:6379");
    assert_true(c->redis.tls);
    assert_int_equal(c->redis.database, 7);
    assert_string_equal(c->redis.login.username, "app");
    assert_string_equal(c->redis.login.password, "p w;d");
    assert_string_equal(c->redis.sentinel_login.password, "");
    assert_string_equal(c->redis.tls_ca, "/ca.pem");
    assert_string_equal(c->redis.prefix, "a/");
    assert_string_equal(c->redis.channel, "a/purge"); /* follows the prefix */
    assert_int_equal(c->redis.timeout_ms, 1000);
    assert_int_equal(c->redis.connections, 16);
    assert_int_equal(c->redis.max_object_bytes, 2 << 20);
    assert_int_equal(c->redis.compress, CONFIG_REDIS_COMPRESS_ZSTD);
    assert_int_equal(c->redis.stream_length, 5);
    assert_int_equal(config_redis_origin(c, "tls_ca").line, 7);
    config_unref(c);
    c = load_ok(REDIS "prefix = a/\nchannel = other\n");
    assert_string_equal(c->redis.channel, "other");
    config_unref(c);
}

static void test_login_of_the_url(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(REDIS "url = redis://a%3Ab:p%40ss@127.0.0.1:1\n");
    assert_string_equal(c->redis.servers.items[0], "127.0.0.1:1");
    assert_string_equal(c->redis.login.username, "a:b");
    assert_string_equal(c->redis.login.password, "p@ss");
    config_unref(c);
    c = load_ok(REDIS "url = redis://app@[::1]\npassword = %40\n"); /* a key is as it is */
    assert_string_equal(c->redis.servers.items[0], "[::1]:6379");
    assert_string_equal(c->redis.login.username, "app");
    assert_string_equal(c->redis.login.password, "%40");
    config_unref(c);
    setenv("MP_REDIS", "from:env", 1);
    c = load_ok(REDIS "url = unix:///run/r?db=2\npassword = ${MP_REDIS}\n");
    assert_string_equal(c->redis.servers.items[0], "unix:/run/r");
    assert_int_equal(c->redis.database, 2);
    assert_string_equal(c->redis.login.password, "from:env");
    config_unref(c);
}

static void test_cluster(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(REDIS "mode = cluster\nurl = redis://127.0.0.1:1\n"
                                     "url = redis://u:p@127.0.0.1:2\nurl = redis://localhost\n");
    assert_int_equal(c->redis.mode, CONFIG_REDIS_CLUSTER);
    assert_int_equal(c->redis.servers.count, 3);
    assert_string_equal(c->redis.servers.items[2], "localhost:6379");
    assert_string_equal(c->redis.login.username, "u"); /* one login for all */
    assert_string_equal(c->redis.login.password, "p");
    config_unref(c);
}

/* The url names Sentinels, and what it says of logins is for them; the database is the master's. */
static void test_sentinel(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(REDIS "mode = sentinel\nsentinel_name = main\nurl = redis://:s@127.0.0.1/3\n"
                                     "url = redis://127.0.0.1:7/3\nusername = app\npassword = p\n");
    assert_int_equal(c->redis.mode, CONFIG_REDIS_SENTINEL);
    assert_string_equal(c->redis.sentinel_name, "main");
    assert_string_equal(c->redis.servers.items[0], "127.0.0.1:26379");
    assert_string_equal(c->redis.servers.items[1], "127.0.0.1:7");
    assert_int_equal(c->redis.database, 3);
    assert_string_equal(c->redis.sentinel_login.username, "");
    assert_string_equal(c->redis.sentinel_login.password, "s");
    assert_string_equal(c->redis.login.username, "app");
    assert_string_equal(c->redis.login.password, "p");
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_section), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_members),    cmocka_unit_test(test_login_of_the_url),
        cmocka_unit_test(test_cluster),    cmocka_unit_test(test_sentinel),
    };
    return cmocka_run_group_tests_name("config/build_redis", tests, NULL, NULL);
}
