/* guard.c: see guard.h. Pure; any thread.
 *
 * One principle: a ttl says how long, never for whom. A response that would be shared by what it says itself
 * (freshness_is_ours is false then) is shared for as long as the route likes. One that says nothing, or says
 * that it wants to be asked for each time, is shared between requests that nothing tells apart, and those
 * with a cookie or Authorization are not among them: not as the one it is made for, and not as one that is
 * answered with it, since who is logged in is not to see the page of who is not.
 *
 * Rejected: looking at responses only ("no Set-Cookie, so it is not personal"). A session cookie is set once
 * and sent a thousand times. */
#include "cache/guard.h"

#include "cache/cookies.h"

enum no_store_reason guard_credentials(const struct http_head *request, const struct cache_rules *rules,
                                       bool certified)
{
    if (http_head_has(request, HTTP_FIELD_AUTHORIZATION))
        return NO_STORE_AUTHORIZATION;
    if (certified)
        return NO_STORE_CERTIFICATE;
    if (rules->gives_ttl && cookies_unaccounted(request, rules))
        return NO_STORE_COOKIE;
    return NO_STORE_STORED;
}

/* It says that it is meant for everybody, so its address may look as it likes. */
static bool says_public(const struct cache_control *cc)
{
    return (cc->flags & CC_PUBLIC) || cc->s_maxage_s > 0 || ((cc->flags & CC_TARGETED) && cc->max_age_s > 0);
}

bool guard_sees_deception(slice_t path, const struct http_head *response, const struct cache_control *cc,
                          const struct cache_freshness *f, const struct cache_rules *rules)
{
    if (says_public(cc))
        return false;
    if (freshness_is_ours(f->source) && deception_path_is_ambiguous(path))
        return true;
    /* An error page is the same whatever does not exist, and has no file's type. */
    if (response->status != 200 && response->status != 203 && response->status != 206)
        return false;
    const struct http_field *type = http_head_get(response, HTTP_FIELD_CONTENT_TYPE);
    return !deception_type_fits(path, type != NULL ? type->value : SLICE_EMPTY, rules->by_extension);
}
