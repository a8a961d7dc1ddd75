/* h2_sleep.c: see h2_sleep.h.
 *
 * nghttp2 says not what memory is for. But what it asks for while it makes a session lives as long, and the
 * one large piece is the buffer in which it puts frames together: empty between frames, so it need not be
 * kept. Pieces of a place are never given back one by one. */
#include "proxy/h2_sleep.h"

#include <stdalign.h>
#include <stddef.h>
#include <string.h>

#include "core/page_places.h"
#include "core/panic.h"
#include "proxy/client_conn.h"
#include "proxy/h2_conn.h"

#define PLACE_PAGES 7
#define PLACE_BYTES ((size_t)PLACE_PAGES * PAGE_BYTES)
#define PLACES      (1u << 18)
#define WARM_MAX    64
#define FRAME_BYTES (16 * KB) /* of the buffer, at least */

static struct page_places places;

void h2_sleep_init(void)
{
    page_places_init(&places, PLACE_PAGES, PLACES, WARM_MAX);
}

/* ---- nghttp2's allocator ---- */

/* A piece of the place, zeroed if it is to be kept; NULL: it does not fit, and lies elsewhere. */
static NOINLINE void *make_alloc(struct h2_mem *m, size_t bytes)
{
    char *at = m->making + m->made;
    const bool is_frame = bytes >= FRAME_BYTES, is_kept = m->kept == m->made;
    bytes = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (bytes > PLACE_BYTES - m->made || (!is_frame && !is_kept))
        return NULL;
    m->made += bytes;
    if (is_frame)
        return at;
    m->kept += bytes;
    return memset(at, 0, bytes);
}

static void *on_malloc(size_t bytes, void *mem)
{
    struct h2_mem *m = mem;
    void *at = UNLIKELY(m->making != NULL) ? make_alloc(m, bytes) : NULL;
    return at != NULL ? at : size_pool_alloc(bytes, &m->pool);
}

static void *on_calloc(size_t count, size_t bytes, void *mem)
{
    size_t all;
    void *at = __builtin_mul_overflow(count, bytes, &all) ? NULL : on_malloc(all, mem);
    return at != NULL ? memset(at, 0, all) : NULL;
}

static void on_free(void *ptr, void *mem)
{
    if (LIKELY(!page_places_has(&places, ptr)))
        size_pool_free(ptr, &((struct h2_mem *)mem)->pool);
}

/* A place does not say how large its pieces are; what follows in it is copied along, and nobody's. */
static void *on_realloc(void *ptr, size_t bytes, void *mem)
{
    struct h2_mem *m = mem;
    if (ptr == NULL)
        return on_malloc(bytes, mem);
    if (LIKELY(!page_places_has(&places, ptr)))
        return size_pool_realloc(ptr, bytes, &m->pool);
    void *at = size_pool_alloc(bytes, &m->pool);
    const size_t behind = PLACE_BYTES - (size_t)((char *)ptr - places.base) % PLACE_BYTES;
    return at != NULL ? memcpy(at, ptr, MIN(bytes, behind)) : NULL;
}

void h2_mem_init(struct h2_mem *m)
{
    *m = (struct h2_mem){.calls = {m, on_malloc, on_free, on_calloc, on_realloc}};
}

/* ---- sessions ---- */

int h2_session_make(struct h2_conn *h, const nghttp2_session_callbacks *callbacks,
                    const nghttp2_option *option, struct h2_mem *m)
{
    h->bed.place = m->making = page_places_take(&places);
    m->made = m->kept = 0;
    h->table = on_malloc(sizeof *h->table, m);
    const int error = h->table != NULL
                          ? nghttp2_session_server_new3(&h->session, callbacks, h, option, &m->calls)
                          : NGHTTP2_ERR_NOMEM;
    if (error == 0)
        hpack_table_begin(h->table);
    h->bed.kept = m->kept;
    m->making = NULL;
    return error;
}

void h2_session_free(struct h2_conn *h)
{
    h2_session_wake(h);
    nghttp2_session_del(h->session);
    on_free(h->table, &h->client->pw->h2->mem);
    if (h->bed.place != NULL)
        page_places_give(&places, h->bed.place);
    h->session = NULL;
    h->bed.place = NULL;
}

void h2_session_sleep(struct h2_conn *h)
{
    if (h->bed.place == NULL || h->bed.image != NULL || h->stream_count > 0 || h->failed ||
        h->client->left != NULL || nghttp2_session_want_write(h->session))
        return;
    h->bed.image = page_places_sleep(&places, h->bed.place, h->bed.kept);
}

void h2_session_wake(struct h2_conn *h)
{
    if (UNLIKELY(h->bed.image != NULL))
        page_places_wake(&places, h->bed.place, &h->bed.image);
}
