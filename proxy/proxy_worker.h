/* proxy_worker.h: what the proxy keeps per traffic worker: listeners, client connections, buffers, free
 * exchanges, idle upstream connections. Touched by that worker's thread only. */
#ifndef PROXY_PROXY_WORKER_H
#define PROXY_PROXY_WORKER_H

#include <sys/uio.h>

#include "core/clock.h"
#include "core/list.h"
#include "core/metrics.h"
#include "core/worker.h"
#include "proxy/snapshot.h"
#include "proxy/upstream_pool.h"

struct auth_memory;
struct cache;
struct cache_object;
struct cache_remote;
struct cache_remote_settings;
struct client_conn;
struct compress_worker;
struct exchange;
struct h2_scratch;
struct redis;
struct server;
struct tls_out;

#define OUT_MAX_IOV       128
#define OUT_SCRATCH_BYTES (32 * KB)
#define READ_BUFFER_BYTES (128 * KB)

/* Bytes on their way to one client, gathered during a turn and written by one writev. */
struct out_batch {
    struct client_conn *conn; /* whose they are; NULL when empty */
    unsigned count;
    size_t bytes, scratch_used;
    struct iovec iov[OUT_MAX_IOV];
    struct cache_object *owner[OUT_MAX_IOV]; /* object the piece lies in; NULL: copied if it must wait */
    char scratch[OUT_SCRATCH_BYTES];
};

/* An object that this worker has tried to renew: not again before `until_ms`. */
struct proxy_renewal {
    const struct cache_object *object; /* an address, perhaps of one long gone */
    mono_ms_t until_ms;
};
#define PROXY_RENEWALS 64

/* A key whose asset no instance had: they are not asked again before `until_ms`. See assets.h. */
struct proxy_kept_asset {
    hash128_t key;
    mono_ms_t until_ms;
};
#define PROXY_KEPT_ASSETS 64

struct proxy_worker {
    /* set once */
    struct worker *worker;
    struct server *server;
    struct cache *cache;       /* NULL: store = off */
    char *read_buffer;         /* READ_BUFFER_BYTES: input of one client connection, see client_conn.h */
    char *relay_buffer;        /* READ_BUFFER_BYTES: input of one upstream connection */
    struct http_field *fields; /* scratch for parsing one request head; response_fields likewise */
    struct http_field *response_fields;
    unsigned field_capacity;
    char id_prefix[16]; /* request ids: random prefix and a counter */
    /* owner thread */
    uint64_t id_counter;
    unsigned grants_awaited; /* fetch_queue.c */
    uint64_t random;         /* core/random.h */
    struct proxy_renewal renewals[PROXY_RENEWALS];
    struct proxy_kept_asset kept_assets[PROXY_KEPT_ASSETS];
    struct cache_remote *remote; /* the store that nodes share; NULL: none */
    struct snapshot_view *view;  /* the current configuration */
    struct list listeners;
    struct list conns;
    struct list exchanges; /* all live ones */
    unsigned conn_count, exchange_count, refresh_count, mirror_count, slice_fetch_count;
    struct list free_exchanges;
    unsigned free_exchange_count;
    struct client_conn *read_owner; /* whose unread input lies in read_buffer */
    struct out_batch out;
    struct upstream_pool upstreams;
    struct h2_scratch *h2;            /* made when first needed */
    struct tls_out *tls_out;          /* likewise */
    struct compress_worker *compress; /* likewise */
    struct list handshakes;           /* client_tls.node, oldest first */
    unsigned handshake_count;
    mono_us_t handshakes_us; /* spent on them in this turn */
    struct turn_hook handshake_hook;
    struct turn_hook turn_hook;      /* flushes the log ring */
    struct list auth_jobs;           /* passwords that are being checked: auth_check.h */
    struct auth_memory *auth_memory; /* made when first needed */
    bool draining;                   /* no new requests; keep-alive ends */
    bool is_patient;                 /* draining: idle clients are let be until they ask once more */
    struct deadline patience;
    bool done_reported;  /* told the server that nothing is left */
    struct redis *redis; /* while the thread runs; NULL: no [redis], or out of memory */
};

struct proxy_worker *proxy_worker_create(struct server *server, struct worker *w, struct cache *cache,
                                         struct snapshot *s);
void proxy_worker_destroy(struct proxy_worker *pw);

/* Before the worker runs, or on its own thread: a store that it shares with other nodes. false when out of
 * memory. Its Redis may be closed after proxy_worker_unshare. */
bool proxy_worker_share(struct proxy_worker *pw, const struct cache_remote_settings *s);
/* Own thread, or after the worker ran. Nothing is looked up there any more, nothing more is put there. */
void proxy_worker_unshare(struct proxy_worker *pw);
/* Own thread: the configuration for requests from now on; takes over the reference. */
void proxy_worker_use(struct proxy_worker *pw, struct snapshot *s);
/* Own thread: stop accepting, close idle connections, end the others after their exchange. */
void proxy_worker_drain(struct proxy_worker *pw);
/* The same when another process goes on: idle clients get some seconds to send one more request. */
void proxy_worker_hand_over(struct proxy_worker *pw);
/* Own thread: close everything now. */
void proxy_worker_abort(struct proxy_worker *pw);
/* Called wherever a connection or exchange ended; tells the server once nothing is left while draining. */
void proxy_worker_check_done(struct proxy_worker *pw);

static inline void proxy_count(struct proxy_worker *pw, enum metric_id metric, int64_t n)
{
    metrics_add(pw->worker->metrics, metric, n);
}

#endif
