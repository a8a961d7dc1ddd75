/* h2_reply.c: see h2_reply.h. Fields that belong to a connection do not get this far (forward.h). */
#include "proxy/h2_reply.h"

#include "core/panic.h"
#include "proxy/client_out.h"
#include "proxy/h2_lines.h"
#include "proxy/h2_stream.h"

#define TEXT_MAX (8 * KB) /* larger heads are nghttp2's as a whole: they may take several frames */

/* A head, or trailers, that wait for their frame: the lines that nghttp2 does not have. */
struct h2_text {
    struct list node; /* h2_conn.texts */
    struct h2_stream *stream;
    const void *stored_at; /* the first part's text; NULL: it is not stored */
    unsigned parts;
    uint16_t part_bytes[H2_HEAD_PARTS];
    char text[];
};

/* ---- to nghttp2 ---- */

/* A byte, from the static table, which nghttp2 does not use of what it must not index. */
static bool is_static_status(const nghttp2_nv *v)
{
    static const char known[] = "200 204 206 304 400 404 500";
    if (v->namelen != 7 || v->name[0] != ':')
        return false;
    for (const char *at = known; at < known + sizeof known; at += 4) {
        if (memcmp(at, v->value, 3) == 0)
            return true;
    }
    return false;
}

static void never_index(struct h2_nv *v)
{
    for (size_t i = 0; i < v->count; i++) {
        if (!is_static_status(&v->pair[i]))
            v->pair[i].flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    }
}

/* :status of the head in the scratch. false: no memory, or no head. */
static bool nv_status(struct h2_scratch *s)
{
    h2_nv_begin(&s->nv);
    return s->part_count > 0 && s->part[0].len >= 12 &&
           h2_nv_add_pseudo(&s->nv, SLICE_LIT(":status"), slice_make(s->part[0].ptr + 9, 3));
}

static bool nv_fields(struct h2_scratch *s)
{
    for (unsigned i = 0; i < s->part_count; i++) {
        if (!h2_nv_add_lines(&s->nv, s->part[i]))
            return false;
    }
    return true;
}

/* With the first `parts` of the head in the scratch, which are `bytes` long. NULL: no memory. */
static struct h2_text *text_of(struct h2_stream *s, unsigned parts, size_t bytes)
{
    const struct h2_scratch *scratch = s->conn->client->pw->h2;
    struct h2_text *t = size_pool_alloc(sizeof *t + bytes, s->pool);
    if (t == NULL)
        return NULL;
    char *to = t->text;
    t->stream = s;
    t->stored_at = scratch->part_stored ? scratch->part[0].ptr : NULL;
    t->parts = parts;
    for (unsigned i = 0; i < parts; i++) {
        t->part_bytes[i] = (uint16_t)scratch->part[i].len;
        memcpy(to, scratch->part[i].ptr, scratch->part[i].len);
        to += scratch->part[i].len;
    }
    return t;
}

/* The head in the scratch becomes its status, in the nv, and a text; or all of it lies in the nv, and the
 * text is empty. NULL: no memory, or no head. */
static struct h2_text *prepare(struct h2_stream *s)
{
    struct h2_scratch *scratch = s->conn->client->pw->h2;
    size_t bytes = 0;
    for (unsigned i = 0; i < scratch->part_count; i++)
        bytes += scratch->part[i].len;
    const bool whole = bytes > TEXT_MAX;
    if (!nv_status(scratch) || (whole && !nv_fields(scratch)))
        return NULL;
    never_index(&scratch->nv);
    return whole ? text_of(s, 0, 0) : text_of(s, scratch->part_count, bytes);
}

/* nghttp2 has it, if `error` is 0. */
static bool submitted(struct h2_stream *s, struct h2_text *t, int error)
{
    if (error != 0) {
        size_pool_free(t, s->pool);
        return false;
    }
    list_push_back(&s->conn->texts, &t->node);
    s->texts++;
    return true;
}

bool h2_reply_head(struct h2_stream *s, const nghttp2_data_provider *body)
{
    const struct h2_nv *nv = &s->conn->client->pw->h2->nv;
    struct h2_text *t = prepare(s);
    return t != NULL &&
           submitted(s, t, nghttp2_submit_response(s->conn->session, s->id, nv->pair, nv->count, body));
}

bool h2_reply_interim(struct h2_stream *s)
{
    const struct h2_nv *nv = &s->conn->client->pw->h2->nv;
    struct h2_text *t = prepare(s);
    return t != NULL && submitted(s, t,
                                  nghttp2_submit_headers(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NULL,
                                                         nv->pair, nv->count, NULL));
}

bool h2_reply_trailers(struct h2_stream *s, slice_t lines)
{
    struct h2_scratch *scratch = s->conn->client->pw->h2;
    struct h2_lines any = h2_lines_of(lines);
    slice_t name, value;
    if (!h2_lines_next(&any, &name, &value))
        return false;
    const bool whole = lines.len > TEXT_MAX;
    h2_nv_begin(&scratch->nv);
    if (whole && !h2_nv_add_lines(&scratch->nv, lines))
        return false;
    never_index(&scratch->nv);
    scratch->part[0] = lines;
    scratch->part_stored = false;
    struct h2_text *t = text_of(s, whole ? 0 : 1, whole ? 0 : lines.len);
    return t != NULL &&
           submitted(s, t,
                     nghttp2_submit_trailer(s->conn->session, s->id, scratch->nv.pair, scratch->nv.count));
}

/* ---- from nghttp2 ---- */

static void text_drop(struct h2_stream *s, struct h2_text *t)
{
    list_remove(&t->node);
    s->texts--;
    size_pool_free(t, s->pool);
}

void h2_reply_forget(struct h2_stream *s)
{
    LIST_FOREACH_SAFE (n, next, &s->conn->texts) {
        struct h2_text *t = CONTAINER_OF(n, struct h2_text, node);
        if (s->texts == 0)
            return;
        if (t->stream == s)
            text_drop(s, t);
    }
}

/* The frame is made and on its way; its stream may be over before its bytes are here. */
static int on_before_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *h = arg;
    UNUSED(session);
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    LIST_FOREACH (n, &h->texts) {
        struct h2_text *t = CONTAINER_OF(n, struct h2_text, node);
        if (t->stream->id != frame->hd.stream_id)
            continue;
        ASSERT(h->text == NULL);
        list_remove(n);
        t->stream->texts--;
        h->text = t;
        break;
    }
    return 0;
}

static void put_length(uint8_t *frame, size_t n)
{
    frame[0] = (uint8_t)(n >> 16);
    frame[1] = (uint8_t)(n >> 8);
    frame[2] = (uint8_t)n;
}

/* The fields of `t`, which is given up. */
static size_t pack(struct h2_conn *h, struct h2_text *t, uint8_t *out)
{
    struct h2_scratch *s = h->client->pw->h2;
    char *text = t->text;
    size_t n = 0;
    for (unsigned i = 0; i < t->parts; i++) {
        n += h2_pack_lines(&s->pack, h->table, text, t->part_bytes[i], i == 0 ? t->stored_at : NULL, out + n);
        text += t->part_bytes[i];
    }
    size_pool_free(t, &s->mem.pool);
    return n;
}

void h2_reply_send(struct h2_conn *h, const uint8_t *frame, size_t bytes)
{
    struct client_conn *c = h->client;
    struct h2_text *t = h->text;
    h->text = NULL;
    /* One that lacks fields is small, so there is room for both: h2_send has seen to it. */
    const size_t fields = t != NULL && t->parts > 0 ? h2_pack_room(TEXT_MAX) : 0;
    uint8_t *out = (uint8_t *)client_out_reserve(c, bytes + fields);
    memcpy(out, frame, bytes);
    if (frame[3] == NGHTTP2_HEADERS)
        hpack_table_follow(h->table, frame + H2_FRAME_HEAD, bytes - H2_FRAME_HEAD);
    if (t != NULL) {
        bytes += pack(h, t, out + bytes);
        put_length(out, bytes - H2_FRAME_HEAD);
    }
    client_out_commit(c, bytes);
}

void h2_reply_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_before_frame_send_callback(cb, on_before_send);
}
