/* redis_flights.c: several nodes with one Redis: what all of them are asked for at once, one of them fetches,
 * and whatever becomes of that one, of its response or of Redis, the others have an answer in time. */
#include <signal.h>

#include "tests/support/millpond.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#include "cache/record.h"

#define LONG  "Cache-Control: max-age=600\r\n"
#define NODES 10
#define LARGE 900000

/* What the origin does: one request, the first or that of number `held`, waits before the head of its answer,
 * the others do not. Bodies are "#N" of the N-th request, then the request's Accept-Language, if the answers
 * vary by it.
 */
static struct {
    const char *fields;
    bool etag;        /* "v", and what is asked about that is confirmed */
    int first_status; /* without fields; 0: 200 */
    bool large, half; /* a body of LARGE bytes behind that; held in the middle of it */
    bool chunked;     /* its length is not announced */
    unsigned held;
    struct gate *gate;
    _Atomic unsigned served;
} plan;

static struct origin *origin;
static struct redis_process *redis;
static struct millpond *nodes[NODES];
static struct client *clients[NODES];

static void script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    const unsigned n = ++plan.served;
    const char *language = message_field(request, "Accept-Language");
    const bool varies = strstr(plan.fields, "Vary") != NULL;
    const bool failed = n == 1 && plan.first_status != 0;
    const size_t more = plan.large ? LARGE : 0;
    char body[64];
    snprintf(body, sizeof body, "#%u%s", n, varies && language != NULL ? language : "");
    if (n == plan.held && !plan.half)
        gate_pass(plan.gate);
    if (plan.etag && message_field(request, "If-None-Match") != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s\r\n", plan.fields);
        return;
    }
    if (plan.chunked)
        origin_send(c, "HTTP/1.1 200 Scripted\r\n%sTransfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n",
                    plan.fields, strlen(body), body);
    else
        origin_send(c, "HTTP/1.1 %d Scripted\r\n%sContent-Length: %zu\r\n\r\n%s",
                    failed ? plan.first_status : 200, failed ? "" : plan.fields, strlen(body) + more, body);
    char block[LARGE / 10];
    for (unsigned i = 0; plan.large && i < 10; i++) {
        if (i == 5 && n == plan.held && plan.half)
            gate_pass(plan.gate);
        memset(block, 'a' + (int)i, sizeof block);
        if (plan.chunked)
            origin_send(c, "%zx\r\n", sizeof block);
        origin_send_bytes(c, block, sizeof block);
        if (plan.chunked)
            origin_send(c, "\r\n");
    }
    if (plan.chunked)
        origin_send(c, "0\r\n\r\n");
}

static int setup(void **state)
{
    int rc = support_setup(state);
    memset(&plan, 0, sizeof plan);
    memset(nodes, 0, sizeof nodes);
    plan.fields = LONG;
    plan.held = 1;
    plan.gate = gate_new();
    origin = origin_start(script, NULL);
    redis = redis_start("r", NULL);
    return rc;
}

static void wait_until_followed(struct millpond *m)
{
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (!json_is_true(json_object_get(json_object_get(millpond_status(m), "purges"), "follows")))
        EXPECT(clock_mono_ms() < until_ms, "it does not follow");
}

/* The one worker has all its connections. */
static void wait_until_connected(struct millpond *m)
{
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *servers = json_object_get(json_object_get(millpond_status(m), "redis"), "servers");
        if (json_integer_value(json_object_get(json_array_get(servers, 0), "connections")) == 2)
            return;
        EXPECT(clock_mono_ms() < until_ms, "it is not all up: %s", json_dumps(servers, 0));
    }
}

/* `cache` and `lines` go on behind [cache] and [redis]. */
static struct millpond *node_with(unsigned i, const char *address, const char *cache, const char *lines)
{
    nodes[i] = millpond_start(.name = textf("node%u", i), .main = "workers = 1",
                              .cache = textf("store = tiered\n%s", cache),
                              .rest = textf("%s[redis]\nurl = redis://%s\n%s", pool_lines("app", 1, origin),
                                            address, lines));
    wait_until_followed(nodes[i]);
    wait_until_connected(nodes[i]);
    return nodes[i];
}

/* Nothing that is slow here shall pass for a Redis that does not answer, or for a fetch that takes too long.
 */
static void start(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
}

static void stop(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i] != NULL)
            millpond_stop(nodes[i]);
        nodes[i] = NULL;
    }
}

static char *name_of(const char *target, const char *part)
{
    char buf[64 + CACHE_RECORD_NAME_BYTES];
    slice_t key = slice_str(textf("http://test%s", target));
    slice_t name = cache_record_name(buf, SLICE_LIT("millpond:"), key, CACHE_RECORD_HEAD);
    return textf("%.*s%s", (int)(name.len - strlen("head")), name.ptr, part);
}

static void ask(unsigned i, const char *fields)
{
    clients[i] = client_open(nodes[i]->port);
    client_send(clients[i], "GET /p HTTP/1.1\r\nHost: test\r\n%s\r\n", fields);
}

/* Node 0 is asked, and fetches, at the origin's gate; then nodes 1 to `count` - 1, of which at least one
 * waits. */
static void gather(unsigned count)
{
    ask(0, "");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < count; i++)
        ask(i, "");
    redis_until(redis, "+", "GETRANGE %s 0 0", name_of("/p", "lease"));
}

static void wait_saved(void)
{
    redis_until(redis, "1", "EXISTS %s", name_of("/p", "head"));
}

static struct message *expect_answer(unsigned i, const char *body, const char *status)
{
    struct message *r = client_read(clients[i]);
    expect_status(r, 200);
    expect_body(r, body);
    expect_in(message_field(r, "Cache-Status"), status);
    return r;
}

static void expect_metric(unsigned i, const char *line)
{
    expect_in(millpond_admin(nodes[i], "GET", "/metrics")->body, textf("%s\n", line));
}

/* ---- one fetch
 * ------------------------------------------------------------------------------------------------------------
 */

static void ten_nodes_fetch_once(void **state)
{
    UNUSED(state);
    start(NODES);
    gather(NODES);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    for (unsigned i = 1; i < NODES; i++)
        expect_answer(i, "#1", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 1);
    for (unsigned i = 1; i < NODES; i++)
        expect_metric(i, "millpond_redis_loads_total{outcome=\"found\"} 1");
    redis_until(redis, "0", "EXISTS %s", name_of("/p", "lease"));
    stop();
}

static void large_bodies_are_fetched_once(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    gate_open(plan.gate);
    for (unsigned i = 0; i < 3; i++) {
        struct message *r = client_read(clients[i]);
        assert_int_equal(r->body_len, LARGE + 2);
        for (size_t k = 0; k < LARGE; k++)
            assert_int_equal(r->body[2 + k], 'a' + (int)(k / (LARGE / 10)));
    }
    assert_int_equal(origin_requests(origin), 1);
    stop();
}

/* Who waits for the URL learns that it varies; one of those who want another variant fetches that. */
static void each_variant_is_fetched_once(void **state)
{
    UNUSED(state);
    plan.fields = LONG "Vary: Accept-Language\r\n";
    start(5);
    ask(0, "Accept-Language: de\r\n");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < 5; i++)
        ask(i, textf("Accept-Language: %s\r\n", i % 2 == 0 ? "de" : "en"));
    redis_until(redis, "+", "GETRANGE %s 0 0", name_of("/p", "lease"));
    gate_open(plan.gate);
    for (unsigned i = 0; i < 5; i++)
        expect_answer(i, i % 2 == 0 ? "#1de" : "#2en", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* ---- what nodes cannot share
 * ------------------------------------------------------------------------------------------------------------
 */

static void who_waits_for_what_may_not_be_stored_fetches_at_once(void **state)
{
    UNUSED(state);
    plan.fields = "Cache-Control: no-store\r\n";
    start(4);
    gather(4);
    gate_open(plan.gate);
    for (unsigned i = 0; i < 4; i++)
        expect_status(client_read(clients[i]), 200);
    assert_int_equal(origin_requests(origin), 4);
    redis_until(redis, "0", "EXISTS %s %s", name_of("/p", "head"), name_of("/p", "lease"));
    stop();
}

static void too_large_is_each_nodes_own(bool chunked)
{
    plan.large = plan.half = true;
    plan.chunked = chunked;
    for (unsigned i = 0; i < 3; i++)
        node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\nmax_object_size = 100K\n");
    ask(0, "");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < 3; i++) { /* while the first one is under way still */
        ask(i, "");
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    }
    gate_open(plan.gate);
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 3);
    stop();
}

static void what_is_too_large_for_redis_is_each_nodes_own(void **state)
{
    UNUSED(state);
    too_large_is_each_nodes_own(false);
}

static void what_turns_out_to_be_too_large_is_so_too(void **state)
{
    UNUSED(state);
    too_large_is_each_nodes_own(true);
}

/* It lies in memory, but Redis never has it. */
static void what_is_confirmed_each_time_waits_for_no_other_node(void **state)
{
    UNUSED(state);
    plan.fields = "Cache-Control: no-cache\r\nETag: \"v\"\r\n";
    plan.large = plan.half = true;
    start(3);
    ask(0, "");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < 3; i++) { /* while the first one is under way still */
        ask(i, "");
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    }
    gate_open(plan.gate);
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 3);
    stop();
}

static void after_an_error_the_next_node_tries(void **state)
{
    UNUSED(state);
    plan.first_status = 500;
    start(4);
    gather(4);
    gate_open(plan.gate);
    expect_status(client_read(clients[0]), 500);
    for (unsigned i = 1; i < 4; i++)
        expect_answer(i, "#2", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* ---- who leaves, hangs or dies
 * ------------------------------------------------------------------------------------------------------------
 */

static void a_node_that_dies_is_followed_by_another(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    proc_kill(nodes[0]->proc);
    nodes[0] = NULL;
    for (unsigned i = 1; i < 3; i++)
        expect_answer(i, "#2", "millpond; ");
    assert_int_equal(origin_requests(origin), 2);
    gate_open(plan.gate);
    stop();
}

static void a_node_that_dies_in_the_middle_of_a_body_is_followed_by_another(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    proc_kill(nodes[0]->proc);
    nodes[0] = NULL;
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 2);
    gate_open(plan.gate);
    stop();
}

/* It comes back when another has taken its place: what it has then is old, and is not written. */
static void a_node_that_stood_still_writes_nothing_old(void **state)
{
    UNUSED(state);
    start(2);
    gather(2);
    proc_signal(nodes[0]->proc, SIGSTOP);
    expect_answer(1, "#2", "fwd=uri-miss");
    wait_saved();
    gate_open(plan.gate);
    proc_signal(nodes[0]->proc, SIGCONT);
    expect_answer(0, "#1", "fwd=uri-miss");
    for (const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();;) {
        const char *page = millpond_admin(nodes[0], "GET", "/metrics")->body;
        if (strstr(page, "millpond_redis_saves_total{outcome=\"overtaken\"} 1\n") != NULL)
            break;
        EXPECT(clock_mono_ms() < until_ms, "it was not told that it is too late");
    }
    node_with(2, redis->address, "", "timeout = 30s\n");
    ask(2, "");
    expect_answer(2, "#2", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_client_that_leaves_lets_the_next_node_fetch(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    client_reset(clients[0]);
    for (unsigned i = 1; i < 3; i++)
        expect_answer(i, "#2", "millpond; ");
    gate_open(plan.gate);
    millpond_wait_idle(nodes[0]);
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_client_that_leaves_in_the_middle_of_a_body_changes_nothing(void **state)
{
    UNUSED(state);
    plan.large = plan.half = true;
    start(3);
    gather(3);
    client_reset(clients[0]);
    millpond_wait_figure(nodes[0], "requests_in_flight", 0);
    gate_open(plan.gate);
    for (unsigned i = 1; i < 3; i++)
        assert_int_equal(client_read(clients[i])->body_len, LARGE + 2);
    assert_int_equal(origin_requests(origin), 1);
    millpond_wait_idle(nodes[0]);
    stop();
}

static void nobody_waits_longer_than_lock_timeout(void **state)
{
    UNUSED(state);
    node_with(0, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
    node_with(1, redis->address, "lock_timeout = 300ms\n", "timeout = 30s\n");
    gather(2);
    expect_answer(1, "#2", "fwd=uri-miss");
    expect_metric(1, "millpond_redis_loads_total{outcome=\"waited\"} 1");
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    wait_saved();
    node_with(2, redis->address, "", "timeout = 30s\n");
    ask(2, "");
    expect_answer(2, "#1", "hit; ttl=");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void a_stop_waits_for_no_other_node(void **state)
{
    UNUSED(state);
    start(2);
    gather(2);
    millpond_stop(nodes[1]); /* which closes the clients first */
    nodes[1] = NULL;
    gate_open(plan.gate);
    stop();
}

/* ---- what is stale
 * ------------------------------------------------------------------------------------------------------------
 */

/* Redis keeps it for the next power of two of these seconds. */
#define STALE_FIELDS(which) "Cache-Control: max-age=600, " which "=6000\r\n"

/* Node 0 has fetched it, and what Redis has of it has been there for more than 600 s. The next request that
 * the origin gets waits. */
static void prepare_stale(const char *fields)
{
    plan.fields = fields;
    plan.held = 2;
    start(1);
    ask(0, "");
    expect_answer(0, "#1", "fwd=uri-miss");
    wait_saved();
    assert_string_equal(redis_do(redis, "PEXPIRE %s 7500000", name_of("/p", "head")), "1");
}

static void wait_for_waiters(void)
{
    redis_until(redis, "+", "GETRANGE %s 0 0", name_of("/p", "lease"));
}

static struct millpond *patient(unsigned i)
{
    return node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
}

static void what_is_stale_in_redis_is_confirmed_once(void **state)
{
    UNUSED(state);
    plan.etag = true;
    prepare_stale(STALE_FIELDS("stale-if-error") "ETag: \"v\"\r\n");
    for (unsigned i = 1; i < 4; i++)
        patient(i);
    ask(1, "");
    gate_wait_arrived(plan.gate, 1);
    ask(2, "");
    ask(3, "");
    wait_for_waiters();
    gate_open(plan.gate);
    expect_answer(1, "#1", "fwd=stale; fwd-status=304");
    expect_answer(2, "#1", "detail=redis");
    expect_answer(3, "#1", "detail=redis");
    assert_int_equal(origin_requests(origin), 2);
    expect_in(message_field(origin_request(origin, 1), "If-None-Match"), "\"v\"");
    stop();
}

static void what_is_stale_in_redis_is_used_while_one_node_renews_it(void **state)
{
    UNUSED(state);
    prepare_stale(STALE_FIELDS("stale-while-revalidate"));
    for (unsigned i = 1; i < 4; i++) {
        patient(i);
        ask(i, "");
        expect_answer(i, "#1", "detail=stale_while_revalidate");
    }
    wait_for_waiters();
    gate_open(plan.gate);
    for (unsigned i = 1; i < 4; i++) {
        millpond_wait_figure(nodes[i], "refreshes_in_flight", 0);
        ask(i, "");
        expect_answer(i, "#2", "hit; ttl=");
    }
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

static void what_is_stale_in_redis_stands_in_for_an_error(void **state)
{
    UNUSED(state);
    prepare_stale(STALE_FIELDS("stale-if-error"));
    stop();
    origin_stop(origin);
    patient(0); /* its memory is empty */
    ask(0, "");
    expect_answer(0, "#1", "detail=stale_if_error");
    stop();
}

static void what_is_stale_in_redis_and_large_comes_whole(void **state)
{
    UNUSED(state);
    plan.large = true;
    plan.fields = STALE_FIELDS("stale-while-revalidate");
    plan.held = 2;
    start(1);
    ask(0, "");
    assert_int_equal(client_read(clients[0])->body_len, LARGE + 2);
    wait_saved();
    redis_do(redis, "PEXPIRE %s 7500000", name_of("/p", "head"));
    patient(1);
    ask(1, "");
    struct message *r = client_read(clients[1]);
    expect_in(message_field(r, "Cache-Status"), "detail=stale_while_revalidate");
    assert_int_equal(r->body_len, LARGE + 2);
    assert_int_equal(r->body[LARGE + 1], 'j');
    gate_open(plan.gate);
    stop();
}

/* All of a crowd wait for the same look-up. */
static void a_crowd_shares_what_is_stale_in_redis(void **state)
{
    UNUSED(state);
    struct client *crowd[20];
    plan.etag = true;
    prepare_stale(STALE_FIELDS("stale-if-error") "ETag: \"v\"\r\n");
    struct relay *link = relay_start(redis->port);
    node_with(1, relay_address(link), "lock_timeout = 10m\n", "timeout = 30s\n");
    relay_stall(link);
    for (unsigned i = 0; i < ARRAY_LEN(crowd); i++) {
        crowd[i] = client_open(nodes[1]->port);
        client_send(crowd[i], "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    millpond_wait_figure(nodes[1], "followers_now", ARRAY_LEN(crowd) - 1);
    relay_heal(link);
    gate_wait_arrived(plan.gate, 1);
    gate_open(plan.gate);
    for (unsigned i = 0; i < ARRAY_LEN(crowd); i++)
        expect_body(client_read(crowd[i]), "#1");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

/* ---- Redis
 * ------------------------------------------------------------------------------------------------------------
 */

static void when_redis_stands_still_each_node_fetches(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 3; i++)
        node_with(i, redis->address, "lock_timeout = 1s\n", "timeout = 100ms\n");
    gather(3);
    redis_freeze(redis);
    for (unsigned i = 1; i < 3; i++)
        expect_status(client_read(clients[i]), 200);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 3);
    redis_thaw(redis);
    stop();
}

static void when_redis_dies_each_node_fetches(void **state)
{
    UNUSED(state);
    start(3);
    gather(3);
    redis_kill(redis);
    for (unsigned i = 1; i < 3; i++)
        expect_status(client_read(clients[i]), 200);
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 3);
    stop();
}

/* Its lease expires meanwhile. */
static void a_node_that_is_cut_off_is_followed_by_another(void **state)
{
    UNUSED(state);
    struct relay *link = relay_start(redis->port);
    node_with(0, relay_address(link), "lock_timeout = 10m\n", "timeout = 30s\n");
    node_with(1, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
    gather(2);
    relay_stall(link);
    expect_answer(1, "#2", "fwd=uri-miss");
    gate_open(plan.gate);
    expect_answer(0, "#1", "fwd=uri-miss");
    assert_int_equal(origin_requests(origin), 2);
    stop();
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(ten_nodes_fetch_once),
        TEST_OF(large_bodies_are_fetched_once),
        TEST_OF(each_variant_is_fetched_once),
        TEST_OF(who_waits_for_what_may_not_be_stored_fetches_at_once),
        TEST_OF(what_is_too_large_for_redis_is_each_nodes_own),
        TEST_OF(what_turns_out_to_be_too_large_is_so_too),
        TEST_OF(what_is_confirmed_each_time_waits_for_no_other_node),
        TEST_OF(after_an_error_the_next_node_tries),
        TEST_OF(a_node_that_dies_is_followed_by_another),
        TEST_OF(a_node_that_dies_in_the_middle_of_a_body_is_followed_by_another),
        TEST_OF(a_node_that_stood_still_writes_nothing_old),
        TEST_OF(a_client_that_leaves_lets_the_next_node_fetch),
        TEST_OF(a_client_that_leaves_in_the_middle_of_a_body_changes_nothing),
        TEST_OF(nobody_waits_longer_than_lock_timeout),
        TEST_OF(a_stop_waits_for_no_other_node),
        TEST_OF(what_is_stale_in_redis_is_confirmed_once),
        TEST_OF(what_is_stale_in_redis_is_used_while_one_node_renews_it),
        TEST_OF(what_is_stale_in_redis_stands_in_for_an_error),
        TEST_OF(what_is_stale_in_redis_and_large_comes_whole),
        TEST_OF(a_crowd_shares_what_is_stale_in_redis),
        TEST_OF(when_redis_stands_still_each_node_fetches),
        TEST_OF(when_redis_dies_each_node_fetches),
        TEST_OF(a_node_that_is_cut_off_is_followed_by_another),
    };
    return E2E_RUN("redis flights", tests);
}
