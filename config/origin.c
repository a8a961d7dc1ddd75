/* origin.c: where a setting of the snapshot stands, for who is to change it. Any thread: the source behind a
 * snapshot does not change after the load. */
#include "config/build.h"

struct config_origin config_redis_origin(const struct config *c, const char *key)
{
    const struct source_section *redis = source_section_find(&c->priv->source, OPTION_REDIS, NULL);
    if (redis == NULL)
        return (struct config_origin){NULL, 0};
    const struct source_value *v = source_value_given(redis, key);
    return v != NULL ? v->origin : redis->origin;
}

static struct config_origin origin_given(const struct config *c, enum option_section id, const char *key)
{
    const struct source_section *section = source_section_find(&c->priv->source, id, NULL);
    const struct source_value *v = section != NULL ? source_value_given(section, key) : NULL;
    return v != NULL ? v->origin : (struct config_origin){NULL, 0};
}

struct config_origin config_main_origin(const struct config *c, const char *key)
{
    return origin_given(c, OPTION_MILLPOND, key);
}

struct config_origin config_log_origin(const struct config *c, const char *key)
{
    return origin_given(c, OPTION_LOG, key);
}

struct config_origin config_pool_origin(const struct config *c, const struct config_pool *p, const char *key)
{
    const struct source_section *pool = source_section_find(&c->priv->source, OPTION_POOL, p->name);
    const struct source_value *v = pool != NULL ? source_value_given(pool, key) : NULL;
    return v != NULL ? v->origin : p->origin;
}

struct config_origin config_listen_origin(const struct config *c, const struct config_listen *l,
                                          const char *key, size_t n)
{
    const struct source_section *listen = source_section_find(&c->priv->source, OPTION_LISTEN, l->name);
    struct config_origin at = l->origin;
    for (const struct source_value *v = listen->first; v != NULL; v = v->next) {
        if (strcmp(v->option->key, key) != 0 || v->origin.file == NULL)
            continue;
        at = v->origin;
        if (n-- == 0)
            break;
    }
    return at;
}

struct config_origin config_route_origin(const struct config *c, const struct config_route *r,
                                         const char *key)
{
    const struct source *source = &c->priv->source;
    const struct source_section *route = source_section_find(source, OPTION_ROUTE, r->name);
    const struct source_section *cache = source_section_find(source, OPTION_CACHE, NULL);
    const bool routes_have_it = option_find(OPTION_ROUTE, slice_str(key)) != NULL;
    const struct source_value *v = route != NULL && routes_have_it ? source_value_given(route, key) : NULL;
    if (v == NULL && cache != NULL && option_find(OPTION_CACHE, slice_str(key)) != NULL)
        v = source_value_given(cache, key);
    return v != NULL ? v->origin : (struct config_origin){NULL, 0};
}
