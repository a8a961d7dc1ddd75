/* edit.c: see edit.h. A new line stands behind the last server of its pool, with the same line end; comments
 * and order of all others stay. Rejected: to write what the configuration is made of, which would lose
 * comments, variables and defaults that were left out on purpose.
 *
 * Edits of the same main file come one after the other, by a lock on its folder, since the file itself is a
 * new one each time. The lock is for them to wait in line; what guards the file, against editors as well, is
 * that replace.c looks at it. So nobody who holds the lock for long can keep others from saving. */
#include "config/edit.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "config/build.h"
#include "config/change.h"
#include "config/diff.h"
#include "config/replace.h"

#define EDIT_TRIES      3
#define EDIT_LOCK_TURNS 500
#define EDIT_LOCK_EVERY 10000000 /* ns; 5 s in all */
#define EDIT_CHANGED    "%s was changed by somebody else meanwhile; try again"

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
    e->old = ok ? malloc(e->len + 1) : NULL;
    if (ok && e->old == NULL)
        return edit_fail(why, "out of memory");
    if (ok)
        memcpy(e->old, e->text, e->len);
    e->old_len = e->len;
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
static bool edit_check(const struct config_edit *e, const char *file, const char *server, char *why)
{
    struct config *c = edit_load(e->main_file, file, slice_make(e->text, e->len), why);
    if (c == NULL)
        return false;
    const struct config_pool *p = config_find_pool(c, e->pool);
    const bool has = p != NULL && config_server_named(p, server) != NULL;
    config_unref(c);
    return has == e->adds || edit_fail(why, EDIT_CHANGED, file);
}

static bool edit_add(struct config_edit *e, const struct config_pool *p, char *why)
{
    char line[CONFIG_CHANGE_MAX_BYTES + 32], name[CONFIG_CHANGE_MAX_BYTES];
    if (strlen(e->server) >= CONFIG_CHANGE_MAX_BYTES)
        return edit_fail(why, "a server takes at most %d bytes", CONFIG_CHANGE_MAX_BYTES - 1);
    const struct config_origin last = p->servers[p->server_count - 1].origin;
    if (!edit_slurp(e, last.file, why))
        return false;
    const slice_t old = edit_line(e, last.line);
    if (!edit_is_server(old))
        return edit_fail(why, EDIT_CHANGED, last.file);
    const bool crlf = slice_ends(old, SLICE_LIT("\r\n")), open = !slice_ends(old, SLICE_LIT("\n"));
    snprintf(line, sizeof line, "%sserver = %s%s%s", open ? "\n" : "", e->server, crlf ? "\r" : "",
             open ? "" : "\n");
    snprintf(name, sizeof name, SLICE_FMT, SLICE_ARG(config_change_name(e->server)));
    e->line = last.line + 1;
    return edit_replace(e, slice_make(old.ptr + old.len, 0), line, why) &&
           edit_check(e, last.file, name, why);
}

static bool edit_remove(struct config_edit *e, const struct config_pool *p, char *why)
{
    const struct config_server *s = config_server_named(p, e->server);
    if (s == NULL)
        return true;
    if (p->server_count == 1)
        return edit_fail(why,
                         "%s is the only server that %s has for pool %s; save another one first, by "
                         "`millpond add --save`",
                         e->server, s->origin.file, e->pool);
    if (!edit_slurp(e, s->origin.file, why))
        return false;
    e->line = s->origin.line;
    if (!edit_is_server(edit_line(e, e->line)))
        return edit_fail(why, EDIT_CHANGED, s->origin.file);
    return edit_replace(e, edit_line(e, e->line), "", why) && edit_check(e, s->origin.file, e->server, why);
}

/* By what the files say now. */
static bool edit_make(struct config_edit *e, char *why)
{
    config_edit_free(e);
    struct config *c = edit_load(e->main_file, NULL, SLICE_EMPTY, why);
    if (c == NULL)
        return false;
    const struct config_pool *p = config_find_pool(c, e->pool);
    const bool ok = p == NULL ? edit_fail(why, "there is no pool %s in %s", e->pool, e->main_file)
                    : e->adds ? edit_add(e, p, why)
                              : edit_remove(e, p, why);
    config_unref(c);
    return ok;
}

/* A descriptor that holds the lock; -1 when it cannot be had. */
static int edit_lock(const struct config_edit *e)
{
    const struct timespec moment = {0, EDIT_LOCK_EVERY};
    char *file = realpath(e->main_file, NULL);
    int fd = file != NULL ? open(dirname(file), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(file);
    for (int i = 0; fd >= 0 && i < EDIT_LOCK_TURNS && flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            break;
        nanosleep(&moment, NULL);
    }
    return fd;
}

static void edit_unlock(int fd)
{
    if (fd >= 0)
        close(fd);
}

static bool edit_begin(struct config_edit *e, char *why)
{
    const int lock = edit_lock(e);
    const bool ok = edit_make(e, why);
    edit_unlock(lock);
    return ok;
}

bool config_edit_add(struct config_edit *e, const char *path, const char *pool, const char *text,
                     char why[CONFIG_EDIT_WHY])
{
    *e = (struct config_edit){.main_file = path, .pool = pool, .server = text, .adds = true};
    return edit_begin(e, why);
}

bool config_edit_remove(struct config_edit *e, const char *path, const char *pool, const char *server,
                        char why[CONFIG_EDIT_WHY])
{
    *e = (struct config_edit){.main_file = path, .pool = pool, .server = server};
    return edit_begin(e, why);
}

static enum replace_result edit_put(const struct config_edit *e, char *why)
{
    const struct replace_old old = {e->was, slice_make(e->old, e->old_len)};
    const enum replace_result result = config_replace(e->path, &old, slice_make(e->text, e->len));
    if (result == REPLACE_FAILED)
        edit_fail(why, "%s cannot be written: %s", e->path, strerror(errno));
    else if (result == REPLACE_CHANGED)
        edit_fail(why, EDIT_CHANGED, e->path);
    return result;
}

bool config_edit_commit(struct config_edit *e, char why[CONFIG_EDIT_WHY])
{
    const int lock = edit_lock(e);
    bool ok = e->path != NULL || edit_make(e, why); /* it may have got there meanwhile */
    for (int tries = EDIT_TRIES; ok && e->path != NULL; tries--) {
        const enum replace_result result = edit_put(e, why);
        if (result == REPLACE_DONE)
            break;
        ok = result == REPLACE_CHANGED && tries > 1 && edit_make(e, why);
    }
    edit_unlock(lock);
    return ok;
}

void config_edit_free(struct config_edit *e)
{
    free(e->path);
    free(e->old);
    free(e->text);
    e->path = e->old = e->text = NULL;
    e->old_len = e->len = 0;
    e->line = 0;
}
