/* handing.h: what a process hands over to the one that takes its place: listening sockets, those of the admin
 * side, keys of session tickets, servers that were added or removed at run time, and what operators ordered.
 * Not the cache, nor what is known of the health of instances: that is found out soon enough. Control
 * thread. */
#ifndef PROXY_HANDING_H
#define PROXY_HANDING_H

#include "core/base.h"

struct server;

/* In this order. */
enum handing_step {
    HANDING_HELLO,
    HANDING_LISTENERS,
    HANDING_ADMIN,
    HANDING_TICKETS,
    HANDING_SERVERS,
    HANDING_END,
    HANDING_DONE
};

struct handing { /* part of an upgrade; neither listeners nor servers change meanwhile */
    struct server *s;
    int fd;
    enum handing_step step;
    size_t index, part; /* of the step: how far it is */
};

/* As much as the other takes now. false with errno: EAGAIN, the rest when it has read that. */
bool handing_go_on(struct handing *h);
static inline bool handing_is_done(const struct handing *h)
{
    return h->step == HANDING_DONE;
}
/* Just before the other begins, since orders may be given until then; it reads all the time. */
void handing_orders(struct handing *h);

#endif
