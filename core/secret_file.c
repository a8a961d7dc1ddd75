/* secret_file.c: see secret_file.h. Rejected: a file that appears under its final name before it is whole. */
#include "core/secret_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/log.h"

size_t secret_file_read(const char *path, char *out, size_t out_bytes)
{
    char text[1024];
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    struct stat st;
    ssize_t n = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? read(fd, text, sizeof text) : -1;
    if (n > 0 && (st.st_mode & 077) != 0) {
        log_warn(
            "%s could be read by others (mode %03o); it is closed to them now, think of making a new one",
            path, (unsigned)(st.st_mode & 0777));
        if (fchmod(fd, 0600) != 0)
            log_warn("%s cannot be closed to others: %s", path, strerror(errno));
    }
    close(fd);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (n <= 0 || (size_t)n >= out_bytes)
        return 0;
    memcpy(out, text, (size_t)n);
    out[n] = '\0';
    return (size_t)n;
}

static void make_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path || (size_t)(slash - path) >= sizeof folder)
        return;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = '\0';
    mkdir(folder, 0700);
}

static bool write_line(int fd, const char *line)
{
    struct iovec iov[] = {{(char *)(uintptr_t)line, strlen(line)}, {"\n", 1}};
    ssize_t bytes = (ssize_t)iov[0].iov_len + 1, n = writev(fd, iov, 2);
    if (n >= 0 && n < bytes) /* of a few bytes: the disk is full */
        errno = ENOSPC;
    return n == bytes && fsync(fd) == 0;
}

bool secret_file_write(const char *path, const char *line)
{
    char aside[PATH_MAX];
    if (snprintf(aside, sizeof aside, "%s.new", path) >= (int)sizeof aside) {
        errno = ENAMETOOLONG;
        return false;
    }
    make_folder_of(path);
    unlink(aside);
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool ok = write_line(fd, line) && rename(aside, path) == 0;
    int saved = errno;
    close(fd);
    if (!ok)
        unlink(aside);
    errno = saved;
    return ok;
}
