/* server_upgrade.h: another process of this program, perhaps of a newer file, takes this one's place. */
#ifndef PROXY_SERVER_UPGRADE_H
#define PROXY_SERVER_UPGRADE_H

#include "admin/admin.h"
#include "proxy/server.h"

/* Starts the program (program.h) once more. true: `reply` (or nobody, when NULL) hears once
 * what came of it, {"pid", "version", "old_pid"} or {"error", "hint", "problems"}; this process then ends as
 * by SIGTERM, or goes on as if nothing had happened. false, with static texts: not now. */
bool upgrade_begin(struct server *s, const char *who, const struct admin_reply *reply, const char **error,
                   const char **hint);
/* NULL, or why neither a reload nor a change may happen now. */
const char *upgrade_in_the_way(const struct server *s);
/* Another process has taken over. */
bool upgrade_is_done(const struct server *s);
/* This process is told to end: an upgrade under way comes to nothing. */
void upgrade_call_off(struct server *s);
/* Once no worker runs. NULL is fine. */
void upgrade_free(struct upgrade *u);
/* "upgrade" of the status. */
json_t *upgrade_status(const struct server *s);

#endif
