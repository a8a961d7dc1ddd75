/* tls_tickets.h: the keys that session tickets are sealed with, so that a client that comes back, to
 * whichever worker, is spared most of the handshake.
 *
 * Shared by all listeners and workers, and kept over reloads. New tickets are sealed with the newest of three
 * keys. Who rotates every TLS_TICKETS_PERIOD_MS makes tickets good for two to three periods, and whoever
 * steals a key can read recorded sessions of that time only. */
#ifndef CORE_TLS_TICKETS_H
#define CORE_TLS_TICKETS_H

#include "core/clock.h"
#include "core/lock.h"

struct ssl_ctx_st;

#define TLS_TICKETS_PERIOD_MS ((dur_ms_t)8 * 3600 * 1000)
#define TLS_TICKETS_KEYS      3

struct tls_ticket_key {
    unsigned char name[16], cipher[32], mac[32];
};

/* Owned by the server; ends after all contexts that use it. */
struct tls_tickets {
    struct lock lock;
    /* under lock */
    struct tls_ticket_key keys[TLS_TICKETS_KEYS]; /* newest first */
    unsigned count;
};

/* With one key. false when the system gives no random numbers. */
bool tls_tickets_init(struct tls_tickets *t);
void tls_tickets_destroy(struct tls_tickets *t);
/* A new key for new tickets; the oldest is forgotten. Any thread; without random numbers all stays. */
void tls_tickets_rotate(struct tls_tickets *t);
/* Connections of `tls` give out and take such tickets. false when out of memory. */
bool tls_tickets_use(struct tls_tickets *t, struct ssl_ctx_st *tls);

#endif
