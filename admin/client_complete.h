/* client_complete.h: `millpond complete WORD...`: what a shell offers for the last of these words. */
#ifndef ADMIN_CLIENT_COMPLETE_H
#define ADMIN_CLIENT_COMPLETE_H

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>

/* A command that is none of the client commands. */
struct client_complete_command {
    const char *name, *text;
    const struct option *options; /* NULL: none */
};

/* `words` are those behind the program's name, up to the cursor; the last, perhaps empty, is what has been
 * typed of the one to complete. Prints what it may become, a line each: the word and, behind a tab, what it
 * means; or the one line ":files" where a file is named. `others` may be in any order. Names of pools,
 * servers and routes come from the running server, when it answers within half a second. */
void client_complete(const struct client_complete_command *others, size_t other_count, int word_count,
                     char *const *words, FILE *out);

#endif
