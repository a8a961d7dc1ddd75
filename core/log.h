/* log.h: log lines leave a worker through its ring; one writer thread does the I/O.
 *
 * A worker formats a line into its own single-producer ring and goes on. A full ring drops the line and
 * counts it (metric log_lines_dropped); nothing here ever blocks a worker, whatever the disk does. The writer
 * thread collects from all rings, writes in batches, and survives ENOSPC, EPIPE and a stopped reader: it
 * drops, counts and tries again. Two channels: error log and access log. Before log_start and after log_stop
 * log_msg writes to stderr directly. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdatomic.h>

#include "core/base.h"
#include "core/slice.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_channel { LOG_CHANNEL_ERROR, LOG_CHANNEL_ACCESS, LOG_CHANNELS };

struct log_settings {
    enum log_level level;
    const char *error_path;  /* "stderr", "syslog" or a path */
    const char *access_path; /* "off", "stdout" or a path */
};

struct log_ring;

/* Control thread. Opens the files and starts the writer. false and a message in `err` when a file cannot be
 * opened. */
bool log_start(const struct log_settings *s, char *err, size_t err_bytes);
/* Changes settings (reload); on failure the old ones stay. */
bool log_change(const struct log_settings *s, char *err, size_t err_bytes);
/* Opens the files anew by name (SIGUSR1, rotation). Keeps the old descriptor when that fails, and says so. */
void log_reopen(void);
/* Writes out what the rings hold (bounded to one second when the sink blocks) and ends the writer. */
void log_stop(void);

/* Each thread that logs through a ring attaches one at its start and detaches at its end. `bytes` is a power
 * of two. */
struct log_ring *log_ring_attach(size_t bytes);
void log_ring_detach(struct log_ring *r);

/* Room for one line of at most `max` bytes, or NULL when the ring is full (counted as dropped). Then
 * log_ring_commit with the bytes really used (newline included; 0 = nothing). Owner thread only. */
char *log_ring_reserve(struct log_ring *r, enum log_channel channel, size_t max);
void log_ring_commit(struct log_ring *r, size_t used);
/* Once per turn of the worker's loop: wakes the writer when lines wait and it sleeps. */
void log_ring_flush(struct log_ring *r);

/* One line for the error log: "2026-01-31T12:00:00.123Z warn message". Uses the calling thread's attached
 * ring. Control characters in the text are escaped. Lines of one place that repeat more than LOG_BURST times
 * a second are summarised when the second is over ("... 512 more like this: disk ... is full"), so give a
 * format that says something without its arguments, not finished text. */
#define LOG_BURST      20
#define log_error(...) log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_at(level, ...)                                                                                   \
    do {                                                                                                     \
        static struct log_site log_site_;                                                                    \
        if (log_enabled(level))                                                                              \
            log_msg(&log_site_, level, __VA_ARGS__);                                                         \
    } while (0)

struct log_site { /* one per call site, lives for the process; touched by any thread */
    _Atomic int64_t window_s;
    _Atomic uint32_t count, suppressed;
    /* for the writer's summary */
    _Atomic(const char *) fmt;
    _Atomic int level;
    struct log_site *next;
};
bool log_enabled(enum log_level level);
void log_msg(struct log_site *site, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

uint64_t log_lines_dropped(void); /* whole process, since start */

#endif
