/* upstream_pool.c: see upstream_pool.h. The spill is a small array under one lock: it is touched when a
 * worker has too many idle connections or none, not per request. Its entries are checked for life when taken.
 */
#include "proxy/upstream_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/balancer.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/h2_client.h"
#include "proxy/proxy_worker.h"
#include "proxy/server.h"
#include "proxy/upstream_conn.h"

#define SPILL_MAX 256 /* descriptors, all instances together */

struct spilled {
    int fd;
    struct instance *instance; /* a reference */
    mono_ms_t idle_since_ms, idle_until_ms;
};

/* All fields under `lock`. */
struct upstream_spill {
    struct lock lock;
    unsigned count;
    struct spilled items[SPILL_MAX];
};

struct upstream_spill *upstream_spill_create(void)
{
    struct upstream_spill *s = calloc(1, sizeof *s);
    if (s != NULL)
        lock_init(&s->lock, LOCK_SPILL);
    return s;
}

static void spilled_close(struct spilled *sp)
{
    close(sp->fd);
    instance_unref(sp->instance);
}

void upstream_spill_destroy(struct upstream_spill *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->count; i++)
        spilled_close(&s->items[i]);
    lock_destroy(&s->lock);
    free(s);
}

/* Takes the matching entry that was used last; entries past their time are handed out in `dead` to be closed.
 */
static bool spill_take(struct upstream_spill *s, struct instance *i, mono_ms_t now_ms, struct spilled *out)
{
    struct spilled dead[SPILL_MAX];
    unsigned dead_count = 0;
    bool found = false;
    lock_take(&s->lock);
    for (unsigned k = s->count; k-- > 0 && !found;) {
        bool expired = s->items[k].idle_until_ms <= now_ms;
        if (!expired && s->items[k].instance != i)
            continue;
        if (expired)
            dead[dead_count++] = s->items[k];
        else
            *out = s->items[k];
        found = !expired;
        for (unsigned m = k + 1; m < s->count; m++)
            s->items[m - 1] = s->items[m];
        s->count--;
    }
    lock_drop(&s->lock);
    for (unsigned k = 0; k < dead_count; k++)
        spilled_close(&dead[k]);
    return found;
}

static bool spill_put(struct upstream_spill *s, const struct spilled *sp)
{
    struct spilled oldest = {.fd = -1};
    lock_take(&s->lock);
    if (s->count == SPILL_MAX) {
        oldest = s->items[0];
        s->count--;
        memmove(s->items, s->items + 1, s->count * sizeof s->items[0]);
    }
    s->items[s->count++] = *sp;
    lock_drop(&s->lock);
    if (oldest.fd >= 0)
        spilled_close(&oldest);
    return true;
}

void upstream_pool_init(struct upstream_pool *p)
{
    list_init(&p->idle);
    list_init(&p->shared);
    p->count = 0;
}

static bool socket_is_quiet(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void upstream_pool_forget(struct proxy_worker *pw, struct upstream_conn *u)
{
    if (list_empty(&u->node))
        return;
    list_remove(&u->node);
    pw->upstreams.count--;
    proxy_count(pw, METRIC_UPSTREAM_IDLE, -1);
}

static struct upstream_conn *take_spilled(struct proxy_worker *pw, struct instance *i,
                                          mono_ms_t idle_after_ms)
{
    struct spilled sp;
    while (spill_take(server_spill(pw->server), i, worker_now_ms(pw->worker), &sp)) {
        if (sp.idle_since_ms < idle_after_ms || !socket_is_quiet(sp.fd)) {
            spilled_close(&sp);
            continue;
        }
        struct upstream_conn *u = upstream_conn_adopt(pw, sp.fd, sp.instance);
        if (u != NULL) {
            u->idle_since_ms = sp.idle_since_ms;
            proxy_count(pw, METRIC_UPSTREAM_SPILL_TAKEN, 1);
        }
        return u;
    }
    return NULL;
}

static inline struct upstream_conn *pool_take(struct proxy_worker *pw, struct instance *i,
                                              const struct tls_target *tls, bool repeatable)
{
    dur_ms_t max_idle_ms = instance_idle_ms(i, repeatable);
    mono_ms_t idle_after_ms = worker_now_ms(pw->worker) - max_idle_ms;
    LIST_FOREACH_SAFE (n, next, &pw->upstreams.idle) {
        struct upstream_conn *u = CONTAINER_OF(n, struct upstream_conn, node);
        if (u->instance != i || u->target != tls)
            continue;
        if (u->idle_since_ms < idle_after_ms)
            return NULL;
        upstream_pool_forget(pw, u);
        /* Its end may lie in the socket, and the event be due later in this turn. Who may not be sent twice
         * looks. */
        if (!u->readable && (repeatable || upstream_conn_is_quiet(u)))
            return u;
        upstream_conn_close(&u);
    }
    return tls == NULL ? take_spilled(pw, i, idle_after_ms) : NULL;
}

struct upstream_conn *upstream_pool_take(struct proxy_worker *pw, struct instance *i, bool repeatable)
{
    return pool_take(pw, i, NULL, repeatable);
}

struct upstream_conn *upstream_pool_take_tls(struct proxy_worker *pw, struct instance *i,
                                             const struct tls_target *tls, bool repeatable)
{
    return pool_take(pw, i, tls, repeatable);
}

static void pool_spill(struct proxy_worker *pw, struct upstream_conn *u)
{
    struct spilled sp = {.idle_since_ms = u->idle_since_ms, .idle_until_ms = u->idle_until_ms};
    sp.fd = upstream_conn_detach(u, &sp.instance);
    spill_put(server_spill(pw->server), &sp);
}

void upstream_pool_put(struct proxy_worker *pw, struct upstream_conn *u, unsigned max_idle,
                       dur_ms_t idle_timeout_ms)
{
    unsigned same = 0;
    /* A response that ended exactly where the read did leaves the edge unused: look whether anything is
     * there. */
    if (pw->draining || max_idle == 0 || (u->readable && !upstream_conn_is_quiet(u))) {
        upstream_conn_close(&u);
        return;
    }
    u->readable = false;
    u->idle_since_ms = worker_now_ms(pw->worker);
    u->idle_until_ms = u->idle_since_ms + MIN(idle_timeout_ms, instance_idle_ms(u->instance, true));
    deadline_set(pw->worker, &u->deadline, u->idle_until_ms);
    LIST_FOREACH (n, &pw->upstreams.idle) {
        same += CONTAINER_OF(n, struct upstream_conn, node)->instance == u->instance;
    }
    list_push_front(&pw->upstreams.idle, &u->node);
    pw->upstreams.count++;
    proxy_count(pw, METRIC_UPSTREAM_IDLE, 1);
    if (same < max_idle)
        return;
    LIST_FOREACH (n, &pw->upstreams.idle) { /* the last of this instance's is the one idle longest */
        struct upstream_conn *v = CONTAINER_OF(n, struct upstream_conn, node);
        if (v->instance == u->instance)
            u = v;
    }
    if (u->tls == NULL && !instance_is_retired(u->instance))
        pool_spill(pw, u);
    else
        upstream_conn_close(&u);
}

void upstream_pool_close_all(struct proxy_worker *pw)
{
    LIST_FOREACH_SAFE (n, next, &pw->upstreams.idle) {
        struct upstream_conn *u = CONTAINER_OF(n, struct upstream_conn, node);
        upstream_conn_close(&u);
    }
    LIST_FOREACH_SAFE (n, next, &pw->upstreams.shared) {
        h2_client_end(CONTAINER_OF(n, struct h2_client, node));
    }
}

/* What is retired leaves the spill; to be closed by the caller, outside the lock. */
static unsigned spill_take_retired(struct upstream_spill *s, struct spilled dead[SPILL_MAX])
{
    unsigned count = 0, kept = 0;
    lock_take(&s->lock);
    for (unsigned k = 0; k < s->count; k++) {
        if (instance_is_retired(s->items[k].instance))
            dead[count++] = s->items[k];
        else
            s->items[kept++] = s->items[k];
    }
    s->count = kept;
    lock_drop(&s->lock);
    return count;
}

void upstream_pool_close_retired(struct proxy_worker *pw)
{
    struct spilled dead[SPILL_MAX];
    const unsigned count = spill_take_retired(server_spill(pw->server), dead);
    for (unsigned k = 0; k < count; k++)
        spilled_close(&dead[k]);
    LIST_FOREACH_SAFE (n, next, &pw->upstreams.idle) {
        struct upstream_conn *u = CONTAINER_OF(n, struct upstream_conn, node);
        if (instance_is_retired(u->instance))
            upstream_conn_close(&u);
    }
    LIST_FOREACH_SAFE (n, next, &pw->upstreams.shared) {
        struct h2_client *h = CONTAINER_OF(n, struct h2_client, node);
        if (h2_client_is_ready(h) && !h->leaving && instance_is_retired(h->conn->instance))
            h2_client_leave(h);
    }
}
