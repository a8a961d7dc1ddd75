/* flight.h: one fetch under way: its key, its leader, its followers, and the object it fills.
 *
 *   FETCHING --begin--> FILLING --finish--> COMPLETE
 *      |                  |  \--abort, fail--> CUT
 *      |                  `--outgrows a limit--> WINDOW --finish--> COMPLETE | --abort, fail--> CUT
 *      |--release--> RELEASED   |--fail--> FAILED   |--refresh--> COMPLETE
 *      `--refresh without success, finish of nothing--> RETRIED
 *
 * The table of flights (cache_shard.flights) is under the shard's lock; a flight that is not in it cannot be
 * joined any more (purged, outgrown, ended). Followers, state and room are under the flight's own lock
 * (LOCK_CACHE_FILL). One leader, on one thread, calls what changes the state; he holds one reference, every
 * follower one, a room mail under way one. Freed with the last. */
#ifndef CACHE_FLIGHT_H
#define CACHE_FLIGHT_H

#include "cache/shard.h"
#include "core/digest.h"
#include "core/worker.h"

enum cache_flight_state {
    FLIGHT_FETCHING,
    FLIGHT_FILLING,
    FLIGHT_WINDOW, /* not going to be stored; readers see a sliding window */
    FLIGHT_COMPLETE,
    FLIGHT_CUT,
    FLIGHT_RELEASED,
    FLIGHT_FAILED,
    FLIGHT_RETRIED,
    FLIGHT_STATES
};

/* The leader's wish to hear of room: NONE -> WANTED -> POSTED -> NONE. */
enum cache_room_state { ROOM_NONE, ROOM_WANTED, ROOM_POSTED };

#define CACHE_PASS_OVERSIZE_MS 60000
#define FLIGHT_MAGIC           0x666c6774u

/* A mail and where it goes; embedded. */
struct cache_mail {
    struct mail mail;
    struct worker *to;
};

/* Mails to be posted once the lock is dropped, linked by their own `next`. */
struct cache_mails {
    struct mail *first;
};

struct cache_flight {
    uint32_t magic;
    _Atomic uint32_t refs;
    /* set once */
    struct cache *cache;
    struct cache_shard *shard;
    hash128_t primary_hash;
    size_t primary_bytes;
    uint64_t start_id; /* head of the invalidation log when the fetch started */
    size_t charge;
    /* under the shard's lock; the leader may read them without */
    struct list node; /* in the table, or alone */
    char *key;        /* whole key text: primary, or with the secondary key once the variant is known */
    size_t key_bytes;
    const struct cache_object *varies; /* its object, whose Vary the index does not know yet; NULL: it does */
    uint64_t hash;                     /* low half, of the whole key */
    /* leader's thread */
    int64_t max_object_bytes;
    uint16_t status;    /* of the response, 0: none yet */
    uint8_t window_why; /* enum no_store_reason, once the window is open */
    bool leader_gone;
    size_t held; /* the last bytes of an announced length: committed, shown by cache_flight_store */
    struct cache_object *object; /* set by begin, before followers learn of it; a reference */
    /* under the lock */
    struct lock lock;
    uint8_t state; /* enum cache_flight_state */
    uint8_t room;  /* enum cache_room_state */
    uint8_t error; /* enum fetch_error, with FAILED and CUT */
    uint16_t failed_status;
    bool head_held;          /* the head is all there is: followers get it at the end; or `look_again` */
    bool loaded, look_again; /* struct cache_fill */
    struct list followers;
    size_t follower_count, own_count; /* all; those taken with cache_flight_follow */
    void (*on_room)(void *arg);
    void *room_arg;
    struct cache_mail room_mail; /* ROOM_POSTED: under way */
    struct digest *digest;       /* of the body's first `hashed` bytes; window.c */
    uint64_t hashed;
    /* atomic */
    _Atomic bool windowed; /* state is or was WINDOW: readers report how far they are at once */
};

/* Not in the table yet. One reference, the leader's. NULL when out of memory. */
struct cache_flight *cache_flight_create(struct cache *c, struct cache_shard *sh,
                                         const struct cache_key *primary, const struct cache_key *whole);
void cache_flight_unref(struct cache_flight **fl);

/* Under the shard's lock: */
struct cache_flight *cache_flight_find_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t key,
                                              uint64_t hash);
/* A flight of the URL whose Vary the index does not know yet: who asks may be after the same variant. */
struct cache_flight *cache_flight_find_varying_locked(struct cache_shard *sh,
                                                      const struct cache_key *primary);
void cache_flight_enter_locked(struct cache_flight *fl);
void cache_flight_leave_locked(struct cache_flight *fl);
/* Moves it under another whole key; false when out of memory. Out of the table when that key has a flight. */
bool cache_flight_rekey_locked(struct cache_flight *fl, const struct cache_key *whole);
/* Every flight of the URL leaves the table: who comes now starts a new one. */
void cache_flight_detach_url_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t primary);

/* Under the flight's lock: the one setter of the state. */
void cache_flight_set_state_locked(struct cache_flight *fl, enum cache_flight_state state);
/* window.c; under the flight's lock. The state became WINDOW. */
void cache_flight_open_window_locked(struct cache_flight *fl);
/* Drops what every reader has behind him, and wakes a paused leader, or asks those to leave who keep him
 * paused. Nothing in other states. */
void cache_flight_slide_locked(struct cache_flight *fl, struct cache_mails *mails);

static inline void cache_mails_add(struct cache_mails *mails, struct cache_mail *m)
{
    m->mail.next = mails->first;
    mails->first = &m->mail;
}
/* No lock held. */
void cache_mails_post(struct cache_mails *mails);

#endif
