/* hash.h: XXH3-128 with a seed drawn at start, so that nobody can prepare colliding keys; and without. */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/slice.h"

typedef struct hash128 {
    uint64_t lo, hi;
} hash128_t;

/* Once at start, before any thread. A fixed seed is for tests and benchmarks only. */
void hash_seed_random(void);
void hash_seed_fixed(uint64_t seed);

hash128_t hash_bytes(const void *data, size_t len);
/* Of one behind the other, as if they were one. Slower. */
hash128_t hash_joined(slice_t a, slice_t b);
/* 64 bits of another function: for where a collision costs nothing but time. */
uint64_t hash_short(const void *data, size_t len);
/* Without the seed: the same in every process, on every machine. For names and checksums of what several
 * nodes share, where a collision must cost no more than a miss. */
hash128_t hash_bytes_unseeded(const void *data, size_t len);
static inline bool hash_eq(hash128_t a, hash128_t b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

/* Cryptographic random bytes (getrandom); panics when the kernel has none. */
void hash_random(void *buf, size_t len);

#endif
