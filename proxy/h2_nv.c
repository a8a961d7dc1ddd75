/* h2_nv.c: see h2_nv.h.
 *
 * A text that comes again is found by its hash and compared as a whole, so what is kept need not be told of
 * anything that changes or goes. Rejected: offsets of the lines in the stored object, which every object
 * would pay for, HTTP/2 or not. */
#include "proxy/h2_nv.h"

#include <stdlib.h>

#include "core/h1_scan.h"
#include "core/hash.h"
#include "core/http_msg.h"
#include "core/panic.h"

#define SEEN       128 /* power of two */
#define SEEN_TEXT  448
#define SEEN_PAIRS 12

struct h2_nv_seen {
    uint64_t hash;
    uint32_t turn; /* of the last head it was part of, whose pairs lie here */
    uint16_t bytes;
    uint16_t pairs; /* 0: seen once */
    nghttp2_nv pair[SEEN_PAIRS];
    char text[SEEN_TEXT];
};

void h2_nv_free(struct h2_nv *v)
{
    free(v->pair);
    free(v->seen);
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

/* A name that we know lies in memory that stays, in lower case, and so nghttp2 need not make its own. */
static inline bool nv_add(struct h2_nv *v, slice_t name, slice_t value)
{
    const enum http_field_id id = http_field_lookup(name);
    if (UNLIKELY(v->count == v->room) && !nv_grow(v))
        return false;
    if (id != HTTP_FIELD_OTHER)
        name = http_field_name(id);
    nghttp2_nv *nv = &v->pair[v->count++];
    nv->name = (uint8_t *)(uintptr_t)name.ptr;
    nv->namelen = name.len;
    nv->value = (uint8_t *)(uintptr_t)value.ptr;
    nv->valuelen = value.len;
    nv->flags = id != HTTP_FIELD_OTHER ? NGHTTP2_NV_FLAG_NO_COPY_NAME : NGHTTP2_NV_FLAG_NONE;
    return true;
}

bool h2_nv_add(struct h2_nv *v, slice_t name, slice_t value)
{
    return nv_add(v, name, value);
}

/* Of a line whose value begins at `at`: where its CRLF is. Other control characters are none of its end. */
static inline const char *line_end(const char *low, const char *at, const char *end)
{
    at = h1_scan_control(low, at, end);
    while (at < end && *at != '\r')
        at = h1_scan_control(low, at + 1, end);
    return at;
}

/* Lines are not looked for byte by byte, as head_text_next does. */
bool h2_nv_add_lines(struct h2_nv *v, slice_t text)
{
    const char *at = text.ptr, *const end = at + text.len;
    if (slice_starts(text, SLICE_LIT("HTTP/1.1 ")))
        at = line_end(text.ptr, at, end) + 2;
    while (at < end) {
        const char *const colon = h1_scan_colon(text.ptr, at, end);
        if (end - colon < 4) /* ": " and CRLF: what is left is the line that ends the head */
            break;
        const char *const cr = line_end(text.ptr, colon + 2, end);
        if (!nv_add(v, slice_make(at, (size_t)(colon - at)),
                    slice_trim(slice_make(colon + 2, (size_t)(cr - (colon + 2))))))
            return false;
        at = cr + 2;
    }
    return true;
}

/* ---- texts that come again
 * ------------------------------------------------------------------------------------------------------ */

static bool add_kept(struct h2_nv *v, const struct h2_nv_seen *s)
{
    while (UNLIKELY(v->count + s->pairs > v->room)) {
        if (!nv_grow(v))
            return false;
    }
    memcpy(v->pair + v->count, s->pair, s->pairs * sizeof *s->pair);
    v->count += s->pairs;
    return true;
}

/* Second sight: the pairs are those of the copy. */
static bool add_and_keep(struct h2_nv *v, struct h2_nv_seen *s, slice_t text)
{
    const size_t before = v->count;
    memcpy(s->text, text.ptr, text.len);
    s->turn = v->turn;
    if (!h2_nv_add_lines(v, slice_make(s->text, text.len)))
        return false;
    if (v->count - before <= SEEN_PAIRS) {
        s->pairs = (uint16_t)(v->count - before);
        memcpy(s->pair, v->pair + before, s->pairs * sizeof *s->pair);
    }
    return true;
}

bool h2_nv_add_lines_again(struct h2_nv *v, slice_t text)
{
    if (text.len > SEEN_TEXT)
        return h2_nv_add_lines(v, text);
    if (UNLIKELY(v->seen == NULL) && (v->seen = calloc(SEEN, sizeof *v->seen)) == NULL)
        return h2_nv_add_lines(v, text);
    const uint64_t hash = hash_short(text.ptr, text.len);
    struct h2_nv_seen *s = &v->seen[hash % SEEN];
    if (LIKELY(s->hash == hash && s->bytes == text.len)) {
        if (s->pairs > 0 && memcmp(s->text, text.ptr, text.len) == 0) {
            s->turn = v->turn;
            return add_kept(v, s);
        }
        if (s->turn != v->turn && s->pairs == 0)
            return add_and_keep(v, s, text);
    } else if (s->turn != v->turn) {
        s->hash = hash;
        s->bytes = (uint16_t)text.len;
        s->pairs = 0;
    }
    return h2_nv_add_lines(v, text);
}
