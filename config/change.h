/* change.h: servers that people add to pools, or take out of them, while the program runs.
 *
 * A change is kept as text, the way the ini file would say it, and applied to what was read from the files
 * before that is built and checked: so what is added at run time means what it would mean in the file, and a
 * reload keeps the changes by loading them along. Rejected: to change a snapshot in place, which requests
 * read without a lock. Control thread. */
#ifndef CONFIG_CHANGE_H
#define CONFIG_CHANGE_H

#include "config/config.h"
#include "core/list.h"

#define CONFIG_CHANGES_MAX      256
#define CONFIG_CHANGE_MAX_BYTES 1024 /* of the text of a server */

/* What the latest load found out about a change. */
enum config_change_fate {
    CONFIG_CHANGE_APPLIES,
    CONFIG_CHANGE_TAKEN_OVER, /* the files say the same by now */
    CONFIG_CHANGE_POOL_GONE
};

/* Owned by its list; its texts lie behind it in the same allocation. */
struct config_change {
    struct list node;
    const char *pool, *server; /* names */
    const char *text;          /* what would stand behind `server =`; NULL: it is taken out */
    bool in_file;              /* the files have a server of this name */
    enum config_change_fate fate;
};

/* Owned by whoever changes things. */
struct config_changes {
    struct list items;
    size_t count;
};

void config_changes_init(struct config_changes *l);
void config_changes_free(struct config_changes *l);
/* NULL when there is none about this server. */
struct config_change *config_change_find(const struct config_changes *l, const char *pool,
                                         const char *server);
/* Is there room for one about this server? */
bool config_change_fits(const struct config_changes *l, const char *pool, const char *server);
/* Notes that the server is there, with this text, or is not (NULL), whatever the files say. `was_in_file`: it
 * stands there. False: out of memory, nothing has changed. */
bool config_change_note(struct config_changes *l, const char *pool, const char *server, const char *text,
                        bool was_in_file);
void config_change_forget(struct config_changes *l, struct config_change *c);

/* A configuration like `from`, without a look at the files, but with one server more at the end of a pool, or
 * one less. NULL, and what is wrong in `problems`. */
struct config *config_with_server(const struct config *from, const char *pool, const char *text,
                                  struct config_problems *problems);
struct config *config_without_server(const struct config *from, const char *pool, const char *server,
                                     struct config_problems *problems);
/* As config_load, with the changes applied; what became of each is in its `fate`. Without the warnings that
 * take long to find. */
struct config *config_load_changed(const char *path, struct config_changes *l,
                                   struct config_problems *problems);

/* NULL when there is none of that name. */
const struct config_server *config_server_named(const struct config_pool *p, const char *name);
/* The name of a server with this text; a slice of it. */
slice_t config_change_name(const char *text);
/* What stands behind `server =` of that one, environment variables replaced. As long as the snapshot. */
const char *config_server_text(const struct config *c, const struct config_pool *p,
                               const struct config_server *s);

#endif
