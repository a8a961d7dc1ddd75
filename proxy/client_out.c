/* client_out.c: see client_out.h. The batch belongs to one connection at a time; whoever added to it flushes
 * before control returns to the event loop. Large pieces of cached bodies go by sendfile(2), everything
 * between them in one write. Rejected: a buffer per connection (memory of idle ones) and writing each
 * piece by itself (system calls). */
#include "proxy/client_out.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

#include "cache/cache.h"
#include "core/panic.h"
#include "proxy/client_tls.h"
#include "proxy/proxy_worker.h"

/* What the kernel did not take: the remaining pieces, then the bytes of those that were copied. */
struct out_left {
    unsigned count, next;
    size_t bytes;
    struct iovec iov[OUT_MAX_IOV];
    struct cache_object *owner[OUT_MAX_IOV]; /* references */
    char copied[];
};

static struct out_batch *out_batch_of(struct client_conn *c)
{
    struct out_batch *b = &c->pw->out;
    ASSERT(b->conn == c || b->conn == NULL);
    ASSERT(c->left == NULL);
    b->conn = c;
    return b;
}

static void out_batch_clear(struct out_batch *b)
{
    b->conn = NULL;
    b->count = 0;
    b->bytes = b->scratch_used = 0;
}

bool client_out_ready(struct client_conn *c, unsigned pieces, size_t scratch)
{
    if (c->broken || c->left != NULL)
        return false;
    const struct out_batch *b = out_batch_of(c);
    if (b->count + pieces <= OUT_MAX_IOV && b->scratch_used + scratch <= OUT_SCRATCH_BYTES)
        return true;
    return client_out_flush(c);
}

char *client_out_reserve(struct client_conn *c, size_t bytes)
{
    if (c->broken || c->left != NULL || bytes > OUT_SCRATCH_BYTES)
        return NULL;
    struct out_batch *b = out_batch_of(c);
    if ((b->count == OUT_MAX_IOV || b->scratch_used + bytes > OUT_SCRATCH_BYTES) && !client_out_flush(c))
        return NULL;
    b->conn = c;
    return b->scratch + b->scratch_used;
}

void client_out_commit(struct client_conn *c, size_t bytes)
{
    struct out_batch *b = out_batch_of(c);
    char *at = b->scratch + b->scratch_used;
    ASSERT(b->scratch_used + bytes <= OUT_SCRATCH_BYTES);
    b->scratch_used += bytes;
    b->bytes += bytes;
    struct iovec *last = b->count > 0 ? &b->iov[b->count - 1] : NULL;
    if (last != NULL && (char *)last->iov_base + last->iov_len == at && b->owner[b->count - 1] == NULL) {
        last->iov_len += bytes;
        return;
    }
    b->iov[b->count] = (struct iovec){at, bytes};
    b->owner[b->count++] = NULL;
}

bool client_out_add(struct client_conn *c, const void *ptr, size_t bytes, struct cache_object *owner)
{
    if (c->broken || c->left != NULL)
        return false;
    if (bytes == 0)
        return true;
    struct out_batch *b = out_batch_of(c);
    if (b->count == OUT_MAX_IOV && !client_out_flush(c))
        return false;
    b->conn = c;
    b->iov[b->count] = (struct iovec){(void *)(uintptr_t)ptr, bytes};
    b->owner[b->count++] = owner;
    b->bytes += bytes;
    return true;
}

/* Drops `n` written bytes from the front of the pieces; returns the index of the first that has any left. */
static unsigned out_advance(struct iovec *iov, unsigned first, unsigned count, size_t n)
{
    while (first < count && n >= iov[first].iov_len) {
        n -= iov[first].iov_len;
        first++;
    }
    if (first < count) {
        iov[first].iov_base = (char *)iov[first].iov_base + n;
        iov[first].iov_len -= n;
    }
    return first;
}

static bool out_keep(struct client_conn *c, struct out_batch *b, unsigned first)
{
    size_t copy = 0, bytes = 0;
    for (unsigned i = first; i < b->count; i++) {
        bytes += b->iov[i].iov_len;
        copy += b->owner[i] == NULL ? b->iov[i].iov_len : 0;
    }
    struct out_left *l = malloc(sizeof *l + copy);
    if (l == NULL)
        return false;
    l->count = l->next = 0;
    l->bytes = bytes;
    char *at = l->copied;
    for (unsigned i = first; i < b->count; i++) {
        l->iov[l->count] = b->iov[i];
        l->owner[l->count] = b->owner[i] == NULL ? NULL : cache_object_ref(b->owner[i]);
        if (b->owner[i] == NULL) {
            memcpy(at, b->iov[i].iov_base, b->iov[i].iov_len);
            l->iov[l->count].iov_base = at;
            at += b->iov[i].iov_len;
        }
        l->count++;
    }
    c->left = l;
    c->writable = false;
    c->rate_since_ms = worker_now_ms(c->pw->worker);
    c->rate_bytes = 0;
    client_conn_arm(
        c); /* write_timeout begins, whoever's event this is: a client that reads nothing makes none */
    return true;
}

static void out_broken(struct client_conn *c)
{
    c->broken = true;
    if (c->close_reason == CLOSE_OPEN)
        c->close_reason = CLOSE_CLIENT_RESET;
}

/* How many pieces from `iov` on are sent from where they lie in memory, up to one that is sent from its file.
 */
static unsigned out_memory_run(const struct iovec *iov, unsigned count, int *file, off_t *offset,
                               size_t *bytes)
{
    unsigned n = 0;
    *file = -1;
    *bytes = 0;
    for (; n < count; n++) {
        if (iov[n].iov_len >= CACHE_SENDFILE_LEAST && (*file = cache_body_file(iov[n].iov_base, offset)) >= 0)
            return n;
        *bytes += iov[n].iov_len;
    }
    return n;
}

static ssize_t out_sendfile(int fd, int file, off_t offset, size_t bytes)
{
    ssize_t n;
    do
        n = sendfile(fd, file, &offset, bytes);
    while (n < 0 && errno == EINTR);
    return n;
}

/* What the kernel took, -1: the connection broke. */
static ssize_t out_write(struct client_conn *c, const struct iovec *iov, unsigned count)
{
    ssize_t n = 0, sent = 0;
    for (size_t bytes = 0; count > 0 && n == (ssize_t)bytes;) {
        int file;
        off_t offset;
        unsigned run = out_memory_run(iov, count, &file, &offset, &bytes);
        if (run > 0) {
            n = net_send(c->fd, iov, run, run < count ? MSG_MORE : 0);
        } else {
            run = 1;
            bytes = iov[0].iov_len;
            n = out_sendfile(c->fd, file, offset, bytes);
        }
        sent += MAX(n, 0);
        iov += run;
        count -= run;
    }
    if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        return -1;
    proxy_count(c->pw, METRIC_CLIENT_BYTES_OUT, sent);
    c->bytes_out += (uint64_t)sent;
    return sent;
}

bool client_out_flush(struct client_conn *c)
{
    struct out_batch *b = &c->pw->out;
    if (b->conn != c)
        return c->left == NULL && !c->broken;
    ASSERT(c->left == NULL);
    if (b->count == 0 || c->broken) {
        out_batch_clear(b);
        return !c->broken;
    }
    ssize_t n =
        LIKELY(c->tls == NULL) ? out_write(c, b->iov, b->count) : client_tls_write(c, b->iov, b->count);
    if (n < 0) {
        out_broken(c);
    } else if ((size_t)n < b->bytes) {
        unsigned first = out_advance(b->iov, 0, b->count, (size_t)n);
        if (!out_keep(c, b, first))
            out_broken(c);
    }
    out_batch_clear(b);
    return c->left == NULL && !c->broken;
}

bool client_out_resume(struct client_conn *c)
{
    struct out_left *l = c->left;
    if (l == NULL)
        return !c->broken;
    uint64_t before = c->bytes_out;
    ssize_t n = c->tls == NULL ? out_write(c, l->iov + l->next, l->count - l->next)
                               : client_tls_write(c, l->iov + l->next, l->count - l->next);
    if (n < 0) {
        out_broken(c);
        client_out_discard(c);
        return false;
    }
    unsigned first = out_advance(l->iov, l->next, l->count, (size_t)n);
    for (; l->next < first; l->next++) {
        if (l->owner[l->next] != NULL)
            cache_object_unref(&l->owner[l->next]);
    }
    c->rate_bytes += c->bytes_out - before;
    l->bytes -= (size_t)n;
    if (l->bytes > 0) {
        c->writable = false;
        return false;
    }
    free(l);
    c->left = NULL;
    return true;
}

static void out_left_free(struct out_left *l)
{
    for (unsigned i = l->next; i < l->count; i++) {
        if (l->owner[i] != NULL)
            cache_object_unref(&l->owner[i]);
    }
    free(l);
}

bool client_out_own(struct client_conn *c)
{
    struct out_left *l = c->left;
    if (l == NULL)
        return true;
    struct out_left *own = malloc(sizeof *own + l->bytes);
    if (own == NULL)
        return false;
    own->count = 1;
    own->next = 0;
    own->bytes = l->bytes;
    own->iov[0] = (struct iovec){own->copied, l->bytes};
    own->owner[0] = NULL;
    char *at = own->copied;
    for (unsigned i = l->next; i < l->count; i++) {
        memcpy(at, l->iov[i].iov_base, l->iov[i].iov_len);
        at += l->iov[i].iov_len;
    }
    out_left_free(l);
    c->left = own;
    return true;
}

void client_out_discard(struct client_conn *c)
{
    if (c->pw->out.conn == c)
        out_batch_clear(&c->pw->out);
    if (c->left != NULL)
        out_left_free(c->left);
    c->left = NULL;
}
