/* sf.h: Structured Fields (RFC 9651), as far as the fields that we obey need them: dictionaries and lists.
 * Pure. */
#ifndef CORE_SF_H
#define CORE_SF_H

#include "core/base.h"
#include "core/slice.h"

enum sf_type {
    SF_INTEGER,
    SF_DECIMAL,
    SF_STRING,
    SF_TOKEN,
    SF_BYTES,
    SF_BOOLEAN,
    SF_DATE,
    SF_DISPLAY_STRING,
    SF_INNER_LIST
};

/* One member of a dictionary or list; parameters are checked and left out. */
struct sf_member {
    slice_t key;     /* dictionaries */
    slice_t text;    /* SF_STRING: between the quotes, escapes not undone; SF_INNER_LIST: between the
                        parentheses, for sf_inner_list_next; else empty */
    uint8_t type;    /* enum sf_type */
    int64_t integer; /* SF_INTEGER and SF_DATE; 0 or 1 for SF_BOOLEAN; 0 for all others */
};

enum sf_step { SF_MEMBER, SF_END, SF_BROKEN };

/* The next member of a dictionary; start with a copy of the field value in `*rest`. A member that comes
 * before SF_BROKEN counts for nothing: the whole field is then to be ignored. A key may come twice; the later
 * counts. */
enum sf_step sf_dictionary_next(slice_t *rest, struct sf_member *out);
/* The next member of a list, likewise. */
enum sf_step sf_list_next(slice_t *rest, struct sf_member *out);
/* The next item of an inner list; start with a copy of its `text`. */
enum sf_step sf_inner_list_next(slice_t *rest, struct sf_member *out);

#endif
