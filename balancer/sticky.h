/* sticky.h: the values of sticky cookies.
 *
 * A value is a MAC (HMAC-SHA-256, cut to 128 bits) of the names of pool and server, under a key that only
 * this machine has. It is the same for all visitors of a server, after a reload and after a restart; who has
 * not been given it cannot make it, and it tells nothing about the servers. So values are computed once per
 * configuration, and reading a cookie is a comparison. Rejected: the server's name with a signature, which
 * shows the name and has to be verified for each request. */
#ifndef BALANCER_STICKY_H
#define BALANCER_STICKY_H

#include "core/base.h"

#define STICKY_KEY_BYTES 32
#define STICKY_CHARS     32           /* of a value: hexadecimal */
#define STICKY_KEY_FILE  "sticky-key" /* in state_dir */

/* Control thread. Zero it before use. */
struct sticky_key {
    bool known;
    uint8_t bytes[STICKY_KEY_BYTES];
};

/* Once it is known nothing more happens. Reads the key from state_dir, or makes one and keeps it there; when
 * that cannot be done the key is of this run, which is logged. */
void sticky_key_obtain(struct sticky_key *k, const char *state_dir);

/* The value for a server of a pool, NUL-terminated. false: the library failed. */
bool sticky_value(const struct sticky_key *k, const char *pool, const char *server,
                  char out[STICKY_CHARS + 1]);

/* Any thread. Two values of STICKY_CHARS bytes, in constant time. */
bool sticky_values_equal(const char *a, const char *b);

#endif
