/* site.c: see site.h. */
#include "tests/support/site.h"

struct site *site_new(const char *fields)
{
    struct site *s = calloc(1, sizeof(*s));
    s->fields = fields;
    s->body = DIGITS;
    s->bytes = strlen(DIGITS);
    s->gate_at = s->cut_at = -1;
    s->gate = gate_new();
    support_on_end(free, s);
    return s;
}

/* The bytes a Range names; the whole when it names none, or If-Range does not hold. */
static bool asked_part(const struct site *s, const struct message *request, size_t *first, size_t *last)
{
    const char *range = message_field(request, "Range"), *if_range = message_field(request, "If-Range");
    *first = 0;
    *last = s->bytes - 1;
    if (range == NULL || (if_range != NULL && strstr(s->fields, if_range) == NULL))
        return false;
    if (sscanf(range, "bytes=-%zu", last) == 1) {
        *first = *last >= s->bytes ? 0 : s->bytes - *last;
        *last = s->bytes - 1;
        return true;
    }
    return sscanf(range, "bytes=%zu-%zu", first, last) >= 1;
}

void site_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct site *s = arg;
    const int n = atomic_fetch_add(&s->requests, 1);
    size_t first, last;
    if (n < SITE_STEPS && s->raw[n] != NULL) {
        origin_send(c, "%s", s->raw[n]);
        return;
    }
    if (message_field(request, "If-None-Match") != NULL) {
        origin_send(c, "HTTP/1.1 304 Not Modified\r\n%s\r\n", s->fields);
        return;
    }
    bool part = asked_part(s, request, &first, &last);
    size_t bytes = last - first + 1, sent = n == s->gate_at || n == s->cut_at ? 1 : bytes;
    char *out = malloc(1024 + sent);
    int len =
        part ? snprintf(out, 1024, "HTTP/1.1 206 Partial Content\r\n%sContent-Range: bytes %zu-%zu/%zu\r\n",
                        s->part_fields != NULL ? s->part_fields : s->fields, first, last, s->bytes)
             : snprintf(out, 1024, "HTTP/1.1 200 OK\r\n%s", s->fields);
    len += snprintf(out + len, 1024 - (size_t)len, "Content-Length: %zu\r\n\r\n", bytes);
    memcpy(out + len, s->body + first, sent);
    origin_send_bytes(c, out, (size_t)len + sent);
    free(out);
    if (n == s->gate_at)
        gate_pass(s->gate);
    if (n == s->cut_at)
        origin_close(c);
    else
        origin_send_bytes(c, s->body + first + sent, bytes - sent);
}

struct millpond *site_start(struct site *s, struct origin **origin)
{
    *origin = origin_start(site_script, s);
    return millpond_before_(*origin, "");
}

struct message *site_ask(struct millpond *m, const char *range, const char *fields)
{
    return client_ask_(m->port, "GET", "/p", textf("Range: %s\r\n%s", range, fields), "");
}

void site_expect_part(struct message *r, const char *content_range, const char *body)
{
    message_expect_status(r, 206);
    message_expect_field(r, "Content-Range", content_range, false);
    message_expect_field(r, "Content-Length", textf("%zu", strlen(body)), false);
    message_expect_no_field(r, "Range");
    message_expect_body(r, body);
}

void site_expect_whole(struct message *r)
{
    message_expect_status(r, 200);
    message_expect_no_field(r, "Content-Range");
    message_expect_no_field(r, "Range");
    message_expect_body(r, DIGITS);
}

void site_expect_asked(struct origin *o, unsigned n, const char *range, const char *if_range)
{
    const struct message *q = origin_request(o, n);
    if (range != NULL)
        message_expect_field(q, "Range", range, false);
    else
        message_expect_no_field(q, "Range");
    if (if_range != NULL)
        message_expect_field(q, "If-Range", if_range, false);
    else
        message_expect_no_field(q, "If-Range");
}
