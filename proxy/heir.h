/* heir.h: the newer process's side of an upgrade: what the older one hands over, and when to begin.
 *
 *   heir_receive -> (configuration, sockets, all that a start may fail for) -> heir_await_go -> heir_serving
 *
 * Until heir_await_go returns true nothing is accepted and nothing is anybody's business but the older
 * process's, which goes on as if nothing had happened if this one fails, hangs or dies. The older side is
 * server_upgrade.c; core/handover.h has the messages. Control thread, before its loop runs; what comes
 * afterwards comes by an event of that loop. */
#ifndef PROXY_HEIR_H
#define PROXY_HEIR_H

#include <jansson.h>

#include "config/change.h"
#include "core/net.h"
#include "core/tls_tickets.h"

struct balancer;
struct cache;
struct heir;
struct purge_twin;
struct worker;

/* Receives all that a process that started this one hands over: changes go to `changes`. NULL: nobody did, or
 * (with a message in `err`) he died meanwhile. */
struct heir *heir_receive(struct config_changes *changes, char *err, size_t err_bytes);
/* NULL is fine. Sockets that nobody took are closed. */
void heir_free(struct heir *h);

/* Is there a socket for this address of a section ("": the admin side)? NULL is fine, here and below. */
bool heir_has(const struct heir *h, const struct net_addr *addr, const char *section);
/* Is there one for this port, whatever the address? */
bool heir_has_port(const struct heir *h, uint16_t port);
/* The sockets for it, once: an array on the heap and what it holds are the caller's. NULL: there are none. */
int *heir_take(struct heir *h, const struct net_addr *addr, const char *section, size_t *count);
/* The keys of session tickets, if there are any, take the place of those; they are forgotten here. */
void heir_give_tickets(struct heir *h, struct tls_tickets *to);
/* Orders about servers are given again. */
void heir_order_again(const struct heir *h, struct balancer *b);

/* This process cannot start: the older one is told why. */
void heir_fail(const struct heir *h, const char *why);
/* Says that all is ready and waits for the word to begin. false: it is called off. When the older process is
 * gone, there is nobody else to serve: true. From then on, until the older process has ended, it is `twin`
 * (which outlives this) of `cache` (NULL: none). */
bool heir_await_go(struct heir *h, struct purge_twin *twin, struct cache *cache);
/* Requests are served. From here on the older process is listened to. */
void heir_serving(struct heir *h, struct worker *control);
void heir_stop(struct heir *h);

/* The process id of the older one while it still serves what it had; 0: it has ended. */
long heir_old_pid(const struct heir *h);
/* "upgrade" of the status: since when, and from whom. */
json_t *heir_status(const struct heir *h);

#endif
