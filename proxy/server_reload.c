/* server_reload.c: a new configuration while traffic flows: prepare everything, then commit, or roll back all
 * of it.
 *
 * Prepared: the checked file, its snapshot (pools keep the health of instances they share with the old one),
 * a listening socket per worker for each new address, log files, admin settings. Committed: each worker gets
 * one mail with the snapshot and its new sockets; requests under way finish on the snapshot they began with.
 * Who asked for the reload is answered when the workers have taken it up: what he does next, a purge, say, is
 * then not overtaken by a request that still goes by the old file. The control thread waits for that, which
 * is a turn of a worker's loop; workers never wait for the control thread.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "cache/cache.h"
#include "config/change.h"
#include "config/diff.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/listener.h"
#include "proxy/proxy_worker.h"
#include "proxy/redis_link.h"
#include "proxy/server.h"
#include "proxy/server_upgrade.h"

#define TAKE_UP_MS 1000
#define LOOK_NS    100000

/* One new listening address with a descriptor per worker. */
struct prepared {
    const struct config_listen *config;
    struct net_addr configured, bound;
    int *fds;
};

struct prepared_list {
    struct prepared *items;
    size_t count;
};

/* The change as one worker gets it; the worker frees it. */
struct change_mail {
    struct mail mail;
    struct snapshot *snapshot;    /* a reference */
    _Atomic uint64_t *generation; /* server_worker's */
    size_t count;
    struct {
        int fd;
        struct net_addr configured;
        const struct config_listen *config; /* of the snapshot */
    } items[];
};

static void problem_add(json_t *problems, const char *text)
{
    json_array_append_new(problems, json_string(text));
    log_error("refused: %s", text);
}

static void prepared_close(struct server *s, struct prepared_list *p)
{
    for (size_t i = 0; i < p->count; i++) {
        for (size_t w = 0; p->items[i].fds != NULL && w < s->worker_count; w++) {
            if (p->items[i].fds[w] >= 0)
                close(p->items[i].fds[w]);
        }
        free(p->items[i].fds);
    }
    free(p->items);
    *p = (struct prepared_list){0};
}

static bool prepare_one(struct server *s, struct prepared_list *p, const struct config_listen *l,
                        const struct net_addr *addr, json_t *problems)
{
    char text[NET_ADDR_TEXT], message[512];
    struct prepared *item = &p->items[p->count];
    *item = (struct prepared){.config = l, .configured = *addr, .fds = malloc(sizeof(int) * s->worker_count)};
    if (item->fds == NULL) {
        problem_add(problems, "out of memory");
        return false;
    }
    if (server_listen(s, addr, item->fds, &item->bound)) {
        p->count++;
        return true;
    }
    net_addr_format(addr, text);
    snprintf(message, sizeof message, "[listen %s] address: cannot listen on %s: %s", l->name, text,
             strerror(errno));
    problem_add(problems, message);
    free(item->fds);
    return false;
}

static bool prepare_listeners(struct server *s, const struct config *c, struct prepared_list *p,
                              json_t *problems)
{
    size_t total = 0;
    for (size_t i = 0; i < c->listen_count; i++)
        total += c->listens[i].address_count;
    p->items = calloc(total + 1, sizeof *p->items);
    if (p->items == NULL) {
        problem_add(problems, "out of memory");
        return false;
    }
    for (size_t i = 0; i < c->listen_count; i++) {
        const struct config_listen *l = &c->listens[i];
        for (size_t k = 0; k < l->address_count; k++) {
            if (config_find_listen(s->snapshot->config, &l->addresses[k], l->name) == NULL &&
                !prepare_one(s, p, l, &l->addresses[k], problems)) {
                prepared_close(s, p);
                return false;
            }
        }
    }
    return true;
}

/* ---- the worker's side ---- */

static void worker_on_change(struct worker *w, struct mail *m)
{
    struct proxy_worker *pw = w->owner;
    struct change_mail *change = CONTAINER_OF(m, struct change_mail, mail);
    const struct config *c = change->snapshot->config;
    proxy_worker_use(pw, change->snapshot);
    LIST_FOREACH_SAFE (n, next, &pw->listeners) {
        struct listener *l = CONTAINER_OF(n, struct listener, node);
        const struct config_listen *config = config_find_listen(c, &l->addr, l->config->name);
        if (config == NULL)
            listener_close(l);
        else
            listener_use(l, pw->view, config);
    }
    for (size_t i = 0; i < change->count; i++) {
        if (pw->draining)
            close(change->items[i].fd);
        else if (listener_open(pw, change->items[i].fd, &change->items[i].configured,
                               change->items[i].config) == NULL)
            log_error("out of memory: a new listener is not served by all workers");
    }
    atomic_store(change->generation, c->generation);
    free(change);
}

/* ---- the control thread's side ---- */

static void commit_listeners(struct server *s, const struct config *c, const struct prepared_list *p)
{
    struct server_listener *list = calloc(s->listener_count + p->count + 1, sizeof *list);
    size_t count = 0;
    if (list == NULL)
        return;
    for (size_t i = 0; i < s->listener_count; i++) {
        if (config_find_listen(c, &s->listeners[i].configured, s->listeners[i].name) != NULL)
            list[count++] = s->listeners[i];
        else
            free(s->listeners[i].fds);
    }
    for (size_t i = 0; i < p->count; i++) {
        server_set_listener(&list[count++], &p->items[i].configured, &p->items[i].bound,
                            p->items[i].config->name, p->items[i].fds, s->worker_count);
        server_log_listening(&p->items[i].bound, p->items[i].config->name);
    }
    free(s->listeners);
    s->listeners = list;
    s->listener_count = count;
}

static bool commit_workers(struct server *s, struct snapshot *snap, const struct prepared_list *p,
                           struct change_mail **mails)
{
    for (size_t w = 0; w < s->worker_count; w++) {
        struct change_mail *m = mails[w];
        m->mail.on_mail = worker_on_change;
        m->snapshot = snapshot_ref(snap);
        m->generation = &s->workers[w].generation;
        m->count = p->count;
        for (size_t i = 0; i < p->count; i++) {
            m->items[i].fd = p->items[i].fds[w];
            m->items[i].configured = p->items[i].configured;
            m->items[i].config = p->items[i].config;
            p->items[i].fds[w] = -1;
        }
        worker_post(s->workers[w].worker, &m->mail);
    }
    return true;
}

static bool workers_go_by(struct server *s, uint64_t generation)
{
    for (size_t w = 0; w < s->worker_count; w++) {
        if (atomic_load(&s->workers[w].generation) < generation)
            return false;
    }
    return true;
}

static void await_workers(struct server *s, uint64_t generation)
{
    const struct timespec moment = {0, LOOK_NS};
    mono_ms_t end_ms = clock_mono_ms() + TAKE_UP_MS;
    while (!workers_go_by(s, generation)) {
        if (clock_mono_ms() >= end_ms) {
            log_warn("a worker is too busy to take up the new configuration at once");
            return;
        }
        nanosleep(&moment, NULL);
    }
}

static bool has_same_tls(const struct config_redis *a, const struct config_redis *b)
{
    return a->given && b->given && a->tls == b->tls && strcmp(a->tls_ca, b->tls_ca) == 0;
}

/* What the next start would need: the authorities of Redis can be loaded. Those that are in use stay so, and
 * may well lie where only who started the process could read them. */
static bool prepare_redis(const struct server *s, struct config *c, json_t *problems)
{
    char err[512];
    if (!c->redis.given)
        return true;
    struct redis_link *link = redis_link_new(c, err, sizeof err);
    const bool ok = link != NULL, same = has_same_tls(&s->snapshot->config->redis, &c->redis);
    redis_link_free(link);
    if (!ok && same)
        log_warn("%s; what was loaded at the start stays in use", err);
    else if (!ok)
        problem_add(problems, err);
    return ok || same;
}

static struct change_mail **prepare_mails(struct server *s, size_t listeners)
{
    struct change_mail **mails = calloc(s->worker_count, sizeof *mails);
    bool ok = mails != NULL;
    for (size_t w = 0; ok && w < s->worker_count; w++) {
        mails[w] = calloc(1, sizeof **mails + listeners * sizeof mails[0]->items[0]);
        ok = mails[w] != NULL;
    }
    if (ok)
        return mails;
    for (size_t w = 0; mails != NULL && w < s->worker_count; w++)
        free(mails[w]);
    free(mails);
    return NULL;
}

static void warn_restart(void *user, const char *section, const char *key, const char *old_text,
                         const char *new_text)
{
    UNUSED(user);
    log_warn("[%s] %s: %s -> %s takes effect at the next start", section, key, old_text, new_text);
}

/* The same requests take it, and it does not begin to cache. */
static bool is_told_of_as_before(const struct route *from, const struct route *to)
{
    return config_route_conditions_equal(from->config, to->config) &&
           (from->rules.enabled || !to->rules.enabled);
}

/* Unsafe requests are not told of where nothing is cached (invalidate.c). So when other requests come to be
 * cached, nobody knows what was stored before that, or by nodes that were reloaded earlier. Before the new
 * rules are in use. */
static void purge_what_was_not_told(struct server *s, const struct snapshot *to)
{
    const struct snapshot *from = s->snapshot;
    bool all_cached = true, same = from->route_count == to->route_count;
    for (size_t i = 0; i < from->route_count; i++) {
        all_cached = all_cached && from->routes[i].rules.enabled;
        same = same && is_told_of_as_before(&from->routes[i], &to->routes[i]);
    }
    if (s->purge_share == NULL || all_cached || same)
        return;
    log_warn("routes that cached nothing up to now are other ones from now on, so not all of what changed "
             "there is known: everything stored is purged, on all nodes");
    cache_purge_all(s->cache);
}

bool server_change_over(struct server *s, struct config *c, json_t *problems)
{
    char err[512];
    c->generation = s->snapshot->config->generation + 1;
    struct prepared_list p = {0};
    const struct log_settings log = {(enum log_level)c->log.level, c->log.file, c->log.access};
    struct snapshot *snap = server_build_snapshot(s, c, err, sizeof err);
    if (snap == NULL) {
        problem_add(problems, err);
        return false;
    }
    snapshot_keep_splits(snap, s->snapshot);
    struct change_mail **mails = NULL;
    bool ok = prepare_redis(s, c, problems) && prepare_listeners(s, c, &p, problems);
    if (ok && (mails = prepare_mails(s, p.count)) == NULL) {
        problem_add(problems, "out of memory");
        ok = false;
    }
    if (ok && (!log_change(&log, err, sizeof err) || !admin_change(s->admin, c, err, sizeof err))) {
        const struct config_log *old = &s->snapshot->config->log;
        const struct log_settings back = {(enum log_level)old->level, old->file, old->access};
        problem_add(problems, err);
        log_change(&back, err, sizeof err);
        ok = false;
    }
    if (!ok) {
        prepared_close(s, &p);
        for (size_t w = 0; mails != NULL && w < s->worker_count; w++)
            free(mails[w]);
        free(mails);
        snapshot_unref(snap);
        return false;
    }
    config_diff_restart(s->snapshot->config, c, warn_restart, NULL);
    purge_what_was_not_told(s, snap);
    commit_listeners(s, c, &p);
    commit_workers(s, snap, &p, mails);
    free(mails);
    prepared_close(s, &p);
    atomic_store(&s->admission.max_total, server_client_limit(c->main.max_connections));
    if (s->cache != NULL)
        cache_set_settings(s->cache, &(struct cache_settings){(size_t)s->snapshot->config->cache.memory_bytes,
                                                              (size_t)c->cache.max_waiters,
                                                              (unsigned)c->cache.max_variants});
    balancer_set_activate(s->balancer, snap->balancers);
    snapshot_unref(s->snapshot);
    s->snapshot = snap;
    server_tls_commit(s);
    await_workers(s, c->generation);
    return true;
}

static void reload_note(const struct server *s, bool ok, const json_t *problems)
{
    const size_t count = json_array_size(problems);
    const char *first = json_string_value(json_array_get(problems, 0));
    char more[32] = "";
    if (count > 1)
        snprintf(more, sizeof more, "; and %zu more", count - 1);
    if (ok)
        timeline_note(TIMELINE_RELOAD, "generation %llu, from %s",
                      (unsigned long long)s->snapshot->config->generation, s->config_path);
    else
        timeline_note(TIMELINE_REFUSED, "%s%s", first != NULL ? first : "out of memory", more);
}

bool server_reload(struct server *s, json_t **problems)
{
    struct config_problems found = {0};
    json_t *list = json_array();
    bool ok = false;
    const char *not_now = s->state != SERVER_RUNNING ? "the server is stopping" : upgrade_in_the_way(s);
    struct config *c = not_now == NULL ? config_load_changed(s->config_path, &s->changes, &found) : NULL;
    for (size_t i = 0; i < found.count; i++) {
        if (!found.items[i].warning)
            problem_add(list, found.items[i].text);
    }
    if (not_now != NULL)
        problem_add(list, not_now);
    if (c != NULL) {
        ok = server_change_over(s, c, list);
        config_unref(c);
    }
    config_problems_free(&found);
    if (ok) {
        server_settle_changes(s);
        server_renew_pid(s);
    }
    if (ok)
        log_info("configuration reloaded from %s, generation %llu", s->config_path,
                 (unsigned long long)s->snapshot->config->generation);
    else
        log_error("reload refused; the old configuration stays in use");
    reload_note(s, ok, list);
    s->reload_tried = true;
    s->reload_ok = ok;
    s->reload_at_ms = clock_wall_ms();
    json_decref(s->reload_problems);
    s->reload_problems = json_incref(list);
    if (problems != NULL)
        *problems = list;
    else
        json_decref(list);
    return ok;
}

static void on_reload_wanted(struct turn_hook *hook)
{
    server_reload(CONTAINER_OF(hook, struct server, reload_wanted), NULL);
}

void server_reload_begin(struct server *s)
{
    list_init(&s->reload_wanted.node);
    s->reload_wanted.on_turn_end = on_reload_wanted;
}
