/* floor_responder.c: the least that answering a cached GET can cost.
 *
 * A bare epoll loop: read, find the blank line, writev a constant head and body. Nothing is parsed and
 * nothing is looked up, so a proxy that comes near this figure spends its time in the kernel. Answers
 * pipelined requests one by one. With `close` every connection carries one request.
 *
 * usage: floor_responder BODY_BYTES [close]. Prints its port. Not for use beyond loopback: a client that
 * sends 4 KB without a blank line is cut off, and that is all the defence there is. */
#include "bench/load/net.h"

struct conn {
    int fd;
    bool busy; /* `reply` is not out yet */
    size_t have;
    struct load_reply reply;
    char in[4096];
};

struct answer {
    char head[256];
    size_t head_bytes;
    char *body;
    size_t body_bytes;
    bool close;
};

static bool conn_reply(struct conn *c)
{
    enum load_sent sent = load_send(c->fd, &c->reply);
    c->busy = sent == LOAD_AGAIN;
    return sent != LOAD_BROKEN;
}

/* Answers what is complete in `in`. False: the connection is over. */
static bool conn_answer(struct conn *c, const struct answer *a)
{
    size_t at = 0;
    while (!c->busy && at < c->have) {
        char *end = memmem(c->in + at, c->have - at, "\r\n\r\n", 4);
        if (end == NULL)
            break;
        at = (size_t)(end - c->in) + 4;
        c->reply.piece[0] = (struct iovec){(void *)a->head, a->head_bytes};
        c->reply.piece[1] = (struct iovec){a->body, a->body_bytes};
        if (!conn_reply(c) || (a->close && !c->busy))
            return false;
    }
    c->have -= at;
    if (at > 0 && c->have > 0)
        memmove(c->in, c->in + at, c->have);
    return c->busy || c->have < sizeof c->in;
}

static bool conn_on_event(struct conn *c, const struct answer *a, uint32_t events)
{
    if (c->busy && (!conn_reply(c) || (!c->busy && (a->close || !conn_answer(c, a)))))
        return false;
    if ((events & ~(uint32_t)EPOLLOUT) == 0)
        return true;
    while (!c->busy) {
        size_t room = sizeof c->in - c->have;
        ssize_t n = read(c->fd, c->in + c->have, room);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        c->have += (size_t)n;
        if (!conn_answer(c, a))
            return false;
        if ((size_t)n < room)
            return true;
    }
    return true;
}

static void accept_all(int listener, int ep)
{
    for (int fd; (fd = load_accept(listener)) >= 0;) {
        struct conn *c = malloc(sizeof *c);
        if (c == NULL)
            load_die("malloc");
        c->fd = fd;
        c->busy = false;
        c->have = 0;
        load_watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
    }
}

int main(int argc, char **argv)
{
    static struct answer a;
    struct epoll_event events[LOAD_EVENTS];
    int ep, listener;

    if (argc < 2) {
        fprintf(stderr, "usage: %s BODY_BYTES [close]\n", argv[0]);
        return 2;
    }
    a.body_bytes = strtoul(argv[1], NULL, 10);
    a.close = argc > 2 && strcmp(argv[2], "close") == 0;
    a.body = malloc(a.body_bytes + 1);
    if (a.body == NULL)
        load_die("malloc");
    memset(a.body, 'x', a.body_bytes);
    a.head_bytes =
        (size_t)snprintf(a.head, sizeof a.head,
                         "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\n"
                         "%sContent-Length: %zu\r\n\r\n",
                         a.close ? "Connection: close\r\n" : "", a.body_bytes);
    listener = load_listen(&ep);
    for (;;) {
        int n = epoll_wait(ep, events, LOAD_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                accept_all(listener, ep);
            } else if (!conn_on_event(c, &a, events[i].events)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
