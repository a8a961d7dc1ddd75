/* h2_scratch.c: see h2_scratch.h. */
#include "proxy/h2_scratch.h"

#include <stdlib.h>

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
    free(s);
}

bool h2_nv_add(struct h2_scratch *s, slice_t name, slice_t value)
{
    if (s->nv_count == s->nv_room) {
        const unsigned room = MAX(2 * s->nv_room, 32u);
        nghttp2_nv *nv = realloc(s->nv, room * sizeof *nv);
        if (nv == NULL)
            return false;
        s->nv = nv;
        s->nv_room = room;
    }
    s->nv[s->nv_count++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.ptr,
                                        .value = (uint8_t *)(uintptr_t)value.ptr,
                                        .namelen = name.len,
                                        .valuelen = value.len};
    return true;
}

bool h2_nv_add_lines(struct h2_scratch *s, slice_t text)
{
    slice_t name, value;
    while (head_text_next(&text, &name, &value)) {
        if (!h2_nv_add(s, name, slice_trim(value)))
            return false;
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
