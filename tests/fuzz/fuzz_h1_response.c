/* fuzz_h1_response.c: response heads and the framing they announce, for each kind of request they may
 * answer. The same checks as for requests: twins agree, cuts do not matter, slices lie inside. */
#include "tests/support/h1_twins.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct h1_limits fuzz_limits[] = {
    {.max_head_bytes = 8192, .max_target_bytes = 4096, .max_fields = TWINS_MAX_FIELDS},
    {.max_head_bytes = 120, .max_target_bytes = 20, .max_fields = 4},
};

static void check_framing(const struct http_head *head, enum http_method method)
{
    struct h1_framing f;
    if (h1_response_framing(head, method, &f) != H1_OK)
        return;
    bool has_length = http_head_has(head, HTTP_FIELD_CONTENT_LENGTH);
    bool has_coding = http_head_has(head, HTTP_FIELD_TRANSFER_ENCODING);
    bool bodiless = head->status < 200 || head->status == 204 || head->status == 304 || method == HTTP_HEAD ||
                    (method == HTTP_CONNECT && head->status < 300);
    TWINS_CHECK(!(has_length && has_coding) && f.has_length == has_length);
    TWINS_CHECK(f.length <= INT64_MAX && (has_length || f.length == 0));
    TWINS_CHECK((f.kind == H1_BODY_NONE) == bodiless);
    TWINS_CHECK(f.kind != H1_BODY_UNTIL_CLOSE || (!has_length && !has_coding && !f.keep_alive));
    TWINS_CHECK(f.kind != H1_BODY_CHUNKED || head->version_minor == 1);
    TWINS_CHECK(!f.keep_alive || !http_head_has_token(head, HTTP_FIELD_CONNECTION, SLICE_LIT("close")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct twins_result whole;
    const char *text = (const char *)data;
    size_t cut = size > 0 ? (data[size - 1] + size / 2) % (size + 1) : 0;
    for (size_t i = 0; i < ARRAY_LEN(fuzz_limits); i++) {
        twins_whole(&twins_response, text, size, &fuzz_limits[i], &whole);
        if (whole.status == H1_DONE) {
            TWINS_CHECK(whole.head.status >= 100 && whole.head.status <= 999);
            TWINS_CHECK(http_is_field_value(whole.head.reason));
            twins_inside(whole.head.reason, text, whole.parser.head_bytes);
            check_framing(&whole.head, HTTP_GET);
            check_framing(&whole.head, HTTP_HEAD);
            check_framing(&whole.head, HTTP_CONNECT);
        }
        twins_cut(&twins_response, text, size, cut, &fuzz_limits[i]);
        twins_steps(&twins_response, text, size, size > 256 ? 61 : 1, &fuzz_limits[i]);
    }
    return 0;
}
