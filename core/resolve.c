/* resolve.c: see resolve.h.
 *
 * getaddrinfo follows nsswitch (hosts file, mDNS, systemd-resolved, container DNS) exactly as every other
 * program on the machine, and novices compare with `ping`. It says nothing of how long an answer holds, so
 * pools ask the name servers themselves first (core/dns_lookup). It blocks for as long as these are silent,
 * so each lookup has a detached thread; there is at most one per name, so a dead one holds no other name up.
 *
 * Lifetime: the thread and the worker share the job under its lock (rank LOCK_POOL). While it runs
 * the thread owns the memory; when done it hands it over by mail, and on_mail frees it. Cancelling only
 * marks. The mail is posted under the lock, which is what makes cancel final: after it the thread
 * touches the worker no more, and the worker may be destroyed. */
#include "core/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/lock.h"
#include "core/panic.h"

#define RESOLVE_MAGIC 0x52534c56u

struct resolve_job {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    void *arg;
    char port[8];
    /* thread of the worker */
    void (*on_done)(void *arg, const struct resolve_answer *answer); /* NULL: nobody wants it */
    struct mail mail;
    /* under lock */
    struct lock lock;
    pthread_cond_t done_cond;
    bool done, cancelled;
    struct resolve_answer answer;
    char host[];
};

static void resolve_free(struct resolve_job *job)
{
    free(job->answer.addresses);
    pthread_cond_destroy(&job->done_cond);
    lock_destroy(&job->lock);
    job->magic = 0;
    free(job);
}

static void resolve_on_mail(struct worker *w, struct mail *m)
{
    struct resolve_job *job = CONTAINER_OF(m, struct resolve_job, mail);
    CHECK_MAGIC(job, RESOLVE_MAGIC);
    worker_refresh_clock(w);
    /* The thread may still be inside lock_drop. */
    lock_take(&job->lock);
    lock_drop(&job->lock);
    if (job->on_done != NULL)
        job->on_done(job->arg, &job->answer);
    resolve_free(job);
}

static size_t resolve_copy_family(const struct addrinfo *list, int family, struct net_addr *out, size_t count)
{
    for (const struct addrinfo *a = list; a != NULL && count < RESOLVE_MAX_ADDRESSES; a = a->ai_next) {
        if (a->ai_family != family || a->ai_addrlen > sizeof(struct sockaddr_in6))
            continue;
        out[count] = (struct net_addr){.len = a->ai_addrlen};
        memcpy(&out[count].sa, a->ai_addr, a->ai_addrlen);
        count++;
    }
    return count;
}

/* IPv4 first: most instances that listen on one family only listen on that one, "localhost" above all. */
static struct resolve_answer resolve_lookup(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0)
        return (struct resolve_answer){.error = gai_strerror(rc)};
    struct resolve_answer answer = {.addresses = calloc(RESOLVE_MAX_ADDRESSES, sizeof *answer.addresses)};
    if (answer.addresses != NULL) {
        answer.count = resolve_copy_family(list, AF_INET, answer.addresses, 0);
        answer.count = resolve_copy_family(list, AF_INET6, answer.addresses, answer.count);
    }
    freeaddrinfo(list);
    if (answer.count == 0)
        answer.error = answer.addresses == NULL ? "out of memory" : "name has no IP address";
    return answer;
}

static void *resolve_main(void *arg)
{
    struct resolve_job *job = arg;
    struct resolve_answer answer = resolve_lookup(job->host, job->port);
    lock_take(&job->lock);
    job->answer = answer;
    job->done = true;
    if (job->cancelled) {
        lock_drop(&job->lock);
        resolve_free(job);
        return NULL;
    }
    pthread_cond_signal(&job->done_cond);
    worker_post(job->worker, &job->mail);
    lock_drop(&job->lock);
    return NULL;
}

/* Signals belong to the control loop: the helper blocks them all. */
static bool resolve_spawn(struct resolve_job *job)
{
    pthread_attr_t attr;
    pthread_t thread;
    sigset_t all, before;
    if (pthread_attr_init(&attr) != 0)
        return false;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&thread, &attr, resolve_main, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

struct resolve_job *resolve_start(struct worker *worker, slice_t host, uint16_t port,
                                  void (*on_done)(void *arg, const struct resolve_answer *answer), void *arg)
{
    struct resolve_job *job = calloc(1, sizeof *job + host.len + 1);
    pthread_condattr_t attr;
    if (job == NULL)
        return NULL;
    job->magic = RESOLVE_MAGIC;
    job->worker = worker;
    job->arg = arg;
    job->on_done = on_done;
    job->mail.on_mail = resolve_on_mail;
    memcpy(job->host, host.ptr, host.len);
    snprintf(job->port, sizeof job->port, "%u", port);
    lock_init(&job->lock, LOCK_POOL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&job->done_cond, &attr);
    pthread_condattr_destroy(&attr);
    if (!resolve_spawn(job)) {
        resolve_free(job);
        return NULL;
    }
    return job;
}

bool resolve_wait(struct resolve_job **job_ptr, mono_ms_t until_ms, struct resolve_answer *answer)
{
    struct resolve_job *job = *job_ptr;
    CHECK_MAGIC(job, RESOLVE_MAGIC);
    struct timespec until = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    lock_take(&job->lock);
    int rc = 0;
    while (!job->done && rc == 0)
        rc = pthread_cond_timedwait(&job->done_cond, &job->lock.mutex, &until);
    bool done = job->done;
    if (done) {
        *answer = job->answer;
        job->answer = (struct resolve_answer){0};
        job->on_done = NULL;
        *job_ptr = NULL;
    }
    lock_drop(&job->lock);
    return done;
}

void resolve_cancel(struct resolve_job **job_ptr)
{
    struct resolve_job *job = *job_ptr;
    if (job == NULL)
        return;
    CHECK_MAGIC(job, RESOLVE_MAGIC);
    *job_ptr = NULL;
    lock_take(&job->lock);
    job->cancelled = true;
    job->on_done = NULL;
    lock_drop(&job->lock);
}
