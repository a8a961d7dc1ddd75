/* cache.h: the cache as the proxy sees it: find, lead or wait, fill, finish, purge. It never fetches.
 *
 * A hit:   rcu_enter; o = cache_find(...); check with cache_object_*; send from o; rcu_leave. No lock, no
 * shared write. An object is valid inside the RCU section; whoever needs it longer takes cache_object_ref. A
 * miss:  cache_join(...) says LEAD (fetch it, you hold the flight), FOLLOW (another request is fetching: wait
 * for events) or PASS (fetch for yourself, do not store). Leader:  cache_fill_begin when the head has come
 * and is storable, then cache_fill_buffer/commit while the body comes, then cache_fill_finish or
 * cache_fill_abort; or cache_flight_release when it is not storable, or cache_flight_fail when the fetch
 * failed. Exactly one of finish, abort, release, fail ends a flight. Reader:  everybody who sends from an
 * object that is being filled, the leader's own client included, holds a follower and gets
 * CACHE_EVENT_PROGRESS by mail when he asked for it with cache_follower_arm.
 *
 * Threads: all calls from any worker unless said. Lock order: LOCK_CACHE_SHARD, LOCK_CACHE_FILL,
 * LOCK_CACHE_EVICT, LOCK_INVAL. No callback runs under a lock: events reach followers by worker mail on their
 * own thread. */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include <sys/uio.h>

#include "cache/cond.h"
#include "cache/freshness.h"
#include "cache/key.h"
#include "cache/tags.h"
#include "core/digest.h"
#include "core/outcome.h"
#include "core/worker.h"

struct cache;
struct cache_object;
struct cache_flight;
struct cache_follower;

struct cache_settings {
    size_t memory_bytes;   /* everything: objects, keys, index, flights in filling */
    size_t max_waiters;    /* followers of one flight */
    unsigned max_variants; /* stored for one URL; 0: CACHE_MARKER_VARIANTS */
};

/* Control thread. NULL when out of memory. */
struct cache *cache_create(const struct cache_settings *s);
void cache_set_settings(struct cache *c,
                        const struct cache_settings *s); /* reload; evicts down to a smaller limit */
/* No worker may use it any more. */
void cache_destroy(struct cache *c);

/* ---- objects ---- */

/* What a reader may know of an object, unpacked on request: the stored form is four times denser. The slices
 * live as long as the object. */
struct cache_object_info {
    slice_t head; /* "HTTP/1.1 200 OK\r\n" and the stored fields, each with CRLF, without the blank line,
                     without Content-Length, Transfer-Encoding, Age and Connection */
    uint16_t status;
    uint16_t status_line_bytes; /* length of the first line in head, CRLF included */
    uint16_t hidden_bytes; /* behind head, in the same form: stored fields that no client gets, hidden.h */
    int64_t body_bytes;    /* -1: being filled, length not announced */
    struct cache_freshness fresh;
    struct cache_validators validators; /* slices into head */
    slice_t key;                        /* primary key text */
    slice_t vary_names;                 /* empty = no Vary */
};
struct cache_object_info cache_object_info(const struct cache_object *o);
static inline slice_t cache_object_info_hidden(const struct cache_object_info *i)
{
    return slice_make(i->head.ptr + i->head.len, i->hidden_bytes);
}
/* Its tags joined by one space; empty: none. Lives as long as the object. */
slice_t cache_object_tags(const struct cache_object *o);
/* The same by the fields they came from. */
struct cache_tags cache_object_tag_fields(const struct cache_object *o);

/* The whole body as pieces for writev, for a complete object: fills at most `max` entries from byte `offset`
 * on and returns their number. For one being filled: what has come so far. */
size_t cache_object_iov(const struct cache_object *o, uint64_t offset, struct iovec *iov, size_t max);
/* The descriptor and offset from which sendfile(2) can send such a piece without a copy; -1: it cannot. What
 * was handed to a socket stays as it is, whatever happens to the object. Copying less than
 * CACHE_SENDFILE_LEAST bytes is cheaper than counting references to their pages, which workers that send the
 * same object share. */
#define CACHE_SENDFILE_LEAST (128 * KB)
int cache_body_file(const void *piece, off_t *offset);
/* Complete: nothing will be added. Filled bytes so far (acquire: the bytes below it may be read). */
bool cache_object_is_complete(const struct cache_object *o);
uint64_t cache_object_filled(const struct cache_object *o);

/* How long the fetch took, as cache/herd.h has it. */
unsigned cache_object_early_code(const struct cache_object *o);

struct cache_object *
cache_object_ref(struct cache_object *o); /* inside the RCU section, or holding one already */
void cache_object_unref(struct cache_object **o);

/* ---- looking up ---- */

/* Inside rcu_enter: the complete stored response for this request (variant chosen by Vary), fresh or stale,
 * or NULL. Never one that was purged after its fetch began. Takes no lock; counts the use for eviction.
 * `scratch` serves the secondary key when there are variants. *pass is NO_STORE_STORED, or, when the key
 * is remembered as not storable, what is said of it (no_store_remembered). */
struct cache_object *cache_find(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch, enum no_store_reason *pass);

/* The same without counting the use. */
struct cache_object *cache_look(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch);

enum cache_join { CACHE_LEAD, CACHE_FOLLOW, CACHE_PASS };

/* Events of a follower, delivered on its worker's thread through on_event, one at a time. */
enum cache_event {
    CACHE_EVENT_OBJECT,   /* the object is there (cache_follower_object): read it; may still be filling */
    CACHE_EVENT_PROGRESS, /* more bytes, or the end; after cache_follower_arm */
    CACHE_EVENT_PASS,     /* not storable: fetch for yourself without joining again */
    CACHE_EVENT_RETRY,    /* look up again (purged meanwhile, or the response varies and is not yours) */
    CACHE_EVENT_FAILED,   /* the leader's fetch failed (cache_follower_error), or the object was cut short */
    CACHE_EVENT_BEHIND    /* it is not going to be stored, this reader is a window behind with a client that
                             takes no more (cache_follower_set_stalled), and others wait for him: if he still
                             is, he should go on without this fetch (cache_follower_digest, then close) */
};

struct cache_join_result {
    enum cache_join what;
    enum no_store_reason why;    /* CACHE_PASS */
    bool varies;                 /* other variants of the URL are or were stored */
    struct cache_flight *flight; /* CACHE_LEAD: yours */
    struct cache_follower
        *follower; /* CACHE_FOLLOW: yours; the first event comes by mail, never from inside */
};

/* `stale` (may be NULL) is what cache_find returned and the caller wants to revalidate: if a newer complete
 * object has taken its place meanwhile, the result is CACHE_FOLLOW with an immediate CACHE_EVENT_RETRY. The
 * stale object plays no other role. Own worker's thread. On lack of memory: CACHE_PASS. */
struct cache_join_result cache_join(struct cache *c, const struct cache_key *key,
                                    const struct http_head *request, struct arena *scratch,
                                    const struct cache_object *stale, struct worker *w,
                                    void (*on_event)(void *arg, enum cache_event event), void *arg);
/* As cache_join, however many wait already: for who cannot do without. */
struct cache_join_result cache_join_surely(struct cache *c, const struct cache_key *key,
                                           const struct http_head *request, struct arena *scratch,
                                           const struct cache_object *stale, struct worker *w,
                                           void (*on_event)(void *arg, enum cache_event event), void *arg);

/* Leads a fetch that renews `stale`, which cache_find returned for this request, for nobody who waits: NULL
 * when another is under way, one just failed (cache_back_off), a newer object has taken its place, or
 * memory is short. */
struct cache_flight *cache_lead(struct cache *c, const struct cache_key *key, const struct http_head *request,
                                struct arena *scratch, const struct cache_object *stale);
/* What is said of a request whose key is remembered as one that cannot be stored: the reason of then. Any
 * thread. */
enum no_store_reason cache_remembered(struct cache *c, const struct cache_key *key);

/* For `ms`, a request for the key that has credentials is fetched without queueing: the last response to one
 * could not be shared. Says nothing about requests without. */
void cache_remember_personal(struct cache *c, const struct cache_key *key, dur_ms_t ms);
bool cache_is_personal(struct cache *c, const struct cache_key *key);
/* For `ms`, the key's responses are not asked for in slices (slicing.h): they were no good for that. `who`, a
 * fingerprint, is whom that concerns; 0: everybody. */
void cache_remember_unsliced(struct cache *c, const struct cache_key *key, uint64_t who, dur_ms_t ms);
bool cache_is_unsliced(struct cache *c, const struct cache_key *key, uint64_t who);
/* For `ms`, cache_lead starts no fetch for the key. */
void cache_back_off(struct cache *c, const struct cache_key *key, dur_ms_t ms);

/* How far the readers of an object that is not going to be stored may be apart. */
#define CACHE_WINDOW_BYTES (256 * KB)

/* ---- followers ---- */

/* The object of a follower after CACHE_EVENT_OBJECT: borrowed, valid until cache_follower_close. */
struct cache_object *cache_follower_object(struct cache_follower *f);
/* It was not fetched, but brought back (struct cache_fill, `loaded`). */
bool cache_follower_is_loaded(const struct cache_follower *f);
enum fetch_error cache_follower_error(const struct cache_follower *f);
/* With FETCH_ERROR_STATUS: what the instance answered. */
unsigned cache_follower_status(const struct cache_follower *f);
/* True when the object ended by cache_fill_abort: bytes up to cache_object_filled may be sent, then cut. A
 * reader whose cache_follower_arm says false without new bytes asks this and cache_object_is_complete. */
bool cache_follower_is_cut(const struct cache_follower *f);
/* Tells how far this reader has come, never backwards (lets the filler run on, and trims an object that
 * outgrew the limit: what lies below `offset` may be gone afterwards). */
void cache_follower_set_offset(struct cache_follower *f, uint64_t offset);
/* What is read is not going to be stored: this reader had better not be far behind. */
bool cache_follower_in_window(const struct cache_follower *f);
/* Its client takes no more for now; cleared by cache_follower_set_offset. */
void cache_follower_set_stalled(struct cache_follower *f);
/* SHA-256 of the body's first `offset` bytes, those that this reader has taken: after CACHE_EVENT_BEHIND, and
 * before cache_follower_close. false: not known. */
bool cache_follower_digest(struct cache_follower *f, uint64_t offset, uint8_t value[DIGEST_BYTES]);
/* Asks for one CACHE_EVENT_PROGRESS. false when there is already more than `offset` bytes, or the end: then
 * read on at once, no event will come. */
bool cache_follower_arm(struct cache_follower *f, uint64_t offset);
/* Ends it, in any state, own thread; no event comes afterwards. Nulls the pointer. */
void cache_follower_close(struct cache_follower **f);

/* ---- flights and filling (the leader) ---- */

struct cache_fill {
    const struct http_head *request; /* for the secondary key */
    slice_t head;                    /* as in cache_object_info.head, then hidden lines; copied */
    uint16_t status, status_line_bytes;
    int64_t body_bytes; /* announced length, -1 unknown */
    int64_t max_object_bytes;
    const struct http_head *response; /* for Vary; its validators are found in `head` by offset */
    struct cache_freshness fresh;
    uint8_t early_code;          /* cache/herd.h; 0: not to be renewed early */
    slice_t etag, last_modified; /* slices into `head`, or empty */
    wall_s_t last_modified_s;
    struct cache_tags tags;
    /* Not this flight's fetch, but a stored response that is brought back (record_object.h): what was purged
     * since `checked_id` (as an object has it, with its mark of a soft purge) concerns it. */
    bool loaded;
    uint64_t checked_id;
    bool look_again; /* it is stale: who follows gets CACHE_EVENT_RETRY once it is stored, and nothing before
                      */
};

/* Releases or admits the followers and starts the object. NULL (with *why) when no room could be made, Vary
 * forbids it, or what was loaded is purged: the caller then calls cache_flight_release, or goes on to fetch.
 * On success the returned object is borrowed and lives until the flight ends; a caller whose own client reads
 * it takes a follower with cache_flight_follow.
 */
struct cache_object *cache_fill_begin(struct cache_flight *fl, const struct cache_fill *fill,
                                      enum no_store_reason *why);
/* A follower for the leader's own client; the object is there at once, no CACHE_EVENT_OBJECT comes. NULL: no
 * memory. */
struct cache_follower *cache_flight_follow(struct cache_flight *fl, struct worker *w,
                                           void (*on_event)(void *arg, enum cache_event event), void *arg);
/* Room for the next body bytes: at least 1 byte, usually 16 KB or what is still announced. NULL: no memory
 * (abort). */
char *cache_fill_buffer(struct cache_flight *fl, size_t *room);
/* `n` bytes were put there. Wakes armed readers. An object that outgrows max_object_bytes (or memory_size) is
 * no longer stored but goes on serving its readers through a sliding window. */
void cache_fill_commit(struct cache_flight *fl, size_t n);
/* True when the filler should stop reading until on_room: the slowest reader is more than the window behind
 * an object that is not going to be stored. When another reader has all there is, those that are so far
 * behind because of their clients get CACHE_EVENT_BEHIND, one window of them after the other. */
bool cache_fill_should_pause(struct cache_flight *fl, void (*on_room)(void *arg), void *arg,
                             struct worker *w);
/* Who leads is somebody else's from now on: `arg` for on_room. */
void cache_fill_set_leader(struct cache_flight *fl, void *arg);
/* True when nobody reads and the object will not be stored: the fetch may be cancelled. */
bool cache_fill_is_unwanted(struct cache_flight *fl);
/* The body is complete: the object becomes visible to cache_find before this returns, unless it was purged
 * meanwhile. Returns NO_STORE_STORED or why it was not kept. Nulls the pointer. */
enum no_store_reason cache_fill_finish(struct cache_flight **fl);
/* Cut short: readers get CACHE_EVENT_FAILED after the bytes there are; nothing is stored. */
void cache_fill_abort(struct cache_flight **fl);

/* The stored response was confirmed (304): makes a new object from `stale` (which the caller holds a
 * reference of) with the new head, sharing its body, and ends the flight: followers get CACHE_EVENT_OBJECT.
 * Returns a reference on the new object for the leader's own client, or NULL on lack of memory (then the
 * flight is ended by RETRY). */
struct cache_object *cache_flight_refresh(struct cache_flight **fl, struct cache_object *stale,
                                          const struct cache_fill *fill);
/* The response came with this status; remembered with the key when it turns out that it cannot be stored. */
void cache_flight_answered(struct cache_flight *fl, unsigned status);
/* Another flight, for the key that the response of `of` belongs under: as old as that, and led by the caller,
 * too. NULL: another fetch for that key is under way, or memory is short. */
struct cache_flight *cache_flight_beside(const struct cache_flight *of, const struct cache_key *key,
                                         const struct http_head *request, struct arena *scratch);
/* The response belongs under another key than it was asked for: the flight ends, those who wait get
 * FETCH_CANCELLED, and one for that key, which is as old, takes its place. false, with *fl NULL: another
 * fetch for that key is under way, or memory is short. */
bool cache_flight_move(struct cache_flight **fl, const struct cache_key *key, const struct http_head *request,
                       struct arena *scratch);
/* What is stored under the flight's key is no longer found: its response, which may not be stored, came after
 * it. */
void cache_flight_supersede(struct cache_flight *fl);
/* Not storable: followers get CACHE_EVENT_PASS, together; the key is remembered as pass for `pass_ms` (0 =
 * not). */
void cache_flight_release(struct cache_flight **fl, enum no_store_reason why, dur_ms_t pass_ms);
/* The fetch failed: followers get CACHE_EVENT_FAILED with `e`. */
void cache_flight_fail(struct cache_flight **fl, enum fetch_error e);
/* The instance answered with a server error that is not going to be stored: the same, with FETCH_ERROR_STATUS
 * and cache_follower_status. Those who wait get an error at once, instead of each asking an instance that
 * already has trouble; who comes later asks anew. */
void cache_flight_fail_status(struct cache_flight **fl, unsigned status);
/* Others are waiting or reading besides the leader's own follower. */
bool cache_flight_has_followers(struct cache_flight *fl);

/* The object is no longer found, unless another one is in its place already. Any thread. */
void cache_forget(struct cache *c, struct cache_object *o);

/* ---- purging ---- */

/* All variants of the URL are gone for every request that starts after this returns, a fetch under way
 * included (promise 2). Returns the number of stored objects it removed. Any thread. */
size_t cache_purge_url(struct cache *c, const struct cache_key *key);
/* The same promise, for callers who come often and mostly find nothing: leaves no event in the log where
 * nothing is stored or being fetched. True when there was something. */
bool cache_invalidate_url(struct cache *c, const struct cache_key *key);
/* The same of everything, without counting; the memory comes back later. Other kinds: purge.h. */
void cache_purge_all(struct cache *c);

/* ---- figures ---- */

struct cache_stats {
    uint64_t objects, bytes_used, bytes_limit;
    uint64_t inserts, evictions, purges, flights_now, followers_now;
    uint64_t live_objects; /* allocated and not yet freed, for leak tests */
};
void cache_get_stats(struct cache *c, struct cache_stats *out);

#endif
