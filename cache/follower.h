/* follower.h: one request that waits for, or reads from, somebody's flight.
 *
 *   WAITING --verdict--> CALLED --delivered--> READING (object) | DONE (pass, retry, failed)
 *   READING --arm--> ARMED --bytes or end--> WOKEN --delivered--> READING --asked to leave--> WOKEN
 *   CALLED, WOKEN --close--> ORPHAN --delivered--> freed;   any other --close--> freed
 *
 * CALLED, WOKEN and ORPHAN are the states in which the follower's one mail is under way; what comes meanwhile
 * needs no second one, since the reader looks at the object when the mail is there.
 *
 * Owned by the request; its worker's thread only, but for what the flight's lock covers. Holds a reference of
 * the flight, and through it the object. A follower that only carries "look up again" has no flight and no
 * lock. */
#ifndef CACHE_FOLLOWER_H
#define CACHE_FOLLOWER_H

#include "cache/flight.h"

enum cache_follower_state {
    FOLLOWER_WAITING,
    FOLLOWER_CALLED,
    FOLLOWER_READING,
    FOLLOWER_ARMED,
    FOLLOWER_WOKEN,
    FOLLOWER_DONE,
    FOLLOWER_ORPHAN,
    FOLLOWER_STATES
};

#define FOLLOWER_MAGIC 0x666f6c6cu

struct cache_follower {
    uint32_t magic;
    /* set once */
    bool own; /* the leader's client */
    void (*on_event)(void *arg, enum cache_event event);
    void *arg;
    struct cache *cache;
    uint64_t join_id; /* head of the log of invalidations when it came */
    /* owner's thread */
    struct cache_flight *flight; /* NULL: none, or closed */
    /* under the flight's lock */
    struct list node; /* among the flight's followers while WAITING or reading */
    uint8_t state;    /* enum cache_follower_state */
    uint8_t event;    /* enum cache_event, in CALLED and WOKEN */
    struct cache_mail mail;
    /* atomic */
    _Atomic uint64_t offset; /* how far the reader is */
    _Atomic bool stalled;    /* its client takes no more for now */
};

/* NULL when out of memory. Takes a reference of the flight. */
struct cache_follower *cache_follower_create(struct cache *c, struct cache_flight *fl, struct worker *w,
                                             void (*on_event)(void *arg, enum cache_event event), void *arg);
/* Under the flight's lock: enters its list, in the state that fits the flight's (WAITING, or CALLED with
 * OBJECT; the leader's own: READING). */
void cache_follower_attach_locked(struct cache_follower *f, bool own, struct cache_mails *mails);
/* Under the flight's lock: WAITING -> CALLED with this event. Anything but OBJECT takes it off the list. */
void cache_follower_call_locked(struct cache_follower *f, enum cache_event event, struct cache_mails *mails);
/* Under the flight's lock: ARMED -> WOKEN with this event; nothing in other states. */
void cache_follower_wake_locked(struct cache_follower *f, enum cache_event event, struct cache_mails *mails);
/* Under the flight's lock: READING -> WOKEN with CACHE_EVENT_BEHIND; nothing in other states. */
void cache_follower_ask_to_leave_locked(struct cache_follower *f, struct cache_mails *mails);
/* Without flight: its first and only event is RETRY. */
void cache_follower_call_retry(struct cache_follower *f);

#endif
