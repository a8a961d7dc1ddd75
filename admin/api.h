/* api.h: what the admin API answers: one table of endpoints, and who may use each. Control thread. */
#ifndef ADMIN_API_H
#define ADMIN_API_H

#include "admin/admin.h"
#include "admin/auth.h"
#include "admin/door.h"

#define ADMIN_MAGIC 0x41444d4eu

struct admin { /* owned by the proxy; control thread; lives from admin_create to admin_destroy */
    uint32_t magic;
    /* set once */
    struct worker *control;
    struct admin_ops ops;
    mono_ms_t started_ms;
    wall_ms_t started_wall_ms;
    /* control thread */
    struct admin_auth *auth;
    struct admin_door *socket_door;
    struct admin_door *address_door; /* NULL: [admin] address is off */
    char *socket;                    /* as configured, to see a change */
    mode_t socket_mode;
    struct net_addr address;
    struct list retired;  /* doors that a change closed while they may be answering */
    struct deadline stop; /* the stop comes after its answer has left */
    bool moved;           /* another process answers */
    struct admin_recent *recent;
};

struct api_call { /* lives during one callback */
    struct admin *a;
    struct admin_door *door;
    struct evhttp_request *req;
};

/* Each answers the call. The first takes over `value`. */
void api_send_json(struct api_call *c, int status, json_t *value);
void api_fail(struct api_call *c, int status, const char *error, const char *hint);
/* The body as a JSON object, which is the caller's; NULL after a refusal with this hint was sent. */
json_t *api_body(struct api_call *c, const char *hint);
/* Who asks, for the log, as a text in `buf`: the peer's address, or the user at the other end of the unix
 * socket. */
const char *api_who(const struct api_call *c, char *buf, size_t bytes);

/* Where an answer of this call that comes later goes to, once; dropped when the connection, or all of the
 * admin, is gone by then. An object with "error" is a refusal. on_answer NULL: out of memory, which was
 * answered. */
struct admin_reply api_later(struct api_call *c);
/* It does not come; c->req is to be answered now. */
void api_not_later(const struct admin_reply *reply);

/* admin_door_handler.on_request of both doors; d->arg is the struct admin. */
void admin_api_on_request(struct admin_door *d, struct evhttp_request *req);

#endif
