/* fuzz_stream_file.c: the file of pending events from any bytes.
 *
 * Beside memory errors it looks for broken promises of stream_file.h: a file that was read can be written
 * anew from what was pending, and then says the same. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cache/stream_file.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No disk is waited for. */
int fdatasync(int fd)
{
    return fd < 0 ? -1 : 0;
}
int fsync(int fd)
{
    return fd < 0 ? -1 : 0;
}

struct pending {
    size_t count, bytes;
    char *records;
};

static void on_event(void *arg, struct cache_stream_origin by, slice_t payload)
{
    struct pending *p = arg;
    p->count++;
    p->records = realloc(p->records, p->bytes + CACHE_STREAM_FILE_RECORD + payload.len);
    ASSERT(p->records != NULL);
    cache_stream_file_put_event(p->records + p->bytes, by, payload);
    p->bytes += CACHE_STREAM_FILE_RECORD + payload.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char path[64];
    struct cache_stream_file f;
    struct pending first = {0}, second = {0};
    if (path[0] == '\0')
        snprintf(path, sizeof path, "%s/fuzz-stream-file-%d",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    ASSERT(cache_stream_file_open(&f, path, on_event, &first) != CACHE_STREAM_FILE_REFUSED);
    ASSERT(cache_stream_file_rewrite(&f, slice_make(first.records, first.bytes)));
    cache_stream_file_close(&f);
    ASSERT(cache_stream_file_open(&f, path, on_event, &second) == CACHE_STREAM_FILE_READ);
    ASSERT(first.count == second.count && first.bytes == second.bytes &&
           (first.bytes == 0 || memcmp(first.records, second.records, first.bytes) == 0));
    cache_stream_file_close(&f);
    unlink(path);
    free(first.records);
    free(second.records);
    return 0;
}
