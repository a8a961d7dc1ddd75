/* freshness.c: see freshness.h. Pure; any thread; the clock is an argument.
 *
 * Arithmetic is in 64-bit milliseconds and every number that a peer sends is capped at 2^31 seconds before it
 * gets here, so nothing overflows. Date, Age and Expires are whole seconds: the apparent age is taken between
 * whole seconds too, or a response of this very second would look up to 999 ms old and max-age=1 would never
 * hit. */
#include "cache/freshness.h"

#include "cache/stale.h"
#include "core/http_date.h"
#include "core/http_field.h"
#include "core/panic.h"

#define LIFETIME_MAX_MS CACHE_AGE_UNKNOWN_MS

const char *freshness_source_name(enum freshness_source s)
{
#define X(id, name, text) name,
    static const char *const names[] = {FRESHNESS_SOURCES(X)};
#undef X
    ASSERT((unsigned)s < FRESHNESS_SOURCE_COUNT);
    return names[s];
}

bool cache_status_is_heuristic(unsigned status)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 206:
    case 300:
    case 301:
    case 308:
    case 404:
    case 405:
    case 410:
    case 414:
    case 501:
        return true;
    default:
        return false;
    }
}

/* What the route says for this status, or CACHE_TTL_UNSET. */
static dur_ms_t route_ttl_ms(unsigned status, const struct cache_rules *rules)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 206:
    case 300:
    case 301:
    case 308:
        return rules->ttl_ms;
    case 404:
    case 410:
        return rules->ttl_404_ms;
    case 500:
    case 502:
    case 503:
    case 504:
        return rules->ttl_5xx_ms;
    default:
        return CACHE_TTL_UNSET;
    }
}

/* The first field of that id as a date; false when there is none or it is not one. */
static bool field_date(const struct http_head *h, enum http_field_id id, wall_s_t now_s, wall_s_t *out)
{
    const struct http_field *f = http_head_get(h, id);
    return f != NULL && http_date_parse(f->value, now_s, out);
}

/* An Age that is not one number comes from a cache that is not to be believed, so the response counts as
 * older than any lifetime (RFC 9111 section 4.2.1 encourages this for freshness that makes no sense; section
 * 5.1 would have it ignored, or the first of several used). */
static dur_ms_t age_value_ms(const struct http_head *response)
{
    const struct http_field *f = http_head_get(response, HTTP_FIELD_AGE);
    if (f == NULL)
        return 0;
    if (f->value.len == 0 || http_head_count(response, HTTP_FIELD_AGE) != 1)
        return CACHE_AGE_UNKNOWN_MS;
    int64_t seconds = 0;
    for (size_t i = 0; i < f->value.len; i++) {
        if (f->value.ptr[i] < '0' || f->value.ptr[i] > '9')
            return CACHE_AGE_UNKNOWN_MS;
        seconds = MIN(seconds * 10 + (f->value.ptr[i] - '0'), LIFETIME_MAX_MS / 1000);
    }
    return seconds * 1000;
}

/* RFC 9111 section 4.2.3 */
static dur_ms_t corrected_initial_ms(const struct http_head *response, wall_s_t date_s, wall_ms_t request_ms,
                                     wall_ms_t response_ms)
{
    dur_ms_t apparent_ms = MAX(0, response_ms / 1000 - date_s) * 1000;
    dur_ms_t delay_ms = MAX(0, response_ms - request_ms); /* negative when the clock stepped back */
    return MAX(apparent_ms, age_value_ms(response) + delay_ms);
}

/* Sets source and lifetime from what the response says explicitly; false when it says nothing. An Expires
 * that is no date ("0") means already expired (RFC 9111 section 5.3). */
static inline bool explicit_lifetime(const struct http_head *response, const struct cache_control *cc,
                                     wall_s_t date_s, wall_s_t now_s, struct cache_freshness *out)
{
    wall_s_t expires_s;
    if (cc->s_maxage_s != CC_ABSENT) {
        out->source = FRESHNESS_S_MAXAGE;
        out->lifetime_ms = cc->s_maxage_s * 1000;
    } else if (cc->max_age_s != CC_ABSENT) {
        out->source = FRESHNESS_MAX_AGE;
        out->lifetime_ms = cc->max_age_s * 1000;
    } else if (http_head_has(response, HTTP_FIELD_EXPIRES) && !(cc->flags & CC_TARGETED)) {
        out->source = FRESHNESS_EXPIRES;
        out->lifetime_ms = field_date(response, HTTP_FIELD_EXPIRES, now_s, &expires_s)
                               ? MAX(0, expires_s - date_s) * 1000
                               : 0;
    } else {
        return false;
    }
    return true;
}

/* RFC 9111 section 4.2.2: for a response that says nothing, if its status or `public` allows it. */
static void implicit_lifetime(const struct http_head *response, const struct cache_control *cc,
                              const struct cache_rules *rules, wall_s_t date_s, wall_s_t now_s,
                              struct cache_freshness *out)
{
    wall_s_t modified_s;
    if (!cache_status_is_heuristic(response->status) && !(cc->flags & CC_PUBLIC))
        return;
    if (rules->heuristic_percent > 0 && field_date(response, HTTP_FIELD_LAST_MODIFIED, now_s, &modified_s)) {
        out->source = FRESHNESS_HEURISTIC;
        out->lifetime_ms = MAX(0, date_s - modified_s) * 10 * rules->heuristic_percent;
        out->lifetime_ms = MIN(out->lifetime_ms, rules->heuristic_max_ms);
    } else if (rules->default_ttl_ms > 0) {
        out->source = FRESHNESS_DEFAULT_TTL;
        out->lifetime_ms = rules->default_ttl_ms;
    }
}

/* By what it says itself, others may have it for a while without asking the application. */
static bool response_is_open(const struct http_head *response, const struct cache_control *cc,
                             wall_s_t date_s, wall_s_t now_s)
{
    struct cache_freshness own;
    if (cc->flags & CC_NO_CACHE)
        return false;
    if (explicit_lifetime(response, cc, date_s, now_s, &own))
        return own.lifetime_ms > 0;
    return (cc->flags & CC_PUBLIC) != 0;
}

/* min_ttl and max_ttl apply to what the response said, not to what the ini file says elsewhere. */
static void clamp_lifetime(const struct cache_rules *rules, struct cache_freshness *out)
{
    if (out->source == FRESHNESS_NONE || out->source == FRESHNESS_DEFAULT_TTL)
        return;
    if (rules->min_ttl_ms != CACHE_TTL_UNSET && out->lifetime_ms < rules->min_ttl_ms) {
        if (out->lifetime_ms <= 0)
            out->source = FRESHNESS_ROUTE_TTL;
        out->lifetime_ms = rules->min_ttl_ms;
    }
    if (rules->max_ttl_ms != CACHE_TTL_UNSET)
        out->lifetime_ms = MIN(out->lifetime_ms, rules->max_ttl_ms);
}

static void compute_lifetime(const struct http_head *response, const struct cache_control *cc,
                             const struct cache_rules *rules, wall_ms_t request_ms, wall_ms_t response_ms,
                             struct cache_freshness *out)
{
    wall_s_t now_s = response_ms / 1000, date_s;
    if (!field_date(response, HTTP_FIELD_DATE, now_s, &date_s))
        date_s = now_s;
    *out = (struct cache_freshness){
        .response_ms = response_ms,
        .corrected_initial_ms = corrected_initial_ms(response, date_s, request_ms, response_ms),
        .source = FRESHNESS_NONE,
        .revalidate_always = (cc->flags & CC_NO_CACHE) != 0,
        .never_stale =
            (cc->flags & (CC_MUST_REVALIDATE | CC_PROXY_REVALIDATE)) != 0 || cc->s_maxage_s != CC_ABSENT,
    };
    dur_ms_t ttl_ms = route_ttl_ms(response->status, rules);
    if (ttl_ms != CACHE_TTL_UNSET) {
        out->source = FRESHNESS_ROUTE_TTL;
        out->revalidate_always = false;
        /* ttl counts from arrival: the age it came with, or an instance whose clock is slow, takes nothing
         * off. */
        if (ttl_ms > 0)
            out->lifetime_ms = MIN(ttl_ms, LIFETIME_MAX_MS) + out->corrected_initial_ms;
        if (ttl_ms > 0 && response_is_open(response, cc, date_s, now_s))
            out->source = FRESHNESS_OPEN_TTL;
        return;
    }
    if (!explicit_lifetime(response, cc, date_s, now_s, out))
        implicit_lifetime(response, cc, rules, date_s, now_s, out);
    clamp_lifetime(rules, out);
    if (out->source == FRESHNESS_DEFAULT_TTL && response_is_open(response, cc, date_s, now_s))
        out->source = FRESHNESS_OPEN_TTL;
    out->lifetime_ms = MAX(0, MIN(out->lifetime_ms, LIFETIME_MAX_MS));
}

/* The next instance, or the next deploy, may have it. */
static void limit_missing_asset(struct cache_freshness *out)
{
    out->lifetime_ms = MIN(out->lifetime_ms, CACHE_MISSING_ASSET_MS);
    out->never_stale = true;
}

void cache_freshness_compute(const struct http_head *response, const struct cache_control *cc,
                             const struct cache_rules *rules, wall_ms_t request_ms, wall_ms_t response_ms,
                             struct cache_freshness *out)
{
    compute_lifetime(response, cc, rules, request_ms, response_ms, out);
    if (UNLIKELY(rules->keep_assets_ms > 0) && (response->status == 404 || response->status == 410))
        limit_missing_asset(out);
    struct cache_stale s = cache_stale_compute(out, cc, rules);
    out->keep_code = cache_stale_keep_code(&s);
}
