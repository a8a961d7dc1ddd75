/* pages.h: an origin script for cache tests: a table of pages, each with its response fields. The body of
 * every answer is "PATH#N", N counting the full answers of that page, so a test sees at once whether it got a
 * stored one. */
#ifndef TESTS_SUPPORT_PAGES_H
#define TESTS_SUPPORT_PAGES_H

#include <stdatomic.h>

#include "tests/support/origin.h"

struct page {
    const char *path; /* without query; the table ends with NULL */
    /* atomic: a test may change them while the origin runs */
    const char *_Atomic fields; /* each with CRLF */
    const char *_Atomic etag;   /* sent, and answered with 304 when If-None-Match holds it; NULL = none */
    int status;                 /* 0 = 200 */
    const char *vary_on; /* a request field whose value the body repeats ("PATH#N VALUE"); NULL = none */
    struct gate *gate;   /* passed between head and body; NULL = none */
    _Atomic unsigned served;
};

/* origin_script; `arg` is the table. Unknown paths are 404. */
void pages_script(struct origin_conn *c, const struct message *request, void *arg);

#endif
