/* redis_node.c: see redis_node.h.
 *
 * The breaker:  CLOSED --failures in a row--> OPEN --pause over--> TRIAL --PING answered--> CLOSED
 *                                            ^------- it was not ------'
 * or, from either, as soon as a new connection has logged in.
 * The trial is a PING of the node's own, not the call of some client who would have to wait for it.
 *
 * Connections that wait for a name to be looked up have neither a connection nor a pause; there is one
 * look-up at a time, however long it takes. */
#include "core/redis_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/resolve.h"

#define REDIS_NODE_MAGIC 0x72646e64u

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_TRIAL };

struct node_conn {
    struct redis_node *node;
    struct redis_conn *conn;
    struct deadline retry; /* conn is NULL */
    bool wants_name;       /* conn is NULL, retry not set */
    unsigned failures;     /* in a row */
};

/* Owned by who opened it; one worker's thread. */
struct redis_node {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct redis_node_settings settings;
    char server[REDIS_SERVER_TEXT];
    bool named; /* not an address */
    /* worker's thread */
    struct net_addr addr; /* the latest */
    unsigned lookups;
    struct resolve_job *lookup;
    enum breaker_state breaker;
    unsigned failures, breaks_in_row;
    struct deadline breaker_deadline;
    struct redis_call trial;
    bool was_up;
    struct redis_node_figures figures;
    char reason[REDIS_REASON_TEXT];
    struct grave grave;
    struct node_conn conns[];
};

static void node_conn_start(struct node_conn *nc);

/* Beside the figures of the node, which end with it. */
static void node_count(const struct redis_node *n, enum metric_id id)
{
    if (n->worker->metrics != NULL)
        metrics_add(n->worker->metrics, id, 1);
}

/* Half of the pause for this many failures, and a random part of the other half. */
static dur_ms_t node_pause_ms(unsigned failures)
{
    dur_ms_t pause_ms = REDIS_PAUSE_FIRST_MS;
    while (--failures > 0 && pause_ms < REDIS_PAUSE_MAX_MS)
        pause_ms *= 2;
    pause_ms = MIN(pause_ms, REDIS_PAUSE_MAX_MS);
    uint32_t random;
    hash_random(&random, sizeof random);
    return pause_ms / 2 + (dur_ms_t)(random % (uint64_t)(pause_ms / 2 + 1));
}

bool redis_node_is_up(const struct redis_node *n)
{
    if (n->breaker != BREAKER_CLOSED)
        return false;
    for (unsigned i = 0; i < n->settings.limits.connections; i++) {
        if (n->conns[i].conn != NULL && redis_conn_is_ready(n->conns[i].conn))
            return true;
    }
    return false;
}

/* After whatever may have changed it. */
static void node_tell(struct redis_node *n)
{
    bool up = redis_node_is_up(n);
    if (up == n->was_up)
        return;
    n->was_up = up;
    if (up && n->settings.on_up != NULL)
        n->settings.on_up(n->settings.arg);
    else if (!up && n->settings.on_down != NULL)
        n->settings.on_down(n->settings.arg, n->reason);
}

/* ---- breaker ---- */

static void breaker_open(struct redis_node *n)
{
    n->breaker = BREAKER_OPEN;
    n->breaks_in_row++;
    n->figures.breaks++;
    node_count(n, METRIC_REDIS_BREAKS);
    deadline_set(n->worker, &n->breaker_deadline, worker_now_ms(n->worker) + node_pause_ms(n->breaks_in_row));
}

static void breaker_close(struct redis_node *n)
{
    n->breaker = BREAKER_CLOSED;
    n->failures = n->breaks_in_row = 0;
    deadline_clear(n->worker, &n->breaker_deadline);
    redis_call_cancel(&n->trial);
    node_tell(n);
}

static void trial_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_node *n = CONTAINER_OF(call, struct redis_node, trial);
    UNUSED(reply);
    if (o == REDIS_ANSWERED)
        breaker_close(n);
    else
        breaker_open(n);
}

static struct node_conn *node_least_loaded(struct redis_node *n)
{
    struct node_conn *best = NULL;
    for (unsigned i = 0; i < n->settings.limits.connections; i++) {
        struct node_conn *nc = &n->conns[i];
        if (nc->conn != NULL && redis_conn_is_ready(nc->conn) &&
            (best == NULL || redis_conn_load(nc->conn) < redis_conn_load(best->conn)))
            best = nc;
    }
    return best;
}

static void breaker_on_deadline(struct deadline *d)
{
    struct redis_node *n = CONTAINER_OF(d, struct redis_node, breaker_deadline);
    struct node_conn *nc = node_least_loaded(n);
    slice_t ping = SLICE_LIT("PING");
    n->trial.on_reply = trial_on_reply;
    n->breaker = BREAKER_TRIAL;
    if (nc == NULL || !redis_conn_call(nc->conn, &n->trial, n->settings.limits.timeout_ms, &ping, 1))
        breaker_open(n);
}

static void node_count_failure(struct redis_node *n)
{
    if (++n->failures < REDIS_FAILURES_MAX || n->breaker != BREAKER_CLOSED)
        return;
    snprintf(n->reason, sizeof n->reason, "%u calls in a row without an answer", n->failures);
    breaker_open(n);
    node_tell(n);
}

static bool node_on_outcome(void *arg, struct redis_call *call, enum redis_outcome o,
                            const struct redisReply *r)
{
    struct redis_node *n = ((struct node_conn *)arg)->node;
    n->figures.outcomes[o]++;
    if (n->worker->metrics != NULL)
        metrics_count_reason(n->worker->metrics, METRICS_REASON_REDIS_FAILURES, o);
    if (o == REDIS_ANSWERED || o == REDIS_REFUSED)
        n->failures = 0;
    else
        node_count_failure(n);
    return n->settings.on_outcome != NULL && n->settings.on_outcome(n->settings.arg, call, o, r);
}

static void node_on_message(void *arg, slice_t channel, slice_t payload)
{
    struct redis_node *n = ((struct node_conn *)arg)->node;
    if (n->settings.on_message != NULL)
        n->settings.on_message(n->settings.arg, channel, payload);
}

/* ---- connections ---- */

static void node_conn_retry(struct node_conn *nc)
{
    struct redis_node *n = nc->node;
    nc->failures++;
    n->figures.reconnects++;
    node_count(n, METRIC_REDIS_RECONNECTS);
    deadline_set(n->worker, &nc->retry, worker_now_ms(n->worker) + node_pause_ms(nc->failures));
}

static void node_conn_on_ready(void *arg)
{
    struct node_conn *nc = arg;
    nc->failures = 0;
    if (nc->node->breaker != BREAKER_CLOSED)
        breaker_close(nc->node); /* it has just answered the PING of the login */
    node_tell(nc->node);
}

static void node_conn_on_down(void *arg, const char *reason)
{
    struct node_conn *nc = arg;
    struct redis_node *n = nc->node;
    snprintf(n->reason, sizeof n->reason, "%s", reason);
    redis_conn_close(&nc->conn);
    node_conn_retry(nc);
    node_tell(n);
}

static void node_conn_on_retry(struct deadline *d)
{
    node_conn_start(CONTAINER_OF(d, struct node_conn, retry));
}

static dur_ms_t node_stall_timeout_ms(const struct redis_limits *l)
{
    return l->stall_timeout_ms > 0 ? l->stall_timeout_ms : MAX(l->timeout_ms * 10, 1000);
}

static void node_conn_open(struct node_conn *nc)
{
    struct redis_node *n = nc->node;
    const struct redis_endpoint e = {
        .addr = n->addr, .host = redis_server_host(slice_str(n->server)), .login = n->settings.login};
    const struct redis_conn_settings s = {
        .connect_timeout_ms = n->settings.limits.connect_timeout_ms,
        .stall_timeout_ms = node_stall_timeout_ms(&n->settings.limits),
        .master_only = n->settings.master_only,
        .keep_commands = n->settings.keep_commands,
        .on_ready = node_conn_on_ready,
        .on_down = node_conn_on_down,
        .on_outcome = node_on_outcome,
        .on_message = n->settings.on_message != NULL ? node_on_message : NULL,
        .arg = nc,
    };
    nc->wants_name = false;
    nc->conn = redis_conn_open(n->worker, &e, &s);
    if (nc->conn == NULL) {
        snprintf(n->reason, sizeof n->reason, "%s", strerror(errno));
        node_conn_retry(nc);
    }
}

static void node_on_answer(void *arg, const struct resolve_answer *answer)
{
    struct redis_node *n = arg;
    n->lookup = NULL;
    if (answer->count > 0) /* another one each time, in case the first does not work */
        n->addr = answer->addresses[n->lookups++ % answer->count];
    else
        snprintf(n->reason, sizeof n->reason, "%s", answer->error);
    for (unsigned i = 0; i < n->settings.limits.connections; i++) {
        struct node_conn *nc = &n->conns[i];
        if (!nc->wants_name)
            continue;
        nc->wants_name = false;
        if (answer->count > 0)
            node_conn_open(nc);
        else
            node_conn_retry(nc);
    }
}

static void node_conn_start(struct node_conn *nc)
{
    struct redis_node *n = nc->node;
    if (!n->named) {
        node_conn_open(nc);
        return;
    }
    slice_t host = SLICE_EMPTY;
    uint16_t port = 0;
    net_host_port_split(slice_str(n->server), &host, &port);
    if (n->lookup == NULL)
        n->lookup = resolve_start(n->worker, host, port, node_on_answer, n);
    if (n->lookup != NULL) {
        nc->wants_name = true;
        return;
    }
    snprintf(n->reason, sizeof n->reason, "out of memory");
    node_conn_retry(nc);
}

bool redis_server_is_valid(slice_t server)
{
    struct net_addr addr;
    slice_t host;
    uint16_t port;
    if (server.len >= REDIS_SERVER_TEXT || memchr(server.ptr, '\0', server.len) != NULL)
        return false;
    return net_addr_parse(server, &addr) ||
           (!slice_starts(server, SLICE_LIT("unix:")) && net_host_port_split(server, &host, &port) &&
            host.len > 0 && slice_find(host, ':', 0) == SIZE_MAX && port > 0);
}

struct redis_node *redis_node_open(struct worker *w, slice_t server, const struct redis_node_settings *s)
{
    const struct redis_limits *l = &s->limits;
    ASSERT(redis_server_is_valid(server));
    ASSERT(l->connections >= 1 && l->connections <= REDIS_CONNECTIONS_MAX && l->calls_max > 0);
    struct redis_node *n = calloc(1, sizeof *n + l->connections * sizeof n->conns[0]);
    if (n == NULL)
        return NULL;
    n->magic = REDIS_NODE_MAGIC;
    n->worker = w;
    n->settings = *s;
    memcpy(n->server, server.ptr, server.len);
    n->named = !net_addr_parse(server, &n->addr);
    deadline_init(&n->breaker_deadline, breaker_on_deadline);
    for (unsigned i = 0; i < l->connections; i++) {
        n->conns[i].node = n;
        deadline_init(&n->conns[i].retry, node_conn_on_retry);
    }
    for (unsigned i = 0; i < l->connections; i++)
        node_conn_start(&n->conns[i]);
    return n;
}

void redis_node_close(struct redis_node **np)
{
    struct redis_node *n = *np;
    *np = NULL;
    if (n == NULL)
        return;
    CHECK_MAGIC(n, REDIS_NODE_MAGIC);
    n->settings.on_up = NULL;
    n->settings.on_down = NULL;
    n->settings.on_outcome = NULL;
    n->settings.on_message = NULL;
    resolve_cancel(&n->lookup);
    for (unsigned i = 0; i < n->settings.limits.connections; i++) {
        deadline_clear(n->worker, &n->conns[i].retry);
        redis_conn_close(&n->conns[i].conn);
    }
    deadline_clear(n->worker, &n->breaker_deadline);
    n->magic = 0;
    worker_bury(n->worker, &n->grave, free, n);
}

/* Where the next call goes; NULL when none is taken. */
static struct node_conn *node_pick(struct redis_node *n)
{
    CHECK_MAGIC(n, REDIS_NODE_MAGIC);
    if (n->breaker != BREAKER_CLOSED || redis_node_load(n) >= n->settings.limits.calls_max)
        return NULL;
    return node_least_loaded(n);
}

static bool node_count_call(struct redis_node *n, bool taken)
{
    if (taken)
        n->figures.calls++;
    else
        n->figures.refused_at_once++;
    node_count(n, taken ? METRIC_REDIS_CALLS : METRIC_REDIS_REFUSED);
    return taken;
}

static dur_ms_t node_timeout_ms(const struct redis_node *n, const struct redis_call *call)
{
    return call != NULL && call->timeout_ms > 0 ? call->timeout_ms : n->settings.limits.timeout_ms;
}

bool redis_node_call(struct redis_node *n, struct redis_call *call, const slice_t *argv, size_t argc)
{
    struct node_conn *nc = node_pick(n);
    return node_count_call(n, nc != NULL &&
                                  redis_conn_call(nc->conn, call, node_timeout_ms(n, call), argv, argc));
}

bool redis_node_call_behind(struct redis_node *n, struct redis_call *call, const struct redis_call *first,
                            const slice_t *argv, size_t argc)
{
    ASSERT(first->conn != NULL);
    return node_count_call(n, node_pick(n) != NULL &&
                                  redis_conn_call(first->conn, call, node_timeout_ms(n, call), argv, argc));
}

bool redis_node_call_again(struct redis_node *n, struct redis_call *call, bool asking)
{
    struct node_conn *nc = node_pick(n);
    return node_count_call(n, nc != NULL && redis_conn_call_again(nc->conn, call, asking));
}

size_t redis_node_load(const struct redis_node *n)
{
    size_t load = 0;
    for (unsigned i = 0; i < n->settings.limits.connections; i++) {
        const struct redis_conn *c = n->conns[i].conn;
        load += c != NULL && redis_conn_is_ready(c) ? redis_conn_load(c) : 0; /* logging in is none */
    }
    return load;
}

const char *redis_node_server(const struct redis_node *n)
{
    return n->server;
}

struct redis_node_figures redis_node_get_figures(const struct redis_node *n)
{
    struct redis_node_figures f = n->figures;
    f.server = n->server;
    f.up = redis_node_is_up(n);
    f.broken = n->breaker != BREAKER_CLOSED;
    for (unsigned i = 0; i < n->settings.limits.connections; i++)
        f.connected += n->conns[i].conn != NULL && redis_conn_is_ready(n->conns[i].conn);
    f.last_reason = n->reason;
    return f;
}
