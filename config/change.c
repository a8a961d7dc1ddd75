/* change.c: see change.h. A copy of a configuration is made from the source behind it: what stood in files is
 * copied as it was read then, what did not is added anew by the defaults. */
#include "config/change.h"

#include <stdlib.h>

#include "config/build.h"
#include "config/value.h"
#include "core/panic.h"

/* ---- the list ---- */

void config_changes_init(struct config_changes *l)
{
    list_init(&l->items);
    l->count = 0;
}

void config_change_forget(struct config_changes *l, struct config_change *c)
{
    list_remove(&c->node);
    l->count--;
    free(c);
}

void config_changes_free(struct config_changes *l)
{
    LIST_FOREACH_SAFE (n, next, &l->items)
        config_change_forget(l, CONTAINER_OF(n, struct config_change, node));
}

struct config_change *config_change_find(const struct config_changes *l, const char *pool, const char *server)
{
    LIST_FOREACH (n, &l->items) {
        struct config_change *c = CONTAINER_OF(n, struct config_change, node);
        if (strcmp(c->pool, pool) == 0 && strcmp(c->server, server) == 0)
            return c;
    }
    return NULL;
}

bool config_change_fits(const struct config_changes *l, const char *pool, const char *server)
{
    return l->count < CONFIG_CHANGES_MAX || config_change_find(l, pool, server) != NULL;
}

static const char *change_put(char **at, const char *text)
{
    size_t bytes = strlen(text) + 1;
    const char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

bool config_change_note(struct config_changes *l, const char *pool, const char *server, const char *text,
                        bool was_in_file)
{
    struct config_change *old = config_change_find(l, pool, server);
    bool in_file = was_in_file || (old != NULL && old->in_file);
    if (text == NULL && !in_file) {
        if (old != NULL)
            config_change_forget(l, old);
        return true;
    }
    struct config_change *c =
        malloc(sizeof *c + strlen(pool) + strlen(server) + (text != NULL ? strlen(text) : 0) + 3);
    if (c == NULL)
        return false;
    char *at = (char *)(c + 1);
    *c = (struct config_change){.in_file = in_file};
    c->pool = change_put(&at, pool);
    c->server = change_put(&at, server);
    c->text = text != NULL ? change_put(&at, text) : NULL;
    list_push_back(&l->items, &c->node);
    l->count++;
    if (old != NULL)
        config_change_forget(l, old);
    return true;
}

/* ---- on what was read ---- */

/* Of the text of a server; as build_server names it. */
static slice_t change_server_name(slice_t text)
{
    slice_t name = value_next_word(&text);
    for (slice_t word = value_next_word(&text); word.len > 0; word = value_next_word(&text))
        if (slice_starts(word, SLICE_LIT("name=")))
            name = slice_make(word.ptr + 5, word.len - 5);
    return name;
}

static const struct config_option *change_option(void)
{
    return option_find(OPTION_POOL, SLICE_LIT("server"));
}

static struct source_value *change_find_value(const struct source_section *pool, const char *server)
{
    for (struct source_value *v = pool->first; v != NULL; v = v->next)
        if (v->option == change_option() &&
            slice_eq(change_server_name(slice_str(v->text)), slice_str(server)))
            return v;
    return NULL;
}

static void change_add(struct source *s, struct source_section *pool, const char *text)
{
    source_value_add(s, pool, change_option(), slice_trim(slice_str(text)),
                     (struct config_origin){source_added, 0});
}

/* What the files say of a server that stays out; NULL when there is none. */
static struct source_value *change_apply(struct config_change *c, struct source *s)
{
    struct source_section *pool = source_section_find(s, OPTION_POOL, c->pool);
    struct source_value *v = pool != NULL ? change_find_value(pool, c->server) : NULL;
    c->fate = CONFIG_CHANGE_APPLIES;
    if (pool == NULL)
        c->fate = CONFIG_CHANGE_POOL_GONE;
    else if (c->text == NULL ? v == NULL : v != NULL && (!c->in_file || strcmp(v->text, c->text) == 0))
        c->fate = CONFIG_CHANGE_TAKEN_OVER;
    if (c->fate != CONFIG_CHANGE_APPLIES)
        return NULL;
    c->in_file = c->in_file && v != NULL;
    if (v != NULL)
        source_value_remove(pool, v);
    if (c->text != NULL)
        change_add(s, pool, c->text);
    return c->text == NULL ? v : NULL;
}

/* Such a load is refused rather than the pool left empty, or the removal undone: both would be noticed by
 * visitors, and nobody asked for either. */
static void change_check_left(const struct config_change *c, const struct source_value *v, struct source *s)
{
    struct source_section *pool = source_section_find(s, OPTION_POOL, c->pool);
    if (source_value_find(pool, "server") != NULL || s->broken_section)
        return;
    pool->emptied = true;
    problem_add(s->problems, false, v->origin, pool->label, "server",
                "%s was removed at run time, and no other one would be left; write another one, or take it "
                "back: millpond add %s %.*s",
                c->server, c->pool, PROBLEM_TEXT(slice_str(v->text)));
}

void config_changes_apply(struct config_changes *l, struct source *s)
{
    struct source_value *out[CONFIG_CHANGES_MAX];
    size_t i = 0, k = 0;
    ASSERT(l->count <= CONFIG_CHANGES_MAX);
    LIST_FOREACH (n, &l->items)
        out[i++] = change_apply(CONTAINER_OF(n, struct config_change, node), s);
    LIST_FOREACH (n, &l->items)
        if (out[k++] != NULL)
            change_check_left(CONTAINER_OF(n, struct config_change, node), out[k - 1], s);
}

struct config *config_load_changed(const char *path, struct config_changes *l,
                                   struct config_problems *problems)
{
    return config_load_as(path, &(struct config_load_ways){.changes = l, .unwarned = true}, problems);
}

/* ---- on what is in use ---- */

static struct config_origin change_copy_origin(struct source *s, struct config_origin at)
{
    if (at.file == NULL || at.file == source_added)
        return at;
    slice_t file = arena_copy(s->arena, slice_str(at.file));
    s->no_memory |= file.ptr == NULL;
    return (struct config_origin){file.ptr, at.line};
}

static void change_copy(struct source *s, const struct source *from)
{
    for (const struct source_section *it = from->first; it != NULL && !s->no_memory; it = it->next) {
        if (it->origin.file == NULL)
            continue;
        struct source_section *section =
            source_section_add(s, it->id, slice_str(it->name), change_copy_origin(s, it->origin));
        for (const struct source_value *v = it->first; section != NULL && v != NULL; v = v->next) {
            if (v->origin.file == NULL)
                continue;
            struct source_value *copy =
                source_value_add(s, section, v->option, slice_str(v->text), change_copy_origin(s, v->origin));
            if (copy != NULL)
                copy->from_env = v->from_env;
        }
    }
}

/* The server is added by its text, or else goes by its name. */
static struct config *change_one(const struct config *from, const char *pool, const char *text,
                                 const char *server, struct config_problems *problems)
{
    struct problem_list list = {.main_file = from->path};
    struct config_private *p = config_begin(from->path, &list);
    if (p == NULL) {
        *problems = (struct config_problems){.errors = 1};
        return NULL;
    }
    p->source.unwarned = true;
    if (!p->source.no_memory)
        change_copy(&p->source, &from->priv->source);
    struct source_section *section = source_section_find(&p->source, OPTION_POOL, pool);
    struct source_value *v = section != NULL && server != NULL ? change_find_value(section, server) : NULL;
    if (v != NULL)
        source_value_remove(section, v);
    if (section != NULL && text != NULL)
        change_add(&p->source, section, text);
    return config_finish(p, &list, problems);
}

struct config *config_with_server(const struct config *from, const char *pool, const char *text,
                                  struct config_problems *problems)
{
    return change_one(from, pool, text, NULL, problems);
}

struct config *config_without_server(const struct config *from, const char *pool, const char *server,
                                     struct config_problems *problems)
{
    return change_one(from, pool, NULL, server, problems);
}

/* ---- looking ---- */

const struct config_server *config_server_named(const struct config_pool *p, const char *name)
{
    for (size_t i = 0; i < p->server_count; i++)
        if (strcmp(p->servers[i].name, name) == 0)
            return &p->servers[i];
    return NULL;
}

slice_t config_change_name(const char *text)
{
    return change_server_name(slice_str(text));
}

const char *config_server_text(const struct config *c, const struct config_pool *p,
                               const struct config_server *s)
{
    const struct source_section *section = source_section_find(&c->priv->source, OPTION_POOL, p->name);
    const struct source_value *v = section != NULL ? change_find_value(section, s->name) : NULL;
    return v != NULL ? v->text : "";
}
