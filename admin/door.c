/* door.c: see door.h.
 *
 * evhttp does the wire; what it leaves open is closed here: a bound on heads, bodies and waits, a pause
 * instead of a spin when descriptors run out (its listener only prints a warning and is called again at
 * once), and never taking the socket file away from a process that still answers at it.
 *
 * The file mode is set by the umask around bind, so that the socket is never open wider, not even for a
 * moment. Rejected: chmod after bind, which leaves that moment. */
#include "admin/door.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "core/panic.h"

#define DOOR_MAGIC            0x444f4f52u
#define DOOR_BACKLOG          128
#define DOOR_MAX_HEADER_BYTES (16 * 1024)
#define DOOR_MAX_BODY_BYTES   (64 * 1024)
#define DOOR_TIMEOUT_S        20

static void door_on_request(struct evhttp_request *req, void *arg)
{
    struct admin_door *d = arg;
    CHECK_MAGIC(d, DOOR_MAGIC);
    worker_refresh_clock(d->control);
    d->on_request(d, req);
}

/* A listener given to evhttp carries evhttp's own argument, so the door is looked up here. Control thread. */
static struct list open_doors = {&open_doors, &open_doors};

static struct admin_door *door_of_listener(const struct evconnlistener *listener)
{
    LIST_FOREACH (n, &open_doors) {
        struct admin_door *d = CONTAINER_OF(n, struct admin_door, open_node);
        if (d->listening != NULL && evhttp_bound_socket_get_listener(d->listening) == listener)
            return d;
    }
    return NULL;
}

static void door_on_accept_error(struct evconnlistener *listener, void *evhttp)
{
    UNUSED(evhttp);
    struct admin_door *d = door_of_listener(listener);
    struct timeval one_s = {1, 0};
    if (d == NULL || event_add(d->resume, &one_s) != 0)
        return;
    evconnlistener_disable(listener);
    log_warn("admin: cannot accept a connection: %s; trying again in a second",
             evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

static void door_on_resume(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    struct admin_door *d = arg;
    CHECK_MAGIC(d, DOOR_MAGIC);
    if (d->listening != NULL)
        evconnlistener_enable(evhttp_bound_socket_get_listener(d->listening));
}

static void door_on_retired(struct deadline *deadline)
{
    struct admin_door *d = CONTAINER_OF(deadline, struct admin_door, retired);
    CHECK_MAGIC(d, DOOR_MAGIC);
    admin_door_close(&d);
}

/* 0: the path is free to bind. Otherwise an errno: EADDRINUSE when somebody answers there. */
static int unix_path_probe(const struct net_addr *a)
{
    struct stat st;
    if (lstat(a->un.sun_path, &st) != 0)
        return errno == ENOENT ? 0 : errno;
    if (!S_ISSOCK(st.st_mode))
        return EEXIST;
    int fd = net_connect(a);
    if (fd < 0)
        return errno == ECONNREFUSED || errno == ENOENT ? 0 : errno == EAGAIN ? EADDRINUSE : errno;
    close(fd);
    return EADDRINUSE;
}

static void unix_folder_make(const char *path)
{
    char folder[sizeof(((struct sockaddr_un *)0)->sun_path)];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    mkdir(folder, 0755);
}

static int unix_listen(struct admin_door *d, const struct net_addr *a, mode_t mode, char *err,
                       size_t err_bytes)
{
    const char *path = a->un.sun_path;
    unix_folder_make(path);
    int problem = unix_path_probe(a);
    int fd = -1;
    if (problem == 0) {
        mode_t before = umask((mode_t)(0777 & ~mode));
        fd = net_listen(a, DOOR_BACKLOG, false);
        problem = errno;
        umask(before);
    }
    struct stat st;
    if (fd >= 0 && lstat(path, &st) == 0) {
        d->socket_dev = st.st_dev;
        d->socket_ino = st.st_ino;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    if (problem == EADDRINUSE)
        snprintf(err, err_bytes,
                 "admin socket %s: another millpond answers there; stop it, or give this one its own [admin] "
                 "socket or "
                 "[millpond] runtime_dir",
                 path);
    else if (problem == EEXIST)
        snprintf(err, err_bytes,
                 "admin socket %s: there is a file of another kind; move it away or choose another path",
                 path);
    else
        snprintf(err, err_bytes, "admin socket %s: %s", path, strerror(problem));
    return -1;
}

/* A socket of the process before this one. Without its file nobody would find it: -1. */
static int door_inherit(struct admin_door *d, const struct net_addr *a, mode_t mode,
                        const struct admin_door_handler *handler)
{
    struct stat st;
    int fd = handler->inherit != NULL ? handler->inherit(handler->arg, a) : -1;
    if (fd < 0 || !d->trusted)
        return fd;
    if (lstat(a->un.sun_path, &st) != 0 || !S_ISSOCK(st.st_mode)) {
        close(fd);
        return -1;
    }
    if ((st.st_mode & 0777) != mode && chmod(a->un.sun_path, mode) != 0)
        log_warn("admin socket %s: its mode stays %03o: %s", a->un.sun_path, (unsigned)st.st_mode & 0777,
                 strerror(errno));
    d->socket_dev = st.st_dev;
    d->socket_ino = st.st_ino;
    d->is_lent = true;
    return fd;
}

static int door_listen(struct admin_door *d, const struct net_addr *a, mode_t mode, char *err,
                       size_t err_bytes)
{
    char text[NET_ADDR_TEXT];
    if (d->trusted)
        return unix_listen(d, a, mode, err, err_bytes);
    int fd = net_listen(a, DOOR_BACKLOG, false);
    if (fd < 0)
        snprintf(err, err_bytes, "admin address " SLICE_FMT ": %s", SLICE_ARG(net_addr_format(a, text)),
                 strerror(errno));
    return fd;
}

/* By itself, evhttp closes a connection's descriptor before it takes it out of epoll, when another thread may
 * have been given the same number. */
static struct bufferevent *door_connection(struct event_base *base, void *arg)
{
    UNUSED(arg);
    return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

/* Takes over `fd`. false when out of memory. */
static bool door_serve(struct admin_door *d, int fd)
{
    d->http = evhttp_new(d->control->base);
    d->resume = event_new(d->control->base, -1, 0, door_on_resume, d);
    struct evconnlistener *listener = evconnlistener_new(
        d->control->base, NULL, NULL, LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE, 0, fd);
    if (listener == NULL)
        close(fd);
    if (listener != NULL && d->http != NULL && d->resume != NULL && net_local_addr(fd, &d->bound))
        d->listening = evhttp_bind_listener(d->http, listener);
    if (d->listening == NULL) {
        if (listener != NULL)
            evconnlistener_free(listener);
        return false;
    }
    evconnlistener_set_error_cb(listener, door_on_accept_error);
    evhttp_set_max_headers_size(d->http, DOOR_MAX_HEADER_BYTES);
    evhttp_set_max_body_size(d->http, DOOR_MAX_BODY_BYTES);
    evhttp_set_timeout(d->http, DOOR_TIMEOUT_S);
    evhttp_set_allowed_methods(d->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT |
                                            EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_PATCH);
    evhttp_set_bevcb(d->http, door_connection, NULL);
    evhttp_set_gencb(d->http, door_on_request, d);
    return true;
}

struct admin_door *admin_door_open(struct worker *control, const struct net_addr *a, mode_t mode,
                                   const struct admin_door_handler *handler, char *err, size_t err_bytes)
{
    struct admin_door *d = calloc(1, sizeof *d);
    if (d == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    d->magic = DOOR_MAGIC;
    d->control = control;
    d->trusted = a->sa.sa_family == AF_UNIX;
    d->on_request = handler->on_request;
    d->arg = handler->arg;
    list_init(&d->node);
    list_push_back(&open_doors, &d->open_node);
    deadline_init(&d->retired, door_on_retired);
    int fd = door_inherit(d, a, mode, handler);
    if (fd < 0)
        fd = door_listen(d, a, mode, err, err_bytes);
    if (fd >= 0 && door_serve(d, fd))
        return d;
    if (fd >= 0)
        snprintf(err, err_bytes, "out of memory");
    admin_door_close(&d);
    return NULL;
}

/* Another process may have put its own socket there meanwhile. */
static bool door_owns_file(const struct admin_door *d)
{
    struct stat st;
    return d->socket_ino != 0 && d->bound.len > sizeof(sa_family_t) &&
           lstat(d->bound.un.sun_path, &st) == 0 && st.st_dev == d->socket_dev && st.st_ino == d->socket_ino;
}

bool admin_door_is_found(const struct admin_door *d)
{
    CHECK_MAGIC(d, DOOR_MAGIC);
    return !d->trusted || door_owns_file(d);
}

static void door_unlink_own(struct admin_door *d)
{
    if (!d->is_lent && door_owns_file(d))
        unlink(d->bound.un.sun_path);
    d->socket_ino = 0;
}

/* evhttp keeps its data pointer in each connection: the listener goes first, then everything at once. */
void admin_door_close(struct admin_door **door)
{
    struct admin_door *d = *door;
    *door = NULL;
    if (d == NULL)
        return;
    CHECK_MAGIC(d, DOOR_MAGIC);
    door_unlink_own(d);
    deadline_clear(d->control, &d->retired);
    list_remove(&d->node);
    list_remove(&d->open_node);
    if (d->resume != NULL)
        event_free(d->resume);
    if (d->http != NULL)
        evhttp_free(d->http);
    d->magic = 0;
    free(d);
}

void admin_door_own(struct admin_door *d)
{
    CHECK_MAGIC(d, DOOR_MAGIC);
    d->is_lent = false;
}

int admin_door_listening(const struct admin_door *d)
{
    CHECK_MAGIC(d, DOOR_MAGIC);
    return d->listening != NULL ? evhttp_bound_socket_get_fd(d->listening) : -1;
}

void admin_door_leave(struct admin_door *d, bool file_is_kept)
{
    CHECK_MAGIC(d, DOOR_MAGIC);
    if (file_is_kept)
        d->socket_ino = 0;
    door_unlink_own(d);
    if (d->listening != NULL)
        evhttp_del_accept_socket(d->http, d->listening);
    d->listening = NULL;
}

void admin_door_retire(struct admin_door *d)
{
    admin_door_leave(d, false);
    deadline_set(d->control, &d->retired, worker_now_ms(d->control) + ADMIN_DOOR_RETIRE_MS);
}
