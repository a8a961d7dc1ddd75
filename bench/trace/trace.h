/* trace.h: a sequence of requests for objects, made up from a seed or read from a file, and what a policy
 * makes of it.
 *
 * A trace is key numbers in the order of the requests, and a size per key. Made-up traces are the same on
 * every run: own generator, no clock. Used by trace_sim.c and by the unit test of the hit ratio;
 * single-threaded, and out of memory ends the program. */
#ifndef BENCH_TRACE_TRACE_H
#define BENCH_TRACE_TRACE_H

#include "core/base.h"

/* No stored response costs less, head and bookkeeping included; smaller sizes in a file count as this. */
#define TRACE_BYTES_MIN 256

/* Owned by whoever made it; read-only afterwards. */
struct trace {
    uint32_t *requests; /* key numbers */
    size_t request_count;
    uint32_t *bytes; /* by key number */
    size_t key_count;
    uint64_t footprint_bytes; /* of all keys that are requested */
    bool even;                /* all have the same size */
};

/* The patterns that can be made, in the order of the table. */
struct trace_pattern {
    const char *name, *what;
    void (*make)(struct trace *t, uint64_t seed); /* request_count is set */
};
extern const struct trace_pattern trace_patterns[];
extern const size_t trace_pattern_count;

struct trace trace_make(const char *pattern, size_t request_count, uint64_t seed);
/* Lines "key" or "key size"; a key has the size of its first line, 1 KB if that has none; empty lines and
 * those that begin with # are skipped. false, with the file and line in `error`, when it cannot be read. */
bool trace_read(struct trace *t, const char *path, char *error, size_t error_bytes);
void trace_free(struct trace *t);
/* Fills in footprint_bytes and even. */
void trace_measure(struct trace *t);

/* malloc and realloc that end the program when memory is short. */
void *trace_alloc(size_t count, size_t bytes);
void *trace_grow(void *p, size_t count, size_t bytes);

#endif
