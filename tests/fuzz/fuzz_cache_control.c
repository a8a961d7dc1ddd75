/* fuzz_cache_control.c: Cache-Control, and its targeted twin, from any bytes. The input is one field value
 * per line.
 *
 * Beside memory errors it looks for broken promises of cache_control.h: seconds in range; lines merge in
 * order; what one more element says never takes a restriction back; field lists are found only where a flag
 * says so. */
#include <stdlib.h>

#include "cache/cache_control.h"
#include "core/panic.h"

#define LINES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_seconds(int64_t s)
{
    ASSERT(s == CC_ABSENT || (s >= 0 && s <= INT64_C(1) << 31));
}

static void check(const struct cache_control *cc)
{
    check_seconds(cc->max_age_s);
    check_seconds(cc->s_maxage_s);
    check_seconds(cc->stale_while_revalidate_s);
    check_seconds(cc->stale_if_error_s);
    check_seconds(cc->max_stale_s);
    check_seconds(cc->min_fresh_s);
    ASSERT(cc->flags < CC_TARGETED << 1);
}

static void check_grows(slice_t line, const struct cache_control *before)
{
    struct cache_control after = *before;
    cache_control_parse_value(line, &after);
    check(&after);
    ASSERT((after.flags & before->flags) == before->flags);
    ASSERT(before->max_age_s == CC_ABSENT || after.max_age_s == before->max_age_s);
    ASSERT(before->s_maxage_s == CC_ABSENT || after.s_maxage_s == before->s_maxage_s);
}

static void check_same(const struct cache_control *a, const struct cache_control *b)
{
    ASSERT(a->flags == b->flags && a->max_age_s == b->max_age_s && a->s_maxage_s == b->s_maxage_s);
    ASSERT(a->stale_while_revalidate_s == b->stale_while_revalidate_s);
    ASSERT(a->stale_if_error_s == b->stale_if_error_s);
    ASSERT(a->max_stale_s == b->max_stale_s && a->min_fresh_s == b->min_fresh_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field fields[LINES_MAX];
    struct http_head head = {.fields = fields, .present = HTTP_BIT(CACHE_CONTROL)};
    struct cache_control whole, merged;
    slice_t rest = slice_make((const char *)data, size);
    cache_control_init(&merged);
    check(&merged);
    while (rest.len > 0 && head.field_count < LINES_MAX) {
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len);
        slice_t line = slice_make(rest.ptr, end);
        size_t skip = MIN(end + 1, rest.len);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
        fields[head.field_count++] =
            (struct http_field){SLICE_LIT("Cache-Control"), slice_trim(line), HTTP_FIELD_CACHE_CONTROL};
        check_grows(line, &merged);
        cache_control_parse_value(line, &merged);
    }
    cache_control_parse(&head, &whole);
    check(&whole);
    check_same(&whole, &merged);
    bool named = cache_control_names_field(&head, SLICE_LIT("set-cookie"));
    ASSERT(!named || (whole.flags & (CC_PRIVATE_FIELDS | CC_NO_CACHE_FIELDS)));
    for (unsigned i = 0; i < head.field_count; i++)
        fields[i].id = HTTP_FIELD_CDN_CACHE_CONTROL;
    head.present = head.field_count > 0 ? HTTP_BIT(CDN_CACHE_CONTROL) : 0;
    head.status = 200;
    cache_control_parse(&head, &whole);
    check(&whole);
    ASSERT((whole.flags & CC_TARGETED) || (whole.flags == 0 && whole.max_age_s == CC_ABSENT));
    return 0;
}
