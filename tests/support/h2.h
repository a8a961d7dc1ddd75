/* h2.h: an HTTP/2 client of frames, over plain TCP with prior knowledge. It sends what it is told, sound or
 * not, so that a test can be as rude as it needs to be, and keeps per stream what came back. Heads are sent
 * as literals, never indexed. Test thread; failing to connect or waiting in vain fails the test. */
#ifndef TESTS_SUPPORT_H2_H
#define TESTS_SUPPORT_H2_H

#include <nghttp2/nghttp2.h>

#include "tests/support/client.h"

#define H2_STREAMS_MAX 2048
#define H2_NO_CODE     (-1) /* no RST_STREAM, no GOAWAY */

struct h2_answer {
    int status;  /* of the final head; 0: none yet */
    int interim; /* of the last 1xx */
    char *head;  /* "name: value\n" each, trailers too */
    char *body;  /* NUL-terminated */
    size_t body_len;
    bool ended;    /* END_STREAM came */
    int64_t reset; /* code of RST_STREAM */
};

struct h2_client {
    struct wire wire;
    nghttp2_hd_inflater *inflater;
    struct h2_answer answer[H2_STREAMS_MAX]; /* of stream 2 * i + 1 */
    bool no_window_updates;                  /* for what comes */
    bool acks;                               /* SETTINGS are acknowledged, PINGs answered */
    bool connects;                           /* the server takes extended CONNECT (RFC 8441) */
    unsigned settings_acked, pings_acked, goaways;
    int64_t goaway; /* code of the last */
    uint32_t last_stream_id;
    uint64_t window_given[2]; /* by WINDOW_UPDATE: to the connection, to all streams */
    struct h2_client *next;   /* opened before it */
};

struct h2_options {
    bool silent;    /* sends nothing at all */
    int32_t window; /* SETTINGS_INITIAL_WINDOW_SIZE; 0: the default */
    bool no_acks, no_window_updates;
    int rcvbuf_bytes;
};
#define h2_open(port, ...) (SUPPORT_AT, h2_open_(port, &(struct h2_options){__VA_ARGS__}))
struct h2_client *h2_open_(int port, const struct h2_options *o);
void h2_close(struct h2_client *c);
/* Those that h2_open opened: a stop need not wait until they have understood GOAWAY. */
void h2_close_all(void);

/* The other side: an instance of frames. What a client asks lies in its answers: `head` has the pseudo
 * fields, too. */
struct h2_listener {
    int fd, port;
};
struct h2_listener h2_listen(void);
/* The next connection to it, with SETTINGS of a limit of streams and a window; 0: the default. */
#define h2_accept(l, streams, window) (SUPPORT_AT, h2_accept_(l, streams, window))
struct h2_client *h2_accept_(const struct h2_listener *l, uint32_t streams, uint32_t window);
/* Until the head of the request is there, or all of it. */
#define h2_wait_asked(c, id) (SUPPORT_AT, h2_wait_asked_(c, id))
struct h2_answer *h2_wait_asked_(struct h2_client *c, uint32_t id);

/* false: the server is gone. */
bool h2_frame(struct h2_client *c, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n);
/* HEADERS with END_HEADERS and `flags`; names and values up to NULL. */
#define h2_headers(c, flags, id, ...) h2_headers_(c, flags, id, (const char *const[]){__VA_ARGS__, NULL})
bool h2_headers_(struct h2_client *c, uint8_t flags, uint32_t id, const char *const *fields);
size_t h2_encode(const char *const *fields, unsigned char *buf, size_t room);
#define H2_GET(path)        ":method", "GET", ":scheme", "http", ":authority", "test", ":path", path
#define H2_POST(path)       ":method", "POST", ":scheme", "http", ":authority", "test", ":path", path
#define h2_get(c, id, path) h2_headers(c, NGHTTP2_FLAG_END_STREAM, id, H2_GET(path))
bool h2_data(struct h2_client *c, uint8_t flags, uint32_t id, const char *bytes, size_t n);
bool h2_reset(struct h2_client *c, uint32_t id, uint32_t code);
bool h2_window_update(struct h2_client *c, uint32_t id, uint32_t by);

/* Reads one frame and does what it says. false: the end of the connection, or nothing for support_wait_ms. */
bool h2_read(struct h2_client *c);
/* Reads until the stream is ended or reset. */
#define h2_wait(c, id) (SUPPORT_AT, h2_wait_(c, id))
struct h2_answer *h2_wait_(struct h2_client *c, uint32_t id);
/* Until its head is there. */
#define h2_wait_head(c, id) (SUPPORT_AT, h2_wait_head_(c, id))
struct h2_answer *h2_wait_head_(struct h2_client *c, uint32_t id);
/* Until so many bytes of its body are there. */
#define h2_wait_body(c, id, bytes) (SUPPORT_AT, h2_wait_body_(c, id, bytes))
struct h2_answer *h2_wait_body_(struct h2_client *c, uint32_t id, size_t bytes);
/* Until all that was sent before has been worked on: a PING and its answer. */
#define h2_sync(c) (SUPPORT_AT, h2_sync_(c))
void h2_sync_(struct h2_client *c);
/* Until GOAWAY; its code. */
#define h2_wait_goaway(c) (SUPPORT_AT, h2_wait_goaway_(c))
int64_t h2_wait_goaway_(struct h2_client *c);
/* Until the end of the connection. */
#define h2_wait_end(c) (SUPPORT_AT, h2_wait_end_(c))
void h2_wait_end_(struct h2_client *c);
struct h2_answer *h2_answer(struct h2_client *c, uint32_t id);
#define h2_expect(c, id, code, text) (SUPPORT_AT, h2_expect_(c, id, code, text))
void h2_expect_(struct h2_client *c, uint32_t id, int status, const char *body);

#endif
