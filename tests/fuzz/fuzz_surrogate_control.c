/* fuzz_surrogate_control.c: Surrogate-Control from any bytes. The input is one field value per line; the last
 * line is a Cache-Control.
 *
 * Beside memory errors it looks for broken promises of surrogate_control.h: seconds in range, nothing of it
 * used when it says nothing, and what Cache-Control calls private stays so. */
#include "cache/surrogate_control.h"
#include "core/panic.h"

#define LINES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_seconds(int64_t s)
{
    ASSERT(s == CC_ABSENT || (s >= 0 && s <= INT64_C(1) << 31));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_field fields[LINES_MAX];
    struct http_head head = {.fields = fields, .status = 200};
    struct cache_control cc, general;
    slice_t rest = slice_make((const char *)data, size);
    while (rest.len > 0 && head.field_count < LINES_MAX) {
        size_t end = MIN(slice_find(rest, '\n', 0), rest.len), skip = MIN(end + 1, rest.len);
        fields[head.field_count++] = (struct http_field){
            SLICE_LIT("x"), slice_trim(slice_make(rest.ptr, end)), HTTP_FIELD_SURROGATE_CONTROL};
        rest = slice_make(rest.ptr + skip, rest.len - skip);
    }
    cache_control_init(&general);
    if (head.field_count > 1) {
        fields[head.field_count - 1].id = HTTP_FIELD_CACHE_CONTROL;
        cache_control_parse_value(fields[head.field_count - 1].value, &general);
    }
    if (!cache_surrogate_control_parse(&head, &cc)) {
        ASSERT(cc.flags == 0 && cc.max_age_s == CC_ABSENT && cc.s_maxage_s == CC_ABSENT);
        return 0;
    }
    check_seconds(cc.max_age_s);
    check_seconds(cc.s_maxage_s);
    check_seconds(cc.stale_while_revalidate_s);
    check_seconds(cc.stale_if_error_s);
    ASSERT((cc.flags & CC_TARGETED) != 0 && cc.flags < CC_TARGETED << 1);
    ASSERT((general.flags & CC_PRIVATE & ~cc.flags) == 0);
    return 0;
}
