/* root_open.h: opens a file below a folder, and nothing outside of it. Blocks as long as the disk does. */
#ifndef PROXY_ROOT_OPEN_H
#define PROXY_ROOT_OPEN_H

#include <sys/stat.h>

#include "core/base.h"

enum root_found {
    ROOT_FILE,      /* a regular file */
    ROOT_FOLDER,    /* a folder: the URL lacks its slash */
    ROOT_NOTHING,   /* 404 */
    ROOT_FORBIDDEN, /* 403: this process may not read it */
    ROOT_FAILED,    /* the folder itself cannot be opened, or the file not now; errno */
    ROOT_NO_MEMORY  /* or descriptors */
};

/* `name` is relative, as root_path_map makes it. With ROOT_FILE *fd is the caller's, and `st` says what it
 * is. Symbolic links are followed as long as they stay below the folder. */
enum root_found root_open(const char *folder, const char *name, int *fd, struct stat *st);
/* What root_open does where the kernel lacks openat2: no links are followed. The descriptor or -1, errno. */
int root_open_walk(int folder_fd, const char *name);

#endif
