/* include.c: `include = conf.d/[a-z]*.ini`: which files that is, and reading them once each.
 *
 * Files are read at the place of the include line, in name order by bytes (not by locale, so that every
 * machine agrees). A file that includes itself, over however many steps, is told from one that is included
 * twice; both are errors. Identity is device and inode: a symbolic link does not hide a cycle.
 *
 * A file may be a pipe ("-c <(...)"), which whoever writes it may never do: it has a moment. The thread that
 * waits here has health checks and commands to see to. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/source.h"
#include "core/clock.h"

#define PIPE_WAIT_MS 2000

static int include_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void include_wrong_path(struct source *s, struct config_origin at, const char *path, int error)
{
    const char *why = error == EAGAIN ? "it is a pipe, and nobody wrote to it in time" : strerror(error);
    if (at.file == NULL)
        problem_add(s->problems, false, at, NULL, NULL, "the file cannot be read: %s; name a readable file",
                    why);
    else
        problem_add(s->problems, false, at, "[millpond]", "include",
                    "%s cannot be read: %s; name a readable file", path, why);
}

/* False, with EAGAIN: nothing came in time. */
static bool include_await(int fd, mono_ms_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    const mono_ms_t left_ms = until_ms - clock_mono_ms();
    if (left_ms > 0 && poll(&p, 1, (int)left_ms) != 0)
        return true;
    errno = EAGAIN;
    return false;
}

/* The whole file into the arena. false when reported. */
static bool include_slurp(struct source *s, int fd, const char *path, struct config_origin at, slice_t *out)
{
    char *buf = malloc(SOURCE_MAX_BYTES + 1);
    const mono_ms_t until_ms = clock_mono_ms() + PIPE_WAIT_MS;
    size_t len = 0;
    ssize_t n = -1;
    if (buf == NULL) {
        s->no_memory = true;
        return false;
    }
    while (len <= SOURCE_MAX_BYTES && (n = read(fd, buf + len, SOURCE_MAX_BYTES + 1 - len)) != 0) {
        if (n < 0 && errno != EINTR && (errno != EAGAIN || !include_await(fd, until_ms)))
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > SOURCE_MAX_BYTES)
        problem_add(s->problems, false, at, NULL, NULL, "%s is larger than 1M; split it up with include",
                    path);
    else if (n < 0)
        include_wrong_path(s, at, path, errno);
    bool ok = n == 0 && len <= SOURCE_MAX_BYTES;
    if (ok) {
        *out = arena_copy(s->arena, slice_make(buf, len));
        s->no_memory |= out->ptr == NULL;
        ok = out->ptr != NULL;
    }
    free(buf);
    return ok;
}

static bool include_seen(struct source *s, const struct stat *st, const char *path, struct config_origin at)
{
    size_t depth = 0, count = 0;
    for (struct source_file *f = s->files; f != NULL; f = f->older, count++) {
        depth += f->open;
        if (f->device != st->st_dev || f->inode != st->st_ino)
            continue;
        if (f->open)
            problem_add(s->problems, false, at, "[millpond]", "include",
                        "%s includes itself; remove one of the include lines of the circle", path);
        else
            problem_add(s->problems, false, at, "[millpond]", "include",
                        "%s was already read, included from %s:%d; include it once", path, f->from.file,
                        f->from.line);
        return true;
    }
    if (depth > SOURCE_MAX_DEPTH || count >= SOURCE_MAX_FILES) {
        problem_add(s->problems, false, at, "[millpond]", "include",
                    depth > SOURCE_MAX_DEPTH
                        ? "%s is included more than 8 files deep; include it from nearer the main file"
                        : "%s is one file too many; at most 1000 are read",
                    path);
        return true;
    }
    return false;
}

static void include_read_open(struct source *s, int fd, const char *path, struct config_origin at)
{
    struct stat st;
    slice_t text;
    if (fstat(fd, &st) != 0) {
        include_wrong_path(s, at, path, errno);
        return;
    }
    if (include_seen(s, &st, path, at))
        return;
    /* One that nobody writes to yet reads as empty. */
    if (S_ISFIFO(st.st_mode) && !include_await(fd, clock_mono_ms() + PIPE_WAIT_MS)) {
        include_wrong_path(s, at, path, errno);
        return;
    }
    if (!include_slurp(s, fd, path, at, &text))
        return;
    if (s->replaced != NULL && strcmp(path, s->replaced) == 0)
        text = s->replacement;
    struct source_file *f = arena_calloc(s->arena, sizeof *f);
    slice_t name = arena_copy(s->arena, slice_str(path));
    if (f == NULL || name.ptr == NULL) {
        s->no_memory = true;
        return;
    }
    *f = (struct source_file){.path = name.ptr,
                              .device = st.st_dev,
                              .inode = st.st_ino,
                              .open = true,
                              .from = at,
                              .older = s->files};
    s->files = f;
    source_read_text(s, f->path, text);
    f->open = false;
}

static void include_read_path(struct source *s, const char *path, struct config_origin at)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        include_wrong_path(s, at, path, errno);
        return;
    }
    include_read_open(s, fd, path, at);
    close(fd);
}

void source_read_file(struct source *s, const char *path)
{
    include_read_path(s, path, (struct config_origin){.file = NULL});
}

void source_include(struct source *s, const char *from_file, struct config_origin at, const char *pattern)
{
    glob_t found = {0};
    const char *slash = strrchr(from_file, '/');
    slice_t path = pattern[0] == '/' || slash == NULL
                       ? arena_copy(s->arena, slice_str(pattern))
                       : arena_printf(s->arena, "%.*s/%s", (int)(slash - from_file), from_file, pattern);
    if (path.ptr == NULL) {
        s->no_memory = true;
        return;
    }
    if (strpbrk(pattern, "*?[") == NULL) {
        include_read_path(s, path.ptr, at);
        return;
    }
    int rc = glob(path.ptr, GLOB_NOSORT | GLOB_ERR, NULL, &found);
    if (rc == GLOB_NOSPACE)
        s->no_memory = true;
    else if (rc == GLOB_ABORTED)
        include_wrong_path(s, at, path.ptr, errno);
    else if (rc == GLOB_NOMATCH)
        problem_add(s->problems, true, at, "[millpond]", "include",
                    "%s matches no file; remove the line if none is meant", path.ptr);
    if (found.gl_pathc > 1)
        qsort(found.gl_pathv, found.gl_pathc, sizeof *found.gl_pathv, include_compare);
    for (size_t i = 0; i < found.gl_pathc; i++)
        include_read_path(s, found.gl_pathv[i], at);
    globfree(&found);
}
