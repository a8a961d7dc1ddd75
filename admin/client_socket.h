/* client_socket.h: where the socket of the running server is, by its configuration.
 *
 * A configuration with errors must not keep anybody from asking the server that still runs on the previous
 * one ("millpond status" after a refused reload), so then the two keys that matter are looked for in the
 * text. */
#ifndef ADMIN_CLIENT_SOCKET_H
#define ADMIN_CLIENT_SOCKET_H

#include <stdio.h>

#include "core/base.h"

/* `config_path` NULL: the default. false when `err` was told why. */
bool client_socket_find(const char *command, const char *config_path, char *out, size_t out_bytes, FILE *err);

#endif
