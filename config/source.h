/* source.h: the ini files as a list of sections with values, names resolved against the option table.
 *
 * First stage of a load: include files and environment variables are followed, unknown names and
 * repeated keys are refused. Values are still text; build.c gives them types. Lives in the
 * snapshot's arena, because `millpond config` prints from it. Written by the control thread during the load
 * only. */
#ifndef CONFIG_SOURCE_H
#define CONFIG_SOURCE_H

#include "config/config.h"
#include "config/option.h"
#include "config/problem.h"
#include "core/arena.h"

#define SOURCE_MAX_BYTES    (1 * MB) /* of one file */
#define SOURCE_MAX_DEPTH    8        /* includes within includes */
#define SOURCE_MAX_FILES    1000
#define SOURCE_MAX_SECTIONS 10000
#define SOURCE_BUCKETS      4096 /* to find sections by their names */

/* `origin.file` NULL: a default. */
struct source_value {
    const struct config_option *option;
    const char *text; /* environment variables replaced */
    struct config_origin origin;
    bool from_env; /* some of it came from the environment */
    struct source_value *next;
};

struct source_section {
    enum option_section id;
    const char *name;  /* "" for one that takes none */
    const char *label; /* "[pool app]" */
    struct config_origin origin;
    struct source_value *first, *last;
    bool emptied; /* it has no server, which is said already */
    struct source_section *next;
    struct source_section *in_bucket; /* the next one there, in the order of the files */
};

/* A file that is or was being read. */
struct source_file {
    const char *path;
    dev_t device;
    ino_t inode;
    bool open;                 /* still being read: including it again is a cycle */
    struct config_origin from; /* the include line */
    struct source_file *older;
};

struct source {
    struct arena *arena;
    struct problem_list *problems;
    struct source_section *first, *last;
    size_t section_count;
    struct source_section *first_of[OPTION_SECTION_COUNT];
    struct source_section *buckets[SOURCE_BUCKETS];
    struct source_file *files;
    bool broken_section; /* a section was refused: what seems missing may have been meant by it */
    bool no_memory;
    bool unwarned;        /* nobody reads warnings: those that take long to find are left out */
    const char *replaced; /* the file that is taken to say this instead; NULL: none */
    slice_t replacement;
};

/* The file of what stands in no file, since it was added at run time. */
extern const char source_added[];

/* Both report into s->problems. The text variant refuses includes. */
void source_read_file(struct source *s, const char *path);
void source_read_text(struct source *s, const char *name, slice_t text);

/* Sections without a name that stand in several files become one; call it once all is read. */
void source_merge(struct source *s);

struct source_section *source_section_add(struct source *s, enum option_section id, slice_t name,
                                          struct config_origin origin);
struct source_value *source_value_add(struct source *s, struct source_section *section,
                                      const struct config_option *option, slice_t text,
                                      struct config_origin origin);
/* Takes a value out of its section. */
void source_value_remove(struct source_section *section, struct source_value *v);
/* First section of that kind (and that name, if not NULL); NULL when there is none. */
struct source_section *source_section_find(const struct source *s, enum option_section id, const char *name);
/* First value of the key; NULL when not set. `key` must be in the table. */
const struct source_value *source_value_find(const struct source_section *section, const char *key);
/* Likewise, but only one that stands in a file. */
const struct source_value *source_value_given(const struct source_section *section, const char *key);

/* What people may see of a value: its text, or a text that hides a secret, in `buf`. */
#define SOURCE_SHOWN 512
const char *source_value_shown(const struct source_value *v, char buf[SOURCE_SHOWN]);

/* ${NAME} and ${NAME:-default} replaced (the default also when NAME is empty, as in a shell). Returns NULL on
 * success, else "what is wrong; what would be right" from the arena. env.c. */
const char *source_expand_env(struct source *s, slice_t text, slice_t *out, bool *used);

/* Reads the files of one `include` line. include.c. */
void source_include(struct source *s, const char *from_file, struct config_origin at, const char *pattern);

#endif
