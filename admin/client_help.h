/* client_help.h: what `millpond COMMAND --help` says. Pure but for the stream. */
#ifndef ADMIN_CLIENT_HELP_H
#define ADMIN_CLIENT_HELP_H

#include <stdio.h>

/* Nothing for a word that is no client command. */
void client_help_print(const char *command, FILE *out);

#endif
