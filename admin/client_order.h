/* client_order.h: what `millpond drain`, `ready`, `weight` and `resume` send and print. Pure but for the
 * stream. */
#ifndef ADMIN_CLIENT_ORDER_H
#define ADMIN_CLIENT_ORDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* Fills the body of POST /api/COMMAND from the words of the command line. NULL, or what is wrong with them.
 */
const char *client_order_read(json_t *wish, const char *command, int count, char *const *words);

/* The server's object in the answer to GET /api/pools, borrowed; NULL when it is not there. `name` is
 * "POOL/SERVER". Of a server with several addresses it is that of one; *running is how many requests are
 * under way at all of them, and at those that it had before. */
json_t *client_order_find(const json_t *answer, const char *name, json_int_t *running);

/* The answer, a server or a split, for people. */
void client_order_print(const json_t *server, FILE *out);

#endif
