/* h2_head.h: a head as HTTP/2 brings it, field by field, made into one that could have come by HTTP/1.1.
 *
 * What RFC 9113 section 8 calls malformed is found here, whatever the library in front of it finds: pseudo
 * fields out of place, missing, repeated or unknown; names and values that would mean something else in
 * HTTP/1.1; fields that belong to a connection; a Host that is not the :authority. Such a request ends its
 * stream; so does a Content-Length that is none, or twice. What is well-formed and merely more than is wanted
 * (too large, too many, too long) is refused with a status, as in HTTP/1.1. Everything that was decoded
 * counts, kept or not, cookie crumbs too, so a few bytes on the wire cannot become many here. Crumbs of a
 * cookie are joined, and Host is what :authority says. A CONNECT that asks for a WebSocket (RFC 8441) becomes
 * the GET with Connection and Upgrade that asks for one in HTTP/1.1, but for Sec-WebSocket-Key, which belongs
 * to a connection. For other protocols it is refused.
 *
 * Bytes in, a verdict out; any thread. */
#ifndef CORE_H2_HEAD_H
#define CORE_H2_HEAD_H

#include "core/h1_parse.h"
#include "core/h2_priority.h"

#define H2_HEAD_METHOD_MAX 32

enum h2_head_kind { H2_HEAD_REQUEST, H2_HEAD_RESPONSE, H2_HEAD_TRAILERS };

enum h2_pseudo {
    H2_PSEUDO_METHOD,
    H2_PSEUDO_SCHEME,
    H2_PSEUDO_AUTHORITY,
    H2_PSEUDO_PATH,
    H2_PSEUDO_PROTOCOL, /* RFC 8441 */
    H2_PSEUDO_STATUS,
    H2_PSEUDO_COUNT
};

/* One head under way. Its memory grows to what the limits allow, and is kept from one head to the next. Zero
 * it before the first; h2_head_free at the end. */
struct h2_head {
    char *text;
    size_t text_room, text_used;
    struct http_field *fields; /* into `text`, or constant */
    unsigned field_room, field_count;
    enum h2_head_kind kind;
    struct h1_limits limits;
    size_t decoded_bytes; /* as many as the lines would have in HTTP/1.1 */
    unsigned decoded_fields, crumbs;
    slice_t pseudo[H2_PSEUDO_COUNT]; /* .ptr NULL: not there; into `text` */
    struct h2_priority priority;     /* of a request */
    int64_t content_length;          /* of a request's body, which DATA must have; -1: any */
    const char *malformed;           /* why; NULL: it is not, so far */
    enum h1_error refused;           /* H1_OK: it is not */
    uint8_t host_bytes;              /* of the last Host that was valid; 0: none, or too long to keep */
    char host[64];
};

/* The next head, or trailer section. false: no memory. */
bool h2_head_begin(struct h2_head *h, enum h2_head_kind kind, const struct h1_limits *limits);
/* The next of its fields. false: no memory. */
bool h2_head_add(struct h2_head *h, slice_t name, slice_t value);

enum h2_verdict {
    H2_HEAD_OK,
    H2_HEAD_REFUSED,  /* `refused` has status and text; *out has what is known of method and target */
    H2_HEAD_MALFORMED /* `malformed` says why */
};
/* All fields are there. Slices in *out lie in `h`, from method_text on, until its next head. */
enum h2_verdict h2_head_end(struct h2_head *h, struct http_head *out);

/* The same of a response; refused or malformed are one to who gets it. */
enum h2_verdict h2_head_end_response(struct h2_head *h, struct http_head *out);

/* A trailer section as HTTP/1.1 would bring it, blank line included, into `buf` of h2_head_trailers_bytes. */
size_t h2_head_trailers_bytes(const struct h2_head *h);
slice_t h2_head_trailers(const struct h2_head *h, char *buf);

void h2_head_free(struct h2_head *h);

#endif
