/* defaults.c: what a file leaves out is added to the source as values without an origin, so that they take
 * the same way into the snapshot, and into `millpond config`, as written ones. Reads the environment (XDG
 * folders, HOME). */
#include <stdlib.h>
#include <unistd.h>

#include "config/build.h"
#include "config/value.h"

static const char *defaults_env_path(const char *name)
{
    const char *path = getenv(name);
    return path != NULL && path[0] == '/' ? path : NULL;
}

slice_t config_default_runtime_dir(struct arena *a, uid_t uid)
{
    const char *xdg = defaults_env_path("XDG_RUNTIME_DIR");
    if (uid == 0)
        return SLICE_LIT("/run/millpond");
    if (xdg != NULL)
        return arena_printf(a, "%s/millpond", xdg);
    return arena_printf(a, "/tmp/millpond-%lu", (unsigned long)uid);
}

slice_t config_default_state_dir(struct arena *a, uid_t uid)
{
    const char *xdg = defaults_env_path("XDG_STATE_HOME"), *home = defaults_env_path("HOME");
    if (uid == 0)
        return SLICE_LIT("/var/lib/millpond");
    if (xdg != NULL)
        return arena_printf(a, "%s/millpond", xdg);
    if (home != NULL)
        return arena_printf(a, "%s/.local/state/millpond", home);
    return arena_printf(a, "/tmp/millpond-%lu/state", (unsigned long)uid);
}

static slice_t defaults_text_of(const struct source *s, enum option_section id, const char *key)
{
    const struct source_section *section = source_section_find(s, id, NULL);
    const struct source_value *v = section == NULL ? NULL : source_value_find(section, key);
    return v == NULL ? SLICE_EMPTY : slice_str(v->text);
}

static slice_t defaults_allowed_hosts(struct source *s)
{
    static const slice_t local = SLICE_LIT("localhost, 127.0.0.1, [::1]");
    slice_t text = defaults_text_of(s, OPTION_ADMIN, "address");
    struct net_addr addr;
    char ip[NET_ADDR_TEXT];
    if (value_parse_listen_address(text, &addr) != NULL || addr.sa.sa_family == AF_UNIX)
        return local;
    net_addr_format_ip(&addr, ip);
    if (option_word_index("127.0.0.1 ::1 0.0.0.0 ::", slice_str(ip)) >= 0)
        return local;
    return arena_printf(s->arena, strchr(ip, ':') != NULL ? "%.*s, [%s]" : "%.*s, %s", SLICE_ARG(local), ip);
}

/* Empty: the option stays unset. */
static slice_t defaults_compute(struct source *s, const struct source_section *section,
                                const struct config_option *o)
{
    slice_t key = slice_str(o->key);
    if (slice_eq(key, SLICE_LIT("runtime_dir")))
        return config_default_runtime_dir(s->arena, geteuid());
    if (slice_eq(key, SLICE_LIT("state_dir")))
        return config_default_state_dir(s->arena, geteuid());
    if (slice_eq(key, SLICE_LIT("socket"))) {
        slice_t dir = defaults_text_of(s, OPTION_MILLPOND, "runtime_dir");
        return arena_printf(s->arena, "%.*s/admin.sock", SLICE_ARG(dir));
    }
    if (slice_eq(key, SLICE_LIT("allowed_hosts")))
        return defaults_allowed_hosts(s);
    if (slice_eq(key, SLICE_LIT("channel")))
        return arena_printf(s->arena, SLICE_FMT "purge",
                            SLICE_ARG(defaults_text_of(s, OPTION_REDIS, "prefix")));
    if (slice_eq(key, SLICE_LIT("max_object_size")) || slice_eq(key, SLICE_LIT("stale_while_revalidate")) ||
        slice_eq(key, SLICE_LIT("stale_if_error")) || slice_eq(key, SLICE_LIT("early_refresh")))
        return defaults_text_of(s, OPTION_CACHE, o->key);
    if (slice_eq(key, SLICE_LIT("pool")) && source_value_find(section, "redirect") == NULL &&
        source_value_find(section, "respond") == NULL && source_value_find(section, "split") == NULL &&
        source_value_find(section, "root") == NULL) {
        const struct source_section *pool = source_section_find(s, OPTION_POOL, NULL);
        return pool == NULL ? SLICE_EMPTY : slice_str(pool->name);
    }
    return SLICE_EMPTY;
}

static void defaults_fill(struct source *s, struct source_section *section)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct config_option *o = &option_table[i];
        if (o->section != section->id || source_value_find(section, o->key) != NULL)
            continue;
        slice_t text =
            o->flags & OPTION_COMPUTED ? defaults_compute(s, section, o) : slice_str(o->default_text);
        if (text.ptr == NULL)
            s->no_memory = true;
        else if (text.len > 0)
            source_value_add(s, section, o, text, (struct config_origin){.file = NULL});
    }
}

static void defaults_add_section(struct source *s, enum option_section id)
{
    const struct option_section_info *info = &option_sections[id];
    /* Without [redis] there is no Redis. */
    bool needed = (!info->named && id != OPTION_REDIS) || id == OPTION_LISTEN ||
                  (id == OPTION_ROUTE && source_section_find(s, OPTION_POOL, NULL) != NULL);
    if (needed && source_section_find(s, id, NULL) == NULL)
        source_section_add(s, id, info->named ? SLICE_LIT("default") : SLICE_EMPTY,
                           (struct config_origin){.file = NULL});
}

void config_add_defaults(struct source *s)
{
    for (size_t id = 0; id < OPTION_SECTION_COUNT; id++) {
        defaults_add_section(s, (enum option_section)id);
        /* In this order, since [admin] looks at [millpond] and [route] at [cache]. */
        for (struct source_section *it = s->first; it != NULL; it = it->next) {
            if (it->id == (enum option_section)id)
                defaults_fill(s, it);
        }
    }
}
