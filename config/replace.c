/* replace.c: see replace.h. The new file is written beside the old one, under a name that no `include`
 * pattern matches, and is on disk before it takes its place.
 *
 * The two change places in one step, and the old one is looked at again once nobody can reach it by its name:
 * so there is no moment between the look and the rename in which what an editor saves would be lost. Who has
 * opened it to write, but has yet to, is told by a lease, which the system grants only when there is nobody.
 * Where files cannot change places (NFS), the look comes just before the rename. Rejected: to lock the file,
 * since no editor asks for a lock. */
#include "config/replace.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL_NAME      "system.posix_acl_access"
#define ACL_MAX_BYTES 4096

static bool replace_has_text(int fd, slice_t text)
{
    char part[16384];
    size_t at = 0;
    for (;;) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 && at == text.len;
        if ((size_t)n > text.len - at || memcmp(part, text.ptr + at, (size_t)n) != 0)
            return false;
        at += (size_t)n;
    }
}

/* The text as well: times of a file have steps of some milliseconds. */
static bool replace_is_old(const char *path, const struct replace_old *old)
{
    struct stat now;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    const bool same = fstat(fd, &now) == 0 && now.st_dev == old->st.st_dev && now.st_ino == old->st.st_ino &&
                      now.st_size == old->st.st_size && now.st_mtim.tv_sec == old->st.st_mtim.tv_sec &&
                      now.st_mtim.tv_nsec == old->st.st_mtim.tv_nsec && now.st_mode == old->st.st_mode &&
                      now.st_uid == old->st.st_uid && now.st_gid == old->st.st_gid &&
                      replace_has_text(fd, old->text);
    close(fd);
    return same;
}

/* fcntl(2), F_SETLEASE: EAGAIN when it is open for writing; anything else says nothing about that. */
static bool replace_is_written(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool written = fcntl(fd, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN;
    if (!written)
        fcntl(fd, F_SETLEASE, F_UNLCK);
    close(fd);
    return written;
}

/* By its access list a user may be let in who is neither its owner nor of its group: Millpond's, say. */
static bool replace_copy_acl(const char *from, int to)
{
    char acl[ACL_MAX_BYTES];
    ssize_t n = getxattr(from, ACL_NAME, acl, sizeof acl);
    if (n < 0)
        return errno == ENODATA || errno == ENOTSUP;
    return fsetxattr(to, ACL_NAME, acl, (size_t)n, 0) == 0;
}

static bool replace_write(int fd, const char *path, const struct stat *was, slice_t text)
{
    const bool same_owner = was->st_uid == geteuid() && was->st_gid == getegid();
    if ((!same_owner && fchown(fd, was->st_uid, was->st_gid) != 0) || fchmod(fd, was->st_mode & 07777) != 0 ||
        !replace_copy_acl(path, fd))
        return false;
    for (size_t done = 0; done < text.len;) {
        ssize_t n = write(fd, text.ptr + done, text.len - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

static bool replace_swap(const char *a, const char *b)
{
    return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0;
}

/* The new file stands at `path`, what somebody else has saved there at `beside`. Back again; and when he has
 * saved once more in between, that counts. False: what he saved is at `beside` still. */
static bool replace_undo(const char *beside, const char *path, int fd)
{
    struct stat ours, now;
    if (!replace_swap(beside, path))
        return rename(beside, path) == 0;
    if (fstat(fd, &ours) == 0 && stat(beside, &now) == 0 && now.st_ino != ours.st_ino)
        replace_swap(beside, path);
    return true;
}

/* Leaves a file at `beside` to be removed, unless `*keep`. */
static enum replace_result replace_place(const char *beside, const char *path, int fd,
                                         const struct replace_old *old, bool *keep)
{
    if (!replace_is_old(path, old))
        return REPLACE_CHANGED;
    if (replace_swap(beside, path)) {
        if (replace_is_old(beside, old) && !replace_is_written(beside))
            return REPLACE_DONE;
        *keep = !replace_undo(beside, path, fd);
        return *keep ? REPLACE_FAILED : REPLACE_CHANGED;
    }
    if (errno != EINVAL && errno != ENOSYS)
        return errno == ENOENT ? REPLACE_CHANGED : REPLACE_FAILED;
    *keep = rename(beside, path) == 0;
    return *keep ? REPLACE_DONE : REPLACE_FAILED;
}

/* So that the rename outlives a power cut, too. */
static void replace_sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

enum replace_result config_replace(const char *path, const struct replace_old *old, slice_t text)
{
    enum replace_result result = REPLACE_FAILED;
    bool keep = false;
    char *copy = strdup(path), *beside = NULL;
    const char *folder = copy != NULL ? dirname(copy) : "";
    if (asprintf(&beside, "%s/.millpond.ini.XXXXXX", folder) < 0)
        beside = NULL;
    int fd = beside != NULL && copy != NULL ? mkostemp(beside, O_CLOEXEC) : -1;
    if (fd >= 0 && replace_write(fd, path, &old->st, text))
        result = replace_place(beside, path, fd, old, &keep);
    else if (fd >= 0 && errno == ENOENT)
        result = REPLACE_CHANGED;
    const int error = errno;
    if (fd >= 0 && !keep)
        unlink(beside);
    if (fd >= 0)
        close(fd);
    if (result == REPLACE_DONE)
        replace_sync_folder(folder);
    free(beside);
    free(copy);
    errno = error;
    return result;
}
