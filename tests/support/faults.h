/* faults.h: rounds of what may happen to Redis, each with the proof that nobody noticed (truth.h).
 *
 * A round: something begins; it lasts until each reader has had so many more answers of each node, so that a
 * request that waits for it to end would never come through; it ends; and all nodes hear of all purges again.
 * Then nothing old may have been answered, and no request may have failed or have taken too long.
 *
 * By default each fault comes once, under a sanitizer a quarter of them. ROUNDS=n in the environment makes n
 * rounds of random faults instead, SEED=n the same ones again, FAULT=text takes those whose name has it. What
 * was counted is printed. Test thread. */
#ifndef TESTS_SUPPORT_FAULTS_H
#define TESTS_SUPPORT_FAULTS_H

#include "tests/support/truth.h"

struct fault {
    const char *name;
    void (*begin)(void);
    void (*end)(void); /* NULL: it ends by itself */
};

/* Runs them, with clients; `title` stands above the table. */
void faults_run(struct truth *t, const char *title, const struct fault *faults, unsigned count);
/* Some number below n, of this run's sequence. */
unsigned faults_pick(unsigned n);

#endif
