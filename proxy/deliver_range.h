/* deliver_range.h: a stored response of which the client wants ranges (RFC 9110 section 14). */
#ifndef PROXY_DELIVER_RANGE_H
#define PROXY_DELIVER_RANGE_H

#include "cache/range.h"
#include "core/text.h"

struct exchange;

#define DELIVER_RANGE_FIELDS_MAX 128 /* what deliver_range_put_fields writes at most */

/* In the exchange's arena. */
struct deliver_range {
    uint64_t size; /* of the whole body */
    uint64_t base; /* of which the object's begins here */
    struct cache_range_set set;
    unsigned next; /* part under way; set.count: all are out */
    bool begun;    /* the text before its bytes is out */
    char boundary[32];
    slice_t before[CACHE_RANGE_PARTS_MAX]; /* with several parts: the text before each, and the last */
    slice_t end;
};

/* The client asks for a range, and its conditions are met: when the response is a 200 from a stored object,
 * decides whether it becomes a 206 or 416 and sets the exchange's status, length and `range`. `base` is its
 * head. */
void deliver_range_begin(struct exchange *x, slice_t base);
/* A field of the whole response that the 206 does not carry. */
bool deliver_range_drops(const struct exchange *x, const struct http_field *f);
/* Content-Range, or the Content-Type of several. */
void deliver_range_put_fields(struct text *t, const struct exchange *x);
/* Adds what there is of the part under way, and moves x->offset: to the next part, or to the end of the body
 * when all are out. false: the client cannot take more now. */
bool deliver_range_pump(struct exchange *x);

static inline bool deliver_range_is_done(const struct deliver_range *r)
{
    return r->next == r->set.count;
}

#endif
