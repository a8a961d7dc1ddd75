/* edit.h: writes one `server` line into an ini file, or takes it out, and changes nothing else in it.
 *
 * Three steps, so that something else can be done in between and the file is only touched when that worked:
 * the new text is made and checked as a whole configuration, then put in place of the old file, which must
 * not have changed meanwhile, by one rename. For commands, in one thread. */
#ifndef CONFIG_EDIT_H
#define CONFIG_EDIT_H

#include <sys/stat.h>

#include "config/config.h"

#define CONFIG_EDIT_WHY 512

/* Owned by the caller, who ends it with config_edit_free whatever came of it. */
struct config_edit {
    char *path; /* of the file that has the pool; symbolic links followed */
    int line;   /* that is new, or goes */
    char *text;
    size_t len;
    struct stat was; /* the file whose text that is made of */
};

/* `path` is the main file; the pool may stand in one that it includes. false, with a sentence in `why`, when
 * the files have errors, before or after, or cannot be read. */
bool config_edit_add(struct config_edit *e, const char *path, const char *pool, const char *text,
                     char why[CONFIG_EDIT_WHY]);
bool config_edit_remove(struct config_edit *e, const char *path, const char *pool, const char *server,
                        char why[CONFIG_EDIT_WHY]);
/* Puts the file in place, with mode and owner as before. */
bool config_edit_commit(struct config_edit *e, char why[CONFIG_EDIT_WHY]);
void config_edit_free(struct config_edit *e);

#endif
