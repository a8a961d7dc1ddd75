/* redis_cluster_fixture.h: a real Cluster of three masters, and a worker's view of it. Included once per test
 * program. */
#ifndef TESTS_UNIT_CORE_REDIS_CLUSTER_FIXTURE_H
#define TESTS_UNIT_CORE_REDIS_CLUSTER_FIXTURE_H

#include <openssl/ssl.h>

#include "core/redis_cluster.h"
#include "core/redis_slots.h"
#include "tests/unit/core/redis_fixture.h"

#define NEVER_MS 600000 /* for a node to be held for dead */

static struct redis_login login;
static struct redis_cluster_group group;
static struct redis_cluster *cluster;
static slice_t seeds[REDIS_MASTERS];
static int ups, downs, moves;

static inline void on_up(void *arg, const char *server)
{
    UNUSED(arg);
    assert_true(server[0] != '\0');
    ups++;
}

static inline void on_down(void *arg, const char *server, const char *reason)
{
    UNUSED(arg);
    assert_true(server[0] != '\0' && reason[0] != '\0');
    downs++;
}

static inline void on_moved(void *arg)
{
    UNUSED(arg);
    moves++;
}

static inline int cluster_setup(void **state)
{
    login = (struct redis_login){0};
    ups = downs = moves = 0;
    worker_setup();
    return support_setup(state);
}

static inline int cluster_teardown(void **state)
{
    redis_cluster_close(&cluster);
    worker_teardown();
    SSL_CTX_free(login.tls);
    return support_teardown(state);
}

static inline struct redis_cluster_figures figures(void)
{
    return redis_cluster_get_figures(cluster);
}

static inline void open_at(const char *const *servers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        seeds[i] = slice_str(servers[i]);
    const struct redis_cluster_settings s = {
        .seeds = seeds,
        .seed_count = count,
        .login = &login,
        .limits = {.connections = 2, .calls_max = 1000, .timeout_ms = 60000, .connect_timeout_ms = 60000},
        .on_up = on_up,
        .on_down = on_down,
        .on_moved = on_moved,
    };
    worker_refresh_clock(w);
    cluster = redis_cluster_open(w, &s);
    assert_non_null(cluster);
}

/* Each with all its connections, so that each goes down once. */
static inline unsigned servers_up(void)
{
    unsigned n = 0;
    const struct redis_node *node;
    for (size_t i = 0; (node = redis_cluster_server(cluster, i)) != NULL; i++)
        n += redis_node_is_up(node) && redis_node_get_figures(node).connected == 2;
    return n;
}

static inline void open_cluster(void)
{
    open_at((const char *[]){group.masters[0]->address}, 1);
    UNTIL(servers_up() == REDIS_MASTERS);
    assert_int_equal(ups, REDIS_MASTERS);
}

/* A key of the slots that master `i` has in the beginning; another one for each `n`. */
static inline char *key_of(unsigned i, unsigned n)
{
    for (unsigned try = 0;; try++) {
        char *key = textf("key-%u-%u", n, try);
        if (redis_key_slot(slice_str(key)) * REDIS_MASTERS / REDIS_SLOTS == i)
            return key;
    }
}

static inline bool is_owner(const struct redis_process *p, const char *key)
{
    const struct redis_node *n = redis_cluster_node(cluster, slice_str(key));
    return n != NULL && redis_node_is_up(n) && strcmp(redis_node_server(n), p->address) == 0;
}

static inline bool ask(struct asked *a, const char *verb, const char *key, const char *value)
{
    const slice_t argv[] = {slice_str(verb), slice_str(key), slice_str(value)};
    struct redis_node *n = redis_cluster_node(cluster, slice_str(key));
    *a = (struct asked){.call.on_reply = asked_on_reply};
    return n != NULL && redis_node_call(n, &a->call, argv, value != NULL ? 3 : 2);
}

static inline const struct asked *answer(const char *verb, const char *key, const char *value)
{
    static struct asked a;
    assert_true(ask(&a, verb, key, value));
    UNTIL(a.ended);
    return &a;
}

static inline void set(const char *key, const char *value)
{
    const struct asked *a = answer("SET", key, value);
    assert_string_equal(a->text, "OK");
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, cluster_setup, cluster_teardown)

#endif
