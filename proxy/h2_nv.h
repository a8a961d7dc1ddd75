/* h2_nv.h: a head between its text and the pairs of names and values that nghttp2 wants.
 *
 * nghttp2 copies them when it is given them, and makes names lower case. Worker thread. */
#ifndef PROXY_H2_NV_H
#define PROXY_H2_NV_H

#include <nghttp2/nghttp2.h>

#include "core/base.h"
#include "core/slice.h"

/* The pairs of one head. Zero it before the first; h2_nv_free at the end. */
struct h2_nv {
    nghttp2_nv *pair; /* of `room` */
    unsigned room;
    size_t count;
};
void h2_nv_free(struct h2_nv *v);

/* The next head begins: pairs of the one before are no more. */
static inline void h2_nv_begin(struct h2_nv *v)
{
    v->count = 0;
}
/* `name` is a constant, in lower case; `value` must last until the next head. false: no memory. */
bool h2_nv_add_pseudo(struct h2_nv *v, slice_t name, slice_t value);
/* Name and value must last until the next head. false: no memory. */
bool h2_nv_add(struct h2_nv *v, slice_t name, slice_t value);
/* The field lines of a head's text, or of a part of it, which must last as long. false: no memory. */
bool h2_nv_add_lines(struct h2_nv *v, slice_t text);

#endif
