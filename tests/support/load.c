/* load.c: one thread per client, blocking sockets through wire.c. wrk was rejected for this: it does not say
 * which request failed, nor can a test wait for its n-th answer. */
#include "tests/support/load.h"

#include <pthread.h>

#include "tests/support/gate.h"

#define MAX_CLIENTS 64

struct load {
    /* set once */
    int port;
    unsigned clients;
    char *request;
    pthread_t threads[MAX_CLIENTS];
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool stop, joined;
    struct load_result result;
};

/* Books one answer; true when the load goes on. */
static bool book(struct load *l, const struct message *m)
{
    pthread_mutex_lock(&l->mtx);
    bool whole = m != NULL && m->end == MESSAGE_COMPLETE;
    if (m == NULL)
        l->result.refused++;
    else if (!whole)
        l->result.broken++;
    else {
        l->result.answered++;
        l->result.by_class[m->status / 100 < 6 ? m->status / 100 : 0]++;
    }
    if (l->result.first_problem[0] == '\0' && (!whole || m->status / 100 != 2))
        snprintf(l->result.first_problem, sizeof(l->result.first_problem), "%s: %s",
                 m != NULL ? message_end_name(m->end) : "not connected", m != NULL ? m->head : "");
    pthread_cond_broadcast(&l->changed);
    bool go_on = !l->stop && m != NULL;
    pthread_mutex_unlock(&l->mtx);
    return go_on;
}

static void *client_main(void *arg)
{
    struct load *l = arg;
    struct wire w;
    wire_init(&w, -1);
    for (bool go_on = true; go_on;) {
        if (w.fd < 0)
            wire_init(&w, wire_connect(l->port, 0));
        if (w.fd < 0) {
            book(l, NULL);
            break;
        }
        wire_send(&w, l->request, strlen(l->request));
        struct message *m = wire_read_head(&w, true, false);
        wire_read_body(&w, m);
        const char *connection = message_field(m, "Connection");
        if (m->end != MESSAGE_COMPLETE || (connection != NULL && strcmp(connection, "close") == 0))
            wire_free(&w);
        go_on = book(l, m);
        message_free(m);
    }
    wire_free(&w);
    return NULL;
}

static void load_free(void *arg)
{
    struct load *l = arg;
    load_stop(l);
    pthread_mutex_destroy(&l->mtx);
    pthread_cond_destroy(&l->changed);
    free(l->request);
    free(l);
}

struct load *load_start(int port, unsigned clients, const char *request)
{
    struct load *l = calloc(1, sizeof(*l));
    if (l == NULL || clients > MAX_CLIENTS)
        abort();
    l->port = port;
    l->clients = clients;
    l->request = strdup(request);
    pthread_mutex_init(&l->mtx, NULL);
    cond_init_mono(&l->changed);
    for (unsigned i = 0; i < clients; i++)
        if (pthread_create(&l->threads[i], NULL, client_main, l) != 0)
            abort();
    support_on_end(load_free, l);
    return l;
}

void load_wait_(struct load *l, uint64_t n)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    pthread_mutex_lock(&l->mtx);
    uint64_t want = l->result.answered + l->result.broken + n;
    while (l->result.answered + l->result.broken < want && cond_wait_until(&l->changed, &l->mtx, deadline))
        ;
    uint64_t got = l->result.answered + l->result.broken;
    pthread_mutex_unlock(&l->mtx);
    if (got < want)
        support_fail("the load made %llu requests, not %llu; %s", (unsigned long long)got,
                     (unsigned long long)want, l->result.first_problem);
}

struct load_result load_stop(struct load *l)
{
    pthread_mutex_lock(&l->mtx);
    l->stop = true;
    bool joined = l->joined;
    l->joined = true;
    pthread_mutex_unlock(&l->mtx);
    for (unsigned i = 0; i < l->clients && !joined; i++)
        pthread_join(l->threads[i], NULL);
    return l->result;
}
