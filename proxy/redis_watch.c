/* redis_watch.c: see redis_watch.h.
 *
 * One letter per worker goes to and fro; it carries the report, which belongs to the worker while it is there.
 * Rejected: figures under a lock, which each worker would take to write what nobody may ever read, and logging
 * by the workers, each of which would have its own line of the same. */
#include "proxy/redis_watch.h"

#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/panic.h"
#include "proxy/redis_view.h"

/* Lines that may still be written. */
struct allowance {
    unsigned left;
    mono_ms_t since_ms; /* one more each REDIS_WATCH_LINE_MS from here on */
};

/* What was said of a server. */
struct told {
    char server[REDIS_SERVER_TEXT], reason[REDIS_REASON_TEXT];
    bool is_guide, is_up;
    wall_ms_t since_ms;
    bool said, said_up; /* anything; the last line said that it is up */
    bool seen;          /* in this round */
    struct allowance allowance;
    struct told *next;
};

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
    size_t count, out; /* workers; letters that are not back */
    bool stopped;
    struct redis_report sum;
    struct told *told;
    const char *trouble, *trouble_before; /* what was said; what the round before saw */
    struct allowance trouble_allowance;
    struct watched workers[];
};

/* ---- telling ----------------------------------------------------------------------------------------------
 */

static bool allowance_take(struct allowance *a, mono_ms_t now_ms)
{
    while (a->left < REDIS_WATCH_LINES && now_ms - a->since_ms >= REDIS_WATCH_LINE_MS) {
        a->left++;
        a->since_ms += REDIS_WATCH_LINE_MS;
    }
    if (a->left == 0)
        return false;
    if (a->left-- == REDIS_WATCH_LINES)
        a->since_ms = now_ms;
    return true;
}

static struct told *told_of(struct redis_watch *w, const struct redis_sight *s)
{
    for (struct told *t = w->told; t != NULL; t = t->next) {
        if (t->is_guide == s->is_guide && strcmp(t->server, s->server) == 0)
            return t;
    }
    struct told *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    memcpy(t->server, s->server, sizeof t->server);
    t->is_guide = s->is_guide;
    t->since_ms = clock_wall_ms();
    t->allowance.left = REDIS_WATCH_LINES;
    t->next = w->told;
    w->told = t;
    return t;
}

static void tell_server(struct redis_watch *w, struct told *t, const struct redis_sight *s)
{
    const char *what = !s->is_guide                                       ? ""
                       : w->config->redis.mode == CONFIG_REDIS_SENTINEL ? "Sentinel "
                                                                          : "seed ";
    bool news = t->said ? t->is_up != t->said_up : t->is_up || s->reason[0] != '\0';
    if (!t->is_up && t->said && s->reason[0] != '\0')
        news = news || strcmp(t->reason, s->reason) != 0;
    if (!news || !allowance_take(&t->allowance, worker_now_ms(w->control)))
        return;
    t->said = true;
    t->said_up = t->is_up;
    memcpy(t->reason, s->reason, sizeof t->reason);
    if (t->is_up)
        log_info("redis: %s%s is up", what, s->server);
    else
        log_warn("redis: %s%s is down: %s", what, s->server, s->reason);
}

static void tell_servers(struct redis_watch *w)
{
    for (struct told *t = w->told; t != NULL; t = t->next)
        t->seen = false;
    for (size_t i = 0; i < w->sum.count; i++) {
        struct redis_sight *s = &w->sum.sights[i];
        struct told *t = told_of(w, s);
        if (t == NULL)
            continue;
        if (t->is_up != (s->workers_up > 0))
            t->since_ms = clock_wall_ms();
        t->is_up = s->workers_up > 0;
        t->seen = true;
        s->since_ms = t->since_ms;
        tell_server(w, t, s);
    }
    for (struct told **t = &w->told; *t != NULL;) { /* Sentinels or the map name others now */
        struct told *old = *t;
        if (old->seen) {
            t = &old->next;
            continue;
        }
        *t = old->next;
        free(old);
    }
}

/* Said when it lasts for two rounds: at the beginning, and at each failover, there is always some. */
static void tell_trouble(struct redis_watch *w)
{
    const char *trouble = w->sum.workers > 0 ? w->sum.totals.trouble : "";
    bool lasts = strcmp(trouble, w->trouble_before) == 0;
    w->trouble_before = trouble;
    if (!lasts || strcmp(trouble, w->trouble) == 0 ||
        !allowance_take(&w->trouble_allowance, worker_now_ms(w->control)))
        return;
    if (trouble[0] != '\0')
        log_warn("redis: %s", trouble);
    else
        log_info("redis: no longer: %s", w->trouble);
    w->trouble = trouble;
}

static void watch_add_up(struct redis_watch *w)
{
    w->sum.workers = 0;
    w->sum.count = 0;
    for (size_t i = 0; i < w->count; i++)
        redis_report_add(&w->sum, &w->workers[i].last);
    tell_servers(w);
    tell_trouble(w);
}

/* ---- asking -----------------------------------------------------------------------------------------------
 */

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
    deadline_set(w->control, &w->deadline, worker_now_ms(w->control) + REDIS_WATCH_MS);
}

static void watch_on_deadline(struct deadline *d)
{
    watch_ask(CONTAINER_OF(d, struct redis_watch, deadline));
}

/* ---- life -------------------------------------------------------------------------------------------------
 */

struct redis_watch *redis_watch_new(struct worker *control, size_t workers, struct config *c)
{
    struct redis_watch *w = calloc(1, sizeof *w + workers * sizeof w->workers[0]);
    if (w == NULL)
        return NULL;
    w->control = control;
    w->config = config_ref(c);
    w->count = workers;
    w->trouble = w->trouble_before = "";
    w->trouble_allowance.left = REDIS_WATCH_LINES;
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
    while (w->told != NULL) {
        struct told *next = w->told->next;
        free(w->told);
        w->told = next;
    }
    config_unref(w->config);
    free(w);
}

json_t *redis_watch_status(const struct redis_watch *w)
{
    return w != NULL ? redis_report_json(&w->sum, &w->config->redis) : json_null();
}
