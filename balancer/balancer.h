/* balancer.h: pools of instances; picks one, never forwards.
 *
 * The balancer lives as long as the process and keeps instances (with their health, load and statistics)
 * across reloads: an instance is the same when pool name, server name and address are. A balancer_set is the
 * refcounted view that belongs to one configuration snapshot: its pools in the order of config.pools.
 *
 * Threads: sets are built on the control thread, which also runs the probes and changes states; pool_pick and
 * instance_release are called by any worker and take no lock. */
#ifndef BALANCER_BALANCER_H
#define BALANCER_BALANCER_H

#include "balancer/sticky.h"
#include "config/config.h"
#include "core/outcome.h"
#include "core/worker.h"

struct tls_target;
struct balancer;
struct balancer_set;
struct pool;
struct instance;
struct queue;

/* X(id, name): starting -> up|down; up -> down|ejected; down -> up; ejected -> up|down. starting and up are
 * usable. draining is no state of an instance: so is shown whose server an operator has drained, whatever its
 * health. */
#define INSTANCE_STATES(X)                                                                                   \
    X(STARTING, "starting")                                                                                  \
    X(UP, "up")                                                                                              \
    X(DRAINING, "draining")                                                                                  \
    X(EJECTED, "ejected")                                                                                    \
    X(DOWN, "down")
enum instance_state {
#define X(id, name) INSTANCE_##id,
    INSTANCE_STATES(X)
#undef X
        INSTANCE_STATE_COUNT
};
const char *instance_state_name(enum instance_state s);

/* `control` runs the probes; its thread calls everything that is not said to be for workers. */
struct balancer *balancer_create(struct worker *control);
/* After all sets, leases and instance references but the active set's own are gone. The control worker's loop
 * must not run any more; its mail is delivered. */
void balancer_destroy(struct balancer *b);

/* Runs whenever probes have taken an instance down, which is picked no more by then; `i` is borrowed. */
void balancer_on_lost(struct balancer *b, void (*on_lost)(void *arg, struct instance *i), void *arg);

/* `on_retired` is told when instances are no longer of any set that is in use: connections to them
 * (instance_is_retired) need not be kept. */
void balancer_on_retired(struct balancer *b, void (*on_retired)(void *arg), void *arg);

/* Builds the pools of a snapshot (resolving names, blocking: literals do not block). NULL and a message in
 * `err` when out of memory or a file for TLS cannot be used; a name that does not resolve gives an instance
 * that is down ("name does not resolve") and is tried again every few seconds. The returned set holds one
 * reference, and one on the snapshot. */
struct balancer_set *balancer_set_build(struct balancer *b, struct config *c, char *err, size_t err_bytes);
/* Makes this the set whose instances are probed; instances of the old set that are not in it stop being
 * probed. The balancer holds a reference while it is active. `s` NULL: nothing is probed any more. */
void balancer_set_activate(struct balancer *b, struct balancer_set *s);
struct balancer_set *balancer_set_ref(struct balancer_set *s); /* any thread */
void balancer_set_unref(struct balancer_set *s); /* any thread; freed by mail on the control thread */

struct pool *balancer_set_pool(struct balancer_set *s, size_t index);
const struct config_pool *pool_config(const struct pool *p);
const char *pool_balance_name(const struct pool *p); /* as `balance` says it */

/* What a request brings along that speaks for an instance; 0: nothing does. */
struct pool_affinity {
    uint64_t key; /* a hash of what hash_on names */
    uint32_t pin; /* of the instance that sticky_cookie names: pool_pin_of_value */
};

/* Any thread: does the pool pick by how long instances take to answer? Then workers tell instance_observe. */
bool pool_is_timed(const struct pool *p);
/* Worker, of pools with sticky_cookie. The pin of a cookie's value, or 0 when it is none of ours; and that of
 * an instance of the pool with the cookie's value for it (no NUL), or 0 when it is no longer one. */
uint32_t pool_pin_of_value(const struct pool *p, slice_t value);
uint32_t pool_pin_of_instance(const struct pool *p, const struct instance *i, char value[STICKY_CHARS]);

/* How TLS is spoken to the instances at the moment; NULL, as long as the set is held: it is not. Any thread;
 * to compare with, since files that change put another in its place. */
struct tls_target *pool_tls(const struct pool *p);
/* Any thread that RCU knows: a reference, or NULL. */
struct tls_target *pool_tls_get(const struct pool *p);
/* Worker: the name that this instance is asked for and has to prove; lives as long as the set. It may
 * have been taken out of use meanwhile. NULL: it is of another pool. */
const char *pool_tls_name(const struct pool *p, const struct instance *i);
/* Control thread, or a command: the same made of one section, for the caller. NULL and "file:line: [pool
 * NAME] key: what is wrong; what would be right". */
struct tls_target *pool_tls_new(const struct config *c, const struct config_pool *config, char *err,
                                size_t err_bytes);
/* Control thread. Pools of the active set whose files have changed go by what these hold now; true when that
 * was tried with any. */
bool balancer_look_tls(struct balancer *b);
/* Control thread: NULL, or why the files as they are now are not in use. */
const char *pool_tls_problem(const struct pool *p);
/* What there is to say about the certificate that instances are shown: NULL, or "file:line: [pool NAME] key:
 * ..." in `buf`. */
const char *pool_tls_doubt(const struct config *c, const struct config_pool *config,
                           const struct tls_target *t, wall_ms_t now_ms, char *buf, size_t buf_bytes);

/* Worker: an instance to try next, its in-flight count raised, or NULL when none is usable. Instances in
 * `tried` are avoided while another usable one is left (backups included); when all were tried the best is
 * taken again. `backup` servers are used only when no other is usable. A pin comes before all that, unless
 * its server takes nobody any more. When every instance is down, NULL. `a` may be NULL. */
struct instance *pool_pick(struct pool *p, const struct pool_affinity *a, struct instance *const *tried,
                           size_t tried_count);
/* Is a usable instance left that is not in `tried`? */
bool pool_has_untried(struct pool *p, struct instance *const *tried, size_t tried_count);
/* Is there a server with max_connections? Then workers call pool_pick_limited instead. */
bool pool_is_limited(const struct pool *p);
enum pool_pick_result {
    POOL_PICKED, /* *out */
    POOL_FULL,   /* whom it may have are all at their limit; *out: the one that it is pinned to, or NULL */
    POOL_EMPTY   /* none is usable */
};
enum pool_pick_result pool_pick_limited(struct pool *p, const struct pool_affinity *a,
                                        struct instance *const *tried, size_t tried_count,
                                        struct instance **out);
struct queue *pool_queue(struct pool *p); /* of one that was full: queue.h */

/* Worker: ends the lease of pool_pick with what came of it. Connection refusals and resets are told to the
 * state machine so that a dead instance is noticed before its next probe (a probe is brought forward). */
void instance_release(struct instance *i, enum fetch_error outcome);

/* Worker, with a lease: its answer began after `us`. */
void instance_observe(struct instance *i, mono_us_t us);

/* Worker: how long a connection to it may have been idle and still be used, for a request that may be sent
 * twice, or may not; INT64_MAX: nothing is known. */
dur_ms_t instance_idle_ms(const struct instance *i, bool repeatable);
/* Worker: a response came with this Keep-Alive field; it closed a connection that had been idle for so long.
 */
void instance_on_keep_alive(struct instance *i, slice_t value);
void instance_on_idle_close(struct instance *i, dur_ms_t idle_ms);

/* Any thread. Valid while a lease or the set is held. */
const struct net_addr *instance_addr(const struct instance *i);
/* As people see it: the name of its server, with "@" and its address where that has several. */
const char *instance_name(const struct instance *i);
/* No pool in use stands on it any more: connections to it are not kept. */
bool instance_is_retired(const struct instance *i);
uint16_t instance_label(const struct instance *i); /* metrics label "pool/name" */
enum instance_state instance_state(const struct instance *i);
bool instance_is_usable(const struct instance *i);
struct instance *instance_ref(struct instance *i); /* an idle upstream connection holds one */
void instance_unref(struct instance *i);
uint32_t instance_id(const struct instance *i); /* small number, unique in the process: key of idle pools */

/* Retries (pure but for the budget). A try that failed with `e` may be followed by another when this says so.
 */
struct retry_context {
    unsigned tries_done;    /* including the failed one; tries that got a free retry are not counted */
    unsigned status;        /* response status, or 0 when there was none */
    bool idempotent;        /* the method is, or the client and the route say so */
    bool body_replayable;   /* no body, or all of it can be sent (again): none was taken yet, or it is kept */
    bool request_sent;      /* at least its head was handed to the kernel */
    bool response_started;  /* the client has seen a byte */
    bool reused_connection; /* failed on a kept-alive connection before any response byte */
};
/* The free retry after a reused connection died does not count against retries or budget. */
bool pool_may_retry(struct pool *p, enum fetch_error e, const struct retry_context *ctx);
/* Worker: does the budget allow one more try that is nobody's retry? Takes it. */
bool pool_may_hedge(struct pool *p);
/* Worker: once per request, feeds the retry budget. */
void pool_count_request(struct pool *p);

/* What an operator orders about a server, until it is taken back: across reloads and changes of its address,
 * but not across a restart of the program. */
enum balancer_order_kind {
    BALANCER_DRAIN, /* no new requests, not even of visitors who are pinned to it */
    BALANCER_READY, /* ends that */
    BALANCER_WEIGHT /* another weight than the configuration's */
};
struct balancer_order {
    enum balancer_order_kind kind;
    const char *pool, *server; /* names */
    const char *who;           /* for the log and status */
    int weight;                /* of BALANCER_WEIGHT; -1: as configured */
    bool force;                /* also when nobody would be left to take requests */
};
enum balancer_order_result {
    BALANCER_ORDERED,
    BALANCER_NO_POOL,
    BALANCER_NO_SERVER,
    BALANCER_LAST_ONE, /* no other server of the pool takes requests now */
    BALANCER_ORDER_NO_MEMORY
};
/* Control thread. Once it is ordered, each pick goes by it: what in_flight says from now on of a drained
 * server only falls. */
enum balancer_order_result balancer_order(struct balancer *b, const struct balancer_order *o);
/* Control thread. What is ordered now, as one would have to order it again. */
void balancer_each_order(const struct balancer *b, void (*fn)(void *arg, const struct balancer_order *o),
                         void *arg);

/* Control thread. Would nobody be left in the active set's pool to take requests, while this one does now?
 * False also when there is no such server. */
bool balancer_is_last(const struct balancer *b, const char *pool, const char *server);
/* Control thread, once the active set has the server no more: requests that began with older sets get others,
 * from the moment it returns. How many still run there. */
uint64_t balancer_retire(struct balancer *b, const char *pool, const char *server);

/* For status pages, control thread. */
struct instance_info {
    const char *pool, *name, *address; /* the name as instance_name gives it */
    const char *server;                /* orders are about this */
    enum instance_state state;
    const char *reason; /* why it is in that state */
    wall_ms_t since_ms;
    int weight, configured_weight; /* the first one counts */
    bool backup;
    bool added;                /* at run time; no file has it */
    const char *balance;       /* of the pool */
    const char *sticky_cookie; /* of the pool; "" */
    unsigned share_percent;    /* of its weight: less than 100 for slow_start after it came back */
    const char *spared;        /* why it is not ejected although it fails; "" */
    int max_connections;       /* 0: no limit */
    dur_ms_t idle_ms;          /* unused connections are given up after this; 0: as configured */
    const char *idle_from;     /* "announced" by the instance, "observed", or "" */
    unsigned waiting;          /* of the pool: requests for which no instance is free */
    uint64_t in_flight, requests, failures, probes_ok, probes_failed, ejections;
    uint64_t leaving; /* requests under way at addresses that its server stands on no more */
};
void balancer_each_instance(struct balancer *b, void (*each)(void *arg, const struct instance_info *info),
                            void *arg);

#endif
