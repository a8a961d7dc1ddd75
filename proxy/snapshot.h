/* snapshot.h: a configuration made ready for the request path: routes with their pools, rules and labels.
 *
 * One struct snapshot per successful (re)load, shared by all workers, refcounted atomically and rarely. Each
 * worker wraps it in a snapshot_view with a plain count, so that a request pins its configuration without
 * writing to memory that other workers read. */
#ifndef PROXY_SNAPSHOT_H
#define PROXY_SNAPSHOT_H

#include <stdatomic.h>

#include "balancer/balancer.h"
#include "cache/rules.h"
#include "config/config.h"
#include "core/rate.h"
#include "proxy/access_log.h"

struct arena;
struct auth_file;
struct calm_page;
struct quantile;
struct split;
struct tls_site;
struct tls_tickets;

/* A route as the request path wants it. Owned by its snapshot; immutable. */
struct route {
    const struct config_route *config;
    struct pool *pool; /* NULL when the route answers itself */
    struct cache_rules rules;
    struct rate_limit rate;     /* of each client; step_ns 0: no limit */
    struct quantile *heads;     /* how long its heads take, when hedge goes by that; else NULL */
    hash128_t limit_id;         /* tells it from other limits */
    uint16_t label;             /* metrics label of its name */
    bool always_matches;        /* no condition at all */
    bool is_plain;              /* for all addresses, without limit or affinity, and not answered by itself */
    bool has_affinity;          /* the pool has hash_on or sticky_cookie: affinity.h */
    bool limits_pool;           /* an instance of the pool has max_connections: fetch_queue.h */
    bool times_pool;            /* the pool goes by how long its instances take */
    bool http2_pool;            /* the pool has protocol = h2 */
    bool hedges;                /* a slow GET or HEAD is sent to a second instance: hedge.h */
    bool guards_tries;          /* timeout or retry_idempotency_key is given */
    bool compresses;            /* has `compress`: compress.h */
    bool edits_response;        /* fields of responses are set or removed, or browser_ttl is given */
    bool tells_user;            /* $remote_user goes to the instance */
    struct calm_page *calm;     /* NULL: none */
    struct auth_file *auth;     /* of basic_auth; NULL: none */
    struct split *split;        /* the requests are split: split.h; a reference. NULL: they are not */
    const struct route *canary; /* the same route for the side of the canary; NULL: there is none */
    const struct route *mirror; /* the same route for the copies of requests; NULL: they are not copied */
    const char *other_cookie;   /* the sticky cookie of the split's other side, or NULL */
    const struct route *stable; /* of the canary: the route that is listed */
};

/* Set once; `refs` is atomic. */
struct snapshot {
    _Atomic uint32_t refs;
    struct config *config;
    struct balancer_set *balancers;
    struct route *routes;
    size_t route_count;
    struct route *mirrors; /* of those with `mirror` */
    size_t mirror_count;
    struct route *canaries; /* of those that are split */
    size_t canary_count;
    struct tls_site **tls;               /* of each listener, NULL where plain; NULL: no listener has TLS */
    struct access_format *access_format; /* NULL: access log off */
    uint64_t slow_request_us;            /* 0 = off */
    bool allows_websocket;               /* a route that has a pool does */
};

/* Control thread. Takes its own reference on `c`. NULL and a message in `err` on failure. */
struct snapshot *snapshot_build(struct config *c, struct balancer *b, char *err, size_t err_bytes);
/* Control thread, before anybody else has it: splits that `from` has as well, word for word, go on as they
 * are. */
void snapshot_keep_splits(struct snapshot *s, const struct snapshot *from);
/* Control thread, before anybody else has it: loads the certificates of its listeners. false and a message.
 */
bool snapshot_load_tls(struct snapshot *s, struct tls_tickets *tickets, char *err, size_t err_bytes);
/* Of one of its listeners; NULL: plain. */
struct tls_site *snapshot_tls(const struct snapshot *s, const struct config_listen *l);
struct snapshot *snapshot_ref(struct snapshot *s); /* any thread */
void snapshot_unref(struct snapshot *s);           /* any thread */

/* One worker's hold on a snapshot; touched by that worker only. A cache line of its own: the control thread
 * makes those of all workers, one after the other, and each request writes to it twice. */
struct snapshot_view {
    _Alignas(CACHE_LINE) struct snapshot *shared;
    unsigned refs;
};
/* Takes over the caller's reference on `s`; NULL when out of memory (the reference is then dropped). */
struct snapshot_view *snapshot_view_new(struct snapshot *s);
static inline struct snapshot_view *snapshot_view_ref(struct snapshot_view *v)
{
    v->refs++;
    return v;
}
void snapshot_view_unref(struct snapshot_view *v);

/* The path as routes are matched against it: percent-encoding decoded (but for NUL), "." and ".."
 * segments resolved, repeated slashes one, so that no spelling of a path slips past an access rule. The
 * request itself travels on as it came. Returns `path` itself when it has nothing to change; `.ptr` is NULL
 * when out of memory. */
slice_t route_path_normalise(struct arena *arena, slice_t path);

/* What routing looks at. */
struct route_request {
    slice_t host; /* lower case not needed; port allowed */
    slice_t path; /* normalised */
    const struct http_head *head;
};
/* First route whose conditions all hold, or NULL. Pure. */
const struct route *route_match(const struct snapshot *s, const struct route_request *r);
/* The routes that a GET for this host and (normalised) path may take, depending on its fields, one after the
 * other: begin with NULL for `after`; NULL behind the last. Pure. */
const struct route *route_next_for(const struct snapshot *s, slice_t host, slice_t path,
                                   const struct route *after);

#endif
