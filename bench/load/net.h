/* net.h: what the load programs share: a listening socket on loopback, accepting, one reply on its way.
 *
 * Each program is one thread and one epoll set. A program announces the port the kernel gave it as one line
 * on standard output, and dies with the process that started it. Any failure while setting up ends the
 * program: these are tools on loopback, and a measurement that goes on after a failure is worth nothing. */
#ifndef BENCH_LOAD_NET_H
#define BENCH_LOAD_NET_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOAD_EVENTS 512

static inline void load_die(const char *what)
{
    perror(what);
    exit(1);
}

static inline struct sockaddr_in load_loopback(unsigned port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static inline void load_watch(int ep, int fd, uint32_t events, void *data)
{
    struct epoll_event ev = {.events = events, .data.ptr = data};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0)
        load_die("epoll_ctl");
}

static inline void load_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* A non-blocking listener in a new epoll set, with data NULL; prints the port. */
static inline int load_listen(int *ep)
{
    struct sockaddr_in sa = load_loopback(0);
    socklen_t len = sizeof sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof sa) != 0 || listen(fd, 8192) != 0 ||
        getsockname(fd, (struct sockaddr *)&sa, &len) != 0)
        load_die("listen");
    *ep = epoll_create1(EPOLL_CLOEXEC);
    if (*ep < 0)
        load_die("epoll_create1");
    load_watch(*ep, fd, EPOLLIN, NULL);
    printf("%u\n", (unsigned)ntohs(sa.sin_port));
    fflush(stdout);
    return fd;
}

/* The next waiting connection, or -1. */
static inline int load_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        load_no_delay(fd);
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        load_die("accept4");
    return fd;
}

/* A reply on its way out: the pieces belong to someone else and outlive it. */
struct load_reply {
    struct iovec piece[2];
};

enum load_sent { LOAD_DONE, LOAD_AGAIN, LOAD_BROKEN };

/* Writes until all is out or the socket is full. */
static inline enum load_sent load_send(int fd, struct load_reply *r)
{
    while (r->piece[0].iov_len + r->piece[1].iov_len > 0) {
        ssize_t n = writev(fd, r->piece, 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? LOAD_AGAIN : LOAD_BROKEN;
        for (int i = 0; i < 2; i++) {
            size_t part = (size_t)n < r->piece[i].iov_len ? (size_t)n : r->piece[i].iov_len;
            r->piece[i].iov_base = (char *)r->piece[i].iov_base + part;
            r->piece[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return LOAD_DONE;
}

#endif
