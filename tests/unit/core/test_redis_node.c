/* test_redis_node.c: a node against a real redis-server that is killed, frozen, started anew, behind a link
 * that is cut, stalled and slow, behind TLS and a password, and behind names that change. */
#include "core/redis_node.h"

#include <openssl/ssl.h>

#include "tests/unit/core/fake_dns.h"
#include "tests/unit/core/redis_fixture.h"

static struct redis_login login;
static struct redis_node *node;
static int ups, downs;
static char reason[REDIS_REASON_TEXT];

static void on_up(void *arg)
{
    UNUSED(arg);
    ups++;
}

static void on_down(void *arg, const char *why)
{
    UNUSED(arg);
    snprintf(reason, sizeof reason, "%s", why);
    downs++;
}

static int setup(void **state)
{
    int rc = support_setup(state);
    login = (struct redis_login){0};
    ups = downs = 0;
    fake_dns_clear();
    worker_setup();
    return rc;
}

static int teardown(void **state)
{
    redis_node_close(&node);
    worker_teardown();
    SSL_CTX_free(login.tls);
    return support_teardown(state);
}

static void open_node(const char *server, struct redis_node_settings s)
{
    s.limits.connections = s.limits.connections > 0 ? s.limits.connections : 2;
    s.limits.calls_max = s.limits.calls_max > 0 ? s.limits.calls_max : 1000;
    s.limits.timeout_ms = s.limits.timeout_ms > 0 ? s.limits.timeout_ms : 60000;
    s.limits.connect_timeout_ms = 60000;
    s.login = &login;
    s.on_up = on_up;
    s.on_down = on_down;
    worker_refresh_clock(w);
    node = redis_node_open(w, slice_str(server), &s);
    assert_non_null(node);
}

static unsigned connected(void)
{
    return redis_node_get_figures(node).connected;
}

static bool ask(struct asked *a, const char *verb, const char *key)
{
    const slice_t argv[] = {slice_str(verb), slice_str(key), SLICE_LIT("0")};
    *a = (struct asked){.call.on_reply = asked_on_reply};
    return redis_node_call(node, &a->call, argv, strcmp(verb, "GET") == 0 ? 2 : 3);
}

static const char *get(const char *key)
{
    static struct asked a;
    assert_true(ask(&a, "GET", key));
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    return a.text;
}

static void comes_up_when_the_server_does(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    redis_do(p, "SET k v");
    redis_save(p);
    redis_kill(p);
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_get_figures(node).reconnects >= 2);
    assert_false(ask(&a, "GET", "k"));
    redis_restart(p, false);
    UNTIL(redis_node_is_up(node));
    assert_int_equal(ups, 1);
    assert_string_equal(get("k"), "v");
    struct redis_node_figures f = redis_node_get_figures(node);
    assert_int_equal(f.calls, 1);
    assert_int_equal(f.refused_at_once, 1);
    assert_int_equal(f.outcomes[REDIS_ANSWERED], 1);
    assert_string_equal(f.server, p->address);
    UNTIL(connected() == 2);
    redis_kill(p);
    UNTIL(!redis_node_is_up(node));
    redis_restart(p, true);
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("k"), "");
}

static void killed_server_is_found_again(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->unix_address, (struct redis_node_settings){0});
    UNTIL(connected() == 2);
    assert_true(ask(&a, "BLPOP", "never"));
    redis_kill(p);
    UNTIL(a.ended && !redis_node_is_up(node));
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(downs, 1);
    assert_true(reason[0] != '\0');
    redis_restart(p, true);
    UNTIL(connected() == 2);
    assert_int_equal(ups, 2);
}

static void breaker_opens_on_a_server_that_hangs(void **state)
{
    UNUSED(state);
    static struct asked a[REDIS_FAILURES_MAX], more;
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address, (struct redis_node_settings){.limits.timeout_ms = 200});
    UNTIL(connected() == 2);
    redis_freeze(p);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_true(ask(&a[i], "GET", "k"));
    UNTIL(!redis_node_is_up(node));
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_int_equal(a[i].outcome, REDIS_TIMEOUT);
    assert_int_equal(downs, 1);
    assert_false(ask(&more, "GET", "k"));
    UNTIL(redis_node_get_figures(node).breaks >= 3); /* trials fail as well */
    redis_thaw(p);
    UNTIL(redis_node_is_up(node));
    assert_int_equal(ups, 2);
    assert_string_equal(get("k"), "");
}

/* A new connection closes the breaker: the trial that was due is none of its business any more. */
static void breaker_that_was_closed_tries_nothing(void **state)
{
    UNUSED(state);
    static struct asked a[REDIS_FAILURES_MAX];
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address,
              (struct redis_node_settings){.limits = {.timeout_ms = 20, .stall_timeout_ms = 100}});
    UNTIL(connected() == 2);
    redis_freeze(p);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_true(ask(&a[i], "GET", "k"));
    UNTIL(connected() == 0 && redis_node_get_figures(node).breaks >= 5);
    redis_thaw(p);
    UNTIL(redis_node_is_up(node));
    mono_ms_t later_ms = clock_mono_ms() + 32 * REDIS_PAUSE_FIRST_MS; /* more than the pause that was begun */
    while (clock_mono_ms() < later_ms) {
        turn();
        assert_true(redis_node_is_up(node));
    }
}

static void closing_ends_what_is_under_way(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_is_up(node));
    assert_true(ask(&a, "BLPOP", "never"));
    redis_node_close(&node);
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(downs, 0);
}

static void cancelled_call_is_not_heard_of(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address, (struct redis_node_settings){.limits.connections = 1});
    UNTIL(redis_node_is_up(node));
    assert_true(ask(&a, "GET", "k"));
    redis_call_cancel(&a.call);
    assert_int_equal(redis_node_load(node), 1); /* the answer still comes */
    assert_string_equal(get("k"), "");
    assert_int_equal(a.ended, 0);
    assert_int_equal(redis_node_load(node), 0);
}

static void calls_under_way_are_limited(void **state)
{
    UNUSED(state);
    static struct asked a[3];
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address, (struct redis_node_settings){.limits.calls_max = 2});
    UNTIL(connected() == 2);
    redis_freeze(p);
    assert_true(ask(&a[0], "GET", "k") && ask(&a[1], "GET", "k"));
    assert_false(ask(&a[2], "GET", "k"));
    redis_thaw(p);
    UNTIL(a[0].ended && a[1].ended);
    assert_true(ask(&a[2], "GET", "k"));
    UNTIL(a[2].ended);
}

/* A plain call takes the connection with less to do. */
static void call_behind_another_takes_its_connection(void **state)
{
    UNUSED(state);
    static struct asked first, second, third;
    struct redis_process *p = redis_start("r", NULL);
    open_node(p->address, (struct redis_node_settings){.limits.connections = 2});
    UNTIL(connected() == 2);
    assert_true(ask(&first, "SET", "key"));
    const slice_t argv[] = {SLICE_LIT("GET"), SLICE_LIT("key")};
    second = (struct asked){.call.on_reply = asked_on_reply};
    assert_true(redis_node_call_behind(node, &second.call, &first.call, argv, ARRAY_LEN(argv)));
    assert_true(ask(&third, "GET", "key"));
    assert_ptr_equal(second.call.conn, first.call.conn);
    assert_ptr_not_equal(third.call.conn, first.call.conn);
    UNTIL(first.ended && second.ended && third.ended);
    assert_string_equal(second.text, "0");
    assert_int_equal(redis_node_get_figures(node).calls, 3);
}

static void call_may_take_its_own_time(void **state)
{
    UNUSED(state);
    static struct asked a;
    const slice_t block[] = {SLICE_LIT("BLPOP"), SLICE_LIT("list"), SLICE_LIT("0")};
    struct redis_process *p = redis_start("one", NULL);
    open_node(p->address,
              (struct redis_node_settings){.limits = {.timeout_ms = 1, .stall_timeout_ms = 60000}});
    UNTIL(redis_node_is_up(node));
    a = (struct asked){.call = {.on_reply = asked_on_reply, .timeout_ms = 60000}};
    assert_true(redis_node_call(node, &a.call, block, 3));
    UNTIL(strstr(redis_do(p, "INFO clients"), "blocked_clients:1") != NULL);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(a.ended, 0);
    redis_do(p, "RPUSH list element");
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_ANSWERED);
}

static void cut_link_is_found_again(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = relay_start(p->port);
    open_node(relay_address(link), (struct redis_node_settings){0});
    UNTIL(connected() == 2);
    assert_int_equal(relay_connections(link), 2);
    assert_true(ask(&a, "BLPOP", "never"));
    relay_cut(link);
    UNTIL(a.ended && !redis_node_is_up(node));
    assert_int_equal(a.outcome, REDIS_LOST);
    UNTIL(redis_node_get_figures(node).reconnects > 4);
    relay_heal(link);
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("k"), "");
}

/* Neither end hears of it: only the silence tells. */
static void stalled_link_is_given_up(void **state)
{
    UNUSED(state);
    static struct asked a;
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = relay_start(p->port);
    open_node(relay_address(link),
              (struct redis_node_settings){.limits = {.connections = 1, .stall_timeout_ms = 100}});
    UNTIL(connected() == 1);
    relay_stall(link);
    assert_true(ask(&a, "GET", "k"));
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_TIMEOUT);
    assert_false(redis_node_is_up(node));
    assert_string_equal(reason, "the server does not answer");
    relay_heal(link);
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("k"), "");
}

static void slow_link_brings_everything(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = relay_start(p->port);
    redis_do(p, "SET long %s", text_repeat('x', 100));
    relay_slow(link, 7);
    open_node(relay_address(link), (struct redis_node_settings){.limits.stall_timeout_ms = 60000});
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("long"), text_repeat('x', 100));
}

static void logs_in_over_tls(void **state)
{
    UNUSED(state);
    struct redis_process *p =
        redis_start("one", &(struct redis_server_options){.user = "pond", .password = "secret", .tls = true});
    login = (struct redis_login){.tls = SSL_CTX_new(TLS_client_method()),
                                 .username = SLICE_LIT("pond"),
                                 .password = SLICE_LIT("secret"),
                                 .database = 3};
    assert_true(SSL_CTX_load_verify_locations(login.tls, redis_tls_file(), NULL));
    redis_do(p, "SELECT 3");
    redis_do(p, "SET k in-three");
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("k"), "in-three");
    redis_node_close(&node);
    fake_dns_set("localhost", "127.0.0.1", NULL, NULL);
    open_node(textf("localhost:%u", p->port), (struct redis_node_settings){0});
    UNTIL(redis_node_is_up(node));
    redis_node_close(&node);
    login.tls_name = "elsewhere.test";
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_get_figures(node).reconnects >= 2);
    expect_in(redis_node_get_figures(node).last_reason, "certificate verify failed");
    assert_int_equal(ups, 2);
}

static void large_values_pass(void **state)
{
    UNUSED(state);
    static struct asked a[2];
    char *large = text_repeat('x', MB);
    const slice_t set[] = {SLICE_LIT("SET"), SLICE_LIT("large"), slice_make(large, MB)};
    for (int tls = 0; tls < 2; tls++) {
        struct redis_process *p =
            redis_start(tls ? "with-tls" : "plain", &(struct redis_server_options){.tls = tls != 0});
        if (tls) {
            login.tls = SSL_CTX_new(TLS_client_method());
            assert_true(SSL_CTX_load_verify_locations(login.tls, redis_tls_file(), NULL));
        }
        open_node(p->address, (struct redis_node_settings){.limits.connections = 1});
        UNTIL(redis_node_is_up(node));
        a[0] = (struct asked){.call.on_reply = asked_on_reply};
        assert_true(redis_node_call(node, &a[0].call, set, 3));
        assert_true(ask(&a[1], "GET", "large"));
        UNTIL(a[1].ended);
        assert_string_equal(a[0].text, "OK");
        assert_int_equal(a[1].bytes, MB);
        assert_int_equal(strspn(redis_do(p, "GET large"), "x"), MB);
        redis_node_close(&node);
    }
}

static void unknown_authority_is_not_believed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.tls = true});
    login.tls = SSL_CTX_new(TLS_client_method());
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_get_figures(node).reconnects >= 2);
    expect_in(redis_node_get_figures(node).last_reason, "certificate verify failed");
    assert_int_equal(ups, 0);
}

static void wrong_password_is_told(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.password = "secret"});
    login.password = SLICE_LIT("guess");
    open_node(p->address, (struct redis_node_settings){0});
    UNTIL(redis_node_get_figures(node).reconnects >= 2);
    expect_in(redis_node_get_figures(node).last_reason, "WRONGPASS");
    assert_int_equal(ups, 0);
}

static void replica_is_not_taken_for_a_master(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    redis_do(p, "REPLICAOF 127.0.0.1 1");
    open_node(p->address, (struct redis_node_settings){.master_only = true});
    UNTIL(redis_node_get_figures(node).reconnects >= 4);
    assert_string_equal(redis_node_get_figures(node).last_reason, "the server is not a master");
    assert_int_equal(ups, 0);
    redis_do(p, "REPLICAOF NO ONE");
    UNTIL(redis_node_is_up(node));
}

static void name_is_looked_up_anew(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    open_node(textf("redis.test:%u", p->port), (struct redis_node_settings){0});
    UNTIL(redis_node_get_figures(node).reconnects >= 2); /* there is no such name */
    assert_true(redis_node_get_figures(node).last_reason[0] != '\0');
    fake_dns_set("redis.test", "127.0.0.2", NULL, NULL); /* nobody listens there */
    UNTIL(strcmp(redis_node_get_figures(node).last_reason, "Connection refused") == 0);
    fake_dns_set("redis.test", "127.0.0.2", "127.0.0.1", NULL);
    UNTIL(redis_node_is_up(node));
    assert_string_equal(get("k"), "");
}

static void slow_name_service_blocks_nobody(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    fake_dns_set("redis.test", "127.0.0.1", NULL, NULL);
    fake_dns_hold("redis.test", true);
    open_node(textf("redis.test:%u", p->port), (struct redis_node_settings){.limits.connections = 4});
    fake_dns_wait_for_lookup("redis.test", 1);
    for (int i = 0; i < 20; i++)
        turn();
    assert_int_equal(fake_dns_lookups("redis.test"), 1); /* for all connections */
    fake_dns_hold("redis.test", false);
    UNTIL(connected() == 4);
    redis_node_close(&node);
    fake_dns_hold("redis.test", true);
    open_node(textf("redis.test:%u", p->port), (struct redis_node_settings){0});
    fake_dns_wait_for_lookup("redis.test", 2);
    redis_node_close(&node); /* while it is being looked up */
    fake_dns_hold("redis.test", false);
}

static void servers_are_checked(void **state)
{
    UNUSED(state);
    static const char *const good[] = {"127.0.0.1:6379", "[::1]:6379", "redis.example.com:6379",
                                       "unix:/run/redis"};
    static const char *const bad[] = {
        "", "redis", ":", "redis:", "redis:0", "redis:65536", "::1:6379", "unix:", "redis.example.com:x"};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(redis_server_is_valid(slice_str(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(redis_server_is_valid(slice_str(bad[i])));
    assert_false(redis_server_is_valid(slice_make("redis\0:1", 8)));
    assert_false(redis_server_is_valid(slice_str(textf("%s:1", text_repeat('x', REDIS_SERVER_TEXT)))));
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(comes_up_when_the_server_does),
        TEST_OF(killed_server_is_found_again),
        TEST_OF(breaker_opens_on_a_server_that_hangs),
        TEST_OF(breaker_that_was_closed_tries_nothing),
        TEST_OF(closing_ends_what_is_under_way),
        TEST_OF(cancelled_call_is_not_heard_of),
        TEST_OF(calls_under_way_are_limited),
        TEST_OF(call_behind_another_takes_its_connection),
        TEST_OF(call_may_take_its_own_time),
        TEST_OF(cut_link_is_found_again),
        TEST_OF(stalled_link_is_given_up),
        TEST_OF(slow_link_brings_everything),
        TEST_OF(logs_in_over_tls),
        TEST_OF(large_values_pass),
        TEST_OF(unknown_authority_is_not_believed),
        TEST_OF(wrong_password_is_told),
        TEST_OF(replica_is_not_taken_for_a_master),
        TEST_OF(name_is_looked_up_anew),
        TEST_OF(slow_name_service_blocks_nobody),
        TEST_OF(servers_are_checked),
    };
    return E2E_RUN("redis_node", tests);
}
