/* command_check.h: `millpond check` and `millpond version`: what can be said without a running server. */
#ifndef PROXY_COMMAND_CHECK_H
#define PROXY_COMMAND_CHECK_H

#include <stdbool.h>
#include <stdio.h>

/* Judges the file at `path` on `out`, for people or as one JSON object {"ok", "problems", "warnings"}. Blocks
 * as long as names take to resolve. True when the file would be used; warnings do not count. */
bool command_check_file(const char *path, bool json, FILE *out);
void command_print_version(bool json, FILE *out);

#endif
