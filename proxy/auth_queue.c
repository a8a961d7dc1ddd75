/* auth_queue.c: see auth_queue.h. Of 64 the lowest is found by looking at all. */
#include "proxy/auth_queue.h"

void auth_queue_init(struct auth_queue *q)
{
    *q = (struct auth_queue){.count = 0};
    list_init(&q->waiting);
}

bool auth_queue_enter(struct auth_queue *q, struct auth_place *p, uint64_t client)
{
    unsigned mine = 0;
    uint64_t turn = q->turn;
    LIST_FOREACH (n, &q->waiting) {
        const struct auth_place *other = CONTAINER_OF(n, struct auth_place, node);
        if (other->client != client)
            continue;
        mine++;
        turn = MAX(turn, other->turn);
    }
    if (mine >= AUTH_CLIENT_MAX || q->count >= AUTH_QUEUE_MAX)
        return false;
    p->client = client;
    p->turn = turn + 1;
    list_push_back(&q->waiting, &p->node);
    q->count++;
    return true;
}

void auth_queue_leave(struct auth_queue *q, struct auth_place *p)
{
    list_remove(&p->node);
    q->count--;
}

struct auth_place *auth_queue_next(struct auth_queue *q)
{
    struct auth_place *best = NULL;
    LIST_FOREACH (n, &q->waiting) {
        struct auth_place *p = CONTAINER_OF(n, struct auth_place, node);
        if (best == NULL || p->turn < best->turn)
            best = p;
    }
    if (best == NULL)
        return NULL;
    auth_queue_leave(q, best);
    q->turn = best->turn;
    return best;
}
