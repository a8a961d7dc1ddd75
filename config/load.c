/* load.c: the stages of a load (read, fill in defaults, build, check), and the life of a snapshot.
 *
 * All stages run even after errors, so that one report holds everything. A snapshot is one heap block with
 * its arena; whoever drops the last reference frees it, on any thread. */
#include <stdlib.h>

#include "config/build.h"
#include "core/panic.h"

#define CONFIG_MAGIC       0x6d706366u
#define CONFIG_ARENA_LIMIT (256 * MB)

struct config_private *config_begin(const char *name, struct problem_list *problems)
{
    struct config_private *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    arena_init(&p->arena, NULL, 0, CONFIG_ARENA_LIMIT);
    p->source.arena = &p->arena;
    p->source.problems = problems;
    slice_t path = arena_copy(&p->arena, slice_str(name));
    p->source.no_memory = path.ptr == NULL;
    p->config =
        (struct config){.magic = CONFIG_MAGIC, .refs = 1, .generation = 1, .path = path.ptr, .priv = p};
    return p;
}

static void config_free(struct config_private *p)
{
    p->config.magic = 0;
    arena_reset(&p->arena);
    free(p);
}

struct config *config_finish(struct config_private *p, struct problem_list *list,
                             struct config_problems *problems)
{
    struct build b = {.source = &p->source, .config = &p->config};
    if (!p->source.no_memory) {
        source_merge(&p->source);
        config_add_defaults(&p->source);
    }
    if (!p->source.no_memory)
        config_build(&b);
    if (!p->source.no_memory)
        config_check(&b);
    if (p->source.no_memory)
        problem_add(list, false, (struct config_origin){.file = NULL}, NULL, NULL,
                    "memory is short, or the configuration takes more than 256M; make it smaller");
    size_t errors = list->errors;
    problem_list_finish(list, problems);
    p->source.problems = NULL;
    if (errors == 0)
        return &p->config;
    config_free(p);
    return NULL;
}

struct config *config_load_as(const char *path, const struct config_load_ways *ways,
                              struct config_problems *problems)
{
    struct problem_list list = {.main_file = path};
    struct config_private *p = config_begin(path, &list);
    if (p == NULL) {
        *problems = (struct config_problems){.errors = 1};
        return NULL;
    }
    p->source.replaced = ways->replaced;
    p->source.replacement = ways->replacement;
    p->source.unwarned = ways->unwarned;
    if (!p->source.no_memory)
        source_read_file(&p->source, path);
    if (ways->changes != NULL && !p->source.no_memory)
        config_changes_apply(ways->changes, &p->source);
    /* Without a file to read nothing else is worth saying. */
    p->source.broken_section |= p->source.files == NULL;
    return config_finish(p, &list, problems);
}

struct config *config_load(const char *path, struct config_problems *problems)
{
    return config_load_as(path, &(struct config_load_ways){0}, problems);
}

struct config *config_load_text(const char *name, const char *text, size_t len,
                                struct config_problems *problems)
{
    struct problem_list list = {.main_file = name};
    struct config_private *p = config_begin(name, &list);
    if (p == NULL) {
        *problems = (struct config_problems){.errors = 1};
        return NULL;
    }
    if (!p->source.no_memory)
        source_read_text(&p->source, p->config.path, slice_make(text, len));
    return config_finish(p, &list, problems);
}

struct config *config_ref(struct config *c)
{
    CHECK_MAGIC(c, CONFIG_MAGIC);
    uint32_t before = atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    ASSERT(before > 0);
    return c;
}

void config_unref(struct config *c)
{
    CHECK_MAGIC(c, CONFIG_MAGIC);
    uint32_t before = atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before == 1)
        config_free(c->priv);
}
