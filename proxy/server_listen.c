/* server_listen.c: the listening sockets: one per worker and address, so that the kernel spreads clients over
 * the workers; opened at the start, at a reload, or handed over by the process that this one takes the place
 * of. Control thread, which keeps their numbers so as to hand them over in its turn; they belong to the
 * workers.
 *
 * A socket that was handed over is never closed while its address is configured: what waits in its queue, or
 * is about to, would be lost. So when there are fewer workers than sockets, those that are left over are
 * every worker's, who takes from them what others have not. Where there are more workers, the new ones get
 * sockets of their own, or, where the kernel refuses (the others were bound by root), share one; when it is
 * certain that they will be served, since the kernel gives such a socket its share of clients at once. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/diff.h"
#include "core/log.h"
#include "proxy/heir.h"
#include "proxy/listener.h"
#include "proxy/server.h"
#include "proxy/snapshot.h"

#define LISTEN_BACKLOG 4096

void server_log_listening(const struct net_addr *bound, const char *name)
{
    char text[NET_ADDR_TEXT];
    net_addr_format(bound, text);
    log_info("listening on %s (listen %s)", text, name);
}

void server_set_listener(struct server_listener *l, const struct net_addr *configured,
                         const struct net_addr *bound, const char *name, const int *fds, size_t fd_count)
{
    *l = (struct server_listener){.configured = *configured, .bound = *bound};
    snprintf(l->name, sizeof l->name, "%s", name);
    l->fds = malloc(fd_count * sizeof *fds);
    if (l->fds == NULL)
        return; /* it cannot be handed over */
    memcpy(l->fds, fds, fd_count * sizeof *fds);
    l->fd_count = fd_count;
}

static void close_all(const int *fds, size_t count)
{
    const int saved = errno;
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    errno = saved;
}

bool server_listen(struct server *s, const struct net_addr *addr, int *fds, struct net_addr *bound)
{
    *bound = *addr;
    bool is_unix = addr->sa.sa_family == AF_UNIX;
    for (size_t w = 0; w < s->worker_count; w++) {
        fds[w] = is_unix && w > 0 ? fcntl(fds[0], F_DUPFD_CLOEXEC, 0)
                                  : net_listen(bound, LISTEN_BACKLOG, !is_unix);
        if (fds[w] < 0 || (w == 0 && !is_unix && !net_local_addr(fds[0], bound))) {
            close_all(fds, fds[w] < 0 ? w : w + 1);
            return false;
        }
    }
    return true;
}

/* Our sockets share their port, and would share it with another millpond too, each getting some of the
 * clients; a unix socket would be taken away from it. Asked before any of ours is open. All but "taken" is
 * left to the real attempt. */
static bool server_address_is_taken(const struct net_addr *addr)
{
    bool is_unix = addr->sa.sa_family == AF_UNIX;
    if (!is_unix && net_addr_port(addr) == 0)
        return false;
    int fd = is_unix ? net_connect(addr) : net_listen(addr, 1, false);
    bool taken = is_unix ? fd >= 0 || errno == EAGAIN : fd < 0 && errno == EADDRINUSE;
    if (fd >= 0)
        close(fd);
    return taken;
}

/* Whose port the process before this one has, by whatever address, will be ours alone. */
static bool server_is_heir_to(const struct server *s, const struct config_listen *l,
                              const struct net_addr *addr)
{
    return heir_has(s->heir, addr, l->name) ||
           (addr->sa.sa_family != AF_UNIX && heir_has_port(s->heir, net_addr_port(addr)));
}

static bool server_addresses_are_free(const struct server *s, char *err, size_t err_bytes)
{
    const struct config *c = s->snapshot->config;
    char text[NET_ADDR_TEXT];
    for (size_t i = 0; i < c->listen_count; i++) {
        const struct config_listen *l = &c->listens[i];
        for (size_t k = 0; k < l->address_count; k++) {
            if (server_is_heir_to(s, l, &l->addresses[k]) || !server_address_is_taken(&l->addresses[k]))
                continue;
            net_addr_format(&l->addresses[k], text);
            snprintf(err, err_bytes, "[listen %s] cannot listen on %s: %s; another program has this %s",
                     l->name, text, strerror(EADDRINUSE),
                     l->addresses[k].sa.sa_family == AF_UNIX ? "socket" : "port");
            return false;
        }
    }
    return true;
}

/* Those that were handed over, or one for each worker, in an array on the heap; NULL and errno. */
static int *listen_obtain(struct server *s, const struct config_listen *l, const struct net_addr *addr,
                          size_t *count, struct net_addr *bound)
{
    *count = 0;
    *bound = *addr;
    int *given = heir_take(s->heir, addr, l->name, count);
    int *fds = realloc(given, MAX(*count, s->worker_count) * sizeof *fds);
    bool ok = fds != NULL;
    if (!ok) {
        fds = given;
        errno = ENOMEM;
    } else if (given == NULL) {
        ok = server_listen(s, addr, fds, bound);
        *count = ok ? s->worker_count : 0;
    } else {
        ok = addr->sa.sa_family == AF_UNIX || net_local_addr(fds[0], bound);
    }
    if (ok)
        return fds;
    close_all(fds, *count);
    free(fds);
    return NULL;
}

static bool listen_serve(struct server *s, const struct config_listen *l, const struct net_addr *addr,
                         const int *fds, size_t count)
{
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        const bool shared = i >= s->worker_count;
        for (size_t w = shared ? 0 : i; ok && w < (shared ? s->worker_count : i + 1); w++) {
            int fd = shared && w > 0 ? fcntl(fds[i], F_DUPFD_CLOEXEC, 0) : fds[i];
            ok = fd >= 0 && listener_open(s->workers[w].proxy, fd, addr, l) != NULL;
        }
    }
    return ok;
}

static bool listen_one(struct server *s, const struct config_listen *l, const struct net_addr *addr,
                       char *err, size_t err_bytes)
{
    char text[NET_ADDR_TEXT];
    struct net_addr bound;
    size_t count;
    const bool inherited = heir_has(s->heir, addr, l->name); /* and the other's until the go */
    int *fds = listen_obtain(s, l, addr, &count, &bound);
    if (fds == NULL) {
        net_addr_format(addr, text);
        snprintf(err, err_bytes, "[listen %s] cannot listen on %s: %s%s", l->name, text, strerror(errno),
                 errno == EADDRINUSE ? "; another program has this port" : "");
        return false;
    }
    server_set_listener(&s->listeners[s->listener_count], addr, &bound, l->name, fds, count);
    s->listeners[s->listener_count++].handed_over = inherited;
    const bool ok = listen_serve(s, l, addr, fds, count);
    free(fds);
    return ok;
}

bool server_open_listeners(struct server *s, char *err, size_t err_bytes)
{
    const struct config *c = s->snapshot->config;
    size_t total = 0;
    if (!server_addresses_are_free(s, err, err_bytes))
        return false;
    for (size_t i = 0; i < c->listen_count; i++)
        total += c->listens[i].address_count;
    s->listeners = calloc(total + 1, sizeof *s->listeners);
    bool ok = s->listeners != NULL;
    for (size_t i = 0; ok && i < c->listen_count; i++) {
        for (size_t k = 0; ok && k < c->listens[i].address_count; k++)
            ok = listen_one(s, &c->listens[i], &c->listens[i].addresses[k], err, err_bytes);
    }
    return ok;
}

/* For the workers that have none yet. */
static void listen_add(struct server *s, struct server_listener *l, const struct config_listen *config)
{
    const size_t given = l->fd_count;
    int *fds = realloc(l->fds, s->worker_count * sizeof *fds);
    if (fds != NULL)
        l->fds = fds;
    for (size_t w = given; fds != NULL && w < s->worker_count; w++) {
        int fd = l->bound.sa.sa_family == AF_UNIX ? -1 : net_listen(&l->bound, LISTEN_BACKLOG, true);
        if (fd < 0)
            fd = fcntl(fds[w % given], F_DUPFD_CLOEXEC, 0);
        if (fd < 0 || listener_open(s->workers[w].proxy, fd, &l->configured, config) == NULL)
            break;
        fds[l->fd_count++] = fd;
    }
    if (l->fd_count < s->worker_count)
        log_error("out of memory or file descriptors: [listen %s] is not served by all workers", l->name);
}

void server_listen_by_all(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        struct server_listener *l = &s->listeners[i];
        if (l->fd_count > 0 && l->fd_count < s->worker_count)
            listen_add(s, l, config_find_listen(s->snapshot->config, &l->configured, l->name));
    }
}

void server_forget_listeners(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++) {
        if (s->listeners[i].bound.sa.sa_family == AF_UNIX && !s->listeners[i].handed_over)
            unlink(s->listeners[i].bound.un.sun_path);
        free(s->listeners[i].fds);
    }
    free(s->listeners);
    s->listeners = NULL;
    s->listener_count = 0;
}

/* The same socket by another descriptor, which workers may share, is handed over once. */
static bool is_among(const struct server_listener *l, size_t before, int fd)
{
    struct stat one, other;
    if (fstat(fd, &one) != 0)
        return false;
    for (size_t i = 0; i < before; i++) {
        if (fstat(l->fds[i], &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino)
            return true;
    }
    return false;
}

/* A worker that was short of memory has closed its own, and the number may be another's by now. */
static bool is_bound_there(const struct server_listener *l, int fd)
{
    struct net_addr bound;
    int on = 0;
    socklen_t len = sizeof on;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0 &&
           net_local_addr(fd, &bound) && net_addr_eq(&bound, &l->bound);
}

size_t server_listener_sockets(const struct server_listener *l, int *fds)
{
    size_t count = 0;
    for (size_t i = 0; i < l->fd_count; i++) {
        if (is_bound_there(l, l->fds[i]) && !is_among(l, i, l->fds[i]))
            fds[count++] = l->fds[i];
    }
    return count;
}
