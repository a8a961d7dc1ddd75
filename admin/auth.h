/* auth.h: who may use the admin address: the token, and the Host values that are answered.
 *
 * One object per accepted set of settings, made and used on the control thread; it keeps copies, so the
 * snapshot it was made from may go. The unix socket needs none of this: its file mode is its access rule. */
#ifndef ADMIN_AUTH_H
#define ADMIN_AUTH_H

#include "config/config.h"

#define ADMIN_TOKEN_FILE "admin-token" /* in state_dir */

struct admin_auth;

/* Takes [admin] token, read, metrics and allowed_hosts. Without a configured token, and when [admin] address
 * is on, the token of state_dir/admin-token is read, or made and kept there; when that cannot be done, a
 * warning is logged and the token lasts until the process ends: `before` is what is in use (NULL: nothing),
 * whose token stays if it was not the configuration's. NULL and a message in `err` when out of memory. */
struct admin_auth *admin_auth_create(const struct config *c, const struct admin_auth *before, char *err,
                                     size_t err_bytes);
void admin_auth_free(struct admin_auth *a);

/* `authorization` is the field's value or NULL. Only "Bearer TOKEN" (RFC 6750 section 2.1) is taken; the time
 * taken does not depend on where the given token differs. */
bool admin_auth_token_ok(const struct admin_auth *a, const char *authorization);
/* `host` is the Host value or NULL. The port is not looked at; ASCII case is ignored. */
bool admin_auth_host_ok(const struct admin_auth *a, const char *host);

bool admin_auth_read_open(const struct admin_auth *a);
bool admin_auth_metrics_open(const struct admin_auth *a);
const char *admin_auth_token(const struct admin_auth *a); /* "" when no address needs one */
const char *admin_auth_token_file(
    const struct admin_auth *a); /* "" when it comes from the configuration or is not kept */

#endif
