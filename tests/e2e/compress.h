/* compress.h: what the tests of `compress` share: an origin that answers with beginnings of one text, and
 * what clients make of it. */
#ifndef TESTS_E2E_COMPRESS_H
#define TESTS_E2E_COMPRESS_H

#include "tests/support/app.h"
#include "tests/support/decode.h"
#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/redis.h"

#define LONG  "Cache-Control: max-age=600\r\n"
#define STALE "Cache-Control: max-age=600\r\nAge: 700\r\n"
#define HTML  "Content-Type: text/html; charset=utf-8\r\n"
#define ALL   "compress = zstd, br, gzip\n"

/* An answer, by its path. Bodies are beginnings of one text. */
struct answer {
    const char *path;
    const char *fields;
    size_t bytes;
    int status;          /* 0: 200 */
    bool chunked;        /* the length is not announced */
    size_t cut;          /* the connection closes behind so many bytes; 0: it does not */
    const char *etag;    /* 304 when If-None-Match has it; besides `fields` */
    const char *confirm; /* the fields of that 304 */
    struct gate *gate;   /* passed behind `held` bytes; NULL: none */
    size_t held;
    const char *trailers;
};

static inline char *text_of(size_t bytes)
{
    char *text = malloc(bytes + 32);
    assert_non_null(text);
    for (size_t n = 0, line = 0; n < bytes; line++)
        n += (size_t)sprintf(text + n, "line %zu of this text\n", line * line % 1000003);
    text[bytes] = '\0';
    return text;
}

static inline void send_body(struct origin_conn *c, const struct answer *a, const char *text, size_t from,
                             size_t to)
{
    for (size_t at = from, n; at < to; at += n) {
        n = MIN(to - at, (size_t)50000);
        if (!(a->chunked ? origin_send_chunk(c, text + at, n) : origin_send_bytes(c, text + at, n)))
            return;
    }
}

static inline void answer_with(struct origin_conn *c, const struct message *request, const struct answer *a)
{
    const char *condition = message_field(request, "If-None-Match");
    const bool head = strcmp(request->method, "HEAD") == 0;
    if (a->etag != NULL && condition != NULL && strstr(condition, a->etag) != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\nETag: %s\r\n%s\r\n", a->etag, a->confirm);
        return;
    }
    char *text = text_of(a->bytes);
    origin_send(c, "HTTP/1.1 %d Status\r\n%s", a->status == 0 ? 200 : a->status, a->fields);
    if (a->etag != NULL)
        origin_send(c, "ETag: %s\r\n", a->etag);
    if (a->chunked)
        origin_send(c, "Transfer-Encoding: chunked\r\n\r\n");
    else
        origin_send(c, "Content-Length: %zu\r\n\r\n", a->bytes);
    const size_t end = a->cut > 0 ? a->cut : a->bytes;
    if (!head) {
        send_body(c, a, text, 0, a->gate != NULL ? a->held : end);
        if (a->gate != NULL && gate_pass(a->gate))
            send_body(c, a, text, a->held, end);
        if (a->cut > 0)
            origin_close(c);
        else if (a->chunked)
            origin_send(c, "0\r\n%s\r\n", a->trailers != NULL ? a->trailers : "");
    }
    free(text);
}

static inline void script(struct origin_conn *c, const struct message *request, void *arg)
{
    const size_t path = strcspn(request->target, "?");
    for (const struct answer *a = arg; a->path != NULL; a++) {
        if (strlen(a->path) == path && strncmp(a->path, request->target, path) == 0) {
            answer_with(c, request, a);
            return;
        }
    }
    origin_respond(c, 404, "", "");
}

static struct origin *origin;

static inline struct millpond *start(struct answer *answers, const char *route)
{
    origin = origin_start(script, answers);
    return millpond_before(origin, textf("[route all]\n%s", route));
}

static inline enum coding coding_of(const struct message *r)
{
    const char *name = message_field(r, "Content-Encoding");
    for (enum coding c = CODING_GZIP; name != NULL && c < CODING_COUNT; c++) {
        if (strcmp(coding_name(c).ptr, name) == 0)
            return c;
    }
    EXPECT(name == NULL, "Content-Encoding: %s", name);
    return CODING_IDENTITY;
}

static inline void expect_text_(const char *body, size_t n, enum coding c, size_t bytes)
{
    char *text = text_of(bytes);
    struct decoded d = {.text = NULL, .bytes = n, .sound = true, .ended = true};
    if (c != CODING_IDENTITY)
        d = decode(c, body, n, bytes);
    EXPECT(d.sound && d.ended && d.bytes == bytes && memcmp(d.text != NULL ? d.text : body, text, bytes) == 0,
           "%zu of %zu bytes, sound %d, ended %d", d.bytes, bytes, d.sound, d.ended);
    free(d.text);
    free(text);
}

/* All of it, in this coding, which the head agrees with. */
#define expect_coded(r, coding, bytes) (SUPPORT_AT, expect_coded_(r, coding, bytes))
static inline void expect_coded_(const struct message *r, enum coding c, size_t bytes)
{
    expect_end(r, MESSAGE_COMPLETE);
    EXPECT(coding_of(r) == c, "it is in %s:\n%s", coding_name(coding_of(r)).ptr, r->head);
    expect_text_(r->body, r->body_len, c, bytes);
    if (c == CODING_IDENTITY)
        return;
    EXPECT(r->body_len < bytes / 2 + 64, "%zu bytes of %zu", r->body_len, bytes);
    expect_field(r, "Vary", "Accept-Encoding");
    expect_field(r, "Accept-Ranges", "none");
}

static inline struct message *get(struct millpond *m, const char *target, const char *accept)
{
    return client_get(m->port, target, accept[0] != '\0' ? textf("Accept-Encoding: %s\r\n", accept) : "");
}

static inline const char *asked_for(unsigned i)
{
    const char *accept = message_field(origin_request(origin, i), "Accept-Encoding");
    return accept != NULL ? accept : "";
}

#endif
