/* paced.c: asks for what it is told to, at a rate of its own, and says how long answers took.
 *
 * The paths to ask for stand on standard input, one per line; each is asked for once, in that order, over
 * whichever connection has been idle longest. With a RATE (requests per second) requests fall due at random,
 * independent moments (a Poisson process, the same one in each run), whatever the answers do. A request
 * that finds no idle connection waits for one, and its time counts from the moment it was due, so a slow
 * proxy cannot hide by slowing the client down. With RATE 0 it asks as fast as answers come: to fill a cache.
 *
 * h2load is not used for this: at the same rate it saw the bare responder ten times slower than this does,
 * and each of its clients walks the list of URIs by itself. wrk has no rate.
 *
 * usage: paced PORT CONNECTIONS RATE <paths. Prints as JSON how many, and in microseconds: all of it, p50,
 * p99 and the worst. Anything but 200 with a Content-Length, and 10 s without an answer, end it with
 * status 1. */
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "bench/load/net.h"

#define GIVE_UP_S 10
#define NS        1000000000ull
#define TAIL      " HTTP/1.1\r\nHost: bench.test\r\n\r\n"

struct conn {
    int fd;
    uint64_t due_ns;  /* of the request under way */
    size_t head_have; /* bytes in `head` */
    size_t body_left; /* once the head is complete */
    bool in_body;
    char head[4096 + 1];
};

static struct conn **idle; /* a ring of all that wait for a request, longest first */
static size_t idle_first, idle_count, connections;
static char **paths;
static double *took_us;
static size_t path_count, answered;

static void fail(const char *what)
{
    fprintf(stderr, "paced: %s\n", what);
    exit(1);
}

static void *need(void *memory)
{
    if (memory == NULL)
        load_die("malloc");
    return memory;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* Time to the next arrival: exponential, from a fixed seed (xorshift64*). */
static uint64_t gap_ns(double rate)
{
    static uint64_t x = 88172645463325252ull;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    double u = (double)((x * 2685821657736338717ull) >> 11) / 9007199254740992.0;
    return (uint64_t)(-log(1.0 - u) / rate * (double)NS);
}

static void read_paths(void)
{
    size_t room = 0, size = 0;
    char *line = NULL;
    for (ssize_t n; (n = getline(&line, &size, stdin)) > 0;) {
        if (path_count == room)
            paths = need(realloc(paths, (room = room * 2 + 1024) * sizeof *paths));
        line[strcspn(line, "\n")] = '\0';
        paths[path_count++] = need(strdup(line));
    }
    free(line);
    if (path_count == 0)
        fail("no paths");
    took_us = need(malloc(path_count * sizeof *took_us));
}

static void conn_is_idle(struct conn *c)
{
    c->head_have = 0;
    c->in_body = false;
    idle[(idle_first + idle_count++) % connections] = c;
}

static void conn_ask(const char *path, uint64_t due_ns)
{
    struct conn *c = idle[idle_first];
    struct iovec v[3] = {{(void *)"GET ", 4}, {(void *)path, strlen(path)}, {(void *)TAIL, sizeof TAIL - 1}};
    idle_first = (idle_first + 1) % connections;
    idle_count--;
    c->due_ns = due_ns;
    if (writev(c->fd, v, 3) != (ssize_t)(v[0].iov_len + v[1].iov_len + v[2].iov_len))
        fail("a request could not be sent");
}

/* Takes what of `data` belongs to the head; the number of bytes taken. */
static size_t conn_take_head(struct conn *c, const char *data, size_t bytes)
{
    size_t before = c->head_have, part = sizeof c->head - 1 - before;
    if (part > bytes)
        part = bytes;
    memcpy(c->head + before, data, part);
    c->head_have += part;
    c->head[c->head_have] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (end == NULL) {
        if (c->head_have == sizeof c->head - 1)
            fail("a head is too long");
        return part;
    }
    end[2] = '\0';
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (strncmp(c->head, "HTTP/1.1 200 ", 13) != 0 || length == NULL) {
        fprintf(stderr, "%s", c->head);
        fail("an answer is not 200 with a Content-Length");
    }
    c->body_left = strtoul(length + 17, NULL, 10);
    c->in_body = true;
    return (size_t)(end - c->head) + 4 - before;
}

static void conn_on_event(struct conn *c)
{
    static char buffer[128 * 1024];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        fail("a connection was closed");
    size_t bytes = (size_t)n, at = c->in_body ? 0 : conn_take_head(c, buffer, bytes);
    if (!c->in_body)
        return;
    if (bytes - at > c->body_left)
        fail("more bytes than the answer has");
    c->body_left -= bytes - at;
    if (c->body_left == 0) {
        took_us[answered++] = (double)(now_ns() - c->due_ns) / 1e3;
        conn_is_idle(c);
    }
}

static int connect_all(unsigned port)
{
    struct sockaddr_in to = load_loopback(port);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    if (ep < 0)
        load_die("epoll_create1");
    idle = need(calloc(connections, sizeof(struct conn *)));
    for (size_t i = 0; i < connections; i++) {
        struct conn *c = need(calloc(1, sizeof *c));
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
            load_die("connect");
        load_no_delay(c->fd);
        load_watch(ep, c->fd, EPOLLIN, c);
        conn_is_idle(c);
    }
    return ep;
}

static void ask_for_all(int ep, double rate)
{
    static struct epoll_event events[LOAD_EVENTS];
    uint64_t due = now_ns();
    size_t next = 0;

    while (answered < path_count) {
        uint64_t now = now_ns();
        for (; next < path_count && idle_count > 0 && due <= now; next++) {
            conn_ask(paths[next], rate > 0 ? due : now);
            due += rate > 0 ? gap_ns(rate) : 0;
        }
        bool wait_for_due = next < path_count && due > now;
        uint64_t wait = wait_for_due ? due - now : GIVE_UP_S * NS;
        struct timespec t = {.tv_sec = (time_t)(wait / NS), .tv_nsec = (long)(wait % NS)};
        int n = epoll_pwait2(ep, events, LOAD_EVENTS, &t, NULL);
        if (n < 0 && errno != EINTR)
            load_die("epoll_pwait2");
        if (n == 0 && !wait_for_due)
            fail("no answer for 10 s");
        for (int i = 0; i < n; i++)
            conn_on_event(events[i].data.ptr);
    }
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 4 || (connections = strtoul(argv[2], NULL, 10)) == 0) {
        fprintf(stderr, "usage: %s PORT CONNECTIONS RATE <paths\n", argv[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1UL);
    read_paths();
    int ep = connect_all((unsigned)strtoul(argv[1], NULL, 10));
    uint64_t start = now_ns();
    ask_for_all(ep, strtod(argv[3], NULL));
    double micros = (double)(now_ns() - start) / 1e3;
    qsort(took_us, path_count, sizeof *took_us, by_size);
    printf("{\"requests\":%zu,\"micros\":%.0f,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}\n", path_count, micros,
           took_us[path_count / 2], took_us[path_count * 99 / 100], took_us[path_count - 1]);
    return 0;
}
