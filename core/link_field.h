/* link_field.h: the values of Link fields (RFC 8288 section 3): what a response points to, and as what.
 * Pure; any thread. */
#ifndef CORE_LINK_FIELD_H
#define CORE_LINK_FIELD_H

#include "core/slice.h"

struct link_value {
    slice_t text; /* as it stands there: "<...>; rel=preload" */
    slice_t rel;  /* of the first `rel`, without quotes; empty: there is none */
};

/* The next link of a field's value: begin with a copy of it in `*rest`. false: there are no more, or what
 * follows is malformed. */
bool link_next(slice_t *rest, struct link_value *out);

/* Is `type` one of the relation types of `rel`, ASCII case ignored? */
bool link_rel_has(slice_t rel, slice_t type);

#endif
