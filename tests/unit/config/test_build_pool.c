/* test_build_pool.c: servers and the other values that only [pool] has. */
#include "config_test.h"

static void test_names(void **state)
{
    UNUSED(state);
    struct config *c = load_ok("[pool a]\nserver = x.example:80\nserver = y.example:80 resolve=one\n"
                               "server = z.example:80 resolve=all\nresolver = 10.0.0.2\n"
                               "resolver = 127.0.0.1:5353\nresolver = ::1\nresolver = [::1]:54\n");
    static const char *const wanted[] = {"10.0.0.2:53", "127.0.0.1:5353", "[::1]:53", "[::1]:54"};
    const struct config_pool *p = &c->pools[0];
    assert_false(p->servers[0].resolve_one);
    assert_true(p->servers[1].resolve_one);
    assert_false(p->servers[2].resolve_one);
    assert_int_equal(p->resolvers.count, ARRAY_LEN(wanted));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        char text[NET_ADDR_TEXT];
        net_addr_format(&p->resolvers.items[i], text);
        assert_string_equal(text, wanted[i]);
    }
    config_unref(c);
    static const char *const wrong[] = {"ns.example", "ns.example:53", "10.0.0.2:0",
                                        ":53",        "unix:/run/ns",  "10.0.0.2, 10.0.0.3"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char text[200];
        snprintf(text, sizeof text, "[pool a]\nserver = a:1\nresolver = %s\n", wrong[i]);
        expect_error(text, "is no name server; write its numeric address, such as 10.0.0.2");
    }
    expect_error("[pool a]\nserver = a:1\nresolver = ::1\nresolver = ::2\nresolver = ::3\nresolver = ::4\n"
                 "resolver = ::5\nresolver = ::6\nresolver = ::7\nresolver = ::8\nresolver = ::9\n",
                 "there may be 8 name servers at most");
}

static void test_members(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(
        "[pool a]\nserver = x.example:80 weight=0 backup name=one\n"
        "server =   [::1]:81\nserver = unix:/run/app.sock weight=1000\n"
        "health_check = off\nhealth_path = /up\nhealth_host = h\nhealth_status = 200, 204\n"
        "health_status = 300-302\nhealth_interval = 5s\nhealth_timeout = 2s\nhealth_rise = 4\n"
        "health_fall = 5\nconnect_timeout = 6s\nresponse_timeout = 7s\nidle_timeout = 8s\n"
        "retries = 9\nretry_budget = 10%\nretry_on = reset\nretry_on = 503, 504\nmax_idle = 11\n"
        "send_proxy_protocol = v1\ntls = yes\ntls_verify = no\ntls_ca = /ca.pem\ntls_sni = b.example\n"
        "health_body = it is up\n");
    const struct config_pool *p = &c->pools[0];
    assert_string_equal(p->name, "a");
    assert_int_equal(p->origin.line, 1);
    assert_int_equal(p->server_count, 3);
    const struct config_server *s = p->servers;
    assert_string_equal(s[0].name, "one");
    assert_string_equal(s[0].address, "x.example:80");
    assert_string_equal(s[0].host, "x.example");
    assert_int_equal(s[0].origin.line, 2);
    assert_true(s[0].backup);
    assert_int_equal(s[0].weight, 0);
    assert_string_equal(s[1].name, "[::1]:81");
    assert_string_equal(s[1].host, "[::1]");
    assert_int_equal(s[1].weight, 1);
    assert_false(s[1].backup);
    assert_string_equal(s[2].host, "localhost");
    assert_int_equal(s[2].weight, 1000);
    assert_int_equal(p->balance, CONFIG_BALANCE_ROUND_ROBIN);
    assert_int_equal(p->health, CONFIG_HEALTH_OFF);
    assert_string_equal(p->health_path, "/up");
    assert_string_equal(p->health_host, "h");
    assert_string_equal(p->health_body, "it is up");
    assert_int_equal(p->health_status_count, 3);
    assert_true(p->health_status[1].from == 204 && p->health_status[1].to == 204);
    assert_true(p->health_status[2].from == 300 && p->health_status[2].to == 302);
    assert_int_equal(p->health_interval_ms, 5000);
    assert_int_equal(p->health_timeout_ms, 2000);
    assert_int_equal(p->health_rise, 4);
    assert_int_equal(p->health_fall, 5);
    assert_int_equal(p->connect_timeout_ms, 6000);
    assert_int_equal(p->response_timeout_ms, 7000);
    assert_int_equal(p->idle_timeout_ms, 8000);
    assert_int_equal(p->retries, 9);
    assert_int_equal(p->retry_budget_percent, 10);
    assert_int_equal(p->retry_on, CONFIG_RETRY_RESET | CONFIG_RETRY_503 | CONFIG_RETRY_504);
    assert_int_equal(p->max_idle, 11);
    assert_int_equal(p->send_proxy_protocol, PROXY_HEADER_V1);
    assert_true(p->tls);
    assert_false(p->tls_verify);
    assert_string_equal(p->tls_ca, "/ca.pem");
    assert_string_equal(p->tls_sni, "b.example");
    assert_int_equal(config_pool_origin(c, p, "tls_ca").line, 25);
    assert_int_equal(config_pool_origin(c, p, "balance").line, 1);
    config_unref(c);
}

static void test_protocol(void **state)
{
    UNUSED(state);
    struct config *c = load_ok("[pool a]\nserver = x.example:80\nprotocol = h2\n[pool b]\nserver = y:1\n");
    assert_int_equal(c->pools[0].protocol, CONFIG_UPSTREAM_H2);
    assert_true(c->pools[0].prefaced);
    assert_int_equal(c->pools[1].protocol, CONFIG_UPSTREAM_HTTP_1);
    assert_false(c->pools[1].prefaced);
    config_unref(c);
}

static void test_balance(void **state)
{
    static const struct {
        const char *text;
        enum config_balance balance;
        enum config_hash_on on;
        const char *name;
    } cases[] = {
        {"", CONFIG_BALANCE_ROUND_ROBIN, CONFIG_HASH_ON_NOTHING, ""},
        {"balance = least_connections\n", CONFIG_BALANCE_LEAST_CONNECTIONS, CONFIG_HASH_ON_NOTHING, ""},
        {"balance = two_choices\n", CONFIG_BALANCE_TWO_CHOICES, CONFIG_HASH_ON_NOTHING, ""},
        {"balance = hash\nhash_on = client_ip\n", CONFIG_BALANCE_HASH, CONFIG_HASH_ON_CLIENT_IP, ""},
        {"balance = hash\nhash_on = path\n", CONFIG_BALANCE_HASH, CONFIG_HASH_ON_PATH, ""},
        {"balance = hash\nhash_on = header:X-User\n", CONFIG_BALANCE_HASH, CONFIG_HASH_ON_HEADER, "X-User"},
        {"balance = hash\nhash_on = cookie:sid\n", CONFIG_BALANCE_HASH, CONFIG_HASH_ON_COOKIE, "sid"},
    };
    char text[256];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        snprintf(text, sizeof text, APP "%s", cases[i].text);
        struct config *c = load_ok(text);
        assert_int_equal(c->pools[0].balance, cases[i].balance);
        assert_int_equal(c->pools[0].hash_on, cases[i].on);
        assert_string_equal(c->pools[0].hash_name, cases[i].name);
        assert_string_equal(c->pools[0].sticky_cookie, "");
        config_unref(c);
    }
}

static void test_staying_in_use(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "");
    assert_int_equal(c->pools[0].eject_errors, 5);
    assert_int_equal(c->pools[0].eject_time_ms, 10000);
    assert_int_equal(c->pools[0].eject_max_percent, 50);
    assert_int_equal(c->pools[0].slow_start_ms, 0);
    config_unref(c);
    c = load_ok(APP "eject_errors = 7\neject_time = 2s\neject_max = 30%\nslow_start = 1m\n"
                    "sticky_cookie = srv\n");
    assert_int_equal(c->pools[0].eject_errors, 7);
    assert_int_equal(c->pools[0].eject_time_ms, 2000);
    assert_int_equal(c->pools[0].eject_max_percent, 30);
    assert_int_equal(c->pools[0].slow_start_ms, 60000);
    assert_string_equal(c->pools[0].sticky_cookie, "srv");
    config_unref(c);
}

static void test_limits(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "server = b:1 max_connections=7\n");
    assert_int_equal(c->pools[0].servers[0].max_connections, 0);
    assert_int_equal(c->pools[0].servers[1].max_connections, 7);
    assert_int_equal(c->pools[0].queue, 1000);
    assert_int_equal(c->pools[0].queue_timeout_ms, 5000);
    config_unref(c);
    c = load_ok(APP "queue = 3\nqueue_timeout = 2s\nqueue_target = 50ms\n");
    assert_int_equal(c->pools[0].queue, 3);
    assert_int_equal(c->pools[0].queue_timeout_ms, 2000);
    assert_int_equal(c->pools[0].queue_target_ms, 50);
    config_unref(c);
}

static void test_many_servers_keep_their_order(void **state)
{
    char text[8192], name[32];
    size_t len = (size_t)snprintf(text, sizeof text, "[pool a]\n");
    UNUSED(state);
    for (int i = 1; i <= 100; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "server = 10.0.0.%d:80\n", i);
    struct config *c = load_ok(text);
    assert_int_equal(c->pools[0].server_count, 100);
    for (int i = 1; i <= 100; i++) {
        snprintf(name, sizeof name, "10.0.0.%d:80", i);
        assert_string_equal(c->pools[0].servers[i - 1].name, name);
    }
    config_unref(c);
}

static void test_bad_servers(void **state)
{
    static const struct {
        const char *value, *part;
    } bad[] = {
        {"a:1 max_connections=", "is no limit; write a number from 0 (none) to 1000000"},
        {"a:1 max_connections=-1", "is no limit"},
        {"a:1 max_connections=1000001", "is no limit"},
        {"a:1 max_connections", "there are weight=1, backup, max_connections=0"},
        {"a:1 wieght=5", "did you mean \"weight\"?"},
        {"a:1 weight=", "is not a weight"},
        {"a:1 weight=-1", "is not a weight"},
        {"a:1 weight=1001", "0 to 1000"},
        {"a:1 weight", "there are weight=1"},
        {"a:1 name=", "is not a name"},
        {"a:1 name=x/y", "is not a name"},
        {"a:1 resolve=two", "resolve=two is not known; write all or one"},
        {"a:1 resolve", "there is no \"resolve\" for a server"},
        {"a:1 zone=a", "zone= is not supported by this version of millpond yet"},
        {"a:1 backup=yes", "there are weight=1, backup"},
        {"a:1 b:2", "looks like a second server"},
        {"a:1, b:2", "a comma follows the address"},
        {"http://a:1", "is a URL"},
        {"a:1 colour=red", "there is no \"colour=red\""},
    };
    char text[256];
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(text, sizeof text, "[pool app]\nserver = %s\n", bad[i].value);
        expect_error(text, bad[i].part);
        expect_error(text, "t.ini:2: [pool app] server: ");
    }
}

static void test_duplicate_names(void **state)
{
    UNUSED(state);
    expect_error(APP "server = 127.0.0.1:3001\n",
                 "t.ini:3: [pool app] server: the server \"127.0.0.1:3001\" is already there, on line 2");
    expect_error("[pool p]\nserver = a:1 name=x\nserver = b:1 name=x\n", "give one of them another name=");
    config_unref(load_ok(APP "server = 127.0.0.1:3001 name=second\n"));
    config_unref(load_ok(APP "[pool b]\nserver = 127.0.0.1:3001\n"));
}

static void test_retry_on_off(void **state)
{
    UNUSED(state);
    struct config *c = load_ok(APP "retry_on = off\n");
    assert_int_equal(c->pools[0].retry_on, 0);
    config_unref(c);
    expect_error(APP "retry_on = connect, off\n", "write it alone");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_balance),
        cmocka_unit_test(test_staying_in_use),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_many_servers_keep_their_order),
        cmocka_unit_test(test_bad_servers),
        cmocka_unit_test(test_duplicate_names),
        cmocka_unit_test(test_retry_on_off),
    };
    return cmocka_run_group_tests_name("config/build_pool", tests, NULL, NULL);
}
