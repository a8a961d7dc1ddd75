/* origin.c: the application behind every contender: small, fast, and the same for all.
 *
 *   /1k /100k /1m            that many bytes, Cache-Control: max-age=3600, ETag
 *   /nocache/1k /nocache/100k  the same, Cache-Control: no-store
 *   /_requests               how many requests came so far, this one not counted
 *   any other path           1 KB, cacheable
 *
 * One thread, one epoll set, keep-alive and pipelining, HEAD, and `Connection: close` when asked for. Heads
 * are made once, so the Date is that of the start: bench/run starts a new origin for each measurement, long
 * before anything becomes stale by it. Request bodies are not understood; nobody here sends any.
 *
 * usage: origin. Prints its port. */
#include <time.h>

#include "bench/load/net.h"

#define KB 1024u

struct resource {
    const char *path;
    size_t body_bytes;
    const char *cache_control;
    size_t head_bytes;
    char head[320];
};

static struct resource resources[] = {
    {.path = "/1k", .body_bytes = KB, .cache_control = "max-age=3600"},
    {.path = "/100k", .body_bytes = 100 * KB, .cache_control = "max-age=3600"},
    {.path = "/1m", .body_bytes = KB * KB, .cache_control = "max-age=3600"},
    {.path = "/nocache/1k", .body_bytes = KB, .cache_control = "no-store"},
    {.path = "/nocache/100k", .body_bytes = 100 * KB, .cache_control = "no-store"},
};
#define RESOURCES (sizeof resources / sizeof resources[0])

static char body[KB * KB];
static char date[40];
static unsigned long long requests;

struct conn {
    int fd;
    bool busy, last; /* the reply is not out yet; it is the connection's last */
    size_t have;
    struct load_reply reply;
    char count[200]; /* the answer to /_requests */
    char in[16384 + 1];
};

static void make_heads(void)
{
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    memset(body, 'o', sizeof body);
    for (size_t i = 0; i < RESOURCES; i++) {
        struct resource *r = &resources[i];
        r->head_bytes = (size_t)snprintf(r->head, sizeof r->head,
                                         "HTTP/1.1 200 OK\r\nDate: %s\r\nServer: origin\r\n"
                                         "Content-Type: application/octet-stream\r\nETag: \"v%zu\"\r\n"
                                         "Cache-Control: %s\r\nContent-Length: %zu\r\n\r\n",
                                         date, i, r->cache_control, r->body_bytes);
    }
}

static const struct resource *find(const char *path, size_t bytes)
{
    for (size_t i = 0; i < RESOURCES; i++)
        if (strlen(resources[i].path) == bytes && memcmp(resources[i].path, path, bytes) == 0)
            return &resources[i];
    return &resources[0];
}

/* Prepares the reply to one head, which is a string. False: that is no request. */
static bool conn_prepare(struct conn *c, const char *head)
{
    const char *path = strchr(head, ' ');
    if (path == NULL)
        return false;
    path++;
    size_t bytes = strcspn(path, " ?\r\n");
    bool is_head = strncmp(head, "HEAD ", 5) == 0;

    c->last = strcasestr(path, "\r\nconnection: close") != NULL;
    if (bytes == 10 && memcmp(path, "/_requests", 10) == 0) {
        char number[24];
        int digits = snprintf(number, sizeof number, "%llu", requests);
        int n = snprintf(c->count, sizeof c->count,
                         "HTTP/1.1 200 OK\r\nDate: %s\r\nCache-Control: no-store\r\n"
                         "Content-Length: %d\r\n\r\n%s",
                         date, digits, number);
        c->reply.piece[0] = (struct iovec){c->count, (size_t)n};
        c->reply.piece[1] = (struct iovec){body, 0};
        return true;
    }
    requests++;
    const struct resource *r = find(path, bytes);
    c->reply.piece[0] = (struct iovec){(void *)r->head, r->head_bytes};
    c->reply.piece[1] = (struct iovec){body, is_head ? 0 : r->body_bytes};
    return true;
}

static bool conn_reply(struct conn *c)
{
    enum load_sent sent = load_send(c->fd, &c->reply);
    c->busy = sent == LOAD_AGAIN;
    return c->busy || (sent == LOAD_DONE && !c->last);
}

/* Answers what is complete in `in`, as far as the client takes it. False: the connection is over. */
static bool conn_answer(struct conn *c)
{
    size_t at = 0;
    while (!c->busy && at < c->have) {
        char *end = memmem(c->in + at, c->have - at, "\r\n\r\n", 4);
        if (end == NULL)
            break;
        end[2] = '\0';
        if (!conn_prepare(c, c->in + at) || !conn_reply(c))
            return false;
        at = (size_t)(end - c->in) + 4;
    }
    c->have -= at;
    if (at > 0 && c->have > 0)
        memmove(c->in, c->in + at, c->have);
    return c->busy || c->have < sizeof c->in - 1;
}

static bool conn_on_event(struct conn *c)
{
    if (c->busy && (!conn_reply(c) || (!c->busy && !conn_answer(c))))
        return false;
    while (!c->busy) {
        size_t room = sizeof c->in - 1 - c->have;
        ssize_t n = read(c->fd, c->in + c->have, room);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0)
            return false;
        c->have += (size_t)n;
        if (!conn_answer(c))
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
        c->busy = c->last = false;
        c->have = 0;
        load_watch(ep, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
    }
}

int main(void)
{
    struct epoll_event events[LOAD_EVENTS];
    int ep, listener;

    make_heads();
    listener = load_listen(&ep);
    for (;;) {
        int n = epoll_wait(ep, events, LOAD_EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c == NULL) {
                accept_all(listener, ep);
            } else if (!conn_on_event(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
