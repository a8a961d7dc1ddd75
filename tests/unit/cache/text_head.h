/* text_head.h: a message head from text, for the tests of the cache rules: "Name: value" lines, each ended or
 * separated by '\n'. Each name and value is a heap copy of its exact size, so that AddressSanitizer sees a
 * read beyond it; text_head_free gives them back. */
#ifndef TESTS_UNIT_CACHE_TEXT_HEAD_H
#define TESTS_UNIT_CACHE_TEXT_HEAD_H

#include <stdlib.h>

#include "core/http_msg.h"
#include "core/panic.h"

#define TEXT_HEAD_MAX 64

struct text_head {
    struct http_head head;
    struct http_field fields[TEXT_HEAD_MAX];
};

static inline slice_t text_head_copy(slice_t s)
{
    char *copy = malloc(s.len > 0 ? s.len : 1);
    ASSERT(copy != NULL);
    memcpy(copy, s.ptr, s.len);
    return slice_make(copy, s.len);
}

static inline void text_head_init(struct text_head *t, const char *lines)
{
    slice_t rest = slice_str(lines);
    memset(t, 0, sizeof *t);
    t->head.fields = t->fields;
    t->head.version_minor = 1;
    while (rest.len > 0) {
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len);
        slice_t line = slice_make(rest.ptr, end);
        size_t colon = slice_find(line, ':', 0);
        size_t skip = MIN(end + 1, rest.len);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
        ASSERT(colon != SIZE_MAX && t->head.field_count < TEXT_HEAD_MAX);
        struct http_field *f = &t->fields[t->head.field_count++];
        f->name = text_head_copy(slice_make(line.ptr, colon));
        f->value = text_head_copy(slice_trim(slice_make(line.ptr + colon + 1, line.len - colon - 1)));
        f->id = http_field_lookup(f->name);
        t->head.present |= (uint64_t)1 << f->id;
    }
}

static inline void text_head_request(struct text_head *t, enum http_method method, const char *lines)
{
    text_head_init(t, lines);
    t->head.method = (uint8_t)method;
    t->head.method_text = http_method_name(method);
}

static inline void text_head_response(struct text_head *t, unsigned status, const char *lines)
{
    text_head_init(t, lines);
    t->head.status = (uint16_t)status;
}

static inline void text_head_free(struct text_head *t)
{
    for (unsigned i = 0; i < t->head.field_count; i++) {
        free((void *)(uintptr_t)t->fields[i].name.ptr);
        free((void *)(uintptr_t)t->fields[i].value.ptr);
    }
    t->head.field_count = 0;
}

#endif
