/* tls_sleep.h: less memory for TLS connections on which nothing happens.
 *
 * An SSL object of OpenSSL 3.0 is one piece of 7.6 KB, of which a connection that waits uses a fifth: the
 * rest is room for records that are not there. Such an object lies in pages of its own here (page_places.h),
 * from OpenSSL's allocator, which is ours.
 *
 * Sound because only calls with an SSL read or write it, and whoever owns one makes none while it sleeps.
 * Where it cannot be done (pages are not of 4 KB, locked memory, an SSL of another size, no address space)
 * objects are as they always were, and stay awake. Any thread; one object is one thread's at a time. */
#ifndef CORE_TLS_SLEEP_H
#define CORE_TLS_SLEEP_H

#include <stdbool.h>
#include <stddef.h>

struct ssl_ctx_st;
struct ssl_st;
struct page_image;

/* Before anything else is asked of OpenSSL, once, by a program that wants its objects to sleep. */
void tls_sleep_init(void);

/* SSL_new. It can sleep if there is a place. */
struct ssl_st *tls_sleep_new(struct ssl_ctx_st *context);

/* What is left of it in memory; NULL: it stays awake. */
struct page_image *tls_sleep_begin(struct ssl_st *ssl);
/* Consumes the image. */
void tls_sleep_end(struct ssl_st *ssl, struct page_image **image);

#endif
