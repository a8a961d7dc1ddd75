/* command_fixture.h: commands of the command line, as words in one line, against the fixture's socket. */
#ifndef TESTS_UNIT_ADMIN_COMMAND_FIXTURE_H
#define TESTS_UNIT_ADMIN_COMMAND_FIXTURE_H

#include "admin_fixture.h"

#include "admin/client.h"

/* It ends with `status`, and what it prints contains these. */
static inline void fx_expect_command(struct fixture *f, const char *line, int status, const char *out,
                                     const char *err)
{
    char copy[200], *argv[16], *rest = copy;
    int argc = 0;
    size_t out_len, err_len;
    char *out_text = NULL, *err_text = NULL;
    snprintf(copy, sizeof copy, "%s -s %s", line, f->socket);
    for (char *word; (word = strsep(&rest, " ")) != NULL;)
        argv[argc++] = word;
    argv[argc] = NULL;
    FILE *o = open_memstream(&out_text, &out_len), *e = open_memstream(&err_text, &err_len);
    int got = admin_client_run(argc, argv, o, e);
    fclose(o);
    fclose(e);
    if (got != status || strstr(out_text, out) == NULL || strstr(err_text, err) == NULL)
        fail_msg("%s: status %d, out '%s', err '%s'", line, got, out_text, err_text);
    free(out_text);
    free(err_text);
}

#endif
