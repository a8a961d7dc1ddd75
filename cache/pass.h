/* pass.h: keys whose last response could not be stored: the next requests for them are not queued behind a
 * flight, and `explain` can say why.
 *
 * A fixed table of (64-bit seeded fingerprint, expiry with reason and status), four to a cache line. No
 * allocation, no lock: a lost or torn entry costs one queued herd, a collision one fetch that might have been
 * shared; neither stores or serves anything wrong, so the key is not compared whole here. Threads: any. */
#ifndef CACHE_PASS_H
#define CACHE_PASS_H

#include <stdatomic.h>

#include "core/clock.h"
#include "core/outcome.h"

#define CACHE_PASS_WAYS 4
#define CACHE_PASS_SETS 2048

struct cache_pass_entry {
    _Atomic uint64_t fingerprint;
    _Atomic uint64_t word; /* until_ms << 24 | seconds it was remembered for << 16 | status << 6 | reason */
};

/* Owned by the cache; all zero is empty. */
struct cache_pass {
    _Alignas(CACHE_LINE) struct cache_pass_entry sets[CACHE_PASS_SETS][CACHE_PASS_WAYS];
};

/* What is known of the response that could not be stored. */
struct cache_pass_memory {
    enum no_store_reason why; /* NO_STORE_STORED: nobody said */
    unsigned status;          /* 0: no response came, or nobody said */
    dur_ms_t ago_ms, left_ms; /* since then, to within a second; until it is forgotten */
};

void cache_pass_remember(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms);
void cache_pass_remember_why(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms,
                             enum no_store_reason why, unsigned status);
void cache_pass_forget(struct cache_pass *p, uint64_t fingerprint);
void cache_pass_clear(struct cache_pass *p);
bool cache_pass_has(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms);
/* What is said of a request for it: NO_STORE_STORED when it is not remembered, else no_store_remembered. */
enum no_store_reason cache_pass_says(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms);
/* The same with what is known of it, in *out when true. */
bool cache_pass_get(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms,
                    struct cache_pass_memory *out);

#endif
