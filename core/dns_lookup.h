/* dns_lookup.h: the addresses of a host name, and for how long they hold.
 *
 * A lookup looks into the hosts file, asks the name servers for A and AAAA, and, where these are the system's
 * and cannot tell, asks the system (core/resolve). All functions are called on the thread of the worker that
 * is given; nothing blocks but dns_wait. */
#ifndef CORE_DNS_LOOKUP_H
#define CORE_DNS_LOOKUP_H

#include "core/dns_system.h"
#include "core/resolve.h"

#define DNS_TRIES_MAX   8           /* datagrams to servers for one name, altogether */
#define DNS_TTL_UNKNOWN INT64_C(-1) /* the hosts file, or the system, said it */

/* Borrowed during the callback; the taker of dns_wait owns `addresses`. */
struct dns_answer {
    struct net_addr *addresses; /* IPv4 first, else as they came; malloc */
    size_t count;               /* 1..RESOLVE_MAX_ADDRESSES, or 0: see `error` */
    dur_ms_t ttl_ms;            /* or DNS_TTL_UNKNOWN */
    const char *error;          /* static text, NULL when there are addresses */
};

struct dns_lookup;

/* Starts a lookup. With `servers` (copied) these are asked, for the name as it is written, and nobody else;
 * NULL or none: the system's, with its search list. `on_done` runs later in the worker's loop, never from
 * inside this call, unless the lookup is cancelled or waited for first. NULL when out of memory. */
struct dns_lookup *dns_start(struct worker *worker, slice_t host, uint16_t port,
                             const struct dns_servers *servers,
                             void (*on_done)(void *arg, const struct dns_answer *answer), void *arg);
/* Blocks until the answer is there or the clock shows `until_ms`; what has come already is taken in any case.
 * True: `answer` is set, the lookup is gone (nulled) and on_done will not run. False: it goes on. */
bool dns_wait(struct dns_lookup **lookup, mono_ms_t until_ms, struct dns_answer *answer);
/* on_done will not run. Nulls; NULL is fine. At any time, also from inside another lookup's on_done. */
void dns_cancel(struct dns_lookup **lookup);

#endif
