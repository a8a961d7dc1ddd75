/* random.h: cheap random numbers for spreading load, never for secrets (hash_random makes those). */
#ifndef CORE_RANDOM_H
#define CORE_RANDOM_H

#include <stdint.h>

/* The next one of the sequence (splitmix64); any seed will do. The state's owner's thread. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* In (0, 1]. */
static inline double random_share(uint64_t random)
{
    return (double)((random >> 11) + 1) * 0x1p-53;
}

#endif
