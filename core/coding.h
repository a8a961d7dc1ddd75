/* coding.h: content codings (RFC 9110 sections 8.4 and 12.5.3): which of them a client prefers, and which
 * types of content they make smaller. Pure. */
#ifndef CORE_CODING_H
#define CORE_CODING_H

#include "core/http_msg.h"

/* X(id, name), in the order of the option `compress`, behind `off`. */
#define CODINGS(X)                                                                                           \
    X(GZIP, "gzip")                                                                                          \
    X(BR, "br")                                                                                              \
    X(ZSTD, "zstd")

enum coding {
    CODING_IDENTITY, /* none */
#define X(id, name) CODING_##id,
    CODINGS(X)
#undef X
        CODING_COUNT
};

/* What is on offer, the best first, without repeats. */
struct coding_list {
    uint8_t count;
    uint8_t items[CODING_COUNT - 1]; /* enum coding */
};

slice_t coding_name(enum coding c);

/* What of the offer suits Accept-Encoding best: the highest weight, among equals the first on offer.
 * CODING_IDENTITY: nothing does, or the client would rather have it plain. A request without the field could
 * take any (section 12.5.3); but who sends none mostly knows none, so it gets none. */
enum coding coding_choose(const struct http_head *request, const struct coding_list *offer);

/* Is this Content-Type text, or made of it, or otherwise not compressed already? Event streams are left out:
 * they are read piece by piece, and most of them hold little at a time. */
bool coding_helps(slice_t content_type);

#endif
