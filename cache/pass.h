/* pass.h: keys whose last response could not be stored: the next requests for them are not queued behind a
 * flight.
 *
 * A fixed table of (64-bit seeded fingerprint, expiry), four to a cache line. No allocation, no lock: a lost
 * or torn entry costs one queued herd, a collision one fetch that might have been shared; neither stores or
 * serves anything wrong, so the key is not compared whole here. Threads: any. */
#ifndef CACHE_PASS_H
#define CACHE_PASS_H

#include <stdatomic.h>

#include "core/clock.h"

#define CACHE_PASS_WAYS 4
#define CACHE_PASS_SETS 2048

struct cache_pass_entry {
    _Atomic uint64_t fingerprint;
    _Atomic mono_ms_t until_ms;
};

/* Owned by the cache; all zero is empty. */
struct cache_pass {
    _Alignas(CACHE_LINE) struct cache_pass_entry sets[CACHE_PASS_SETS][CACHE_PASS_WAYS];
};

void cache_pass_remember(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms);
void cache_pass_forget(struct cache_pass *p, uint64_t fingerprint);
bool cache_pass_has(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms);

#endif
