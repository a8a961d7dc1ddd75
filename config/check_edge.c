/* check_edge.c: warnings about what clients and browsers make of it: protocols that nobody can choose,
 * cookies that browsers refuse or that split the cache. */
#include "config/build.h"

static void edge_warn(struct build *b, const struct source_section *section, const char *key,
                      const char *text)
{
    const struct source_value *v = source_value_given(section, key);
    problem_add(b->source->problems, true, v != NULL ? v->origin : section->origin, section->label, key, "%s",
                text);
}

void check_listen_protocols(struct build *b, const struct config_listen *l,
                            const struct source_section *section)
{
    static const char *const of_h2[] = {"h2_max_streams", "h2_max_resets"};
    const bool tls = l->tls_certificates.count > 0,
               h2 = (l->protocols & (tls ? CONFIG_PROTOCOL_H2 : CONFIG_PROTOCOL_H2C)) != 0;
    if (b->source->problems->errors > 0)
        return;
    if (source_value_given(section, "protocols") != NULL) {
        if (!tls && l->protocols == CONFIG_PROTOCOL_H2)
            edge_warn(b, section, "protocols",
                      "h2 is agreed on in the TLS handshake, and there is none here; write h2c for HTTP/2 in "
                      "clear text, or add tls_certificate and tls_key");
        if (tls && l->protocols == CONFIG_PROTOCOL_H2C)
            edge_warn(b, section, "protocols", "h2c is HTTP/2 in clear text, and here is TLS; write h2");
    }
    for (size_t i = 0; i < ARRAY_LEN(of_h2); i++)
        if (!h2 && source_value_given(section, of_h2[i]) != NULL)
            edge_warn(b, section, of_h2[i],
                      tls ? "it does nothing without h2 in protocols; add that, or remove the line"
                          : "it does nothing without h2c in protocols, or a certificate; remove the line");
}

/* ---- the cookie of a pool ---- */

static void check_cookie_prefix(struct build *b, const char *cookie, const struct source_section *section)
{
    const bool secure = strncmp(cookie, "__Secure-", 9) == 0 || strncmp(cookie, "__Host-", 7) == 0;
    for (size_t i = 0; secure && i < b->config->listen_count; i++) {
        const struct config_listen *l = &b->config->listens[i];
        if (l->tls_certificates.count > 0 || l->redirect_to_https)
            continue;
        problem_add(b->source->problems, true, source_value_given(section, "sticky_cookie")->origin,
                    section->label, "sticky_cookie",
                    "browsers take a cookie of such a name over https only, and [listen %s] is without TLS; "
                    "choose another name, or redirect_to_https there",
                    l->name);
        return;
    }
}

static bool names_cookie(const struct config_strings *names, const char *cookie)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], cookie) == 0)
            return true;
    return false;
}

void check_sticky_cookies(struct build *b)
{
    const struct config *c = b->config;
    size_t pool = 0, route = 0;
    for (const struct source_section *it = b->source->first; it != NULL; it = it->next) {
        if (it->id == OPTION_POOL && pool < c->pool_count) {
            const char *cookie = c->pools[pool++].sticky_cookie;
            if (source_value_given(it, "sticky_cookie") != NULL)
                check_cookie_prefix(b, cookie, it);
        } else if (it->id == OPTION_ROUTE && route < c->route_count) {
            const struct config_route *r = &c->routes[route++];
            const char *cookie = r->pool >= 0 ? c->pools[r->pool].sticky_cookie : "";
            if (cookie[0] == '\0')
                continue;
            if (names_cookie(&r->key.cookies, cookie))
                edge_warn(b, it, "key_cookies",
                          "the pool's sticky_cookie is among them, so that each instance gets copies of its "
                          "own; remove it here");
            if (strcmp(r->bypass_cookie, cookie) == 0)
                edge_warn(b, it, "cache",
                          "the pool gives every visitor this cookie (sticky_cookie), so the cache serves "
                          "nobody twice; name the cookie of a login");
        }
    }
}
