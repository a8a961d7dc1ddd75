/* h1_parse.c: HTTP/1 heads: start line, field lines, blank line (RFC 9112 sections 2 to 5).
 *
 * A head that is complete at the first call is read in one pass, straight into the caller's table. One
 * that comes in pieces is judged line by line as lines complete, each byte being scanned for a line end
 * once, and is read again as a whole at its end: the buffer may have moved meanwhile, so nothing but
 * offsets could be kept. That is three looks at a byte at most, however small the pieces are.
 *
 * Each line reader returns H1_OK, an error or LINE_PARTIAL when the bytes end before it can tell. An
 * error in a line that is not closed yet (see line_is_closed) is held back until it is; so the verdict
 * depends on the bytes alone, never on where the calls cut them.
 *
 * Pure: no I/O, no allocation, any thread. Framing and targets are in h1_framing.c, chunked in
 * h1_chunked.c. Rejected: a byte-at-a-time state machine (resumes anywhere, but costs twice as much per
 * byte on the complete heads that nearly all are) and looking for the blank line first (another pass). */
#include "core/h1_parse.h"

#include "core/h1_scan.h"
#include "core/http_field.h"
#include "core/panic.h"

#define LINE_PARTIAL     H1_ERROR_COUNT
#define METHOD_MAX_BYTES 32
#define VERSION_BYTES    8 /* "HTTP/1.1" */

enum head_kind { HEAD_REQUEST, HEAD_RESPONSE, HEAD_FIELDS };

/* One call's view of the bytes. `at` moves over what was read, whole lines only. */
struct reader {
    const char *low, *at, *end;
    struct http_head *head;
    const struct h1_limits *limits;
    enum head_kind kind;
};

/* `p` is where a line should end: H1_OK for CRLF, `otherwise` for what is no line end at all. */
static enum h1_error line_end(const char *p, const char *end, enum h1_error otherwise)
{
    if (p == end)
        return LINE_PARTIAL;
    if (*p == '\n')
        return H1_ERR_BAD_LINE_END;
    if (*p != '\r')
        return otherwise;
    if (p + 1 == end)
        return LINE_PARTIAL;
    return p[1] == '\n' ? H1_OK : H1_ERR_BAD_LINE_END;
}

/* The same where no line may end: a proper CRLF is `otherwise` too. */
static enum h1_error no_line_end(const char *p, const char *end, enum h1_error otherwise)
{
    enum h1_error e = line_end(p, end, otherwise);
    return e == H1_OK ? otherwise : e;
}

static inline bool is_ows(char c)
{
    return c == ' ' || c == '\t';
}

/* Why the line at `p` does not begin with a token and a colon. */
static enum h1_error explain_name(const char *p, const char *end)
{
    const char *i = p;
    if (i < end && is_ows(*i))
        return H1_ERR_OBS_FOLD;
    while (i < end && http_is_tchar((unsigned char)*i))
        i++;
    if (i == end || !is_ows(*i))
        return no_line_end(i, end, H1_ERR_BAD_FIELD_NAME);
    while (i < end && is_ows(*i))
        i++;
    return i < end && *i == ':' ? H1_ERR_SPACE_BEFORE_COLON : H1_ERR_BAD_FIELD_NAME;
}

/* RFC 9112 section 5. A known name is a token, so only unknown ones are checked letter by letter. */
static inline enum h1_error read_field_line(struct reader *r, struct http_field *f)
{
    const char *end = r->end;
    const char *colon = h1_scan_colon(r->low, r->at, end);
    f->name = slice_make(r->at, (size_t)(colon - r->at));
    f->id = (uint8_t)http_field_lookup(f->name);
    if (UNLIKELY(colon == end) || (f->id == HTTP_FIELD_OTHER && !http_is_token(f->name)))
        return explain_name(r->at, end);
    const char *value = colon + 1;
    while (value < end && is_ows(*value))
        value++;
    const char *stop = h1_scan_control(r->low, value, end);
    enum h1_error e = line_end(stop, end, H1_ERR_BAD_FIELD_VALUE);
    if (UNLIKELY(e != H1_OK))
        return e;
    r->at = stop + 2;
    while (stop > value && is_ows(stop[-1]))
        stop--;
    f->value = slice_make(value, (size_t)(stop - value));
    return H1_OK;
}

/* "HTTP/1.0" or "HTTP/1.1" at `p`; `bad` for what is no version. */
static enum h1_error read_version(const char *p, const char *end, enum h1_error bad, uint8_t *minor)
{
    if (LIKELY(end - p >= VERSION_BYTES && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] & ~1) == '0')) {
        *minor = (uint8_t)(p[7] - '0');
        return H1_OK;
    }
    for (const char *want = "HTTP/#.#"; *want != '\0'; want++, p++) {
        if (p == end)
            return LINE_PARTIAL;
        bool ok = *want == '#' ? *p >= '0' && *p <= '9' : *p == *want;
        if (!ok)
            return no_line_end(p, end, bad);
    }
    return H1_ERR_VERSION_UNSUPPORTED;
}

/* Why the `n` bytes at `p` are no method in front of a space. */
static enum h1_error explain_method(const char *p, size_t n, const char *end)
{
    size_t i = 0;
    while (i < n && http_is_tchar((unsigned char)p[i]))
        i++;
    if (i < n && (p[i] == '\r' || p[i] == '\n'))
        return no_line_end(p + i, end, H1_ERR_BAD_REQUEST_LINE);
    return p + i == end ? LINE_PARTIAL : H1_ERR_BAD_METHOD;
}

/* RFC 9112 section 3 */
static enum h1_error read_request_line(struct reader *r)
{
    struct http_head *head = r->head;
    const char *p = r->at, *end = r->end;
    size_t n = 0, most = MIN((size_t)(end - p), METHOD_MAX_BYTES + 1);
    while (n < most && p[n] != ' ')
        n++;
    head->method_text = slice_make(p, n);
    head->method = (uint8_t)http_method_lookup(head->method_text);
    if (n == most || (head->method == HTTP_METHOD_OTHER && !http_is_token(head->method_text)))
        return explain_method(p, n, end);

    const char *target = p + n + 1;
    const char *stop = h1_scan_target(r->low, target, end);
    head->target = slice_make(target, (size_t)(stop - target));
    if (head->target.len > r->limits->max_target_bytes)
        return H1_ERR_TARGET_TOO_LONG;
    if (stop == end)
        return LINE_PARTIAL;
    if (*stop == '\r' || *stop == '\n')
        return no_line_end(stop, end, H1_ERR_BAD_REQUEST_LINE);
    if (*stop != ' ')
        return H1_ERR_BAD_TARGET;
    if (stop == target)
        return H1_ERR_BAD_REQUEST_LINE;

    const char *version = stop + 1;
    enum h1_error e = read_version(version, end, H1_ERR_BAD_VERSION, &head->version_minor);
    if (e != H1_OK && e != H1_ERR_VERSION_UNSUPPORTED)
        return e;
    enum h1_error at_end = line_end(version + VERSION_BYTES, end, H1_ERR_BAD_VERSION);
    if (at_end != H1_OK || e != H1_OK)
        return at_end != H1_OK ? at_end : e;
    r->at = version + VERSION_BYTES + 2;
    return H1_OK;
}

/* RFC 9112 section 4; the reason, and the space before it, may be missing as with many origins. */
static enum h1_error read_status_line(struct reader *r)
{
    struct http_head *head = r->head;
    const char *p = r->at, *end = r->end;
    enum h1_error e = read_version(p, end, H1_ERR_BAD_STATUS_LINE, &head->version_minor);
    if (e != H1_OK)
        return e;
    p += VERSION_BYTES;
    unsigned status = 0;
    for (unsigned i = 0; i < 4; i++, p++) {
        if (p == end)
            return LINE_PARTIAL;
        bool ok = i == 0 ? *p == ' ' : *p >= '0' && *p <= '9';
        if (!ok)
            return no_line_end(p, end, H1_ERR_BAD_STATUS_LINE);
        status = i == 0 ? 0 : status * 10 + (unsigned)(*p - '0');
    }
    if (status < 100)
        return H1_ERR_BAD_STATUS_LINE;
    const char *reason = p < end && *p == ' ' ? p + 1 : p;
    const char *stop = reason == p ? p : h1_scan_control(r->low, reason, end);
    e = line_end(stop, end, H1_ERR_BAD_STATUS_LINE);
    if (e != H1_OK)
        return e;
    head->status = (uint16_t)status;
    head->reason = slice_make(reason, (size_t)(stop - reason));
    r->at = stop + 2;
    return H1_OK;
}

static enum h1_error read_start_line(struct reader *r)
{
    if (r->kind == HEAD_RESPONSE)
        return read_status_line(r);
    if (r->at == r->low && r->end - r->at >= 2 && r->at[0] == '\r' && r->at[1] == '\n')
        r->at += 2;
    return read_request_line(r);
}

/* Lines from p->line on. H1_OK at the blank line, over which r->at then stands. */
static enum h1_error read_lines(struct h1_parser *p, struct reader *r)
{
    enum h1_error e = H1_OK;
    unsigned n = p->fields;
    uint64_t present = 0;
    r->at = r->low + p->line;
    if (!p->started)
        e = read_start_line(r);
    if (e == H1_OK) {
        p->started = true;
        while (!(r->end - r->at >= 2 && r->at[0] == '\r' && r->at[1] == '\n')) {
            if (n == r->limits->max_fields) {
                e = r->at == r->end ? LINE_PARTIAL : H1_ERR_TOO_MANY_FIELDS;
                break;
            }
            struct http_field *f = &r->head->fields[n];
            e = read_field_line(r, f);
            if (e != H1_OK)
                break;
            present |= UINT64_C(1) << f->id;
            n++;
        }
    }
    p->line = (size_t)(r->at - r->low);
    p->fields = n;
    if (e != H1_OK)
        return e;
    r->at += 2;
    r->head->field_count = (uint16_t)n;
    r->head->present = present;
    return H1_OK;
}

/* True when the line at p->line can be judged: it holds a control character, line ends included (a CR
 * counts once the next byte is there), or it is longer than any request line that would be taken.
 * Bytes before `from` are known to hold none. */
static bool line_is_closed(const struct h1_parser *p, const struct reader *r, size_t from)
{
    size_t longest = METHOD_MAX_BYTES + 1 + r->limits->max_target_bytes + 1 + VERSION_BYTES;
    if (r->kind == HEAD_REQUEST && !p->started && (size_t)(r->end - r->low) - p->line > longest)
        return true;
    const char *stop = h1_scan_control(r->low, r->low + from, r->end);
    return stop < r->end && !(*stop == '\r' && stop + 1 == r->end);
}

static enum h1_status refuse(struct h1_parser *p, enum h1_error e)
{
    p->error = (uint8_t)e;
    return H1_FAIL;
}

/* The bytes end inside a line that cannot be judged yet. */
static enum h1_status pause_or_fail(struct h1_parser *p, const struct reader *r, size_t len)
{
    size_t bytes = (size_t)(r->end - r->low);
    if (len >= r->limits->max_head_bytes) {
        if (r->kind == HEAD_REQUEST && !p->started) {
            struct reader again = *r;
            again.at = r->low + p->line;
            if (read_start_line(&again) == H1_ERR_TARGET_TOO_LONG)
                return refuse(p, H1_ERR_TARGET_TOO_LONG);
        }
        return refuse(p, H1_ERR_HEAD_TOO_LARGE);
    }
    bool ends_in_cr = bytes > p->line && r->end[-1] == '\r';
    p->scanned = bytes - ends_in_cr;
    return H1_MORE;
}

/* RFC 9112 section 3.2: one valid Host, unless the message is HTTP/1.0. */
static enum h1_error check_host(const struct http_head *head)
{
    const struct http_field *host = NULL;
    if (!http_head_has(head, HTTP_FIELD_HOST))
        return head->version_minor == 0 ? H1_OK : H1_ERR_HOST_MISSING;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != HTTP_FIELD_HOST)
            continue;
        if (host != NULL)
            return H1_ERR_HOST_REPEATED;
        host = &head->fields[i];
    }
    return http_host_is_valid(host->value) ? H1_OK : H1_ERR_HOST_INVALID;
}

static enum h1_error check_request(const struct http_head *head)
{
    if (UNLIKELY(head->target.ptr[0] != '/' || head->method == HTTP_CONNECT)) {
        struct h1_target parts;
        enum h1_error e = h1_target_split(head, &parts);
        if (e != H1_OK)
            return e;
    }
    return check_host(head);
}

static void rewind_to_start(struct h1_parser *p, enum head_kind kind)
{
    p->line = p->scanned = 0;
    p->fields = 0;
    p->started = kind == HEAD_FIELDS;
}

static enum h1_status parse_head(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                 const struct h1_limits *limits, enum head_kind kind)
{
    ASSERT(limits->max_fields <= UINT16_MAX);
    if (UNLIKELY(p->error != H1_OK))
        return H1_FAIL;
    struct reader r = {.low = buf,
                       .end = buf + MIN(len, limits->max_head_bytes),
                       .head = head,
                       .limits = limits,
                       .kind = kind};
    if (kind == HEAD_FIELDS)
        p->started = true;
    head->field_count = 0;
    head->present = 0;
    if (p->scanned > p->line && !line_is_closed(p, &r, p->scanned))
        return pause_or_fail(p, &r, len);

    bool resumed = p->line > 0;
    enum h1_error e = read_lines(p, &r);
    if (UNLIKELY(e != H1_OK)) {
        if (e == LINE_PARTIAL || !line_is_closed(p, &r, p->line))
            return pause_or_fail(p, &r, len);
        return refuse(p, e);
    }
    if (UNLIKELY(resumed)) {
        rewind_to_start(p, kind);
        e = read_lines(p, &r);
        if (e != H1_OK) /* each line passed before, so the limits were lowered in between */
            return refuse(p, e == LINE_PARTIAL ? H1_ERR_HEAD_TOO_LARGE : e);
    }
    p->head_bytes = p->scanned = (size_t)(r.at - buf);
    e = kind == HEAD_REQUEST ? check_request(head) : H1_OK;
    return e == H1_OK ? H1_DONE : refuse(p, e);
}

enum h1_status h1_parse_request(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                const struct h1_limits *limits)
{
    return parse_head(p, buf, len, head, limits, HEAD_REQUEST);
}

enum h1_status h1_parse_response(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                                 const struct h1_limits *limits)
{
    return parse_head(p, buf, len, head, limits, HEAD_RESPONSE);
}

enum h1_status h1_parse_fields(struct h1_parser *p, const char *buf, size_t len, struct http_head *head,
                               const struct h1_limits *limits)
{
    return parse_head(p, buf, len, head, limits, HEAD_FIELDS);
}

static const struct {
    const char *text;
    unsigned status;
} errors[H1_ERROR_COUNT] = {[H1_OK] = {"no error", 200},
#define X(id, status, text) [H1_ERR_##id] = {text, status},
                            H1_ERRORS(X)
#undef X
};

/* The preprocessor cannot turn letters small; a test holds this list against the ids. */
static const char *const error_names[H1_ERROR_COUNT] = {
    [H1_OK] = "ok",
    [H1_ERR_BAD_REQUEST_LINE] = "bad_request_line",
    [H1_ERR_BAD_METHOD] = "bad_method",
    [H1_ERR_BAD_TARGET] = "bad_target",
    [H1_ERR_TARGET_FORM] = "target_form",
    [H1_ERR_TARGET_TOO_LONG] = "target_too_long",
    [H1_ERR_BAD_VERSION] = "bad_version",
    [H1_ERR_VERSION_UNSUPPORTED] = "version_unsupported",
    [H1_ERR_BAD_STATUS_LINE] = "bad_status_line",
    [H1_ERR_BAD_LINE_END] = "bad_line_end",
    [H1_ERR_BAD_FIELD_NAME] = "bad_field_name",
    [H1_ERR_SPACE_BEFORE_COLON] = "space_before_colon",
    [H1_ERR_BAD_FIELD_VALUE] = "bad_field_value",
    [H1_ERR_OBS_FOLD] = "obs_fold",
    [H1_ERR_TOO_MANY_FIELDS] = "too_many_fields",
    [H1_ERR_HEAD_TOO_LARGE] = "head_too_large",
    [H1_ERR_HOST_MISSING] = "host_missing",
    [H1_ERR_HOST_REPEATED] = "host_repeated",
    [H1_ERR_HOST_INVALID] = "host_invalid",
    [H1_ERR_LENGTH_INVALID] = "length_invalid",
    [H1_ERR_LENGTH_DIFFERS] = "length_differs",
    [H1_ERR_LENGTH_AND_CODING] = "length_and_coding",
    [H1_ERR_CODING_UNKNOWN] = "coding_unknown",
    [H1_ERR_CODING_NOT_FINAL] = "coding_not_final",
    [H1_ERR_CODING_IN_HTTP_1_0] = "coding_in_http_1_0",
    [H1_ERR_CHUNK_SIZE] = "chunk_size",
    [H1_ERR_CHUNK_EXTENSION] = "chunk_extension",
    [H1_ERR_CHUNK_END] = "chunk_end",
    [H1_ERR_TRAILER_TOO_LARGE] = "trailer_too_large",
    [H1_ERR_PROTOCOL_UNKNOWN] = "protocol_unknown",
};

unsigned h1_error_status(enum h1_error e)
{
    ASSERT((unsigned)e < H1_ERROR_COUNT);
    return errors[e].status;
}

const char *h1_error_text(enum h1_error e)
{
    ASSERT((unsigned)e < H1_ERROR_COUNT);
    return errors[e].text;
}

const char *h1_error_name(enum h1_error e)
{
    ASSERT((unsigned)e < H1_ERROR_COUNT);
    return error_names[e];
}
