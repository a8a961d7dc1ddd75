/* partial.h: responses of which only a part is stored (RFC 9110 section 15.3.7, RFC 9111 sections 3.3, 3.4).
 *
 * A stored part is an object with status 206 under the key of the whole: its body is that part, its stored
 * head says which, in Content-Range. At most one is stored per key and variant. */
#ifndef PROXY_PARTIAL_H
#define PROXY_PARTIAL_H

#include "cache/range.h"
#include "core/outcome.h"
#include "core/text.h"

struct cache_object_info;
struct exchange;

enum partial_kind {
    PARTIAL_ASKED,  /* the client's own Range travels to the instance */
    PARTIAL_REST,   /* `stale` is the beginning or the end of it: what is missing is asked for */
    PARTIAL_FIRST,  /* it is coming, and what `stale` has follows it */
    PARTIAL_SLICE,  /* just these bytes are fetched, to be stored by themselves: slices.h */
    PARTIAL_USELESS /* a part is stored that neither serves this request nor can be completed */
};

/* In the exchange's arena; owner thread. Set by the lookup for the fetch that follows. */
struct partial {
    enum partial_kind kind;
    struct cache_range
        rest; /* PARTIAL_REST: the missing bytes of `size`; PARTIAL_SLICE: those of the slice */
    uint64_t size;
};

/* What a stored part is worth to the exchange's request. */
enum partial_use {
    PARTIAL_NOTHING,
    PARTIAL_CUT,  /* the range it wants lies in it, or beyond the end of the whole: cut it out */
    PARTIAL_AS_IS /* it is the answer to the same Range, and to nothing else */
};

/* `part` describes a stored 206, of which `held` becomes the bytes it has, of `size`, unless that cannot be
 * told (held->end is 0). Pure. */
enum partial_use partial_use(const struct http_head *request, const struct cache_object_info *part,
                             wall_s_t now_s, struct cache_range *held, uint64_t *size);
bool partial_fits(const struct exchange *x, const struct cache_object_info *part);

/* By which two responses, or parts, are known to be of one version (RFC 9110 section 8.8); empty: by nothing.
 */
slice_t partial_strong_validator(const struct exchange *x, const struct cache_object_info *part);
/* The lookup found the part in x->info, which does not fit: decides what is to be fetched. false: no memory.
 */
bool partial_found(struct exchange *x);
/* Nothing is stored and x leads the fetch: whether its own Range should travel. */
void partial_ask(struct exchange *x);
/* The fields by which an instance is asked for what is missing, or (PARTIAL_SLICE) for a slice; under a
 * flight.
 */
void partial_put_fields(struct text *t, const struct exchange *x);

enum partial_taken {
    PARTIAL_FILLING, /* it is being stored */
    PARTIAL_AGAIN,   /* of no use: the whole must be asked for */
    PARTIAL_RELAY,   /* for this client alone; the flight, if it has not ended, is to be released for `why` */
    PARTIAL_GIVEN,   /* another exchange has the response, and this one is gone */
    PARTIAL_OTHER    /* nothing special: as any response */
};
/* The head of the response to a fetch with x->partial and a flight. */
enum partial_taken partial_take(struct exchange *x, const struct http_head *head, enum no_store_reason *why);
/* The head of a 206 as it is stored. `.ptr` is NULL without memory. */
slice_t partial_stored_text(struct exchange *x, const struct http_head *head);
/* The response was read to its end: adds what was stored behind it. false: no memory. */
bool partial_finish(struct exchange *x);

#endif
