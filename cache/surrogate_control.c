/* surrogate_control.c: see surrogate_control.h. Pure; any thread.
 *
 * The field is older than Structured Fields, and is sent by people who know Cache-Control: so its elements
 * are read as such, the stale-* ones included that some services take. `;name` behind an element addresses it
 * to one cache by its name; what is not for us is skipped. Rejected: treating it as one more targeted field
 * of RFC 9213, whose strict grammar knows neither `3600+600` nor capital letters. */
#include "cache/surrogate_control.h"

#include "core/http_field.h"

#define OUR_NAME SLICE_LIT("millpond")

/* Cuts `;target` off; false when that is another cache. */
static bool is_for_us(slice_t *element)
{
    size_t end = 0;
    bool quoted = false;
    while (end < element->len && (quoted || element->ptr[end] != ';')) {
        if (quoted && element->ptr[end] == '\\')
            end++;
        else
            quoted ^= element->ptr[end] == '"';
        end++;
    }
    if (end >= element->len)
        return true;
    slice_t target = slice_trim(slice_make(element->ptr + end + 1, element->len - end - 1));
    *element = slice_trim(slice_make(element->ptr, end));
    return slice_ieq(target, OUR_NAME);
}

/* max-age=N+M: the M, cut off `element`; CC_ABSENT when there is none. */
static int64_t take_extension(slice_t *element)
{
    static const slice_t max_age = {"max-age=", 8};
    size_t plus = slice_find(*element, '+', 0);
    if (plus == SIZE_MAX || plus < max_age.len || !slice_ieq(slice_make(element->ptr, max_age.len), max_age))
        return CC_ABSENT;
    slice_t extension = slice_make(element->ptr + plus + 1, element->len - plus - 1);
    element->len = plus;
    return cache_control_seconds(extension);
}

static void parse_line(slice_t line, struct cache_control *out)
{
    slice_t element;
    while (http_list_next(&line, &element)) {
        if (!is_for_us(&element))
            continue;
        int64_t stale_s = take_extension(&element);
        cache_control_parse_value(element, out);
        if (stale_s == CC_ABSENT)
            continue;
        if (out->stale_while_revalidate_s == CC_ABSENT)
            out->stale_while_revalidate_s = stale_s;
        if (out->stale_if_error_s == CC_ABSENT)
            out->stale_if_error_s = stale_s;
    }
}

bool cache_surrogate_control_parse(const struct http_head *response, struct cache_control *out)
{
    cache_control_init(out);
    for (unsigned i = 0; i < response->field_count; i++) {
        if (response->fields[i].id == HTTP_FIELD_SURROGATE_CONTROL)
            parse_line(response->fields[i].value, out);
    }
    if (out->flags == 0 && out->max_age_s == CC_ABSENT && out->s_maxage_s == CC_ABSENT)
        return false;
    out->flags |= CC_TARGETED;
    for (unsigned i = 0; i < response->field_count; i++) {
        struct cache_control general;
        if (response->fields[i].id != HTTP_FIELD_CACHE_CONTROL)
            continue;
        cache_control_init(&general);
        cache_control_parse_value(response->fields[i].value, &general);
        out->flags |= general.flags & CC_PRIVATE;
    }
    return true;
}
