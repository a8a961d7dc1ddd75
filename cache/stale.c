/* stale.c: see stale.h. Pure; any thread.
 *
 * The windows are not kept with the object: only a stale one is asked for them, and its head says them again.
 * What eviction and the sweep must know of every object, how long it is worth keeping, is five bits: the next
 * power of two in seconds. */
#include "cache/stale.h"

#include "core/http_msg.h"

#define CONTROL_LINES_MAX 16 /* more are not looked at: no windows */

static dur_ms_t window_ms(int64_t directive_s, dur_ms_t option_ms)
{
    return directive_s != CC_ABSENT ? directive_s * 1000 : option_ms;
}

struct cache_stale cache_stale_compute(const struct cache_freshness *f, const struct cache_control *cc,
                                       const struct cache_rules *rules)
{
    if (f->never_stale || f->revalidate_always)
        return (struct cache_stale){0, 0};
    /* What its sender never lets others have unasked, because it may well be made for one client, is not used
     * unasked by an option either. */
    if (f->lifetime_ms <= 0 && (cc->flags & CC_PUBLIC) == 0)
        return (struct cache_stale){window_ms(cc->stale_while_revalidate_s, 0),
                                    window_ms(cc->stale_if_error_s, 0)};
    return (struct cache_stale){
        window_ms(cc->stale_while_revalidate_s, rules->stale_while_revalidate_ms),
        MAX(window_ms(cc->stale_if_error_s, rules->stale_if_error_ms), rules->keep_assets_ms)};
}

#define CONTROL_FIELDS (HTTP_BIT(CACHE_CONTROL) | CACHE_CONTROL_TARGETED)

/* Adds the lines of a stored head that cache_control_parse reads; false: there are too many. */
static bool collect_control(slice_t rest, struct http_head *head)
{
    for (size_t end; (end = slice_find(rest, '\r', 0)) != SIZE_MAX;) { /* of our own making: CRLF each */
        size_t colon = MIN(slice_find(rest, ':', 0), end);
        slice_t name = slice_make(rest.ptr, colon);
        enum http_field_id id = http_field_lookup(name);
        if (id != HTTP_FIELD_OTHER && ((CONTROL_FIELDS >> id) & 1)) {
            if (head->field_count == CONTROL_LINES_MAX)
                return false;
            slice_t value = slice_trim(slice_make(rest.ptr + colon + 1, end - colon - 1));
            head->fields[head->field_count++] =
                (struct http_field){.name = name, .value = value, .id = (uint8_t)id};
            head->present |= UINT64_C(1) << id;
        }
        rest = slice_make(rest.ptr + end + 2, rest.len - end - 2);
    }
    return true;
}

bool cache_control_of_stored(const struct cache_object_info *stored, struct cache_control *out)
{
    struct http_field fields[CONTROL_LINES_MAX];
    struct http_head head = {.status = stored->status, .fields = fields};
    if (!collect_control(cache_object_info_hidden(stored), &head) || !collect_control(stored->head, &head))
        return false;
    cache_control_parse(&head, out);
    return true;
}

struct cache_stale cache_stale_of_stored(const struct cache_object_info *stored,
                                         const struct cache_rules *rules)
{
    struct cache_control cc;
    if (!cache_control_of_stored(stored, &cc))
        return (struct cache_stale){0, 0};
    return cache_stale_compute(&stored->fresh, &cc, rules);
}

uint8_t cache_stale_keep_code(const struct cache_stale *s)
{
    const dur_ms_t longest_ms = MAX(s->while_revalidate_ms, s->if_error_ms);
    if (longest_ms <= 1000)
        return longest_ms > 0;
    const uint64_t more_s =
        (uint64_t)(longest_ms - 1) / 1000; /* keep_ms(code) is the first power of two above */
    return (uint8_t)MIN(CACHE_KEEP_CODE_MAX, 65 - __builtin_clzll(more_s));
}
