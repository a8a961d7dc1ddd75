/* instance_fixture.h: requests of clients, all the way to an instance that the test plays and back, in one
 * thread: each step is the test's, and so is what becomes of memory
 * (no_memory.h). Static functions, one program each. */
#ifndef TESTS_UNIT_PROXY_INSTANCE_FIXTURE_H
#define TESTS_UNIT_PROXY_INSTANCE_FIXTURE_H

#include "fixture.h"
#include "h2_frames.h"
#include "no_memory.h"

#include <event2/event.h>
#include <fcntl.h>
#include <nghttp2/nghttp2.h>

#include "core/net.h"
#include "proxy/upstream_pool.h"

#define INST_CLIENTS 4
#define INST_CONNS   8
#define INST_STREAMS 8
#define INST_ROUNDS  3000

/* One connection to the instance. */
struct inst_conn {
    int fd;                  /* -1: closed */
    bool stays, eof;         /* stays: it is not closed when the other side ends, which is `eof` */
    char in[128 * KB];       /* more than a stream's first window */
    size_t in_bytes, parsed; /* parsed: frames up to here were looked at */
    bool asked[INST_STREAMS], ended[INST_STREAMS], reset[INST_STREAMS]; /* of stream 2 * i + 1 */
};

struct inst_client {
    int fd;
    char got[16 * KB];
    size_t got_bytes;
    bool closed;
};

struct inst_fix {
    struct proxy_fix f;
    int listener[2], port[2];
    bool h2;
    struct inst_client client[INST_CLIENTS];
    struct inst_conn *conn[INST_CONNS];
    int conn_of[INST_CONNS]; /* which listener it came to */
    unsigned conn_count;
};

static inline int inst_listen(int *port)
{
    struct net_addr a;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &a));
    int fd = net_listen(&a, 16, false);
    assert_true(fd >= 0 && net_local_addr(fd, &a));
    const int off = 0;
    setsockopt(fd, IPPROTO_TCP, 9 /* TCP_DEFER_ACCEPT */, &off, sizeof off);
    *port = net_addr_port(&a);
    return fd;
}

/* `lines` follow those of a pool with one server; each SECOND in them is the port of another instance. */
static inline void inst_start_with(struct inst_fix *o, bool h2, bool cached, const char *lines)
{
    char ini[2048];
    memset(o, 0, sizeof *o);
    o->h2 = h2;
    for (int i = 0; i < 2; i++)
        o->listener[i] = inst_listen(&o->port[i]);
    int n = snprintf(ini, sizeof ini,
                     "[listen x]\naddress = 127.0.0.1:1\nprotocols = h2, http/1.1, h2c\n"
                     "[pool app]\nserver = 127.0.0.1:%d\nhealth_check = off\neject_errors = 0\n"
                     "protocol = %s\n",
                     o->port[0], h2 ? "h2" : "http/1.1");
    for (const char *at; (at = strstr(lines, "SECOND")) != NULL; lines = at + strlen("SECOND"))
        n += snprintf(ini + n, sizeof ini - (size_t)n, "%.*s%d", (int)(at - lines), lines, o->port[1]);
    snprintf(ini + n, sizeof ini - (size_t)n, "%s", lines);
    fix_start(&o->f, ini, cached);
    balancer_set_activate(o->f.balancer, o->f.snapshot->balancers);
    o->f.server.spill = upstream_spill_create();
    assert_non_null(o->f.server.spill);
    for (int i = 0; i < INST_CLIENTS; i++)
        o->client[i].fd = -1;
}

static inline void inst_start(struct inst_fix *o, bool h2, const char *lines)
{
    inst_start_with(o, h2, false, lines);
}

static inline void inst_parse(struct inst_conn *k)
{
    while (k->in_bytes - k->parsed >= 9) {
        const unsigned char *p = (unsigned char *)k->in + k->parsed;
        if (k->parsed == 0 && *p == 'P') { /* the preface */
            if (k->in_bytes < 24)
                return;
            k->parsed = 24;
            continue;
        }
        const size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (k->in_bytes - k->parsed < 9 + n)
            return;
        const unsigned i = p[8] / 2;
        k->parsed += 9 + n;
        if (p[8] == 0 || i >= INST_STREAMS)
            continue;
        k->asked[i] |= p[3] == NGHTTP2_HEADERS;
        k->ended[i] |= p[3] <= NGHTTP2_HEADERS && (p[4] & NGHTTP2_FLAG_END_STREAM) != 0;
        k->reset[i] |= p[3] == NGHTTP2_RST_STREAM;
    }
}

static inline void inst_send(struct inst_conn *k, const void *bytes, size_t n)
{
    if (k->fd >= 0)
        send(k->fd, bytes, n, MSG_NOSIGNAL);
}

static inline void inst_say(struct inst_fix *o, unsigned conn, const char *text)
{
    inst_send(o->conn[conn], text, strlen(text));
}

static inline void inst_frame(struct inst_conn *k, uint8_t type, uint8_t flags, unsigned id,
                              const void *payload, size_t n)
{
    struct frames f = {.n = 0};
    frames_put(&f, type, flags, id, payload, n);
    inst_send(k, f.bytes, f.n);
}

/* It breaks this connection, or closes it if all was read. */
static inline void inst_break(struct inst_fix *o, unsigned conn)
{
    close(o->conn[conn]->fd);
    o->conn[conn]->fd = -1;
}

/* A whole head of HTTP/1.1 has come by it. */
static inline bool inst_is_asked(const struct inst_fix *o, unsigned conn)
{
    return o->conn_count > conn && strstr(o->conn[conn]->in, "\r\n\r\n") != NULL;
}

static inline void inst_accept(struct inst_fix *o)
{
    for (int i = 0; i < 2; i++) {
        int fd;
        while (o->conn_count < INST_CONNS &&
               (fd = accept4(o->listener[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
            struct inst_conn *k = __real_calloc(1, sizeof *k);
            k->fd = fd;
            o->conn_of[o->conn_count] = i;
            o->conn[o->conn_count++] = k;
            if (o->h2) {
                inst_frame(k, NGHTTP2_SETTINGS, 0, 0, "", 0);
                inst_frame(k, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, "", 0);
            }
        }
    }
}

/* One turn of the worker's loop, and what has come at both ends of it. */
static inline void inst_turn(struct inst_fix *o)
{
    ssize_t n;
    worker_refresh_clock(o->f.worker);
    event_base_loop(o->f.worker->base, EVLOOP_NONBLOCK);
    worker_drain(o->f.worker);
    inst_accept(o);
    for (unsigned i = 0; i < o->conn_count; i++) {
        struct inst_conn *k = o->conn[i];
        if (k->fd < 0)
            continue;
        while ((n = read(k->fd, k->in + k->in_bytes, sizeof k->in - 1 - k->in_bytes)) > 0)
            k->in_bytes += (size_t)n;
        k->eof |= n == 0;
        if ((n == 0 && !k->stays) || (n < 0 && errno != EAGAIN))
            inst_break(o, i);
        if (o->h2)
            inst_parse(k);
    }
    for (unsigned i = 0; i < INST_CLIENTS; i++) {
        struct inst_client *c = &o->client[i];
        if (c->fd < 0)
            continue;
        while ((n = read(c->fd, c->got + c->got_bytes, sizeof c->got - 1 - c->got_bytes)) > 0)
            c->got_bytes += (size_t)n;
        c->closed |= n == 0;
    }
}

/* Turns until it is so. */
#define INST_UNTIL(o, cond)                                                                                  \
    do {                                                                                                     \
        unsigned rounds_ = 0;                                                                                \
        while (!(cond) && rounds_++ < INST_ROUNDS)                                                           \
            inst_turn(o);                                                                                    \
        if (!(cond))                                                                                         \
            fail_msg("never: %s", #cond);                                                                    \
    } while (0)

static inline void inst_client_send(struct inst_fix *o, unsigned i, const void *bytes, size_t n)
{
    assert_int_equal(send(o->client[i].fd, bytes, n, MSG_NOSIGNAL), n);
}

/* A client that begins with these bytes; its first read is at once. The connection may be gone on return. */
static inline void inst_ask_bytes(struct inst_fix *o, unsigned i, const void *bytes, size_t n)
{
    const unsigned fails_at = no_memory.fails_at;
    no_memory.fails_at = 0;
    struct client_conn *c = fix_client(&o->f, "192.0.2.7:1", &o->client[i].fd);
    no_memory.fails_at = fails_at;
    inst_client_send(o, i, bytes, n);
    client_conn_start(c);
}

static inline void inst_ask(struct inst_fix *o, unsigned i, const char *text)
{
    inst_ask_bytes(o, i, text, strlen(text));
}

static inline void inst_leave(struct inst_fix *o, unsigned i)
{
    close(o->client[i].fd);
    o->client[i].fd = -1;
}

static inline bool inst_has(const struct inst_fix *o, unsigned i, const char *text)
{
    return strstr(o->client[i].got, text) != NULL;
}

/* The exchange of a target; NULL: none. */
static inline struct exchange *inst_exchange(struct inst_fix *o, const char *target)
{
    LIST_FOREACH (n, &o->f.pw->exchanges) {
        struct exchange *x = CONTAINER_OF(n, struct exchange, node);
        if (x->client != NULL && slice_eq(x->req.target, slice_str(target)))
            return x;
    }
    return NULL;
}

/* A deadline, or what begins with one: its time is now. */
static inline void inst_ring(void *timed)
{
    struct deadline *d = timed;
    assert_true(deadline_is_set(d));
    d->on_deadline(d);
}

/* Everybody leaves; nothing may be left then. */
static inline void inst_end(struct inst_fix *o)
{
    no_memory.fails_at = 0;
    for (unsigned i = 0; i < INST_CLIENTS; i++) {
        if (o->client[i].fd >= 0)
            inst_leave(o, i);
    }
    LIST_FOREACH_SAFE (n, next, &o->f.pw->conns) {
        client_conn_close(CONTAINER_OF(n, struct client_conn, node), CLOSE_SHUTDOWN);
    }
    inst_turn(o);
    assert_int_equal(o->f.pw->exchange_count, 0);
    upstream_pool_close_all(o->f.pw);
    worker_drain(o->f.worker);
    for (unsigned i = 0; i < o->conn_count; i++) {
        if (o->conn[i]->fd >= 0)
            close(o->conn[i]->fd);
        free(o->conn[i]);
    }
    for (int i = 0; i < 2; i++)
        close(o->listener[i]);
    upstream_spill_destroy(o->f.server.spill);
    balancer_set_activate(o->f.balancer, NULL);
    fix_end(&o->f);
}

/* Plays it with the first allocation failing, then with the second, and so on until none is left to fail.
 * `after` has memory again, and no_memory.failed; `play` must come to an end whatever happens. */
static inline void inst_fail_each(void (*begin)(struct inst_fix *o), void (*play)(struct inst_fix *o),
                                  void (*after)(struct inst_fix *o))
{
    unsigned n = 0;
    do {
        struct inst_fix o;
        begin(&o);
        no_memory_at(++n);
        play(&o);
        no_memory.fails_at = 0;
        after(&o);
        inst_end(&o);
    } while (no_memory.failed && n < 1000);
    assert_true(n > 2 && n < 1000);
}

#endif
