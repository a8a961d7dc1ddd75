/* server.c: starting and stopping the whole. The thread that calls server_main is the control thread. */
#include "proxy/server.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "balancer/balancer.h"
#include "cache/cache.h"
#include "cache/purge_request.h"
#include "cache/remote.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "core/rate.h"
#include "core/rcu.h"
#include "proxy/client_conn.h"
#include "proxy/heir.h"
#include "proxy/listener.h"
#include "proxy/lost_instance.h"
#include "proxy/program.h"
#include "proxy/proxy_worker.h"
#include "proxy/purge_share.h"
#include "proxy/redis_link.h"
#include "proxy/redis_watch.h"
#include "proxy/server_upgrade.h"
#include "proxy/snapshot.h"

#define LOG_RING_BYTES     (1 * MB)
#define CONTROL_RING_BYTES (256 * KB)

/* ---- for workers ---- */

struct upstream_spill *server_spill(struct server *s)
{
    return s->spill;
}

static void peer_ip(const struct net_addr *peer, uint8_t ip[16])
{
    memset(ip, 0, 16);
    if (peer->sa.sa_family == AF_INET) {
        ip[10] = ip[11] = 0xff;
        memcpy(ip + 12, &peer->in4.sin_addr, 4);
    } else if (peer->sa.sa_family == AF_INET6) {
        memcpy(ip, &peer->in6.sin6_addr, 16);
    }
}

bool server_admit(struct server *s, const struct net_addr *peer, int max_per_ip, bool *by_ip)
{
    uint8_t ip[16];
    peer_ip(peer, ip);
    return admission_enter(&s->admission, ip, peer->sa.sa_family == AF_UNIX ? 0 : (uint32_t)max_per_ip,
                           by_ip);
}

bool server_admit_client(struct server *s, struct client_conn *c, int max_per_ip)
{
    return admission_enter_ip(&s->admission, c->peer_ip, c->peer_is_unix ? 0 : (uint32_t)max_per_ip,
                              &c->counted_by_ip);
}

void server_release(struct server *s, const struct net_addr *peer, bool by_ip)
{
    uint8_t ip[16];
    peer_ip(peer, ip);
    admission_leave(&s->admission, ip, by_ip);
}

void server_connection_closed(struct server *s, const struct client_conn *c)
{
    admission_leave(&s->admission, c->peer_ip, c->counted_by_ip);
}

/* ---- stopping ---- */

/* Mail from the control thread to one worker; the worker frees it. */
struct order_mail {
    struct mail mail;
    void (*order)(struct proxy_worker *pw);
};

static void worker_on_order(struct worker *w, struct mail *m)
{
    struct order_mail *o = CONTAINER_OF(m, struct order_mail, mail);
    o->order(w->owner);
    free(o);
}

static void server_order(struct server *s, size_t index, void (*order)(struct proxy_worker *pw))
{
    struct order_mail *o = malloc(sizeof *o);
    if (o == NULL)
        PANIC("out of memory while stopping");
    *o = (struct order_mail){{NULL, worker_on_order}, order};
    worker_post(s->workers[index].worker, &o->mail);
}

static void server_order_all(struct server *s, void (*order)(struct proxy_worker *pw))
{
    for (size_t i = 0; i < s->worker_count; i++)
        server_order(s, i, order);
}

static void order_stop(struct proxy_worker *pw)
{
    worker_stop(pw->worker);
}

static void server_on_shutdown_deadline(struct deadline *d)
{
    struct server *s = CONTAINER_OF(d, struct server, shutdown_deadline);
    log_warn("shutdown_timeout is over: closing what is still open");
    server_order_all(s, proxy_worker_abort);
}

void server_drain(struct server *s)
{
    if (s->state == SERVER_DRAINING && upgrade_is_done(s) && !s->is_told_to_stop) {
        s->is_told_to_stop =
            true; /* systemd tells all processes of a service: for this one it is the first time */
        return;
    }
    if (s->state == SERVER_DRAINING) {
        log_warn("asked to stop again: closing what is still open");
        server_order_all(s, proxy_worker_abort);
        return;
    }
    if (s->state != SERVER_RUNNING)
        return;
    s->state = SERVER_DRAINING;
    upgrade_call_off(s);
    if (!upgrade_is_done(s)) /* the service goes on */
        server_notify("STOPPING=1");
    redis_watch_stop(s->redis_watch);
    log_info("%s: no new connections; open requests get up to %lld s",
             upgrade_is_done(s) ? "handed over" : "stopping",
             (long long)s->snapshot->config->main.shutdown_timeout_ms / 1000);
    server_order_all(s, upgrade_is_done(s) ? proxy_worker_hand_over : proxy_worker_drain);
    deadline_set(s->control, &s->shutdown_deadline,
                 worker_now_ms(s->control) + MAX(1, s->snapshot->config->main.shutdown_timeout_ms));
}

static void server_on_left(void *arg)
{
    worker_stop(((struct server *)arg)->control);
}

static void control_on_worker_done(struct worker *w, struct mail *m)
{
    struct server_worker *sw = CONTAINER_OF(m, struct server_worker, done_mail);
    struct server *s = sw->server;
    UNUSED(w);
    ASSERT(!sw->done);
    sw->done = true;
    if (++s->workers_done < s->worker_count)
        return;
    s->state = SERVER_STOPPED;
    deadline_clear(s->control, &s->shutdown_deadline);
    server_order_all(s, order_stop);
    if (s->purge_share != NULL && !upgrade_is_done(s)) /* the node goes on */
        purge_share_leave(s->purge_share, server_on_left, s);
    else
        server_on_left(s);
}

void server_worker_done(struct server *s, struct proxy_worker *pw)
{
    struct server_worker *sw = &s->workers[pw->worker->index];
    sw->done_mail.on_mail = control_on_worker_done;
    worker_post(s->control, &sw->done_mail);
}

/* libevent calls it as often as the signal came: however many SIGHUP a turn has, they are one reload, and
 * none puts off the end that was asked for among them. */
static void server_on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct server *s = arg;
    const char *error, *hint;
    UNUSED(what);
    worker_refresh_clock(s->control);
    if (sig == SIGTERM || sig == SIGINT)
        log_info("asked to stop by %s", sig == SIGINT ? "SIGINT" : "SIGTERM");
    if (sig == SIGHUP)
        worker_at_turn_end(s->control, &s->reload_wanted);
    else if (sig == SIGUSR1)
        log_reopen();
    else if (sig == SIGUSR2)
        upgrade_begin(s, "SIGUSR2", NULL, &error, &hint);
    else
        server_drain(s);
}

/* ---- starting ---- */

/* The prefix is borrowed of the configuration that the link holds. */
static void worker_share(struct proxy_worker *pw)
{
    const struct config *c = pw->view->shared->config;
    const struct cache_remote_settings remote = {
        .worker = pw->worker,
        .cache = pw->cache,
        .redis = pw->redis,
        .prefix = slice_str(c->redis.prefix),
        .map = pw->server->purge_share != NULL ? purge_share_map(pw->server->purge_share) : NULL,
        .timeout_ms = c->redis.timeout_ms,
        .max_object_bytes = (size_t)c->redis.max_object_bytes,
        .pack = c->redis.compress == CONFIG_REDIS_COMPRESS_ZSTD,
        .alone = c->cache.store == CONFIG_STORE_REDIS,
    };
    if (config_store_is_shared(c->cache.store) && remote.redis != NULL && remote.map != NULL &&
        !proxy_worker_share(pw, &remote))
        log_error("out of memory: a worker does without the shared store");
}

static void worker_on_start(struct worker *w)
{
    struct proxy_worker *pw = w->owner;
    const struct redis_link *link = pw->server->redis_link;
    w->log = log_ring_attach(LOG_RING_BYTES);
    if (link != NULL && (pw->redis = redis_link_open(link, w)) == NULL)
        log_error("out of memory: a worker does without Redis");
    worker_share(pw);
}

static void worker_on_stop(struct worker *w)
{
    proxy_worker_unshare(w->owner);
    redis_close(&((struct proxy_worker *)w->owner)->redis);
    if (w->log != NULL)
        log_ring_detach(w->log);
    w->log = NULL;
}

static bool server_make_workers(struct server *s)
{
    s->worker_count = (size_t)s->snapshot->config->main.workers;
    s->workers = calloc(s->worker_count, sizeof *s->workers);
    for (size_t i = 0; s->workers != NULL && i < s->worker_count; i++) {
        struct server_worker *sw = &s->workers[i];
        sw->server = s;
        sw->worker = worker_create((int)i);
        if (sw->worker == NULL)
            return false;
        sw->worker->metrics = metrics_shard_new();
        sw->worker->on_start = worker_on_start;
        sw->worker->on_stop = worker_on_stop;
        sw->proxy = proxy_worker_create(s, sw->worker, s->cache, s->snapshot);
        if (sw->worker->metrics == NULL || sw->proxy == NULL)
            return false;
    }
    return s->workers != NULL;
}

/* When the events are freed, the signals are ignored as before: one more must not end the process before its
 * files are removed. Blocked meanwhile, none is lost. */
static bool server_make_signals(struct server *s)
{
    static const int numbers[SERVER_SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
    bool ok = true;
    sigset_t ours, before;
    sigemptyset(&ours);
    for (size_t i = 0; i < SERVER_SIGNALS; i++)
        sigaddset(&ours, numbers[i]);
    server_reload_begin(s);
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    for (size_t i = 0; ok && i < SERVER_SIGNALS; i++) {
        signal(numbers[i], SIG_IGN);
        s->signals[i] = evsignal_new(s->control->base, numbers[i], server_on_signal, s);
        ok = s->signals[i] != NULL && event_add(s->signals[i], NULL) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return ok;
}

static bool server_make_cache(struct server *s, const struct config *c)
{
    if (c->cache.store == CONFIG_STORE_OFF)
        return true;
    s->cache = cache_create(&(struct cache_settings){
        (size_t)c->cache.memory_bytes, (size_t)c->cache.max_waiters, (unsigned)c->cache.max_variants});
    return s->cache != NULL;
}

static bool server_make_redis(struct server *s, struct config *c, char *err, size_t err_bytes)
{
    if (!c->redis.given)
        return true;
    s->redis_link = redis_link_new(c, err, err_bytes);
    s->redis_watch = s->redis_link != NULL ? redis_watch_new(s->control, s->worker_count, c) : NULL;
    for (size_t i = 0; s->redis_watch != NULL && i < s->worker_count; i++)
        redis_watch_add(s->redis_watch, i, s->workers[i].worker, &s->workers[i].proxy->redis);
    return s->redis_watch != NULL;
}

static void server_prepare_message(void *arg, struct cache_purge_request *r)
{
    r->url_keys = server_url_keys;
    r->url_keys_arg = arg;
}

/* Who shares what it stores must hear of all purges. */
static bool server_share_purges(struct server *s, struct config *c, char *err, size_t err_bytes)
{
    if (s->cache == NULL || s->redis_link == NULL || !config_store_is_shared(c->cache.store))
        return true;
    s->purge_share =
        purge_share_new(&(struct purge_share_settings){s->cache, c, s->redis_link, server_prepare_message, s},
                        err, err_bytes);
    return s->purge_share != NULL;
}

static bool server_prepare_folders(struct server *s, const struct config *c, char *err, size_t err_bytes)
{
    uid_t uid;
    gid_t gid;
    if (!server_find_user(&c->main, &uid, &gid, err, err_bytes))
        return false;
    if (!server_make_folder(c->main.runtime_dir, uid, gid, err, err_bytes))
        return false;
    if (!server_make_folder(c->main.state_dir, uid, gid, err, err_bytes))
        log_warn("%s; what is kept there is lost at the next start", err);
    snprintf(s->pid_path, sizeof s->pid_path, "%s/millpond.pid", c->main.runtime_dir);
    return true;
}

/* Everything up to the point where only the threads are missing. */
static bool server_prepare(struct server *s, struct config *c, char *err, size_t err_bytes)
{
    snprintf(err, err_bytes, "out of memory or file descriptors");
    admission_init(&s->admission, server_client_limit(c->main.max_connections));
    deadline_init(&s->shutdown_deadline, server_on_shutdown_deadline);
    s->control = worker_create(-1);
    s->spill = upstream_spill_create();
    if (s->control == NULL || s->spill == NULL || (s->control->metrics = metrics_shard_new()) == NULL)
        return false;
    s->control->log = log_ring_attach(CONTROL_RING_BYTES);
    s->balancer = balancer_create(s->control);
    s->limits = rate_table_new(RATE_SETS);
    if (s->balancer == NULL || s->limits == NULL || !server_make_cache(s, c) || !server_tls_prepare(s))
        return false;
    server_watch_retired(s);
    if (!server_prepare_folders(s, c, err, err_bytes))
        return false;
    s->snapshot = server_build_snapshot(s, c, err, err_bytes);
    if (s->snapshot == NULL || !server_make_workers(s) || !server_make_signals(s) ||
        !server_make_redis(s, c, err, err_bytes))
        return false;
    if (!server_open_listeners(s, err, err_bytes))
        return false;
    if (!server_drop_privileges(&c->main, err, err_bytes) || !server_share_purges(s, c, err, err_bytes))
        return false;
    s->admin = server_admin_create(s, err, err_bytes);
    return s->admin != NULL && (s->heir != NULL || server_write_pid(s, err, err_bytes));
}

/* The process before this one has nothing to say any more. */
static void server_take_over(struct server *s)
{
    char err[512];
    admin_take_over(s->admin);
    for (size_t i = 0; i < s->listener_count; i++)
        s->listeners[i].handed_over = false;
    if (!server_write_pid(s, err, sizeof err))
        log_warn("%s", err);
    log_info("this process takes the place of process %ld", heir_old_pid(s->heir));
    heir_serving(s->heir, s->control);
}

static void control_on_start(struct worker *w)
{
    struct server *s = w->owner;
    const struct config *c = s->snapshot->config;
    char text[NET_ADDR_TEXT];
    balancer_on_lost(s->balancer, lost_instance_tell, s);
    balancer_set_activate(s->balancer, s->snapshot->balancers);
    heir_order_again(s->heir, s->balancer);
    if (s->heir != NULL)
        server_listen_by_all(s);
    for (size_t i = 0; i < s->listener_count; i++)
        server_log_listening(&s->listeners[i].bound, s->listeners[i].name);
    struct net_addr admin = admin_local_addr(s->admin);
    if (admin.len > 0) {
        net_addr_format(&admin, text);
        log_info("admin on %s", text);
    }
    for (size_t i = 0; i < s->worker_count; i++) {
        s->workers[i].started = worker_start(s->workers[i].worker);
        if (!s->workers[i].started)
            PANIC("a worker thread could not be started");
    }
    if (s->purge_share != NULL)
        purge_share_start(s->purge_share, w);
    if (s->redis_watch != NULL)
        redis_watch_start(s->redis_watch);
    server_tls_start(s);
    s->state = SERVER_RUNNING;
    log_info("millpond %s ready: %zu workers, %zu pools, pid %ld", MILLPOND_VERSION, s->worker_count,
             c->pool_count, (long)getpid());
    timeline_note(TIMELINE_START, "millpond %s, generation %llu, from %s", MILLPOND_VERSION,
                  (unsigned long long)c->generation, s->config_path);
    if (s->heir != NULL)
        server_take_over(s);
    else
        server_notify("READY=1");
}

static void control_on_stop(struct worker *w)
{
    struct server *s = w->owner;
    if (s->purge_share != NULL)
        purge_share_stop(s->purge_share);
    server_tls_stop(s);
}

static void server_free_workers(struct server *s)
{
    for (size_t i = 0; s->workers != NULL && i < s->worker_count; i++) {
        struct server_worker *sw = &s->workers[i];
        if (sw->started)
            worker_join(sw->worker);
        if (sw->proxy != NULL) {
            LIST_FOREACH_SAFE (n, next, &sw->proxy->listeners) {
                listener_drop(CONTAINER_OF(n, struct listener, node));
            }
        }
        proxy_worker_destroy(sw->proxy);
        if (sw->worker != NULL && sw->worker->metrics != NULL)
            metrics_shard_free(sw->worker->metrics);
        worker_destroy(sw->worker);
    }
    free(s->workers);
    s->workers = NULL;
}

static void server_free(struct server *s)
{
    config_changes_free(&s->changes);
    server_free_workers(s);
    upgrade_free(s->upgrade); /* the process after this one learns that nothing more is purged here */
    heir_stop(s->heir);
    purge_share_free(s->purge_share);
    redis_watch_free(s->redis_watch);
    redis_link_free(s->redis_link);
    if (s->admin != NULL)
        admin_destroy(s->admin);
    upstream_spill_destroy(s->spill);
    if (s->balancer != NULL)
        balancer_set_activate(s->balancer, NULL);
    if (s->snapshot != NULL)
        snapshot_unref(s->snapshot);
    for (size_t i = 0; i < SERVER_SIGNALS; i++) {
        if (s->signals[i] != NULL)
            event_free(s->signals[i]);
    }
    if (s->balancer != NULL)
        balancer_destroy(s->balancer);
    if (s->cache != NULL)
        cache_destroy(s->cache);
    server_remove_pid(s);
    server_forget_listeners(s);
    heir_free(s->heir);
    json_decref(s->reload_problems);
    json_decref(s->upgrade_problems);
    rate_table_free(s->limits);
    admission_destroy(&s->admission);
    server_tls_destroy(s);
    if (s->control != NULL) {
        if (s->control->log != NULL)
            log_ring_detach(s->control->log);
        if (s->control->metrics != NULL)
            metrics_shard_free(s->control->metrics);
        worker_destroy(s->control);
    }
}

/* Prints what is wrong with it. */
static struct config *server_load_config(struct server *s)
{
    struct config_problems problems = {0};
    struct config *c = s->heir != NULL ? config_load_changed(s->config_path, &s->changes, &problems)
                                       : config_load(s->config_path, &problems);
    char *said = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&said, &bytes);
    for (size_t i = 0; out != NULL && i < problems.count; i++) {
        if (!problems.items[i].warning)
            fprintf(out, "%s\n", problems.items[i].text);
    }
    if (out != NULL && fclose(out) == 0)
        fputs(said, stderr);
    if (c == NULL) {
        fprintf(stderr, "millpond: not started: %zu problem%s in %s\n", problems.errors,
                problems.errors == 1 ? "" : "s", s->config_path);
        heir_fail(s->heir, said != NULL ? said : "out of memory");
    }
    free(said);
    config_problems_free(&problems);
    return c;
}

/* What is left when the configuration is read. */
static void server_run(struct server *s, struct config *c)
{
    char err[512] = "out of memory";
    bool ok = rcu_start() && server_prepare(s, c, err, sizeof err);
    if (!ok)
        heir_fail(s->heir, err);
    if (ok && s->heir != NULL && !(ok = heir_await_go(s->heir, &s->twin, s->cache)))
        snprintf(err, sizeof err, "the process before this one goes on");
    config_unref(c);
    if (ok) {
        s->control->owner = s;
        s->control->on_start = control_on_start;
        s->control->on_stop = control_on_stop;
        worker_run(s->control);
        s->exit_status = 0;
        log_info("stopped");
    } else {
        log_error("not started: %s", err);
    }
    server_free(s);
}

int server_main(const char *path, char *const *argv)
{
    char err[512];
    struct server s = {.config_path = path, .exit_status = 1};
    program_remember(argv);
    config_changes_init(&s.changes);
    s.heir = heir_receive(&s.changes, err, sizeof err);
    struct config *c = err[0] == '\0' ? server_load_config(&s) : NULL;
    if (c == NULL) {
        if (err[0] != '\0')
            fprintf(stderr, "millpond: not started: %s\n", err);
        config_changes_free(&s.changes);
        heir_free(s.heir);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    hash_seed_random();
    const struct log_settings log = {(enum log_level)c->log.level, c->log.file, c->log.access};
    if (log_start(&log, err, sizeof err)) {
        server_run(&s, c);
        log_stop();
        rcu_flush();
        return s.exit_status;
    }
    fprintf(stderr, "millpond: not started: %s\n", err);
    heir_fail(s.heir, err);
    heir_free(s.heir);
    config_changes_free(&s.changes);
    config_unref(c);
    return 1;
}
