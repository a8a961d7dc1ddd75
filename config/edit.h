/* edit.h: writes one `server` line into an ini file, or takes it out, and changes nothing else in it.
 *
 * Two steps, so that something else can be done in between and the file is only touched when that worked: the
 * new text is made and checked as a whole configuration, then put in place of the old file. When somebody
 * else has changed the file meanwhile, the same is done to what it says now. For commands, in one thread. */
#ifndef CONFIG_EDIT_H
#define CONFIG_EDIT_H

#include <sys/stat.h>

#include "config/config.h"

#define CONFIG_EDIT_WHY 512

/* Owned by the caller, who ends it with config_edit_free whatever came of it. */
struct config_edit {
    /* Set once; borrowed. */
    const char *main_file, *pool;
    const char *server; /* to be added: its text; else its name */
    bool adds;
    /* Of the file as it was read last. */
    char *path; /* that has the pool; symbolic links followed. NULL: none names the server, nothing to do */
    int line;   /* that is new, or goes */
    char *old;
    size_t old_len;
    char *text; /* the new one */
    size_t len;
    struct stat was;
};

/* `path` is the main file; the pool may stand in one that it includes. The strings live as long as the edit.
 * false, with a sentence in `why`, when the files have errors, before or after, or cannot be read. */
bool config_edit_add(struct config_edit *e, const char *path, const char *pool, const char *text,
                     char why[CONFIG_EDIT_WHY]);
/* Also true when the file has the pool, but no such server: e->path is NULL then. */
bool config_edit_remove(struct config_edit *e, const char *path, const char *pool, const char *server,
                        char why[CONFIG_EDIT_WHY]);
/* Puts the file in place, with mode, owner and access list as before; `path` and `line` say what was done.
 * May wait for another edit of the same files, for some seconds. false: the file is as somebody left it. */
bool config_edit_commit(struct config_edit *e, char why[CONFIG_EDIT_WHY]);
void config_edit_free(struct config_edit *e);

#endif
