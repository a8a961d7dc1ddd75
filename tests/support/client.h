/* client.h: a raw-socket HTTP client. It sends exactly the bytes it is told and reads what comes back, so a
 * test can be as rude as it needs to be. Test thread only; failing to connect fails the test, failing to read
 * is in message.end. Messages live until the test ends. */
#ifndef TESTS_SUPPORT_CLIENT_H
#define TESTS_SUPPORT_CLIENT_H

#include "tests/support/wire.h"

struct client {
    struct wire wire;
    struct client *next; /* in the list of the test's clients */
};

/* Connects to 127.0.0.1:port; closed by client_close or at the end of the test. */
#define client_open(port)               (SUPPORT_AT, client_open_(port, 0))
#define client_open_rcvbuf(port, bytes) (SUPPORT_AT, client_open_(port, bytes))
#define client_open_unix(path)          (SUPPORT_AT, client_open_unix_(path))
struct client *client_open_(int port, int rcvbuf_bytes);
struct client *client_open_unix_(const char *path);
void client_close(struct client *c); /* orderly; idempotent */
void client_close_all(void);
void client_reset(struct client *c); /* RST */
void client_half_close(struct client *c);

/* false when the peer is gone before everything was taken. */
bool client_send(struct client *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool client_send_bytes(struct client *c, const void *bytes, size_t n);

/* The next response with its body. The second form for the answer to HEAD; the third reads the head alone. */
struct message *client_read(struct client *c);
struct message *client_read_no_body(struct client *c);
struct message *client_read_head(struct client *c);
/* At least `n` bytes of what follows, decoded by nobody; fails the test when they do not come. */
#define client_wait_bytes(c, n) (SUPPORT_AT, client_wait_bytes_(c, n))
const char *client_wait_bytes_(struct client *c, size_t n);
/* Nothing more comes but the end of the connection. */
#define client_expect_closed(c) (SUPPORT_AT, client_expect_closed_(c))
void client_expect_closed_(struct client *c);
/* Nothing has come so far; does not wait. */
bool client_is_silent(struct client *c);

/* GET on a connection of its own with Host "test"; `fields` are extra lines, each with CRLF. */
#define client_get(port, target, fields) (SUPPORT_AT, client_ask_(port, "GET", target, fields, ""))
#define client_ask(port, method, target, fields, body)                                                       \
    (SUPPORT_AT, client_ask_(port, method, target, fields, body))
struct message *client_ask_(int port, const char *method, const char *target, const char *fields,
                            const char *body);
/* Sends these raw bytes on a connection of its own and reads one response. */
#define client_raw(port, bytes) (SUPPORT_AT, client_raw_(port, bytes))
struct message *client_raw_(int port, const char *bytes);

#endif
