/* rate_limit_shared.c: a rate_limit that two nodes count together in Redis, and that whatever becomes of
 * Redis no request fails: then each node's own count stands. Limits give one request an hour back, so that no
 * time that passes in a test counts. */
#include "tests/support/millpond.h"
#include "tests/support/redis.h"

#define WORKERS 2
#define PATIENT "timeout = 30s\n"

/* Until that many workers have all their connections, and the others none. */
static void wait_until_up(struct millpond *m, int workers)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *servers = json_object_get(json_object_get(millpond_status(m), "redis"), "servers");
        json_t *s = json_array_get(servers, 0);
        if (json_integer_value(json_object_get(s, "connections")) == 2 * workers &&
            json_integer_value(json_object_get(s, "workers_up")) == workers)
            return;
        EXPECT(clock_mono_ms() < until_ms, "not %d workers are up: %s", workers, json_dumps(servers, 0));
    }
}

static void wait_until_connected(struct millpond *m)
{
    wait_until_up(m, WORKERS);
}

/* Up. `lines` go on behind [redis]. */
static struct millpond *node(const char *name, struct redis_process *p, const char *limit, const char *lines)
{
    struct millpond *m =
        millpond_start(.name = name, .main = textf("workers = %d\ntrusted_proxies = 127.0.0.1", WORKERS),
                       .cache = "store = off",
                       .rest = textf(
                           "[redis]\nurl = redis://%s\n%s[route web]\nrespond = 200 ok\nrate_limit = %s\n",
                           p->address, lines, limit));
    wait_until_connected(m);
    return m;
}

/* How many of `n` requests pass; all others must be answered 429. */
static unsigned passing(struct millpond *m, unsigned n, const char *client)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct message *r = client_get(m->port, "/", textf("X-Forwarded-For: %s\r\n", client));
        EXPECT(r->status == 200 || r->status == 429, "status %d", r->status);
        if (r->status == 429)
            assert_in_range(atoi(message_field(r, "Retry-After")), 3000, 3600);
        passed += r->status == 200;
    }
    return passed;
}

/* How many requests of limited routes came to that. */
static unsigned outcomes(struct millpond *m, const char *outcome)
{
    const char *line = textf("millpond_rate_limits_total{outcome=\"%s\"} ", outcome);
    const char *at = strstr(millpond_admin(m, "GET", "/metrics")->body, line);
    EXPECT(at != NULL, "%s", line);
    return (unsigned)strtoul(at + strlen(line), NULL, 10);
}

static void two_nodes_count_together(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = node("a", p, "1/h burst=5 shared", PATIENT),
                    *b = node("b", p, "1/h burst=5 shared", PATIENT);
    assert_int_equal(passing(a, 2, "192.0.2.1"), 2);
    assert_int_equal(passing(b, 2, "192.0.2.1"), 2);
    assert_int_equal(passing(a, 2, "192.0.2.1"), 1);
    assert_int_equal(passing(b, 3, "192.0.2.1"), 0);
    assert_int_equal(passing(b, 1, "192.0.2.2"), 1);
    json_t *line = millpond_access_line(b, "\"status\":429");
    assert_string_equal(json_string_value(json_object_get(line, "cache")), "limited");
    assert_int_equal(outcomes(a, "shared_passed"), 3);
    assert_int_equal(outcomes(b, "shared_passed"), 3);
    char *names = redis_do(p, "KEYS *");
    assert_int_equal(support_count(names, "millpond:limit:"), 2);
    expect_not_in(names, "192");
    assert_true(strtoll(redis_do(p, "PTTL %s", strtok(names, " ")), NULL, 10) > 0);
    millpond_stop(a);
    millpond_stop(b);
}

/* What Redis refused once, it is not asked again. */
static void who_is_over_costs_redis_nothing(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = node("a", p, "1/h burst=5 shared", PATIENT),
                    *b = node("b", p, "1/h burst=5 shared", PATIENT);
    assert_int_equal(passing(a, 5, "192.0.2.1"), 5);
    assert_int_equal(passing(a, 20, "192.0.2.1"), 0);
    assert_int_equal(passing(b, 20, "192.0.2.1"), 0);
    assert_int_equal(outcomes(a, "shared_over"), 0);
    assert_int_equal(outcomes(a, "over"), 20);
    assert_int_equal(outcomes(b, "shared_over"), 1);
    assert_int_equal(outcomes(b, "over"), 19);
    millpond_stop(a);
    millpond_stop(b);
}

/* From all sides at once: not one more than the limit. */
static void a_crowd_at_both_nodes_gets_the_burst_once(void **state)
{
    enum { CLIENTS = 30, EACH = 4 };
    UNUSED(state);
    struct client *clients[CLIENTS];
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *nodes[] = {node("a", p, "1/h burst=50 shared", PATIENT),
                                node("b", p, "1/h burst=50 shared", PATIENT)};
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_open(nodes[i % 2]->port);
    for (int k = 0; k < EACH; k++) {
        for (int i = 0; i < CLIENTS; i++)
            client_send(clients[i], "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    unsigned passed = 0;
    for (int i = 0; i < CLIENTS * EACH; i++) {
        const struct message *r = client_read(clients[i / EACH]);
        EXPECT(r->status == 200 || r->status == 429, "status %d", r->status);
        passed += r->status == 200;
    }
    assert_int_equal(passed, 50);
    millpond_stop(nodes[0]);
    millpond_stop(nodes[1]);
}

/* Each goes on with what it knows: its own, and what Redis said last. */
static void without_redis_each_node_counts_for_itself(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = node("a", p, "1/h burst=6 shared", PATIENT),
                    *b = node("b", p, "1/h burst=6 shared", PATIENT);
    assert_int_equal(passing(a, 2, "192.0.2.1"), 2);
    assert_int_equal(passing(b, 2, "192.0.2.1"), 2);
    redis_kill(p);
    assert_int_equal(passing(a, 9, "192.0.2.1"), 4);
    assert_int_equal(passing(b, 9, "192.0.2.1"), 2);
    assert_int_equal(passing(a, 9, "192.0.2.2"), 6);
    assert_int_equal(outcomes(a, "unavailable"), 10);
    wait_until_up(a, 0); /* the status knows of it a little later */
    wait_until_up(b, 0);
    redis_restart(p, true);
    wait_until_connected(a);
    wait_until_connected(b);
    assert_int_equal(passing(a, 4, "192.0.2.3"), 4);
    assert_int_equal(passing(b, 4, "192.0.2.3"), 2);
    assert_int_equal(passing(a, 4, "192.0.2.1"), 0); /* it has not forgotten, though Redis has */
    millpond_stop(a);
    millpond_stop(b);
}

static void a_redis_that_hangs_is_not_waited_for_long(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *m = node("a", p, "1/h burst=40 shared", "timeout = 200ms\n");
    redis_freeze(p);
    assert_int_equal(passing(m, 50, "192.0.2.1"), 40);
    const unsigned timeouts = outcomes(m, "timeout"), unavailable = outcomes(m, "unavailable");
    assert_true(timeouts > 0 && unavailable > 0); /* once it is known to hang, nobody waits */
    assert_int_equal(timeouts + unavailable, 40);
    assert_int_equal(outcomes(m, "over"), 10);
    redis_thaw(p);
    wait_until_connected(m);
    millpond_stop(m);
}

static void errors_of_redis_are_not_the_clients(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *m = node("a", p, "1/h burst=5 shared", PATIENT);
    assert_int_equal(passing(m, 1, "192.0.2.1"), 1);
    char *name = redis_do(p, "KEYS millpond:limit:*");
    redis_do(p, "DEL %s", name);
    redis_do(p, "LPUSH %s x", name);
    assert_int_equal(passing(m, 9, "192.0.2.1"), 4);
    assert_int_equal(outcomes(m, "refused"), 4);
    millpond_stop(m);
}

static void clients_that_leave_while_redis_is_asked(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *m = node("a", p, "1/h burst=5 shared", PATIENT);
    redis_freeze(p);
    struct client *c = client_open(m->port), *d = client_open(m->port);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client_send(d, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "requests_in_flight", 2);
    client_reset(c);
    millpond_wait_figure(m, "requests_in_flight", 1);
    redis_thaw(p);
    expect_status(client_read(d), 200);
    client_close(d);
    millpond_wait_idle(m);
    millpond_stop(m);
}

/* A request that waits for Redis holds nothing up. */
static void a_stop_ends_what_waits(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *m = node("a", p, "1/h burst=5 shared", PATIENT);
    redis_freeze(p);
    struct client *c = client_open(m->port);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "requests_in_flight", 1);
    millpond_stop(m); /* closes the client */
}

/* A key each, of all slots. */
static void in_a_cluster_too(void **state)
{
    UNUSED(state);
    struct redis_cluster_group g;
    redis_cluster_group_start(&g, false, 30000, NULL);
    const char *redis = textf("[redis]\nmode = cluster\nurl = redis://%s\n" PATIENT, g.masters[0]->address);
    struct millpond *nodes[2];
    for (int i = 0; i < 2; i++)
        nodes[i] =
            millpond_start(.name = i == 0 ? "a" : "b", .main = "workers = 1\ntrusted_proxies = 127.0.0.1",
                           .cache = "store = off",
                           .rest = textf("%s[route web]\nrespond = 200 ok\nrate_limit = 1/h burst=3 shared\n",
                                         redis));
    for (int i = 0; i < 2; i++)
        millpond_wait_log(nodes[i], " is up", REDIS_MASTERS);
    for (int i = 1; i <= 12; i++) {
        const char *client = textf("192.0.2.%d", i);
        assert_int_equal(passing(nodes[0], 2, client), 2);
        assert_int_equal(passing(nodes[1], 2, client), 1);
    }
    assert_int_equal(outcomes(nodes[0], "shared_passed"), 24);
    millpond_stop(nodes[0]);
    millpond_stop(nodes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(two_nodes_count_together),
        E2E_TEST(who_is_over_costs_redis_nothing),
        E2E_TEST(a_crowd_at_both_nodes_gets_the_burst_once),
        E2E_TEST(without_redis_each_node_counts_for_itself),
        E2E_TEST(a_redis_that_hangs_is_not_waited_for_long),
        E2E_TEST(errors_of_redis_are_not_the_clients),
        E2E_TEST(clients_that_leave_while_redis_is_asked),
        E2E_TEST(a_stop_ends_what_waits),
        E2E_TEST(in_a_cluster_too),
    };
    return E2E_RUN("rate_limit_shared", tests);
}
