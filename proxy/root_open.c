/* root_open.c: see root_open.h. The folder is opened anew each time, since deploys swap the link that it
 * often is. Rejected: realpath and a comparison, between which and the opening the path may change. */
#include "proxy/root_open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPEN_FLAGS                                                                                           \
    (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) /* who writes FIFOs there holds up nobody                 \
                                                    */
#define RACES_MAX 4

static int open_beneath(int folder_fd, const char *name)
{
    struct open_how how = {.flags = OPEN_FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;
    for (int i = 0; fd < 0 && i < RACES_MAX; i++) {
        fd = syscall(SYS_openat2, folder_fd, name, &how, sizeof how);
        if (fd < 0 && errno != EAGAIN && errno != EINTR) /* something was renamed meanwhile */
            break;
    }
    return (int)fd;
}

int root_open_walk(int folder_fd, const char *name)
{
    char segment[256];
    int at = folder_fd, fd = -1;
    for (;;) {
        const size_t n = strcspn(name, "/");
        const bool last = name[n] == '\0';
        if (n >= sizeof segment) {
            errno = ENAMETOOLONG;
            fd = -1;
        } else {
            memcpy(segment, name, n);
            segment[n] = '\0';
            fd = openat(at, segment, (last ? OPEN_FLAGS : O_PATH | O_DIRECTORY | O_CLOEXEC) | O_NOFOLLOW);
        }
        const int error = errno;
        if (at != folder_fd)
            close(at);
        errno = error;
        if (fd < 0 || last)
            return fd;
        at = fd;
        name += n + 1;
    }
}

static enum root_found why_not(int error)
{
    switch (error) {
    case EACCES:
    case EPERM:
        return ROOT_FORBIDDEN;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return ROOT_NO_MEMORY;
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EXDEV: /* outside */
    case ENAMETOOLONG:
    case EINVAL: /* a name that the file system cannot have */
    case EILSEQ:
    case ENXIO: /* a socket */
    case ENODEV:
        return ROOT_NOTHING;
    default: /* EAGAIN (a lease; renaming), EIO, ESTALE: it may well be there */
        return ROOT_FAILED;
    }
}

enum root_found root_open(const char *folder, const char *name, int *fd, struct stat *st)
{
    const int at = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return why_not(errno) == ROOT_NO_MEMORY ? ROOT_NO_MEMORY : ROOT_FAILED;
    *fd = open_beneath(at, name);
    if (*fd < 0 && (errno == ENOSYS || errno == EPERM)) /* EPERM: by a sandbox that knows no openat2 */
        *fd = root_open_walk(at, name);
    const int error = errno;
    close(at);
    errno = error;
    if (*fd < 0)
        return why_not(error);
    enum root_found found = ROOT_NOTHING;
    if (fstat(*fd, st) == 0)
        found = S_ISREG(st->st_mode) ? ROOT_FILE : S_ISDIR(st->st_mode) ? ROOT_FOLDER : ROOT_NOTHING;
    if (found == ROOT_FILE)
        return found;
    close(*fd);
    *fd = -1;
    return found;
}
