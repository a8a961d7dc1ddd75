/* h2_nv.c: see h2_nv.h. */
#include "proxy/h2_nv.h"

#include <stdlib.h>

#include "core/http_msg.h"
#include "core/panic.h"
#include "proxy/h2_lines.h"

void h2_nv_free(struct h2_nv *v)
{
    free(v->pair);
    *v = (struct h2_nv){0};
}

static NOINLINE bool nv_grow(struct h2_nv *v)
{
    const unsigned room = MAX(2 * v->room, 32u);
    nghttp2_nv *pair = realloc(v->pair, room * sizeof *pair);
    if (pair == NULL)
        return false;
    v->pair = pair;
    v->room = room;
    return true;
}

static inline bool nv_add(struct h2_nv *v, slice_t name, slice_t value, uint8_t flags)
{
    if (UNLIKELY(v->count == v->room) && !nv_grow(v))
        return false;
    v->pair[v->count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.ptr,
                                       .namelen = name.len,
                                       .value = (uint8_t *)(uintptr_t)value.ptr,
                                       .valuelen = value.len,
                                       .flags = flags};
    return true;
}

bool h2_nv_add_pseudo(struct h2_nv *v, slice_t name, slice_t value)
{
    return nv_add(v, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

/* A name that we know lies in memory that stays, in lower case, and so nghttp2 need not make its own. */
bool h2_nv_add(struct h2_nv *v, slice_t name, slice_t value)
{
    const enum http_field_id id = http_field_lookup(name);
    return id != HTTP_FIELD_OTHER ? nv_add(v, http_field_name(id), value, NGHTTP2_NV_FLAG_NO_COPY_NAME)
                                  : nv_add(v, name, value, NGHTTP2_NV_FLAG_NONE);
}

bool h2_nv_add_lines(struct h2_nv *v, slice_t text)
{
    struct h2_lines lines = h2_lines_of(text);
    slice_t name, value;
    while (h2_lines_next(&lines, &name, &value)) {
        if (!h2_nv_add(v, name, value))
            return false;
    }
    return true;
}
