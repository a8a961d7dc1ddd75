/* wire.c: receiving with poll as the only wait, and just enough HTTP to know where a message ends. The buffer
 * holds everything received and not yet taken, so nothing a peer sends ahead (pipelining) is lost. */
#include "tests/support/wire.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

const char *message_end_name(enum message_end e)
{
    static const char *const names[] = {"complete", "none", "cut", "reset", "timeout", "garbled"};
    return names[e];
}

void wire_init(struct wire *w, int fd)
{
    *w = (struct wire){.fd = fd};
}

void wire_free(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->buf);
    *w = (struct wire){.fd = -1};
}

static void close_fd(void *arg)
{
    close((int)(intptr_t)arg);
}

uint16_t wire_hold_port(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&in, len) != 0 || getsockname(fd, (struct sockaddr *)&in, &len) != 0)
        support_fail("no port: %s", strerror(errno));
    support_on_end(close_fd, (void *)(intptr_t)fd);
    return ntohs(in.sin_port);
}

int wire_connect(int port, int rcvbuf_bytes)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (rcvbuf_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf_bytes, sizeof(rcvbuf_bytes));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static bool wait_for(int fd, short events, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;
    do
        n = poll(&p, 1, wait_ms);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

bool wire_more(struct wire *w, int wait_ms)
{
    if (w->closed || w->reset || w->fd < 0)
        return false;
    if (w->cap - w->len < 16384) {
        w->cap = w->cap * 2 + 65536;
        w->buf = realloc(w->buf, w->cap);
        if (w->buf == NULL)
            abort();
    }
    if (!wait_for(w->fd, POLLIN, wait_ms))
        return false;
    ssize_t n = recv(w->fd, w->buf + w->len, w->cap - w->len - 1, 0);
    if (n < 0) {
        w->reset = errno != EAGAIN;
        return false;
    }
    w->closed = n == 0;
    w->len += (size_t)n;
    w->buf[w->len] = '\0';
    w->received_bytes += (uint64_t)n;
    return n > 0;
}

void wire_take(struct wire *w, size_t n)
{
    memmove(w->buf, w->buf + n, w->len - n);
    w->len -= n;
}

bool wire_send(struct wire *w, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t sent = send(w->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            if (!wait_for(w->fd, POLLOUT, support_wait_ms()))
                return false;
            continue;
        }
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

uint64_t wire_send_while_room(int fd, uint64_t n)
{
    static char block[64 * 1024];
    uint64_t done = 0;
    while (done < n) {
        ssize_t sent = send(fd, block, (size_t)MIN(sizeof(block), n - done), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0) {
            done += (uint64_t)sent;
            continue;
        }
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (errno != EAGAIN || poll(&p, 1, 500) <= 0)
            break;
    }
    return done;
}

static uint64_t largest_buffer(const char *path)
{
    unsigned long long largest;
    if (sscanf(support_read_file(path), "%*u %*u %llu", &largest) != 1)
        support_fail("no sizes in %s", path);
    return largest;
}

uint64_t wire_room_max(void)
{
    return largest_buffer("/proc/sys/net/ipv4/tcp_rmem") + largest_buffer("/proc/sys/net/ipv4/tcp_wmem") +
           2 * MB;
}

uint64_t wire_discard(struct wire *w, uint64_t n)
{
    uint64_t done = 0;
    for (;;) {
        size_t take = (size_t)MIN((uint64_t)w->len, n - done);
        if (take > 0)
            wire_take(w, take);
        done += take;
        if (done == n || !wire_more(w, support_wait_ms()))
            return done;
    }
}

static enum message_end why_ended(const struct wire *w, bool something_came)
{
    if (w->reset)
        return MESSAGE_RESET;
    if (w->closed)
        return something_came ? MESSAGE_CUT : MESSAGE_NONE;
    return MESSAGE_TIMEOUT;
}

/* Splits a copy of the head's text into names and values. */
static bool split_head(struct message *m, bool is_response)
{
    char *save = NULL;
    char *text = strdup(m->head);
    m->start_line = text;
    char *line = strtok_r(text, "\r\n", &save);
    if (line == NULL)
        return false;
    while ((line = strtok_r(NULL, "\r\n", &save)) != NULL && m->field_count < MESSAGE_MAX_FIELDS) {
        char *colon = strchr(line, ':');
        if (colon == NULL)
            return false;
        *colon = '\0';
        char *value = colon + 1 + strspn(colon + 1, " \t");
        m->fields[m->field_count].name = line;
        m->fields[m->field_count++].value = value;
    }
    if (is_response)
        return sscanf(m->start_line, "HTTP/1.%*1[01] %d", &m->status) == 1;
    return sscanf(m->start_line, "%ms %ms HTTP/1.", &m->method, &m->target) == 2;
}

static void set_framing(struct message *m, bool is_response, bool is_head_answer)
{
    const char *coding = message_field(m, "Transfer-Encoding");
    const char *length = message_field(m, "Content-Length");
    if (length != NULL)
        m->length = strtoull(length, NULL, 10);
    if (is_response && (is_head_answer || m->status / 100 == 1 || m->status == 204 || m->status == 304))
        m->framing = FRAMING_NONE;
    else if (coding != NULL && strcasecmp(coding, "chunked") == 0)
        m->framing = FRAMING_CHUNKED;
    else if (length != NULL)
        m->framing = FRAMING_LENGTH;
    else
        m->framing = is_response ? FRAMING_CLOSE : FRAMING_NONE;
}

struct message *wire_read_head(struct wire *w, bool is_response, bool is_head_answer)
{
    struct message *m = calloc(1, sizeof(*m));
    if (m == NULL)
        abort();
    m->body = strdup("");
    m->trailers = strdup("");
    char *end = NULL;
    for (;;) {
        while (!is_response && w->len >= 2 && memcmp(w->buf, "\r\n", 2) == 0)
            wire_take(w, 2);
        end = w->len > 0 ? memmem(w->buf, w->len, "\r\n\r\n", 4) : NULL;
        if (end != NULL || !wire_more(w, support_wait_ms()))
            break;
    }
    size_t head_len = end != NULL ? (size_t)(end - w->buf) + 2 : w->len;
    m->head = strndup(head_len > 0 ? w->buf : "", head_len);
    if (end == NULL) {
        m->end = why_ended(w, w->len > 0);
        m->start_line = strdup("");
        return m;
    }
    wire_take(w, head_len + 2);
    if (!split_head(m, is_response))
        m->end = MESSAGE_GARBLED;
    set_framing(m, is_response, is_head_answer);
    return m;
}

/* Powers of two: a body that comes in small pieces is not moved with each of them. */
static size_t body_room(size_t bytes)
{
    size_t room = 64;
    while (room <= bytes)
        room *= 2;
    return room;
}

static void append_body(struct wire *w, struct message *m, size_t n)
{
    size_t room = body_room(m->body_len + n);
    if (m->body_len == 0 || room > body_room(m->body_len))
        m->body = realloc(m->body, room);
    if (m->body == NULL)
        abort();
    memcpy(m->body + m->body_len, w->buf, n);
    m->body_len += n;
    m->body[m->body_len] = '\0';
    wire_take(w, n);
}

/* Takes exactly n bytes into the body; false when they do not come. */
static bool take_bytes(struct wire *w, struct message *m, uint64_t n)
{
    while (n > 0) {
        if (w->len == 0 && !wire_more(w, support_wait_ms()))
            return false;
        size_t piece = (size_t)MIN((uint64_t)w->len, n);
        append_body(w, m, piece);
        n -= piece;
    }
    return true;
}

bool wire_take_line(struct wire *w, char *line, size_t room)
{
    char *end;
    while ((end = w->len > 0 ? memmem(w->buf, w->len, "\r\n", 2) : NULL) == NULL)
        if (!wire_more(w, support_wait_ms()))
            return false;
    size_t n = (size_t)(end - w->buf);
    if (n >= room)
        return false;
    memcpy(line, w->buf, n);
    line[n] = '\0';
    wire_take(w, n + 2);
    return true;
}

static bool read_chunked(struct wire *w, struct message *m)
{
    char line[4096];
    for (;;) {
        char *end;
        if (!wire_take_line(w, line, sizeof(line)))
            return false;
        uint64_t size = strtoull(line, &end, 16);
        if (end == line) {
            m->end = MESSAGE_GARBLED;
            return true;
        }
        if (size == 0)
            break;
        m->chunks++;
        if (!take_bytes(w, m, size) || !wire_take_line(w, line, sizeof(line)))
            return false;
    }
    for (;;) {
        if (!wire_take_line(w, line, sizeof(line)))
            return false;
        if (line[0] == '\0')
            return true;
        char *joined = NULL;
        if (asprintf(&joined, "%s%s\r\n", m->trailers, line) < 0)
            abort();
        free(m->trailers);
        m->trailers = joined;
    }
}

void wire_read_body(struct wire *w, struct message *m)
{
    if (m->end != MESSAGE_COMPLETE)
        return;
    bool whole = true;
    if (m->framing == FRAMING_LENGTH)
        whole = take_bytes(w, m, m->length);
    else if (m->framing == FRAMING_CHUNKED)
        whole = read_chunked(w, m);
    else if (m->framing == FRAMING_CLOSE) {
        take_bytes(w, m, UINT64_MAX);
        whole = w->closed;
    }
    if (!whole)
        m->end = why_ended(w, true);
}

void message_free(struct message *m)
{
    if (m == NULL)
        return;
    free(m->head);
    free(m->start_line);
    free(m->method);
    free(m->target);
    free(m->body);
    free(m->trailers);
    free(m);
}

const char *message_field(const struct message *m, const char *name)
{
    for (size_t i = 0; i < m->field_count; i++)
        if (strcasecmp(m->fields[i].name, name) == 0)
            return m->fields[i].value;
    return NULL;
}

unsigned message_field_count(const struct message *m, const char *name)
{
    unsigned n = 0;
    for (size_t i = 0; i < m->field_count; i++)
        n += strcasecmp(m->fields[i].name, name) == 0;
    return n;
}

#define SHOW(m) message_end_name((m)->end), (m)->head, (int)MIN((m)->body_len, (size_t)600), (m)->body

void message_expect_status(const struct message *m, int status)
{
    if (m->status != status || m->end != MESSAGE_COMPLETE)
        support_fail("expected a complete %d; %s:\n%s\n%.*s", status, SHOW(m));
}

void message_expect_field(const struct message *m, const char *name, const char *value, bool part)
{
    const char *got = message_field(m, name);
    if (got == NULL || (part ? strstr(got, value) == NULL : strcmp(got, value) != 0))
        support_fail("expected %s: %s%s; %s:\n%s\n%.*s", name, part ? "..." : "", value, SHOW(m));
}

void message_expect_no_field(const struct message *m, const char *name)
{
    if (message_field(m, name) != NULL)
        support_fail("did not expect %s; %s:\n%s\n%.*s", name, SHOW(m));
}

void message_expect_body(const struct message *m, const char *text)
{
    if (strcmp(m->body, text) != 0)
        support_fail("expected the body \"%s\"; %s:\n%s\n%.*s", text, SHOW(m));
}

void message_expect_end(const struct message *m, enum message_end e)
{
    if (m->end != e)
        support_fail("expected the message to be %s; %s:\n%s\n%.*s", message_end_name(e), SHOW(m));
}
