/* h2_reply.c: see h2_reply.h. nghttp2 copies names and values, and makes names lower case, when it is given
 * them: one block of memory per head. Fields that belong to a connection do not get this far (forward.h). */
#include "proxy/h2_reply.h"

#include <stdlib.h>

#include "proxy/deliver.h"

static bool nv_reserve(struct h2_scratch *s, unsigned count)
{
    if (count <= s->nv_room)
        return true;
    const unsigned room = MAX(2 * s->nv_room, count);
    nghttp2_nv *nv = realloc(s->nv, room * sizeof *nv);
    if (nv == NULL)
        return false;
    s->nv = nv;
    s->nv_room = room;
    return true;
}

static nghttp2_nv nv_of(slice_t name, slice_t value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.ptr,
                        .value = (uint8_t *)(uintptr_t)value.ptr,
                        .namelen = name.len,
                        .valuelen = value.len};
}

/* The field lines of `text`. false: no memory. */
static bool nv_lines(struct h2_scratch *s, slice_t text, size_t *count)
{
    slice_t name, value;
    while (head_text_next(&text, &name, &value)) {
        if (!nv_reserve(s, (unsigned)*count + 1))
            return false;
        s->nv[(*count)++] = nv_of(name, slice_trim(value));
    }
    return true;
}

/* Fields of the head in the scratch, :status first. 0: no memory, or no head. */
static size_t nv_head(struct h2_scratch *s)
{
    size_t count = 0;
    if (s->part_count == 0 || s->part[0].len < 12 || !nv_reserve(s, 1))
        return 0;
    s->nv[count++] = nv_of(SLICE_LIT(":status"), slice_make(s->part[0].ptr + 9, 3));
    for (unsigned i = 0; i < s->part_count; i++) {
        if (!nv_lines(s, s->part[i], &count))
            return 0;
    }
    return count;
}

bool h2_reply_head(struct h2_conn *h, int32_t id, const nghttp2_data_provider *body)
{
    struct h2_scratch *s = h->client->pw->h2;
    const size_t count = nv_head(s);
    return count > 0 && nghttp2_submit_response(h->session, id, s->nv, count, body) == 0;
}

bool h2_reply_interim(struct h2_conn *h, int32_t id)
{
    struct h2_scratch *s = h->client->pw->h2;
    const size_t count = nv_head(s);
    return count > 0 &&
           nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, id, NULL, s->nv, count, NULL) == 0;
}

bool h2_reply_trailers(struct h2_conn *h, int32_t id, slice_t lines)
{
    struct h2_scratch *s = h->client->pw->h2;
    size_t count = 0;
    return nv_lines(s, lines, &count) && count > 0 &&
           nghttp2_submit_trailer(h->session, id, s->nv, count) == 0;
}
