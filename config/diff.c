/* diff.c: see diff.h. Quadratic, over tens of entries, on the control thread. */
#include "config/diff.h"

#include "config/build.h"

const struct config_listen *config_find_listen(const struct config *c, const struct net_addr *address,
                                               const char *name)
{
    bool kernel_port = address->sa.sa_family != AF_UNIX && net_addr_port(address) == 0;
    for (size_t i = 0; i < c->listen_count; i++) {
        for (size_t j = 0; j < c->listens[i].address_count; j++) {
            if (net_addr_eq(&c->listens[i].addresses[j], address) &&
                (!kernel_port || strcmp(c->listens[i].name, name) == 0))
                return &c->listens[i];
        }
    }
    return NULL;
}

static bool diff_has_all_addresses(const struct config *a, const struct config *b)
{
    for (size_t i = 0; i < b->listen_count; i++) {
        for (size_t j = 0; j < b->listens[i].address_count; j++) {
            if (config_find_listen(a, &b->listens[i].addresses[j], b->listens[i].name) == NULL)
                return false;
        }
    }
    return true;
}

bool config_listen_addresses_equal(const struct config *a, const struct config *b)
{
    return diff_has_all_addresses(a, b) && diff_has_all_addresses(b, a);
}

const struct config_pool *config_find_pool(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pool_count; i++) {
        if (strcmp(c->pools[i].name, name) == 0)
            return &c->pools[i];
    }
    return NULL;
}

const struct config_server *config_find_server(const struct config_pool *pool,
                                               const struct config_server *like)
{
    for (size_t i = 0; i < pool->server_count; i++) {
        if (strcmp(pool->servers[i].name, like->name) == 0 &&
            strcmp(pool->servers[i].address, like->address) == 0)
            return &pool->servers[i];
    }
    return NULL;
}

static const char *diff_text(const struct config *c, const struct config_option *o)
{
    const struct source_section *section = source_section_find(&c->priv->source, o->section, NULL);
    const struct source_value *v = section == NULL ? NULL : source_value_find(section, o->key);
    return v == NULL ? "" : v->text;
}

size_t config_diff_restart(const struct config *before, const struct config *after,
                           void (*fn)(void *user, const char *section, const char *key, const char *old_text,
                                      const char *new_text),
                           void *user)
{
    size_t count = 0;
    for (size_t i = 0; i < option_count; i++) {
        const struct config_option *o = &option_table[i];
        if ((o->flags & OPTION_RESTART) == 0 || !o->supported)
            continue;
        const char *old_text = diff_text(before, o), *new_text = diff_text(after, o);
        if (strcmp(old_text, new_text) == 0)
            continue;
        count++;
        fn(user, option_sections[o->section].name, o->key, old_text, new_text);
    }
    return count;
}
