/* client_http.c: see client_http.h.
 *
 * One deadline over connect, write and read together, kept with poll on a non-blocking socket: a server that
 * answers a byte now and then does not hold the command for ever. Rejected: evhttp's client, which knows no
 * unix sockets in this version, and the proxy's parser, which guards against peers we need not fear here. */
#include "admin/client_http.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/net.h"

#define ANSWER_MAX_BYTES (32 * MB)

static void explain_connect(const char *socket, int error, char *err, size_t err_bytes)
{
    if (error == ENOENT)
        snprintf(err, err_bytes,
                 "no millpond is running here: there is no socket %s; start one with 'millpond run', or say "
                 "which is meant "
                 "with -c FILE or -s SOCKET",
                 socket);
    else if (error == ECONNREFUSED)
        snprintf(err, err_bytes, "no millpond is running here: the one that made %s has ended", socket);
    else if (error == EACCES || error == EPERM)
        snprintf(err, err_bytes,
                 "you may not open %s; run this as root or as the user or a member of the group it belongs "
                 "to ([admin] "
                 "socket_mode)",
                 socket);
    else
        snprintf(err, err_bytes, "cannot reach millpond at %s: %s", socket, strerror(error));
}

/* Waits for `events`; false (errno ETIMEDOUT) when the deadline passes. */
static bool wait_for(int fd, short events, mono_ms_t deadline_ms)
{
    for (;;) {
        dur_ms_t left_ms = deadline_ms - clock_mono_ms();
        struct pollfd p = {fd, events, 0};
        int n = left_ms > 0 ? poll(&p, 1, (int)MIN(left_ms, INT32_MAX)) : 0;
        if (n > 0)
            return true;
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = ETIMEDOUT;
        return false;
    }
}

static bool send_all(int fd, const char *p, size_t len, mono_ms_t deadline_ms)
{
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!wait_for(fd, POLLOUT, deadline_ms))
                return false;
            continue;
        }
        if (n < 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

/* Everything up to the end of the connection, NUL-terminated; NULL with errno. */
static char *receive_all(int fd, mono_ms_t deadline_ms, size_t *len)
{
    size_t room = 16 * KB;
    char *bytes = malloc(room);
    *len = 0;
    while (bytes != NULL) {
        if (*len + 1 == room) {
            char *grown = room < ANSWER_MAX_BYTES ? realloc(bytes, room * 2) : NULL;
            if (grown == NULL) {
                errno = EMSGSIZE;
                break;
            }
            bytes = grown;
            room *= 2;
        }
        ssize_t n = recv(fd, bytes + *len, room - 1 - *len, 0);
        if (n == 0) {
            bytes[*len] = '\0';
            return bytes;
        }
        if (n > 0)
            *len += (size_t)n;
        else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLIN, deadline_ms))
            break;
    }
    int saved = errno;
    free(bytes);
    errno = saved;
    return NULL;
}

/* The announced length, or SIZE_MAX. `fields` begins behind the status line. */
static size_t content_length(slice_t fields)
{
    static const slice_t name = SLICE_LIT("content-length:");
    while (fields.len > 0) {
        size_t end = MIN(slice_find(fields, '\n', 0), fields.len);
        slice_t line = slice_make(fields.ptr, end);
        uint64_t value;
        if (line.len > name.len && slice_ieq(slice_make(line.ptr, name.len), name)) {
            slice_t text = slice_make(line.ptr + name.len, line.len - name.len);
            if (slice_ends(text, SLICE_LIT("\r")))
                text.len--;
            return slice_to_u64(slice_trim(text), &value) ? (size_t)value : SIZE_MAX;
        }
        end = MIN(end + 1, fields.len);
        fields = slice_make(fields.ptr + end, fields.len - end);
    }
    return SIZE_MAX;
}

/* Finds status and body in out->bytes; false when it is no HTTP answer or not a whole one. */
static bool answer_read(struct client_answer *out, size_t len)
{
    uint64_t status;
    const char *end = memmem(out->bytes, len, "\r\n\r\n", 4);
    if (end == NULL || len < 13 || memcmp(out->bytes, "HTTP/1.", 7) != 0 ||
        !slice_to_u64(slice_make(out->bytes + 9, 3), &status))
        return false;
    out->status = (unsigned)status;
    out->body = slice_make(end + 4, len - (size_t)(end + 4 - out->bytes));
    size_t announced = content_length(slice_make(out->bytes, (size_t)(end + 2 - out->bytes)));
    return announced == SIZE_MAX || announced == out->body.len;
}

static int connect_to(const char *socket)
{
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 8];
    struct net_addr addr;
    int n = snprintf(text, sizeof text, "unix:%s", socket);
    if (n >= (int)sizeof text || !net_addr_parse(slice_str(text), &addr)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return net_connect(&addr);
}

bool client_http_ask(const char *socket, const char *method, const char *target, slice_t body,
                     dur_ms_t timeout_ms, struct client_answer *out, char *err, size_t err_bytes)
{
    char rest[128]; /* of the head, behind the target, which may be long */
    size_t len = 0;
    mono_ms_t deadline_ms = clock_mono_ms() + timeout_ms;
    *out = (struct client_answer){0};
    int fd = connect_to(socket);
    if (fd < 0) {
        explain_connect(socket, errno, err, err_bytes);
        return false;
    }
    int rest_len = snprintf(
        rest, sizeof rest, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
        body.len);
    bool ok = send_all(fd, method, strlen(method), deadline_ms) && send_all(fd, " ", 1, deadline_ms) &&
              send_all(fd, target, strlen(target), deadline_ms) &&
              send_all(fd, rest, (size_t)rest_len, deadline_ms) &&
              send_all(fd, body.ptr, body.len, deadline_ms);
    if (ok)
        ok = (out->bytes = receive_all(fd, deadline_ms, &len)) != NULL;
    int saved = errno;
    close(fd);
    if (ok && answer_read(out, len))
        return true;
    if (!ok && saved == ETIMEDOUT)
        snprintf(err, err_bytes, "millpond did not answer within %lld s at %s",
                 (long long)(timeout_ms / 1000), socket);
    else if (!ok)
        snprintf(err, err_bytes, "talking to millpond at %s failed: %s", socket, strerror(saved));
    else
        snprintf(err, err_bytes, "what answers at %s is no millpond, or it was cut short", socket);
    client_answer_free(out);
    return false;
}

void client_answer_free(struct client_answer *a)
{
    free(a->bytes);
    *a = (struct client_answer){0};
}
