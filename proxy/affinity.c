/* affinity.c: see affinity.h.
 *
 * The sticky cookie is between the visitor's browser and us. It is taken out of each request before the cache
 * looks at it: who merely has been here before is no less anonymous for it. And it is given only with a
 * response that is relayed to one client. One that is being stored never has it, not even as its first reader
 * gets it, nor one that only we do not store: caches between us and the browser may, with the cookie (RFC
 * 9111 section 7.3), and nothing that can be shared needs an instance of its own. */
#include "proxy/affinity.h"

#include "cache/cache_control.h"
#include "cache/cookies.h"
#include "core/hash.h"
#include "core/http_date.h"
#include "core/text.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"
#include "proxy/unkeyed.h"

slice_t affinity_find_cookie(const struct http_head *request, slice_t name)
{
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value, found, pair;
        while (request->fields[i].id == HTTP_FIELD_COOKIE && cookies_next(&rest, &found, &pair)) {
            size_t equals = slice_find(pair, '=', 0);
            if (equals != SIZE_MAX && slice_eq(found, name))
                return slice_trim(slice_make(pair.ptr + equals + 1, pair.len - equals - 1));
        }
    }
    return (slice_t){NULL, 0};
}

static slice_t hashed_text(const struct exchange *x, const struct config_pool *pool)
{
    const struct http_field *f;
    switch (pool->hash_on) {
    case CONFIG_HASH_ON_CLIENT_IP:
        return x->client_ip;
    case CONFIG_HASH_ON_PATH:
        return x->target.path;
    case CONFIG_HASH_ON_HEADER:
        f = http_head_find(&x->req, slice_str(pool->hash_name));
        return f != NULL ? f->value : SLICE_EMPTY;
    case CONFIG_HASH_ON_COOKIE:
        return affinity_find_cookie(&x->req, slice_str(pool->hash_name));
    case CONFIG_HASH_ON_NOTHING:
        break;
    }
    return SLICE_EMPTY;
}

void affinity_read(struct exchange *x)
{
    const struct config_pool *pool = pool_config(x->route->pool);
    const char *name = pool->sticky_cookie;
    struct pool_affinity *a = arena_alloc(&x->arena, sizeof *a), none;
    x->affinity = a;
    if (a == NULL) /* any instance will do then, but the cookie must go */
        a = &none;
    *a = (struct pool_affinity){0};
    if (pool->balance == CONFIG_BALANCE_HASH) {
        slice_t text = hashed_text(x, pool);
        a->key = text.len > 0 ? hash_bytes_unseeded(text.ptr, text.len).lo : 0;
    }
    if (name[0] == '\0' || !http_head_has(&x->req, HTTP_FIELD_COOKIE))
        return;
    slice_t value = affinity_find_cookie(&x->req, slice_str(name));
    if (value.ptr == NULL)
        return;
    a->pin = pool_pin_of_value(x->route->pool, value);
    cookies_remove_named(&x->req, &(struct config_strings){&name, 1});
}

void affinity_copy(struct exchange *x, const struct exchange *of)
{
    x->affinity = arena_alloc(&x->arena, sizeof *x->affinity);
    if (x->affinity != NULL)
        *x->affinity = (struct pool_affinity){.key = of->affinity->key};
}

/* As far as we know: TLS may end in front of us. */
static bool client_uses_tls(const struct exchange *x)
{
    const struct http_field *f = http_head_get(&x->req, HTTP_FIELD_X_FORWARDED_PROTO);
    if (f != NULL && unkeyed_is_believed(x, f->name))
        return slice_ieq(f->value, SLICE_LIT("https"));
    return x->secure;
}

/* In so many words; what says nothing of it is not kept by whoever sees a Set-Cookie in it. */
static bool may_be_shared(const struct http_head *head, wall_s_t now_s)
{
    struct cache_control cc;
    wall_s_t expires_s;
    cache_control_parse(head, &cc);
    if ((cc.flags & (CC_NO_STORE | CC_PRIVATE)) != 0)
        return false;
    const struct http_field *f = http_head_get(head, HTTP_FIELD_EXPIRES);
    return (cc.flags & CC_PUBLIC) != 0 || MAX(cc.max_age_s, cc.s_maxage_s) > 0 ||
           (cc.max_age_s == CC_ABSENT && f != NULL && http_date_parse(f->value, now_s, &expires_s) &&
            expires_s > now_s);
}

void affinity_pin(struct exchange *x, const struct http_head *head)
{
    static const slice_t attributes = SLICE_LIT("; Path=/; HttpOnly; SameSite=Lax");
    slice_t name = slice_str(pool_config(x->route->pool)->sticky_cookie);
    if (name.len == 0 || x->client == NULL || x->instance == NULL || x->status >= 500 ||
        x->response_head.ptr == NULL)
        return;
    char own[STICKY_CHARS];
    const slice_t value = {own, sizeof own};
    const uint32_t pin = pool_pin_of_instance(x->route->pool, x->instance, own);
    if (pin == 0 || pin == x->affinity->pin || may_be_shared(head, x->pw->worker->now_wall_ms / 1000))
        return;
    size_t bound = x->response_head.len + name.len + value.len + 64;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return; /* the next response will do */
    struct text t = text_make(buf, bound);
    text_put(&t, x->response_head);
    TEXT_LIT(&t, "Set-Cookie: ");
    text_put(&t, name);
    TEXT_LIT(&t, "=");
    text_put(&t, value);
    text_put(&t, attributes);
    if (client_uses_tls(x))
        TEXT_LIT(&t, "; Secure");
    TEXT_LIT(&t, "\r\n");
    if (!t.overflow)
        x->response_head = text_slice(&t);
}
