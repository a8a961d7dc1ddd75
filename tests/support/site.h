/* site.h: an instance with one document that serves ranges of it, well or as the test says, and what a test
 * asks of the answers. The document is DIGITS unless said otherwise. */
#ifndef TESTS_SUPPORT_SITE_H
#define TESTS_SUPPORT_SITE_H

#include <stdatomic.h>

#include "tests/support/millpond.h"

/* Fields of a response. */
#define LONG       "Cache-Control: max-age=600\r\n"
#define TYPED      LONG "Content-Type: text/plain\r\n"
#define V1         "ETag: \"v1\"\r\n"
#define TAGGED     TYPED V1
#define DIGITS     "0123456789"
#define SITE_STEPS 6
/* A whole 206. */
#define PART_OF(fields, range, length, body)                                                                 \
    "HTTP/1.1 206 Partial Content\r\n" fields "Content-Range: " range "\r\nContent-Length: " length          \
    "\r\n\r\n" body

/* Answers as a server that knows ranges, but for the requests that `raw` has something for. */
struct site {
    const char *fields;          /* of a 200 */
    const char *part_fields;     /* of a 206; NULL: `fields` */
    const char *raw[SITE_STEPS]; /* whole responses, by number of the request */
    const char *body;
    size_t bytes;
    int gate_at, cut_at; /* number of a request that waits at the gate after its head, or is cut there */
    struct gate *gate;
    _Atomic int requests;
};

/* Lives until the test ends. */
struct site *site_new(const char *fields);
/* The script of its origin: `arg` is the site. */
void site_script(struct origin_conn *c, const struct message *request, void *arg);
/* An origin with it, and the program before that. */
struct millpond *site_start(struct site *s, struct origin **origin);
/* GET /p with this Range, and more fields, each with CRLF. */
struct message *site_ask(struct millpond *m, const char *range, const char *fields);

#define EXPECT_PART(r, content_range, body) (SUPPORT_AT, site_expect_part(r, content_range, body))
#define EXPECT_WHOLE(r)                     (SUPPORT_AT, site_expect_whole(r))
/* What request number `n` to the origin asked for; NULL: no such field. */
#define EXPECT_ASKED(o, n, range, if_range) (SUPPORT_AT, site_expect_asked(o, n, range, if_range))
void site_expect_part(struct message *r, const char *content_range, const char *body);
void site_expect_whole(struct message *r);
void site_expect_asked(struct origin *o, unsigned n, const char *range, const char *if_range);

#endif
