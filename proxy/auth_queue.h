/* auth_queue.h: whose password is checked next; pure.
 *
 * Fair queueing by a virtual clock: each question has a turn, one behind the client's last that still waits,
 * or one behind the turn that runs. The lowest goes first. So whoever has one question waits for one of each
 * client at most, however many others have. */
#ifndef PROXY_AUTH_QUEUE_H
#define PROXY_AUTH_QUEUE_H

#include "core/base.h"
#include "core/list.h"

#define AUTH_QUEUE_MAX  64
#define AUTH_CLIENT_MAX 8 /* of them, of one client */

/* Embedded in what waits. */
struct auth_place {
    struct list node;
    uint64_t client, turn;
};

/* Starts as {0} and auth_queue_init. */
struct auth_queue {
    struct list waiting;
    unsigned count;
    uint64_t turn; /* of the one that was taken last */
};

void auth_queue_init(struct auth_queue *q);
/* false: there is no room for this client, or at all. */
bool auth_queue_enter(struct auth_queue *q, struct auth_place *p, uint64_t client);
void auth_queue_leave(struct auth_queue *q, struct auth_place *p);
/* Takes the next one out; NULL: nobody waits. */
struct auth_place *auth_queue_next(struct auth_queue *q);

#endif
