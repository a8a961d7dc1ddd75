/* h2_priority.c: see h2_priority.h. */
#include "core/h2_priority.h"

#include "core/sf.h"

void h2_priority_take(struct h2_priority *p, slice_t value)
{
    struct h2_priority now = *p;
    struct sf_member m;
    enum sf_step step;
    while ((step = sf_dictionary_next(&value, &m)) == SF_MEMBER) {
        if (m.type == SF_INTEGER && slice_eq(m.key, SLICE_LIT("u")) && m.integer >= 0 &&
            m.integer <= H2_URGENCY_LEAST)
            now.urgency = (uint8_t)m.integer;
        else if (m.type == SF_BOOLEAN && slice_eq(m.key, SLICE_LIT("i")))
            now.incremental = m.integer != 0;
    }
    now.said = true;
    if (step == SF_END)
        *p = now;
}
