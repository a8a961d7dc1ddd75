/* basic_auth.h: the credentials in `Authorization: Basic ...` (RFC 7617). Pure. */
#ifndef CORE_BASIC_AUTH_H
#define CORE_BASIC_AUTH_H

#include "core/slice.h"

#define BASIC_AUTH_USER_MAX     255
#define BASIC_AUTH_PASSWORD_MAX 255
#define BASIC_AUTH_BYTES        (BASIC_AUTH_USER_MAX + 1 + BASIC_AUTH_PASSWORD_MAX + 1)

/* Both parts of a field's value, decoded into `buf`, which the caller wipes; the password is followed by a
 * NUL. false: it is another scheme, nothing that base64 makes, too long, or has control characters in it. */
bool basic_auth_read(slice_t value, char buf[BASIC_AUTH_BYTES], slice_t *user, slice_t *password);

#endif
