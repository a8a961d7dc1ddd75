/* replace.h: puts a text in place of a file, unless somebody else has changed the file meanwhile.
 *
 * For commands, in one thread. */
#ifndef CONFIG_REPLACE_H
#define CONFIG_REPLACE_H

#include <sys/stat.h>

#include "core/slice.h"

/* What the new text was made of. Borrowed. */
struct replace_old {
    struct stat st; /* taken before `text` was read */
    slice_t text;
};

enum replace_result {
    REPLACE_DONE,
    REPLACE_CHANGED, /* it is not `old` any more, or somebody writes it just now; it stays */
    REPLACE_FAILED   /* by errno; it stays */
};

/* `path` is no symbolic link. Mode, owner and access list stay; hard links do not. */
enum replace_result config_replace(const char *path, const struct replace_old *old, slice_t text);

#endif
