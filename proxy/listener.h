/* listener.h: a listening socket of one worker: accept in batches, connection limits, pause when descriptors
 * run out. */
#ifndef PROXY_LISTENER_H
#define PROXY_LISTENER_H

#include <event2/event_struct.h>

#include "core/net.h"
#include "core/worker.h"
#include "proxy/proxy_worker.h"

/* Owned by its worker; lives until it is closed and its last connection ended. */
struct listener {
    struct list node;
    struct proxy_worker *pw;
    int fd; /* -1 once closed */
    struct net_addr addr;
    const struct config_listen *config; /* of `view` */
    struct snapshot_view *view;         /* a reference: the newest snapshot that has this listener */
    struct tls_site *tls;               /* of `view`; NULL: plain */
    unsigned refs;                      /* the worker's list, and one per connection */
    bool paused;
    struct event event;
    struct deadline retry; /* accepting again after EMFILE */
};

/* Takes over `fd`. NULL when out of memory (fd is closed). */
struct listener *listener_open(struct proxy_worker *pw, int fd, const struct net_addr *addr,
                               const struct config_listen *config);
/* Stops accepting; connections stay. Drops the worker's reference. */
void listener_close(struct listener *l);
/* The same, of a worker that never ran: who waits in the queue is left to another process that has it. */
void listener_drop(struct listener *l);
void listener_ref(struct listener *l);
void listener_unref(struct listener *l);
/* A new snapshot has this listener too. */
void listener_use(struct listener *l, struct snapshot_view *v, const struct config_listen *config);
/* A limit is reached: the last words to a client, and counted. The descriptor is the caller's to close. */
void listener_say_full(struct listener *l, int fd);
/* A descriptor became free: paused listeners accept again. */
void listener_resume_all(struct proxy_worker *pw);

#endif
