/* h2_scratch.c: see h2_scratch.h. */
#include "proxy/h2_scratch.h"

#include <stdlib.h>

#include "core/h1_scan.h"
#include "core/panic.h"
#include "proxy/deliver.h"
#include "proxy/h2_client.h"
#include "proxy/h2_conn.h"

#define SEND_HEAD_MAX (256 * KB) /* decoded */
#define CONTINUATIONS 8

static bool scratch_options(struct h2_scratch *s)
{
    if (nghttp2_option_new(&s->option) != 0)
        return false;
    nghttp2_option_set_no_auto_window_update(s->option, 1);
    nghttp2_option_set_no_closed_streams(s->option, 1);
    nghttp2_option_set_max_continuations(s->option, CONTINUATIONS);
    nghttp2_option_set_max_send_header_block_length(s->option, SEND_HEAD_MAX);
    nghttp2_option_set_stream_reset_rate_limit(s->option, UINT32_MAX, UINT32_MAX); /* h2_guard.h does this */
    nghttp2_option_set_builtin_recv_extension_type(s->option, NGHTTP2_PRIORITY_UPDATE);
    return true;
}

struct h2_scratch *h2_scratch_of(struct proxy_worker *pw)
{
    if (pw->h2 != NULL)
        return pw->h2;
    struct h2_scratch *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->mem = (nghttp2_mem){&s->pool, size_pool_alloc, size_pool_free, size_pool_calloc, size_pool_realloc};
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0 ||
        nghttp2_session_callbacks_new(&s->client_callbacks) != 0 || !scratch_options(s)) {
        h2_scratch_free(s);
        return NULL;
    }
    h2_recv_callbacks(s->callbacks);
    h2_send_callbacks(s->callbacks);
    h2_client_callbacks(s->client_callbacks);
    return pw->h2 = s;
}

void h2_scratch_free(struct h2_scratch *s)
{
    if (s == NULL)
        return;
    ASSERT(s->spent_count == 0);
    nghttp2_session_callbacks_del(s->callbacks);
    nghttp2_session_callbacks_del(s->client_callbacks);
    nghttp2_option_del(s->option);
    h2_head_free(&s->head);
    free(s->nv);
    size_pool_end(&s->pool);
    free(s);
}

static NOINLINE bool nv_grow(struct h2_scratch *s)
{
    const unsigned room = MAX(2 * s->nv_room, 32u);
    nghttp2_nv *nv = realloc(s->nv, room * sizeof *nv);
    if (nv == NULL)
        return false;
    s->nv = nv;
    s->nv_room = room;
    return true;
}

/* A name that we know lies in memory that stays, in lower case, and so nghttp2 need not make its own. */
static inline bool nv_add(struct h2_scratch *s, slice_t name, slice_t value)
{
    const enum http_field_id id = http_field_lookup(name);
    if (UNLIKELY(s->nv_count == s->nv_room) && !nv_grow(s))
        return false;
    if (id != HTTP_FIELD_OTHER)
        name = http_field_name(id);
    nghttp2_nv *nv = &s->nv[s->nv_count++];
    nv->name = (uint8_t *)(uintptr_t)name.ptr;
    nv->namelen = name.len;
    nv->value = (uint8_t *)(uintptr_t)value.ptr;
    nv->valuelen = value.len;
    nv->flags = id != HTTP_FIELD_OTHER ? NGHTTP2_NV_FLAG_NO_COPY_NAME : NGHTTP2_NV_FLAG_NONE;
    return true;
}

bool h2_nv_add(struct h2_scratch *s, slice_t name, slice_t value)
{
    return nv_add(s, name, value);
}

/* Of a line whose value begins at `at`: where its CRLF is. Other control characters are none of its end. */
static inline const char *line_end(const char *low, const char *at, const char *end)
{
    at = h1_scan_control(low, at, end);
    while (at < end && *at != '\r')
        at = h1_scan_control(low, at + 1, end);
    return at;
}

/* Each response passes here, so lines are not looked for byte by byte, as head_text_next does. */
bool h2_nv_add_lines(struct h2_scratch *s, slice_t text)
{
    const char *at = text.ptr, *const end = at + text.len;
    if (slice_starts(text, SLICE_LIT("HTTP/1.1 ")))
        at = line_end(text.ptr, at, end) + 2;
    while (at < end) {
        const char *const colon = h1_scan_colon(text.ptr, at, end);
        if (end - colon < 4) /* ": " and CRLF: what is left is the line that ends the head */
            break;
        const char *const cr = line_end(text.ptr, colon + 2, end);
        if (!nv_add(s, slice_make(at, (size_t)(colon - at)),
                    slice_trim(slice_make(colon + 2, (size_t)(cr - (colon + 2))))))
            return false;
        at = cr + 2;
    }
    return true;
}

void h2_scratch_restore(struct h2_scratch *s, struct h2_head **cut)
{
    if (*cut == NULL)
        return;
    h2_head_free(&s->head);
    s->head = **cut;
    free(*cut);
    *cut = NULL;
}

bool h2_scratch_put_aside(struct h2_scratch *s, struct h2_head **cut)
{
    *cut = malloc(sizeof **cut);
    if (*cut == NULL)
        return false;
    **cut = s->head;
    s->head = (struct h2_head){0};
    return true;
}

void h2_scratch_drop(struct h2_head **cut)
{
    if (*cut != NULL)
        h2_head_free(*cut);
    free(*cut);
    *cut = NULL;
}
