/* cache_control.h: Cache-Control directives (RFC 9111 section 5.2) and targeted ones (RFC 9213), pure.
 *
 * Unknown directives are skipped. A delta-seconds that is not a number makes the response stale (0), as RFC
 * 9111 section 4.2.1 advises; one beyond 2^31 counts as 2^31. Of a repeated directive the first counts for
 * freshness, any for restrictions. Quoted arguments are accepted. From an element that breaks the grammar
 * only restrictions are taken. */
#ifndef CACHE_CACHE_CONTROL_H
#define CACHE_CACHE_CONTROL_H

#include "core/http_msg.h"

#define CC_NO_STORE         (1u << 0)
#define CC_NO_CACHE         (1u << 1) /* without a field list */
#define CC_NO_CACHE_FIELDS  (1u << 2) /* no-cache="field, ..." */
#define CC_PRIVATE          (1u << 3)
#define CC_PRIVATE_FIELDS   (1u << 4) /* private="field, ..." */
#define CC_PUBLIC           (1u << 5)
#define CC_MUST_REVALIDATE  (1u << 6)
#define CC_PROXY_REVALIDATE (1u << 7)
#define CC_NO_TRANSFORM     (1u << 8)
#define CC_ONLY_IF_CACHED   (1u << 9)
#define CC_MUST_UNDERSTAND  (1u << 10)
#define CC_IMMUTABLE        (1u << 11)
#define CC_MAX_STALE_ANY    (1u << 12) /* max-stale without a value */
#define CC_TARGETED         (1u << 13) /* from a targeted field: Expires counts no more than Cache-Control */

#define CC_ABSENT ((int64_t)-1)

struct cache_control {
    uint32_t flags;
    int64_t max_age_s, s_maxage_s; /* CC_ABSENT when not given; likewise below */
    int64_t stale_while_revalidate_s, stale_if_error_s;
    int64_t max_stale_s, min_fresh_s; /* requests */
};

/* The fields that say the same as Cache-Control to some caches only. */
#define CACHE_CONTROL_TARGETED                                                                               \
    (HTTP_BIT(MILLPOND_CACHE_CONTROL) | HTTP_BIT(CDN_CACHE_CONTROL) | HTTP_BIT(SURROGATE_CONTROL))
/* Those of them that go no further than here. */
#define CACHE_CONTROL_HIDDEN (HTTP_BIT(MILLPOND_CACHE_CONTROL) | HTTP_BIT(SURROGATE_CONTROL))

/* All Cache-Control lines of `head`, in order. Of a response the first of Millpond-Cache-Control,
 * CDN-Cache-Control, Surrogate-Control (surrogate_control.h) and Cache-Control that is there counts, and none
 * of the others; one of the first two that is empty or breaks the grammar of Structured Fields is as good as
 * absent (RFC 9213 section 2.1). */
void cache_control_parse(const struct http_head *head, struct cache_control *out);
/* One field value, merged into `out` (which cache_control_init prepared). */
void cache_control_init(struct cache_control *out);
void cache_control_parse_value(slice_t value, struct cache_control *out);

/* delta-seconds (RFC 9111 section 1.2.2): digits only, else 0; whatever does not fit counts as the most that
 * is told apart. */
int64_t cache_control_seconds(slice_t s);

/* May a shared cache keep what was made for a request with Authorization (RFC 9111 section 3.5)? With
 * s-maxage=0, which a malformed one counts as, it may for no time at all. */
static inline bool cache_control_shares_personal(const struct cache_control *cc)
{
    return (cc->flags & (CC_PUBLIC | CC_MUST_REVALIDATE)) != 0 || cc->s_maxage_s > 0;
}

/* True when a private="..." or no-cache="..." list of `head` names this field. */
bool cache_control_names_field(const struct http_head *head, slice_t name);

#endif
