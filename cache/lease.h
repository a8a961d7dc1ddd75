/* lease.h: a cold key that is asked for on ten nodes is fetched once: who may fetch it, over Redis.
 *
 *   ASKING --stored, pass, alone, unavailable--> over
 *     | ^ \--another's--> WAITING --pass, alone--> over
 *     |  `----- woken, or in time ---'
 *     `--ours--> HELD --renewal says no--> LOST
 *                  |--put--> PUTTING --answered--> over
 *                  `--end, cancel--> over         (so from LOST)
 *   cancelled while ASKING, no answer when ASKING or PUTTING --> ORPHAN --given back, or expired--> over
 *
 * One command asks for the stored record and, where there is none, for the lease. Who gets it fetches,
 * stores, and ends it; the others are woken, and ask again. It expires unless it is renewed, which happens
 * here for as long as it is held: a holder that dies, or is cut off, is followed by another after at most
 * `ttl_ms`, and what he may still want to write then is refused by Redis itself (lease_script.c says why that
 * is enough). Who cannot have a lease fetches without, as if there were no Redis, and stores nothing there.
 *
 * No clock of one node is compared with another's: what travels are lengths of time, and only Redis counts
 * them. Waiting ends with `wait_ms`, a call with `timeout_ms`, whatever Redis does. Nothing waits for a wake
 * alone: what is left of the other's lease is over some time, and while wakes may be missed one asks again
 * every CACHE_LEASE_POLL_MS, or a bit more. */
#ifndef CACHE_LEASE_H
#define CACHE_LEASE_H

#include "cache/lease_wake.h"

#define CACHE_LEASE_HOLDERS_MAX 4 /* that one request waits for, one after the other */
#define CACHE_LEASE_POLL_MS     250
#define CACHE_LEASE_TTL_MAX_MS  60000

struct cache_leases; /* of one worker */
struct cache_lease;  /* one request for a lease, and the lease */

struct cache_lease_settings {
    struct redis *redis; /* borrowed, and outlives this */
    slice_t prefix;      /* borrowed; as for cache_record_name, the same on all nodes */
    dur_ms_t ttl_ms;     /* up to CACHE_LEASE_TTL_MAX_MS; renewed each third of it */
    dur_ms_t timeout_ms; /* of one round trip */
    size_t waiters_max;  /* who asks or waits; one more asks too, but does not wait */
};

/* NULL when out of memory. */
struct cache_leases *cache_leases_open(struct worker *w, const struct cache_lease_settings *s);
/* After every lease is over or cancelled, before redis_close, not from inside a callback of any. Nulls; NULL
 * is fine. */
void cache_leases_close(struct cache_leases **ls);

/* ---- asking ---- */

enum cache_lease_want {
    CACHE_LEASE_RECORD, /* the record, or else the lease */
    CACHE_LEASE_NEWER,  /* the record if it is another than `refused`, or else the lease */
    CACHE_LEASE_ANYWAY  /* the lease, whatever is stored now; a record only if it is written meanwhile */
};

/* What becomes of it: X(id, name, what it means). All but HELD end it. */
#define CACHE_LEASE_OUTCOMES(X)                                                                              \
    X(FOUND, "found", "there is a record")                                                                   \
    X(HELD, "held", "fetch it, then put or end")                                                             \
    X(PASSED, "pass", "the holder found that it may not be stored")                                          \
    X(ALONE, "alone", "waited long enough, or there are too many who wait")                                  \
    X(UNAVAILABLE, "unavailable", "Redis refuses, does not answer, or makes no sense")

enum cache_lease_outcome {
#define X(id, name, text) CACHE_LEASE_##id,
    CACHE_LEASE_OUTCOMES(X)
#undef X
        CACHE_LEASE_OUTCOME_COUNT
};
const char *cache_lease_outcome_name(enum cache_lease_outcome o);

struct cache_lease_result {
    enum cache_lease_outcome outcome;
    slice_t record;           /* FOUND: the head record as it is stored; lives during the callback */
    dur_ms_t left_ms;         /* FOUND: until it expires; negative = never */
    enum redis_outcome redis; /* UNAVAILABLE: of the call; ANSWERED = with what makes no sense */
};

struct cache_lease_request {
    slice_t key; /* copied as its hash */
    enum cache_lease_want want;
    slice_t refused;  /* NEWER: the record that is no use, or at least its end; copied */
    dur_ms_t wait_ms; /* for other holders, all in all; 0 = not at all */
    void (*on_result)(void *arg, const struct cache_lease_result *r);
    void *arg;
};

/* on_result runs once, never from inside this; with anything but HELD the object is gone. NULL: Redis does
 * not take the call, or there is no memory: UNAVAILABLE at once, and on_result does not run. */
struct cache_lease *cache_lease_ask(struct cache_leases *ls, const struct cache_lease_request *rq);
/* In any state, from anywhere: no callback runs any more; what was held is ended as FAILED. Nulls; NULL is
 * fine. */
void cache_lease_cancel(struct cache_lease **l);
/* For another holder, or has; not only for Redis. */
bool cache_lease_has_waited(const struct cache_lease *l);
/* It is, or would be, the lease of this key. */
bool cache_lease_is_of(const struct cache_lease *l, slice_t key);

/* ---- holding ---- */

/* Nobody else can hold it yet, as far as this node knows. A hint, to stop work that would be refused; and
 * what must be true whenever a chunk is written, since Redis does not check those. */
bool cache_lease_is_held(const struct cache_lease *l);

/* X(id, name, what it means) */
#define CACHE_LEASE_PUTS(X)                                                                                  \
    X(WRITTEN, "written", "the record is stored, and who waited was told")                                   \
    X(FENCED, "fenced", "the lease is not ours any more: nothing was written")                               \
    X(REJECTED, "rejected", "Redis answered with an error: nothing was written")                             \
    X(UNKNOWN, "unknown", "no answer: written now, later (while the lease is ours), or not")

enum cache_lease_put {
#define X(id, name, text) CACHE_LEASE_##id,
    CACHE_LEASE_PUTS(X)
#undef X
        CACHE_LEASE_PUT_COUNT
};

/* The record is written, and the lease ends as STORED, in one step, or neither. `record` is copied and
 * `expire_ms` positive. true: on_put runs once, never from inside this, and with it the object
 * is gone; until then cancelling it ends the callback, not the writing. false: it was lost, or Redis takes no
 * call: nothing is written, the object is gone, *l nulled. */
bool cache_lease_put(struct cache_lease **l, slice_t record, dur_ms_t expire_ms,
                     void (*on_put)(void *arg, enum cache_lease_put put), void *arg);
/* Ends it without a record, as CACHE_WAKE_PASS or CACHE_WAKE_FAILED. The object is gone. Nulls. */
void cache_lease_end(struct cache_lease **l, enum cache_wake outcome);

/* ---- figures ---- */

struct cache_lease_figures {
    uint64_t outcomes[CACHE_LEASE_OUTCOME_COUNT]; /* UNAVAILABLE at once included */
    uint64_t waits;                               /* times that a request began to wait */
    uint64_t lost;                                /* leases, while held */
    uint64_t puts[CACHE_LEASE_PUT_COUNT], not_put;
    struct cache_wakes_figures wakes;
};
struct cache_lease_figures cache_leases_get_figures(const struct cache_leases *ls);

#endif
