/* hidden.h: lines of a stored head that no client gets (Millpond-Cache-Control, Surrogate-Control), pure.
 *
 * They lie behind the lines that clients get, and are followed by their length in two bytes and a NUL, which
 * ends no other head: so they cost a response that has none of them one compare, and no byte. They are kept
 * at all because a stale response is asked again what its Cache-Control said (cache/stale.h). */
#ifndef CACHE_HIDDEN_H
#define CACHE_HIDDEN_H

#include "core/base.h"
#include "core/slice.h"

#define CACHE_HIDDEN_SEAL 3 /* bytes */

/* Writes the seal behind `bytes` (at most UINT16_MAX) of hidden lines. */
static inline void cache_hidden_seal(char *at, size_t bytes)
{
    at[0] = (char)(bytes & 0xff);
    at[1] = (char)(bytes >> 8);
    at[2] = '\0';
}

/* Takes hidden lines and seal off the end of a stored head; the bytes of the lines, which still lie behind
 * it. */
static inline uint16_t cache_hidden_take(slice_t *head)
{
    if (LIKELY(head->len < CACHE_HIDDEN_SEAL || head->ptr[head->len - 1] != '\0'))
        return 0;
    const unsigned char *seal = (const unsigned char *)head->ptr + head->len - CACHE_HIDDEN_SEAL;
    size_t bytes = seal[0] | (size_t)seal[1] << 8;
    if (bytes > head->len - CACHE_HIDDEN_SEAL)
        return 0;
    head->len -= CACHE_HIDDEN_SEAL + bytes;
    return (uint16_t)bytes;
}

#endif
