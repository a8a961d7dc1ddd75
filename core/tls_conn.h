/* tls_conn.h: one TLS connection, to a client or to an instance, over a socket that does not block and that
 * others watch.
 *
 * Speaks like the socket would: reads and writes say how much, 0 for the end, or -1 and errno, so that
 * whoever knows a plain descriptor needs to know little more. It makes no event calls; the owner calls again
 * when the socket can go on, and tells by tls_conn_on_event that it can. What is sealed in one call leaves by
 * one send(2), or by as few as its size allows; so does a flight of the handshake.
 *
 * One thread: the worker's, whose connections share a struct tls_out, which is empty between calls. An idle
 * connection has no buffer, and can sleep. */
#ifndef CORE_TLS_CONN_H
#define CORE_TLS_CONN_H

#include <sys/uio.h>

#include "core/clock.h"
#include "core/slice.h"
#include "core/tls_server.h"
#include "core/tls_target.h"

struct ssl_st;
struct page_image;

#define TLS_RECORD_BYTES 16384 /* most data that a record holds */
#define TLS_RECORD_EXTRA 256   /* more than any cipher adds to it */
/* Three full records: more is sealed only when those are gone, so this bounds what a client that does not
 * read makes its connection keep. With two, the answers to 32 small requests of HTTP/2 needed a second call.
 */
#define TLS_OUT_BYTES (3 * (TLS_RECORD_BYTES + TLS_RECORD_EXTRA))

/* A worker's scratch space. */
struct tls_out {
    size_t used;
    char sealed[TLS_OUT_BYTES];
    char gathered[TLS_RECORD_BYTES]; /* small pieces of one record */
};

enum tls_protocol {
    TLS_PROTOCOL_NONE,
    TLS_PROTOCOL_HTTP_1,
    TLS_PROTOCOL_HTTP_2
}; /* by ALPN; NONE: the client did not ask */

/* Embedded in its owner, who makes it by tls_conn_open and ends it by tls_conn_free. */
struct tls_conn {
    /* set once */
    struct ssl_st *ssl;
    struct tls_server *server; /* a reference; NULL: we are the client */
    struct tls_target *target; /* then this is one */
    uint32_t session_key;      /* of the instance, for the target */
    struct tls_peer *peer;     /* once established: NULL when no certificate was asked for */
    struct tls_out *out;
    int fd;
    /* owner thread */
    /* asleep; NULL: awake. Nobody touches `ssl` of a sleeper */
    struct page_image *image;
    bool drained;     /* the socket had no more; until the next event */
    bool hup;         /* the client's end is behind what can be read */
    bool ended;       /* it has been read */
    bool broken;      /* an error of TLS or the socket; nothing more can be sent */
    bool established; /* the handshake is done */
    bool refused;     /* with TLS 1.3 an instance looks at our certificate after that: it does not like it */
    bool accepted;    /* the handshake is done for the instance, too, as far as we know: too late for that */
    bool closing;     /* close_notify was sent */
    int first_byte;   /* of the connection; -1: none yet */
    const char *why;  /* it broke, in a few words; static */
    size_t no_data_bytes; /* received since there was data */
    char *rest;           /* sealed, and not taken by the kernel */
    size_t rest_used, rest_bytes;
    size_t owed;          /* data in it whose sending was not reported yet */
    uint64_t wire_bytes;  /* sent in all, as the kernel counts them */
    uint64_t burst_bytes; /* data since the last pause: records grow with it */
    mono_ms_t written_ms;
};

/* Takes a reference on the server; the descriptor remains the owner's. false when out of memory. */
bool tls_conn_open(struct tls_conn *t, struct tls_server *server, int fd, struct tls_out *out);
/* The other way round, to the instance `key` of the target, whose certificate has to be for `name`. */
bool tls_conn_open_to(struct tls_conn *t, struct tls_target *target, const char *name, uint32_t key, int fd,
                      struct tls_out *out);
void tls_conn_free(struct tls_conn *t);

/* The socket has something new; `hup`: the client's end is part of it. */
void tls_conn_on_event(struct tls_conn *t, bool hup);

enum tls_step {
    TLS_STEP_DONE,
    TLS_STEP_WAIT,   /* for the peer */
    TLS_STEP_ENDED,  /* the client closed before it sent anything */
    TLS_STEP_NO_TLS, /* what came from the client is no TLS: first_byte; nothing was answered */
    TLS_STEP_FAILED  /* `why`; an alert was sent if there is one */
};
/* Goes on with the handshake. */
enum tls_step tls_conn_handshake(struct tls_conn *t);

/* As recv(2). -1 with EAGAIN: nothing now; EPROTO: the connection is broken. */
ssize_t tls_conn_read(struct tls_conn *t, char *buf, size_t room);
/* An instance that refuses us says so and closes, and what we had already begun to send meets a closed
 * connection first: whether its word is there to be read. Only of connections that are given up. */
bool tls_conn_is_refused(struct tls_conn *t);
/* After a read: there is certainly nothing more until the next event. */
bool tls_conn_is_dry(const struct tls_conn *t);

/* Seals and sends; how many bytes of the pieces are out, all sealed bytes of theirs included; -1 when broken.
 * When it is not all, the caller comes again, on the same bytes and perhaps more. */
ssize_t tls_conn_write(struct tls_conn *t, const struct iovec *iov, size_t count, mono_ms_t now_ms);
/* Sealed bytes wait for room in the socket. */
static inline bool tls_conn_is_blocked(const struct tls_conn *t)
{
    return t->rest != NULL;
}
/* Sends what waits, as far as that goes. */
void tls_conn_resume(struct tls_conn *t);

/* Says that nothing more comes (close_notify), if everything before that has gone out. */
void tls_conn_close(struct tls_conn *t);

/* ---- once established ---- */

const char *tls_conn_version(struct tls_conn *t); /* "TLSv1.3" */
const char *tls_conn_cipher(struct tls_conn *t);
bool tls_conn_is_resumed(struct tls_conn *t);
enum tls_protocol tls_conn_protocol(struct tls_conn *t);

/* Nothing is expected of it for a while: it gives memory back (tls_sleep.h) if it can, and is as before for
 * its owner. Whatever asks for OpenSSL wakes it. Whether it sleeps. */
bool tls_conn_sleep(struct tls_conn *t);
static inline bool tls_conn_is_asleep(const struct tls_conn *t)
{
    return t->image != NULL;
}

#endif
