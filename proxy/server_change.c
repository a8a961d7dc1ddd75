/* server_change.c: servers added to pools, and taken out, at run time. Control thread.
 *
 * The new configuration is the one in use with this one line more or less, and is changed over to like any
 * other: so nothing that somebody is writing in the ini file comes into force along with it, and whatever
 * holds for a reload (requests under way, health that is kept, all or nothing) holds here. Requests that
 * began with an older configuration are kept away from what was taken out as well. */
#include <stdio.h>

#include "config/change.h"
#include "config/diff.h"
#include "core/log.h"
#include "core/timeline.h"
#include "proxy/server.h"
#include "proxy/server_upgrade.h"
#include "proxy/snapshot.h"

static bool change_refuse(struct admin_changed *out, const char *error, const char *hint)
{
    out->result = ADMIN_CHANGE_REFUSED;
    out->error = error;
    out->hint = hint;
    return false;
}

static bool change_fail(struct admin_changed *out, enum admin_change_result why)
{
    out->result = why;
    return false;
}

static bool change_text_is_plain(const char *text)
{
    const size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return len > 0 && len <= CONFIG_CHANGE_MAX_BYTES && strstr(text, "${") == NULL;
}

static bool change_over(struct server *s, struct config *c, struct config_problems *found,
                        struct admin_changed *out)
{
    out->problems = json_array();
    for (size_t i = 0; i < found->count; i++)
        if (!found->items[i].warning)
            json_array_append_new(out->problems, json_string(found->items[i].text));
    config_problems_free(found);
    const bool ok = c != NULL && server_change_over(s, c, out->problems);
    if (c != NULL)
        config_unref(c);
    if (!ok)
        return change_refuse(out, "the configuration cannot be changed that way; it stays as it is",
                             "correct what is listed");
    json_decref(out->problems);
    out->problems = NULL;
    return true;
}

static void change_note(struct server *s, const struct admin_server_change *what, const char *name,
                        bool was_in_file)
{
    const char *done = what->text != NULL ? "added" : "taken out";
    if (!config_change_note(&s->changes, what->pool, name, what->text, was_in_file))
        log_error("%s/%s: out of memory; the next reload forgets that it was %s", what->pool, name, done);
    log_info("%s/%s: %s by %s%s%s", what->pool, name, done, what->who, what->text != NULL ? ": " : "",
             what->text != NULL ? what->text : "");
    timeline_note(TIMELINE_ORDER, "%s/%s: %s by %s", what->pool, name, done, what->who);
}

static bool change_fits(const struct server *s, const char *pool, const char *name, struct admin_changed *out)
{
    return config_change_fits(&s->changes, pool, name) ||
           change_refuse(out, "256 servers were changed at run time already, which is the most there may be",
                         "write what stays into the ini file, and reload");
}

static bool change_add(struct server *s, const struct admin_server_change *what,
                       const struct config_pool *pool, struct admin_changed *out)
{
    const struct config *now = s->snapshot->config;
    struct config_problems found = {0};
    if (!change_text_is_plain(what->text))
        return change_refuse(out, "this is no server",
                             "write it on one line, as in the ini file: 10.0.0.3:3000 weight=2 name=c");
    const slice_t name = config_change_name(what->text);
    snprintf(out->server, sizeof out->server, SLICE_FMT, SLICE_ARG(name));
    const struct config_server *there = config_server_named(pool, out->server);
    if (there != NULL && strcmp(config_server_text(now, pool, there), what->text) == 0)
        return true;
    if (there != NULL)
        return change_refuse(out, "the pool has a server of this name already",
                             "give the new one another name=, or remove that one first");
    if (!change_fits(s, what->pool, out->server, out) ||
        !change_over(s, config_with_server(now, what->pool, what->text, &found), &found, out))
        return false;
    change_note(s, what, out->server, false);
    return true;
}

/* Somebody may have written there what was added before (`--save`): a reload must not bring it back. */
static bool file_has(const struct server *s, const struct admin_server_change *what)
{
    struct config_problems found = {0};
    struct config *c = config_load(s->config_path, &found);
    const struct config_pool *pool = c != NULL ? config_find_pool(c, what->pool) : NULL;
    const bool has = pool != NULL && config_server_named(pool, what->server) != NULL;
    if (c != NULL)
        config_unref(c);
    config_problems_free(&found);
    return has;
}

static bool change_remove(struct server *s, const struct admin_server_change *what,
                          const struct config_pool *pool, struct admin_changed *out)
{
    struct config_problems found = {0};
    const struct config_server *there = config_server_named(pool, what->server);
    const struct config_change *before = config_change_find(&s->changes, what->pool, what->server);
    snprintf(out->server, sizeof out->server, "%s", what->server);
    if (there == NULL && (before == NULL || before->text != NULL))
        return change_fail(out, ADMIN_CHANGE_NO_SERVER);
    if (there != NULL) {
        const bool was_in_file = !there->added || file_has(s, what);
        if (pool->server_count == 1)
            return change_refuse(out, "it is the only server of its pool",
                                 "add another one first, or take the pool out of the ini file");
        if (!what->force && balancer_is_last(s->balancer, what->pool, what->server))
            return change_fail(out, ADMIN_CHANGE_LAST_ONE);
        if (!change_fits(s, what->pool, what->server, out) ||
            !change_over(s, config_without_server(s->snapshot->config, what->pool, what->server, &found),
                         &found, out))
            return false;
        change_note(s, what, what->server, was_in_file);
    }
    out->in_flight = balancer_retire(s->balancer, what->pool, what->server);
    return true;
}

bool server_change_servers(void *arg, const struct admin_server_change *what, struct admin_changed *out)
{
    struct server *s = arg;
    *out = (struct admin_changed){.result = ADMIN_CHANGED};
    const struct config_pool *pool = config_find_pool(s->snapshot->config, what->pool);
    if (s->state != SERVER_RUNNING)
        return change_refuse(out, "the server is stopping", "change it when it runs again");
    if (upgrade_in_the_way(s) != NULL)
        return change_refuse(out, upgrade_in_the_way(s), "change it when that is over");
    if (pool == NULL)
        return change_fail(out, ADMIN_CHANGE_NO_POOL);
    return what->text != NULL ? change_add(s, what, pool, out) : change_remove(s, what, pool, out);
}

void server_settle_changes(struct server *s)
{
    LIST_FOREACH_SAFE (n, next, &s->changes.items) {
        struct config_change *c = CONTAINER_OF(n, struct config_change, node);
        if (c->fate == CONFIG_CHANGE_APPLIES && c->text == NULL)
            log_info("%s/%s: stays out as it was removed at run time, though the ini file names it", c->pool,
                     c->server);
        if (c->fate == CONFIG_CHANGE_APPLIES)
            continue;
        if (c->fate == CONFIG_CHANGE_TAKEN_OVER)
            log_info("%s/%s: the ini file says what was changed at run time", c->pool, c->server);
        else
            log_warn("%s/%s: its pool is gone; what was changed at run time is forgotten", c->pool,
                     c->server);
        config_change_forget(&s->changes, c);
    }
}
