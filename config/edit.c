/* edit.c: see edit.h. A new line stands behind the last server of its pool, with the same line end; comments
 * and order of all others stay. The new file is written beside the old one, under a name that no `include`
 * pattern matches, and is on disk before it takes its place. Rejected: to write what the configuration is
 * made of, which would lose comments, variables and defaults that were left out on purpose. */
#include "config/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/build.h"
#include "config/change.h"
#include "config/diff.h"

#define EDIT_CHANGED "%s was changed by somebody else meanwhile; try again"

static bool edit_fail(char *why, const char *fmt, ...) PRINTF_LIKE(2, 3);
static bool edit_fail(char *why, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, CONFIG_EDIT_WHY, fmt, args);
    va_end(args);
    return false;
}

static bool edit_slurp(struct config_edit *e, const char *file, char *why)
{
    e->path = realpath(file, NULL);
    int fd = e->path != NULL ? open(e->path, O_RDONLY | O_CLOEXEC) : -1;
    e->text = malloc(SOURCE_MAX_BYTES + 1);
    bool ok = fd >= 0 && e->text != NULL && fstat(fd, &e->was) == 0;
    ssize_t n = 1;
    while (ok && n > 0 && e->len <= SOURCE_MAX_BYTES) {
        n = read(fd, e->text + e->len, SOURCE_MAX_BYTES + 1 - e->len);
        e->len += n > 0 ? (size_t)n : 0;
        ok = n >= 0;
    }
    const int error = errno;
    if (fd >= 0)
        close(fd);
    return ok || edit_fail(why, "%s cannot be read: %s", file, strerror(error));
}

/* The bytes of a line (from 1), its end included. */
static slice_t edit_line(const struct config_edit *e, int line)
{
    slice_t all = slice_make(e->text, e->len);
    size_t from = 0;
    while (--line > 0 && from < all.len) {
        size_t end = slice_find(all, '\n', from);
        from = end == SIZE_MAX ? all.len : end + 1;
    }
    size_t end = slice_find(all, '\n', from);
    return slice_make(e->text + from, (end == SIZE_MAX ? all.len : end + 1) - from);
}

/* As the configuration was read just before. */
static bool edit_is_server(slice_t line)
{
    return slice_starts(line, SLICE_LIT("server"));
}

/* Puts `with` in place of a part of the text. */
static bool edit_replace(struct config_edit *e, slice_t part, const char *with, char *why)
{
    const size_t before = (size_t)(part.ptr - e->text), behind = before + part.len;
    const size_t len = e->len - part.len + strlen(with);
    char *text = malloc(len + 1);
    if (text == NULL)
        return edit_fail(why, "out of memory");
    memcpy(text, e->text, before);
    memcpy(text + before, with, strlen(with));
    memcpy(text + before + strlen(with), e->text + behind, e->len - behind);
    free(e->text);
    e->text = text;
    e->len = len;
    return true;
}

static struct config *edit_load(const char *path, const char *file, slice_t text, char *why)
{
    struct config_problems problems = {0};
    struct config *c =
        config_load_as(path, &(struct config_load_ways){.replaced = file, .replacement = text}, &problems);
    for (size_t i = 0; c == NULL && i < problems.count; i++) {
        if (problems.items[i].warning)
            continue;
        edit_fail(why, "%s", problems.items[i].text);
        break;
    }
    config_problems_free(&problems);
    return c;
}

/* The new text makes a configuration that has the server, or has it no more. */
static bool edit_check(const struct config_edit *e, const char *path, const char *file, const char *pool,
                       const char *server, bool wanted, char *why)
{
    struct config *c = edit_load(path, file, slice_make(e->text, e->len), why);
    if (c == NULL)
        return false;
    const struct config_pool *p = config_find_pool(c, pool);
    const bool has = p != NULL && config_server_named(p, server) != NULL;
    config_unref(c);
    return has == wanted || edit_fail(why, EDIT_CHANGED, file);
}

static bool edit_add(struct config_edit *e, const struct config *c, const char *pool, const char *text,
                     char *why)
{
    char line[CONFIG_CHANGE_MAX_BYTES + 32], name[CONFIG_CHANGE_MAX_BYTES];
    const struct config_pool *p = config_find_pool(c, pool);
    if (p == NULL)
        return edit_fail(why, "there is no pool %s", pool);
    if (strlen(text) >= CONFIG_CHANGE_MAX_BYTES)
        return edit_fail(why, "a server takes at most %d bytes", CONFIG_CHANGE_MAX_BYTES - 1);
    const struct config_origin last = p->servers[p->server_count - 1].origin;
    if (!edit_slurp(e, last.file, why))
        return false;
    const slice_t old = edit_line(e, last.line);
    if (!edit_is_server(old))
        return edit_fail(why, EDIT_CHANGED, last.file);
    const bool crlf = slice_ends(old, SLICE_LIT("\r\n")), open = !slice_ends(old, SLICE_LIT("\n"));
    snprintf(line, sizeof line, "%sserver = %s%s%s", open ? "\n" : "", text, crlf ? "\r" : "",
             open ? "" : "\n");
    snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(config_change_name(text)));
    e->line = last.line + 1;
    return edit_replace(e, slice_make(old.ptr + old.len, 0), line, why) &&
           edit_check(e, c->path, last.file, pool, name, true, why);
}

static bool edit_remove(struct config_edit *e, const struct config *c, const char *pool, const char *server,
                        char *why)
{
    const struct config_pool *p = config_find_pool(c, pool);
    const struct config_server *s = p != NULL ? config_server_named(p, server) : NULL;
    if (s == NULL)
        return edit_fail(why, "there is no server %s in pool %s", server, pool);
    if (!edit_slurp(e, s->origin.file, why))
        return false;
    e->line = s->origin.line;
    if (!edit_is_server(edit_line(e, e->line)))
        return edit_fail(why, EDIT_CHANGED, s->origin.file);
    return edit_replace(e, edit_line(e, e->line), "", why) &&
           edit_check(e, c->path, s->origin.file, pool, server, false, why);
}

bool config_edit_add(struct config_edit *e, const char *path, const char *pool, const char *text,
                     char why[CONFIG_EDIT_WHY])
{
    *e = (struct config_edit){.line = 0};
    struct config *c = edit_load(path, NULL, SLICE_EMPTY, why);
    const bool ok = c != NULL && edit_add(e, c, pool, text, why);
    if (c != NULL)
        config_unref(c);
    return ok;
}

bool config_edit_remove(struct config_edit *e, const char *path, const char *pool, const char *server,
                        char why[CONFIG_EDIT_WHY])
{
    *e = (struct config_edit){.line = 0};
    struct config *c = edit_load(path, NULL, SLICE_EMPTY, why);
    const bool ok = c != NULL && edit_remove(e, c, pool, server, why);
    if (c != NULL)
        config_unref(c);
    return ok;
}

static bool edit_is_unchanged(const struct config_edit *e)
{
    struct stat now;
    return stat(e->path, &now) == 0 && now.st_dev == e->was.st_dev && now.st_ino == e->was.st_ino &&
           now.st_size == e->was.st_size && now.st_mtim.tv_sec == e->was.st_mtim.tv_sec &&
           now.st_mtim.tv_nsec == e->was.st_mtim.tv_nsec;
}

static bool edit_write(const struct config_edit *e, int fd)
{
    const bool same_owner = e->was.st_uid == geteuid() && e->was.st_gid == getegid();
    if (fchmod(fd, e->was.st_mode & 07777) != 0 ||
        (!same_owner && fchown(fd, e->was.st_uid, e->was.st_gid) != 0))
        return false;
    for (size_t done = 0; done < e->len;) {
        ssize_t n = write(fd, e->text + done, e->len - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

/* So that the rename outlives a power cut, too. */
static void edit_sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

bool config_edit_commit(struct config_edit *e, char why[CONFIG_EDIT_WHY])
{
    char *copy = strdup(e->path), *beside = NULL;
    const char *folder = copy != NULL ? dirname(copy) : "";
    if (asprintf(&beside, "%s/.millpond.ini.XXXXXX", folder) < 0)
        beside = NULL;
    int fd = beside != NULL ? mkostemp(beside, O_CLOEXEC) : -1;
    bool ok = fd >= 0 && edit_write(e, fd);
    int error = errno;
    if (ok && !edit_is_unchanged(e)) {
        ok = false;
        error = 0;
    } else if (ok && rename(beside, e->path) != 0) {
        ok = false;
        error = errno;
    }
    if (!ok && error == 0)
        edit_fail(why, EDIT_CHANGED, e->path);
    else if (!ok)
        edit_fail(why, "%s cannot be written: %s", e->path, strerror(error));
    else
        edit_sync_folder(folder);
    if (fd >= 0)
        close(fd);
    if (fd >= 0 && !ok)
        unlink(beside);
    free(beside);
    free(copy);
    return ok;
}

void config_edit_free(struct config_edit *e)
{
    free(e->path);
    free(e->text);
    *e = (struct config_edit){.line = 0};
}
