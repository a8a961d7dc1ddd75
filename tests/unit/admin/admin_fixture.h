/* admin_fixture.h: a running admin on a control thread of its own, with a hand-made configuration and
 * callbacks that count, for the tests of this folder. The cache and the balancer are stand-ins given at link
 * time: the tests decide what instances there are and see what was purged. */
#ifndef TESTS_UNIT_ADMIN_ADMIN_FIXTURE_H
#define TESTS_UNIT_ADMIN_ADMIN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "cache/purge_stats.h"
#include "core/log.h"

/* ---- stand-ins ---- */

#define FAKE_EVENTS_MAX 300

static struct {
    struct {
        enum cache_purge_kind kind;
        bool soft;
        char text[512];
    } events[FAKE_EVENTS_MAX]; /* of the last call */
    size_t count;
    unsigned purges;
    const char *problem; /* what the next calls are refused with */
} fake_cache;

bool cache_purge(struct cache *c, const struct cache_purge *p, size_t count, struct cache_purge_result *out)
{
    assert_non_null(c);
    assert_in_range(count, 1, FAKE_EVENTS_MAX);
    *out = (struct cache_purge_result){.id = 9007199254740993u, .removed = 3, .problem = fake_cache.problem};
    if (fake_cache.problem != NULL)
        return false;
    for (size_t i = 0; i < count; i++) {
        fake_cache.events[i].kind = p[i].kind;
        fake_cache.events[i].soft = p[i].soft;
        snprintf(fake_cache.events[i].text, sizeof fake_cache.events[i].text, SLICE_FMT,
                 SLICE_ARG(p[i].text));
    }
    fake_cache.count = count;
    fake_cache.purges++;
    return true;
}

void cache_purge_get_stats(struct cache *c, struct cache_purge_stats *out)
{
    assert_non_null(c);
    *out = (struct cache_purge_stats){.events = 5,
                                      .last_id = 9007199254740993u,
                                      .last = {[CACHE_PURGE_TAG] = 9007199254740993u},
                                      .last_ms = 60000,
                                      .entries = 4,
                                      .entries_limit = 512,
                                      .patterns = 1,
                                      .patterns_limit = 256,
                                      .overflows = 2};
}

void cache_get_stats(struct cache *c, struct cache_stats *out)
{
    assert_non_null(c);
    *out = (struct cache_stats){
        .objects = 7, .bytes_used = 4096, .bytes_limit = 1 << 20, .evictions = 2, .live_objects = 8};
}

const char *instance_state_name(enum instance_state s)
{
    static const char *const names[] = {
#define X(id, name) name,
        INSTANCE_STATES(X)
#undef X
    };
    return names[s];
}

static struct {
    enum balancer_order_result result; /* of the next ones */
    unsigned count;
    char text[200], who[64]; /* of the last one */
} fake_order;

enum balancer_order_result balancer_order(struct balancer *b, const struct balancer_order *o)
{
    static const char *const kinds[] = {"drain", "ready", "weight"};
    assert_non_null(b);
    fake_order.count++;
    snprintf(fake_order.text, sizeof fake_order.text, "%s %s %s %d%s", kinds[o->kind], o->pool, o->server,
             o->weight, o->force ? " force" : "");
    snprintf(fake_order.who, sizeof fake_order.who, "%s", o->who);
    return fake_order.result;
}

void balancer_each_instance(struct balancer *b, void (*each)(void *arg, const struct instance_info *info),
                            void *arg)
{
    assert_non_null(b);
    const struct instance_info list[] = {
        {.pool = "app",
         .name = "a\"1",
         .server = "a\"1",
         .address = "127.0.0.1:3001",
         .state = INSTANCE_UP,
         .reason = "probe passed",
         .since_ms = 1000,
         .weight = 1,
         .configured_weight = 1,
         .balance = "two_choices",
         .sticky_cookie = "srv",
         .share_percent = 40,
         .spared = "",
         .ejections = 7,
         .in_flight = 2,
         .idle_ms = 4000,
         .idle_from = "announced",
         .requests = 40,
         .failures = 1,
         .probes_ok = 9},
        {.pool = "app",
         .name = "app-2",
         .server = "app-2",
         .address = "127.0.0.1:3002",
         .state = INSTANCE_DOWN,
         .reason = "refused",
         .since_ms = 2000,
         .weight = 5,
         .configured_weight = 6,
         .balance = "two_choices",
         .sticky_cookie = "srv",
         .share_percent = 100,
         .spared = "",
         .backup = true,
         .probes_failed = 4},
        {.pool = "img",
         .name = "app-2",
         .server = "app-2",
         .address = "127.0.0.1:3003",
         .state = INSTANCE_STARTING,
         .reason = "new",
         .balance = "round_robin",
         .sticky_cookie = "",
         .share_percent = 100,
         .spared = "it is the last usable instance",
         .weight = 1,
         .configured_weight = 1},
    };
    for (size_t i = 0; i < ARRAY_LEN(list); i++)
        each(arg, &list[i]);
}

/* ---- the fixture ---- */

struct fixture {
    char dir[64], socket[96], state_dir[96];
    const char *hosts[4];
    struct config config;
    struct worker *control;
    struct admin *admin;
    bool has_cache, reload_ok;
    unsigned reloads;
    int upgrades;
    struct config *change_to; /* what a reload hands to admin_change */
    sem_t stopped;
    struct admin_reply late; /* to "http://late/": the test answers; posted when it was asked for */
    sem_t late_asked;
};

static inline struct cache *fx_cache(void *arg)
{
    static char nothing;
    return ((struct fixture *)arg)->has_cache ? (struct cache *)&nothing : NULL;
}

static inline struct balancer *fx_balancer(void *arg)
{
    return arg; /* never looked into */
}

static inline struct config *fx_config(void *arg)
{
    return &((struct fixture *)arg)->config;
}

static inline bool fx_reload(void *arg, json_t **problems)
{
    struct fixture *f = arg;
    char err[256];
    f->reloads++;
    if (f->reload_ok && f->change_to != NULL)
        return admin_change(f->admin, f->change_to, err, sizeof err);
    if (!f->reload_ok)
        *problems = json_pack("[s]", "millpond.ini:3: [pool app] server: missing");
    return f->reload_ok;
}

static inline void fx_stop(void *arg)
{
    sem_post(&((struct fixture *)arg)->stopped);
}

static inline void fx_status(void *arg, json_t *into)
{
    (void)arg;
    json_object_set_new(into, "state", json_string("running"));
    json_object_set_new(into, "listeners", json_pack("[s, s]", "127.0.0.1:8080", "unix:/x"));
    json_object_set_new(
        into, "redis",
        json_pack(
            "{s:s, s:s, s:s, s:[{s:s, s:s, s:s, s:s, s:i, s:I, s:i, s:i, s:{s:i, s:i}}, {s:s, s:s, s:s, "
            "s:s, s:i, s:i}]}",
            "mode", "sentinel", "sentinel_name", "main", "trouble", "no way", "servers", "server", "a:1",
            "kind", "redis", "state", "up", "reason", "", "workers_up", 1, "since_ms", (json_int_t)5000,
            "connections", 4, "calls", 120, "failures", "timeout", 2, "lost", 1, "server", "s\"1", "kind",
            "sentinel", "state", "down", "reason", "WRONG\033", "workers_up", 0, "since_ms", 5000));
    json_object_set_new(
        json_object_get(into, "config"), "last_reload",
        json_pack("{s:b, s:I, s:[s]}", "ok", 0, "at_ms", (json_int_t)5000, "problems", "x.ini:1: bad\n"));
}

/* Says back what it was asked. */
static inline bool fx_explain(void *arg, const struct admin_question *q, const struct admin_reply *reply,
                              const char **error, const char **hint)
{
    struct fixture *f = arg;
    *error = "this is no URL";
    *hint = "write a URL";
    if (strncmp(q->url, "http", 4) != 0)
        return false;
    if (strcmp(q->url, "http://late/") == 0) {
        f->late = *reply;
        sem_post(&f->late_asked);
        return true;
    }
    json_t *fields = json_array();
    for (size_t i = 0; i < q->field_count; i++)
        json_array_append_new(fields, json_string(q->fields[i]));
    reply->on_answer(reply->to, json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, s:b, s:i}}",
                                          "url", q->url, "method", q->method != NULL ? q->method : "GET",
                                          "fields", fields, "verdict", "miss", "verdict_text", "nothing\033",
                                          "reason", "private", "why", "it said so", "edit", "in", "ini",
                                          "text", "ttl = 1m", "file", "x.ini", "replaces", 1, "line", 7));
    return true;
}

static json_t *fx_resume(void *arg, const char *route, const char *who)
{
    UNUSED(arg);
    assert_true(who[0] != '\0');
    return strcmp(route, "shop") == 0 ? json_pack("{s:s, s:{s:s}}", "route", route, "canary", "pool", "new")
                                      : NULL;
}

/* Every second one is under way already, or comes to nothing: by how many there were. */
static inline bool fx_upgrade(void *arg, const char *who, const struct admin_reply *reply, const char **error,
                              const char **hint)
{
    struct fixture *f = arg;
    assert_true(who[0] != '\0');
    *error = "an upgrade is under way";
    *hint = "it goes on";
    const int n = f->upgrades++ % 3;
    if (n == 0)
        return false;
    reply->on_answer(reply->to,
                     n == 1 ? json_pack("{s:s, s:s, s:[s]}", "error", "the upgrade failed", "hint",
                                        "see below", "problems", "it ended with status 1")
                            : json_pack("{s:i, s:s, s:i}", "pid", 12, "version", "9.9", "old_pid", 11));
    return true;
}

static const struct admin_ops fx_ops = {.cache = fx_cache,
                                        .balancer = fx_balancer,
                                        .config = fx_config,
                                        .reload = fx_reload,
                                        .stop = fx_stop,
                                        .upgrade = fx_upgrade,
                                        .status = fx_status,
                                        .resume = fx_resume,
                                        .explain = fx_explain};

static inline struct admin_ops fx_ops_for(struct fixture *f)
{
    struct admin_ops ops = fx_ops;
    ops.arg = f;
    return ops;
}

/* A configuration with an address on a port of the kernel's choice and the token "secret-token-0123". */
static inline void fx_init(struct fixture *f)
{
    *f = (struct fixture){.has_cache = true, .reload_ok = true};
    memset(&fake_cache, 0, sizeof fake_cache);
    memset(&fake_order, 0, sizeof fake_order);
    strcpy(f->dir, "/tmp/millpond-admin-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->socket, sizeof f->socket, "%s/admin.sock", f->dir);
    snprintf(f->state_dir, sizeof f->state_dir, "%s/state", f->dir);
    f->hosts[0] = "localhost";
    f->hosts[1] = "127.0.0.1";
    f->hosts[2] = "[::1]";
    f->config.path = "/etc/x.ini";
    f->config.generation = 4;
    f->config.main = (struct config_main){.workers = 2,
                                          .state_dir = f->state_dir,
                                          .runtime_dir = f->dir,
                                          .max_connections = 100,
                                          .shutdown_timeout_ms = 7000};
    f->config.admin = (struct config_admin){.socket = f->socket,
                                            .socket_mode = 0640,
                                            .token = "secret-token-0123",
                                            .allowed_hosts = {f->hosts, 3}};
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &f->config.admin.address));
    sem_init(&f->stopped, 0, 0);
    sem_init(&f->late_asked, 0, 0);
    f->control = worker_create(-1);
    assert_non_null(f->control);
}

static inline void fx_create(struct fixture *f)
{
    char err[256] = "";
    struct admin_ops ops = fx_ops_for(f);
    f->admin = admin_create(f->control, &ops, &f->config, err, sizeof err);
    if (f->admin == NULL)
        fail_msg("%s", err);
}

static inline void fx_start(struct fixture *f)
{
    fx_create(f);
    assert_true(worker_start(f->control));
}

struct fx_mail {
    struct mail mail;
    void (*fn)(struct fixture *f);
    struct fixture *f;
    sem_t done;
};

static inline void fx_on_mail(struct worker *w, struct mail *m)
{
    (void)w;
    struct fx_mail *call = CONTAINER_OF(m, struct fx_mail, mail);
    call->fn(call->f);
    sem_post(&call->done);
}

/* Runs `fn` on the control thread and waits for it. */
static inline void fx_call(struct fixture *f, void (*fn)(struct fixture *f))
{
    struct fx_mail call = {.mail = {.on_mail = fx_on_mail}, .fn = fn, .f = f};
    sem_init(&call.done, 0, 0);
    worker_post(f->control, &call.mail);
    while (sem_wait(&call.done) != 0)
        continue;
    sem_destroy(&call.done);
}

static inline void fx_do_stop(struct fixture *f)
{
    admin_destroy(f->admin);
    f->admin = NULL;
    worker_stop(f->control);
}

static inline void fx_end(struct fixture *f)
{
    char command[128];
    worker_destroy(f->control);
    sem_destroy(&f->stopped);
    sem_destroy(&f->late_asked);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    assert_int_equal(system(command), 0);
}

static inline void fx_finish(struct fixture *f)
{
    fx_call(f, fx_do_stop);
    worker_join(f->control);
    fx_end(f);
}

/* ---- a raw client ---- */

static inline int fx_connect(const struct net_addr *a)
{
    struct timeval limit = {10, 0};
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, &a->sa, a->len), 0);
    return fd;
}

static inline struct net_addr fx_unix(const char *path)
{
    char text[256];
    struct net_addr a;
    snprintf(text, sizeof text, "unix:%s", path);
    assert_true(net_addr_parse(slice_str(text), &a));
    return a;
}

/* Sends `bytes`, reads to the end; the caller frees. */
static inline char *fx_exchange(const struct net_addr *a, const char *bytes, size_t len)
{
    size_t room = 1 << 20, have = 0;
    char *answer = malloc(room);
    int fd = fx_connect(a);
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, bytes + sent, len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break; /* refused while we still talk: the answer says why */
        sent += (size_t)n;
    }
    ssize_t n;
    while (have + 1 < room && (n = recv(fd, answer + have, room - 1 - have, 0)) > 0)
        have += (size_t)n;
    answer[have] = '\0';
    close(fd);
    return answer;
}

/* "METHOD TARGET" with further field lines and a body; reads to the end. The caller frees. */
static inline char *fx_ask(const struct net_addr *a, const char *request, const char *fields,
                           const char *body)
{
    char bytes[16384];
    int n =
        snprintf(bytes, sizeof bytes, "%s HTTP/1.1\r\n%sConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 request, fields, strlen(body), body);
    assert_true(n < (int)sizeof bytes);
    return fx_exchange(a, bytes, (size_t)n);
}

static inline unsigned fx_status_of(const char *answer)
{
    unsigned status = 0;
    if (sscanf(answer, "HTTP/1.%*c %u", &status) != 1)
        return 0;
    return status;
}

static inline const char *fx_body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    return end + 4;
}

#define FX_HOST   "Host: localhost\r\n"
#define FX_BEARER "Authorization: Bearer secret-token-0123\r\n"

#define assert_answer(address, request, fields, body, status)                                                \
    do {                                                                                                     \
        char *answer_ = fx_ask(address, request, fields, body);                                              \
        if (fx_status_of(answer_) != (status))                                                               \
            fail_msg("%s: expected %d, got: %s", request, status, answer_);                                  \
        free(answer_);                                                                                       \
    } while (0)

/* Setup and teardown of one test; its *state is the fixture. */
static inline int fx_setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fx_init(f);
    fx_start(f);
    *state = f;
    return 0;
}

static inline int fx_teardown(void **state)
{
    fx_finish(*state);
    free(*state);
    return 0;
}

#endif
