/* truth_inner.h: what the files of truth.h share. */
#ifndef TESTS_SUPPORT_TRUTH_INNER_H
#define TESTS_SUPPORT_TRUTH_INNER_H

#include <pthread.h>

#include "core/random.h"
#include "tests/support/truth.h"

#define TRUTH_PAGES   24
#define TRUTH_GROUPS  4
#define TRUTH_CLIENTS 8
#define TRUTH_WAITS   8 /* of one node, at a time */

enum truth_kind { PLAIN, RENEWED, QUERIES, VARIES, VALIDATED, LARGE, TRUTH_KINDS };

/* What is due for each page. */
struct truth_floors {
    unsigned version[TRUTH_PAGES];
};

/* A purge that others have yet to apply: as admin/client_wait.h does it. */
struct truth_claim {
    struct truth_floors due; /* what was acknowledged at the node when it began */
    bool is_known;
    unsigned long long ms, seq;
};

struct truth_node {
    /* under mtx */
    bool is_open;
    unsigned users, generation;
    int port, admin_port;
    char name[64];             /* as nodes know it; "" = not yet */
    struct truth_floors floor; /* of what it may answer */
    struct truth_floors own;   /* acknowledged by it */
    /* thread that reads the status */
    struct truth_claim claims[TRUTH_WAITS];
    unsigned claimed;
};

struct truth_client {
    struct truth *t;
    pthread_t thread;
    uint64_t random;
    struct wire wires[TRUTH_NODES];
    unsigned generations[TRUTH_NODES];
    /* under mtx */
    uint64_t done[TRUTH_NODES], all;
    bool is_idle; /* a purger, while all pause */
};

struct truth {
    struct origin *origin;
    _Atomic unsigned version[TRUTH_PAGES];
    unsigned readers, purgers;
    struct truth_client clients[TRUTH_CLIENTS]; /* readers first, then purgers */
    struct truth_client watcher;                /* its random numbers are the test thread's */
    bool runs;                                  /* test thread */
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool stop, is_paused;
    struct truth_node nodes[TRUTH_NODES];
    struct truth_figures figures;
    char at[128];
};

static inline enum truth_kind truth_kind_of(unsigned page)
{
    return (enum truth_kind)(page % TRUTH_KINDS);
}

static inline unsigned truth_group_of(unsigned page)
{
    return page / TRUTH_KINDS % TRUTH_GROUPS;
}

static inline unsigned truth_pick(struct truth_client *c, unsigned n)
{
    return (unsigned)(random_next(&c->random) >> 16) % n;
}

/* truth_clients.c: threads; `arg` is the truth_client. */
void *truth_reader_main(void *arg);
void *truth_purger_main(void *arg);
/* truth_watch.c */
void *truth_watcher_main(void *arg);

/* truth.c, any thread. false: nobody may use the node now. With the port of `c->wires[i]`, connected. */
bool truth_enter(struct truth_client *c, unsigned i, bool admin);
void truth_leave(struct truth_client *c, unsigned i);
/* Sends, and reads the whole answer, on the connection that truth_enter made; the caller frees it. */
struct message *truth_ask(struct truth_client *c, unsigned i, const char *request);
/* Counts an answer and the time it took; false when it is no whole 200. */
bool truth_book(struct truth_client *c, unsigned i, const char *request, const struct message *m,
                mono_ms_t since_ms);
void truth_note_old(struct truth *t, unsigned i, const char *request, const struct message *m,
                    unsigned floor);
bool truth_goes_on(struct truth *t);

#endif
