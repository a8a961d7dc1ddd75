/* auth_memory.h: the passwords that were found right lately, so that only the first request of a visitor
 * waits for a slow hash.
 *
 * What is remembered is a tag, an HMAC under a key of the process over the user's hash, name and password. It
 * tells nothing without the key, and no longer fits once the file has another hash for the user. Wrong ones
 * are not remembered: a guesser would fill the table, and a visitor who mistyped wait for nothing. A worker
 * has one of its own, so there is no lock; the worker's thread. */
#ifndef PROXY_AUTH_MEMORY_H
#define PROXY_AUTH_MEMORY_H

#include "core/clock.h"

#define AUTH_TAG_BYTES     32
#define AUTH_MEMORY_SETS   256 /* a power of two */
#define AUTH_MEMORY_PLACES 4
#define AUTH_MEMORY_MS     600000 /* unused for so long, it is forgotten */

struct auth_memory {
    struct auth_memory_place {
        uint8_t tag[AUTH_TAG_BYTES];
        mono_ms_t until_ms; /* 0: empty */
    } places[AUTH_MEMORY_SETS][AUTH_MEMORY_PLACES];
};

/* The tag of what a client says. false: the library failed. */
bool auth_memory_tag(const char *hash, const char *user, size_t user_bytes, const char *password,
                     uint8_t tag[AUTH_TAG_BYTES]);
/* Is it one of those? If so it stays one. */
bool auth_memory_has(struct auth_memory *m, const uint8_t tag[AUTH_TAG_BYTES], mono_ms_t now_ms);
/* The one that was not used for longest makes room. */
void auth_memory_keep(struct auth_memory *m, const uint8_t tag[AUTH_TAG_BYTES], mono_ms_t now_ms);

#endif
