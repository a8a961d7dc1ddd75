/* hash.c: see hash.h. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/hash.h"

#include <errno.h>
#include <sys/random.h>

#include "core/panic.h"

static uint64_t hash_seed = 0x9e3779b97f4a7c15u;

void hash_seed_random(void)
{
    hash_random(&hash_seed, sizeof hash_seed);
}

void hash_seed_fixed(uint64_t seed)
{
    hash_seed = seed;
}

/* The hot path: all of it in one place, however often the library is used here. */
__attribute__((flatten)) hash128_t hash_bytes(const void *data, size_t len)
{
    XXH128_hash_t h = XXH3_128bits_withSeed(data, len, hash_seed);
    return (hash128_t){h.low64, h.high64};
}

__attribute__((flatten)) uint64_t hash_short(const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, hash_seed);
}

hash128_t hash_joined(slice_t a, slice_t b)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset_withSeed(&state, hash_seed);
    XXH3_128bits_update(&state, a.ptr, a.len);
    XXH3_128bits_update(&state, b.ptr, b.len);
    XXH128_hash_t h = XXH3_128bits_digest(&state);
    return (hash128_t){h.low64, h.high64};
}

hash128_t hash_bytes_unseeded(const void *data, size_t len)
{
    XXH128_hash_t h = XXH3_128bits(data, len);
    return (hash128_t){h.low64, h.high64};
}

void hash_random(void *buf, size_t len)
{
    char *p = buf;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        ASSERT(n > 0);
        p += n;
        len -= (size_t)n;
    }
}
