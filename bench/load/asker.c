/* asker.c: keep-alive connections that ask for one path over and over, spread evenly over several ports.
 *
 * wrk takes one port. For a comparison of one server with two workers and two servers with one, each client
 * must meet both sides in either case: who wakes whom, and on which CPU, is part of what a request costs.
 *
 * usage: asker PATH CONNECTIONS PORT... For each line on standard input, a number of milliseconds, it opens
 * the connections, asks for that long, waits for the answers under way and prints how many were complete with
 * status 200. Ends at the end of its input, or with a message when an answer is anything else. */
#include "bench/load/net.h"

#include <strings.h>
#include <sys/ioctl.h>
#include <time.h>

struct conn {
    int fd;
    size_t have, body_left; /* of the head; of the body, once the head is complete */
    bool busy;
    char head[4096];
};

static char request[4096];
static size_t request_bytes;

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void ask(struct conn *c)
{
    if (write(c->fd, request, request_bytes) != (ssize_t)request_bytes)
        load_die("write");
    c->have = c->body_left = 0;
    c->busy = true;
}

/* Takes in what came; true when that ended an answer. */
static bool take(struct conn *c)
{
    static char body[256 * 1024];
    if (c->body_left == 0) {
        ssize_t n = read(c->fd, c->head + c->have, sizeof c->head - 1 - c->have);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            load_die("the server closed a connection");
        c->have += (size_t)n;
        c->head[c->have] = '\0';
        const char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "\r\ncontent-length:");
        if (end == NULL)
            return false;
        if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || length == NULL || length > end)
            load_die("an answer without 200 or length");
        c->body_left = strtoul(length + 17, NULL, 10) - (c->have - (size_t)(end + 4 - c->head));
    }
    while (c->body_left > 0) {
        ssize_t n = read(c->fd, body, c->body_left < sizeof body ? c->body_left : sizeof body);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n <= 0)
            load_die("the server closed a connection");
        c->body_left -= (size_t)n;
    }
    c->busy = false;
    return true;
}

static void open_all(struct conn *conns, int count, char **ports, int port_count, int ep)
{
    for (int i = 0; i < count; i++) {
        struct sockaddr_in to = load_loopback((unsigned)atoi(ports[i % port_count]));
        conns[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (conns[i].fd < 0 || connect(conns[i].fd, (struct sockaddr *)&to, sizeof to) != 0)
            load_die("connect");
        load_no_delay(conns[i].fd);
        int on = 1;
        if (ioctl(conns[i].fd, FIONBIO, &on) != 0)
            load_die("ioctl");
        load_watch(ep, conns[i].fd, EPOLLIN, &conns[i]);
        ask(&conns[i]);
    }
}

static long run(int count, int ep, long end_ms)
{
    struct epoll_event events[LOAD_EVENTS];
    long answers = 0;
    for (int open = count; open > 0;) {
        int n = epoll_wait(ep, events, LOAD_EVENTS, 10000);
        bool over = now_ms() >= end_ms;
        if (n == 0)
            load_die("no answer for 10 seconds");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c->busy || !take(c))
                continue;
            answers++;
            if (!over) {
                ask(c);
                continue;
            }
            close(c->fd);
            open--;
        }
    }
    return answers;
}

int main(int argc, char **argv)
{
    int ep = epoll_create1(EPOLL_CLOEXEC), count = argc > 3 ? atoi(argv[2]) : 0;
    struct conn *conns = calloc((size_t)(count > 0 ? count : 1), sizeof *conns);
    char line[32];
    if (count <= 0 || ep < 0 || conns == NULL) {
        fprintf(stderr, "usage: %s PATH CONNECTIONS PORT...\n", argv[0]);
        return 2;
    }
    request_bytes =
        (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", argv[1]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        long end_ms = now_ms() + atol(line);
        open_all(conns, count, argv + 3, argc - 3, ep);
        printf("%ld\n", run(count, ep, end_ms));
        fflush(stdout);
    }
}
