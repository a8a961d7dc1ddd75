/* log.c: levels, one line for the error log, settings. The ring is in log_ring.c, the thread in log_writer.c,
 * the outputs in log_sink.c.
 *
 * A line is formatted on the caller's stack, its control characters escaped (nobody forges lines or drives a
 * terminal through our log), and put into the thread's ring. Threads without a ring (the RCU reclaimer, a
 * library's helper) share one under LOCK_LOG. A call site that goes beyond LOG_BURST lines a second is held
 * back there, at the price of one atomic addition, and the writer tells afterwards how many there were and of
 * which format. */
#include "core/log.h"

#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/lock.h"
#include "core/log_writer.h"
#include "core/panic.h"

#define LOG_LINE_MAX     4096
#define LOG_TEXT_MAX     2048 /* before escaping */
#define SHARED_RING_SIZE (64 * KB)

static _Atomic int log_level_now = LOG_LEVEL_INFO;
static _Thread_local struct log_ring *log_thread_ring;
static struct lock log_shared_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_LOG};
static struct log_ring *log_shared_ring; /* producer side under log_shared_lock; made once, kept */
static char *log_paths[LOG_CHANNELS];    /* control thread; NULL = off */

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

uint64_t log_lines_dropped(void)
{
    return log_writer_dropped();
}

/* ---- one line ---- */

static size_t put_escaped(char *to, size_t room, const char *text, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    for (size_t i = 0; i < len && n + 4 <= room; i++) {
        unsigned char c = (unsigned char)text[i];
        /* C1 controls (U+0080 to U+009F) drive terminals as well */
        bool c1 = c >= 0x80 && c <= 0x9f && i > 0 && (unsigned char)text[i - 1] == 0xc2;
        if (c >= 0x20 && c != 0x7f && !c1) {
            to[n++] = (char)c;
            continue;
        }
        to[n++] = '\\';
        to[n++] = 'x';
        to[n++] = hex[c >> 4];
        to[n++] = hex[c & 15];
    }
    return n;
}

static size_t format_line(char *line, enum log_level level, const char *fmt, va_list ap)
{
    char text[LOG_TEXT_MAX];
    int len = vsnprintf(text, sizeof text, fmt, ap);
    if (len < 0)
        len = snprintf(text, sizeof text, "(a message that could not be formatted: %.100s)", fmt);
    size_t used = MIN((size_t)len, sizeof text - 1);
    if ((size_t)len > used)
        memcpy(text + used - 3, "...", 3);
    size_t n = log_stamp(line, LOG_LINE_MAX, level);
    n += put_escaped(line + n, LOG_LINE_MAX - 1 - n, text, used);
    line[n++] = '\n';
    return n;
}

static void line_to_ring(struct log_ring *r, const char *line, size_t n)
{
    char *to = log_ring_reserve(r, LOG_CHANNEL_ERROR, n);
    if (to == NULL)
        return;
    memcpy(to, line, n);
    log_ring_commit(r, n);
    log_ring_flush(r);
}

static void line_to_stderr(const char *line, size_t n)
{
    while (n > 0) {
        ssize_t written = write(STDERR_FILENO, line, n);
        if (written <= 0)
            return;
        line += written;
        n -= (size_t)written;
    }
}

static bool site_may_log(struct log_site *site, enum log_level level, const char *fmt)
{
    int64_t now_s = clock_mono_ms() / 1000;
    if (atomic_load_explicit(&site->window_s, memory_order_relaxed) != now_s) {
        atomic_store_explicit(&site->window_s, now_s, memory_order_relaxed);
        atomic_store_explicit(&site->count, 0, memory_order_relaxed);
    }
    if (atomic_fetch_add_explicit(&site->count, 1, memory_order_relaxed) < LOG_BURST)
        return true;
    atomic_store_explicit(&site->fmt, fmt, memory_order_relaxed);
    atomic_store_explicit(&site->level, (int)level, memory_order_relaxed);
    if (atomic_fetch_add(&site->suppressed, 1) == 0)
        log_writer_summarise(site);
    return false;
}

void log_msg(struct log_site *site, enum log_level level, const char *fmt, ...)
{
    bool running = log_writer_is_running();
    if (running && !site_may_log(site, level, fmt))
        return;
    char line[LOG_LINE_MAX];
    va_list ap;
    va_start(ap, fmt);
    size_t n = format_line(line, level, fmt, ap);
    va_end(ap);
    struct log_ring *r = log_thread_ring;
    if (!running) {
        line_to_stderr(line, n);
    } else if (r != NULL && r->reserved == 0) {
        line_to_ring(r, line, n);
    } else {
        lock_take(&log_shared_lock);
        line_to_ring(log_shared_ring, line, n);
        lock_drop(&log_shared_lock);
    }
}

/* ---- rings of threads ---- */

struct log_ring *log_ring_attach(size_t bytes)
{
    ASSERT(log_thread_ring == NULL);
    struct log_ring *r = log_ring_new(bytes);
    if (r != NULL && !log_writer_add_ring(r)) {
        log_ring_free(r);
        r = NULL;
    }
    log_thread_ring = r;
    return r;
}

void log_ring_detach(struct log_ring *r)
{
    if (r == NULL)
        return;
    if (log_thread_ring == r)
        log_thread_ring = NULL;
    log_writer_retire_ring(r);
}

/* ---- settings: control thread ---- */

static const char *channel_path(const struct log_settings *s, enum log_channel channel)
{
    const char *path = channel == LOG_CHANNEL_ERROR ? s->error_path : s->access_path;
    return channel == LOG_CHANNEL_ACCESS && strcmp(path, "off") == 0 ? NULL : path;
}

static bool path_same(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Opens the sinks of `which` channels; all or none. A channel that is off gets NULL. */
static bool sinks_open(const struct log_settings *s, const bool which[LOG_CHANNELS],
                       struct log_sink *sinks[LOG_CHANNELS], char *err, size_t err_bytes)
{
    for (int i = 0; i < LOG_CHANNELS; i++) {
        sinks[i] = NULL;
        const char *path = channel_path(s, (enum log_channel)i);
        if (!which[i] || path == NULL)
            continue;
        sinks[i] = log_sink_open(path, err, err_bytes);
        if (sinks[i] != NULL)
            continue;
        while (--i >= 0)
            log_sink_free(sinks[i]);
        return false;
    }
    return true;
}

static void settings_keep(const struct log_settings *s)
{
    for (int i = 0; i < LOG_CHANNELS; i++) {
        const char *path = channel_path(s, (enum log_channel)i);
        if (path_same(path, log_paths[i]))
            continue;
        free(log_paths[i]);
        log_paths[i] = path != NULL ? strdup(path) : NULL;
    }
    atomic_store(&log_level_now, (int)s->level);
}

static bool shared_ring_make(void)
{
    if (log_shared_ring != NULL)
        return true;
    struct log_ring *r = log_ring_new(SHARED_RING_SIZE);
    if (r != NULL && !log_writer_add_ring(r)) {
        log_ring_free(r);
        r = NULL;
    }
    log_shared_ring = r;
    return r != NULL;
}

bool log_start(const struct log_settings *s, char *err, size_t err_bytes)
{
    static const bool both[LOG_CHANNELS] = {true, true};
    struct log_sink *sinks[LOG_CHANNELS];
    if (!shared_ring_make()) {
        snprintf(err, err_bytes, "cannot start the log: out of memory");
        return false;
    }
    if (!sinks_open(s, both, sinks, err, err_bytes))
        return false;
    if (!log_writer_start(sinks, err, err_bytes)) {
        for (int i = 0; i < LOG_CHANNELS; i++)
            log_sink_free(sinks[i]);
        return false;
    }
    settings_keep(s);
    return true;
}

bool log_change(const struct log_settings *s, char *err, size_t err_bytes)
{
    struct log_sink *sinks[LOG_CHANNELS];
    bool changed[LOG_CHANNELS];
    for (int i = 0; i < LOG_CHANNELS; i++)
        changed[i] = !path_same(channel_path(s, (enum log_channel)i), log_paths[i]);
    if (!sinks_open(s, changed, sinks, err, err_bytes))
        return false;
    for (int i = 0; i < LOG_CHANNELS; i++) {
        if (changed[i])
            log_writer_replace((enum log_channel)i, sinks[i]);
    }
    settings_keep(s);
    return true;
}

static bool path_is_name(const char *path)
{
    return path == NULL || strcmp(path, "stderr") == 0 || strcmp(path, "stdout") == 0 ||
           strcmp(path, "syslog") == 0;
}

void log_reopen(void)
{
    for (int i = 0; i < LOG_CHANNELS; i++) {
        char err[PATH_MAX + 128];
        if (path_is_name(log_paths[i]))
            continue;
        struct log_sink *s = log_sink_open(log_paths[i], err, sizeof err);
        if (s != NULL)
            log_writer_replace((enum log_channel)i, s);
        else
            log_error("%s; the old file is used further", err);
    }
}

void log_stop(void)
{
    log_writer_stop();
}
