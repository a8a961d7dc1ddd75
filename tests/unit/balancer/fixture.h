/* fixture.h: what the balancer's tests share: a control worker driven by the test's thread until something
 * holds, snapshots from text, and what was logged. Static functions, for one test program each. */
#ifndef TESTS_UNIT_BALANCER_FIXTURE_H
#define TESTS_UNIT_BALANCER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "config/config.h"
#include "core/rcu.h"
#include "core/worker.h"

#define FIXTURE_GIVE_UP_MS 20000

struct fixture_wait {
    struct worker *worker;
    bool (*holds)(void *arg);
    void *arg;
    mono_ms_t give_up_ms;
    bool held;
};

static inline void fixture_on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct fixture_wait *wait = arg;
    UNUSED(fd);
    UNUSED(what);
    wait->held = wait->holds(wait->arg);
    if (wait->held || clock_mono_ms() > wait->give_up_ms)
        worker_stop(wait->worker);
}

/* Runs the worker's loop on this thread until `holds`; fails the test when it never does. */
static inline void fixture_run_until(struct worker *w, bool (*holds)(void *arg), void *arg)
{
    struct fixture_wait wait = {w, holds, arg, clock_mono_ms() + FIXTURE_GIVE_UP_MS, false};
    struct event *tick = event_new(w->base, -1, EV_PERSIST, fixture_on_tick, &wait);
    struct timeval every = {0, 1000};
    assert_non_null(tick);
    event_add(tick, &every);
    w->stopping = false;
    worker_run(w);
    event_free(tick);
    assert_true(wait.held);
}

static inline struct config *fixture_config(const char *text)
{
    struct config_problems problems = {0};
    struct config *c = config_load_text("test.ini", text, strlen(text), &problems);
    for (size_t i = 0; c == NULL && i < problems.count; i++)
        print_error("%s\n", problems.items[i].text);
    assert_non_null(c);
    config_problems_free(&problems);
    return c;
}

/* A listening socket on 127.0.0.1 and a port of the kernel's. */
static inline int fixture_listen(struct net_addr *out)
{
    struct net_addr any;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    int fd = net_listen(&any, 128, false);
    assert_true(fd >= 0);
    assert_true(net_local_addr(fd, out));
    return fd;
}

/* A port where nothing listens, and nobody else will: it is bound for as long as *keep stays open. */
static inline struct net_addr fixture_dead_addr(int *keep)
{
    struct net_addr any, dead;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    *keep = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(*keep >= 0 && bind(*keep, &any.sa, any.len) == 0);
    assert_true(net_local_addr(*keep, &dead));
    return dead;
}

/* Between these two, stderr (where log_msg writes before log_start) goes into memory. */
struct fixture_capture {
    int saved, memory;
};

static inline void fixture_capture_start(struct fixture_capture *c)
{
    fflush(stderr);
    c->saved = dup(STDERR_FILENO);
    c->memory = memfd_create("stderr", MFD_CLOEXEC);
    assert_true(c->saved >= 0 && c->memory >= 0 && dup2(c->memory, STDERR_FILENO) >= 0);
}

static inline void fixture_capture_stop(struct fixture_capture *c, char *text, size_t bytes)
{
    fflush(stderr);
    dup2(c->saved, STDERR_FILENO);
    ssize_t n = pread(c->memory, text, bytes - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(c->saved);
    close(c->memory);
}

#endif
