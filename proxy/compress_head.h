/* compress_head.h: which responses are compressed, and what becomes of their heads. Between the files of
 * compress. */
#ifndef PROXY_COMPRESS_HEAD_H
#define PROXY_COMPRESS_HEAD_H

#include "core/coding.h"

struct exchange;

enum compress_case {
    COMPRESS_NOTHING, /* goes on as it came */
    COMPRESS_VARY,    /* is not compressed, but belongs to what is: Vary says so */
    COMPRESS_BODY     /* may be compressed, if the client takes a coding */
};

/* Of a response to x->req with x->response_framing. */
enum compress_case compress_head_case(const struct exchange *x, const struct http_head *head);

/* Smaller ones gain nothing that counts: they fit into one segment as they are. */
#define COMPRESS_LEAST_BYTES 256

/* With Vary: Accept-Encoding, and as the head of what is coded by `c` if that is not CODING_IDENTITY. In the
 * arena; NULL: no memory. */
const struct http_head *compress_head_change(struct exchange *x, const struct http_head *head, enum coding c);

#endif
