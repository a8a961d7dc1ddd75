/* auth_check.h: whether a password is right, found out on a thread of its own, since hashes are made to be
 * slow and a worker's loop is not.
 *
 * One thread for the whole process, started when it is first needed. A question waits in a queue that is
 * bounded in all and for each client, and clients take turns: who asks for the first time comes before the
 * second question of who guesses. Those of one worker with the same tag are one question. An answer comes by
 * mail.
 *
 *   QUEUED -> RUNNING -> ANSWERED (mail) -> freed       QUEUED, RUNNING -> freed, when nobody waits any more
 *
 * Lock: rank LOCK_AUTH, held for a few loads and stores, never while hashing. Rejected: a thread per worker,
 * which would let a flood have every processor; more threads than one, for the same reason. */
#ifndef PROXY_AUTH_CHECK_H
#define PROXY_AUTH_CHECK_H

#include "core/list.h"
#include "core/slice.h"
#include "proxy/auth_memory.h"
#include "proxy/auth_queue.h"

struct auth_job;
struct proxy_worker;

#define AUTH_CHECK_NICENESS 5 /* the workers come first */

struct auth_question {
    const uint8_t *tag; /* AUTH_TAG_BYTES */
    uint64_t client;    /* tells clients apart */
    const char *hash;   /* of the user, or of somebody else */
    bool known;         /* false: there is no such user, and the answer is no */
    const char *password;
};

/* Embedded in who asks; the worker's thread. */
struct auth_waiter {
    struct list node;
    struct auth_job *job; /* NULL: not waiting */
    void (*on_answer)(struct auth_waiter *w, bool right);
};

/* Asks; everything is copied, and wiped when done. false: there is no room, memory or thread. */
bool auth_check_ask(struct proxy_worker *pw, const struct auth_question *q, struct auth_waiter *w);
/* Wants no answer any more; fine when it does not wait. */
void auth_check_leave(struct auth_waiter *w);

/* When no worker runs any more: ends the thread. */
void auth_check_stop(void);

#endif
