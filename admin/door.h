/* door.h: one place where the admin API is reached: a unix socket or an address, each with an evhttp server.
 *
 * Control thread only. A door is opened, and ends by admin_door_close (at once) or by admin_door_retire, for
 * a door that may be in the middle of answering the very request that does away with it. */
#ifndef ADMIN_DOOR_H
#define ADMIN_DOOR_H

#include <sys/stat.h>

#include "core/list.h"
#include "core/net.h"
#include "core/worker.h"

struct evhttp;
struct evhttp_bound_socket;
struct evhttp_request;
struct event;

struct admin_door {
    uint32_t magic;
    /* set once */
    struct list node; /* free for the owner's use; unlinked when the door ends */
    struct worker *control;
    bool trusted; /* unix socket: guarded by its file mode */
    void (*on_request)(struct admin_door *d, struct evhttp_request *req);
    void *arg;
    struct net_addr bound;
    dev_t socket_dev; /* of the file made, so that only our own is removed */
    ino_t socket_ino;
    bool is_lent; /* inherited: until admin_door_own the file is the other process's to remove */
    /* control thread */
    struct list open_node;
    struct evhttp *http;
    struct evhttp_bound_socket *listening; /* NULL once retired */
    struct event *resume;                  /* accepts again after descriptors ran out */
    struct deadline retired;
};

struct admin_door_handler {
    void (*on_request)(struct admin_door *d, struct evhttp_request *req);
    void *arg;
    /* A socket that listens there already, as admin_ops.inherit; NULL: never */
    int (*inherit)(void *arg, const struct net_addr *addr);
};

/* `a` is a unix or an IP address; `mode` is for the unix socket's file. A socket file nobody answers at is
 * replaced; one that is answered, or a file that is no socket, is left alone and is an error. NULL and a
 * message in `err`. */
struct admin_door *admin_door_open(struct worker *control, const struct net_addr *a, mode_t mode,
                                   const struct admin_door_handler *handler, char *err, size_t err_bytes);
/* Is its socket file still the one that it made? Always so for an address. */
bool admin_door_is_found(const struct admin_door *d);
/* The process that it was inherited from has no use for it any more. */
void admin_door_own(struct admin_door *d);
/* Its listening socket; -1: it accepts nothing. */
int admin_door_listening(const struct admin_door *d);
/* Stops accepting, for good; what is open stays. The file of a unix socket that others serve stays, too. */
void admin_door_leave(struct admin_door *d, bool file_is_kept);
/* Stops accepting, removes the socket file, cuts what is open. Never from inside on_request. Nulls the
 * pointer. */
void admin_door_close(struct admin_door **d);
/* Stops accepting and removes the socket file now; what is open may end within ADMIN_DOOR_RETIRE_MS. The door
 * then frees itself, unless it is closed before. */
#define ADMIN_DOOR_RETIRE_MS 5000
void admin_door_retire(struct admin_door *d);

#endif
