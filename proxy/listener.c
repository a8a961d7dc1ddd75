/* listener.c: see listener.h. Level-triggered, accepting at most a batch per event so that one busy listener
 * does not starve the connections it already has. The kernel gives a connection out with its first bytes (see
 * net_listen), so accepting, reading and often answering are one event. When descriptors run out it stops
 * listening for events instead of spinning, until a connection closed or a short time passed. */
#include "proxy/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/client_conn.h"
#include "proxy/server.h"

#define ACCEPT_BATCH     64
#define CLOSE_ACCEPT_MAX 8192
#define ACCEPT_RETRY_MS  250

static const char refusal[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\n"
                              "Content-Length: 46\r\nConnection: close\r\nRetry-After: 1\r\n\r\n"
                              "This server has too many connections just now\n";

/* One answer and the end; the connection never becomes a client connection, so a flood costs no memory. Over
 * TLS the answer would cost a handshake: there it is the end alone. */
void listener_say_full(struct listener *l, int fd)
{
    char unread[2048];
    proxy_count(l->pw, METRIC_CLIENT_REFUSED, 1);
    if (l->tls == NULL && send(fd, refusal, sizeof refusal - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_WR);
    while (recv(fd, unread, sizeof unread, MSG_DONTWAIT) > 0)
        continue;
}

static void listener_pause(struct listener *l)
{
    if (l->paused)
        return;
    l->paused = true;
    event_del(&l->event);
    proxy_count(l->pw, METRIC_ACCEPT_PAUSED, 1);
    log_error(
        "out of file descriptors: accepting pauses until a connection closes; raise LimitNOFILE or lower "
        "max_connections");
    deadline_set(l->pw->worker, &l->retry, worker_now_ms(l->pw->worker) + ACCEPT_RETRY_MS);
}

static void listener_resume(struct listener *l)
{
    if (!l->paused || l->fd < 0)
        return;
    l->paused = false;
    deadline_clear(l->pw->worker, &l->retry);
    event_add(&l->event, NULL);
}

static void listener_on_retry(struct deadline *d)
{
    listener_resume(CONTAINER_OF(d, struct listener, retry));
}

void listener_resume_all(struct proxy_worker *pw)
{
    LIST_FOREACH (n, &pw->listeners) {
        listener_resume(CONTAINER_OF(n, struct listener, node));
    }
}

static bool listener_should_pause(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void listener_accept(struct listener *l, int most)
{
    for (int i = 0; i < most; i++) {
        struct net_addr peer = {.len = sizeof peer.un};
        int client = accept4(l->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (listener_should_pause(errno))
                listener_pause(l);
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            return;
        }
        bool by_ip;
        int max_per_ip = l->config->proxy_protocol ? 0 : l->config->max_connections_per_ip;
        if (!server_admit(l->pw->server, &peer, max_per_ip, &by_ip)) {
            listener_say_full(l, client);
            close(client);
            continue;
        }
        struct client_conn *c = client_conn_open(l->pw, l, client, &peer, by_ip);
        if (c != NULL)
            client_conn_start(c);
        else
            server_release(l->pw->server, &peer, by_ip);
    }
}

static void listener_on_event(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    struct listener *l = arg;
    worker_refresh_clock(l->pw->worker);
    listener_accept(l, ACCEPT_BATCH);
}

struct listener *listener_open(struct proxy_worker *pw, int fd, const struct net_addr *addr,
                               const struct config_listen *config)
{
    struct listener *l = calloc(1, sizeof *l);
    if (l == NULL) {
        close(fd);
        return NULL;
    }
    l->pw = pw;
    l->fd = fd;
    l->addr = *addr;
    l->config = config;
    l->view = snapshot_view_ref(pw->view);
    l->tls = snapshot_tls(l->view->shared, config);
    l->refs = 1;
    deadline_init(&l->retry, listener_on_retry);
    event_assign(&l->event, pw->worker->base, fd, EV_READ | EV_PERSIST, listener_on_event, l);
    ASSERT(event_add(&l->event, NULL) == 0);
    list_push_back(&pw->listeners, &l->node);
    return l;
}

void listener_ref(struct listener *l)
{
    l->refs++;
}

void listener_unref(struct listener *l)
{
    ASSERT(l->refs > 0);
    if (--l->refs > 0)
        return;
    snapshot_view_unref(l->view);
    free(l);
}

void listener_close(struct listener *l)
{
    listener_accept(l, CLOSE_ACCEPT_MAX); /* closing would reset those who wait in the queue */
    listener_drop(l);
}

void listener_drop(struct listener *l)
{
    ASSERT(l->fd >= 0);
    if (!l->paused)
        event_del(&l->event);
    deadline_clear(l->pw->worker, &l->retry);
    close(l->fd);
    l->fd = -1;
    list_remove(&l->node);
    listener_unref(l);
}

void listener_use(struct listener *l, struct snapshot_view *v, const struct config_listen *config)
{
    snapshot_view_ref(v);
    snapshot_view_unref(l->view);
    l->view = v;
    l->config = config;
    l->tls = snapshot_tls(v->shared, config);
}
