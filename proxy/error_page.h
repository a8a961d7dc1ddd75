/* error_page.h: the body of our own error responses: HTML for browsers, JSON for those who ask for it, with
 * the request id so that a visitor's report can be found in the log. */
#ifndef PROXY_ERROR_PAGE_H
#define PROXY_ERROR_PAGE_H

#include "core/arena.h"
#include "core/http_msg.h"

struct error_page {
    slice_t type, body; /* body.ptr is NULL when out of memory */
};

/* `detail` is one plain sentence of ours, never peer input. */
struct error_page error_page_make(struct arena *arena, const struct http_head *request, unsigned status,
                                  const char *detail, slice_t request_id);

#endif
