/* admin.c: see admin.h. The life of the admin side: its two doors, and taking over changed settings.
 *
 * A change is prepare, then commit: new doors and the new token are made first, and only when all stand do
 * the old ones go. The change may be the work of a request that came through a door which is about to go, so
 * old doors are retired, never closed at once. Changing only the mode of the socket keeps its door.
 *
 * Whoever cleans up the folder takes the socket file away, and with it the way in for all commands; the next
 * change, a SIGHUP say, makes it anew. Where that fails, the configuration is no worse for it. */
#include "admin/admin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "admin/api.h"
#include "admin/recent.h"
#include "core/log.h"
#include "core/panic.h"

static void admin_on_stop(struct deadline *deadline)
{
    struct admin *a = CONTAINER_OF(deadline, struct admin, stop);
    CHECK_MAGIC(a, ADMIN_MAGIC);
    a->ops.stop(a->ops.arg);
}

static int admin_inherit(void *arg, const struct net_addr *addr)
{
    const struct admin *a = arg;
    return a->ops.inherit != NULL ? a->ops.inherit(a->ops.arg, addr) : -1;
}

static struct admin_door_handler admin_handler(struct admin *a)
{
    return (struct admin_door_handler){admin_api_on_request, a, admin_inherit};
}

static struct admin_door *socket_door_open(struct admin *a, const struct config *c, char *err,
                                           size_t err_bytes)
{
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    struct net_addr addr;
    int n = snprintf(text, sizeof text, "unix:%s", c->admin.socket);
    if (n >= (int)sizeof text || !net_addr_parse(slice_str(text), &addr)) {
        snprintf(err, err_bytes,
                 "admin socket: the path is %zu bytes, too long for a unix socket; choose a shorter one",
                 strlen(c->admin.socket));
        return NULL;
    }
    const struct admin_door_handler handler = admin_handler(a);
    return admin_door_open(a->control, &addr, c->admin.socket_mode, &handler, err, err_bytes);
}

struct admin_plan { /* what a change needs before it may be committed */
    struct admin_auth *auth;
    struct admin_door *socket_door, *address_door; /* NULL: not a new one */
    char *socket;
    bool new_socket, new_address;
};

static void plan_drop(struct admin_plan *p)
{
    admin_door_close(&p->socket_door);
    admin_door_close(&p->address_door);
    admin_auth_free(p->auth);
    free(p->socket);
}

static void plan_look_for_socket(struct admin *a, const struct config *c, struct admin_plan *p)
{
    char problem[512];
    if (p->new_socket || admin_door_is_found(a->socket_door))
        return;
    p->socket_door = socket_door_open(a, c, problem, sizeof problem);
    p->new_socket = p->socket_door != NULL;
    if (p->new_socket)
        log_warn("admin socket %s was gone; it is there again", a->socket);
    else
        log_warn("%s; the commands find nobody until the next reload makes it anew", problem);
}

static bool plan_prepare(struct admin *a, const struct config *c, struct admin_plan *p, char *err,
                         size_t err_bytes)
{
    *p = (struct admin_plan){.new_socket = a->socket == NULL || strcmp(a->socket, c->admin.socket) != 0,
                             .new_address = !net_addr_eq(&a->address, &c->admin.address)};
    p->socket = strdup(c->admin.socket);
    if (p->socket == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return false;
    }
    if (p->new_socket && (p->socket_door = socket_door_open(a, c, err, err_bytes)) == NULL)
        goto fail;
    if (p->new_address && c->admin.address.len > 0) {
        const struct admin_door_handler handler = admin_handler(a);
        p->address_door = admin_door_open(a->control, &c->admin.address, 0, &handler, err, err_bytes);
        if (p->address_door == NULL)
            goto fail;
    }
    plan_look_for_socket(a, c, p);
    if (!p->new_socket && c->admin.socket_mode != a->socket_mode && admin_door_is_found(a->socket_door) &&
        chmod(a->socket, c->admin.socket_mode) != 0) {
        snprintf(err, err_bytes, "admin socket %s: %s", a->socket, strerror(errno));
        goto fail;
    }
    if ((p->auth = admin_auth_create(c, a->auth, err, err_bytes)) != NULL)
        return true;
fail:
    plan_drop(p);
    return false;
}

static void door_replace(struct admin *a, struct admin_door **door, struct admin_door *by)
{
    if (*door != NULL) {
        list_push_back(&a->retired, &(*door)->node);
        admin_door_retire(*door);
    }
    *door = by;
}

bool admin_change(struct admin *a, const struct config *c, char *err, size_t err_bytes)
{
    CHECK_MAGIC(a, ADMIN_MAGIC);
    struct admin_plan p;
    if (!plan_prepare(a, c, &p, err, err_bytes))
        return false;
    if (p.new_socket)
        door_replace(a, &a->socket_door, p.socket_door);
    if (p.new_address)
        door_replace(a, &a->address_door, p.address_door);
    admin_auth_free(a->auth);
    free(a->socket);
    a->auth = p.auth;
    a->socket = p.socket;
    a->socket_mode = c->admin.socket_mode;
    a->address = c->admin.address;
    return true;
}

struct admin *admin_create(struct worker *control, const struct admin_ops *ops, const struct config *c,
                           char *err, size_t err_bytes)
{
    struct admin *a = calloc(1, sizeof *a);
    if (a == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    a->magic = ADMIN_MAGIC;
    a->control = control;
    a->ops = *ops;
    a->started_ms = clock_mono_ms();
    a->started_wall_ms = clock_wall_ms();
    list_init(&a->retired);
    deadline_init(&a->stop, admin_on_stop);
    if ((a->recent = admin_recent_new(control)) == NULL)
        snprintf(err, err_bytes, "out of memory");
    else if (admin_change(a, c, err, err_bytes))
        return a;
    admin_destroy(a);
    return NULL;
}

struct net_addr admin_local_addr(const struct admin *a)
{
    CHECK_MAGIC(a, ADMIN_MAGIC);
    return a->address_door != NULL ? a->address_door->bound : (struct net_addr){0};
}

int admin_listening(const struct admin *a, bool of_address, struct net_addr *addr)
{
    CHECK_MAGIC(a, ADMIN_MAGIC);
    const struct admin_door *d = of_address ? a->address_door : a->socket_door;
    *addr = of_address || d == NULL ? a->address : d->bound;
    return d != NULL ? admin_door_listening(d) : -1;
}

void admin_take_over(struct admin *a)
{
    CHECK_MAGIC(a, ADMIN_MAGIC);
    admin_door_own(a->socket_door);
}

void admin_leave(struct admin *a, bool socket_is_kept)
{
    CHECK_MAGIC(a, ADMIN_MAGIC);
    a->moved = true;
    admin_door_leave(a->socket_door, socket_is_kept);
    if (a->address_door != NULL)
        admin_door_leave(a->address_door, false);
}

void admin_destroy(struct admin *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, ADMIN_MAGIC);
    deadline_clear(a->control, &a->stop);
    admin_door_close(&a->socket_door);
    admin_door_close(&a->address_door);
    struct list *n;
    while ((n = list_pop_front(&a->retired)) != NULL) {
        struct admin_door *d = CONTAINER_OF(n, struct admin_door, node);
        admin_door_close(&d);
    }
    admin_auth_free(a->auth);
    admin_recent_free(a->recent);
    free(a->socket);
    a->magic = 0;
    free(a);
}
