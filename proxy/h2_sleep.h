/* h2_sleep.h: less memory for HTTP/2 connections on which nothing happens.
 *
 * What nghttp2 makes with a session (its tables, and the buffer of a frame) is 26 KB of which little is used,
 * as is of our table of what the client's decoder knows. It lies in a place of its own (core/page_places.h),
 * and sleeps when the TLS beneath does, if no stream is there. Whoever calls nghttp2 for a connection without
 * streams wakes it first. Without places, or without TLS, sessions are as nghttp2 makes them, and stay awake.
 * Worker thread. */
#ifndef PROXY_H2_SLEEP_H
#define PROXY_H2_SLEEP_H

#include <nghttp2/nghttp2.h>

#include "core/size_pool.h"

struct h2_conn;
struct page_image;

/* Where a worker's sessions have their memory from. */
struct h2_mem {
    struct size_pool pool; /* of the streams of clients, ours and nghttp2's */
    nghttp2_mem calls;     /* the same, as nghttp2 calls it */
    char *making;          /* the place of the session that is being made; NULL: none is */
    size_t made, kept;     /* how much of it is taken; what of that sleeps, which comes first */
};

/* Where it lies while it sleeps, and how much of it. */
struct h2_bed {
    void *place; /* NULL: it has none */
    size_t kept;
    struct page_image *image; /* NULL: it is awake */
};

/* Once, before there are workers. */
void h2_sleep_init(void);

void h2_mem_init(struct h2_mem *m);

/* The session of a server, and the table of its client; they can sleep if there is a place. 0, or nghttp2's
 * error: what there is of it must be freed. */
int h2_session_make(struct h2_conn *h, const nghttp2_session_callbacks *callbacks,
                    const nghttp2_option *option, struct h2_mem *m);
/* Asleep or awake; NULL is fine. */
void h2_session_free(struct h2_conn *h);

/* Nothing happens on it: its session sleeps if it can. */
void h2_session_sleep(struct h2_conn *h);
/* Before nghttp2 is called. */
void h2_session_wake(struct h2_conn *h);

#endif
