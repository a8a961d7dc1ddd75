/* lease_fixture.h: nodes that ask one Redis for leases: each with a client and a table of its own, all on the
 * test's thread. Included once per test program. */
#ifndef TESTS_UNIT_CACHE_LEASE_FIXTURE_H
#define TESTS_UNIT_CACHE_LEASE_FIXTURE_H

#include "cache/lease.h"
#include "tests/unit/core/redis_fixture.h"

#define NODES    10
#define ASKERS   64
#define LONG_MS  60000
#define PREFIX   SLICE_LIT("t:")
#define SOME_KEY "https://example.com/cold"

/* Static in tests, since a test that fails leaves its frame. */
struct asker {
    struct cache_lease *lease; /* NULL: over */
    int results, puts;         /* callbacks */
    enum cache_lease_outcome outcome;
    enum cache_lease_put put;
    char record[64];
    dur_ms_t left_ms;
};

struct node {
    slice_t server;
    struct redis *redis;
    struct cache_leases *leases;
};

static const struct redis_login lease_login;
static struct node nodes[NODES];
static struct asker askers[ASKERS];
static enum redis_mode lease_mode;
static unsigned lease_connections;

static inline int lease_setup(void **state)
{
    memset(nodes, 0, sizeof nodes);
    memset(askers, 0, sizeof askers);
    lease_mode = REDIS_STANDALONE;
    lease_connections = 2;
    worker_setup();
    return support_setup(state);
}

static inline void node_close(struct node *n)
{
    cache_leases_close(&n->leases);
    redis_close(&n->redis);
}

static inline int lease_teardown(void **state)
{
    for (int i = 0; i < ASKERS; i++)
        cache_lease_cancel(&askers[i].lease);
    for (int i = 0; i < NODES; i++)
        node_close(&nodes[i]);
    worker_teardown();
    return support_teardown(state);
}

/* Does not wait until it is up. */
static inline void node_open(struct node *n, const char *server, dur_ms_t ttl_ms, dur_ms_t timeout_ms,
                             size_t waiters_max)
{
    n->server = slice_str(server);
    const struct redis_settings r = {.mode = lease_mode,
                                     .servers = &n->server,
                                     .server_count = 1,
                                     .login = &lease_login,
                                     .limits = {.connections = lease_connections,
                                                .calls_max = 1000,
                                                .timeout_ms = timeout_ms,
                                                .connect_timeout_ms = LONG_MS}};
    worker_refresh_clock(w);
    n->redis = redis_open(w, &r);
    assert_non_null(n->redis);
    const struct cache_lease_settings s = {.redis = n->redis,
                                           .prefix = PREFIX,
                                           .ttl_ms = ttl_ms,
                                           .timeout_ms = timeout_ms,
                                           .waiters_max = waiters_max};
    n->leases = cache_leases_open(w, &s);
    assert_non_null(n->leases);
}

static inline struct cache_lease_figures figures_of(const struct node *n)
{
    return cache_leases_get_figures(n->leases);
}

/* With all its connections, and its subscription. */
static inline bool node_is_up(const struct node *n, const char *key)
{
    struct redis_node_figures f;
    bool all = figures_of(n).wakes.up;
    for (size_t i = 0; redis_get_server_figures(n->redis, i, &f); i++)
        all = all && f.connected == lease_connections;
    return all && redis_is_up(n->redis, slice_str(key));
}

static inline void nodes_open(struct redis_process *p, int count, dur_ms_t ttl_ms, dur_ms_t timeout_ms)
{
    for (int i = 0; i < count; i++)
        node_open(&nodes[i], p->address, ttl_ms, timeout_ms, ASKERS);
    for (int i = 0; i < count; i++)
        UNTIL(node_is_up(&nodes[i], SOME_KEY));
}

static inline void asker_on_put(void *arg, enum cache_lease_put put)
{
    struct asker *a = arg;
    a->puts++;
    a->put = put;
    a->lease = NULL;
}

static inline void asker_on_result(void *arg, const struct cache_lease_result *r)
{
    struct asker *a = arg;
    a->results++;
    a->outcome = r->outcome;
    a->left_ms = r->left_ms;
    snprintf(a->record, sizeof a->record, SLICE_FMT, SLICE_ARG(r->record));
    if (r->outcome != CACHE_LEASE_HELD)
        a->lease = NULL;
}

static inline struct cache_lease_request request_of(struct asker *a, const char *key)
{
    *a = (struct asker){0};
    return (struct cache_lease_request){
        .key = slice_str(key), .wait_ms = LONG_MS, .on_result = asker_on_result, .arg = a};
}

static inline bool ask_as(struct asker *a, struct node *n, const struct cache_lease_request *rq)
{
    worker_refresh_clock(w);
    a->lease = cache_lease_ask(n->leases, rq);
    assert_int_equal(a->results, 0);
    return a->lease != NULL;
}

static inline void ask(struct asker *a, struct node *n, const char *key)
{
    struct cache_lease_request rq = request_of(a, key);
    assert_true(ask_as(a, n, &rq));
}

/* How many of the first `count` ended, or got the lease, with this outcome. */
static inline int count_of(int count, enum cache_lease_outcome o)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        n += askers[i].results == 1 && askers[i].outcome == o;
    return n;
}

static inline struct asker *holder_of(int count)
{
    for (int i = 0; i < count; i++) {
        if (askers[i].results == 1 && askers[i].outcome == CACHE_LEASE_HELD && askers[i].lease != NULL)
            return &askers[i];
    }
    return NULL;
}

static inline uint64_t waits(void)
{
    uint64_t n = 0;
    for (int i = 0; i < NODES; i++)
        n += nodes[i].leases != NULL ? figures_of(&nodes[i]).waits : 0;
    return n;
}

/* Each node asks once; returns who holds it, when all others wait. */
static inline struct asker *ask_on(int count, const char *key)
{
    uint64_t before = waits();
    for (int i = 0; i < count; i++)
        ask(&askers[i], &nodes[i], key);
    UNTIL(holder_of(count) != NULL && waits() == before + (uint64_t)count - 1);
    return holder_of(count);
}

static inline bool put(struct asker *a, const char *record)
{
    worker_refresh_clock(w);
    return cache_lease_put(&a->lease, slice_str(record), LONG_MS, asker_on_put, a);
}

static inline void put_and_wait(struct asker *a, const char *record, enum cache_lease_put expected)
{
    assert_true(put(a, record));
    assert_int_equal(a->puts, 0);
    UNTIL(a->puts == 1);
    assert_int_equal(a->put, expected);
}

/* Valid until the test ends. */
static inline struct cache_lease_names names_of(const char *key)
{
    struct cache_lease_names n;
    cache_lease_names_make(&n, text_repeat(' ', 2 * (PREFIX.len + CACHE_RECORD_NAME_BYTES)), PREFIX,
                           slice_str(key));
    return n;
}

static inline char *name_of(slice_t name)
{
    return textf(SLICE_FMT, SLICE_ARG(name));
}

static inline char *lease_name(const char *key)
{
    return name_of(names_of(key).lease);
}

static inline char *head_name(const char *key)
{
    return name_of(names_of(key).head);
}

static inline long calls_of(struct redis_process *p, const char *command)
{
    const char *at = strstr(redis_do(p, "INFO commandstats"), textf("cmdstat_%s:calls=", command));
    return at != NULL ? strtol(strchr(at, '=') + 1, NULL, 10) : 0;
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, lease_setup, lease_teardown)

#endif
