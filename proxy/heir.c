/* heir.c: see heir.h. The channel is descriptor 3 and known by a variable of the environment, which is taken
 * out at once; it must be a socket whose other end was made by the parent, so that neither a variable that
 * somebody left behind nor a descriptor of his is taken for it. Up to the go it is read blocking, there being
 * nothing else to do. */
#include "proxy/heir.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balancer/balancer.h"
#include "core/handover.h"
#include "core/log.h"
#include "core/worker.h"
#include "proxy/purge_twin.h"
#include "proxy/server.h"

#define RECEIVE_MS 10000  /* for each message */
#define GO_MS      660000 /* longer than the older one waits */
#define TWIN_MS    15000  /* the older one has no client any more who could ask it something new */
#define ITEMS_MAX  65536  /* of each list: what is more is no millpond */

struct heir_socket { /* what is bound to one address */
    struct net_addr addr;
    char section[64]; /* "": the admin side */
    bool taken;
    size_t count;
    int *fds;
};

struct heir_order {
    char *pool, *server, *who;
    long weight; /* -1: drained */
};

struct heir { /* owned by the server; control thread */
    int fd;   /* -1: the older process has ended */
    long old_pid;
    char old_version[32];
    wall_ms_t at_ms; /* 0: not serving yet */
    struct heir_socket *sockets;
    size_t socket_count;
    struct heir_order *orders;
    size_t order_count;
    struct tls_ticket_keys tickets;
    struct event *event;
    struct purge_twin *twin; /* NULL before the go */
};

/* One more place at the end of an array, zeroed; NULL: no memory, or too many. */
static void *grow(void *items, size_t *count, size_t bytes)
{
    void **array = items;
    char *grown = *count < ITEMS_MAX ? realloc(*array, (*count + 1) * bytes) : NULL;
    if (grown == NULL)
        return NULL;
    *array = grown;
    return memset(grown + bytes * (*count)++, 0, bytes);
}

/* ---- receiving ---- */

static bool is_listening(int fd)
{
    int on = 0;
    socklen_t len = sizeof on;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on != 0;
}

static bool socket_add_fds(struct heir_socket *s, const int *fds, size_t count)
{
    int *grown = realloc(s->fds, (s->count + count + 1) * sizeof *fds);
    if (grown == NULL) {
        handover_close(fds, count);
        return false;
    }
    s->fds = grown;
    for (size_t i = 0; i < count; i++) {
        if (is_listening(fds[i]))
            s->fds[s->count++] = fds[i];
        else
            close(fds[i]);
    }
    return true;
}

/* What is too much for one message goes on in the next. */
static bool take_socket(struct heir *h, slice_t section, slice_t address, const int *fds, size_t count)
{
    struct net_addr addr;
    const bool known = net_addr_parse(address, &addr) && section.len < sizeof h->sockets->section;
    struct heir_socket *s = h->socket_count > 0 ? &h->sockets[h->socket_count - 1] : NULL;
    if (known && s != NULL && s->count > 0 && s->count % HANDOVER_FDS == 0 && net_addr_eq(&s->addr, &addr) &&
        slice_eq(section, slice_str(s->section)))
        return socket_add_fds(s, fds, count);
    s = grow(&h->sockets, &h->socket_count, sizeof *s);
    if (s == NULL) {
        handover_close(fds, count);
        return false;
    }
    if (!known) { /* an address of a kind that this version has not */
        handover_close(fds, count);
        return true;
    }
    s->addr = addr;
    memcpy(s->section, section.ptr, section.len);
    return socket_add_fds(s, fds, count);
}

static bool take_order(struct heir *h, const slice_t text[HANDOVER_TEXTS])
{
    uint64_t weight = 0;
    const bool drained = slice_eq(text[2], SLICE_LIT("drain"));
    if (!drained && (!slice_to_u64(text[2], &weight) || weight > INT32_MAX))
        return true;
    struct heir_order *o = grow(&h->orders, &h->order_count, sizeof *o);
    if (o == NULL)
        return false;
    o->pool = strndup(text[0].ptr, text[0].len);
    o->server = strndup(text[1].ptr, text[1].len);
    o->who = strndup(text[3].ptr, text[3].len);
    o->weight = drained ? -1 : (long)weight;
    return o->pool != NULL && o->server != NULL && o->who != NULL;
}

static bool take_change(struct config_changes *changes, const slice_t text[HANDOVER_TEXTS])
{
    char *pool = strndup(text[0].ptr, text[0].len), *server = strndup(text[1].ptr, text[1].len),
         *line = strndup(text[3].ptr, text[3].len);
    const bool ok = pool != NULL && server != NULL && line != NULL &&
                    config_change_note(changes, pool, server, line[0] != '\0' ? line : NULL,
                                       slice_eq(text[2], SLICE_LIT("file")));
    free(pool);
    free(server);
    free(line);
    return ok;
}

static bool take_tickets(struct heir *h, slice_t bytes)
{
    const size_t count = bytes.len / sizeof h->tickets.items[0];
    if (bytes.len % sizeof h->tickets.items[0] != 0 || count > TLS_TICKETS_KEYS)
        return true; /* of another kind: sessions begin anew */
    memcpy(h->tickets.items, bytes.ptr, bytes.len);
    h->tickets.count = (unsigned)count;
    return true;
}

static bool take_hello(struct heir *h, const slice_t text[HANDOVER_TEXTS])
{
    uint64_t pid;
    snprintf(h->old_version, sizeof h->old_version, SLICE_FMT, SLICE_ARG(text[0]));
    if (!slice_to_u64(text[1], &pid) || pid > INT32_MAX)
        return false;
    h->old_pid = (long)pid;
    return true;
}

/* false: out of memory, or nonsense. */
static bool take(struct heir *h, struct config_changes *changes, const struct handover *m, const int *fds,
                 size_t fd_count)
{
    if (m->kind == HANDOVER_LISTEN)
        return take_socket(h, m->text[0], m->text[1], fds, fd_count);
    if (m->kind == HANDOVER_ADMIN)
        return take_socket(h, SLICE_EMPTY, m->text[0], fds, fd_count);
    handover_close(fds, fd_count);
    if (m->kind == HANDOVER_HELLO)
        return take_hello(h, m->text);
    if (m->kind == HANDOVER_TICKETS)
        return take_tickets(h, m->text[0]);
    return m->kind != HANDOVER_SERVER || take_change(changes, m->text);
}

/* As handover_receive; -1 also when nothing came for so long. */
static int receive(struct heir *h, char bytes[HANDOVER_BYTES], struct handover *m, int fds[HANDOVER_FDS],
                   size_t *fd_count, int wait_ms)
{
    struct pollfd p = {.fd = h->fd, .events = POLLIN};
    int n;
    *fd_count = 0;
    do
        n = poll(&p, 1, wait_ms);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return handover_receive(h->fd, bytes, m, fds, fd_count);
    errno = ETIMEDOUT;
    return -1;
}

static bool receive_all(struct heir *h, struct config_changes *changes)
{
    char bytes[HANDOVER_BYTES];
    int fds[HANDOVER_FDS];
    size_t fd_count;
    struct handover m = {.kind = HANDOVER_UNKNOWN};
    bool ok = true;
    while (ok && m.kind != HANDOVER_END) {
        const int n = receive(h, bytes, &m, fds, &fd_count, RECEIVE_MS);
        if (n == 0)
            errno = ECONNRESET;
        ok = n > 0 && m.kind != HANDOVER_BACK && take(h, changes, &m, fds, fd_count);
    }
    OPENSSL_cleanse(bytes, sizeof bytes); /* keys of tickets */
    return ok;
}

static bool channel_is_of_parent(int fd)
{
    struct ucred peer;
    int type = 0;
    socklen_t peer_len = sizeof peer, type_len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_SEQPACKET &&
           getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_len) == 0 && peer.pid == getppid();
}

struct heir *heir_receive(struct config_changes *changes, char *err, size_t err_bytes)
{
    const bool told = getenv(HANDOVER_VARIABLE) != NULL;
    err[0] = '\0';
    unsetenv(HANDOVER_VARIABLE);
    if (!told || !channel_is_of_parent(HANDOVER_CHILD_FD))
        return NULL;
    fcntl(HANDOVER_CHILD_FD, F_SETFD, FD_CLOEXEC);
    struct heir *h = calloc(1, sizeof *h);
    if (h == NULL) {
        snprintf(err, err_bytes, "out of memory");
        return NULL;
    }
    h->fd = HANDOVER_CHILD_FD;
    if (receive_all(h, changes))
        return h;
    snprintf(err, err_bytes, "the process that is to be replaced hands nothing over: %s", strerror(errno));
    heir_fail(h, err);
    heir_free(h);
    return NULL;
}

void heir_free(struct heir *h)
{
    if (h == NULL)
        return;
    heir_stop(h);
    for (size_t i = 0; i < h->socket_count; i++) {
        if (!h->sockets[i].taken)
            handover_close(h->sockets[i].fds, h->sockets[i].count);
        free(h->sockets[i].fds);
    }
    for (size_t i = 0; i < h->order_count; i++) {
        free(h->orders[i].pool);
        free(h->orders[i].server);
        free(h->orders[i].who);
    }
    free(h->sockets);
    free(h->orders);
    OPENSSL_cleanse(&h->tickets, sizeof h->tickets);
    if (h->fd >= 0)
        close(h->fd);
    free(h);
}

/* ---- what there is ---- */

/* Ports of the kernel's choice are told apart by their sections, as config_find_listen does. */
static struct heir_socket *socket_find(const struct heir *h, const struct net_addr *addr, const char *section)
{
    const bool kernel_port = addr->sa.sa_family != AF_UNIX && net_addr_port(addr) == 0;
    for (size_t i = 0; h != NULL && i < h->socket_count; i++) {
        struct heir_socket *s = &h->sockets[i];
        if (!s->taken && s->count > 0 && net_addr_eq(&s->addr, addr) &&
            (s->section[0] == '\0') == (section[0] == '\0') &&
            (!kernel_port || strcmp(s->section, section) == 0))
            return s;
    }
    return NULL;
}

bool heir_has(const struct heir *h, const struct net_addr *addr, const char *section)
{
    return socket_find(h, addr, section) != NULL;
}

bool heir_has_port(const struct heir *h, uint16_t port)
{
    struct net_addr bound;
    for (size_t i = 0; h != NULL && i < h->socket_count; i++) {
        const struct heir_socket *s = &h->sockets[i];
        if (!s->taken && s->count > 0 && net_local_addr(s->fds[0], &bound) && net_addr_port(&bound) == port)
            return true;
    }
    return false;
}

int *heir_take(struct heir *h, const struct net_addr *addr, const char *section, size_t *count)
{
    struct heir_socket *s = socket_find(h, addr, section);
    if (s == NULL)
        return NULL;
    int *fds = s->fds;
    *count = s->count;
    s->taken = true;
    s->fds = NULL;
    return fds;
}

void heir_give_tickets(struct heir *h, struct tls_tickets *to)
{
    if (h == NULL || h->tickets.count == 0)
        return;
    tls_tickets_set(to, &h->tickets);
    OPENSSL_cleanse(&h->tickets, sizeof h->tickets);
}

void heir_order_again(const struct heir *h, struct balancer *b)
{
    for (size_t i = 0; h != NULL && i < h->order_count; i++) {
        const struct heir_order *from = &h->orders[i];
        const struct balancer_order o = {.kind = from->weight < 0 ? BALANCER_DRAIN : BALANCER_WEIGHT,
                                         .pool = from->pool,
                                         .server = from->server,
                                         .who = from->who[0] != '\0' ? from->who : "the process before",
                                         .weight = (int)from->weight,
                                         .force = true};
        if (balancer_order(b, &o) != BALANCER_ORDERED)
            log_warn("%s/%s: no server any more; what was ordered about it is forgotten", o.pool, o.server);
    }
}

/* ---- the go ---- */

void heir_fail(const struct heir *h, const char *why)
{
    if (h != NULL && h->fd >= 0)
        handover_say(h->fd, HANDOVER_FAILED, slice_make(why, strnlen(why, HANDOVER_BYTES - 64)));
}

/* What this configuration has no place for is served, and closed, by the older process alone. */
static void give_back_unused(struct heir *h)
{
    char number[24];
    for (size_t i = 0; i < h->socket_count; i++) {
        struct heir_socket *s = &h->sockets[i];
        if (s->taken)
            continue;
        handover_close(s->fds, s->count);
        s->taken = true;
        snprintf(number, sizeof number, "%zu", i);
        handover_say(h->fd, HANDOVER_UNUSED, slice_str(number));
    }
}

static void channel_close(struct heir *h)
{
    if (h->event != NULL)
        event_free(h->event);
    h->event = NULL;
    if (h->twin != NULL)
        purge_twin_end(h->twin);
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
}

bool heir_await_go(struct heir *h, struct purge_twin *twin, struct cache *cache)
{
    char bytes[HANDOVER_BYTES];
    int fds[HANDOVER_FDS], n;
    size_t fd_count;
    struct handover m;
    give_back_unused(h);
    handover_say(h->fd, HANDOVER_READY, SLICE_LIT(MILLPOND_VERSION));
    while ((n = receive(h, bytes, &m, fds, &fd_count, GO_MS)) > 0) {
        handover_close(fds, fd_count);
        if (m.kind == HANDOVER_BACK)
            return false;
        if (m.kind == HANDOVER_GO) {
            h->twin = twin;
            purge_twin_begin(twin, cache, h->fd, TWIN_MS);
            return true;
        }
        if (m.kind == HANDOVER_ORDER && !take_order(h, m.text))
            log_error("out of memory: an order about a server is lost");
    }
    if (n < 0 && errno != ECONNRESET)
        return false;
    log_warn("process %ld has ended before it said so; this one serves in its place", h->old_pid);
    channel_close(h);
    return true;
}

/* ---- afterwards ---- */

static void heir_on_message(evutil_socket_t fd, short what, void *arg)
{
    struct heir *h = arg;
    char bytes[HANDOVER_BYTES];
    int fds[HANDOVER_FDS];
    size_t fd_count;
    struct handover m;
    UNUSED(what);
    const int n = handover_receive(fd, bytes, &m, fds, &fd_count);
    const bool unread = n < 0 && errno == EBADMSG; /* what came with it found no descriptor free, say */
    if (n > 0 && m.kind == HANDOVER_TAKEN)
        server_notify("READY=1");
    if (unread || (n > 0 && m.kind == HANDOVER_PURGED))
        purge_twin_hear(h->twin);
    handover_close(fds, fd_count);
    if (n > 0 || unread || (n < 0 && errno == EAGAIN))
        return;
    log_info("the process before this one, %ld, has ended", h->old_pid);
    channel_close(h);
}

void heir_serving(struct heir *h, struct worker *control)
{
    h->at_ms = clock_wall_ms();
    if (h->fd < 0)
        return;
    evutil_make_socket_nonblocking(h->fd);
    h->event = event_new(control->base, h->fd, EV_READ | EV_PERSIST, heir_on_message, h);
    if (h->event == NULL || event_add(h->event, NULL) != 0) {
        log_error("out of memory: what is purged in process %ld stays here", h->old_pid);
        channel_close(h);
        return;
    }
    handover_say(h->fd, HANDOVER_SERVING, SLICE_EMPTY);
}

void heir_stop(struct heir *h)
{
    if (h != NULL && h->event != NULL)
        channel_close(h);
}

long heir_old_pid(const struct heir *h)
{
    return h != NULL && h->fd >= 0 ? h->old_pid : 0;
}

json_t *heir_status(const struct heir *h)
{
    if (h == NULL)
        return json_null();
    return json_pack("{s:I, s:I, s:s, s:b}", "at_ms", (json_int_t)h->at_ms, "old_pid", (json_int_t)h->old_pid,
                     "old_version", h->old_version, "old_serves", h->fd >= 0);
}
