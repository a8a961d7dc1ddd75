/* h2_scratch.c: see h2_scratch.h. */
#include "proxy/h2_scratch.h"

#include <stdlib.h>

#include "core/panic.h"
#include "proxy/deliver.h"
#include "proxy/h2_client.h"
#include "proxy/h2_conn.h"
#include "proxy/h2_reply.h"

#define SEND_HEAD_MAX (256 * KB) /* decoded */
#define CONTINUATIONS 8

static nghttp2_option *option_new(void)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS);
    nghttp2_option_set_max_send_header_block_length(o, SEND_HEAD_MAX);
    return o;
}

static bool scratch_options(struct h2_scratch *s)
{
    s->option = option_new();
    s->client_option = option_new();
    if (s->option == NULL || s->client_option == NULL)
        return false;
    nghttp2_option_set_stream_reset_rate_limit(s->option, UINT32_MAX, UINT32_MAX); /* h2_guard.h does this */
    nghttp2_option_set_builtin_recv_extension_type(s->option, NGHTTP2_PRIORITY_UPDATE);
    nghttp2_option_set_no_http_messaging(s->option, 1); /* core/h2_head.h does that */
    return true;
}

struct h2_scratch *h2_scratch_of(struct proxy_worker *pw)
{
    if (pw->h2 != NULL)
        return pw->h2;
    struct h2_scratch *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    h2_mem_init(&s->mem);
    if (nghttp2_session_callbacks_new(&s->callbacks) != 0 ||
        nghttp2_session_callbacks_new(&s->client_callbacks) != 0 || !scratch_options(s)) {
        h2_scratch_free(s);
        return NULL;
    }
    h2_recv_callbacks(s->callbacks);
    h2_send_callbacks(s->callbacks);
    h2_reply_callbacks(s->callbacks);
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
    nghttp2_option_del(s->client_option);
    h2_head_free(&s->head);
    h2_nv_free(&s->nv);
    h2_pack_free(&s->pack);
    size_pool_end(&s->mem.pool);
    free(s);
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
