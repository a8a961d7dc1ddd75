/* check_redis.c: rules of [redis]: what its urls and keys must not say together, and what is legal but surely
 * not meant. Nothing is said about the rest when a value was refused already. No message quotes a url. */
#include "config/build.h"

#define URLS_MAX 16

struct redis_check {
    struct build *b;
    const struct source_section *section;
};

static struct config_origin redis_at(const struct redis_check *c, const char *key)
{
    const struct source_value *v = source_value_given(c->section, key);
    return v != NULL ? v->origin : c->section->origin;
}

static void redis_say(const struct redis_check *c, bool warning, const char *key, const char *text)
{
    problem_add(c->b->source->problems, warning, redis_at(c, key), c->section->label, key, "%s", text);
}

static void redis_refuse(const struct redis_check *c, const char *key, const char *text)
{
    redis_say(c, false, key, text);
}

static void redis_warn(const struct redis_check *c, const char *key, const char *text)
{
    redis_say(c, true, key, text);
}

static void redis_refuse_url(const struct redis_check *c, const struct build_redis_url *url, const char *text)
{
    problem_add(c->b->source->problems, false, url->origin, c->section->label, "url", "%s", text);
}

/* ---- errors ---- */

static bool login_given(const struct config_redis_login *l)
{
    return l->username[0] != '\0' || l->password[0] != '\0';
}

static bool same_login(const struct config_redis_login *a, const struct config_redis_login *b)
{
    return strcmp(a->username, b->username) == 0 && strcmp(a->password, b->password) == 0;
}

/* Against those before it. */
static void check_url(const struct redis_check *c, size_t i)
{
    const struct build_redis_url *url = &c->b->redis_urls[i], *first = &c->b->redis_urls[0];
    const struct config_strings *servers = &c->b->config->redis.servers;
    if (url->scheme != first->scheme) {
        redis_refuse_url(c, url,
                         "the urls are of different kinds; write all with redis://, all with rediss:// "
                         "or all with unix:");
        return;
    }
    if (url->database != first->database)
        redis_refuse_url(c, url, "the urls name different databases; write the same in all");
    for (size_t k = 0; k < i; k++) {
        const struct build_redis_url *before = &c->b->redis_urls[k];
        if (strcmp(servers->items[k], servers->items[i]) == 0) {
            redis_refuse_url(c, url, "the server was already named by another url; name each once");
            return;
        }
        if (login_given(&url->login) && login_given(&before->login) &&
            !same_login(&url->login, &before->login)) {
            redis_refuse_url(c, url,
                             "the urls have different users or passwords; one login is for all, so write "
                             "the same in all");
            return;
        }
    }
}

static void check_mode(const struct redis_check *c)
{
    const struct config_redis *r = &c->b->config->redis;
    const struct build_redis_url *urls = c->b->redis_urls;
    size_t count = c->b->redis_url_count;
    bool url_given = source_value_given(c->section, "url") != NULL;
    if (r->mode == CONFIG_REDIS_STANDALONE && count > 1)
        redis_refuse_url(c, &urls[1],
                         "mode = standalone is one server; remove the other urls, or write mode = "
                         "sentinel or mode = cluster");
    if (count > URLS_MAX)
        redis_refuse_url(c, &urls[URLS_MAX], "this is one url too many; write at most 16");
    if (r->mode == CONFIG_REDIS_SENTINEL && !url_given)
        redis_refuse(c, "mode", "the Sentinels are not named; write url = redis://host:26379 for each");
    if (r->mode == CONFIG_REDIS_SENTINEL && r->sentinel_name[0] == '\0')
        redis_refuse(c, "mode", "the master is not named; write sentinel_name, what the Sentinels call it");
    if (r->mode == CONFIG_REDIS_CLUSTER && r->database != 0)
        redis_refuse_url(c, &urls[0], "a Cluster has database 0 only; remove the database");
    if (r->mode == CONFIG_REDIS_CLUSTER && urls[0].scheme == REDIS_URL_UNIX)
        redis_refuse_url(c, &urls[0],
                         "the servers of a Cluster are reached over the network; write "
                         "redis://host:port");
    if (r->mode != CONFIG_REDIS_SENTINEL && r->sentinel_name[0] != '\0')
        redis_warn(c, "sentinel_name", "it means nothing without mode = sentinel; remove it, or write that");
    if (r->tls_ca[0] != '\0' && !r->tls)
        redis_refuse(c, "tls_ca",
                     "no url begins with rediss://, so nothing is encrypted; write rediss:// in the "
                     "url, or remove tls_ca");
}

static void check_logins(const struct redis_check *c)
{
    const struct config_redis *r = &c->b->config->redis;
    bool sentinel = r->mode == CONFIG_REDIS_SENTINEL;
    for (size_t i = 0; i < c->b->redis_url_count; i++) {
        const struct build_redis_url *url = &c->b->redis_urls[i];
        if (!sentinel && url->login.username[0] != '\0' &&
            source_value_given(c->section, "username") != NULL) {
            redis_refuse(c, "username", "the url names a user as well; write it in one of the two places");
            return;
        }
        if (!sentinel && url->login.password[0] != '\0' &&
            source_value_given(c->section, "password") != NULL) {
            redis_refuse(c, "password", "the url has a password as well; write it in one of the two places");
            return;
        }
        if (sentinel && url->login.username[0] != '\0' && url->login.password[0] == '\0') {
            redis_refuse_url(c, url, "the user of the Sentinels has no password; write user:password@host");
            return;
        }
    }
    bool key = source_value_given(c->section, "username") != NULL;
    if (r->login.username[0] != '\0' && r->login.password[0] == '\0')
        redis_refuse(c, key ? "username" : "url", "the user has no password; write one, or remove the user");
}

/* ---- warnings ---- */

static bool is_loopback(const struct build_redis_url *url)
{
    struct net_addr addr;
    char text[REDIS_URL_SHOWN];
    snprintf(text, sizeof text, "%s:1", url->host);
    if (url->scheme == REDIS_URL_UNIX || strcmp(url->host, "localhost") == 0)
        return true;
    if (!net_addr_parse(slice_str(text), &addr))
        return false;
    return addr.sa.sa_family == AF_INET ? (ntohl(addr.in4.sin_addr.s_addr) >> 24) == 127
                                        : IN6_IS_ADDR_LOOPBACK(&addr.in6.sin6_addr);
}

static void warn_of_clear_text(const struct redis_check *c)
{
    const struct config_redis *r = &c->b->config->redis;
    if (r->login.password[0] == '\0' && r->sentinel_login.password[0] == '\0')
        return;
    for (size_t i = 0; i < c->b->redis_url_count; i++) {
        const struct build_redis_url *url = &c->b->redis_urls[i];
        if (url->scheme != REDIS_URL_PLAIN || is_loopback(url))
            continue;
        problem_add(c->b->source->problems, true, url->origin, c->section->label, "url",
                    "the password goes to %s unencrypted; write rediss:// if the server speaks TLS",
                    url->host);
        return;
    }
}

static void check_use(const struct redis_check *c)
{
    const struct config_redis *r = &c->b->config->redis;
    const struct config_cache *cache = &c->b->config->cache;
    if (!config_store_is_shared(cache->store) && !check_limit_uses_redis(c->b->config))
        problem_add(c->b->source->problems, true, c->section->origin, c->section->label, NULL,
                    "store = %s keeps nothing in Redis: it is connected to and watched, but not used; write "
                    "store = tiered or redis, or remove the section if that is not meant",
                    cache->store == CONFIG_STORE_OFF ? "off" : "memory");
    warn_of_clear_text(c);
    if (r->mode == CONFIG_REDIS_SENTINEL && r->sentinel_login.password[0] != '\0' &&
        r->login.password[0] == '\0')
        redis_warn(c, "url",
                   "the password in it is for the Sentinels, and the servers they name are logged in to "
                   "without one; write password if these want one, too");
    if (source_value_given(c->section, "max_object_size") != NULL && cache->store != CONFIG_STORE_OFF &&
        r->max_object_bytes > cache->max_object_bytes)
        redis_warn(c, "max_object_size",
                   "it is larger than max_object_size of [cache]; objects that large are not stored at all");
}

void check_redis(struct build *b)
{
    const struct redis_check c = {b, source_section_find(b->source, OPTION_REDIS, NULL)};
    size_t errors = b->source->problems->errors;
    if (c.section == NULL || b->redis_wrong || b->redis_url_count == 0)
        return;
    for (size_t i = 1; i < b->redis_url_count; i++)
        check_url(&c, i);
    check_mode(&c);
    check_logins(&c);
    if (b->source->problems->errors == errors)
        check_use(&c);
}
