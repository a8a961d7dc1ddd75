/* fuzz_h1_request.c: request heads, what they say about target and framing, and trailer sections.
 *
 * Input: the bytes of a connection. Checked on all of them: SSE2 and portable parser agree; any cut
 * gives the same verdict as the whole; slices lie inside the head; names, values and hosts have only
 * what they may have; a message with a body has one and only one way to tell its length. */
#include "tests/support/h1_twins.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct h1_limits fuzz_limits[] = {
    {.max_head_bytes = 8192, .max_target_bytes = 4096, .max_fields = TWINS_MAX_FIELDS},
    {.max_head_bytes = 120, .max_target_bytes = 20, .max_fields = 4},
};

static void check_target(const struct http_head *head)
{
    struct h1_target t;
    slice_t all = head->target;
    TWINS_CHECK(head->method_text.len > 0 && head->method_text.len <= 32 && all.len > 0);
    TWINS_CHECK(http_is_token(head->method_text));
    for (size_t i = 0; i < all.len; i++)
        TWINS_CHECK(all.ptr[i] > 0x20 && all.ptr[i] < 0x7f && all.ptr[i] != '#');
    TWINS_CHECK(h1_target_split(head, &t) == H1_OK);
    twins_inside(t.scheme.len > 0 ? t.scheme : all, all.ptr, all.len);
    twins_inside(t.authority.len > 0 ? t.authority : all, all.ptr, all.len);
    twins_inside(t.query.ptr != NULL ? t.query : all, all.ptr, all.len);
    TWINS_CHECK(t.authority.len == 0 || http_host_is_valid(t.authority));
    TWINS_CHECK((head->method == HTTP_CONNECT) == (t.path.len == 0));
    TWINS_CHECK(t.path.len == 0 || t.path.ptr[0] == '/' ||
                (t.path.len == 1 && t.path.ptr[0] == '*' && head->method == HTTP_OPTIONS));
}

static void check_request_head(const struct http_head *head)
{
    struct h1_framing f;
    unsigned hosts = http_head_count(head, HTTP_FIELD_HOST);
    check_target(head);
    TWINS_CHECK(hosts == 1 || (hosts == 0 && head->version_minor == 0));
    if (hosts == 1)
        TWINS_CHECK(http_host_is_valid(http_head_get(head, HTTP_FIELD_HOST)->value));
    if (h1_request_framing(head, &f) != H1_OK)
        return;
    unsigned lengths = http_head_count(head, HTTP_FIELD_CONTENT_LENGTH);
    unsigned codings = http_head_count(head, HTTP_FIELD_TRANSFER_ENCODING);
    TWINS_CHECK(f.kind != H1_BODY_UNTIL_CLOSE && lengths <= 1 && (lengths == 0 || codings == 0));
    TWINS_CHECK((f.kind == H1_BODY_CHUNKED) == (codings > 0) && (f.kind == H1_BODY_LENGTH) == (lengths > 0));
    TWINS_CHECK(f.has_length == (lengths == 1) && f.length <= INT64_MAX);
    TWINS_CHECK(codings == 0 || head->version_minor == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct twins_result whole;
    const char *text = (const char *)data;
    size_t cut = size > 0 ? (data[size - 1] + size / 2) % (size + 1) : 0;
    for (size_t i = 0; i < ARRAY_LEN(fuzz_limits); i++) {
        twins_whole(&twins_request, text, size, &fuzz_limits[i], &whole);
        if (whole.status == H1_DONE)
            check_request_head(&whole.head);
        twins_cut(&twins_request, text, size, cut, &fuzz_limits[i]);
        twins_steps(&twins_request, text, size, size > 256 ? 61 : 1, &fuzz_limits[i]);
        twins_cut(&twins_fields, text, size, cut, &fuzz_limits[i]);
    }
    return 0;
}
