/* health_body.h: does the body of a probe's answer hold what it should? Pure: pieces of the connection in, a
 * verdict out; nothing of the body is kept. */
#ifndef BALANCER_HEALTH_BODY_H
#define BALANCER_HEALTH_BODY_H

#include "core/h1_parse.h"

#define HEALTH_BODY_WANTED_MAX 200 /* bytes that can be looked for */

enum health_body_verdict {
    HEALTH_BODY_MORE,
    HEALTH_BODY_FOUND,
    HEALTH_BODY_MISSING, /* the body has ended without it */
    HEALTH_BODY_BROKEN   /* it is not framed as it says */
};

struct health_body {
    char wanted[HEALTH_BODY_WANTED_MAX]; /* a copy: a reload may come meanwhile */
    size_t wanted_bytes, matched;
    uint8_t back[HEALTH_BODY_WANTED_MAX]; /* where a match may go on that failed */
    struct h1_framing framing;
    struct h1_chunked chunked;
    uint64_t left; /* of an announced length */
};

/* Only looks for it, in a body that others take out of its frames. `wanted` has 1 to HEALTH_BODY_WANTED_MAX
 * bytes. */
void health_body_look_for(struct health_body *b, const char *wanted);
/* What came next of that body; true: there it was. */
bool health_body_search(struct health_body *b, slice_t data);

/* As health_body_look_for, by the head of HTTP/1.1. false: that says nothing that could be read. */
bool health_body_begin(struct health_body *b, const struct http_head *head, const char *wanted);
/* What came next on the connection; MORE: it is not decided yet. Not to be asked again after another verdict.
 */
enum health_body_verdict health_body_take(struct health_body *b, const char *bytes, size_t len);
/* The connection was closed. */
enum health_body_verdict health_body_close(const struct health_body *b);

#endif
