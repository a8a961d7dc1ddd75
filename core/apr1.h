/* apr1.h: the hash that htpasswd makes unless told otherwise, "$apr1$salt$hash": a thousand rounds of MD5. It
 * is MD5 crypt with another word at its beginning, which goes into the hash, so the C library's will not do.
 * Weak by what is known today, but no weaker for being checked here. Pure; any thread. */
#ifndef CORE_APR1_H
#define CORE_APR1_H

#include "core/base.h"

#define APR1_MAGIC      "$apr1$"
#define APR1_SALT_MAX   8
#define APR1_HASH_BYTES (sizeof APR1_MAGIC + APR1_SALT_MAX + 1 + 22)

/* The hash of the password with the salt of `setting`, which begins with APR1_MAGIC. false: no MD5 here. */
bool apr1_hash(const char *password, const char *setting, char out[APR1_HASH_BYTES]);

#endif
