/* proxy_worker.c: see proxy_worker.h. */
#include "proxy/proxy_worker.h"

#include <stdlib.h>

#include "cache/remote_peek.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/random.h"
#include "core/text.h"
#include "proxy/client_conn.h"
#include "proxy/compress.h"
#include "proxy/exchange.h"
#include "proxy/h2_conn.h"
#include "proxy/listener.h"
#include "proxy/phase.h"
#include "proxy/server.h"
#include "proxy/tunnel.h"

#define DRAIN_FRESH_MS 1000 /* how long a connection without a request yet may take when the server stops */
/* When another process goes on, there is no hurry: an idle client may send its next request just now, and is
 * told in the answer. */
#define PATIENCE_MS    5000
#define FIELD_CAPACITY 1000 /* the most max_headers may be, and fields of a response head */

static void proxy_worker_on_turn_end(struct turn_hook *h)
{
    struct proxy_worker *pw = CONTAINER_OF(h, struct proxy_worker, turn_hook);
    log_ring_flush(pw->worker->log);
}

struct proxy_worker *proxy_worker_create(struct server *server, struct worker *w, struct cache *cache,
                                         struct snapshot *s)
{
    struct proxy_worker *pw = calloc(1, sizeof *pw);
    if (pw == NULL)
        return NULL;
    pw->worker = w;
    pw->server = server;
    pw->cache = cache;
    pw->field_capacity = FIELD_CAPACITY;
    pw->read_buffer = malloc(READ_BUFFER_BYTES);
    pw->relay_buffer = malloc(READ_BUFFER_BYTES);
    pw->fields = calloc(FIELD_CAPACITY, sizeof *pw->fields);
    pw->response_fields = calloc(FIELD_CAPACITY, sizeof *pw->response_fields);
    list_init(&pw->listeners);
    list_init(&pw->conns);
    list_init(&pw->exchanges);
    list_init(&pw->auth_jobs);
    list_init(&pw->free_exchanges);
    list_init(&pw->handshakes);
    list_init(&pw->handshake_hook.node);
    list_init(&pw->turn_hook.node);
    pw->turn_hook.on_turn_end = proxy_worker_on_turn_end;
    upstream_pool_init(&pw->upstreams);
    hash_random(&pw->random, sizeof pw->random);
    text_put_hex16(pw->id_prefix, random_next(&pw->random));
    pw->view = snapshot_view_new(snapshot_ref(s));
    if (pw->read_buffer == NULL || pw->relay_buffer == NULL || pw->fields == NULL ||
        pw->response_fields == NULL || pw->view == NULL) {
        proxy_worker_destroy(pw);
        return NULL;
    }
    w->owner = pw;
    return pw;
}

void proxy_worker_destroy(struct proxy_worker *pw)
{
    if (pw == NULL)
        return;
    proxy_worker_unshare(pw);
    ASSERT(list_empty(&pw->auth_jobs) && list_empty(&pw->conns) && list_empty(&pw->exchanges) &&
           list_empty(&pw->listeners));
    struct list *n;
    while ((n = list_pop_front(&pw->free_exchanges)) != NULL)
        free(CONTAINER_OF(n, struct exchange, node));
    if (pw->view != NULL)
        snapshot_view_unref(pw->view);
    free(pw->read_buffer);
    free(pw->relay_buffer);
    free(pw->fields);
    free(pw->response_fields);
    free(pw->tls_out);
    compress_worker_free(pw);
    h2_scratch_free(pw->h2);
    free(pw->auth_memory);
    free(pw);
}

bool proxy_worker_share(struct proxy_worker *pw, const struct cache_remote_settings *s)
{
    ASSERT(pw->remote == NULL);
    pw->remote = cache_remote_open(s);
    return pw->remote != NULL;
}

void proxy_worker_unshare(struct proxy_worker *pw)
{
    struct cache_remote *remote = pw->remote;
    LIST_FOREACH (n, &pw->exchanges) {
        phase_remote_give_back(CONTAINER_OF(n, struct exchange, node));
    }
    pw->remote = NULL; /* whose look-up ends by this must not ask again */
    cache_remote_close(&remote);
}

void proxy_worker_use(struct proxy_worker *pw, struct snapshot *s)
{
    struct snapshot_view *v = snapshot_view_new(s);
    if (v == NULL) {
        log_error("out of memory: a worker keeps the previous configuration");
        return;
    }
    snapshot_view_unref(pw->view);
    pw->view = v;
}

void proxy_worker_check_done(struct proxy_worker *pw)
{
    if (!pw->draining || pw->done_reported || pw->conn_count > 0 || pw->exchange_count > 0 ||
        pw->grants_awaited > 0 || !list_empty(&pw->auth_jobs))
        return;
    pw->done_reported = true;
    deadline_clear(pw->worker, &pw->patience);
    upstream_pool_close_all(pw);
    server_worker_done(pw->server, pw);
}

/* Who has no request yet, or no other one, has the next one on the way, perhaps. */
static void drain_clients(struct proxy_worker *pw)
{
    LIST_FOREACH_SAFE (n, next, &pw->conns) {
        struct client_conn *c = CONTAINER_OF(n, struct client_conn, node);
        bool unused = c->state == CLIENT_PROXY_HEADER || c->state == CLIENT_HANDSHAKE;
        if (c->state == CLIENT_H2)
            h2_server_drain(c);
        if ((c->state != CLIENT_IDLE && !unused) || c->left != NULL || pw->is_patient)
            continue;
        if (c->requests > 0)
            client_conn_close(c, CLOSE_SHUTDOWN);
        else /* its first request may be on the way */
            deadline_set(pw->worker, &c->deadline, worker_now_ms(pw->worker) + DRAIN_FRESH_MS);
    }
}

static void proxy_worker_on_patience(struct deadline *d)
{
    struct proxy_worker *pw = CONTAINER_OF(d, struct proxy_worker, patience);
    pw->is_patient = false;
    drain_clients(pw);
    proxy_worker_check_done(pw);
}

void proxy_worker_drain(struct proxy_worker *pw)
{
    pw->draining = true;
    LIST_FOREACH_SAFE (n, next, &pw->listeners) {
        listener_close(CONTAINER_OF(n, struct listener, node));
    }
    drain_clients(pw);
    if (pw->remote != NULL) /* who asked hears before this worker is done */
        cache_remote_end_peeks(pw->remote);
    LIST_FOREACH_SAFE (n, next, &pw->exchanges) { /* nobody waits for these */
        struct exchange *x = CONTAINER_OF(n, struct exchange, node);
        if (x->is_mirror)
            exchange_abandon(x);
    }
    proxy_worker_check_done(pw);
}

void proxy_worker_hand_over(struct proxy_worker *pw)
{
    pw->is_patient = true;
    deadline_init(&pw->patience, proxy_worker_on_patience);
    deadline_set(pw->worker, &pw->patience, worker_now_ms(pw->worker) + PATIENCE_MS);
    proxy_worker_drain(pw);
}

void proxy_worker_abort(struct proxy_worker *pw)
{
    LIST_FOREACH_SAFE (n, next, &pw->exchanges) {
        struct exchange *x = CONTAINER_OF(n, struct exchange, node);
        if (x->phase == PHASE_TUNNEL)
            tunnel_close(x, CLOSE_SHUTDOWN);
    }
    LIST_FOREACH_SAFE (n, next, &pw->conns) {
        struct client_conn *c = CONTAINER_OF(n, struct client_conn, node);
        if (c->state == CLIENT_H2) /* the ends of its tunnels */
            h2_server_run(c);
        client_conn_close(c, CLOSE_SHUTDOWN);
    }
    LIST_FOREACH_SAFE (n, next, &pw->exchanges) { /* fetches that went on without their client */
        exchange_abandon(CONTAINER_OF(n, struct exchange, node));
    }
    proxy_worker_check_done(pw);
}
