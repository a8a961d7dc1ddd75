/* fuzz_explain.c: what `explain` is asked: a method, a URL and fields, a line each. What is taken is a
 * request as clients may send it; what is refused says why and what would be right. */
#include <stdlib.h>

#include "core/panic.h"
#include "proxy/explain_case.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct exchange *x, const struct admin_question *q)
{
    const char *hint = NULL, *problem = explain_read_request(x, q, &hint);
    ASSERT(problem == NULL || (problem[0] != '\0' && hint != NULL && hint[0] != '\0'));
    if (problem != NULL)
        return;
    ASSERT(x->host.len > 0 && x->target.path.len > 0);
    ASSERT(http_head_count(&x->req, HTTP_FIELD_HOST) == 1);
    ASSERT(x->req.field_count == q->field_count + 1);
    ASSERT(slice_eq(x->req.method_text, slice_str(q->method)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *lines[EXPLAIN_FIELDS_MAX + 2];
    size_t count = 0;
    char *text = malloc(size + 1);
    struct exchange *x = calloc(1, sizeof *x);
    if (text != NULL && x != NULL) {
        memcpy(text, data, size);
        text[size] = '\0';
        for (char *at = text; at != NULL && count < ARRAY_LEN(lines);) {
            char *end = strchr(at, '\n');
            lines[count++] = at;
            at = end != NULL ? end + 1 : NULL;
            if (end != NULL)
                *end = '\0';
        }
        arena_init(&x->arena, x->arena_block, sizeof x->arena_block, 4 * MB);
        if (count >= 2)
            check(x, &(struct admin_question){lines[1], lines[0], lines + 2, count - 2});
        arena_reset(&x->arena);
    }
    free(x);
    free(text);
    return 0;
}
