/* fuzz_coding.c: Accept-Encoding from any bytes, and bodies of any bytes through each coding in pieces. The
 * first byte is the offer, the second the size of the pieces; a newline ends the field value.
 *
 * Beside memory errors it looks for broken promises: only what is on offer is chosen, and nothing the client
 * did not mention; what goes in comes out again. */
#include <stdlib.h>

#include "core/encoder.h"
#include "core/panic.h"
#include "tests/support/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_choice(slice_t value, uint8_t seed)
{
    struct http_field f = {
        .name = SLICE_LIT("Accept-Encoding"), .value = value, .id = HTTP_FIELD_ACCEPT_ENCODING};
    const struct http_head head = {.fields = &f, .field_count = 1, .present = HTTP_BIT(ACCEPT_ENCODING)};
    struct coding_list offer = {.count = 0};
    bool offered[CODING_COUNT] = {true};
    for (unsigned i = 0; i < CODING_COUNT - 1; i++) {
        const uint8_t c = (uint8_t)(CODING_GZIP + (seed + i) % (CODING_COUNT - 1));
        if (((seed >> (2 + i)) & 1) == 0)
            continue;
        offered[c] = true;
        offer.items[offer.count++] = c;
    }
    const enum coding c = coding_choose(&head, &offer);
    ASSERT(c < CODING_COUNT && offered[c]);
    ASSERT(c == CODING_IDENTITY || memchr(value.ptr, '*', value.len) != NULL ||
           value.len >= coding_name(c).len);
    coding_helps(value);
}

static void check_body(enum coding c, const char *body, size_t size, size_t piece)
{
    static char out[ENCODER_OUT_BYTES];
    struct encoder *e = encoder_new(c);
    char *coded = malloc(2 * size + 64 * (size / piece + 2));
    size_t n = 0, bytes;
    if (e == NULL || coded == NULL)
        goto out;
    for (size_t at = 0; at < size; at += piece) {
        const enum encoder_op op = (at / piece) % 5 == 4 ? ENCODER_FLUSH : ENCODER_GO;
        ASSERT(encoder_put(e, body + at, MIN(piece, size - at), op, out, &bytes));
        memcpy(coded + n, out, bytes);
        n += bytes;
    }
    ASSERT(encoder_put(e, NULL, 0, ENCODER_END, out, &bytes));
    memcpy(coded + n, out, bytes);
    n += bytes;
    struct decoded d = decode(c, coded, n, size);
    ASSERT(d.sound && d.ended && d.bytes == size && memcmp(d.text, body, size) == 0);
    free(d.text);
out:
    free(coded);
    encoder_free(&e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 64 * KB)
        return 0;
    const slice_t rest = slice_make((const char *)data + 2, size - 2);
    const size_t line = MIN(slice_find(rest, '\n', 0), rest.len);
    check_choice(slice_make(rest.ptr, line), data[0]);
    check_body((enum coding)(CODING_GZIP + data[0] % (CODING_COUNT - 1)), rest.ptr, rest.len,
               1u + data[1] * 8u);
    return 0;
}
