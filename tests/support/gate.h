/* gate.h: how a test holds an origin (or any other thread) at a point until it says go on, and knows that it
 * got there. Any thread may call anything; a wait is bounded by support_wait_ms and its failure is a return
 * value, so that threads without a way to fail can use it too. */
#ifndef TESTS_SUPPORT_GATE_H
#define TESTS_SUPPORT_GATE_H

#include <pthread.h>
#include <stdbool.h>

/* Lives until the test ends, so that a thread may still wait at it when the test failed and jumped away. */
struct gate {
    struct gate *next; /* in the list of the test's gates */
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool open;
    unsigned arrived; /* ever */
    unsigned tickets; /* how many may pass although the gate is shut */
};

struct gate *gate_new(void); /* shut; test thread */
/* At the end of a test: nobody is held any more. */
void gate_open_all(void);
/* Waits until the gate is open or a ticket is left. false after four times support_wait_ms: long enough that
 * what the test waits for meanwhile fails first, instead of coming true because the gate gave way. */
bool gate_pass(struct gate *g);
void gate_open(struct gate *g);            /* for everybody, from now on */
void gate_let(struct gate *g, unsigned n); /* for the next `n` */
void gate_shut(struct gate *g);
/* Waits until `n` have arrived in all, whether or not they passed. Fails the test when they do not; test
 * thread. */
void gate_wait_arrived(struct gate *g, unsigned n);

/* Condition variable on the monotonic clock, and a wait of at most `deadline` (clock_mono_ms); false when it
 * is over. */
void cond_init_mono(pthread_cond_t *c);
bool cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, long long deadline_mono_ms);

#endif
