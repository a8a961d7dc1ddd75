/* build_redis.c: values that only [redis] has, and what its urls and keys come to together. What must not be
 * together is refused by check_redis.c, behind this. */
#include "config/build.h"
#include "core/redis_reply.h"

#define PORT          6379
#define SENTINEL_PORT 26379

static const char *redis_decoded(struct build *b, slice_t encoded)
{
    char *out = arena_alloc(b->source->arena, encoded.len + 1);
    if (out == NULL) {
        b->source->no_memory = true;
        return "";
    }
    out[redis_url_decode(encoded, out)] = '\0';
    return out;
}

void build_redis_url(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    struct redis_url url;
    UNUSED(o);
    UNUSED(base);
    const char *wrong = redis_url_parse(item, &url);
    if (wrong != NULL) {
        build_wrong(b, "the url %s", wrong);
        return;
    }
    struct build_redis_url *slot = build_push(b, &b->redis_urls, &b->redis_url_count, sizeof *slot);
    if (slot != NULL)
        *slot = (struct build_redis_url){
            .scheme = url.scheme,
            .host = build_text(b, url.host),
            .port = url.port,
            .database = url.database,
            .login = {redis_decoded(b, url.username), redis_decoded(b, url.password)},
            .origin = b->value->origin};
}

void build_redis_name(struct build *b, const struct config_option *o, slice_t item, char *base)
{
    for (size_t i = 0; i < item.len; i++) {
        char c = item.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '{' || c == '}') {
            build_wrong(
                b, "\"%.*s\" has a blank, a brace or another character than ASCII in it; write it without",
                PROBLEM_TEXT(item));
            return;
        }
    }
    if (build_length_ok(b, o, item))
        *(const char **)(void *)(base + o->offset) = build_text(b, item);
}

static void redis_add_server(struct build *b, const struct build_redis_url *url)
{
    struct config_redis *r = &b->config->redis;
    char text[REDIS_SERVER_TEXT];
    unsigned port = r->mode == CONFIG_REDIS_SENTINEL ? SENTINEL_PORT : PORT;
    if (url->scheme == REDIS_URL_UNIX)
        snprintf(text, sizeof text, "unix:%s", url->host);
    else
        snprintf(text, sizeof text, "%s:%u", url->host, url->port > 0 ? url->port : port);
    const char **slot = build_push(b, &r->servers.items, &r->servers.count, sizeof *slot);
    if (slot != NULL)
        *slot = build_text(b, slice_str(text));
}

/* The first that says who logs in, the first of all when none does. */
static const struct build_redis_url *redis_url_of_login(const struct build *b)
{
    for (size_t i = 0; i < b->redis_url_count; i++) {
        const struct config_redis_login *login = &b->redis_urls[i].login;
        if (login->username[0] != '\0' || login->password[0] != '\0')
            return &b->redis_urls[i];
    }
    return &b->redis_urls[0];
}

void build_redis_servers(struct build *b)
{
    struct config_redis *r = &b->config->redis;
    r->given = source_section_find(b->source, OPTION_REDIS, NULL) != NULL;
    if (b->redis_url_count == 0)
        return;
    for (size_t i = 0; i < b->redis_url_count; i++)
        redis_add_server(b, &b->redis_urls[i]);
    r->tls = b->redis_urls[0].scheme == REDIS_URL_TLS;
    r->database = b->redis_urls[0].database;
    const struct config_redis_login *url = &redis_url_of_login(b)->login;
    if (r->mode == CONFIG_REDIS_SENTINEL) {
        r->sentinel_login = *url;
        return;
    }
    if (r->login.username[0] == '\0')
        r->login.username = url->username;
    if (r->login.password[0] == '\0')
        r->login.password = url->password;
}
