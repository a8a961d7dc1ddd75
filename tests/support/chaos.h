/* chaos.h: steady load on pools with every policy at once, and a book of what became of each request.
 *
 * One Millpond with a pool per policy, all of the same three instances, called POLICY-a, -b and -c; two
 * clients per pool, each GET and POST in turn, with and without a body, every request with a number of its
 * own:
 *
 *     GET /least_connections/get/17        POST /least_connections/post/18
 *
 * Visitors of `sticky` keep their cookie for a few requests and come as somebody new then; `hash` goes by a
 * field with a few values. So each instance is somebody's in each pool.
 *
 * The book knows of each request what its client got, how often an instance took it, and whether that
 * instance was ill at the time. Which outcomes are right is a test's word: chaos_expect_*. No expectation is
 * about time: whoever waits for longer than the pool's timeouts allow gets no answer at all within
 * support_wait_ms. Test thread, unless said otherwise. */
#ifndef TESTS_SUPPORT_CHAOS_H
#define TESTS_SUPPORT_CHAOS_H

#include "tests/support/millpond.h"

#define CHAOS_POLICIES 5
#define CHAOS_SERVERS  3

struct chaos;

struct chaos_options {
    const char *servers[CHAOS_SERVERS]; /* "127.0.0.1:80"; those that are NULL: 127.0.0.1 and the port */
    int ports[CHAOS_SERVERS];
    const char *lines; /* further lines of each pool, such as its timeouts */
};

/* Starts Millpond and the load, and waits until each instance is up in each pool and each client has had a
 * few answers. Fails the test if one of these was none. Ends with the test. */
#define chaos_start(...) (SUPPORT_AT, chaos_start_(&(struct chaos_options){__VA_ARGS__}))
struct chaos *chaos_start_(const struct chaos_options *o);
struct millpond *chaos_millpond(const struct chaos *ch);

/* Lines for it: probes, ejection and retries that are quick to act, and timeouts that an instance that is
 * well keeps on any machine, much less than support_wait_ms. */
char *chaos_quick_lines(void);

/* Until each client has come to the end of `n` more requests, those under way not counted. */
#define chaos_wait(ch, n) (SUPPORT_AT, chaos_wait_(ch, n))
void chaos_wait_(struct chaos *ch, unsigned n);
/* How many have failed so far, of those that began since the last chaos_forget; the load may go on. */
unsigned chaos_failed(struct chaos *ch);
/* Until POLICY-x is in that state in each pool. */
#define chaos_wait_state(ch, x, state) (SUPPORT_AT, chaos_wait_state_(ch, x, state))
void chaos_wait_state_(struct chaos *ch, const char *x, const char *state);
/* The clients end, after the requests under way. Idempotent. And they begin again. */
void chaos_stop(struct chaos *ch);
void chaos_go(struct chaos *ch);

/* An instance took the request of this target; scripts, any thread. And all that an application printed. */
void chaos_note(struct chaos *ch, const char *target, bool is_ill);
void chaos_note_output(struct chaos *ch, const char *text);

/* What is right, of the requests that began since the last chaos_forget, after chaos_stop. */

/* No request that began so far counts as one that failed. */
void chaos_forget(struct chaos *ch);
#define chaos_expect_gets_well(ch) (SUPPORT_AT, chaos_expect_gets_well_(ch))
void chaos_expect_gets_well_(struct chaos *ch);
#define chaos_expect_posts_well(ch) (SUPPORT_AT, chaos_expect_posts_well_(ch))
void chaos_expect_posts_well_(struct chaos *ch);
/* Those that failed got a 502 or 504 of ours, for one of these reasons (as in the access log, with spaces
 * around each), and from instance x. */
#define chaos_expect_posts(ch, x, errors) (SUPPORT_AT, chaos_expect_posts_(ch, x, errors))
void chaos_expect_posts_(struct chaos *ch, const char *x, const char *errors);
/* No POST was taken by instances twice, and each that was answered well was taken. */
#define chaos_expect_once(ch) (SUPPORT_AT, chaos_expect_once_(ch))
void chaos_expect_once_(struct chaos *ch);
/* Failed exactly: with `posts`, the POSTs that an ill instance took; with `gets`, the GETs; some of them. */
#define chaos_expect_failed_is_ill(ch, gets, posts) (SUPPORT_AT, chaos_expect_failed_is_ill_(ch, gets, posts))
void chaos_expect_failed_is_ill_(struct chaos *ch, bool gets, bool posts);
/* Whoever failed was told so by a whole 502, 503 or 504. How many did. */
#define chaos_expect_errors(ch) (SUPPORT_AT, chaos_expect_errors_(ch))
unsigned chaos_expect_errors_(struct chaos *ch);
/* Whoever failed had a response that did not look whole. */
#define chaos_expect_cut(ch) (SUPPORT_AT, chaos_expect_cut_(ch))
void chaos_expect_cut_(struct chaos *ch);

/* ---- instances that fall ill ---- */

enum chaos_illness {
    CHAOS_WELL,
    CHAOS_SLOW,   /* a few bytes at a time */
    CHAOS_RESETS, /* RST in the middle of the body */
    CHAOS_DIES,   /* reads, and RST instead of an answer */
    CHAOS_SILENT, /* accepts and reads, and never answers */
    CHAOS_GARBAGE /* answers something that is no HTTP */
};

/* An origin that answers as its illness is when a request comes, and tells the book. Probes ask /health. */
struct chaos_patient {
    _Atomic(struct chaos *) book; /* NULL: nobody is told */
    _Atomic int illness;          /* enum chaos_illness */
    _Atomic unsigned ill_answers; /* what it did to requests, but probes */
    bool probes_are_well;         /* whatever its illness; set before it starts */
    struct origin *origin;
};

void chaos_patient_start(struct chaos_patient *p, int port); /* 0: the kernel's choice */

#endif
