/* client.c: thin over wire.c: connecting, remembering what to free, and the few shapes of request that tests
 * send over and over. */
#include "tests/support/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct client *open_clients;

static void client_free(void *arg)
{
    struct client *c = arg;
    struct client **at = &open_clients;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    wire_free(&c->wire);
    free(c);
}

static struct client *client_adopt(int fd)
{
    struct client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        abort();
    wire_init(&c->wire, fd);
    c->next = open_clients;
    open_clients = c;
    support_on_end(client_free, c);
    return c;
}

static void message_free_at_end(void *arg)
{
    message_free(arg);
}

struct client *client_open_(int port, int rcvbuf_bytes)
{
    int fd = wire_connect(port, rcvbuf_bytes);
    if (fd < 0)
        support_fail("cannot connect to 127.0.0.1:%d: %s", port, strerror(errno));
    return client_adopt(fd);
}

struct client *client_open_unix_(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        support_fail("cannot connect to %s: %s", path, strerror(errno));
    return client_adopt(fd);
}

void client_close(struct client *c)
{
    if (c->wire.fd >= 0)
        close(c->wire.fd);
    c->wire.fd = -1;
}

void client_close_all(void)
{
    for (struct client *c = open_clients; c != NULL; c = c->next)
        client_close(c);
}

void client_reset(struct client *c)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->wire.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    client_close(c);
}

void client_half_close(struct client *c)
{
    shutdown(c->wire.fd, SHUT_WR);
}

bool client_send_bytes(struct client *c, const void *bytes, size_t n)
{
    return wire_send(&c->wire, bytes, n);
}

bool client_send(struct client *c, const char *fmt, ...)
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

static struct message *read_message(struct client *c, bool is_head_answer, bool body)
{
    struct message *m = wire_read_head(&c->wire, true, is_head_answer);
    support_on_end(message_free_at_end, m);
    if (body)
        wire_read_body(&c->wire, m);
    return m;
}

struct message *client_read(struct client *c)
{
    return read_message(c, false, true);
}

struct message *client_read_no_body(struct client *c)
{
    return read_message(c, true, true);
}

struct message *client_read_head(struct client *c)
{
    return read_message(c, false, false);
}

const char *client_wait_bytes_(struct client *c, size_t n)
{
    while (c->wire.len < n)
        if (!wire_more(&c->wire, support_wait_ms()))
            support_fail("%zu bytes came, not %zu: %.*s", c->wire.len, n, (int)MIN(c->wire.len, (size_t)600),
                         c->wire.len > 0 ? c->wire.buf : "");
    return c->wire.buf;
}

void client_expect_closed_(struct client *c)
{
    while (wire_more(&c->wire, support_wait_ms()))
        ;
    if (c->wire.len > 0)
        support_fail("expected nothing but a close; got: %.*s", (int)MIN(c->wire.len, (size_t)600),
                     c->wire.buf);
    if (!c->wire.closed && !c->wire.reset)
        support_fail("the connection is still open");
}

bool client_is_silent(struct client *c)
{
    struct pollfd p = {.fd = c->wire.fd, .events = POLLIN};
    return c->wire.len == 0 && poll(&p, 1, 0) == 0;
}

struct message *client_ask_(int port, const char *method, const char *target, const char *fields,
                            const char *body)
{
    struct client *c = client_open_(port, 0);
    client_send(c, "%s %s HTTP/1.1\r\nHost: test\r\n%s", method, target, fields);
    if (body[0] != '\0')
        client_send(c, "Content-Length: %zu\r\n", strlen(body));
    client_send(c, "\r\n%s", body);
    struct message *m = read_message(c, strcmp(method, "HEAD") == 0, true);
    client_close(c);
    return m;
}

struct message *client_raw_(int port, const char *bytes)
{
    struct client *c = client_open_(port, 0);
    client_send_bytes(c, bytes, strlen(bytes));
    struct message *m = read_message(c, false, true);
    client_close(c);
    return m;
}
