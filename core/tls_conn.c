/* tls_conn.c: see tls_conn.h.
 *
 * OpenSSL reads and writes through a BIO of ours. Reading goes to the socket, and remembers when that was
 * drained, so that no call asks it in vain; writing goes into the worker's buffer, which each of our
 * functions empties before it returns. What the kernel does not take is kept here, sealed; until it is out
 * nothing more is sealed, and what was sealed counts as sent only then: a caller that keeps its unsent
 * pieces, as it must for a plain socket, need not know.
 *
 * Rejected: OpenSSL on the descriptor itself (a system call per record, and each ends in a failed one), pairs
 * of memory BIOs (two copies more), and bufferevents (buffers per connection, and events of their own). */
#include "core/tls_conn.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/panic.h"
#include "core/tls_sleep.h"

/* Records begin small enough for one TCP segment, so that a client can use the first bytes while the
 * connection is still slow, and are full ones once it has shown that it takes more. */
#define RECORD_FIRST_BYTES  1360
#define RECORD_FULL_AFTER   (64 * KB)
#define RECORD_PAUSE_MS     1000
#define NO_DATA_MAX         (64 * KB) /* of key updates and the like in a row */
#define FIRST_BYTE_OF_TLS   0x16
#define FIRST_BYTE_OF_ALERT 0x15

/* What earlier calls left in OpenSSL's queue of errors would be taken for this one's. There is hardly ever
 * anything, and clearing an empty queue is as dear as sealing a small record. */
static void errors_forget(void)
{
    if (UNLIKELY(ERR_peek_error() != 0))
        ERR_clear_error();
}

/* ---- the socket ---- */

static void conn_break(struct tls_conn *t, const char *why)
{
    if (t->why == NULL)
        t->why = why;
    t->broken = true;
}

/* -1: nothing now, or broken. */
static ssize_t socket_send(struct tls_conn *t, const char *bytes, size_t n)
{
    ssize_t sent;
    do
        sent = send(t->fd, bytes, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        conn_break(t, "the connection broke");
    if (sent > 0)
        t->wire_bytes += (uint64_t)sent;
    return sent;
}

void tls_conn_resume(struct tls_conn *t)
{
    if (t->rest == NULL || t->broken)
        return;
    ssize_t n = socket_send(t, t->rest + t->rest_used, t->rest_bytes - t->rest_used);
    t->rest_used += n > 0 ? (size_t)n : 0;
    if (t->rest_used < t->rest_bytes)
        return;
    free(t->rest);
    t->rest = NULL;
}

/* Empties the worker's buffer: to the socket, or, what that does not take, into `rest`. */
static void conn_flush(struct tls_conn *t)
{
    struct tls_out *o = t->out;
    size_t bytes = o->used;
    o->used = 0;
    if (bytes == 0 || t->broken)
        return;
    ASSERT(t->rest == NULL);
    ssize_t n = socket_send(t, o->sealed, bytes);
    size_t sent = n > 0 ? (size_t)n : 0;
    if (sent == bytes || t->broken)
        return;
    t->rest = malloc(bytes - sent);
    if (t->rest == NULL) {
        conn_break(t, "out of memory");
        return;
    }
    memcpy(t->rest, o->sealed + sent, bytes - sent);
    t->rest_used = 0;
    t->rest_bytes = bytes - sent;
}

static int bio_read(BIO *b, char *buf, size_t room, size_t *got)
{
    struct tls_conn *t = BIO_get_data(b);
    ssize_t n = -1;
    BIO_clear_retry_flags(b);
    *got = 0;
    errno = EAGAIN;
    while (!t->drained && (n = recv(t->fd, buf, room, 0)) < 0 && errno == EINTR)
        continue;
    if (n > 0) {
        t->drained = (size_t)n < room && !t->hup;
        t->no_data_bytes += (size_t)n;
        if (t->first_byte < 0)
            t->first_byte = (unsigned char)buf[0];
        *got = (size_t)n;
        return t->server == NULL || t->first_byte == FIRST_BYTE_OF_TLS;
    }
    if (n == 0) {
        t->ended = true;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        t->drained = true;
        BIO_set_retry_read(b);
    } else {
        conn_break(t, "the connection broke");
    }
    return 0;
}

static int bio_write(BIO *b, const char *bytes, size_t n, size_t *put)
{
    struct tls_conn *t = BIO_get_data(b);
    struct tls_out *o = t->out;
    BIO_clear_retry_flags(b);
    *put = 0;
    if (o->used + n > sizeof o->sealed)
        conn_flush(t);
    if (t->broken)
        return 0;
    if (t->rest != NULL) {
        BIO_set_retry_write(b);
        return 0;
    }
    *put = MIN(n, sizeof o->sealed - o->used);
    memcpy(o->sealed + o->used, bytes, *put);
    o->used += *put;
    return 1;
}

static long bio_ctrl(BIO *b, int command, long n, void *p)
{
    const struct tls_conn *t = BIO_get_data(b);
    UNUSED(n);
    UNUSED(p);
    if (command == BIO_CTRL_EOF)
        return t->ended;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void bio_method_make(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "millpond");
    if (m != NULL && BIO_meth_set_read_ex(m, bio_read) == 1 && BIO_meth_set_write_ex(m, bio_write) == 1 &&
        BIO_meth_set_ctrl(m, bio_ctrl) == 1)
        bio_method = m;
}

/* ---- life ---- */

/* Takes `ssl` over; NULL: out of memory. */
static bool conn_init(struct tls_conn *t, SSL *ssl, int fd, struct tls_out *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, bio_method_make);
    *t = (struct tls_conn){.fd = fd, .out = out, .first_byte = -1};
    BIO *b = ssl != NULL && bio_method != NULL ? BIO_new(bio_method) : NULL;
    if (b == NULL) {
        SSL_free(ssl);
        errors_forget();
        return false;
    }
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl, b, b);
    t->ssl = ssl;
    return true;
}

bool tls_conn_open(struct tls_conn *t, struct tls_server *server, int fd, struct tls_out *out)
{
    if (!conn_init(t, tls_sleep_new(server->contexts[0]), fd, out))
        return false;
    SSL_set_accept_state(t->ssl);
    t->server = tls_server_ref(server);
    return true;
}

bool tls_conn_open_to(struct tls_conn *t, struct tls_target *target, const char *name, uint32_t key, int fd,
                      struct tls_out *out)
{
    if (!conn_init(t, tls_target_connect(target, name, key), fd, out))
        return false;
    SSL_set_app_data(t->ssl, t);
    t->session_key = key;
    t->target = tls_target_ref(target);
    return true;
}

/* Awake. */
static SSL *conn_ssl(struct tls_conn *t)
{
    if (UNLIKELY(t->image != NULL))
        tls_sleep_end(t->ssl, &t->image);
    return t->ssl;
}

bool tls_conn_sleep(struct tls_conn *t)
{
    if (t->image == NULL && t->established && !t->broken && t->rest == NULL && SSL_has_pending(t->ssl) == 0) {
        SSL_free_buffers(
            t->ssl); /* SSL_MODE_RELEASE_BUFFERS keeps that of reading until a call reads nothing */
        t->image = tls_sleep_begin(t->ssl);
    }
    return t->image != NULL;
}

void tls_conn_free(struct tls_conn *t)
{
    SSL_free(conn_ssl(t));
    tls_server_unref(t->server);
    tls_target_unref(t->target);
    free(t->rest);
    free(t->peer);
    *t = (struct tls_conn){.fd = -1};
}

void tls_conn_on_event(struct tls_conn *t, bool hup)
{
    t->drained = false;
    t->hup |= hup;
}

/* Alerts about the certificate that was shown, or was not (RFC 8446 section 6.2). Who sends one instead of
 * ending the handshake has taken no request. One that comes later says nothing of the kind: with TLS 1.2
 * instances read a request, ask for a handshake anew, and send such an alert when they do not get it. */
static bool is_refusal(unsigned long error)
{
    switch (ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) - SSL_AD_REASON_OFFSET : 0) {
    case SSL3_AD_HANDSHAKE_FAILURE:
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_EXPIRED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
    case SSL_AD_UNKNOWN_CA:
    case SSL_AD_ACCESS_DENIED:
    case TLS13_AD_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

/* What OpenSSL has to say about a failure, in few words. */
static void conn_fail(struct tls_conn *t)
{
    unsigned long e = ERR_peek_error();
    t->refused |= t->target != NULL && !t->accepted && is_refusal(e);
    const char *why = e != 0 ? ERR_reason_error_string(e) : NULL;
    if (ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        why = X509_verify_cert_error_string(SSL_get_verify_result(t->ssl));
    conn_break(t, why != NULL ? why : t->ended ? "the other side left" : "TLS failed");
}

/* ---- handshake ---- */

static enum tls_step handshake_failed(struct tls_conn *t)
{
    bool silent = t->first_byte < 0;
    if (t->server != NULL && !silent && t->first_byte != FIRST_BYTE_OF_TLS) {
        t->out->used = 0;
        return TLS_STEP_NO_TLS;
    }
    conn_flush(t); /* the alert, as far as the socket takes it */
    if (t->target != NULL)
        tls_target_keep(t->target, t->session_key, NULL);
    if (t->target != NULL && t->ended)
        conn_break(t, "it closed the connection");
    else if (t->target != NULL && !silent && t->first_byte != FIRST_BYTE_OF_TLS &&
             t->first_byte != FIRST_BYTE_OF_ALERT)
        conn_break(t, "it does not speak TLS");
    conn_fail(t);
    return silent && t->server != NULL ? TLS_STEP_ENDED : TLS_STEP_FAILED;
}

static enum tls_step handshake_done(struct tls_conn *t)
{
    const char *why = NULL;
    if (t->server != NULL && t->server->verify != TLS_VERIFY_OFF)
        t->peer = tls_peer_read(t->ssl, &why);
    if (why != NULL) {
        conn_break(t, why);
        return TLS_STEP_FAILED;
    }
    t->established = true;
    t->accepted |= SSL_version(t->ssl) < TLS1_3_VERSION; /* the last word was the instance's */
    return TLS_STEP_DONE;
}

enum tls_step tls_conn_handshake(struct tls_conn *t)
{
    for (;;) {
        tls_conn_resume(t);
        if (t->broken)
            return TLS_STEP_FAILED;
        errors_forget();
        int n = SSL_do_handshake(t->ssl);
        int e = n == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
        if (e != SSL_ERROR_NONE && e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE) {
            enum tls_step step = handshake_failed(t);
            errors_forget();
            return step;
        }
        conn_flush(t);
        if (t->broken)
            return TLS_STEP_FAILED;
        if (e == SSL_ERROR_NONE)
            return handshake_done(t);
        if (t->rest != NULL || t->drained)
            return TLS_STEP_WAIT;
    }
}

/* ---- reading ---- */

/* Each round takes what was read ahead, at most a record's size. What is no data (a key update asks for work
 * and an answer, for instance) is counted, since a client could send nothing else. */
ssize_t tls_conn_read(struct tls_conn *t, char *buf, size_t room)
{
    size_t got = 0;
    while (!t->broken) {
        errors_forget();
        int n = SSL_read_ex(conn_ssl(t), buf, room, &got);
        int e = n == 1 ? SSL_ERROR_NONE : SSL_get_error(t->ssl, n);
        conn_flush(t);
        if (e == SSL_ERROR_NONE) {
            t->no_data_bytes = 0;
            return (ssize_t)got;
        }
        if (e == SSL_ERROR_ZERO_RETURN)
            return 0;
        if (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE)
            conn_fail(t);
        else if (t->no_data_bytes > NO_DATA_MAX)
            conn_break(t, "too much without data");
        else if (t->drained || t->rest != NULL)
            break;
    }
    errors_forget();
    errno = t->broken ? EPROTO : EAGAIN;
    return -1;
}

bool tls_conn_is_refused(struct tls_conn *t)
{
    char byte;
    if (t->refused || t->server != NULL || !t->established)
        return t->refused;
    t->drained = t->broken = false; /* what was sent met the end; what came before that may still lie there */
    t->why = NULL;
    tls_conn_read(t, &byte, 1);
    t->broken = true;
    return t->refused;
}

bool tls_conn_is_dry(const struct tls_conn *t)
{
    return t->drained && (t->image != NULL || SSL_has_pending(t->ssl) == 0);
}

/* ---- writing ---- */

/* Where the next byte of the pieces lies. */
struct cursor {
    const struct iovec *iov;
    size_t left; /* pieces, that of the byte included */
    size_t at;   /* in the piece */
};

static void cursor_skip(struct cursor *c, size_t n)
{
    while (c->left > 0 && n >= c->iov->iov_len - c->at) {
        n -= c->iov->iov_len - c->at;
        c->iov++;
        c->left--;
        c->at = 0;
    }
    ASSERT(n == 0 || c->left > 0);
    c->at += n;
}

/* The next `most` bytes or what there is, in one place: theirs, or `buf`, where small pieces are put
 * together.
 */
static slice_t cursor_next(const struct cursor *from, size_t most, char *buf)
{
    struct cursor c = *from;
    const char *here = (const char *)c.iov->iov_base + c.at;
    size_t n = c.iov->iov_len - c.at, used = 0;
    if (n >= most || c.left == 1)
        return slice_make(here, MIN(n, most));
    for (; c.left > 0 && used < most; c.iov++, c.left--, c.at = 0) {
        n = MIN(c.iov->iov_len - c.at, most - used);
        memcpy(buf + used, (const char *)c.iov->iov_base + c.at, n);
        used += n;
    }
    return slice_make(buf, used);
}

static size_t record_limit(struct tls_conn *t, mono_ms_t now_ms)
{
    if (now_ms - t->written_ms > RECORD_PAUSE_MS)
        t->burst_bytes = 0;
    t->written_ms = now_ms;
    return t->burst_bytes < RECORD_FULL_AFTER ? RECORD_FIRST_BYTES : TLS_RECORD_BYTES;
}

/* One record into the worker's buffer. */
static bool conn_seal(struct tls_conn *t, slice_t data)
{
    size_t taken = 0;
    errors_forget();
    if (SSL_write_ex(conn_ssl(t), data.ptr, data.len, &taken) != 1 || taken != data.len) {
        conn_fail(t);
        errors_forget();
        return false;
    }
    t->burst_bytes += taken;
    return true;
}

static bool out_has_room(const struct tls_out *o)
{
    return sizeof o->sealed - o->used >= TLS_RECORD_BYTES + TLS_RECORD_EXTRA;
}

ssize_t tls_conn_write(struct tls_conn *t, const struct iovec *iov, size_t count, mono_ms_t now_ms)
{
    struct cursor c = {iov, count, 0};
    size_t reported = 0;
    tls_conn_resume(t);
    if (t->rest == NULL) {
        reported = t->owed;
        cursor_skip(&c, t->owed);
        t->owed = 0;
    }
    while (c.left > 0 && t->rest == NULL && !t->broken) {
        while (c.left > 0 && out_has_room(t->out) && !t->broken) {
            slice_t data = cursor_next(&c, record_limit(t, now_ms), t->out->gathered);
            if (data.len > 0 && !conn_seal(t, data))
                break;
            cursor_skip(&c, data.len);
            t->owed += data.len;
        }
        conn_flush(t);
        if (t->rest == NULL) {
            reported += t->owed;
            t->owed = 0;
        }
    }
    return t->broken ? -1 : (ssize_t)reported;
}

void tls_conn_close(struct tls_conn *t)
{
    if (!t->established || t->broken || t->closing || t->rest != NULL)
        return;
    t->closing = true;
    errors_forget();
    SSL_shutdown(conn_ssl(t));
    conn_flush(t);
    errors_forget();
}

/* ---- what it is ---- */

const char *tls_conn_version(struct tls_conn *t)
{
    return SSL_get_version(conn_ssl(t));
}

const char *tls_conn_cipher(struct tls_conn *t)
{
    return SSL_get_cipher_name(conn_ssl(t));
}

bool tls_conn_is_resumed(struct tls_conn *t)
{
    return SSL_session_reused(conn_ssl(t)) == 1;
}

enum tls_protocol tls_conn_protocol(struct tls_conn *t)
{
    const unsigned char *name;
    unsigned bytes;
    SSL_get0_alpn_selected(conn_ssl(t), &name, &bytes);
    if (bytes == 2 && memcmp(name, "h2", 2) == 0)
        return TLS_PROTOCOL_HTTP_2;
    return bytes > 0 ? TLS_PROTOCOL_HTTP_1 : TLS_PROTOCOL_NONE;
}
