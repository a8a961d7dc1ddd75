/* stream_entry.c: see stream_entry.h. Any thread. */
#include "cache/stream_entry.h"

#include "core/panic.h"
#include "core/text.h"

#define VERSION SLICE_LIT("1")
#define SOFT    SLICE_LIT("soft_")

/* What lies in streams and on disks: not to be renamed. */
static const slice_t kind_names[CACHE_PURGE_KINDS] = {
    [CACHE_PURGE_URL] = {"url", 3},   [CACHE_PURGE_URL_ANY_QUERY] = {"url_any_query", 13},
    [CACHE_PURGE_TAG] = {"tag", 3},   [CACHE_PURGE_PREFIX] = {"prefix", 6},
    [CACHE_PURGE_GLOB] = {"glob", 4}, [CACHE_PURGE_HOST] = {"host", 4},
    [CACHE_PURGE_ALL] = {"all", 3},
};
static const slice_t soft_kind_names[CACHE_PURGE_KINDS] = {
    [CACHE_PURGE_URL] = {"soft_url", 8},   [CACHE_PURGE_URL_ANY_QUERY] = {"soft_url_any_query", 18},
    [CACHE_PURGE_TAG] = {"soft_tag", 8},   [CACHE_PURGE_PREFIX] = {"soft_prefix", 11},
    [CACHE_PURGE_GLOB] = {"soft_glob", 9}, [CACHE_PURGE_HOST] = {"soft_host", 9},
    [CACHE_PURGE_ALL] = {"soft_all", 8},
};

static const struct {
    const char *name, *text;
} fault_rows[CACHE_STREAM_FAULT_COUNT] = {
#define X(id, name, text) {name, text},
    CACHE_STREAM_FAULTS(X)
#undef X
};

const char *cache_stream_fault_name(enum cache_stream_fault f)
{
    ASSERT(f < CACHE_STREAM_FAULT_COUNT);
    return fault_rows[f].name;
}

const char *cache_stream_fault_text(enum cache_stream_fault f)
{
    ASSERT(f < CACHE_STREAM_FAULT_COUNT);
    return fault_rows[f].text;
}

/* ---- writing ---- */

static void put_pair(struct cache_stream_fields *f, slice_t name, slice_t value)
{
    ASSERT(f->count + 2 <= CACHE_STREAM_TEXTS_MAX);
    f->texts[f->count++] = name;
    f->texts[f->count++] = value;
}

void cache_stream_entry_encode(const struct cache_stream_entry *e, struct cache_stream_fields *out)
{
    ASSERT(e->start ? e->count == 0 : e->count > 0 && e->count <= CACHE_STREAM_ITEMS_MAX);
    text_put_hex16(out->by, e->by.node);
    out->by[16] = '-';
    size_t by_bytes = 17 + slice_put_u64(out->by + 17, e->by.number);
    out->count = 0;
    put_pair(out, SLICE_LIT("v"), VERSION);
    put_pair(out, SLICE_LIT("by"), slice_make(out->by, by_bytes));
    if (e->start)
        put_pair(out, SLICE_LIT("start"), SLICE_EMPTY);
    for (size_t i = 0; i < e->count; i++) {
        const struct cache_purge *p = &e->items[i];
        put_pair(out, (p->soft ? soft_kind_names : kind_names)[p->kind],
                 p->kind == CACHE_PURGE_ALL ? SLICE_EMPTY : p->text);
    }
}

/* ---- reading ---- */

static bool origin_parse(slice_t text, struct cache_stream_origin *out)
{
    char again[40];
    if (text.len < 18 || text.len > sizeof again || text.ptr[16] != '-' ||
        !slice_hex_to_u64(slice_make(text.ptr, 16), &out->node) ||
        !slice_to_u64(slice_make(text.ptr + 17, text.len - 17), &out->number))
        return false;
    text_put_hex16(again, out->node);
    again[16] = '-';
    return slice_eq(text, slice_make(again, 17 + slice_put_u64(again + 17, out->number)));
}

static bool kind_parse(slice_t name, struct cache_purge *out)
{
    out->soft = slice_starts(name, SOFT);
    for (unsigned k = 0; k < CACHE_PURGE_KINDS; k++) {
        if (slice_eq(name, (out->soft ? soft_kind_names : kind_names)[k])) {
            out->kind = (enum cache_purge_kind)k;
            return true;
        }
    }
    return false;
}

static enum cache_stream_fault take_item(struct cache_stream_entry *e, slice_t name, slice_t value)
{
    struct cache_purge p = {.text = value};
    if (!kind_parse(name, &p))
        return CACHE_STREAM_FAULT_NAME;
    if (cache_purge_problem(&p) != NULL || (p.kind == CACHE_PURGE_ALL && value.len > 0))
        return CACHE_STREAM_FAULT_TEXT;
    if (e->count == CACHE_STREAM_ITEMS_MAX)
        return CACHE_STREAM_FAULT_NUMBER;
    e->items[e->count++] = p;
    return CACHE_STREAM_FAULT_NONE;
}

static enum cache_stream_fault take_pair(struct cache_stream_entry *e, slice_t name, slice_t value)
{
    if (slice_starts(name, SLICE_LIT("x-")))
        return CACHE_STREAM_FAULT_NONE;
    if (!slice_eq(name, SLICE_LIT("start")))
        return take_item(e, name, value);
    if (e->start || value.len > 0)
        return CACHE_STREAM_FAULT_TEXT;
    e->start = true;
    return CACHE_STREAM_FAULT_NONE;
}

enum cache_stream_fault cache_stream_entry_decode(const slice_t *texts, size_t count,
                                                  struct cache_stream_entry *out)
{
    out->start = false;
    out->count = 0;
    out->by = (struct cache_stream_origin){0, 0};
    if (count % 2 != 0)
        return CACHE_STREAM_FAULT_BYTES;
    if (count < 2 || !slice_eq(texts[0], SLICE_LIT("v")) || !slice_eq(texts[1], VERSION))
        return CACHE_STREAM_FAULT_VERSION;
    if (count < 4 || !slice_eq(texts[2], SLICE_LIT("by")) || !origin_parse(texts[3], &out->by))
        return CACHE_STREAM_FAULT_ORIGIN;
    for (size_t i = 4; i < count; i += 2) {
        enum cache_stream_fault f = take_pair(out, texts[i], texts[i + 1]);
        if (f != CACHE_STREAM_FAULT_NONE)
            return f;
    }
    return out->start == (out->count > 0) ? CACHE_STREAM_FAULT_NUMBER : CACHE_STREAM_FAULT_NONE;
}

/* ---- in one piece ---- */

size_t cache_stream_fields_bytes(const struct cache_stream_fields *f)
{
    size_t bytes = 0;
    for (size_t i = 0; i < f->count; i++)
        bytes += 4 + f->texts[i].len;
    return bytes;
}

void cache_stream_fields_pack(const struct cache_stream_fields *f, char *buf)
{
    for (size_t i = 0; i < f->count; i++) {
        for (unsigned b = 0; b < 4; b++)
            *buf++ = (char)(f->texts[i].len >> 8 * b & 0xff);
        memcpy(buf, f->texts[i].ptr, f->texts[i].len);
        buf += f->texts[i].len;
    }
}

bool cache_stream_fields_unpack(slice_t bytes, struct cache_stream_fields *out)
{
    out->count = 0;
    while (bytes.len > 0) {
        size_t len = 0;
        if (bytes.len < 4 || out->count == CACHE_STREAM_TEXTS_MAX)
            return false;
        for (unsigned b = 0; b < 4; b++)
            len |= (size_t)(unsigned char)bytes.ptr[b] << 8 * b;
        if (len > bytes.len - 4)
            return false;
        out->texts[out->count++] = slice_make(bytes.ptr + 4, len);
        bytes = slice_make(bytes.ptr + 4 + len, bytes.len - 4 - len);
    }
    return out->count % 2 == 0;
}
