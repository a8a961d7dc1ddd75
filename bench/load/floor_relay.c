/* floor_relay.c: the least that passing a request on can cost.
 *
 * A bare epoll relay: each client connection has one connection to the origin, and bytes are copied between
 * the two through one buffer for all. It knows no HTTP. What a full socket does not take is kept, and its
 * source is not read until that is out.
 *
 * usage: floor_relay ORIGIN_PORT. Prints its port. */
#include "bench/load/net.h"

#define RELAY_BUFFER (128u * 1024)

/* One end of a pair; owned by the pair. `kept` waits to be written to this end. */
struct end {
    int fd;
    struct end *other;
    struct pair *pair;
    char *kept;
    size_t kept_bytes, kept_at;
    bool at_end;
};

struct pair {
    struct end client, origin;
    struct pair *next_dead;
    bool dead;
};

static char buffer[RELAY_BUFFER];
static struct pair *graveyard; /* freed once no event of this turn can name them */

static void pair_close(struct pair *p)
{
    if (p->dead)
        return;
    p->dead = true;
    close(p->client.fd);
    close(p->origin.fd);
    p->next_dead = graveyard;
    graveyard = p;
}

static void bury(void)
{
    while (graveyard != NULL) {
        struct pair *p = graveyard;
        graveyard = p->next_dead;
        free(p->client.kept);
        free(p->origin.kept);
        free(p);
    }
}

/* Writes to `to`, keeps the rest. False: broken. */
static bool end_write(struct end *to, const char *data, size_t bytes)
{
    ssize_t n = write(to->fd, data, bytes);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            return false;
        n = 0;
    }
    if ((size_t)n == bytes)
        return true;
    to->kept = malloc(bytes - (size_t)n);
    if (to->kept == NULL)
        return false;
    to->kept_at = 0;
    to->kept_bytes = bytes - (size_t)n;
    memcpy(to->kept, data + n, to->kept_bytes);
    return true;
}

static bool end_flush(struct end *to)
{
    while (to->kept != NULL) {
        ssize_t n = write(to->fd, to->kept + to->kept_at, to->kept_bytes - to->kept_at);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        to->kept_at += (size_t)n;
        if (to->kept_at == to->kept_bytes) {
            free(to->kept);
            to->kept = NULL;
        }
    }
    return true;
}

/* Copies from `from` to its other end until one of them has enough. False: the pair is over. */
static bool end_copy(struct end *from)
{
    while (from->other->kept == NULL && !from->at_end) {
        ssize_t n = read(from->fd, buffer, sizeof buffer);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            from->at_end = true;
        else if (!end_write(from->other, buffer, (size_t)n))
            return false;
        else if ((size_t)n < sizeof buffer)
            return true; /* edge-triggered: what comes later makes a new event */
    }
    return !from->at_end || from->other->kept != NULL;
}

static bool end_on_event(struct end *e, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && e->kept != NULL) {
        if (!end_flush(e))
            return false;
        if (e->kept == NULL && !end_copy(e->other))
            return false;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
        return true;
    if (!end_copy(e))
        return false;
    return (events & EPOLLRDHUP) == 0 || end_copy(e); /* the end came together with the last bytes */
}

static void accept_all(int listener, int ep, unsigned origin_port)
{
    struct sockaddr_in to = load_loopback(origin_port);
    for (int fd; (fd = load_accept(listener)) >= 0;) {
        struct pair *p = calloc(1, sizeof *p);
        if (p == NULL)
            load_die("calloc");
        p->client = (struct end){.fd = fd, .other = &p->origin, .pair = p};
        p->origin = (struct end){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                                 .other = &p->client,
                                 .pair = p};
        if (p->origin.fd < 0)
            load_die("socket");
        load_no_delay(p->origin.fd);
        if (connect(p->origin.fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS)
            load_die("connect");
        load_watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &p->client);
        load_watch(ep, p->origin.fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, &p->origin);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[LOAD_EVENTS];
    int ep, listener;

    if (argc != 2) {
        fprintf(stderr, "usage: %s ORIGIN_PORT\n", argv[0]);
        return 2;
    }
    unsigned origin_port = (unsigned)strtoul(argv[1], NULL, 10);
    listener = load_listen(&ep);
    for (;;) {
        int n = epoll_wait(ep, events, LOAD_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct end *e = events[i].data.ptr;
            if (e == NULL)
                accept_all(listener, ep, origin_port);
            else if (!e->pair->dead && !end_on_event(e, events[i].events))
                pair_close(e->pair);
        }
        bury();
    }
}
