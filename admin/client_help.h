/* client_help.h: the client commands with their options in words: what `millpond COMMAND --help` says, and
 * what shells complete by (client_complete.h). Static; any thread. */
#ifndef ADMIN_CLIENT_HELP_H
#define ADMIN_CLIENT_HELP_H

#include <stddef.h>
#include <stdio.h>

#define CLIENT_HELP_OPTIONS 10 /* of a command at most, with the end */

struct client_help_option { /* `text` NULL: the end of a list */
    char letter;            /* '\0': none */
    const char *name;       /* the long one, without its dashes; NULL: none */
    const char *value;      /* what stands behind it; NULL: nothing does */
    const char *text;
};

struct client_help {
    const char *command;
    const char *arguments; /* " WORD..." or "" */
    const char *text;      /* one line */
    struct client_help_option options[CLIENT_HELP_OPTIONS];
};

/* The options that all of them have. */
extern const struct client_help_option client_help_common[];

/* The nth client command; NULL behind the last. */
const struct client_help *client_help_at(size_t nth);
/* NULL for a word that is no client command. */
const struct client_help *client_help_find(const char *command);
/* Nothing for a word that is no client command. */
void client_help_print(const char *command, FILE *out);

#endif
