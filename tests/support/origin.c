/* origin.c: one accepting thread, one thread per connection, everything shared under one mutex.
 *
 * Connection threads are detached and counted: thousands may come and go in a test, and joining each would
 * keep their stacks. origin_stop shuts the sockets down, which ends every blocking call, and waits for the
 * count to reach zero. An event loop was rejected: scripts are easiest to read, and to hold at a gate, as
 * straight code that blocks. */
#include "tests/support/origin.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>

struct live_conn {
    struct live_conn *next;
    struct origin_conn conn;
};

struct origin {
    /* set once */
    struct origin_options options;
    int listen_fd, port;
    pthread_t accepting;
    pthread_mutex_t mtx;
    pthread_cond_t changed;
    /* under mtx */
    bool stopped;
    struct live_conn *live;
    unsigned open, connections;
    uint64_t bytes;
    struct message **requests;
    size_t request_count, request_cap;
};

/* ---- scripts ---- */

bool origin_send_bytes(struct origin_conn *c, const void *bytes, size_t n)
{
    return wire_send(&c->wire, bytes, n);
}

bool origin_send(struct origin_conn *c, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    bool sent = n >= 0 && wire_send(&c->wire, text, (size_t)n);
    free(text);
    return sent;
}

bool origin_respond(struct origin_conn *c, int status, const char *fields, const char *body)
{
    bool head = c->request != NULL && strcmp(c->request->method, "HEAD") == 0;
    return origin_send(c, "HTTP/1.1 %d Scripted\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields,
                       strlen(body), head ? "" : body);
}

bool origin_send_chunk(struct origin_conn *c, const char *data, size_t n)
{
    if (n == 0)
        return origin_send(c, "0\r\n\r\n");
    return origin_send(c, "%zx\r\n", n) && origin_send_bytes(c, data, n) && origin_send(c, "\r\n");
}

void origin_close(struct origin_conn *c)
{
    shutdown(c->wire.fd, SHUT_WR);
    c->done = true;
}

void origin_reset(struct origin_conn *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->wire.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    c->done = true;
}

bool origin_wait_peer_close(struct origin_conn *c)
{
    while (wire_more(&c->wire, support_wait_ms()))
        wire_take(&c->wire, c->wire.len);
    return c->wire.closed || c->wire.reset;
}

void origin_read_body(struct origin_conn *c)
{
    struct message *m = (struct message *)(uintptr_t)c->request; /* this thread made it */
    wire_read_body(&c->wire, m);
    pthread_mutex_lock(&c->origin->mtx);
    pthread_cond_broadcast(&c->origin->changed);
    pthread_mutex_unlock(&c->origin->mtx);
}

/* ---- connections ---- */

static void record_request(struct origin *o, struct message *m)
{
    pthread_mutex_lock(&o->mtx);
    if (o->request_count == o->request_cap) {
        o->request_cap = o->request_cap * 2 + 16;
        o->requests = realloc(o->requests, o->request_cap * sizeof(*o->requests));
        if (o->requests == NULL)
            abort();
    }
    o->requests[o->request_count++] = m;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mtx);
}

static void serve(struct origin_conn *c)
{
    const struct origin_options *opt = &c->origin->options;
    if (opt->raw) {
        opt->script(c, NULL, opt->arg);
        return;
    }
    while (!c->done) {
        struct message *m = wire_read_head(&c->wire, false, false);
        if (m->end == MESSAGE_NONE || m->end == MESSAGE_TIMEOUT ||
            (m->end == MESSAGE_RESET && c->wire.len == 0)) {
            message_free(m);
            return;
        }
        if (!opt->head_only)
            wire_read_body(&c->wire, m);
        if (!opt->forgets)
            record_request(c->origin, m);
        const bool whole = m->end == MESSAGE_COMPLETE;
        if (whole) {
            c->request = m;
            opt->script(c, m, opt->arg);
            c->served++;
        }
        if (opt->forgets)
            message_free(m);
        if (!whole)
            return;
    }
}

static void forget(struct live_conn *lc)
{
    struct origin *o = lc->conn.origin;
    pthread_mutex_lock(&o->mtx);
    struct live_conn **at = &o->live;
    while (*at != lc)
        at = &(*at)->next;
    *at = lc->next;
    o->bytes += lc->conn.wire.received_bytes;
    wire_free(
        &lc->conn.wire); /* under the mutex: origin_stop must not shut down a descriptor that was reused */
    free(lc);
    o->open--;
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mtx);
}

static void *conn_main(void *arg)
{
    struct live_conn *lc = arg;
    serve(&lc->conn);
    forget(lc);
    return NULL;
}

static void start_conn(struct origin *o, int fd)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (o->options.sndbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &o->options.sndbuf_bytes, sizeof(int));
    struct live_conn *lc = calloc(1, sizeof(*lc));
    if (lc == NULL)
        abort();
    wire_init(&lc->conn.wire, fd);
    lc->conn.origin = o;
    pthread_mutex_lock(&o->mtx);
    lc->conn.number = ++o->connections;
    lc->next = o->live;
    o->live = lc;
    o->open++;
    if (o->stopped)
        shutdown(fd, SHUT_RDWR);
    pthread_cond_broadcast(&o->changed);
    pthread_mutex_unlock(&o->mtx);
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * KB);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attr, conn_main, lc) != 0)
        abort();
    pthread_attr_destroy(&attr);
}

static void *accept_main(void *arg)
{
    struct origin *o = arg;
    for (;;) {
        int fd = accept4(o->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            start_conn(o, fd);
        else if (errno != EINTR && errno != ECONNABORTED && errno != EMFILE)
            return NULL;
    }
}

/* ---- the test's side ---- */

/* On 127.0.0.`last`. */
static int bound_socket(int port, unsigned last, int *bound_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + last);
    socklen_t len = sizeof(a);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (port != 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        support_fail("cannot bind 127.0.0.%u:%d: %s", last, port, strerror(errno));
    *bound_port = ntohs(a.sin_port);
    return fd;
}

static void origin_free(void *arg)
{
    struct origin *o = arg;
    gate_open_all();
    origin_stop(o);
    for (size_t i = 0; i < o->request_count; i++)
        message_free(o->requests[i]);
    free(o->requests);
    pthread_mutex_destroy(&o->mtx);
    pthread_cond_destroy(&o->changed);
    free(o);
}

struct origin *origin_start_with(const struct origin_options *options)
{
    struct origin *o = calloc(1, sizeof(*o));
    if (o == NULL)
        abort();
    o->options = *options;
    pthread_mutex_init(&o->mtx, NULL);
    cond_init_mono(&o->changed);
    o->listen_fd = bound_socket(options->port, MAX(options->loopback, 1), &o->port);
    if (options->rcvbuf_bytes > 0)
        setsockopt(o->listen_fd, SOL_SOCKET, SO_RCVBUF, &options->rcvbuf_bytes, sizeof(int));
    if (listen(o->listen_fd, 4096) != 0 || pthread_create(&o->accepting, NULL, accept_main, o) != 0)
        support_fail("cannot start an origin: %s", strerror(errno));
    support_on_end(origin_free, o);
    return o;
}

struct origin *origin_start(origin_script *script, void *arg)
{
    return origin_start_with(&(struct origin_options){.script = script, .arg = arg});
}

static void fixed_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_send_bytes(c, arg, strlen(arg));
}

struct origin *origin_start_fixed(const char *raw)
{
    return origin_start(fixed_script, textf("%s", raw));
}

static void named_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", arg);
}

struct origin *origin_start_named(const char *name)
{
    return origin_start(named_script, textf("%s", name));
}

void origin_stop(struct origin *o)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    pthread_mutex_lock(&o->mtx);
    bool again = o->stopped;
    o->stopped = true;
    pthread_mutex_unlock(&o->mtx);
    if (again)
        return;
    shutdown(o->listen_fd, SHUT_RDWR);
    pthread_join(o->accepting, NULL);
    close(o->listen_fd);
    pthread_mutex_lock(&o->mtx);
    for (struct live_conn *lc = o->live; lc != NULL; lc = lc->next) {
        setsockopt(lc->conn.wire.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        shutdown(lc->conn.wire.fd, SHUT_RD); /* wakes the thread; its close is the RST */
    }
    while (o->open > 0)
        pthread_cond_wait(&o->changed, &o->mtx);
    pthread_mutex_unlock(&o->mtx);
}

static void close_fd(void *arg)
{
    close((int)(intptr_t)arg);
}

int origin_refusing_port(void)
{
    int port;
    int fd = bound_socket(0, 1, &port); /* held, but not listening */
    support_on_end(close_fd, (void *)(intptr_t)fd);
    return port;
}

int origin_hanging_port(int wanted)
{
    int port;
    int fd = bound_socket(wanted, 1, &port);
    support_on_end(close_fd, (void *)(intptr_t)fd);
    if (listen(fd, 0) != 0)
        support_fail("listen: %s", strerror(errno));
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 4; i++) { /* fills the backlog; further SYNs are dropped */
        int filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(filler, (struct sockaddr *)&a, sizeof(a)) != 0 && errno != EINPROGRESS)
            support_fail("connect: %s", strerror(errno));
        support_on_end(close_fd, (void *)(intptr_t)filler);
    }
    return port;
}

int origin_port(const struct origin *o)
{
    return o->port;
}

/* One figure under the mutex. */
#define LOCKED(o, type, expression)                                                                          \
    do {                                                                                                     \
        pthread_mutex_lock(&(o)->mtx);                                                                       \
        type v_ = (type)(expression);                                                                        \
        pthread_mutex_unlock(&(o)->mtx);                                                                     \
        return v_;                                                                                           \
    } while (0)

unsigned origin_requests(struct origin *o)
{
    LOCKED(o, unsigned, o->request_count);
}

unsigned origin_connections(struct origin *o)
{
    LOCKED(o, unsigned, o->connections);
}

unsigned origin_open(struct origin *o)
{
    LOCKED(o, unsigned, o->open);
}

uint64_t origin_bytes(struct origin *o)
{
    LOCKED(o, uint64_t, o->bytes);
}

const struct message *origin_request(struct origin *o, unsigned i)
{
    pthread_mutex_lock(&o->mtx);
    const struct message *m = i < o->request_count ? o->requests[i] : NULL;
    pthread_mutex_unlock(&o->mtx);
    if (m == NULL)
        support_fail("the origin has not seen request number %u", i);
    return m;
}

unsigned origin_requests_for(struct origin *o, const char *target)
{
    unsigned n = 0;
    pthread_mutex_lock(&o->mtx);
    for (size_t i = 0; i < o->request_count; i++)
        n += o->requests[i]->target != NULL && strcmp(o->requests[i]->target, target) == 0;
    pthread_mutex_unlock(&o->mtx);
    return n;
}

void origin_wait_requests_(struct origin *o, unsigned n)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    pthread_mutex_lock(&o->mtx);
    while (o->request_count < n && cond_wait_until(&o->changed, &o->mtx, deadline))
        ;
    size_t got = o->request_count;
    pthread_mutex_unlock(&o->mtx);
    if (got < n)
        support_fail("the origin got %zu requests, not %u", got, n);
}

void origin_wait_open_(struct origin *o, unsigned n)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    pthread_mutex_lock(&o->mtx);
    while (o->open != n && cond_wait_until(&o->changed, &o->mtx, deadline))
        ;
    unsigned got = o->open;
    pthread_mutex_unlock(&o->mtx);
    if (got != n)
        support_fail("%u connections are open at the origin, not %u", got, n);
}
