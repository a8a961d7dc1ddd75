/* browser_ttl.c: see browser_ttl.h. Worker's thread.
 *
 * Done as the response leaves, not as it is stored: the Age that goes with it grows meanwhile, and a stored
 * Cache-Control is still needed as it was. Rejected: leaving Age out instead, which caches must send (RFC
 * 9111 section 5.1). */
#include "proxy/browser_ttl.h"

#include "cache/cache_control.h"
#include "core/http_field.h"
#include "proxy/deliver.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"

#define HOLDS_BACK (CC_NO_STORE | CC_NO_CACHE | CC_PRIVATE)

static bool next_control(slice_t *rest, slice_t *value)
{
    slice_t name;
    while (head_text_next(rest, &name, value)) {
        if (http_field_lookup(name) == HTTP_FIELD_CACHE_CONTROL)
            return true;
    }
    return false;
}

bool browser_ttl_applies(const struct exchange *x, slice_t head)
{
    struct cache_control cc;
    slice_t value;
    if (LIKELY(x->route->config->browser_ttl_ms == CONFIG_TTL_UNSET) || x->info.status >= 400 ||
        (x->source != SOURCE_OBJECT && x->source != SOURCE_FOLLOW && x->source != SOURCE_SLICES))
        return false;
    cache_control_init(&cc);
    while (next_control(&head, &value))
        cache_control_parse_value(value, &cc);
    return (cc.flags & HOLDS_BACK) == 0;
}

bool browser_ttl_replaces(const struct http_field *f)
{
    return f->id == HTTP_FIELD_CACHE_CONTROL || f->id == HTTP_FIELD_EXPIRES || f->id == HTTP_FIELD_PRAGMA;
}

static bool is_lifetime(slice_t directive)
{
    directive.len = MIN(slice_find(directive, '=', 0), directive.len);
    directive = slice_trim(directive);
    return slice_ieq(directive, SLICE_LIT("max-age")) || slice_ieq(directive, SLICE_LIT("s-maxage"));
}

void browser_ttl_put(struct text *t, const struct exchange *x, slice_t head)
{
    slice_t value, directive;
    dur_ms_t age_ms = cache_freshness_age_ms(&x->info.fresh, x->pw->worker->now_wall_ms);
    TEXT_LIT(t, "Cache-Control: max-age="); /* first: a quote behind it may never end */
    text_put_u64(t, (uint64_t)(x->route->config->browser_ttl_ms / 1000 + age_ms / 1000));
    while (next_control(&head, &value)) {
        while (http_list_next(&value, &directive)) {
            if (is_lifetime(directive))
                continue;
            TEXT_LIT(t, ", ");
            text_put(t, directive);
        }
    }
    TEXT_LIT(t, "\r\n");
}
