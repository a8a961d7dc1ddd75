/* test_check_redis.c: what [redis] must not say together, what it is warned of, and that no message shows a
 * url or a password. */
#include "config_test.h"

#define REDIS    APP "[redis]\n"
#define SENTINEL REDIS "mode = sentinel\n"
#define CLUSTER  REDIS "mode = cluster\n"

static void test_urls_together(void **state)
{
    UNUSED(state);
    expect_error(REDIS "url = redis://a\nurl = redis://b\n",
                 "t.ini:5: [redis] url: mode = standalone is one server; remove the other urls");
    expect_error(CLUSTER "url = redis://a\nurl = rediss://b\n",
                 "t.ini:6: [redis] url: the urls are of different "
                 "kinds; ");
    expect_error(SENTINEL "sentinel_name = m\nurl = redis://a\nurl = unix:/b\n", "of different kinds");
    expect_error(SENTINEL "sentinel_name = m\nurl = redis://a\nurl = redis://b/1\n", "different databases");
    expect_error(CLUSTER "url = redis://a\nurl = redis://b\nurl = redis://a:6379\n",
                 "t.ini:7: [redis] url: the server was already named");
    expect_error(CLUSTER "url = redis://u:p@a\nurl = redis://b\nurl = redis://u:q@c\n",
                 "t.ini:7: [redis] url: the urls have different users or passwords");
    expect_error(CLUSTER "url = redis://u:p@a\nurl = redis://v:p@b\n", "different users or passwords");
    char text[2000] = CLUSTER;
    for (int i = 0; i < 17; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "url = redis://127.0.0.1:%d\n", i + 1);
    expect_error(text, "t.ini:21: [redis] url: this is one url too many; write at most 16");
}

static void test_modes(void **state)
{
    UNUSED(state);
    expect_error(SENTINEL "sentinel_name = m\n", "t.ini:4: [redis] mode: the Sentinels are not named; ");
    expect_error(SENTINEL "url = redis://127.0.0.1\n", "t.ini:4: [redis] mode: the master is not named; ");
    expect_error(CLUSTER "url = redis://127.0.0.1/1\n",
                 "t.ini:5: [redis] url: a Cluster has database 0 only");
    expect_error(CLUSTER "url = unix:/x\n", "reached over the network; ");
    expect_error(REDIS "tls_ca = /x.pem\n", "t.ini:4: [redis] tls_ca: no url begins with rediss://");
    expect_warning(REDIS "sentinel_name = m\n",
                   "t.ini:4: [redis] sentinel_name: it means nothing without mode = sentinel");
    config_unref(load_ok(CLUSTER "url = redis://127.0.0.1/0\n"));
    config_unref(load_ok(CLUSTER));
}

static void test_a_shared_store_takes_redis(void **state)
{
    UNUSED(state);
    expect_error(APP "[cache]\nstore = tiered\n",
                 "[cache] store: tiered is memory in front of Redis, and there is no [redis]; ");
    struct config *c = load_ok(REDIS "[cache]\nstore = tiered\n");
    assert_int_equal(c->cache.store, CONFIG_STORE_TIERED);
    config_unref(c);
    expect_error(APP "[cache]\nstore = redis\n",
                 "[cache] store: responses are to be kept in Redis, and there is no [redis]; ");
    c = load_ok(REDIS "[cache]\nstore = redis\n");
    assert_int_equal(c->cache.store, CONFIG_STORE_REDIS);
    config_unref(c);
}

static void test_logins(void **state)
{
    UNUSED(state);
    expect_error(REDIS "username = u\n", "t.ini:4: [redis] username: the user has no password; ");
    expect_error(REDIS "url = redis://u@a\n", "t.ini:4: [redis] url: the user has no password; ");
    expect_error(REDIS "url = redis://u:p@a\nusername = u\n",
                 "t.ini:5: [redis] username: the url names a user");
    expect_error(REDIS "url = redis://:p@a\npassword = p\n",
                 "t.ini:5: [redis] password: the url has a password");
    expect_error(SENTINEL "sentinel_name = m\nurl = redis://u@a\n",
                 "the user of the Sentinels has no password");
    expect_error(SENTINEL "sentinel_name = m\nurl = redis://:p@a\nusername = u\n",
                 "the user has no password; ");
    config_unref(load_ok(SENTINEL "sentinel_name = m\nurl = redis://u:p@a\nusername = v\npassword = q\n"));
}

static size_t warnings_of(const char *text, const char *part)
{
    struct config_problems p;
    struct config *c = config_load_text("t.ini", text, strlen(text), &p);
    if (c == NULL)
        print_problems(&p);
    assert_non_null(c);
    size_t n = count_containing(&p, part);
    config_problems_free(&p);
    config_unref(c);
    return n;
}

static void test_warnings(void **state)
{
    static const char clear[] = "unencrypted; write rediss://";
    UNUSED(state);
    assert_int_equal(warnings_of(REDIS, "t.ini:3: [redis]: store = memory keeps nothing in Redis"), 1);
    assert_int_equal(warnings_of(REDIS "[cache]\nstore = tiered\n", "keeps nothing in Redis"), 0);
    assert_int_equal(warnings_of(REDIS "[cache]\nstore = redis\n", "keeps nothing in Redis"), 0);
    assert_int_equal(warnings_of(REDIS "[cache]\nstore = off\n", "[redis]: store = off keeps nothing"), 1);
    assert_int_equal(warnings_of(REDIS "url = redis://:secret@redis.example\n", clear), 1);
    assert_int_equal(warnings_of(REDIS "url = redis://10.0.0.1\npassword = secret\n",
                                 "t.ini:4: [redis] url: the password goes to 10.0.0.1 unencrypted"),
                     1);
    assert_int_equal(warnings_of(REDIS "url = redis://[2001:db8::1]\npassword = secret\n", clear), 1);
    assert_int_equal(warnings_of(CLUSTER "url = redis://:s@127.0.0.1\nurl = redis://10.0.0.1\n", clear), 1);
    static const char *const fine[] = {"127.0.0.1", "127.8.8.8:1", "[::1]:6379", "localhost:6379"};
    for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
        char text[200];
        snprintf(text, sizeof text, REDIS "url = redis://:secret@%s\n", fine[i]);
        assert_int_equal(warnings_of(text, clear), 0);
    }
    assert_int_equal(warnings_of(REDIS "url = redis://redis.example\n", clear), 0);
    assert_int_equal(warnings_of(REDIS "url = rediss://:secret@redis.example\n", clear), 0);
    assert_int_equal(warnings_of(REDIS "url = unix:/x\npassword = secret\n", clear), 0);
    assert_int_equal(warnings_of(SENTINEL "sentinel_name = m\nurl = redis://:secret@127.0.0.1\n",
                                 "[redis] url: the password in it is for the Sentinels"),
                     1);
    assert_int_equal(warnings_of(REDIS "max_object_size = 65M\n", "it is larger than max_object_size of"), 1);
    assert_int_equal(warnings_of(REDIS "max_object_size = 64M\n", "it is larger than max_object_size of"), 0);
}

/* Whatever is wrong, nothing of a url or password is said. */
static void test_secrets_stay_secret(void **state)
{
    static const char *const lines[] = {
        "url = redis://u:SECRET@a/x\n",
        "url = redis://u:SECRET@a:x\n",
        "url = redis://u:SEC/SECRET@a\n",
        "url = redis://u:SECRET@b@a\n",
        "url = redis://SECRET:6379x\n",
        "url = SECRET\n",
        "url = redis://u:%SECRET@a\n",
        "url = redis://u:SECRET@a\nurl = redis://u:SECRET@b\n",
        "mode = cluster\nurl = redis://u:SECRET@a\nurl = redis://u:SECRET2@b\n",
        "mode = cluster\nurl = redis://u:SECRET@a/1\n",
        "mode = sentinel\nurl = redis://u:SECRET@a\n",
        "url = redis://u:SECRET@redis.example\n",
        "url = redis://:SECRET@a\npassword = SECRET\n",
        "password = SECRET\npassword = SECRET\n",
        "password = SECRET\nmode = SECRE\n",
        "pasword = SECRET\n",
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        char text[400];
        struct config_problems p;
        snprintf(text, sizeof text, REDIS "%s", lines[i]);
        struct config *c = config_load_text("t.ini", text, strlen(text), &p);
        assert_true(p.count > 0);
        if (count_containing(&p, "SECRET") != 0) {
            print_problems(&p);
            fail_msg("shown: %s", lines[i]);
        }
        config_problems_free(&p);
        if (c != NULL)
            config_unref(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_urls_together),
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_a_shared_store_takes_redis),
        cmocka_unit_test(test_logins),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_secrets_stay_secret),
    };
    return cmocka_run_group_tests_name("config/check_redis", tests, NULL, NULL);
}
