/* lease_state.h: the inside of a lease, for its two halves: asking and waiting (lease.c), holding and giving
 * back (lease_hold.c). The states are drawn in lease.h. */
#ifndef CACHE_LEASE_STATE_H
#define CACHE_LEASE_STATE_H

#include "cache/lease.h"
#include "core/panic.h"
#include "core/redis_reply.h"

#define CACHE_LEASES_MAGIC 0x6c656173u
#define CACHE_LEASE_MAGIC  0x6c656165u

enum lease_state {
    LEASE_ASKING,
    LEASE_WAITING,
    LEASE_HELD,
    LEASE_LOST,
    LEASE_PUTTING,
    LEASE_ORPHAN,
    LEASE_OVER,
    LEASE_STATES
};

/* Owned by who opened it; one worker's thread. */
struct cache_leases {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct cache_lease_settings settings;
    struct cache_lease_scripts scripts;
    struct cache_wakes *wakes;
    /* worker's thread */
    struct list orphans;
    size_t owned; /* leases that are somebody's */
    uint64_t random;
    struct cache_lease_figures figures;
    struct grave grave;
};

/* Owned by who asked, until its result, end or cancel says that it is gone; an orphan by its leases. Freed at
 * the end of the turn. */
struct cache_lease {
    uint32_t magic;
    /* set once */
    struct cache_leases *leases;
    void (*on_result)(void *arg, const struct cache_lease_result *r);
    void *arg;
    struct cache_lease_names names;
    char token[CACHE_LEASE_TOKEN];
    mono_ms_t wait_until_ms;
    /* worker's thread */
    enum lease_state state;
    struct redis_call call; /* the question, a renewal, or the end */
    struct deadline deadline;
    mono_ms_t call_until_ms;
    struct cache_waiter waiter;  /* ASKING and WAITING, if there was room */
    enum cache_wake woken;       /* ASKING: what was heard since it was asked */
    char seen[CACHE_LEASE_TAIL]; /* what tells the record that is no use */
    size_t seen_bytes;
    char holder[CACHE_LEASE_TOKEN]; /* who was waited for last */
    unsigned holders;
    mono_ms_t asked_ms, held_until_ms; /* HELD: when the call under way was sent; known to be ours */
    void (*on_put)(void *arg, enum cache_lease_put put);
    void *put_arg;
    struct list node; /* ORPHAN */
    struct grave grave;
    char text[]; /* of the names */
};

void cache_lease_set_state(struct cache_lease *l, enum lease_state to);
/* It is over, and freed at the end of the turn; no callback runs any more. */
void cache_lease_bury(struct cache_lease *l);

/* ASKING -> HELD, renewed from now on; and what the deadline of a held one leads to. */
void cache_lease_hold(struct cache_lease *l);
void cache_lease_renew(struct cache_lease *l);

/* Ends it in Redis; without effect when it is not ours there. `call` may be NULL. false: Redis takes no call.
 */
bool cache_lease_give_back(const struct cache_lease *l, struct redis_call *call, enum cache_wake outcome);
/* ASKING, PUTTING -> ORPHAN, which gives it back now, or later, and again until it must have expired. */
void cache_lease_become_orphan(struct cache_lease *l);
void cache_lease_give_back_now(struct cache_lease *l);
void cache_lease_give_back_later(struct cache_lease *l);

static inline mono_ms_t lease_now_ms(const struct cache_lease *l)
{
    return worker_now_ms(l->leases->worker);
}

static inline void lease_set_deadline(struct cache_lease *l, mono_ms_t at_ms)
{
    deadline_set(l->leases->worker, &l->deadline, at_ms);
}

static inline slice_t lease_token(const struct cache_lease *l)
{
    return slice_make(l->token, sizeof l->token);
}

/* Redis may carry out the command all the same. */
static inline bool lease_is_unanswered(enum redis_outcome o)
{
    return o != REDIS_ANSWERED && o != REDIS_REFUSED;
}

#endif
