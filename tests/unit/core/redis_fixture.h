/* redis_fixture.h: what the tests of the Redis client have in common: a worker that runs on the test's
 * thread, and calls whose ends can be looked at. Included once per test program. */
#ifndef TESTS_UNIT_CORE_REDIS_FIXTURE_H
#define TESTS_UNIT_CORE_REDIS_FIXTURE_H

#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "core/redis.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#define TURN_MAX_MS 5

/* Static in tests: a test that fails leaves its frame, and the call ends only with its connection. */
struct asked {
    struct redis_call call;
    int ended;
    enum redis_outcome outcome;
    char text[128]; /* the beginning of the answer */
    size_t bytes;   /* all of it */
};

static struct worker *w;
static struct event *turn_timer;
static struct turn_hook turn_end;

static inline void asked_on_reply(struct redis_call *call, enum redis_outcome o,
                                  const struct redisReply *reply)
{
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    slice_t text = redis_reply_text(reply);
    a->ended++;
    a->outcome = o;
    a->bytes = text.len;
    snprintf(a->text, sizeof a->text, SLICE_FMT, SLICE_ARG(text));
}

static inline void turn_on_timer(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    worker_refresh_clock(arg);
}

static inline void turn_on_end(struct turn_hook *h)
{
    UNUSED(h);
    worker_stop(w);
}

/* One turn of the loop: until something happens, but not for long. */
static inline void turn(void)
{
    struct timeval tv = {0, TURN_MAX_MS * 1000};
    event_add(turn_timer, &tv);
    worker_at_turn_end(w, &turn_end);
    w->stopping = false;
    worker_run(w);
}

/* Turns until it is so. */
#define UNTIL(condition)                                                                                     \
    do {                                                                                                     \
        mono_ms_t until_ = clock_mono_ms() + support_wait_ms();                                              \
        while (!(condition)) {                                                                               \
            EXPECT(clock_mono_ms() < until_, "waited in vain for %s", #condition);                           \
            turn();                                                                                          \
        }                                                                                                    \
    } while (0)

static inline void worker_setup(void)
{
    w = worker_create(0);
    assert_non_null(w);
    turn_timer = event_new(w->base, -1, 0, turn_on_timer, w);
    list_init(&turn_end.node);
    turn_end.on_turn_end = turn_on_end;
}

/* After everything on it was closed. */
static inline void worker_teardown(void)
{
    list_remove(&turn_end.node);
    worker_drain(w);
    event_free(turn_timer);
    worker_destroy(w);
}

#endif
