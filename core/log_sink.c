/* log_sink.c: see log_sink.h. Opens an output so that writing to it never blocks, and keeps its troubles.
 *
 * O_NONBLOCK belongs to the open file description, which an inherited stdout or stderr shares with the shell
 * and with other processes; setting it there breaks them. So a pipe, terminal or device is opened anew
 * through /proc/self/fd, which gives a description of our own; a socket is written with MSG_DONTWAIT; and
 * where reopening is refused (another user's pipe) the writer polls and writes at most PIPE_BUF bytes, which
 * a pipe that polls writable takes at once, unless another process fills it in between: then only the writer
 * thread waits, and log_stop gives it up. A named pipe is opened for reading too, so that it needs no reader
 * at start and survives one that is restarted. A regular file can block its writer on a slow disk; that is
 * what the thread is for.
 *
 * A file that has no name any more takes lines that nobody will ever read. So it is asked now and then, and
 * opened anew by name when it was removed, alone or with its folder, which is not made: until that is there
 * again the sink is in error. One that was only moved is a rotation's, which says so itself (log_reopen), and
 * goes on being written.
 *
 * syslog(3) is not used: its connection blocks while the daemon is stopped. */
#include "core/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#define NOTE_RESERVE (4 * KB)
#define STAMP_BYTES  25 /* "2026-01-31T12:00:00.123Z " in front of an error line; syslog has its own */

const char *log_syslog_path = "/dev/log";

static int syslog_connect(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(log_syslog_path) >= sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(addr.sun_path, log_syslog_path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static int open_inherited(int std_fd, enum log_sink_kind *kind)
{
    struct stat st;
    if (fstat(std_fd, &st) != 0)
        return -1;
    *kind = LOG_SINK_FILE;
    if (S_ISSOCK(st.st_mode)) {
        *kind = LOG_SINK_STREAM;
    } else if (!S_ISREG(st.st_mode)) {
        char name[32];
        snprintf(name, sizeof name, "/proc/self/fd/%d", std_fd);
        int fd = open(name, O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        *kind = LOG_SINK_SHARED;
    }
    return fcntl(std_fd, F_DUPFD_CLOEXEC, 3);
}

static int open_path(const char *path)
{
    struct stat st;
    int access_mode = stat(path, &st) == 0 && S_ISFIFO(st.st_mode) ? O_RDWR : O_WRONLY;
    return open(path, access_mode | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

struct log_sink *log_sink_open(const char *path, char *err, size_t err_bytes)
{
    struct log_sink *s = calloc(1, sizeof *s);
    if (s != NULL) {
        s->fd = -1;
        s->path = strdup(path);
        s->buffer = malloc(LOG_SINK_BUFFER);
    }
    if (s == NULL || s->path == NULL || s->buffer == NULL) {
        snprintf(err, err_bytes, "cannot open the log %s: out of memory", path);
        log_sink_free(s);
        return NULL;
    }
    s->kind = LOG_SINK_FILE;
    if (strcmp(path, "syslog") == 0) {
        s->kind = LOG_SINK_SYSLOG;
        s->fd = syslog_connect();
    } else if (strcmp(path, "stderr") == 0) {
        s->fd = open_inherited(STDERR_FILENO, &s->kind);
    } else if (strcmp(path, "stdout") == 0) {
        s->fd = open_inherited(STDOUT_FILENO, &s->kind);
    } else {
        s->named = true;
        s->fd = open_path(path);
    }
    if (s->fd >= 0)
        return s;
    snprintf(err, err_bytes, "cannot open the log %s: %s", path, strerror(errno));
    log_sink_free(s);
    return NULL;
}

void log_sink_free(struct log_sink *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    free(s->path);
    free(s->buffer);
    free(s);
}

static bool sink_append(struct log_sink *s, slice_t line, size_t limit)
{
    if (s->end + line.len > limit && s->start > 0) {
        memmove(s->buffer, s->buffer + s->start, s->end - s->start);
        s->end -= s->start;
        s->start = 0;
    }
    if (s->end + line.len > limit)
        return false;
    memcpy(s->buffer + s->end, line.ptr, line.len);
    s->end += line.len;
    return true;
}

enum log_sink_put log_sink_put(struct log_sink *s, slice_t line, mono_ms_t now_ms)
{
    size_t limit = LOG_SINK_BUFFER - NOTE_RESERVE;
    if (s->end - s->start + line.len <= limit && sink_append(s, line, limit))
        return LOG_SINK_TAKEN;
    if (line.len <= limit && !log_sink_is_broken(s, now_ms))
        return LOG_SINK_FULL;
    s->dropped++;
    return LOG_SINK_DROPPED;
}

void log_sink_note(struct log_sink *s, slice_t line)
{
    sink_append(s, line, LOG_SINK_BUFFER);
}

static int syslog_priority(slice_t *line)
{
    int severity = LOG_INFO;
    if (line->len > STAMP_BYTES) {
        line->ptr += STAMP_BYTES;
        line->len -= STAMP_BYTES;
        switch (line->ptr[0]) {
        case 'e':
            severity = LOG_ERR;
            break;
        case 'w':
            severity = LOG_WARNING;
            break;
        case 'd':
            severity = LOG_DEBUG;
            break;
        default:
            break;
        }
    }
    return LOG_DAEMON | severity;
}

/* One datagram per line: "<priority>millpond[pid]: text". Returns the bytes of the buffer it took, or -1. */
static ssize_t syslog_send(struct log_sink *s, const char *from, size_t bytes)
{
    if (s->fd < 0 && (s->fd = syslog_connect()) < 0)
        return -1;
    const char *newline = memchr(from, '\n', bytes);
    size_t used = newline != NULL ? (size_t)(newline - from) + 1 : bytes;
    slice_t line = slice_make(from, newline != NULL ? used - 1 : used);
    int priority = syslog_priority(&line);
    char tag[64];
    int tag_len = snprintf(tag, sizeof tag, "<%d>millpond[%d]: ", priority, (int)getpid());
    struct iovec iov[2] = {{tag, (size_t)tag_len}, {(char *)(uintptr_t)line.ptr, line.len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    if (sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EMSGSIZE)
        return (ssize_t)used;
    if (errno != EAGAIN && errno != EINTR) { /* the daemon was restarted: connect again at the next try */
        int saved = errno;
        close(s->fd);
        s->fd = -1;
        errno = saved;
    }
    return -1;
}

static ssize_t sink_write_some(struct log_sink *s, const char *from, size_t bytes)
{
    switch (s->kind) {
    case LOG_SINK_SYSLOG:
        return syslog_send(s, from, bytes);
    case LOG_SINK_STREAM:
        return send(s->fd, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
    case LOG_SINK_SHARED: {
        struct pollfd p = {.fd = s->fd, .events = POLLOUT};
        if (poll(&p, 1, 0) == 0) {
            errno = EAGAIN;
            return -1;
        }
        return write(s->fd, from, MIN(bytes, (size_t)PIPE_BUF));
    }
    case LOG_SINK_FILE:
        break;
    }
    return write(s->fd, from, bytes);
}

static void sink_fail(struct log_sink *s, int error, mono_ms_t now_ms)
{
    s->failed_errno = error;
    s->retry_ms = now_ms + LOG_SINK_RETRY_MS;
    s->blocked_since_ms = 0;
}

/* The part of the buffer that begins with a line: the first half of a broken one is in the old file. */
static slice_t whole_lines(const struct log_sink *s)
{
    const slice_t rest = slice_make(s->buffer + s->start, s->end - s->start);
    if (!s->mid_line || rest.len == 0)
        return rest;
    const size_t newline = slice_find(rest, '\n', 0);
    const size_t cut = newline == SIZE_MAX ? rest.len : newline + 1;
    return slice_make(rest.ptr + cut, rest.len - cut);
}

/* false: the file was removed, and there cannot be another one by its name now. */
static bool sink_has_file(struct log_sink *s, mono_ms_t now_ms)
{
    struct stat st;
    if (!s->named || (s->looked_ms != 0 && now_ms - s->looked_ms < LOG_SINK_LOOK_MS))
        return true;
    if (fstat(s->fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 0) {
        const int fd = open_path(s->path);
        if (fd < 0) {
            sink_fail(s, errno, now_ms);
            return false;
        }
        close(s->fd);
        s->fd = fd;
        s->start = s->end - whole_lines(s).len;
        s->mid_line = false;
    }
    s->looked_ms = now_ms;
    return true;
}

void log_sink_write(struct log_sink *s, mono_ms_t now_ms)
{
    if ((s->failed_errno != 0 && now_ms < s->retry_ms) || !sink_has_file(s, now_ms))
        return;
    while (s->start < s->end) {
        ssize_t n = sink_write_some(s, s->buffer + s->start, s->end - s->start);
        if (n > 0) {
            s->start += (size_t)n;
            s->mid_line = s->buffer[s->start - 1] != '\n';
            s->failed_errno = 0;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            s->failed_errno = 0;
            if (s->blocked_since_ms == 0)
                s->blocked_since_ms = now_ms;
            return;
        }
        sink_fail(s, n < 0 ? errno : EIO, now_ms);
        return;
    }
    s->start = s->end = 0;
    s->blocked_since_ms = 0;
}

bool log_sink_is_blocked(const struct log_sink *s)
{
    return s->start < s->end && s->failed_errno == 0 && s->blocked_since_ms != 0;
}

bool log_sink_is_broken(const struct log_sink *s, mono_ms_t now_ms)
{
    return s->failed_errno != 0 ||
           (s->blocked_since_ms != 0 && now_ms - s->blocked_since_ms >= LOG_SINK_STUCK_MS);
}

uint64_t log_sink_lines_waiting(const struct log_sink *s)
{
    uint64_t lines = 0;
    for (size_t i = s->start; i < s->end; i++)
        lines += s->buffer[i] == '\n';
    return lines;
}

void log_sink_take_over(struct log_sink *to, const struct log_sink *from)
{
    sink_append(to, whole_lines(from), LOG_SINK_BUFFER);
}
