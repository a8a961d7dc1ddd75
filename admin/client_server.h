/* client_server.h: what `millpond add` and `remove` send, print and write into the ini file. Pure but for the
 * stream and the file. */
#ifndef ADMIN_CLIENT_SERVER_H
#define ADMIN_CLIENT_SERVER_H

#include <jansson.h>
#include <stdio.h>

#include "config/edit.h"

/* Fills the body of POST /api/COMMAND from the words of the command line. NULL, or what is wrong with them.
 */
const char *client_server_read(json_t *wish, const char *command, int count, char *const *words);
#define CLIENT_POOL_BYTES 64
/* Makes ready what the same body says of the file. The body, `path` and `pool`, which is filled in, live as
 * long as the edit. */
bool client_server_edit(struct config_edit *e, const char *path, const json_t *wish,
                        char pool[CLIENT_POOL_BYTES], char why[CONFIG_EDIT_WHY]);
/* `name` is "POOL/SERVER". */
void client_server_print_removed(const char *name, const json_t *answer, FILE *out);

#endif
