/* wire.h: bytes of a connection read into HTTP messages, for both sides of a test: clients and scripted
 * origins.
 *
 * Deliberately not the program's own parser: lenient, simple, and it reports what it saw (complete, cut,
 * reset, closed) instead of judging. A wire belongs to one thread. */
#ifndef TESTS_SUPPORT_WIRE_H
#define TESTS_SUPPORT_WIRE_H

#include "tests/support/support.h"

struct wire {
    int fd;
    char *buf; /* bytes received and not yet taken */
    size_t len, cap;
    uint64_t received_bytes;
    bool closed; /* the peer ended its side */
    bool reset;  /* ECONNRESET or another error */
};

enum message_end {
    MESSAGE_COMPLETE, /* by its framing; for close-delimited bodies, an orderly close */
    MESSAGE_NONE,     /* closed before its first byte */
    MESSAGE_CUT,      /* closed in the middle */
    MESSAGE_RESET,    /* the connection broke */
    MESSAGE_TIMEOUT,  /* nothing came for support_wait_ms */
    MESSAGE_GARBLED   /* not HTTP */
};
const char *message_end_name(enum message_end e);

enum message_framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_CLOSE };

#define MESSAGE_MAX_FIELDS 256
struct message {
    enum message_end end;
    char *head;       /* start line and field lines with their CRLFs, as received, NUL-terminated */
    char *start_line; /* without CRLF */
    int status;       /* responses */
    char *method, *target;
    size_t field_count;
    struct {
        char *name, *value;
    } fields[MESSAGE_MAX_FIELDS];
    enum message_framing framing;
    uint64_t length; /* with FRAMING_LENGTH */
    char *body;      /* decoded, NUL-terminated; never NULL */
    size_t body_len;
    unsigned chunks;
    char *trailers; /* trailer lines as received, "" when none */
};

/* A port of 127.0.0.1 for a server that is started by the test and binds with SO_REUSEADDR. It is held until
 * the test ends by a socket with the same option that never listens, so the kernel gives it to nobody else.
 * Looking for a free port and hoping was rejected. Fails the test. */
uint16_t wire_hold_port(void);
/* A connection to 127.0.0.1:port, or -1. rcvbuf_bytes 0: as the kernel likes. Any thread. */
int wire_connect(int port, int rcvbuf_bytes);
void wire_init(struct wire *w, int fd);
void wire_free(struct wire *w); /* closes the descriptor */

/* Receives at least one more byte within `wait_ms`. false: closed, reset, or nothing came. */
bool wire_more(struct wire *w, int wait_ms);
/* Drops the first n received bytes. */
void wire_take(struct wire *w, size_t n);
/* The next line without its CRLF, NUL-terminated; false when it does not come or is too long. */
bool wire_take_line(struct wire *w, char *line, size_t room);
/* Sends everything, waiting for room as long as the peer keeps taking some. false when it does not. */
bool wire_send(struct wire *w, const void *bytes, size_t n);
/* Sends up to `n` bytes of anything while there is room; none for half a second = the peer has stopped
 * reading. Returns how many. */
uint64_t wire_send_while_room(int fd, uint64_t n);
/* What may be under way between a sender and a receiver who has stopped reading, through a program in the
 * middle that keeps nothing, when their own buffers are small: the kernel makes the other two as large as it
 * likes. */
uint64_t wire_room_max(void);
/* Receives and drops `n` bytes (SIZE_MAX: until close). Returns how many came. */
uint64_t wire_discard(struct wire *w, uint64_t n);

/* Reads a head; the caller goes on with wire_read_body. Never NULL; the caller frees with message_free. */
struct message *wire_read_head(struct wire *w, bool is_response, bool is_head_answer);
/* The body by the framing of the head, into the message. */
void wire_read_body(struct wire *w, struct message *m);
void message_free(struct message *m);

/* First field of that name (any case), or NULL. And how many there are. */
const char *message_field(const struct message *m, const char *name);
unsigned message_field_count(const struct message *m, const char *name);

/* What a test asks of a message; test thread. The failure shows the message. */
#define expect_status(m, s)            (SUPPORT_AT, message_expect_status(m, s))
#define expect_field(m, name, value)   (SUPPORT_AT, message_expect_field(m, name, value, false))
#define expect_field_in(m, name, part) (SUPPORT_AT, message_expect_field(m, name, part, true))
#define expect_no_field(m, name)       (SUPPORT_AT, message_expect_no_field(m, name))
#define expect_body(m, text)           (SUPPORT_AT, message_expect_body(m, text))
#define expect_end(m, e)               (SUPPORT_AT, message_expect_end(m, e))
void message_expect_status(const struct message *m, int status); /* and that it is complete */
void message_expect_field(const struct message *m, const char *name, const char *value, bool part);
void message_expect_no_field(const struct message *m, const char *name);
void message_expect_body(const struct message *m, const char *text);
void message_expect_end(const struct message *m, enum message_end e);

#endif
