/* h2_reply.c: see h2_reply.h. Fields that belong to a connection do not get this far (forward.h). */
#include "proxy/h2_reply.h"

/* Fields of the head in the scratch, :status first. false: no memory, or no head. */
static bool nv_head(struct h2_scratch *s)
{
    h2_nv_begin(&s->nv);
    if (s->part_count == 0 || s->part[0].len < 12 ||
        !h2_nv_add(&s->nv, SLICE_LIT(":status"), slice_make(s->part[0].ptr + 9, 3)))
        return false;
    for (unsigned i = 0; i < s->part_count; i++) {
        if (!h2_nv_add_lines_again(&s->nv, s->part[i]))
            return false;
    }
    return true;
}

bool h2_reply_head(struct h2_conn *h, int32_t id, const nghttp2_data_provider *body)
{
    struct h2_scratch *s = h->client->pw->h2;
    return nv_head(s) && nghttp2_submit_response(h->session, id, s->nv.pair, s->nv.count, body) == 0;
}

bool h2_reply_interim(struct h2_conn *h, int32_t id)
{
    struct h2_scratch *s = h->client->pw->h2;
    return nv_head(s) && nghttp2_submit_headers(h->session, NGHTTP2_FLAG_NONE, id, NULL, s->nv.pair,
                                                s->nv.count, NULL) == 0;
}

bool h2_reply_trailers(struct h2_conn *h, int32_t id, slice_t lines)
{
    struct h2_scratch *s = h->client->pw->h2;
    h2_nv_begin(&s->nv);
    return h2_nv_add_lines(&s->nv, lines) && s->nv.count > 0 &&
           nghttp2_submit_trailer(h->session, id, s->nv.pair, s->nv.count) == 0;
}
