/* h2_priority.h: the Priority field (RFC 9218 section 4): how urgent a response is, and whether parts of it
 * are of use. Pure. */
#ifndef CORE_H2_PRIORITY_H
#define CORE_H2_PRIORITY_H

#include "core/base.h"
#include "core/slice.h"

#define H2_URGENCY_DEFAULT 3
#define H2_URGENCY_LEAST   7 /* 0 is the most urgent */

struct h2_priority {
    uint8_t urgency;
    bool incremental;
    bool said; /* by a field; a broken one says nothing */
};

/* Takes over what a value says and leaves the rest. Unknown parameters, and those whose value is of another
 * type or out of range, are passed over; a value that is no dictionary changes nothing. */
void h2_priority_take(struct h2_priority *p, slice_t value);

#endif
