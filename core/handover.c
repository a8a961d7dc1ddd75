/* handover.c: see handover.h. The texts stand behind the word, each behind a line feed. Rejected: a struct as
 * it lies in memory, which two versions would have to agree on for ever; and JSON, since keys are bytes. */
#include "core/handover.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/text.h"

static const struct {
    slice_t word;
    size_t texts;
} kinds[] = {
#define X(id, name, count) {SLICE_LIT(name), count},
    HANDOVER_KINDS(X)
#undef X
};

static enum handover_kind kind_of(slice_t word)
{
    size_t i = 0;
    while (i < ARRAY_LEN(kinds) && !slice_eq(kinds[i].word, word))
        i++;
    return (enum handover_kind)i;
}

/* Up to the next line feed, or the end. */
static slice_t take_line(slice_t *rest)
{
    const size_t end = MIN(slice_find(*rest, '\n', 0), rest->len);
    const slice_t line = slice_make(rest->ptr, end);
    *rest = slice_make(rest->ptr + end, rest->len - end);
    return line;
}

bool handover_parse(slice_t bytes, struct handover *out)
{
    const slice_t word = take_line(&bytes);
    *out = (struct handover){.kind = kind_of(word)};
    for (size_t i = 0; i < HANDOVER_TEXTS; i++)
        out->text[i] = SLICE_EMPTY;
    if (word.len == 0 || out->kind == HANDOVER_UNKNOWN)
        return word.len > 0;
    for (size_t i = 0; i < kinds[out->kind].texts; i++) {
        if (bytes.len == 0)
            return false;
        bytes = slice_make(bytes.ptr + 1, bytes.len - 1);
        out->text[i] = i + 1 < kinds[out->kind].texts ? take_line(&bytes) : bytes;
    }
    return true;
}

size_t handover_write(char to[HANDOVER_BYTES], const struct handover *h)
{
    struct text t = text_make(to, HANDOVER_BYTES);
    if (h->kind >= HANDOVER_UNKNOWN)
        return 0;
    text_put(&t, kinds[h->kind].word);
    for (size_t i = 0; i < kinds[h->kind].texts; i++) {
        if (i + 1 < kinds[h->kind].texts && slice_find(h->text[i], '\n', 0) != SIZE_MAX)
            return 0;
        text_put_char(&t, '\n');
        text_put(&t, h->text[i]);
    }
    return t.overflow ? 0 : text_slice(&t).len;
}

union control { /* room for descriptors beside a message, aligned as the kernel wants it */
    struct cmsghdr head;
    char bytes[CMSG_SPACE(HANDOVER_FDS * sizeof(int))];
};

bool handover_send(int fd, const struct handover *h, const int *fds, size_t fd_count)
{
    char bytes[HANDOVER_BYTES];
    union control control = {0};
    struct iovec iov = {bytes, handover_write(bytes, h)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (iov.iov_len == 0 || fd_count > HANDOVER_FDS) {
        errno = EMSGSIZE;
        return false;
    }
    if (fd_count > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(fd_count * sizeof *fds);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(fd_count * sizeof *fds);
        memcpy(CMSG_DATA(c), fds, fd_count * sizeof *fds);
    }
    ssize_t n;
    do
        n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    explicit_bzero(bytes, sizeof bytes); /* keys of tickets */
    return n >= 0;
}

bool handover_say(int fd, enum handover_kind kind, slice_t text)
{
    return handover_send(fd, &(struct handover){.kind = kind, .text = {text}}, NULL, 0);
}

/* Those beside a message, of which there may be several lots. */
static size_t take_fds(struct msghdr *m, int fds[HANDOVER_FDS])
{
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        const size_t n = MIN((c->cmsg_len - CMSG_LEN(0)) / sizeof(int), HANDOVER_FDS - count);
        memcpy(fds + count, CMSG_DATA(c), n * sizeof(int));
        count += n;
    }
    return count;
}

int handover_receive(int fd, char bytes[HANDOVER_BYTES], struct handover *out, int fds[HANDOVER_FDS],
                     size_t *fd_count)
{
    union control control;
    struct iovec iov = {bytes, HANDOVER_BYTES};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.bytes,
                       .msg_controllen = sizeof control.bytes};
    ssize_t n;
    *fd_count = 0;
    do
        n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return (int)n;
    *fd_count = take_fds(&m, fds);
    if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 && handover_parse(slice_make(bytes, (size_t)n), out))
        return 1;
    handover_close(fds, *fd_count);
    *fd_count = 0;
    errno = EBADMSG;
    return -1;
}

void handover_close(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}
