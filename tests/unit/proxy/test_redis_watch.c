/* test_redis_watch.c: reports that travel between threads: two workers with clients of a server that is not
 * there, seen by a control thread. Servers that are there are in tests/e2e/redis_link.c. */
#include "fixture.h"

#include <semaphore.h>

#include "proxy/redis_link.h"
#include "proxy/redis_watch.h"

#define WORKERS 2

static struct worker *control, *workers[WORKERS];
static struct redis *clients[WORKERS];
static struct redis_link *link_of_all;
static struct redis_watch *watch;
static struct deadline poll_deadline;
static json_t *status;

static void on_start(struct worker *w)
{
    clients[w->index] = redis_link_open(link_of_all, w);
    assert_non_null(clients[w->index]);
}

static void on_stop(struct worker *w)
{
    redis_close(&clients[w->index]);
}

static void stop(struct worker *w, struct mail *m)
{
    UNUSED(m);
    worker_stop(w);
}

/* Each worker is stopped by a mail behind those of the watch. */
static struct mail stops[WORKERS];

/* Until both workers were refused. */
static void on_poll(struct deadline *d)
{
    json_decref(status);
    status = redis_watch_status(watch);
    json_t *server = json_array_get(json_object_get(status, "servers"), 0);
    const char *reason = json_string_value(json_object_get(server, "reason"));
    if (json_integer_value(json_object_get(status, "workers")) < WORKERS || reason == NULL ||
        reason[0] == '\0') {
        deadline_set(control, d, worker_now_ms(control) + 1);
        return;
    }
    redis_watch_stop(watch);
    worker_stop(control);
}

static void on_control_start(struct worker *w)
{
    for (int i = 0; i < WORKERS; i++)
        assert_true(worker_start(workers[i]));
    redis_watch_start(watch);
    deadline_set(w, &poll_deadline, worker_now_ms(w) + 1);
}

static void reports_of_all_workers(void **state)
{
    UNUSED(state);
    char err[256];
    struct config *c = fix_config(FIX_APP "[redis]\nurl = unix:/nowhere/redis.sock\n");
    control = worker_create(-1);
    link_of_all = redis_link_new(c, err, sizeof err);
    watch = redis_watch_new(control, WORKERS, c);
    assert_non_null(watch);
    config_unref(c);
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = worker_create(i);
        workers[i]->on_start = on_start;
        workers[i]->on_stop = on_stop;
        redis_watch_add(watch, (size_t)i, workers[i], &clients[i]);
    }
    deadline_init(&poll_deadline, on_poll);
    control->on_start = on_control_start;
    worker_run(control);
    for (int i = 0; i < WORKERS; i++) {
        stops[i].on_mail = stop;
        worker_post(workers[i], &stops[i]);
        worker_join(workers[i]);
    }
    worker_drain(control); /* letters that came back since */
    json_t *server = json_array_get(json_object_get(status, "servers"), 0);
    assert_string_equal(json_string_value(json_object_get(server, "server")), "unix:/nowhere/redis.sock");
    assert_string_equal(json_string_value(json_object_get(server, "state")), "down");
    assert_string_equal(json_string_value(json_object_get(server, "reason")), "No such file or directory");
    json_decref(status);
    redis_watch_free(watch);
    redis_link_free(link_of_all);
    for (int i = 0; i < WORKERS; i++)
        worker_destroy(workers[i]);
    worker_destroy(control);
    assert_null(clients[0]);
}

static void nothing_to_watch(void **state)
{
    UNUSED(state);
    json_t *o = redis_watch_status(NULL);
    assert_true(json_is_null(o));
    redis_watch_stop(NULL);
    redis_watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_of_all_workers),
        cmocka_unit_test(nothing_to_watch),
    };
    return cmocka_run_group_tests_name("proxy/redis_watch", tests, NULL, NULL);
}
