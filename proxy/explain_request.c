/* explain_request.c: the question of explain as a request head, written as a client would send it and read by
 * the parser that reads clients'. So what no client could ask is refused in the parser's words, and what is
 * explained is a request that could come. Pure but for the arena of the exchange. */
#include "core/http_field.h"
#include "proxy/explain_case.h"

#define URL_HINT    "write the whole URL as clients ask for it, such as http://example.com/page?x=1"
#define HEADER_HINT "write it as 'Name: value', such as 'Cookie: a=1'"

/* ---- the question as a request ---- */

struct url_parts {
    slice_t host, target;
};

/* Where no listener has TLS it may end in front of us, so https is taken as what then arrives here. */
static bool split_url(slice_t url, struct url_parts *out)
{
    const slice_t schemes[] = {SLICE_LIT("http://"), SLICE_LIT("https://")};
    size_t i = 0;
    while (i < ARRAY_LEN(schemes) &&
           !(url.len > schemes[i].len && slice_ieq(slice_make(url.ptr, schemes[i].len), schemes[i])))
        i++;
    if (i == ARRAY_LEN(schemes))
        return false;
    url = slice_make(url.ptr + schemes[i].len, url.len - schemes[i].len);
    url.len = MIN(slice_find(url, '#', 0), url.len); /* a fragment stays in the browser */
    size_t end = MIN(MIN(slice_find(url, '/', 0), slice_find(url, '?', 0)), url.len);
    out->host = slice_make(url.ptr, end);
    out->target = slice_make(url.ptr + end, url.len - end);
    return end > 0;
}

/* It stays where it is put: no blank or line break, that would make more of the head than it is. */
static bool is_one_word(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    }
    return s.len > 0;
}

/* NULL, or what is wrong. */
static const char *write_head(struct arena *a, const struct admin_question *q, slice_t *out,
                              const char **hint)
{
    struct url_parts url;
    size_t bytes = strlen(q->url);
    *hint = URL_HINT;
    if (bytes > EXPLAIN_URL_MAX)
        return "the URL is longer than 8192 bytes";
    if (!is_one_word(slice_make(q->url, bytes)) || !split_url(slice_make(q->url, bytes), &url))
        return "this is not a URL that clients could ask for";
    slice_t method = slice_str(q->method != NULL ? q->method : "GET");
    *out = arena_printf(a, SLICE_FMT " %s" SLICE_FMT " HTTP/1.1\r\nHost: " SLICE_FMT "\r\n",
                        SLICE_ARG(method), url.target.len > 0 && url.target.ptr[0] == '/' ? "" : "/",
                        SLICE_ARG(url.target), SLICE_ARG(url.host));
    *hint = "a method is one word in capitals, such as HEAD";
    if (!is_one_word(method))
        return "this is not a method";
    *hint = HEADER_HINT;
    if (q->field_count > EXPLAIN_FIELDS_MAX - 1)
        return "there are more than 63 request fields";
    for (size_t i = 0; i < q->field_count && out->ptr != NULL; i++) {
        slice_t line = slice_str(q->fields[i]);
        if (line.len == 0 || slice_find(line, '\r', 0) != SIZE_MAX || slice_find(line, '\n', 0) != SIZE_MAX)
            return "a request field is empty or has a line break";
        bytes += line.len;
        if (bytes > EXPLAIN_HEAD_MAX)
            return "URL and request fields are longer than 32768 bytes";
        *out = arena_printf(a, SLICE_FMT SLICE_FMT "\r\n", SLICE_ARG(*out), SLICE_ARG(line));
    }
    if (out->ptr != NULL)
        *out = arena_printf(a, SLICE_FMT "\r\n", SLICE_ARG(*out));
    *hint = "try again";
    return out->ptr == NULL ? "out of memory" : NULL;
}

const char *explain_read_request(struct exchange *x, const struct admin_question *q, const char **hint)
{
    slice_t head;
    const char *problem = write_head(&x->arena, q, &head, hint);
    if (problem != NULL)
        return problem;
    struct h1_parser p = {0};
    const struct h1_limits limits = {head.len, head.len, EXPLAIN_FIELDS_MAX};
    x->req.fields = arena_alloc(&x->arena, EXPLAIN_FIELDS_MAX * sizeof *x->req.fields);
    if (x->req.fields == NULL)
        return "out of memory";
    *hint = "a field is 'Name: value', a method one word in capitals, and a URL has no blanks";
    if (h1_parse_request(&p, head.ptr, head.len, &x->req, &limits) != H1_DONE)
        return h1_error_text(p.error);
    enum h1_error e = h1_request_framing(&x->req, &x->framing);
    if (e == H1_OK)
        e = h1_target_split(&x->req, &x->target);
    if (e != H1_OK)
        return h1_error_text(e);
    http_head_drop_named_by_connection(&x->req);
    const struct http_field *host = http_head_get(&x->req, HTTP_FIELD_HOST);
    x->host = host != NULL ? host->value : SLICE_EMPTY;
    bool has_body =
        x->framing.kind == H1_BODY_CHUNKED || (x->framing.kind == H1_BODY_LENGTH && x->framing.length > 0);
    x->body_state = has_body ? BODY_UNREAD : BODY_ABSENT;
    return NULL;
}
