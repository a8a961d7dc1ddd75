/* h2_pack.c: see h2_pack.h.
 *
 * What was seen is found by its hash, or by where it is stored, and compared as a whole, so nothing need be
 * told of what changes or goes. A literal is kept "without indexing", with a 4-bit prefix for the index of
 * its name; entering the table changes only that prefix to one of 6 bits, which every index of the static
 * table fits.
 *
 * Lines are the worker's, tables a connection's. Who can make a response repeat a line of his guess learns
 * from its length whether others got exactly that line; of one that he does not guess as a whole he learns
 * nothing.
 *
 * Rejected: blocks without a dynamic table, made once per object: a hit would be cheaper still, but each
 * response some hundred bytes longer. */
#include "proxy/h2_pack.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/http_msg.h"
#include "core/panic.h"
#include "proxy/h2_lines.h"

#define TEXTS      128 /* powers of two */
#define LINES      512
#define TEXT_MAX   (4 * KB) /* longer ones are not kept */
#define LINE_MAX   (3 * KB) /* nor are these, which no table takes */
#define CREDIT_MAX 15

/* Whether a slot's bytes have come again, and how often others may come before it is theirs. */
struct seen {
    uint64_t hash;
    uint32_t bytes;
    uint32_t credit;
};

/* A literal, and what it is in tables. */
struct field {
    uint64_t id;        /* 0: no entry of tables */
    uint16_t entry;     /* name and value */
    uint16_t at, bytes; /* its literal */
};

struct h2_pack_line {
    struct seen seen;
    struct field field; /* the literal is behind the text */
    char *text;         /* NULL: seen once */
};

struct kept {
    const char *text;
    const uint8_t *literals; /* both behind the fields */
    unsigned fields;
    struct field field[];
};

struct h2_pack_text {
    struct seen seen;
    struct kept *kept; /* NULL: seen once */
};

static void strings_end(struct h2_pack *p)
{
    if (p->strings != NULL)
        nghttp2_hd_deflate_del(p->strings);
    p->strings = NULL;
}

void h2_pack_free(struct h2_pack *p)
{
    for (unsigned i = 0; p->texts != NULL && i < TEXTS; i++)
        free(p->texts[i].kept);
    for (unsigned i = 0; p->lines != NULL && i < LINES; i++)
        free(p->lines[i].text);
    free(p->texts);
    free(p->lines);
    strings_end(p);
    *p = (struct h2_pack){0};
}

enum again { AGAIN_NO, AGAIN_OTHER, AGAIN_YES };

/* NO: this is the first sight, and the slot is for it now. OTHER: the slot stays another's. */
static inline enum again seen_again(struct seen *s, uint64_t hash, size_t bytes)
{
    if (LIKELY(s->hash == hash && s->bytes == bytes)) {
        s->credit += s->credit < CREDIT_MAX;
        return AGAIN_YES;
    }
    if (s->credit > 0) {
        s->credit--;
        return AGAIN_OTHER;
    }
    *s = (struct seen){.hash = hash, .bytes = (uint32_t)bytes};
    return AGAIN_NO;
}

/* ---- literals ---- */

/* Its first block begins with the size of its table, which is nobody's business. */
static NOINLINE bool strings_begin(struct h2_pack *p)
{
    static const nghttp2_nv any = {(uint8_t *)(uintptr_t) "age", (uint8_t *)(uintptr_t) "0", 3, 1, 0};
    uint8_t out[32];
    if (nghttp2_hd_deflate_new(&p->strings, 0) != 0)
        return false;
    if (nghttp2_hd_deflate_hd(p->strings, out, sizeof out, &any, 1) > 0)
        return true;
    strings_end(p);
    return false;
}

static uint8_t *put_raw(uint8_t *out, slice_t s)
{
    if (s.len < 127) {
        *out++ = (uint8_t)s.len;
    } else {
        size_t rest = s.len - 127;
        for (*out++ = 127; rest >= 128; rest >>= 7)
            *out++ = (uint8_t)(0x80 | (rest & 0x7f));
        *out++ = (uint8_t)rest;
    }
    memcpy(out, s.ptr, s.len);
    return out + s.len;
}

/* Without indexing (RFC 7541 section 6.2.2), or, of what the static table has whole, indexed. */
static size_t put_literal(struct h2_pack *p, slice_t name, slice_t value, uint8_t *out)
{
    const nghttp2_nv nv = {(uint8_t *)(uintptr_t)name.ptr, (uint8_t *)(uintptr_t)value.ptr, name.len,
                           value.len, NGHTTP2_NV_FLAG_NONE};
    if (p->strings != NULL || strings_begin(p)) {
        const ssize_t n = nghttp2_hd_deflate_hd(p->strings, out, h2_pack_room(name.len + value.len), &nv, 1);
        if (n > 0)
            return (size_t)n;
        strings_end(p); /* no memory; it is of no use after an error */
    }
    *out = 0;
    return (size_t)(put_raw(put_raw(out + 1, name), value) - out);
}

/* One that may become an entry of a table. */
static bool is_indexable(const uint8_t *literal)
{
    return (*literal & 0xf0) == 0;
}

/* The same, with incremental indexing (section 6.2.1). */
static size_t make_indexed(uint8_t *literal, size_t bytes)
{
    if (*literal < 15) {
        *literal |= 0x40;
        return bytes;
    }
    ASSERT(literal[1] < 0x3f - 15);
    literal[1] = (uint8_t)(0x40 | (15 + literal[1]));
    memmove(literal, literal + 1, bytes - 1);
    return bytes - 1;
}

/* ---- lines that come again ---- */

/* Its value says something of one resource or one client: it would displace what others have in common. */
static bool is_of_one(slice_t name)
{
    switch (http_field_lookup(name)) {
    case HTTP_FIELD_AGE:
    case HTTP_FIELD_CONTENT_LENGTH:
    case HTTP_FIELD_CONTENT_LOCATION:
    case HTTP_FIELD_CONTENT_RANGE:
    case HTTP_FIELD_ETAG:
    case HTTP_FIELD_EXPIRES:
    case HTTP_FIELD_LAST_MODIFIED:
    case HTTP_FIELD_LOCATION:
    case HTTP_FIELD_SET_COOKIE:
        return true;
    default:
        return false;
    }
}

static NOINLINE bool line_keep(struct h2_pack *p, struct h2_pack_line *l, slice_t name, slice_t value)
{
    const size_t bytes = (size_t)(value.ptr + value.len - name.ptr);
    l->text = malloc(bytes + h2_pack_room(name.len + value.len));
    if (l->text == NULL)
        return false;
    memcpy(l->text, name.ptr, bytes);
    uint8_t *literal = (uint8_t *)l->text + bytes;
    const size_t n = put_literal(p, name, value, literal);
    l->field = (struct field){.id = is_indexable(literal) ? ++p->last_id : 0,
                              .entry = (uint16_t)(name.len + value.len),
                              .at = (uint16_t)bytes,
                              .bytes = (uint16_t)n};
    return true;
}

/* A line's, or the one of two that is worth less: what comes by turns, as lines of one head do, must not
 * drive each other out. */
static struct h2_pack_line *line_slot(struct h2_pack *p, uint64_t hash)
{
    struct h2_pack_line *l = &p->lines[hash % LINES], *other = &p->lines[hash % LINES ^ 1];
    if (LIKELY(l->seen.hash == hash))
        return l;
    return other->seen.hash == hash || other->seen.credit < l->seen.credit || other->seen.bytes == 0 ? other
                                                                                                     : l;
}

/* What is kept of a line that has come before, as one of a text has that is being kept; its name is in lower
 * case. NULL: it is not worth it, or there is no memory. */
static const struct h2_pack_line *line_of(struct h2_pack *p, slice_t name, slice_t value, bool again)
{
    const slice_t line = slice_make(name.ptr, (size_t)(value.ptr + value.len - name.ptr));
    if (line.len > LINE_MAX || is_of_one(name))
        return NULL;
    if (UNLIKELY(p->lines == NULL) && (p->lines = calloc(LINES, sizeof *p->lines)) == NULL)
        return NULL;
    const uint64_t hash = hash_short(line.ptr, line.len);
    struct h2_pack_line *l = line_slot(p, hash);
    switch (seen_again(&l->seen, hash, line.len)) {
    case AGAIN_OTHER:
        return NULL;
    case AGAIN_NO:
        free(l->text);
        l->text = NULL;
        if (!again)
            return NULL;
        break;
    case AGAIN_YES:
        break;
    }
    if (UNLIKELY(l->text == NULL) && !line_keep(p, l, name, value))
        return NULL;
    return memcmp(l->text, line.ptr, line.len) == 0 ? l : NULL;
}

static void lower(slice_t name)
{
    char *to = (char *)(uintptr_t)name.ptr;
    for (size_t i = 0; i < name.len; i++)
        to[i] = ascii_lower(to[i]);
}

/* `out` becomes what the connection needs of it. */
static inline uint8_t *put_field(struct hpack_table *t, const struct field *f, const uint8_t *literal,
                                 uint8_t *out)
{
    if (f->id > 0) {
        const unsigned index = hpack_table_find(t, f->id);
        if (LIKELY(index > 0))
            return hpack_put_index(out, index);
    }
    memcpy(out, literal, f->bytes);
    if (f->id > 0 && hpack_table_add(t, f->id, f->entry))
        return out + make_indexed(out, f->bytes);
    return out + f->bytes;
}

/* ---- texts that come again ---- */

static unsigned count_lines(slice_t text)
{
    struct h2_lines lines = h2_lines_of(text);
    slice_t name, value;
    unsigned n = 0;
    while (h2_lines_next(&lines, &name, &value))
        n++;
    return n;
}

/* NULL: no memory. */
static NOINLINE struct kept *keep(struct h2_pack *p, slice_t text)
{
    char lines_text[TEXT_MAX]; /* names in it become lower case */
    const size_t fields = count_lines(text) * sizeof(struct field);
    struct kept *k = malloc(sizeof *k + fields + text.len + h2_pack_room(text.len));
    if (k == NULL)
        return NULL;
    char *copy = (char *)(k + 1) + fields;
    uint8_t *literals = (uint8_t *)copy + text.len;
    slice_t name, value;
    size_t n = 0;
    memcpy(copy, text.ptr, text.len);
    memcpy(lines_text, text.ptr, text.len);
    *k = (struct kept){.text = copy, .literals = literals};
    struct h2_lines lines = h2_lines_of(slice_make(lines_text, text.len));
    while (h2_lines_next(&lines, &name, &value)) {
        struct field *f = &k->field[k->fields++];
        lower(name);
        const struct h2_pack_line *l = line_of(p, name, value, true);
        if (l != NULL) {
            *f = l->field;
            memcpy(literals + n, (const uint8_t *)l->text + f->at, f->bytes);
        } else {
            *f = (struct field){.bytes = (uint16_t)put_literal(p, name, value, literals + n)};
        }
        f->at = (uint16_t)n;
        n += f->bytes;
    }
    return k;
}

/* What is kept of a text that has come before. */
static const struct kept *kept_of(struct h2_pack *p, slice_t text, const void *stored_at)
{
    if (text.len > TEXT_MAX)
        return NULL;
    if (UNLIKELY(p->texts == NULL) && (p->texts = calloc(TEXTS, sizeof *p->texts)) == NULL)
        return NULL;
    const uint64_t hash = stored_at != NULL ? (uintptr_t)stored_at : hash_short(text.ptr, text.len);
    struct h2_pack_text *t = &p->texts[(hash ^ hash >> 7 ^ hash >> 14) % TEXTS];
    switch (seen_again(&t->seen, hash, text.len)) {
    case AGAIN_OTHER:
        return NULL;
    case AGAIN_NO:
        free(t->kept);
        t->kept = NULL;
        return NULL;
    case AGAIN_YES:
        break;
    }
    if (UNLIKELY(t->kept == NULL))
        t->kept = keep(p, text);
    if (LIKELY(t->kept != NULL && memcmp(t->kept->text, text.ptr, text.len) == 0))
        return t->kept;
    free(t->kept); /* another is stored there now */
    t->kept = NULL;
    return NULL;
}

size_t h2_pack_lines(struct h2_pack *p, struct hpack_table *t, char *text, size_t bytes,
                     const void *stored_at, uint8_t *out)
{
    uint8_t *const begin = out;
    const struct kept *k = kept_of(p, slice_make(text, bytes), stored_at);
    if (LIKELY(k != NULL)) {
        for (unsigned i = 0; i < k->fields; i++)
            out = put_field(t, &k->field[i], k->literals + k->field[i].at, out);
        return (size_t)(out - begin);
    }
    struct h2_lines lines = h2_lines_of(slice_make(text, bytes));
    slice_t name, value;
    while (h2_lines_next(&lines, &name, &value)) {
        lower(name);
        const struct h2_pack_line *l = line_of(p, name, value, false);
        if (l != NULL)
            out = put_field(t, &l->field, (const uint8_t *)l->text + l->field.at, out);
        else
            out += put_literal(p, name, value, out);
    }
    return (size_t)(out - begin);
}
