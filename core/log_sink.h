/* log_sink.h: one place that log lines go to. Private to core/log*.c and tests. */
#ifndef CORE_LOG_SINK_H
#define CORE_LOG_SINK_H

#include <stdatomic.h>

#include "core/clock.h"
#include "core/log.h"

#define LOG_SINK_BUFFER   (256 * KB) /* lines that wait for a slow reader */
#define LOG_SINK_STUCK_MS 100        /* a reader behind for longer only costs its own lines */
#define LOG_SINK_RETRY_MS 1000       /* after an error (disk full, reader gone) */
#define LOG_SINK_LOOK_MS  1000 /* a file is asked whether it still has a name when it was not for so long */

enum log_sink_kind {
    LOG_SINK_FILE,   /* regular file, or our own non-blocking open of a pipe or terminal: write(2) */
    LOG_SINK_SHARED, /* a pipe shared with others and not to be reopened: poll, then write at most PIPE_BUF */
    LOG_SINK_STREAM, /* a stream socket inherited as stdout or stderr: send(MSG_DONTWAIT) */
    LOG_SINK_SYSLOG, /* datagrams to /dev/log */
};

struct log_sink { /* made by the control thread, then owned by the writer thread; freed by log_sink_free */
    /* set once */
    enum log_sink_kind kind;
    bool named; /* `path` is one */
    char *path;
    char *buffer;
    /* writer thread */
    int fd;            /* -1: syslog not connected */
    size_t start, end; /* bytes in the buffer not yet written */
    bool mid_line;     /* the last byte written was not a line's end */
    int failed_errno;  /* 0, or why writing fails; retried at retry_ms */
    mono_ms_t retry_ms;
    mono_ms_t looked_ms;
    mono_ms_t blocked_since_ms; /* 0, or since when the reader is behind; cleared when it has caught up */
    uint64_t dropped;           /* since the trouble began */
    bool told;                  /* log_writer.c: the warning about it was written */
};

enum log_sink_put { LOG_SINK_TAKEN, LOG_SINK_DROPPED, LOG_SINK_FULL };

/* Opens "stderr", "stdout", "syslog" or a path. NULL and a message in `err` when that fails. */
struct log_sink *log_sink_open(const char *path, char *err, size_t err_bytes);
void log_sink_free(struct log_sink *s);

/* Buffers one line (newline included). FULL: no room and the sink may still take some, write and try again.
 */
enum log_sink_put log_sink_put(struct log_sink *s, slice_t line, mono_ms_t now_ms);
/* Buffers a line of the writer itself; a reserve of the buffer is kept for those. */
void log_sink_note(struct log_sink *s, slice_t line);
/* Writes what it can without waiting, to a new file when the old one was removed. */
void log_sink_write(struct log_sink *s, mono_ms_t now_ms);
/* Bytes wait and the sink would take them once `fd` is writable. */
bool log_sink_is_blocked(const struct log_sink *s);
/* True when its lines are being dropped: an error, or a reader behind for LOG_SINK_STUCK_MS. */
bool log_sink_is_broken(const struct log_sink *s, mono_ms_t now_ms);
/* Whole lines still buffered; they are dropped with the sink. */
uint64_t log_sink_lines_waiting(const struct log_sink *s);
/* Hands unwritten whole lines over to the sink that replaces `from`. */
void log_sink_take_over(struct log_sink *to, const struct log_sink *from);

extern const char *log_syslog_path; /* "/dev/log"; tests set another one */

#endif
