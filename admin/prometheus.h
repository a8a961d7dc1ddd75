/* prometheus.h: the metrics page in Prometheus' text format (version 0.0.4).
 *
 * Renders what core knows: the counters and gauges of core/metrics_tbl.h, the request series, locks, the log,
 * the process. Other modules add families of their own through `more`, with the same two functions. */
#ifndef ADMIN_PROMETHEUS_H
#define ADMIN_PROMETHEUS_H

#include <stdio.h>

#include "core/clock.h"
#include "core/slice.h"

struct evbuffer;

#define PROMETHEUS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* A growing text. Zeroed at first; once memory ran out it stays `failed` and takes no more. */
struct prometheus_text {
    char *bytes;
    size_t used, size;
    bool failed;
};

struct prometheus_label { /* borrowed */
    const char *name;
    slice_t value; /* any bytes; escaped here */
};

struct prometheus_page { /* borrowed, for one call */
    const char *version; /* of the program */
    wall_ms_t process_start_wall_ms;
    void (*more)(void *arg, struct prometheus_text *out); /* may be NULL */
    void *arg;
};

/* Appends the page; false when out of memory (the page is then incomplete and must not be sent). Any one
 * thread. */
bool prometheus_write(struct evbuffer *out, const struct prometheus_page *page);

/* Opens a family: HELP and TYPE ("counter", "gauge", ...). All its samples must follow before the next
 * family. */
void prometheus_family(struct prometheus_text *out, const char *name, const char *type, const char *help);
/* One sample; labels with an empty value are left out. `suffix` ("", "_bucket", ...) is put behind the name.
 */
void prometheus_sample(struct prometheus_text *out, const char *name, const char *suffix,
                       const struct prometheus_label *labels, size_t label_count, double value);

/* The table of families for docs/metrics.md. */
void prometheus_print_markdown(FILE *out);

#endif
