/* auth_check.c: see auth_check.h. */
#include "proxy/auth_check.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "core/htpasswd.h"
#include "core/lock.h"
#include "core/panic.h"
#include "proxy/proxy_worker.h"

#define AUTH_JOB_MAGIC 0x4155544au

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_ANSWERED };

struct auth_job {
    uint32_t magic;
    /* set once */
    struct proxy_worker *pw;
    uint8_t tag[AUTH_TAG_BYTES];
    bool known;
    char hash[HTPASSWD_HASH_MAX + 1], password[HTPASSWD_PASSWORD_MAX + 1];
    /* the worker's */
    struct list node; /* pw->auth_jobs */
    struct list waiters;
    struct mail mail;
    /* under the lock; `right` is the thread's until the mail is posted */
    uint8_t state;
    bool unwanted, right;
    struct auth_place place;
};

static struct {
    struct lock lock;
    pthread_cond_t wake;
    struct auth_queue queue;
    pthread_t thread;
    bool made, running, stopping;
    struct crypt_data *room; /* the thread's */
} checker = {.lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_AUTH}, .wake = PTHREAD_COND_INITIALIZER};

static void job_free(struct auth_job *job)
{
    OPENSSL_cleanse(job, sizeof *job);
    free(job);
}

static void job_set_state(struct auth_job *job, enum job_state to)
{
    lock_assert_held(&checker.lock);
    ASSERT((unsigned)to == job->state + 1u);
    job->state = (uint8_t)to;
}

/* ---- the thread ---- */

static void job_on_mail(struct worker *w, struct mail *m)
{
    struct auth_job *job = CONTAINER_OF(m, struct auth_job, mail);
    struct proxy_worker *pw = job->pw;
    struct list *n;
    CHECK_MAGIC(job, AUTH_JOB_MAGIC);
    worker_refresh_clock(w);
    lock_take(&checker.lock); /* the thread may still be inside lock_drop */
    lock_drop(&checker.lock);
    list_remove(&job->node);
    if (job->right && pw->auth_memory != NULL)
        auth_memory_keep(pw->auth_memory, job->tag, worker_now_ms(w));
    while ((n = list_pop_front(&job->waiters)) != NULL) {
        struct auth_waiter *waiter = CONTAINER_OF(n, struct auth_waiter, node);
        waiter->job = NULL;
        waiter->on_answer(waiter, job->right); /* which may end others that wait, too */
    }
    job_free(job);
    proxy_worker_check_done(pw);
}

/* The lock is held before and after. */
static void run_locked(struct auth_job *job)
{
    job_set_state(job, JOB_RUNNING);
    lock_drop(&checker.lock);
    const bool right = htpasswd_verify(job->hash, job->password, checker.room);
    lock_take(&checker.lock);
    if (job->unwanted) {
        job_free(job);
        return;
    }
    job->right = right && job->known;
    job_set_state(job, JOB_ANSWERED);
    worker_post(job->pw->worker, &job->mail);
}

static void *checker_main(void *arg)
{
    UNUSED(arg);
    setpriority(PRIO_PROCESS, 0, AUTH_CHECK_NICENESS); /* of this thread alone, on Linux */
    lock_take(&checker.lock);
    while (!checker.stopping) {
        struct auth_place *next = auth_queue_next(&checker.queue);
        if (next != NULL)
            run_locked(CONTAINER_OF(next, struct auth_job, place));
        else
            pthread_cond_wait(&checker.wake, &checker.lock.mutex);
    }
    lock_drop(&checker.lock);
    return NULL;
}

/* Signals belong to the control loop: the thread blocks them all. */
static bool start_locked(void)
{
    sigset_t all, before;
    if (checker.running)
        return true;
    if (!checker.made)
        auth_queue_init(&checker.queue);
    checker.made = true;
    if (checker.room == NULL)
        checker.room = calloc(1, sizeof *checker.room);
    if (checker.room == NULL)
        return false;
    checker.stopping = false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    checker.running = pthread_create(&checker.thread, NULL, checker_main, NULL) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return checker.running;
}

void auth_check_stop(void)
{
    lock_take(&checker.lock);
    const bool running = checker.running;
    checker.stopping = true;
    checker.running = false;
    pthread_cond_signal(&checker.wake);
    lock_drop(&checker.lock);
    if (!running)
        return;
    ASSERT(pthread_join(checker.thread, NULL) == 0);
    ASSERT(checker.queue.count == 0);
    OPENSSL_cleanse(checker.room, sizeof *checker.room);
    free(checker.room);
    checker.room = NULL;
}

/* ---- the workers ---- */

static struct auth_job *job_new(struct proxy_worker *pw, const struct auth_question *q)
{
    struct auth_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    job->magic = AUTH_JOB_MAGIC;
    job->pw = pw;
    memcpy(job->tag, q->tag, sizeof job->tag);
    job->known = q->known;
    ASSERT(strlen(q->hash) < sizeof job->hash && strlen(q->password) < sizeof job->password);
    strcpy(job->hash, q->hash);
    strcpy(job->password, q->password);
    job->mail.on_mail = job_on_mail;
    list_init(&job->node);
    list_init(&job->waiters);
    list_init(&job->place.node);
    lock_take(&checker.lock);
    const bool entered = start_locked() && auth_queue_enter(&checker.queue, &job->place, q->client);
    pthread_cond_signal(&checker.wake);
    lock_drop(&checker.lock);
    if (!entered) {
        job_free(job);
        return NULL;
    }
    list_push_back(&pw->auth_jobs, &job->node);
    return job;
}

static struct auth_job *job_find(struct proxy_worker *pw, const struct auth_question *q)
{
    LIST_FOREACH (n, &pw->auth_jobs) {
        struct auth_job *job = CONTAINER_OF(n, struct auth_job, node);
        if (CRYPTO_memcmp(job->tag, q->tag, sizeof job->tag) == 0 && job->known == q->known)
            return job;
    }
    return NULL;
}

bool auth_check_ask(struct proxy_worker *pw, const struct auth_question *q, struct auth_waiter *w)
{
    ASSERT(w->job == NULL);
    struct auth_job *job = job_find(pw, q);
    if (job == NULL)
        job = job_new(pw, q);
    if (job == NULL)
        return false;
    w->job = job;
    list_push_back(&job->waiters, &w->node);
    return true;
}

void auth_check_leave(struct auth_waiter *w)
{
    struct auth_job *job = w->job;
    if (job == NULL)
        return;
    CHECK_MAGIC(job, AUTH_JOB_MAGIC);
    w->job = NULL;
    list_remove(&w->node);
    if (!list_empty(&job->waiters))
        return;
    lock_take(&checker.lock);
    const enum job_state state = (enum job_state)job->state;
    if (state == JOB_QUEUED)
        auth_queue_leave(&checker.queue, &job->place);
    if (state != JOB_ANSWERED) /* else the mail is under way, and frees it */
        list_remove(&job->node);
    job->unwanted = state == JOB_RUNNING;
    lock_drop(&checker.lock); /* of a running one nothing may be touched from here on */
    if (state == JOB_QUEUED)
        job_free(job);
}
