/* redis_watch.c: see redis_watch.h.
 *
 * One letter per worker goes to and fro; it carries the report, which belongs to the worker while it is
 * there. Rejected: figures under a lock, which each worker would take to write what nobody may ever read, and
 * logging by the workers, each of which would have its own line of the same. */
#include "proxy/redis_watch.h"

#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/redis_tell.h"

#define FIRST_PAUSE_MS 10

struct watched { /* one worker */
    struct mail mail;
    struct redis_watch *watch;
    struct worker *worker;
    struct redis *const *client;
    struct redis_report carried; /* the worker's while the letter is out */
    struct redis_report last;
};

/* Owned by the server. */
struct redis_watch {
    /* set once */
    struct worker *control;
    struct config *config;
    /* control thread */
    struct deadline deadline;
    dur_ms_t pause_ms; /* to the next round */
    size_t count, out; /* workers; letters that are not back */
    bool stopped;
    struct redis_report sum;
    struct redis_teller teller;
    struct watched workers[];
};

static void watch_say(void *arg, bool is_bad, const char *text)
{
    UNUSED(arg);
    timeline_note(TIMELINE_STATE, "redis: %s", text);
    if (is_bad)
        log_warn("redis: %s", text);
    else
        log_info("redis: %s", text);
}

static void watch_add_up(struct redis_watch *w)
{
    w->sum.workers = 0;
    w->sum.count = 0;
    for (size_t i = 0; i < w->count; i++)
        redis_report_add(&w->sum, &w->workers[i].last);
    redis_tell(&w->teller, &w->sum, worker_now_ms(w->control), clock_wall_ms());
}

/* ---- asking ---- */

static void watch_on_answer(struct worker *control, struct mail *m)
{
    struct watched *it = CONTAINER_OF(m, struct watched, mail);
    struct redis_watch *w = it->watch;
    struct redis_report fresh = it->carried;
    UNUSED(control);
    it->carried = it->last;
    it->last = fresh;
    if (--w->out == 0 && !w->stopped)
        watch_add_up(w);
}

/* On the worker's thread. */
static void watched_on_question(struct worker *worker, struct mail *m)
{
    struct watched *it = CONTAINER_OF(m, struct watched, mail);
    UNUSED(worker);
    redis_report_take(&it->carried, *it->client);
    m->on_mail = watch_on_answer;
    worker_post(it->watch->control, m);
}

static void watch_ask(struct redis_watch *w)
{
    bool all_back = w->out == 0; /* else a worker is busy, and the next round waits for it */
    for (size_t i = 0; all_back && i < w->count; i++) {
        w->out++;
        w->workers[i].mail.on_mail = watched_on_question;
        worker_post(w->workers[i].worker, &w->workers[i].mail);
    }
    deadline_set(w->control, &w->deadline, worker_now_ms(w->control) + w->pause_ms);
    w->pause_ms = MIN(2 * w->pause_ms, REDIS_WATCH_MS);
}

static void watch_on_deadline(struct deadline *d)
{
    watch_ask(CONTAINER_OF(d, struct redis_watch, deadline));
}

/* ---- life ---- */

struct redis_watch *redis_watch_new(struct worker *control, size_t workers, struct config *c)
{
    struct redis_watch *w = calloc(1, sizeof *w + workers * sizeof w->workers[0]);
    if (w == NULL)
        return NULL;
    w->control = control;
    w->config = config_ref(c);
    w->count = workers;
    w->teller = (struct redis_teller){.mode = c->redis.mode, .say = watch_say};
    deadline_init(&w->deadline, watch_on_deadline);
    return w;
}

void redis_watch_add(struct redis_watch *w, size_t i, struct worker *worker, struct redis *const *client)
{
    ASSERT(i < w->count);
    w->workers[i].watch = w;
    w->workers[i].worker = worker;
    w->workers[i].client = client;
}

void redis_watch_start(struct redis_watch *w)
{
    w->pause_ms = FIRST_PAUSE_MS; /* who has just started it wants to know soon */
    watch_ask(w);
}

void redis_watch_stop(struct redis_watch *w)
{
    if (w == NULL)
        return;
    w->stopped = true;
    deadline_clear(w->control, &w->deadline);
}

void redis_watch_free(struct redis_watch *w)
{
    if (w == NULL)
        return;
    ASSERT(w->out == 0);
    deadline_clear(w->control, &w->deadline);
    for (size_t i = 0; i < w->count; i++) {
        redis_report_free(&w->workers[i].carried);
        redis_report_free(&w->workers[i].last);
    }
    redis_report_free(&w->sum);
    redis_tell_free(&w->teller);
    config_unref(w->config);
    free(w);
}

json_t *redis_watch_status(const struct redis_watch *w)
{
    return w != NULL ? redis_report_json(&w->sum, &w->config->redis) : json_null();
}
