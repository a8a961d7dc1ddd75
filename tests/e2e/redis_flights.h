/* redis_flights.h: several nodes with one Redis, an application that may be held in the middle of an answer,
 * and a client for each node. Of the e2e tests that include it, once each. */
#ifndef TESTS_E2E_REDIS_FLIGHTS_H
#define TESTS_E2E_REDIS_FLIGHTS_H

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

static inline void script(struct origin_conn *c, const struct message *request, void *arg)
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

static inline int setup(void **state)
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

static inline void wait_until_followed(struct millpond *m)
{
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (!json_is_true(json_object_get(json_object_get(millpond_status(m), "purges"), "follows")))
        EXPECT(clock_mono_ms() < until_ms, "it does not follow");
}

/* The one worker has all its connections. */
static inline void wait_until_connected(struct millpond *m)
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
static inline struct millpond *node_with(unsigned i, const char *address, const char *cache,
                                         const char *lines)
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
static inline void start(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        node_with(i, redis->address, "lock_timeout = 10m\n", "timeout = 30s\n");
}

static inline void stop(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i] != NULL)
            millpond_stop(nodes[i]);
        nodes[i] = NULL;
    }
}

static inline char *name_of(const char *target, const char *part)
{
    char buf[64 + CACHE_RECORD_NAME_BYTES];
    slice_t key = slice_str(textf("http://test%s", target));
    slice_t name = cache_record_name(buf, SLICE_LIT("millpond:"), key, CACHE_RECORD_HEAD);
    return textf("%.*s%s", (int)(name.len - strlen("head")), name.ptr, part);
}

static inline void ask(unsigned i, const char *fields)
{
    clients[i] = client_open(nodes[i]->port);
    client_send(clients[i], "GET /p HTTP/1.1\r\nHost: test\r\n%s\r\n", fields);
}

/* Somebody else has the lease of it, and keeps it. */
static inline void hold(const char *target)
{
    redis_do(redis, "SET %s -0123456789abcdef0123456789abcdef PX 600000", name_of(target, "lease"));
}

/* Says that he has stored something. */
static inline void wake(const char *target)
{
    redis_do(redis, "PUBLISH millpond:wake %s", textf("%.32s stored", strchr(name_of(target, ""), '{') + 1));
}

static inline void wait_for_waiters(const char *target)
{
    redis_until(redis, "+", "GETRANGE %s 0 0", name_of(target, "lease"));
}

/* Node 0 is asked, and fetches, at the origin's gate; then nodes 1 to `count` - 1, of which at least one
 * waits. */
static inline void gather(unsigned count)
{
    ask(0, "");
    gate_wait_arrived(plan.gate, 1);
    for (unsigned i = 1; i < count; i++)
        ask(i, "");
    wait_for_waiters("/p");
}

static inline void wait_saved(void)
{
    redis_until(redis, "1", "EXISTS %s", name_of("/p", "head"));
}

static inline struct message *expect_answer(unsigned i, const char *body, const char *status)
{
    struct message *r = client_read(clients[i]);
    expect_status(r, 200);
    expect_body(r, body);
    expect_in(message_field(r, "Cache-Status"), status);
    return r;
}

static inline void expect_metric(unsigned i, const char *line)
{
    expect_in(millpond_admin(nodes[i], "GET", "/metrics")->body, textf("%s\n", line));
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

#endif
