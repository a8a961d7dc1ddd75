/* admission.h: how many client connections there are, in all and per address. Any thread.
 *
 * The total is one atomic. Counts per address exist only while a limit asks for them: a table under one lock,
 * touched once per accepted connection, never per request. */
#ifndef PROXY_ADMISSION_H
#define PROXY_ADMISSION_H

#include <stdatomic.h>

#include "core/lock.h"
#include "core/net.h"

#define ADMISSION_SLOTS 65536 /* addresses counted at once; a full table admits */

struct admission_slot {
    uint8_t ip[16];
    uint32_t count; /* 0 = free */
};

struct admission {
    _Atomic uint32_t total;
    _Atomic uint32_t max_total;
    struct lock lock;
    struct admission_slot *slots; /* under lock; made when first needed */
    uint32_t used;                /* under lock */
};

void admission_init(struct admission *a, uint32_t max_total);
void admission_destroy(struct admission *a);
/* Counts the connection and returns true, or returns false. `max_per_ip` 0 = no limit: then, and when the
 * table is full, it is not counted under its address. `*by_ip` says whether it was, and is handed back on
 * leaving; otherwise one listener's connections would take from the counts of another's. */
bool admission_enter(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip, bool *by_ip);
/* Of a connection that admission_enter let in without counting its address, which is known only now. false:
 * there are `max_per_ip` of it already; nothing was counted. */
bool admission_enter_ip(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip, bool *by_ip);
void admission_leave(struct admission *a, const uint8_t ip[16], bool by_ip);

#endif
