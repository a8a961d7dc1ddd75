/* relay.c: one thread that polls. A command is a byte in a pipe and is answered by a byte in another: what
 * the test asked for has happened when it goes on. State is touched by the thread only. */
#include "tests/support/relay.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

#define PAIRS_MAX 256 /* those that a program gave up while the link stood still, too */
#define TICK_MS   10

enum relay_mode { OPEN, CUT, STALLED, SLOW, DELAYED, CUT_AFTER, COUNT, END };

struct order {
    enum relay_mode mode;
    unsigned amount; /* SLOW: bytes per tick; DELAYED: ms; CUT_AFTER: bytes */
};

/* One direction: what was read and is not written yet. */
struct half {
    int from, to;
    char bytes[16384];
    size_t start, end;
    unsigned allowance; /* bytes, until the next tick; CUT_AFTER: until the end */
    mono_ms_t due_ms;   /* not passed on before */
};

struct pair {
    struct half halves[2];
};

struct relay {
    /* set once */
    int listen_fd, orders[2], answers[2];
    uint16_t port, target;
    char *address;
    pthread_t thread;
    /* its thread */
    struct order order;
    struct pair *pairs[PAIRS_MAX];
    mono_ms_t tick_ms;
};

static void pair_close(struct relay *r, unsigned i, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    for (unsigned k = 0; k < 2; k++) {
        if (reset)
            setsockopt(r->pairs[i]->halves[k].from, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(r->pairs[i]->halves[k].from);
    }
    free(r->pairs[i]);
    r->pairs[i] = NULL;
}

static void pair_open(struct relay *r)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(r->target), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pair *p = calloc(1, sizeof *p);
    unsigned i = 0;
    while (i < PAIRS_MAX && r->pairs[i] != NULL)
        i++;
    if (server < 0 || p == NULL || i == PAIRS_MAX)
        abort();
    p->halves[0] = (struct half){.from = client, .to = server, .allowance = r->order.amount};
    p->halves[1] = (struct half){.from = server, .to = client, .allowance = r->order.amount};
    r->pairs[i] = p;
    if (r->order.mode == CUT || connect(server, (struct sockaddr *)&in, sizeof in) != 0) {
        pair_close(r, i, true);
        return;
    }
    fcntl(client, F_SETFL, O_NONBLOCK);
    fcntl(server, F_SETFL, O_NONBLOCK);
}

static bool half_wants_read(const struct relay *r, const struct half *h)
{
    return h->end == 0 && r->order.mode != STALLED && (r->order.mode != SLOW || h->allowance > 0);
}

static bool half_may_write(const struct relay *r, const struct half *h)
{
    return h->end > h->start && r->order.mode != STALLED &&
           (r->order.mode != DELAYED || clock_mono_ms() >= h->due_ms);
}

/* false: the connection is over. */
static bool half_move(struct relay *r, struct half *h, bool is_answers)
{
    const bool ends = r->order.mode == CUT_AFTER && is_answers;
    if (half_wants_read(r, h)) {
        size_t room = r->order.mode == SLOW || ends ? MIN(h->allowance, sizeof h->bytes) : sizeof h->bytes;
        ssize_t n = room > 0 ? recv(h->from, h->bytes, room, 0) : 0;
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        h->end = n > 0 ? (size_t)n : 0;
        h->allowance -= (unsigned)MIN(h->end, h->allowance);
        h->due_ms = clock_mono_ms() + (mono_ms_t)r->order.amount;
    }
    if (half_may_write(r, h)) {
        ssize_t n = send(h->to, h->bytes + h->start, h->end - h->start, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return false;
        h->start += n > 0 ? (size_t)n : 0;
        if (h->start == h->end)
            h->start = h->end = 0;
    }
    return true;
}

/* false: the test is over. */
static bool obey(struct relay *r)
{
    unsigned answer = 0;
    struct order o;
    if (read(r->orders[0], &o, sizeof o) != (ssize_t)sizeof o || o.mode == END)
        return false;
    for (unsigned i = 0; i < PAIRS_MAX; i++) {
        if (r->pairs[i] == NULL)
            continue;
        answer++;
        for (unsigned k = 0; k < 2 && o.mode != COUNT; k++)
            r->pairs[i]->halves[k].allowance = o.amount;
        if (o.mode == CUT)
            pair_close(r, i, true);
    }
    if (o.mode != COUNT)
        r->order = o;
    return write(r->answers[1], &answer, sizeof answer) == (ssize_t)sizeof answer;
}

static void tick(struct relay *r)
{
    mono_ms_t now_ms = clock_mono_ms();
    if (r->order.mode != SLOW || now_ms < r->tick_ms + TICK_MS)
        return;
    r->tick_ms = now_ms;
    for (unsigned i = 0; i < 2 * PAIRS_MAX; i++) {
        if (r->pairs[i / 2] != NULL)
            r->pairs[i / 2]->halves[i % 2].allowance = r->order.amount;
    }
}

/* What to wait for: the listener, orders, and each pair's two sockets. */
static void wait_for_events(const struct relay *r)
{
    struct pollfd fds[2 + 2 * PAIRS_MAX] = {{.fd = r->listen_fd, .events = POLLIN},
                                            {.fd = r->orders[0], .events = POLLIN}};
    nfds_t n = 2;
    for (unsigned i = 0; i < PAIRS_MAX; i++) {
        for (unsigned k = 0; r->pairs[i] != NULL && k < 2; k++) {
            const struct half *in = &r->pairs[i]->halves[k], *out = &r->pairs[i]->halves[1 - k];
            short events =
                (short)((half_wants_read(r, in) ? POLLIN : 0) | (half_may_write(r, out) ? POLLOUT : 0));
            fds[n++] = (struct pollfd){.fd = events != 0 ? in->from : -1, .events = events};
        }
    }
    poll(fds, n, r->order.mode == SLOW || r->order.mode == DELAYED ? TICK_MS : -1);
}

static bool readable(int fd)
{
    struct pollfd f = {.fd = fd, .events = POLLIN};
    return poll(&f, 1, 0) > 0;
}

static void *relay_main(void *arg)
{
    struct relay *r = arg;
    for (;;) {
        wait_for_events(r);
        if (readable(r->orders[0]) && !obey(r))
            return NULL;
        if (readable(r->listen_fd))
            pair_open(r);
        tick(r);
        for (unsigned i = 0; i < PAIRS_MAX; i++) {
            if (r->pairs[i] != NULL && !(half_move(r, &r->pairs[i]->halves[0], false) &&
                                         half_move(r, &r->pairs[i]->halves[1], true)))
                pair_close(r, i, r->order.mode == CUT_AFTER);
        }
    }
}

static unsigned give(struct relay *r, struct order o)
{
    unsigned answer = 0;
    if (write(r->orders[1], &o, sizeof o) != (ssize_t)sizeof o ||
        (o.mode != END && read(r->answers[0], &answer, sizeof answer) != (ssize_t)sizeof answer))
        support_fail("the relay is gone");
    return answer;
}

static void relay_end(void *arg)
{
    struct relay *r = arg;
    give(r, (struct order){.mode = END});
    pthread_join(r->thread, NULL);
    for (unsigned i = 0; i < PAIRS_MAX; i++) {
        if (r->pairs[i] != NULL)
            pair_close(r, i, false);
    }
    for (unsigned i = 0; i < 2; i++) {
        close(r->orders[i]);
        close(r->answers[i]);
    }
    close(r->listen_fd);
    free(r);
}

struct relay *relay_start(uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    struct relay *r = calloc(1, sizeof *r);
    if (r == NULL || pipe2(r->orders, O_CLOEXEC) != 0 || pipe2(r->answers, O_CLOEXEC) != 0)
        abort();
    r->target = port;
    r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (r->listen_fd < 0 || bind(r->listen_fd, (struct sockaddr *)&in, len) != 0 ||
        listen(r->listen_fd, 64) != 0 || getsockname(r->listen_fd, (struct sockaddr *)&in, &len) != 0)
        support_fail("relay: %s", strerror(errno));
    r->port = ntohs(in.sin_port);
    r->address = textf("127.0.0.1:%u", r->port);
    if (pthread_create(&r->thread, NULL, relay_main, r) != 0)
        abort();
    support_on_end(relay_end, r);
    return r;
}

const char *relay_address(const struct relay *r)
{
    return r->address;
}

uint16_t relay_port(const struct relay *r)
{
    return r->port;
}

void relay_cut(struct relay *r)
{
    give(r, (struct order){.mode = CUT});
}

void relay_stall(struct relay *r)
{
    give(r, (struct order){.mode = STALLED});
}

void relay_slow(struct relay *r, unsigned bytes_per_tick)
{
    give(r, (struct order){.mode = SLOW, .amount = bytes_per_tick});
}

void relay_delay(struct relay *r, unsigned ms)
{
    give(r, (struct order){.mode = DELAYED, .amount = ms});
}

void relay_cut_after(struct relay *r, unsigned bytes)
{
    give(r, (struct order){.mode = CUT_AFTER, .amount = bytes});
}

void relay_heal(struct relay *r)
{
    give(r, (struct order){.mode = OPEN});
}

unsigned relay_connections(struct relay *r)
{
    return give(r, (struct order){.mode = COUNT});
}
