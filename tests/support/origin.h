/* origin.h: scripted application instances as threads of the test process.
 *
 * An origin listens on 127.0.0.1 on a port the kernel chose. Every connection has a thread that reads
 * requests, records them, and hands each to the script, which answers with whatever bytes it likes, in
 * pieces, and may close, reset or wait at a gate anywhere. After a script that neither closed nor reset, the
 * connection goes on with the next request. Scripts run on the connection's thread and cannot fail the test;
 * the test asks the records afterwards. Origins are stopped at the end of the test at the latest. */
#ifndef TESTS_SUPPORT_ORIGIN_H
#define TESTS_SUPPORT_ORIGIN_H

#include "tests/support/gate.h"
#include "tests/support/wire.h"

struct origin;

/* One connection, handed to the script; only its thread touches it. */
struct origin_conn {
    struct origin *origin;
    struct wire wire;
    const struct message *request; /* the one being answered */
    unsigned number;               /* 1 for the origin's first connection */
    unsigned served;               /* requests before this one on this connection */
    bool done;
};

typedef void origin_script(struct origin_conn *c, const struct message *request, void *arg);

struct origin_options {
    origin_script *script;
    void *arg;
    bool head_only; /* call the script when the head is there; it reads the body with origin_read_body or raw
                     */
    bool raw;       /* call the script at once when a connection comes, with request NULL, and once */
    bool forgets;   /* keeps no records, for as many requests as one likes */
    int port;       /* 0 = the kernel's choice */
    unsigned loopback;              /* N: listens on 127.0.0.N; 0: on 127.0.0.1 */
    int rcvbuf_bytes, sndbuf_bytes; /* 0 = the kernel's choice */
};

/* All functions down to origin_stop: test thread; they fail the test. */
struct origin *origin_start(origin_script *script, void *arg);
struct origin *origin_start_with(const struct origin_options *options);
/* Answers every request with the same raw bytes. */
struct origin *origin_start_fixed(const char *raw);
/* 200 with this name as its body and "Cache-Control: no-store": who answered? */
struct origin *origin_start_named(const char *name);
/* Stops listening and breaks every connection (RST), as a killed process does. The records stay. */
void origin_stop(struct origin *o);
/* A port that refuses connections for as long as the test runs. */
int origin_refusing_port(void);
/* A port where connections hang: bound, its backlog full, never accepted. 0: the kernel's choice. */
int origin_hanging_port(int wanted);

int origin_port(const struct origin *o);
unsigned origin_requests(struct origin *o);    /* heads read, ever */
unsigned origin_connections(struct origin *o); /* accepted, ever */
unsigned origin_open(struct origin *o);        /* now */
uint64_t origin_bytes(struct origin *o);       /* received, ever (connections that ended, and read heads) */
/* The i-th recorded request; valid until the test ends. */
const struct message *origin_request(struct origin *o, unsigned i);
/* Requests recorded whose target is `target`. */
unsigned origin_requests_for(struct origin *o, const char *target);
#define origin_wait_requests(o, n) (SUPPORT_AT, origin_wait_requests_(o, n))
#define origin_wait_open(o, n)     (SUPPORT_AT, origin_wait_open_(o, n))
void origin_wait_requests_(struct origin *o, unsigned n); /* at least n */
void origin_wait_open_(struct origin *o, unsigned n);     /* exactly n connections open */

/* For scripts. false when the peer is gone. */
bool origin_send(struct origin_conn *c, const char *fmt, ...) PRINTF_LIKE(2, 3);
bool origin_send_bytes(struct origin_conn *c, const void *bytes, size_t n);
/* Status line, `fields` (each with CRLF), Content-Length and the body (none for HEAD). */
bool origin_respond(struct origin_conn *c, int status, const char *fields, const char *body);
bool origin_send_chunk(struct origin_conn *c, const char *data,
                       size_t n);         /* n == 0: the last chunk, no trailers */
void origin_close(struct origin_conn *c); /* orderly, after what was sent */
void origin_reset(struct origin_conn *c); /* RST */
/* With head_only: reads the body of the request being answered into the record. */
void origin_read_body(struct origin_conn *c);
/* Waits until the peer ends the connection. false when it does not within support_wait_ms. */
bool origin_wait_peer_close(struct origin_conn *c);

#endif
