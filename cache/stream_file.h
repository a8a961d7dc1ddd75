/* stream_file.h: the file in which events wait for the stream while Redis is away. Append-only records of
 * events that came and events that are done; what came and is not done is pending. One thread at a time.
 *
 * Layout, little endian: a head of 16 bytes ("MlpQ", version), then records: bytes of the payload and type in
 * 32 bits each, node and number of the event, 64 bits of XXH3-128 over the payload and over these 32 bytes,
 * payload. "Done" has no payload.
 *
 * How it ends after a crash. A last record that lacks bytes, or is zeros from its beginning or its payload
 * on, was being written and never promised to anybody: it is ignored. Anything else that is not right may
 * have been a promise, so the file counts as damaged, and who reads it has to purge everything. kill -9 tears
 * at most the last write, a power cut what was not synced yet.
 *
 * The file is held by an advisory lock, so that two processes with the same state_dir do not share it. */
#ifndef CACHE_STREAM_FILE_H
#define CACHE_STREAM_FILE_H

#include "cache/stream_entry.h"

#define CACHE_STREAM_FILE_RECORD    40          /* bytes beyond the payload */
#define CACHE_STREAM_FILE_BYTES_MAX (1024 * MB) /* a larger one is not ours */

struct cache_stream_file {
    char *path, *aside; /* NULL: closed */
    int fd;             /* -1: the file is to be written anew */
    uint64_t bytes;     /* that are in it */
};

enum cache_stream_file_state {
    CACHE_STREAM_FILE_READ,    /* or made */
    CACHE_STREAM_FILE_DAMAGED, /* read, as far as it could be */
    CACHE_STREAM_FILE_REFUSED  /* cannot be used, errno; EWOULDBLOCK: another process has it */
};

/* What is pending, oldest first; bytes are borrowed for the call. */
typedef void cache_stream_file_on_event(void *arg, struct cache_stream_origin by, slice_t payload);

/* Opens or makes it, with mode 0600, and reads it. Unless it was refused, it is to be written anew before it
 * is appended to. */
enum cache_stream_file_state cache_stream_file_open(struct cache_stream_file *f, const char *path,
                                                    cache_stream_file_on_event *on_event, void *arg);
void cache_stream_file_close(struct cache_stream_file *f);

/* Records, into CACHE_STREAM_FILE_RECORD + payload.len bytes; return the end. */
char *cache_stream_file_put_event(char *buf, struct cache_stream_origin by, slice_t payload);
char *cache_stream_file_put_done(char *buf, struct cache_stream_origin by);

/* Appends records, and returns when they are on the disk (`sync`), or at once. false with errno: what is in
 * the file is not known any more, write it anew. */
bool cache_stream_file_append(struct cache_stream_file *f, slice_t records, bool sync);
/* Makes these all there is, durably, or leaves the file as it is: false with errno. */
bool cache_stream_file_rewrite(struct cache_stream_file *f, slice_t records);
/* Nothing is pending: makes it empty. Should a power cut undo that, events are sent a second time. */
bool cache_stream_file_clear(struct cache_stream_file *f);
bool cache_stream_file_is_clear(const struct cache_stream_file *f);

#endif
