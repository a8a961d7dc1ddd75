/* lease_wake.h: who on this worker waits for which lease, and the one subscription by which its end is heard.
 *
 * PUBLISH reaches all nodes, in a Cluster by way of its bus, and may get lost: with the connection, which is
 * told to all who wait as MISSED, or on the bus, which nobody notices. So a wake is a hint that it is time to
 * ask again, never the only one. Who waits is entered before he asks, so that no wake comes between the
 * answer and the waiting. What is told may come from anybody who may publish: what is not understood is
 * counted and dropped. One worker's thread. */
#ifndef CACHE_LEASE_WAKE_H
#define CACHE_LEASE_WAKE_H

#include "cache/lease_script.h"

/* How a lease ends: X(id, name). */
#define CACHE_WAKES(X)                                                                                       \
    X(STORED, "stored") /* a record was written */                                                           \
    X(PASS, "pass")     /* it may not be stored: each fetches for himself */                                 \
    X(FAILED, "failed") /* there is no response, or no record of it: one of those who wait tries */

enum cache_wake {
#define X(id, name) CACHE_WAKE_##id,
    CACHE_WAKES(X)
#undef X
        CACHE_WAKE_MISSED, /* not told: something may have been, and was not heard */
    CACHE_WAKE_NONE
};
const char *cache_wake_name(enum cache_wake wake);
/* "HASH OUTCOME"; `hash` points into `payload`. Pure. */
bool cache_wake_parse(slice_t payload, slice_t *hash, enum cache_wake *wake);

/* Embedded in who waits, who takes it off before it is freed; list_init(&node) before its first use. */
struct cache_waiter {
    struct list node;
    slice_t hash; /* borrowed while it is entered */
    /* May enter and take off any waiter, itself included. */
    void (*on_wake)(struct cache_waiter *waiter, enum cache_wake wake);
};

struct cache_wakes;

/* `prefix` is borrowed. NULL when out of memory. */
struct cache_wakes *cache_wakes_open(struct worker *w, struct redis *r, slice_t prefix, size_t waiters_max);
/* Nobody waits any more. Not from inside a callback of it. Nulls; NULL is fine. */
void cache_wakes_close(struct cache_wakes **t);
/* false when as many wait as may. */
bool cache_wakes_add(struct cache_wakes *t, struct cache_waiter *waiter);
/* Fine for one that is not entered. */
void cache_wakes_remove(struct cache_wakes *t, struct cache_waiter *waiter);
bool cache_wakes_is_up(const struct cache_wakes *t); /* what is told now is heard */
slice_t cache_wakes_channel(const struct cache_wakes *t);

struct cache_wakes_figures {
    bool up;
    size_t waiters;
    uint64_t heard, for_us, not_understood, gaps;
};
struct cache_wakes_figures cache_wakes_get_figures(const struct cache_wakes *t);

#endif
