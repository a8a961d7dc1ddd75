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

const struct config_pool *config_find_pool(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pool_count; i++) {
        if (strcmp(c->pools[i].name, name) == 0)
            return &c->pools[i];
    }
    return NULL;
}

static bool diff_same_strings(const struct config_strings *a, const struct config_strings *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

bool config_route_conditions_equal(const struct config_route *a, const struct config_route *b)
{
    bool same = diff_same_strings(&a->hosts, &b->hosts) && diff_same_strings(&a->methods, &b->methods) &&
                a->path_count == b->path_count && a->header_count == b->header_count;
    for (size_t i = 0; same && i < a->path_count; i++)
        same =
            a->paths[i].match == b->paths[i].match && slice_eq(slice_make(a->paths[i].text, a->paths[i].len),
                                                               slice_make(b->paths[i].text, b->paths[i].len));
    for (size_t i = 0; same && i < a->header_count; i++)
        same = strcmp(a->headers[i].name, b->headers[i].name) == 0 &&
               strcmp(a->headers[i].value, b->headers[i].value) == 0;
    return same;
}

static const struct source_value *diff_next(const struct source_value *v, const struct config_option *o)
{
    while (v != NULL && v->option != o)
        v = v->next;
    return v;
}

/* The first value of an option; NULL when it has none. */
static const struct source_value *diff_first(const struct config *c, const struct config_option *o)
{
    const struct source_section *section = source_section_find(&c->priv->source, o->section, NULL);
    return section != NULL ? diff_next(section->first, o) : NULL;
}

/* Goes on to the first values that differ; both NULL when none do. */
static bool diff_values(const struct source_value **a, const struct source_value **b,
                        const struct config_option *o)
{
    while (*a != NULL && *b != NULL && strcmp((*a)->text, (*b)->text) == 0) {
        *a = diff_next((*a)->next, o);
        *b = diff_next((*b)->next, o);
    }
    return *a != NULL || *b != NULL;
}

size_t config_diff_restart(const struct config *before, const struct config *after,
                           void (*fn)(void *user, const char *section, const char *key, const char *old_text,
                                      const char *new_text),
                           void *user)
{
    size_t count = 0;
    bool redis_comes_or_goes = before->redis.given != after->redis.given;
    for (size_t i = 0; i < option_count; i++) {
        const struct config_option *o = &option_table[i];
        if ((o->flags & OPTION_RESTART) == 0)
            continue;
        if (o->section == OPTION_REDIS && redis_comes_or_goes && strcmp(o->key, "url") != 0)
            continue; /* one line speaks for the section */
        char old_buf[SOURCE_SHOWN], new_buf[SOURCE_SHOWN];
        const struct source_value *a = diff_first(before, o), *b = diff_first(after, o);
        if (!diff_values(&a, &b, o))
            continue;
        count++;
        fn(user, option_sections[o->section].name, o->key, a != NULL ? source_value_shown(a, old_buf) : "",
           b != NULL ? source_value_shown(b, new_buf) : "");
    }
    return count;
}
