/* client_explain.h: the parts of `millpond explain` that are its own: its arguments, and its answer for
 * people. */
#ifndef ADMIN_CLIENT_EXPLAIN_H
#define ADMIN_CLIENT_EXPLAIN_H

#include <jansson.h>
#include <stdio.h>

/* Takes URL, -H and -X out of argv, so that what all commands have in common is left (*argc becomes smaller),
 * and makes the target of the request to the admin side: on the heap. NULL and what is wrong in *problem when
 * that cannot be done. */
char *client_explain_target(int *argc, char **argv, const char **problem);
/* The answer as text of a few lines. */
void client_explain_print(const json_t *answer, FILE *out);

#endif
