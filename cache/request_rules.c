/* request_rules.c: see request_rules.h. Pure; any thread; the clock is an argument.
 *
 * no-store and only-if-cached say nothing about whether a stored response will do; the caller reads them from
 * the flags. no-transform asks for what is so anyway. A max-age that is not a number counts as 0, as in a
 * response: asking once too often is never wrong. */
#include "cache/request_rules.h"

#include "core/http_field.h"

void cache_request_control(const struct http_head *request, struct cache_control *out)
{
    cache_control_parse(request, out);
    if (!http_head_has(request, HTTP_FIELD_CACHE_CONTROL) &&
        http_head_has_token(request, HTTP_FIELD_PRAGMA, SLICE_LIT("no-cache")))
        out->flags |= CC_NO_CACHE;
}

static bool client_takes(const struct cache_control *request, dur_ms_t age_ms, dur_ms_t left_ms)
{
    if (request->flags & CC_NO_CACHE)
        return false;
    /* "Less than or equal", RFC 9111 section 5.2.1.1; but max-age=0 is how browsers ask for a reload, and is
     * meant even in the millisecond in which the response came. */
    if (request->max_age_s != CC_ABSENT && (request->max_age_s == 0 || age_ms > request->max_age_s * 1000))
        return false;
    return request->min_fresh_s == CC_ABSENT || left_ms >= request->min_fresh_s * 1000;
}

enum cache_use cache_request_use(const struct cache_control *request, const struct cache_freshness *stored,
                                 wall_ms_t now_ms)
{
    dur_ms_t age_ms = cache_freshness_age_ms(stored, now_ms);
    bool takes = client_takes(request, age_ms, stored->lifetime_ms - age_ms);
    if (cache_freshness_is_fresh(stored, now_ms))
        return takes ? CACHE_USE_FRESH : CACHE_USE_REFUSED;
    bool any_stale = (request->flags & CC_MAX_STALE_ANY) != 0;
    if (!takes || stored->revalidate_always || stored->never_stale ||
        (!any_stale && request->max_stale_s == CC_ABSENT))
        return CACHE_USE_EXPIRED;
    bool within = any_stale || age_ms - stored->lifetime_ms <= request->max_stale_s * 1000;
    return within ? CACHE_USE_STALE : CACHE_USE_EXPIRED;
}

bool cache_request_takes_immutable(const struct cache_control *request)
{
    return (request->flags & CC_NO_CACHE) == 0 && request->max_age_s != CC_ABSENT &&
           request->min_fresh_s == CC_ABSENT;
}

bool cache_request_insists(const struct cache_control *request)
{
    return (request->flags & CC_NO_CACHE) != 0 || request->max_age_s != CC_ABSENT ||
           request->min_fresh_s != CC_ABSENT;
}
