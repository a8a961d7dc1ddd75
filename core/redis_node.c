/* redis_node.c: see redis_node.h.
 *
 * The breaker:  CLOSED --failures in a row--> OPEN --pause over--> TRIAL --PING answered--> CLOSED
 *                                            ^------- it was not ------'
 * or, from either, as soon as a new connection has logged in.
 * The trial is a PING of the node's own, not the call of some client who would have to wait for it. */
#include "core/redis_node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/panic.h"

#define REDIS_NODE_MAGIC 0x72646e64u

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_TRIAL };

struct node_conn {
    struct redis_node *node;
    struct redis_conn *conn;
    struct deadline retry; /* conn is NULL */
    unsigned failures;     /* in a row */
};

/* Owned by who opened it; one worker's thread. */
struct redis_node {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    const struct redis_endpoint *endpoint;
    struct redis_node_settings settings;
    /* worker's thread */
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

static void node_conn_open(struct node_conn *nc);

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
    for (unsigned i = 0; i < n->settings.connections; i++) {
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

/* ---- breaker ----------------------------------------------------------------------------------------------
 */

static void breaker_open(struct redis_node *n)
{
    n->breaker = BREAKER_OPEN;
    n->breaks_in_row++;
    n->figures.breaks++;
    deadline_set(n->worker, &n->breaker_deadline, worker_now_ms(n->worker) + node_pause_ms(n->breaks_in_row));
}

static void breaker_close(struct redis_node *n)
{
    n->breaker = BREAKER_CLOSED;
    n->failures = n->breaks_in_row = 0;
    node_tell(n);
}

static void trial_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_node *n = CONTAINER_OF(call, struct redis_node, trial);
    UNUSED(reply);
    if (n->breaker != BREAKER_TRIAL)
        return;
    if (o == REDIS_OK)
        breaker_close(n);
    else
        breaker_open(n);
}

static struct node_conn *node_least_loaded(struct redis_node *n)
{
    struct node_conn *best = NULL;
    for (unsigned i = 0; i < n->settings.connections; i++) {
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
    if (nc == NULL || !redis_conn_call(nc->conn, &n->trial, n->settings.timeout_ms, &ping, 1))
        breaker_open(n);
}

static void node_on_outcome(void *arg, enum redis_outcome o)
{
    struct redis_node *n = ((struct node_conn *)arg)->node;
    n->figures.outcomes[o]++;
    if (o == REDIS_OK || o == REDIS_REFUSED) {
        n->failures = 0;
        return;
    }
    if (++n->failures < REDIS_FAILURES_MAX || n->breaker != BREAKER_CLOSED)
        return;
    snprintf(n->reason, sizeof n->reason, "%u calls in a row without an answer", n->failures);
    breaker_open(n);
    node_tell(n);
}

/* ---- connections ------------------------------------------------------------------------------------------
 */

static void node_conn_retry(struct node_conn *nc)
{
    struct redis_node *n = nc->node;
    nc->failures++;
    n->figures.reconnects++;
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
    node_conn_open(CONTAINER_OF(d, struct node_conn, retry));
}

static void node_conn_open(struct node_conn *nc)
{
    struct redis_node *n = nc->node;
    const struct redis_conn_settings s = {
        .connect_timeout_ms = n->settings.connect_timeout_ms,
        .stall_timeout_ms = MAX(n->settings.timeout_ms * 10, 1000),
        .on_ready = node_conn_on_ready,
        .on_down = node_conn_on_down,
        .on_outcome = node_on_outcome,
        .arg = nc,
    };
    nc->conn = redis_conn_open(n->worker, n->endpoint, &s);
    if (nc->conn == NULL) {
        snprintf(n->reason, sizeof n->reason, "%s", strerror(errno));
        node_conn_retry(nc);
    }
}

struct redis_node *redis_node_open(struct worker *w, const struct redis_endpoint *e,
                                   const struct redis_node_settings *s)
{
    ASSERT(s->connections >= 1 && s->connections <= REDIS_CONNECTIONS_MAX);
    struct redis_node *n = calloc(1, sizeof *n + s->connections * sizeof n->conns[0]);
    if (n == NULL)
        return NULL;
    n->magic = REDIS_NODE_MAGIC;
    n->worker = w;
    n->endpoint = e;
    n->settings = *s;
    deadline_init(&n->breaker_deadline, breaker_on_deadline);
    for (unsigned i = 0; i < s->connections; i++) {
        n->conns[i].node = n;
        deadline_init(&n->conns[i].retry, node_conn_on_retry);
        node_conn_open(&n->conns[i]);
    }
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
    for (unsigned i = 0; i < n->settings.connections; i++) {
        deadline_clear(n->worker, &n->conns[i].retry);
        redis_conn_close(&n->conns[i].conn);
    }
    deadline_clear(n->worker, &n->breaker_deadline);
    n->magic = 0;
    worker_bury(n->worker, &n->grave, free, n);
}

bool redis_node_call(struct redis_node *n, struct redis_call *call, const slice_t *argv, size_t argc)
{
    CHECK_MAGIC(n, REDIS_NODE_MAGIC);
    struct node_conn *nc = n->breaker == BREAKER_CLOSED ? node_least_loaded(n) : NULL;
    if (nc == NULL || !redis_conn_call(nc->conn, call, n->settings.timeout_ms, argv, argc)) {
        n->figures.refused_at_once++;
        return false;
    }
    n->figures.calls++;
    return true;
}

struct redis_node_figures redis_node_get_figures(const struct redis_node *n)
{
    struct redis_node_figures f = n->figures;
    f.up = redis_node_is_up(n);
    for (unsigned i = 0; i < n->settings.connections; i++)
        f.connected += n->conns[i].conn != NULL && redis_conn_is_ready(n->conns[i].conn);
    f.last_reason = n->reason;
    return f;
}
