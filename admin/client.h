/* client.h: the client commands with their streams as arguments, so that tests read what a person would see.
 */
#ifndef ADMIN_CLIENT_H
#define ADMIN_CLIENT_H

#include <stdio.h>

#include "core/slice.h"

/* As admin_client_main, printing to `out` and `err`. */
int admin_client_run(int argc, char **argv, FILE *out, FILE *err);

/* The admin socket a configuration text means, read loosely, for a file with errors in it: [admin] socket,
 * else [millpond] runtime_dir + "/admin.sock". false when neither is there, or one holds a ${VARIABLE}. */
bool admin_client_scan_socket(slice_t text, char *out, size_t out_bytes);

#endif
