/* log_writer.h: the thread that writes log lines. Private to core/log*.c. */
#ifndef CORE_LOG_WRITER_H
#define CORE_LOG_WRITER_H

#include "core/log_ring.h"
#include "core/log_sink.h"

#define LOG_RINGS_MAX 512

/* Any thread, under LOCK_LOG inside. false when all places are taken. */
bool log_writer_add_ring(struct log_ring *r);
/* The owner uses `r` no more: freed once drained, at once when no writer runs. */
void log_writer_retire_ring(struct log_ring *r);

/* Control thread. Takes the sinks over (the access one may be NULL). */
bool log_writer_start(struct log_sink *sinks[LOG_CHANNELS], char *err, size_t err_bytes);
void log_writer_stop(void);
/* Replaces the sink of a channel (NULL: lines are thrown away); lines that wait in the old one move over. */
void log_writer_replace(enum log_channel channel, struct log_sink *sink);
bool log_writer_is_running(void); /* any thread */

/* Any thread: `site` has suppressed lines; the writer tells how many once the second is over. */
void log_writer_summarise(struct log_site *site);

/* Lines lost in sinks and rings. Any thread. */
uint64_t log_writer_dropped(void);

/* "2026-01-31T12:00:00.123Z level " into buf; returns its length (at most 40). */
size_t log_stamp(char *buf, size_t bytes, enum log_level level);

#endif
