/* h1_twins.h: one head through both parsers, whole and in pieces, and what must agree between them.
 * Used by the unit tests and the fuzz targets. A disagreement ends the program (PANIC), which either of
 * them reports. Each look is given a block of exactly its size, so a sanitizer sees any read beyond. */
#ifndef TESTS_SUPPORT_H1_TWINS_H
#define TESTS_SUPPORT_H1_TWINS_H

#include "tests/support/h1_portable.h"

#include <stdlib.h>

#define TWINS_MAX_FIELDS 64

typedef enum h1_status (*twins_parse_fn)(struct h1_parser *, const char *, size_t, struct http_head *,
                                         const struct h1_limits *);

struct twins_kind {
    twins_parse_fn fast, portable;
};

static const struct twins_kind twins_request = {h1_parse_request, portable_parse_request};
static const struct twins_kind twins_response = {h1_parse_response, portable_parse_response};
static const struct twins_kind twins_fields = {h1_parse_fields, portable_parse_fields};

struct twins_result {
    enum h1_status status;
    struct h1_parser parser;
    struct http_head head;
    struct http_field fields[TWINS_MAX_FIELDS];
};

#define TWINS_CHECK(x) ((x) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #x))

static inline void twins_step(twins_parse_fn parse, const char *buf, size_t len,
                              const struct h1_limits *limits, struct twins_result *r)
{
    r->head.fields = r->fields;
    r->status = parse(&r->parser, buf, len, &r->head, limits);
}

static inline void twins_inside(slice_t s, const char *buf, size_t len)
{
    TWINS_CHECK(s.ptr >= buf && s.ptr <= buf + len && s.len <= (size_t)(buf + len - s.ptr));
}

/* Same bytes at the same place of two buffers. */
static inline void twins_same_slice(slice_t a, const char *a_buf, slice_t b, const char *b_buf)
{
    TWINS_CHECK((a.ptr == NULL) == (b.ptr == NULL));
    TWINS_CHECK(a.len == b.len && (a.ptr == NULL || a.ptr - a_buf == b.ptr - b_buf));
}

static inline void twins_same(const struct twins_result *a, const char *a_buf, const struct twins_result *b,
                              const char *b_buf)
{
    TWINS_CHECK(a->status == b->status && a->parser.error == b->parser.error);
    if (a->status != H1_DONE)
        return;
    TWINS_CHECK(a->parser.head_bytes == b->parser.head_bytes);
    TWINS_CHECK(a->head.present == b->head.present && a->head.field_count == b->head.field_count);
    TWINS_CHECK(a->head.method == b->head.method && a->head.status == b->head.status);
    TWINS_CHECK(a->head.version_minor == b->head.version_minor);
    twins_same_slice(a->head.method_text, a_buf, b->head.method_text, b_buf);
    twins_same_slice(a->head.target, a_buf, b->head.target, b_buf);
    twins_same_slice(a->head.reason, a_buf, b->head.reason, b_buf);
    for (unsigned i = 0; i < a->head.field_count; i++) {
        TWINS_CHECK(a->fields[i].id == b->fields[i].id);
        twins_same_slice(a->fields[i].name, a_buf, b->fields[i].name, b_buf);
        twins_same_slice(a->fields[i].value, a_buf, b->fields[i].value, b_buf);
    }
}

static inline void twins_check_done(const struct twins_result *r, const char *buf, size_t len,
                                    const struct h1_limits *limits)
{
    uint64_t present = 0;
    TWINS_CHECK(r->parser.head_bytes <= len && r->parser.head_bytes <= limits->max_head_bytes);
    TWINS_CHECK(r->head.field_count <= limits->max_fields && r->head.target.len <= limits->max_target_bytes);
    for (unsigned i = 0; i < r->head.field_count; i++) {
        const struct http_field *f = &r->fields[i];
        twins_inside(f->name, buf, r->parser.head_bytes);
        twins_inside(f->value, buf, r->parser.head_bytes);
        TWINS_CHECK(f->id == http_field_lookup(f->name) && http_is_token(f->name));
        TWINS_CHECK(http_is_field_value(f->value) && slice_trim(f->value).len == f->value.len);
        present |= UINT64_C(1) << f->id;
    }
    TWINS_CHECK(present == r->head.present);
}

static inline char *twins_block(const char *text, size_t len)
{
    char *block = malloc(len > 0 ? len : 1);
    TWINS_CHECK(block != NULL);
    if (len > 0)
        memcpy(block, text, len);
    return block;
}

/* Both parsers on all of it; they agree. `whole` holds slices into `buf`. */
static inline void twins_whole(const struct twins_kind *kind, const char *buf, size_t len,
                               const struct h1_limits *limits, struct twins_result *whole)
{
    struct twins_result portable;
    memset(whole, 0, sizeof *whole);
    memset(&portable, 0, sizeof portable);
    twins_step(kind->fast, buf, len, limits, whole);
    twins_step(kind->portable, buf, len, limits, &portable);
    twins_same(whole, buf, &portable, buf);
    if (whole->status == H1_DONE)
        twins_check_done(whole, buf, len, limits);
}

/* First `cut` bytes, then all of them elsewhere; as good as all at once. */
static inline void twins_cut(const struct twins_kind *kind, const char *text, size_t len, size_t cut,
                             const struct h1_limits *limits)
{
    struct twins_result whole, pieces;
    char *first = twins_block(text, cut), *second = twins_block(text, len);
    twins_whole(kind, second, len, limits, &whole);
    memset(&pieces, 0, sizeof pieces);
    twins_step(kind->fast, first, cut, limits, &pieces);
    free(first);
    if (pieces.status == H1_MORE) {
        memset(&pieces.head, 0x5a, sizeof pieces.head);
        memset(pieces.fields, 0x5a, sizeof pieces.fields);
        pieces.head = (struct http_head){.field_count = 0};
        twins_step(kind->fast, second, len, limits, &pieces);
        twins_same(&whole, second, &pieces, second);
    } else {
        TWINS_CHECK(pieces.status == whole.status && pieces.parser.error == whole.parser.error);
        TWINS_CHECK(pieces.status == H1_FAIL || pieces.parser.head_bytes == whole.parser.head_bytes);
    }
    free(second);
}

/* Steps of `step` bytes; after each the verdict is that of a fresh parser on the same bytes. */
static inline void twins_steps(const struct twins_kind *kind, const char *text, size_t len, size_t step,
                               const struct h1_limits *limits)
{
    struct twins_result pieces, fresh;
    memset(&pieces, 0, sizeof pieces);
    for (size_t n = MIN(step, len);; n = MIN(n + step, len)) {
        char *block = twins_block(text, n);
        twins_whole(kind, block, n, limits, &fresh);
        twins_step(kind->fast, block, n, limits, &pieces);
        twins_same(&fresh, block, &pieces, block);
        free(block);
        if (pieces.status != H1_MORE || n == len)
            return;
    }
}

#endif
