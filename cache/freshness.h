/* freshness.h: how long a response may be used (RFC 9111 section 4.2), pure.
 *
 * The precedence is: the route's ttl for this status, s-maxage, max-age, Expires minus Date, heuristic by
 * Last-Modified, default_ttl (for a response without Last-Modified, or with the heuristic off); then min_ttl
 * and max_ttl clamp what the response itself said, the heuristic included. The last two, heuristic and
 * default_ttl, are only for a status that RFC 9110 section 15.1 calls heuristically cacheable, or with
 * `public`. Where the ini file decides, the source also tells whether the response would let others have it
 * without being asked again, by what it says itself: a ttl says how long, never for whom. */
#ifndef CACHE_FRESHNESS_H
#define CACHE_FRESHNESS_H

#include "cache/cache_control.h"
#include "cache/rules.h"
#include "core/clock.h"

#define FRESHNESS_SOURCES(X)                                                                                 \
    X(NONE, "none", "nothing says how long it may be used")                                                  \
    X(ROUTE_TTL, "route_ttl", "the route's ttl, ttl_404 or ttl_5xx")                                         \
    X(S_MAXAGE, "s_maxage", "Cache-Control: s-maxage")                                                       \
    X(MAX_AGE, "max_age", "Cache-Control: max-age")                                                          \
    X(EXPIRES, "expires", "Expires minus Date")                                                              \
    X(DEFAULT_TTL, "default_ttl", "default_ttl of [cache]")                                                  \
    X(HEURISTIC, "heuristic", "estimated from Last-Modified")                                                \
    X(OPEN_TTL, "open_ttl", "a ttl of the ini file, of a response that says itself that it may be shared")

enum freshness_source {
#define X(id, name, text) FRESHNESS_##id,
    FRESHNESS_SOURCES(X)
#undef X
        FRESHNESS_SOURCE_COUNT
};
_Static_assert(FRESHNESS_SOURCE_COUNT <= 8, "stored in three bits");
const char *freshness_source_name(enum freshness_source s);

/* Nothing but the ini file makes it fresh: the response does not say that it may be shared. Then it is for no
 * request with credentials (guard.h). */
static inline bool freshness_is_ours(uint8_t source)
{
    return source == FRESHNESS_ROUTE_TTL || source == FRESHNESS_DEFAULT_TTL;
}

/* Immutable part of a stored response. */
struct cache_freshness {
    wall_ms_t response_ms;         /* when the response head arrived */
    dur_ms_t corrected_initial_ms; /* corrected_initial_age, RFC 9111 section 4.2.3 */
    dur_ms_t lifetime_ms;   /* freshness_lifetime; 0 = always stale. A route's ttl counts from arrival: it is
                               ttl + corrected_initial_ms here */
    uint8_t source;         /* enum freshness_source */
    bool revalidate_always; /* no-cache: never used without asking */
    bool never_stale;       /* must-revalidate, proxy-revalidate, s-maxage: not used once stale */
    uint8_t keep_code; /* how long it is worth keeping once stale: cache_freshness_keep_ms, cache/stale.h */
};

#define CACHE_KEEP_CODE_MAX 31
/* An initial age from here on says that the received Age was no number; no lifetime is longer. */
/* The most that a 404 or 410 of a route with keep_assets may be fresh for. */
#define CACHE_MISSING_ASSET_MS 5000
#define CACHE_AGE_UNKNOWN_MS   ((INT64_C(1) << 31) * 1000)

/* RFC 9110 section 15.1: may be stored by default, without being told so. */
bool cache_status_is_heuristic(unsigned status);

/* `request_ms` and `response_ms` are when the request was sent and the response head came. */
void cache_freshness_compute(const struct http_head *response, const struct cache_control *cc,
                             const struct cache_rules *rules, wall_ms_t request_ms, wall_ms_t response_ms,
                             struct cache_freshness *out);

/* current_age, never negative, also when the wall clock stepped back. */
static inline dur_ms_t cache_freshness_age_ms(const struct cache_freshness *f, wall_ms_t now_ms)
{
    dur_ms_t resident_ms = now_ms - f->response_ms;
    return f->corrected_initial_ms + (resident_ms > 0 ? resident_ms : 0);
}

static inline dur_ms_t cache_freshness_keep_ms(unsigned code)
{
    return code > 0 ? ((dur_ms_t)1 << (code - 1)) * 1000 : 0;
}

/* Neither fresh nor stale but usable: what memory is taken back from first. */
static inline bool cache_freshness_is_spent(const struct cache_freshness *f, wall_ms_t now_ms)
{
    return cache_freshness_age_ms(f, now_ms) >= f->lifetime_ms + cache_freshness_keep_ms(f->keep_code);
}

/* What is left of the freshness, negative when it is over. What came later than now came before the wall
 * clock was set back: how old it is nobody can tell, and it would stay young until that time comes again. So
 * its freshness ends now, and asking about it dates it anew. */
#define CACHE_CLOCK_SLACK_MS 10000 /* readings of different moments, and small corrections */
static inline dur_ms_t cache_freshness_left_ms(const struct cache_freshness *f, wall_ms_t now_ms)
{
    dur_ms_t left_ms = f->lifetime_ms - cache_freshness_age_ms(f, now_ms);
    return UNLIKELY(f->response_ms - now_ms > CACHE_CLOCK_SLACK_MS) ? MIN(left_ms, 0) : left_ms;
}

static inline bool cache_freshness_is_fresh(const struct cache_freshness *f, wall_ms_t now_ms)
{
    return !f->revalidate_always && cache_freshness_left_ms(f, now_ms) > 0;
}

#endif
