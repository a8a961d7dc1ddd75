/* trace_file.c: a trace from a plain list of keys and sizes, such as an access log cut down to two columns.
 *
 * Keys are numbered as they come, by a hash table of their hashes: 128 bits are taken for the key itself, as
 * no one attacks a benchmark. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/trace/trace.h"
#include "core/hash.h"

#define DEFAULT_BYTES 1024

/* Open addressing; a slot is a key number + 1, 0 is empty. */
struct numbers {
    uint32_t *slots;
    size_t slot_count, room;
    hash128_t *hashes; /* by key number */
};

static uint32_t *numbers_slot(const struct numbers *n, hash128_t hash)
{
    size_t at = hash.lo & (n->slot_count - 1);
    while (n->slots[at] != 0 && !hash_eq(n->hashes[n->slots[at] - 1], hash))
        at = (at + 1) & (n->slot_count - 1);
    return &n->slots[at];
}

static void numbers_double(struct numbers *n, struct trace *t)
{
    n->room = n->room > 0 ? n->room * 2 : 1024;
    n->slot_count = n->room * 2;
    n->hashes = trace_grow(n->hashes, n->room, sizeof *n->hashes);
    t->bytes = trace_grow(t->bytes, n->room, sizeof *t->bytes);
    free(n->slots);
    n->slots = trace_alloc(n->slot_count, sizeof *n->slots);
    for (uint32_t i = 0; i < t->key_count; i++)
        *numbers_slot(n, n->hashes[i]) = i + 1;
}

static uint32_t numbers_of(struct numbers *n, struct trace *t, slice_t key, uint32_t bytes)
{
    if (t->key_count == n->room)
        numbers_double(n, t);
    hash128_t hash = hash_bytes(key.ptr, key.len);
    uint32_t *slot = numbers_slot(n, hash);
    if (*slot == 0) {
        n->hashes[t->key_count] = hash;
        t->bytes[t->key_count] = bytes;
        *slot = (uint32_t)++t->key_count;
    }
    return *slot - 1;
}

/* "key" or "key size", separated by blanks; what is wrong, or NULL. */
static const char *line_split(slice_t line, slice_t *key, uint32_t *bytes)
{
    size_t end = 0;
    while (end < line.len && line.ptr[end] != ' ' && line.ptr[end] != '\t')
        end++;
    *key = slice_make(line.ptr, end);
    *bytes = DEFAULT_BYTES;
    slice_t size = slice_trim(slice_make(line.ptr + end, line.len - end));
    if (size.len == 0)
        return NULL;
    uint64_t value;
    if (!slice_to_u64(size, &value))
        return "the size is not a whole number of bytes (a line is: key, or key and size)";
    if (value > UINT32_MAX)
        return "the size is over 4 GB";
    *bytes = (uint32_t)MAX(value, TRACE_BYTES_MIN);
    return NULL;
}

static const char *trace_add_line(struct trace *t, struct numbers *n, size_t *room, slice_t line)
{
    slice_t key;
    uint32_t bytes;
    const char *wrong = line_split(line, &key, &bytes);
    if (wrong != NULL)
        return wrong;
    if (t->request_count == UINT32_MAX)
        return "more than 4 billion requests";
    if (t->request_count == *room) {
        *room = MAX(*room * 2, 1024);
        t->requests = trace_grow(t->requests, *room, sizeof *t->requests);
    }
    t->requests[t->request_count++] = numbers_of(n, t, key, bytes);
    return NULL;
}

bool trace_read(struct trace *t, const char *path, char *error, size_t error_bytes)
{
    *t = (struct trace){0};
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
        return false;
    }
    struct numbers n = {0};
    char *text = NULL;
    size_t text_room = 0, room = 0, number = 0;
    ssize_t got;
    const char *wrong = NULL;
    errno = 0;
    while (wrong == NULL && (got = getline(&text, &text_room, f)) >= 0) {
        number++;
        slice_t line = slice_make(text, (size_t)got);
        while (line.len > 0 && strchr("\r\n", line.ptr[line.len - 1]) != NULL)
            line.len--;
        line = slice_trim(line);
        if (line.len > 0 && line.ptr[0] != '#')
            wrong = trace_add_line(t, &n, &room, line);
    }
    if (wrong != NULL)
        snprintf(error, error_bytes, "%s:%zu: %s", path, number, wrong);
    else if (ferror(f))
        snprintf(error, error_bytes, "%s: %s", path, strerror(errno));
    else if (t->request_count == 0)
        snprintf(error, error_bytes, "%s: no requests in it", path);
    bool ok = wrong == NULL && !ferror(f) && t->request_count > 0;
    fclose(f);
    free(text);
    free(n.slots);
    free(n.hashes);
    if (ok)
        trace_measure(t);
    else
        trace_free(t);
    return ok;
}
