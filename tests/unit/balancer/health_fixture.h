/* health_fixture.h: a probe and a scripted server on the same loop, for test_health_probe.c. */
#ifndef TESTS_UNIT_BALANCER_HEALTH_FIXTURE_H
#define TESTS_UNIT_BALANCER_HEALTH_FIXTURE_H

#include "tests/unit/balancer/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "balancer/health_probe.h"

#define MAX_RESULTS 16

/* The server: accepts, reads up to the blank line, answers what the script says. */
struct env {
    struct worker *w;
    struct health_probe probe;
    struct net_addr addr;
    int listen_fd;
    struct event *accept_event, *read_event;
    int fd;
    char request[4096];
    size_t request_bytes;
    /* script */
    const char *reply;  /* NULL: no answer */
    size_t reply_bytes; /* 0: strlen */
    bool byte_by_byte;
    bool close_after, close_at_once, reset;
    unsigned accepted, peer_closed;
    /* results */
    struct health_result results[MAX_RESULTS];
    mono_ms_t at_ms[MAX_RESULTS]; /* when each probe began */
    unsigned count, want;
    bool stop_in_result;
};
static struct env env;

static void server_close(void)
{
    if (env.read_event != NULL)
        event_free(env.read_event);
    env.read_event = NULL;
    if (env.fd >= 0)
        close(env.fd);
    env.fd = -1;
}

static void server_reply(void)
{
    size_t bytes = env.reply_bytes != 0 ? env.reply_bytes : strlen(env.reply);
    size_t step = env.byte_by_byte ? 1 : bytes;
    for (size_t at = 0; at < bytes; at += step) {
        ssize_t n = send(env.fd, env.reply + at, step, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n != (ssize_t)step)
            break;
    }
    if (env.close_after)
        server_close();
}

static void server_on_read(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(what);
    UNUSED(arg);
    char rest[4096];
    bool full = env.request_bytes == sizeof env.request - 1;
    ssize_t n = recv(fd, full ? rest : env.request + env.request_bytes,
                     full ? sizeof rest : sizeof env.request - 1 - env.request_bytes, 0);
    if (n <= 0) {
        env.peer_closed++;
        server_close();
        return;
    }
    env.request_bytes += full ? 0 : (size_t)n;
    if (strstr(env.request, "\r\n\r\n") != NULL && env.reply != NULL)
        server_reply();
}

static void server_on_accept(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(what);
    UNUSED(arg);
    server_close();
    env.fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (env.fd < 0)
        return;
    env.accepted++;
    memset(env.request, 0, sizeof env.request);
    env.request_bytes = 0;
    if (env.close_at_once || env.reset) {
        struct linger hard = {.l_onoff = 1};
        if (env.reset)
            setsockopt(env.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        server_close();
        return;
    }
    env.read_event = event_new(env.w->base, env.fd, EV_READ | EV_PERSIST, server_on_read, NULL);
    event_add(env.read_event, NULL);
}

static void on_result(struct health_probe *p, const struct health_result *result)
{
    assert_ptr_equal(p, &env.probe);
    assert_true(env.count < MAX_RESULTS);
    env.at_ms[env.count] = p->begun_ms;
    env.results[env.count++] = *result;
    if (env.stop_in_result)
        health_probe_stop(p);
}

static void serve(const struct net_addr *addr, int fd)
{
    env.addr = *addr;
    env.listen_fd = fd;
    env.accept_event = event_new(env.w->base, fd, EV_READ | EV_PERSIST, server_on_accept, NULL);
    event_add(env.accept_event, NULL);
}

static int setup(void **state)
{
    UNUSED(state);
    env = (struct env){.w = worker_create(-1), .fd = -1, .listen_fd = -1};
    struct net_addr addr;
    int fd = fixture_listen(&addr);
    serve(&addr, fd);
    health_probe_init(&env.probe, env.w, &env.addr, on_result);
    return 0;
}

static void stop_serving(void)
{
    server_close();
    if (env.accept_event != NULL)
        event_free(env.accept_event);
    env.accept_event = NULL;
    if (env.listen_fd >= 0)
        close(env.listen_fd);
    env.listen_fd = -1;
}

static int teardown(void **state)
{
    UNUSED(state);
    health_probe_stop(&env.probe);
    assert_int_equal(env.probe.phase, HEALTH_IDLE);
    assert_int_equal(env.probe.fd, -1);
    assert_null(env.probe.exchange);
    stop_serving();
    worker_drain(env.w);
    assert_int_equal(env.w->wheel_count, 0);
    worker_destroy(env.w);
    return 0;
}

static bool enough(void *arg)
{
    UNUSED(arg);
    return env.count >= env.want;
}

static const struct config_status_range usual[] = {{200, 399}};

static struct health_settings http_settings(void)
{
    return (struct health_settings){.kind = CONFIG_HEALTH_HTTP,
                                    .path = "/health?deep=1",
                                    .host = "app.example",
                                    .port = 8080,
                                    .ranges = usual,
                                    .range_count = 1,
                                    .interval_ms = 100000,
                                    .timeout_ms = 10000,
                                    .rise = 2,
                                    .fall = 3};
}

static const struct health_result *run(const struct health_settings *s, unsigned results)
{
    env.want = env.count + results;
    health_probe_start(&env.probe, s, 0);
    fixture_run_until(env.w, enough, NULL);
    return &env.results[env.count - 1];
}

static void expect(const struct health_result *r, enum health_verdict v, const char *reason)
{
    assert_string_equal(r->reason, reason);
    assert_int_equal(r->verdict, v);
}

static void expect_reply(const char *reply, enum health_verdict v, const char *reason)
{
    struct health_settings s = http_settings();
    env.reply = reply;
    expect(run(&s, 1), v, reason);
    health_probe_stop(&env.probe);
}

#endif
