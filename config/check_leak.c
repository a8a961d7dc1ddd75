/* check_leak.c: warnings of combinations by which one visitor may get what was made for another, or by which
 * nothing is cached although the file seems to say so. The cache guards against most of it while it runs
 * (cache/guard.h); what it cannot see is what a person meant.
 *
 * A warning is only for what is surely not meant: each has a way to write the same file without it. */
#include "config/build.h"

static void leak_warn(struct build *b, const struct source_section *section, const char *key,
                      const char *text)
{
    const struct source_value *v = source_value_given(section, key);
    problem_add(b->source->problems, true, v != NULL ? v->origin : section->origin, section->label, key, "%s",
                text);
}

static bool takes_every_path(const struct config_route *r)
{
    for (size_t i = 0; i < r->path_count; i++) {
        if (r->paths[i].match == CONFIG_PATH_PREFIX && r->paths[i].len == 1)
            return true;
    }
    return r->path_count == 0;
}

static bool removes_all_cookies(const struct config_route *r)
{
    for (size_t i = 0; i < r->remove_cookies.count; i++) {
        if (strcmp(r->remove_cookies.items[i], "all") == 0)
            return true;
    }
    return false;
}

static bool has_extension(const struct config_route *r)
{
    for (size_t i = 0; i < r->path_count; i++) {
        if (r->paths[i].match == CONFIG_PATH_SUFFIX)
            return true;
    }
    return false;
}

/* The route is for requests that carry that field. */
static bool wants_field(const struct config_route *r, const char *name)
{
    for (size_t i = 0; i < r->header_count; i++) {
        if (slice_ieq(slice_str(r->headers[i].name), slice_str(name)))
            return true;
    }
    return false;
}

static bool field_is_removed(slice_t name, struct option_guess *guess)
{
    static const char *const names[] = {
#define UNKEYED(name, kind, use) name,
#include "core/unkeyed_tbl.h"
#undef UNKEYED
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (slice_ieq(slice_str(names[i]), name))
            return true;
        option_guess_offer(guess, names[i]);
    }
    return false;
}

static void leak_kept_fields(struct build *b, const struct config_route *r,
                             const struct source_section *section)
{
    for (size_t i = 0; i < r->keep_request_headers.count; i++) {
        slice_t name = slice_str(r->keep_request_headers.items[i]);
        struct option_guess guess = {.word = name};
        if (field_is_removed(name, &guess))
            continue;
        const struct source_value *v = source_value_given(section, "keep_request_header");
        if (guess.best != NULL)
            problem_add(b->source->problems, true, v->origin, section->label, v->option->key,
                        "%s is passed on anyway, and is not part of the key; did you mean %s?", name.ptr,
                        guess.best);
        else
            problem_add(b->source->problems, true, v->origin, section->label, v->option->key,
                        "%s is passed on anyway, and is not part of the key; remove it here", name.ptr);
    }
}

static void leak_ttl(struct build *b, const struct config_route *r, const struct source_section *section,
                     const char *key)
{
    if (wants_field(r, "Authorization"))
        leak_warn(b, section, key,
                  "it does nothing: responses to requests with Authorization are shared only if they say so "
                  "themselves; remove the line, or let the application answer with Cache-Control: public");
    else if (wants_field(r, "Cookie") && !removes_all_cookies(r))
        leak_warn(b, section, key,
                  "it does nothing: responses to requests with cookies are shared only if they say so "
                  "themselves; remove the line, or the cookies with remove_cookies");
    else if (takes_every_path(r) && r->hosts.count == 0 && r->header_count == 0 &&
             r->cache != CONFIG_CACHE_BYPASS_IF)
        leak_warn(b, section, key,
                  "it is for every page, also for those made for one visitor; name the paths it is for, or "
                  "go past the cache for who is logged in, such as cache = bypass_if=cookie:session");
    if (!r->deception_guard && has_extension(r))
        leak_warn(b, section, "deception_guard",
                  "without it a page that is asked for as /account/x.css is kept for everybody; remove the "
                  "line, or name folders in path instead of extensions");
}

/* A field that says who the client is by its certificate. */
static bool is_identity(const char *name)
{
    static const struct {
        const char *name, *kind;
    } fields[] = {
#define UNKEYED(name, kind, use) {name, #kind},
#include "core/unkeyed_tbl.h"
#undef UNKEYED
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (strcmp(fields[i].kind, "IDENTITY") == 0 && slice_ieq(slice_str(fields[i].name), slice_str(name)))
            return true;
    }
    return false;
}

/* One that we write. */
static bool is_said_by_us(const struct config *c, const char *name)
{
    static const char *const ours[] = {"x-ssl-client-verify", "x-ssl-client-s-dn", "x-ssl-client-sha256"};
    bool asked = false, is_ours = false;
    for (size_t i = 0; i < c->listen_count; i++)
        asked |= c->listens[i].tls_client_verify != TLS_VERIFY_OFF;
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        is_ours |= slice_ieq(slice_str(ours[i]), slice_str(name));
    return asked && is_ours;
}

static void leak_identity(struct build *b, const struct source_section *section, const char *key,
                          const char *name)
{
    if (!is_identity(name))
        return;
    b->config->reads_identity = true;
    if (!is_said_by_us(b->config, name))
        leak_warn(b, section, key,
                  "only a proxy in trusted_proxies can say that; Millpond itself says X-SSL-Client-Verify, "
                  "-S-DN and -SHA256, and a listener has to ask for certificates by tls_client_verify");
}

static void leak_identities(struct build *b, const struct config_route *r,
                            const struct source_section *section)
{
    for (size_t i = 0; i < r->header_count; i++)
        leak_identity(b, section, "header", r->headers[i].name);
    for (size_t i = 0; i < r->key.headers.count; i++)
        leak_identity(b, section, "key_headers", r->key.headers.items[i]);
    leak_identity(b, section, "cache", r->bypass_header);
    leak_identity(b, section, "rate_limit", r->rate_limit.header);
    if (r->split.by == CONFIG_SPLIT_HEADER)
        leak_identity(b, section, "split", r->split.name);
}

void check_pool_leaks(struct build *b, const struct config_pool *p, const struct source_section *section)
{
    leak_identity(b, section, "hash_on", p->hash_name);
}

void check_route_leaks(struct build *b, const struct config_route *r, const struct source_section *section)
{
    leak_identities(b, r, section);
    if (r->cache == CONFIG_CACHE_OFF || r->redirect_status != 0 || r->respond_status != 0 ||
        r->root[0] != '\0') /* files are the same for everybody */
        return;
    if (r->ttl_ms != CONFIG_TTL_UNSET && r->ttl_ms > 0)
        leak_ttl(b, r, section, "ttl");
    else if (r->min_ttl_ms != CONFIG_TTL_UNSET && r->min_ttl_ms > 0)
        leak_ttl(b, r, section, "min_ttl");
    if (r->ignore_set_cookie && takes_every_path(r))
        leak_warn(b, section, "ignore_set_cookie",
                  "it is for every page, also for those that log a visitor in; name the paths it is for");
    if (removes_all_cookies(r) && takes_every_path(r) && r->cache != CONFIG_CACHE_BYPASS_IF)
        leak_warn(b, section, "remove_cookies",
                  "no page knows who is logged in; name the paths it is for, or cookies such as _ga*, or go "
                  "past the cache for who is logged in, such as cache = bypass_if=cookie:session");
    leak_kept_fields(b, r, section);
}

void check_trusted_proxies(struct build *b)
{
    const struct config_cidrs *list = &b->config->main.trusted_proxies;
    for (const struct source_section *it = b->source->first; it != NULL; it = it->next) {
        if (it->id != OPTION_MILLPOND)
            continue;
        for (size_t i = 0; i < list->count; i++) {
            const struct net_cidr *c = &list->items[i];
            bool all_of_ipv4 = c->bits == 96 && c->addr[11] == 0xff;
            if (c->is_unix || (c->bits > 0 && !all_of_ipv4))
                continue;
            leak_warn(b, it, "trusted_proxies",
                      "every client is believed which host it asked for and who it is; name the network of "
                      "the proxies alone");
            return;
        }
    }
}
