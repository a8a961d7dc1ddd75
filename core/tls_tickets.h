/* tls_tickets.h: the keys that session tickets are sealed with, so that a client that comes back, to
 * whichever worker, is spared most of the handshake.
 *
 * Shared by all listeners and workers, and kept over reloads. New tickets are sealed with the first key. Keys
 * of our own: who rotates every TLS_TICKETS_PERIOD_MS makes tickets good for two to three periods, and
 * whoever steals a key can read recorded sessions of that time only. Keys of a file, so that several nodes
 * and restarts have the same: whoever writes the file rotates them. */
#ifndef CORE_TLS_TICKETS_H
#define CORE_TLS_TICKETS_H

#include "core/clock.h"
#include "core/lock.h"

struct ssl_ctx_st;

#define TLS_TICKETS_PERIOD_MS ((dur_ms_t)8 * 3600 * 1000)
#define TLS_TICKETS_OWN       3 /* keys */
#define TLS_TICKETS_KEYS      8 /* of a file, at most */

struct tls_ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

struct tls_ticket_keys {
    struct tls_ticket_key items[TLS_TICKETS_KEYS]; /* the first seals; all open */
    unsigned count;
};

/* Owned by the server; ends after all contexts that use it. */
struct tls_tickets {
    struct lock lock;
    struct tls_ticket_keys keys; /* under lock */
};

/* With one key. false when the system gives no random numbers. */
bool tls_tickets_init(struct tls_tickets *t);
void tls_tickets_destroy(struct tls_tickets *t);
/* A new key for new tickets; the oldest is forgotten. Any thread; without random numbers all stays. */
void tls_tickets_rotate(struct tls_tickets *t);
/* Reads a file: a line for each key, 80 bytes in base64, the newest first; lines that begin with # are
 * remarks. false: why, with the file and the line, and nothing of a key. Blocks on the disk. */
bool tls_ticket_keys_read(struct tls_ticket_keys *k, const char *path, char *err, size_t err_bytes);
/* All of them, for another process; secret. Any thread. */
void tls_tickets_get(struct tls_tickets *t, struct tls_ticket_keys *out);
/* These take the place of all. Any thread. */
void tls_tickets_set(struct tls_tickets *t, const struct tls_ticket_keys *k);
/* Connections of `tls` give out and take such tickets. false when out of memory. */
bool tls_tickets_use(struct tls_tickets *t, struct ssl_ctx_st *tls);

#endif
