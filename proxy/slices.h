/* slices.h: responses put together from slices that are stored each by itself (cache/slicing.h), on routes
 * with `slice`.
 *
 *   LOOKUP finds nothing whole -> SLICES, until the slice with the first byte is there -> DELIVER -> LOG
 *             ^----- not to be sliced, or look again ---'
 *
 * The client's exchange only reads: what is missing is fetched by exchanges without a client (slice_fetch.c),
 * one per slice for all who want it. It reads one slice at a time and has the next one fetched meanwhile. */
#ifndef PROXY_SLICES_H
#define PROXY_SLICES_H

#include "cache/slicing.h"
#include "core/text.h"
#include "proxy/partial.h"
#include "proxy/phase.h"

/* A reader of one slice:
 *
 *   CLOSED -> READY (it is stored) | WAITS -> READY (its head is there) | FAILED, and from each back to
 * CLOSED
 */
enum slice_state { SLICE_CLOSED, SLICE_WAITS, SLICE_READY, SLICE_FAILED, SLICE_STATES };

/* Why it FAILED. */
enum slice_failure {
    SLICE_AGAIN,    /* look again: it may be there now */
    SLICE_UNSLICED, /* what came is no slice, nor would be what comes next: the request does without */
    SLICE_ALONE,    /* the request must do without others, for `why` */
    SLICE_ERROR     /* the fetch failed with `error`, perhaps since the instance answered `status` */
};

struct slice_reader {
    struct exchange *x;
    uint8_t state; /* enum slice_state; slice_reader.c has the setter */
    uint8_t failure, why, error;
    uint16_t status;
    bool fetched; /* it was not found, but came from a fetch */
    bool led;     /* from that which this reader began */
    bool told;    /* WAITS: by that, how it is going to fail: slice_reader_tell */
    bool judged;  /* it is of the response's version */
    bool aged;    /* it is past its freshness, and used all the same */
    uint64_t index;
    struct cache_object *object; /* READY; a reference */
    struct cache_object *stale;  /* WAITS, FAILED: what is stored, but must be asked about; a reference */
    struct cache_follower *follower;
    struct exchange *fetch; /* of `led`, while it is under way; knows this reader */
};

/* In the arena of its exchange; its worker's thread. Ends with the exchange, or when that goes on without. */
struct slices {
    uint64_t slice_bytes;
    uint64_t start;  /* the byte that the request begins with, as far as is known without `size` */
    uint64_t first;  /* the slice that is awaited in phase SLICES, then that of the head */
    uint64_t beyond; /* not 0: a slice that is none, as the instance says */
    uint64_t size;   /* of the whole; 0: not known yet */
    slice_t validator, coding,
        head; /* of the version that is sent; validator empty: the slice is all there is */
    char *key_buffer;
    bool left;      /* the request goes on without slices, for good */
    uint8_t rounds; /* times the slice under way was looked up */
    uint8_t turn;   /* reader[turn] reads, the other is ahead */
    struct slice_reader reader[2];
    struct arena scratch; /* for look-ups */
    char scratch_block[512];
};

static inline struct slice_reader *slices_current(struct slices *s)
{
    return &s->reader[s->turn];
}

static inline struct slice_reader *slices_ahead(struct slices *s)
{
    return &s->reader[!s->turn];
}

/* On a route with `slice`: may the request, for which nothing whole is stored, be answered from slices? `old`
 * is a part, or NULL. */
bool slices_apply(struct exchange *x, const struct cache_object *old);
/* It is, from LOOKUP; or passed, when it is one that cannot be. */
enum phase_result slices_begin(struct exchange *x);
/* phase_wait_timeout in phase SLICES. */
void slices_on_timeout(struct exchange *x);
/* The fetch that `r` began has brought an answer that is no slice: is it the one to its own request, which
 * has sent nothing yet? */
bool slices_may_take(const struct slice_reader *r);
/* So it is, and the request goes on in phase FETCH, as if it had asked itself. */
void slices_take(struct slice_reader *r);

enum slices_step { SLICES_DONE, SLICES_PARK, SLICES_CUT };
/* Hands the client what is there. CUT: what comes next is of another version, or does not come. */
enum slices_step slices_pump(struct exchange *x);
void slices_free(struct exchange *x);
/* Does what comes next depend on a fetch under way? */
static inline bool slices_await_instance(const struct exchange *x)
{
    return x->slices->reader[x->slices->turn].follower != NULL;
}

/* ---- slice_reader.c ---- */

/* Looks the slice up, and joins its fetch, or begins it, where it is not there to be used; CLOSED -> any
 * other. `needed`: however many fetches are under way. Inside the RCU section of phase_run. */
void slice_reader_open(struct slice_reader *r, uint64_t index, bool needed);
/* Any -> CLOSED. Nothing of its slice may be on its way to the client by reference. */
void slice_reader_close(struct slice_reader *r);
/* From the fetch that it began, which then ends for all who wait: to this one it says more. The first word
 * counts. */
void slice_reader_tell(struct slice_reader *r, enum slice_failure failure, enum no_store_reason why,
                       enum fetch_error error, unsigned status);
/* What is stored may be used if the fetch that was to renew it fails. */
bool slice_reader_may_stand_in(const struct slice_reader *r);
/* FAILED -> READY, with that, if the fetch has failed. */
bool slice_reader_stand_in(struct slice_reader *r);

/* ---- slice_fetch.c: the fetch of one slice ---- */

/* What such an exchange has as its `partial`, of kind PARTIAL_SLICE. */
struct slice_fetch {
    struct partial partial; /* `rest`: the bytes that are asked for */
    struct cache_key whole; /* the key of what it is a slice of */
    uint64_t slice_bytes, index;
    struct slice_reader *reader; /* that began it, while it reads; or NULL */
};

/* Too many are under way on this worker: none that can be done without is begun. */
bool slice_fetch_is_crowded(const struct exchange *x);
/* Begins the fetch of a slice for the request of `x`, whose `key` the flight is for, as a renewal of `stale`
 * (NULL: nothing is stored). `reader` may be NULL. Consumes the flight; without memory, that fails. */
void slice_fetch_begin(struct exchange *x, struct cache_flight **flight, const struct cache_key *key,
                       uint64_t index, struct cache_object *stale, struct slice_reader *reader);
/* Its reader has gone, which was of `x`: it ends, unless others wait, or it is being stored. */
void slice_fetch_leave(struct exchange *fetch, const struct exchange *x);
/* As partial_put_fields and partial_take. */
void slice_fetch_put_fields(struct text *t, const struct exchange *x);
enum partial_taken slice_fetch_take(struct exchange *x, const struct http_head *head,
                                    enum no_store_reason *why);
/* LOG. */
void slice_fetch_done(struct exchange *x);

/* ---- slice_stored.c ---- */

/* What a stored slice says of the whole. false: it is none, which only our own bugs or a collision could
 * bring. */
bool slice_read(const struct slices *s, uint64_t index, const struct cache_object_info *info, uint64_t *size);
/* Is it of the version that is sent? */
bool slice_is_of_version(const struct exchange *x, uint64_t index, struct cache_object *o);
/* The version that is sent is no longer the instance's: who comes next does not begin with it. */
void slices_forget_first(struct exchange *x);
/* By a fresh slice, nothing is there from `start` on. */
bool slices_end_before(struct exchange *x, uint64_t start);
/* All that the request needs is there, fresh and of one version. */
bool slices_are_stored(struct exchange *x);
/* The URL is not to be asked for in slices for this request. */
bool slices_are_refused(const struct exchange *x);
/* The answer to this request for a slice of `whole` was none: so it will be for some minutes, for all, or for
 * this client. */
void slices_remember(const struct exchange *x, const struct cache_key *whole, bool for_all);

static inline bool slice_fetch_is(const struct exchange *x)
{
    return x->partial != NULL && x->partial->kind == PARTIAL_SLICE;
}

#endif
