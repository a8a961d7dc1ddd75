/* load.h: several clients that ask for the same thing over and over until told to stop, and what became of
 * it. Threads of the test process; they count and never fail the test. The rest: test thread. */
#ifndef TESTS_SUPPORT_LOAD_H
#define TESTS_SUPPORT_LOAD_H

#include "tests/support/wire.h"

struct load;
struct load_result {
    uint64_t answered, by_class[6]; /* complete responses; [2] = 2xx */
    uint64_t broken;                /* requests without a complete response */
    uint64_t refused;               /* connections that could not be made */
    char first_problem[512]; /* head of the first response that is not 2xx, or how the first one broke */
};

/* `request` is sent as it is on `clients` keep-alive connections, one at a time on each. */
struct load *load_start(int port, unsigned clients, const char *request);
/* Waits until `n` more have been answered or broken. */
#define load_wait(l, n) (SUPPORT_AT, load_wait_(l, n))
void load_wait_(struct load *l, uint64_t n);
/* Ends it after the requests under way; idempotent. */
struct load_result load_stop(struct load *l);

#endif
