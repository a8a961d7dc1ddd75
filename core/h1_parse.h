/* h1_parse.h: HTTP/1.x heads, framing and chunked coding (RFC 9112), pure: bytes in, a verdict out.
 *
 * It reads no socket, allocates nothing and keeps only offsets. Strict by design: what RFC 9112 lets a
 * recipient refuse is refused, because what two parsers read differently is how requests are smuggled:
 * bare LF and bare CR, obs-fold, space before the colon, control characters, leading zeros beyond reason,
 * lists of Content-Length that differ. The same rules serve requests and responses. */
#ifndef CORE_H1_PARSE_H
#define CORE_H1_PARSE_H

#include "core/http_msg.h"

/* Why a head or a body was refused: X(id, status to answer a request with, text for the log). */
#define H1_ERRORS(X)                                                                                         \
    X(BAD_REQUEST_LINE, 400, "malformed request line")                                                       \
    X(BAD_METHOD, 400, "method is not a token")                                                              \
    X(BAD_TARGET, 400, "bad character in request target")                                                    \
    X(TARGET_FORM, 400, "request target form does not fit the method")                                       \
    X(TARGET_TOO_LONG, 414, "request target too long")                                                       \
    X(BAD_VERSION, 400, "malformed HTTP version")                                                            \
    X(VERSION_UNSUPPORTED, 505, "HTTP version not supported")                                                \
    X(BAD_STATUS_LINE, 502, "malformed status line")                                                         \
    X(BAD_LINE_END, 400, "line does not end in CRLF")                                                        \
    X(BAD_FIELD_NAME, 400, "field name is not a token")                                                      \
    X(SPACE_BEFORE_COLON, 400, "white space before the colon of a field")                                    \
    X(BAD_FIELD_VALUE, 400, "control character in a field value")                                            \
    X(OBS_FOLD, 400, "folded field line")                                                                    \
    X(TOO_MANY_FIELDS, 431, "too many fields")                                                               \
    X(HEAD_TOO_LARGE, 431, "head too large")                                                                 \
    X(HOST_MISSING, 400, "Host is missing")                                                                  \
    X(HOST_REPEATED, 400, "Host occurs more than once")                                                      \
    X(HOST_INVALID, 400, "Host is not valid")                                                                \
    X(LENGTH_INVALID, 400, "Content-Length is not a number")                                                 \
    X(LENGTH_DIFFERS, 400, "Content-Length values differ")                                                   \
    X(LENGTH_AND_CODING, 400, "both Content-Length and Transfer-Encoding")                                   \
    X(CODING_UNKNOWN, 501, "transfer coding not supported")                                                  \
    X(CODING_NOT_FINAL, 400, "chunked is not the final, single transfer coding")                             \
    X(CODING_IN_HTTP_1_0, 400, "Transfer-Encoding in an HTTP/1.0 message")                                   \
    X(CHUNK_SIZE, 400, "malformed chunk size")                                                               \
    X(CHUNK_EXTENSION, 400, "chunk extension too long or malformed")                                         \
    X(CHUNK_END, 400, "chunk data not followed by CRLF")                                                     \
    X(TRAILER_TOO_LARGE, 431, "trailer section too large")                                                   \
    X(PROTOCOL_UNKNOWN, 501, "CONNECT for another protocol than websocket")

enum h1_error {
    H1_OK = 0,
#define X(id, status, text) H1_ERR_##id,
    H1_ERRORS(X)
#undef X
        H1_ERROR_COUNT
};

unsigned h1_error_status(enum h1_error e); /* status a request with this error is answered with */
const char *h1_error_text(enum h1_error e);
const char *h1_error_name(enum h1_error e); /* "bad_request_line" */

struct h1_limits {
    size_t max_head_bytes; /* start line, fields and the blank line */
    size_t max_target_bytes;
    unsigned max_fields; /* at most the capacity of the caller's field array */
};

enum h1_status {
    H1_DONE, /* the head is complete: `head_bytes` of the buffer belong to it */
    H1_MORE, /* call again with more bytes behind the same ones */
    H1_FAIL  /* `error` says why */
};

/* Progress on one head. Zero it before each message. It holds offsets only, so between two calls the bytes
 * may move and the head be another one. A line is judged when it is complete or holds a control character,
 * hence the verdict on some bytes does not depend on how they were cut into calls. */
struct h1_parser {
    size_t scanned;    /* bytes that need not be looked at again for a line end */
    size_t line;       /* start of the first line not judged yet */
    size_t head_bytes; /* with H1_DONE */
    unsigned fields;   /* field lines judged */
    bool started;      /* the start line was judged */
    uint8_t error;     /* enum h1_error; a byte, for those who have many of these */
};

/* Parses a request head from buf[0..len). Empty lines before the request line are skipped (at most
 * one CRLF, RFC 9112 section 2.2) and count into head_bytes. Slices in `head` point into `buf`.
 * `head->fields` and its capacity (limits->max_fields) are the caller's. Checks everything up to and
 * including Host (RFC 9112 section 3.2: missing in 1.1, repeated, invalid) and the form of the target:
 * origin-form, absolute-form (http or https), `*` for OPTIONS only, authority-form for CONNECT only.
 * Limits are enforced also while the head is incomplete: max_head_bytes without an end is H1_FAIL.
 * `head` is filled with H1_DONE only. */
enum h1_status h1_parse_request(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                const struct h1_limits *limits);

/* Parses a response head likewise (no Host and target rules). */
enum h1_status h1_parse_response(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                 const struct h1_limits *limits);

/* Parses field lines up to and including the blank line: a trailer section or fields held elsewhere. */
enum h1_status h1_parse_fields(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                               const struct h1_limits *limits);

/* The parts of a request target (RFC 9112 section 3.2). Slices into the target. */
struct h1_target {
    slice_t scheme;    /* absolute-form only, else empty */
    slice_t authority; /* absolute-form and authority-form, else empty */
    slice_t path;      /* begins with '/', or "*"; "/" when absolute-form has none */
    slice_t query;     /* without '?'; .ptr is NULL when there is no '?' */
};
/* H1_OK, H1_ERR_TARGET_FORM, or H1_ERR_HOST_INVALID for an authority that is none. */
enum h1_error h1_target_split(const struct http_head *head, struct h1_target *out);

enum h1_body {
    H1_BODY_NONE,
    H1_BODY_LENGTH,
    H1_BODY_CHUNKED,
    H1_BODY_UNTIL_CLOSE /* responses only */
};
struct h1_framing {
    enum h1_body kind;
    uint64_t length; /* H1_BODY_LENGTH; also what HEAD and 304 declare, see has_length */
    bool has_length; /* a Content-Length was given, whether or not a body follows */
    bool keep_alive; /* the sender lets the connection be used again (RFC 9112 section 9.3) */
};

/* RFC 9112 section 6.3. H1_OK or the reason to refuse the message. */
enum h1_error h1_request_framing(const struct http_head *head, struct h1_framing *out);
/* `request_method` is the method this answers; 1xx, 204, 304 and answers to HEAD have no body.
 * A 101 and a 2xx to CONNECT are H1_BODY_NONE with keep_alive false; so is a 204 that announces a body,
 * since the sender may be sending one. */
enum h1_error h1_response_framing(const struct http_head *head, enum http_method request_method,
                                  struct h1_framing *out);

/* Chunked decoding (RFC 9112 section 7.1), in place. Zero it before each body. */
struct h1_chunked {
    uint64_t left;       /* bytes of the current chunk still to come */
    uint32_t line_bytes; /* digits, then extension bytes, of the size line read so far; bounded */
    uint8_t state;
    enum h1_error error;
};

enum h1_chunk {
    H1_CHUNK_MORE,     /* all input was consumed, more is needed */
    H1_CHUNK_DATA,     /* `data` is a piece of body inside `buf` */
    H1_CHUNK_TRAILERS, /* the last chunk was read: what follows is the trailer section, to be read with
                          h1_parse_fields (an empty one is a bare CRLF) */
    H1_CHUNK_FAIL
};

/* Takes bytes from buf[0..len), sets *consumed, and returns the next event. Call until MORE. Extensions
 * (at most 256 bytes per line) are checked and dropped. TRAILERS and FAIL repeat, consuming nothing. */
enum h1_chunk h1_chunked_next(struct h1_chunked *c, const char *buf, size_t len, size_t *consumed,
                              slice_t *data);

/* Writes "<hex>\r\n"; returns its length, at most 18. */
size_t h1_chunk_head(char *buf, uint64_t bytes);

#endif
