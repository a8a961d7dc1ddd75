/* stream_file.c: see stream_file.h.
 *
 * Writing anew goes to a file aside, which then takes the name, so that at each moment one of the two is
 * whole. It is also the way out of every failed write: after an error of write or fdatasync the kernel may
 * have dropped what it held, and nothing but a new file is sure. */
#include "cache/stream_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"
#include "core/panic.h"

#define FILE_HEAD    16
#define TYPE_EVENT   1
#define TYPE_DONE    2
#define CHECKED_HEAD 32 /* bytes of a record's head before its checksums */

static const char file_head[FILE_HEAD] = {'M', 'l', 'p', 'Q', 1};

/* ---- records ---- */

static char *put_int(char *to, uint64_t v, unsigned bytes)
{
    for (unsigned b = 0; b < bytes; b++)
        *to++ = (char)(v >> 8 * b & 0xff);
    return to;
}

static uint64_t get_int(const char *from, unsigned bytes)
{
    uint64_t v = 0;
    for (unsigned b = 0; b < bytes; b++)
        v |= (uint64_t)(unsigned char)from[b] << 8 * b;
    return v;
}

static char *put_record(char *to, unsigned type, struct cache_stream_origin by, slice_t payload)
{
    char *head = to;
    to = put_int(to, payload.len, 4);
    to = put_int(to, type, 4);
    to = put_int(to, by.node, 8);
    to = put_int(to, by.number, 8);
    to = put_int(to, hash_bytes_unseeded(payload.ptr, payload.len).lo, 8);
    to = put_int(to, hash_bytes_unseeded(head, CHECKED_HEAD).lo, 8);
    ASSERT(to == head + CACHE_STREAM_FILE_RECORD);
    memcpy(to, payload.ptr, payload.len);
    return to + payload.len;
}

char *cache_stream_file_put_event(char *buf, struct cache_stream_origin by, slice_t payload)
{
    return put_record(buf, TYPE_EVENT, by, payload);
}

char *cache_stream_file_put_done(char *buf, struct cache_stream_origin by)
{
    return put_record(buf, TYPE_DONE, by, SLICE_EMPTY);
}

/* ---- reading ---- */

struct record {
    unsigned type;
    struct cache_stream_origin by;
    slice_t payload;
    bool pending;
};

struct records {
    struct record *all;
    size_t count, room, first_pending;
};

static bool is_zero(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != 0)
            return false;
    }
    return true;
}

enum taken { TAKEN, TORN, BROKEN };

/* The record in front of `rest`, which is not empty. */
static enum taken take_record(slice_t *rest, struct record *out)
{
    if (rest->len < CACHE_STREAM_FILE_RECORD || is_zero(*rest))
        return TORN;
    const char *head = rest->ptr;
    const size_t bytes = get_int(head, 4);
    const uint64_t payload_check = get_int(head + 24, 8);
    *out = (struct record){.type = (unsigned)get_int(head + 4, 4),
                           .by = {get_int(head + 8, 8), get_int(head + 16, 8)}};
    if (get_int(head + CHECKED_HEAD, 8) != hash_bytes_unseeded(head, CHECKED_HEAD).lo ||
        (out->type != TYPE_EVENT && out->type != TYPE_DONE))
        return BROKEN;
    slice_t behind = slice_make(head + CACHE_STREAM_FILE_RECORD, rest->len - CACHE_STREAM_FILE_RECORD);
    if (behind.len < bytes)
        return TORN;
    out->payload = slice_make(behind.ptr, bytes);
    if (payload_check != hash_bytes_unseeded(behind.ptr, bytes).lo)
        return is_zero(behind) ? TORN : BROKEN;
    *rest = slice_make(behind.ptr + bytes, behind.len - bytes);
    return TAKEN;
}

static bool records_add(struct records *rs, const struct record *r)
{
    if (rs->count == rs->room) {
        const size_t room = MAX(rs->room * 2, 64);
        struct record *all = realloc(rs->all, room * sizeof *all);
        if (all == NULL)
            return false;
        rs->all = all;
        rs->room = room;
    }
    rs->all[rs->count] = *r;
    rs->all[rs->count++].pending = true;
    return true;
}

/* Most are done in the order in which they came. */
static void records_end(struct records *rs, struct cache_stream_origin by)
{
    while (rs->first_pending < rs->count && !rs->all[rs->first_pending].pending)
        rs->first_pending++;
    for (size_t i = rs->first_pending; i < rs->count; i++) {
        if (rs->all[i].pending && cache_stream_origin_eq(rs->all[i].by, by)) {
            rs->all[i].pending = false;
            return;
        }
    }
}

static enum cache_stream_file_state read_records(slice_t bytes, struct records *rs)
{
    if (bytes.len < FILE_HEAD || is_zero(bytes)) /* it was just being made */
        return slice_starts(slice_make(file_head, FILE_HEAD), bytes) || is_zero(bytes)
                   ? CACHE_STREAM_FILE_READ
                   : CACHE_STREAM_FILE_DAMAGED;
    if (!slice_starts(bytes, slice_make(file_head, FILE_HEAD)))
        return CACHE_STREAM_FILE_DAMAGED;
    slice_t rest = slice_make(bytes.ptr + FILE_HEAD, bytes.len - FILE_HEAD);
    while (rest.len > 0) {
        struct record r;
        enum taken t = take_record(&rest, &r);
        if (t != TAKEN)
            return t == TORN ? CACHE_STREAM_FILE_READ : CACHE_STREAM_FILE_DAMAGED;
        if (r.type == TYPE_DONE)
            records_end(rs, r.by);
        else if (!records_add(rs, &r))
            return CACHE_STREAM_FILE_DAMAGED;
    }
    return CACHE_STREAM_FILE_READ;
}

/* All bytes of the file, from malloc; NULL with errno. */
static char *read_whole(int fd, size_t *bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return NULL;
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)CACHE_STREAM_FILE_BYTES_MAX) {
        errno = EFBIG;
        return NULL;
    }
    char *buf = malloc((size_t)st.st_size + 1);
    *bytes = 0;
    while (buf != NULL && *bytes < (size_t)st.st_size) {
        ssize_t n = pread(fd, buf + *bytes, (size_t)st.st_size - *bytes, (off_t)*bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(buf);
            return NULL;
        }
        if (n == 0)
            break;
        *bytes += (size_t)n;
    }
    return buf;
}

static void file_forget(struct cache_stream_file *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

static bool file_names(struct cache_stream_file *f, const char *path)
{
    *f = (struct cache_stream_file){.fd = -1};
    if (asprintf(&f->aside, "%s.new", path) < 0)
        f->aside = NULL;
    f->path = strdup(path);
    if (f->path != NULL && f->aside != NULL)
        return true;
    errno = ENOMEM;
    return false;
}

/* Whoever had it when it was opened may have put another in its place meanwhile. */
static bool file_hold(const struct cache_stream_file *f)
{
    struct stat mine, named;
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 || fstat(f->fd, &mine) != 0 || stat(f->path, &named) != 0)
        return false;
    errno = EWOULDBLOCK;
    return mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

enum cache_stream_file_state cache_stream_file_open(struct cache_stream_file *f, const char *path,
                                                    cache_stream_file_on_event *on_event, void *arg)
{
    struct records rs = {0};
    size_t bytes = 0;
    char *whole = NULL;
    if (file_names(f, path))
        f->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (f->fd >= 0 && file_hold(f))
        whole = read_whole(f->fd, &bytes);
    if (whole == NULL) {
        int saved = errno;
        cache_stream_file_close(f);
        errno = saved;
        return CACHE_STREAM_FILE_REFUSED;
    }
    f->bytes = bytes;
    enum cache_stream_file_state state = read_records(slice_make(whole, bytes), &rs);
    for (size_t i = 0; i < rs.count; i++) {
        if (rs.all[i].pending)
            on_event(arg, rs.all[i].by, rs.all[i].payload);
    }
    free(rs.all);
    free(whole);
    return state;
}

void cache_stream_file_close(struct cache_stream_file *f)
{
    file_forget(f);
    free(f->path);
    free(f->aside);
    f->path = f->aside = NULL;
}

/* ---- writing ---- */

static bool write_whole(int fd, slice_t s, uint64_t at)
{
    while (s.len > 0) {
        ssize_t n = pwrite(fd, s.ptr, s.len, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? EIO : errno;
            return false;
        }
        s = slice_make(s.ptr + n, s.len - (size_t)n);
        at += (uint64_t)n;
    }
    return true;
}

bool cache_stream_file_append(struct cache_stream_file *f, slice_t records, bool sync)
{
    ASSERT(f->fd >= 0 && f->bytes >= FILE_HEAD);
    if (write_whole(f->fd, records, f->bytes) && (!sync || fdatasync(f->fd) == 0)) {
        f->bytes += records.len;
        return true;
    }
    return false;
}

/* The new name is durable only when its folder is. */
static bool sync_folder(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s", path) >= (int)sizeof copy) {
        errno = ENAMETOOLONG;
        return false;
    }
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    int saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return ok;
}

bool cache_stream_file_rewrite(struct cache_stream_file *f, slice_t records)
{
    unlink(f->aside);
    int fd = open(f->aside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && write_whole(fd, slice_make(file_head, FILE_HEAD), 0) &&
        write_whole(fd, records, FILE_HEAD) && fdatasync(fd) == 0 && rename(f->aside, f->path) == 0) {
        file_forget(f);
        f->fd = fd;
        f->bytes = FILE_HEAD + records.len;
        return sync_folder(f->path);
    }
    int saved = errno;
    close(fd);
    unlink(f->aside);
    errno = saved;
    return false;
}

bool cache_stream_file_clear(struct cache_stream_file *f)
{
    if (f->fd < 0 || ftruncate(f->fd, FILE_HEAD) != 0)
        return false;
    f->bytes = FILE_HEAD;
    return true;
}

bool cache_stream_file_is_clear(const struct cache_stream_file *f)
{
    return f->bytes == FILE_HEAD;
}
