/* fuzz_h1_chunked.c: chunked bodies. Whole, cut and byte by byte give the same body, verdict and place
 * of the end; the body is as long as a second, naive reading of the size lines says; and what was
 * decoded, encoded again, decodes to itself. */
#include "core/h1_parse.h"
#include "core/panic.h"

#include <stdlib.h>

#define CHECK(x) ((x) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #x))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct decoded {
    enum h1_chunk end;
    enum h1_error error;
    size_t used, body_bytes;
    char *body;
};

static bool feed(struct h1_chunked *c, const char *text, size_t len, struct decoded *d)
{
    size_t at = 0;
    char *block = malloc(len > 0 ? len : 1);
    CHECK(block != NULL);
    memcpy(block, text, len);
    do {
        size_t consumed = SIZE_MAX;
        slice_t piece;
        d->end = h1_chunked_next(c, block + at, len - at, &consumed, &piece);
        CHECK(consumed <= len - at);
        if (d->end == H1_CHUNK_DATA) {
            CHECK(piece.len > 0 && piece.ptr >= block + at && piece.ptr + piece.len == block + at + consumed);
            memcpy(d->body + d->body_bytes, piece.ptr, piece.len);
            d->body_bytes += piece.len;
        }
        at += consumed;
    } while (d->end == H1_CHUNK_DATA);
    CHECK(d->end != H1_CHUNK_MORE || at == len);
    CHECK((d->end == H1_CHUNK_FAIL) == (c->error != H1_OK));
    d->error = c->error;
    d->used += at;
    free(block);
    return d->end == H1_CHUNK_MORE;
}

static struct decoded decode(const char *text, size_t len, size_t cut, size_t step)
{
    struct h1_chunked c = {0};
    struct decoded d = {.end = H1_CHUNK_MORE, .body = malloc(len + 1)};
    CHECK(d.body != NULL);
    if (!feed(&c, text, cut, &d))
        return d;
    for (size_t at = cut; at < len; at += step) {
        if (!feed(&c, text + at, MIN(step, len - at), &d))
            break;
    }
    return d;
}

static void same(const struct decoded *a, struct decoded b)
{
    CHECK(a->end == b.end && a->error == b.error && a->used == b.used && a->body_bytes == b.body_bytes);
    CHECK(memcmp(a->body, b.body, b.body_bytes) == 0);
    free(b.body);
}

/* The sum of the sizes, read the simple way; for bodies that ended well. */
static uint64_t naive_length(const char *text, size_t len)
{
    uint64_t sum = 0;
    for (size_t at = 0; at < len;) {
        uint64_t size = strtoull(text + at, NULL, 16);
        const char *lf = memchr(text + at, '\n', len - at);
        CHECK(lf != NULL && lf[-1] == '\r');
        if (size == 0)
            return sum;
        sum += size;
        at = (size_t)(lf + 1 - text) + size + 2;
    }
    CHECK(!"no last chunk");
    return 0;
}

static void encode_again(const struct decoded *d)
{
    char *text = malloc(d->body_bytes * 2 + 64);
    size_t len = 0;
    CHECK(text != NULL);
    for (size_t at = 0, n; at < d->body_bytes; at += n) {
        n = MIN(d->body_bytes - at, 37 + at);
        len += h1_chunk_head(text + len, n);
        memcpy(text + len, d->body + at, n);
        memcpy(text + len + n, "\r\n", 2);
        len += n + 2;
    }
    len += h1_chunk_head(text + len, 0);
    struct decoded again = decode(text, len, len, 1);
    CHECK(again.end == H1_CHUNK_TRAILERS && again.used == len && again.body_bytes == d->body_bytes);
    CHECK(memcmp(again.body, d->body, d->body_bytes) == 0);
    free(again.body);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* strtoull wants an end */
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    struct decoded whole = decode(text, size, size, 1);
    same(&whole, decode(text, size, size > 0 ? (data[size - 1] + size / 2) % (size + 1) : 0, size + 1));
    same(&whole, decode(text, size, 0, 1));
    same(&whole, decode(text, size, 0, 7));
    if (whole.end == H1_CHUNK_TRAILERS)
        CHECK(naive_length(text, whole.used) == whole.body_bytes);
    encode_again(&whole);
    free(whole.body);
    free(text);
    return 0;
}
