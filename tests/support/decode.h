/* decode.h: bodies in gzip, br and zstd back to what they were, by the libraries that made them; for unit
 * tests, fuzz targets and end-to-end tests, any thread. Needs -lbrotlidec. */
#ifndef TESTS_SUPPORT_DECODE_H
#define TESTS_SUPPORT_DECODE_H

#include <brotli/decode.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "core/coding.h"

struct decoded {
    char *text; /* the caller's to free */
    size_t bytes;
    bool sound; /* so far, nothing was wrong with it */
    bool ended; /* and nothing is missing */
};

static inline void decode_gzip(struct decoded *d, size_t room, const char *in, size_t n)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in,
                  .avail_in = (uInt)n,
                  .next_out = (Bytef *)d->text,
                  .avail_out = (uInt)room};
    int r = inflateInit2(&z, 15 + 16);
    r = r == Z_OK ? inflate(&z, Z_SYNC_FLUSH) : r;
    d->bytes = room - z.avail_out;
    d->sound = r == Z_OK || r == Z_STREAM_END || r == Z_BUF_ERROR;
    d->ended = r == Z_STREAM_END && z.avail_in == 0;
    inflateEnd(&z);
}

static inline void decode_br(struct decoded *d, size_t room, const char *in, size_t n)
{
    BrotliDecoderState *s = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    const uint8_t *next_in = (const uint8_t *)in;
    uint8_t *next_out = (uint8_t *)d->text;
    size_t left_in = n, left_out = room;
    BrotliDecoderResult r = BrotliDecoderDecompressStream(s, &left_in, &next_in, &left_out, &next_out, NULL);
    d->bytes = room - left_out;
    d->sound = r != BROTLI_DECODER_RESULT_ERROR;
    d->ended = r == BROTLI_DECODER_RESULT_SUCCESS && left_in == 0;
    BrotliDecoderDestroyInstance(s);
}

static inline void decode_zstd(struct decoded *d, size_t room, const char *in, size_t n)
{
    ZSTD_DCtx *c = ZSTD_createDCtx();
    ZSTD_inBuffer from = {in, n, 0};
    ZSTD_outBuffer to = {d->text, room, 0};
    size_t r = 1;
    while (from.pos < from.size && to.pos < to.size && !ZSTD_isError(r))
        r = ZSTD_decompressStream(c, &to, &from);
    d->bytes = to.pos;
    d->sound = !ZSTD_isError(r);
    d->ended = r == 0 && from.pos == from.size;
    ZSTD_freeDCtx(c);
}

/* At most `most` bytes come of it. */
static inline struct decoded decode(enum coding coding, const char *in, size_t n, size_t most)
{
    struct decoded d = {.text = malloc(most + 1)};
    if (coding == CODING_GZIP)
        decode_gzip(&d, most + 1, in, n);
    else if (coding == CODING_BR)
        decode_br(&d, most + 1, in, n);
    else
        decode_zstd(&d, most + 1, in, n);
    return d;
}

#endif
