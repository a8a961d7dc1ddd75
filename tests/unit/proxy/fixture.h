/* fixture.h: what the proxy's tests share: a configuration with its snapshot, a proxy worker whose loop
 * nobody runs, client connections over socketpairs, and request heads parsed from text. Static functions, one
 * program each.
 *
 * Everything is the real thing but the listener (no socket behind it) and the server (only its counters). */
#ifndef TESTS_UNIT_PROXY_FIXTURE_H
#define TESTS_UNIT_PROXY_FIXTURE_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cache/cache.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/client_conn.h"
#include "proxy/client_out.h"
#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/phase.h"
#include "proxy/server.h"

#define FIX_APP "[pool app]\nserver = 127.0.0.1:9\nhealth_check = off\n"

struct proxy_fix {
    struct server server;
    struct worker *control, *worker;
    struct balancer *balancer;
    struct snapshot *snapshot;
    struct cache *cache;
    struct proxy_worker *pw;
    struct listener *listener;
};

static inline struct config *fix_config(const char *text)
{
    struct config_problems problems = {0};
    struct config *c = config_load_text("test.ini", text, strlen(text), &problems);
    for (size_t i = 0; c == NULL && i < problems.count; i++)
        print_error("%s\n", problems.items[i].text);
    assert_non_null(c);
    config_problems_free(&problems);
    return c;
}

static inline struct snapshot *fix_snapshot(struct balancer *b, const char *text)
{
    char err[256] = "";
    struct config *c = fix_config(text);
    struct snapshot *s = snapshot_build(c, b, err, sizeof err);
    assert_string_equal(err, "");
    assert_non_null(s);
    config_unref(c);
    return s;
}

/* Group setup and teardown. */
static inline int fix_group_setup(void **state)
{
    UNUSED(state);
    hash_seed_fixed(7);
    rcu_thread_start();
    return 0;
}

static inline int fix_group_teardown(void **state)
{
    UNUSED(state);
    rcu_flush();
    rcu_thread_stop();
    return 0;
}

static inline void fix_start(struct proxy_fix *f, const char *text, bool with_cache)
{
    memset(f, 0, sizeof *f);
    signal(SIGPIPE, SIG_IGN); /* as server_run does; sendfile(2) has no flag for it */
    f->control = worker_create(-1);
    f->worker = worker_create(0);
    assert_true(f->control != NULL && f->worker != NULL);
    f->worker->metrics = metrics_shard_new();
    f->control->metrics = metrics_shard_new();
    f->balancer = balancer_create(f->control);
    f->snapshot = fix_snapshot(f->balancer, text);
    admission_init(&f->server.admission, 1000);
    if (with_cache)
        f->cache = cache_create(&(struct cache_settings){.memory_bytes = 16 * MB, .max_waiters = 10});
    f->pw = proxy_worker_create(&f->server, f->worker, f->cache, f->snapshot);
    assert_non_null(f->pw);
    memcpy(f->pw->id_prefix, "0123456789abcdef", sizeof f->pw->id_prefix);
    f->listener = calloc(1, sizeof *f->listener);
    assert_non_null(f->listener);
    f->listener->pw = f->pw;
    f->listener->fd = -1;
    f->listener->config = &f->snapshot->config->listens[0];
    f->listener->view = snapshot_view_ref(f->pw->view);
    f->listener->refs = 1;
    list_init(&f->listener->node);
}

/* Frees everything; exchanges are ended by fix_drop, connections by client_conn_close. */
static inline void fix_end(struct proxy_fix *f)
{
    listener_unref(f->listener);
    worker_drain(f->worker);
    proxy_worker_destroy(f->pw);
    snapshot_unref(f->snapshot);
    worker_drain(f->control);
    balancer_destroy(f->balancer);
    worker_drain(f->control);
    if (f->cache != NULL)
        cache_destroy(f->cache);
    admission_destroy(&f->server.admission);
    metrics_shard_free(f->worker->metrics);
    metrics_shard_free(f->control->metrics);
    worker_destroy(f->worker);
    worker_destroy(f->control);
}

/* A client connection from `peer` ("192.0.2.7:1", "unix:/x"); the test's end of it in *other. */
static inline struct client_conn *fix_client(struct proxy_fix *f, const char *peer, int *other)
{
    int pair[2];
    struct net_addr addr;
    assert_true(net_addr_parse(slice_str(peer), &addr));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    bool by_ip;
    assert_true(server_admit(&f->server, &addr, 0, &by_ip));
    struct client_conn *c = client_conn_open(f->pw, f->listener, pair[0], &addr, by_ip);
    assert_non_null(c);
    c->writable = true;
    *other = pair[1];
    return c;
}

static inline void fix_parse_request(const char *text, struct http_head *head)
{
    struct h1_parser p = {0};
    const struct h1_limits limits = {1 * MB, 1 * MB, 1000};
    assert_int_equal(h1_parse_request(&p, text, strlen(text), head, &limits), H1_DONE);
}

static inline void fix_parse_response(const char *text, struct http_head *head)
{
    struct h1_parser p = {0};
    const struct h1_limits limits = {1 * MB, 0, 1000};
    assert_int_equal(h1_parse_response(&p, text, strlen(text), head, &limits), H1_DONE);
}

/* An exchange whose head was read and routed, as phase FETCH finds it. `text` must outlive it. */
static inline struct exchange *fix_exchange(struct proxy_fix *f, struct client_conn *c, const char *text)
{
    struct exchange *x = exchange_new(f->pw, c);
    struct http_head head = {.fields = f->pw->fields};
    assert_non_null(x);
    fix_parse_request(text, &head);
    x->req = head;
    assert_int_equal(h1_request_framing(&x->req, &x->framing), H1_OK);
    assert_int_equal(h1_target_split(&x->req, &x->target), H1_OK);
    const struct http_field *host = http_head_get(&x->req, HTTP_FIELD_HOST);
    x->host = x->target.authority.len > 0 ? x->target.authority : host != NULL ? host->value : SLICE_EMPTY;
    x->route = &f->snapshot->routes[0];
    c->exchange = x;
    return x;
}

/* Ends an exchange that no phase ran for. */
static inline void fix_drop(struct exchange *x)
{
    if (x->client != NULL)
        x->client->exchange = NULL;
    exchange_free(x);
}

/* A stored response under the key of a request for `host` and `path`. */
static inline void fix_store(struct proxy_fix *f, const char *host, const char *path, const char *head,
                             const char *body)
{
    char key_text[256];
    struct cache_key key;
    struct arena scratch;
    enum no_store_reason why;
    static const struct http_head none;
    size_t room, bytes = strlen(body);
    slice_t h = slice_str(head);
    cache_key_build(key_text, SLICE_LIT("http"), slice_str(host), slice_str(path), (slice_t){NULL, 0}, &key);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(f->cache, &key, &none, &scratch, NULL, f->worker, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    size_t etag = slice_find(h, '"', 0);
    const struct cache_fill fill = {
        .request = &none,
        .response = &none,
        .head = h,
        .status = 200,
        .status_line_bytes = (uint16_t)(slice_find(h, '\n', 0) + 1),
        .body_bytes = (int64_t)bytes,
        .max_object_bytes = (int64_t)MB,
        .etag = etag == SIZE_MAX ? SLICE_EMPTY
                                 : slice_make(h.ptr + etag, slice_find(h, '"', etag + 1) + 1 - etag),
        .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 3600000}};
    assert_non_null(cache_fill_begin(j.flight, &fill, &why));
    for (size_t at = 0; at < bytes; at += room) {
        char *to = cache_fill_buffer(j.flight, &room);
        assert_non_null(to);
        room = MIN(room, bytes - at);
        memcpy(to, body + at, room);
        cache_fill_commit(j.flight, room);
    }
    assert_int_equal(cache_fill_finish(&j.flight), NO_STORE_STORED);
    arena_reset(&scratch);
}

/* What has come to the test's end, as a string in `buf`. */
static inline size_t fix_received(int fd, char *buf, size_t bytes)
{
    size_t got = 0;
    ssize_t n;
    while (got < bytes - 1 && (n = read(fd, buf + got, bytes - 1 - got)) > 0)
        got += (size_t)n;
    buf[got] = '\0';
    return got;
}

/* Runs `fn` in a child; true when it died by abort, which is what a failed assertion does. */
static inline bool fix_aborts(void (*fn)(void *arg), void *arg)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        fn(arg);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

/* How often `part` stands in `text`. */
static inline unsigned fix_count(const char *text, const char *part)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p += strlen(part))
        n++;
    return n;
}

#endif
