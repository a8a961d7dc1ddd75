/* digest.h: SHA-256 of bytes that come in pieces, for "are these the same bytes" where a collision that
 * somebody prepared must not count. Whatever fails (no memory, the library) makes the digest equal to
 * nothing. */
#ifndef CORE_DIGEST_H
#define CORE_DIGEST_H

#include "core/base.h"

#define DIGEST_BYTES 32

struct digest; /* owned by whoever made it; one thread at a time */

/* Of nothing yet. NULL when out of memory. */
struct digest *digest_new(void);
struct digest *digest_copy(const struct digest *d);
/* NULL is fine. Nulls the pointer. */
void digest_free(struct digest **d);
void digest_add(struct digest *d, const void *data, size_t n);
/* The value, and the end of `*d` (NULL is fine: false). false: it failed. Nulls the pointer. */
bool digest_end(struct digest **d, uint8_t value[DIGEST_BYTES]);

#endif
