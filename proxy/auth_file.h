/* auth_file.h: the htpasswd file of a route's basic_auth: read with the configuration, and anew when it
 * changes.
 *
 * Owned by the route of a snapshot. The control thread looks at the file and publishes what it read by RCU;
 * workers read `current` in the section of their run. A file that cannot be used leaves the one before in
 * use. */
#ifndef PROXY_AUTH_FILE_H
#define PROXY_AUTH_FILE_H

#include <stdatomic.h>

#include "config/config.h"
#include "core/htpasswd.h"
#include "core/tls_file.h"

struct auth_file {
    _Atomic(struct htpasswd *) current;
    /* control thread */
    struct tls_stamp read, found;
    bool failed; /* what is in use is older than `read` */
};

/* Told of each problem, as "file:line: [route r] basic_auth: htpasswd:line: what is wrong; what would be
 * right".
 */
typedef void auth_file_on_problem(void *arg, const char *text);

/* *out is NULL for a route without basic_auth. false: there were problems. */
bool auth_file_load(const struct config *c, const struct config_route *r, struct auth_file **out,
                    auth_file_on_problem *on_problem, void *arg);
/* NULL is fine. Nobody reads it any more. */
void auth_file_free(struct auth_file *f);
/* Now and then: takes over what the file holds now, when it has changed and does no longer change. */
void auth_file_look(const struct config *c, const struct config_route *r, struct auth_file *f);

#endif
