/* encoder.c: see encoder.h. Each library in its own few functions, told apart by the coding. Worker's thread.
 *
 * Rejected: keeping used ones for the next response. zlib and zstd could begin anew in the same memory, br
 * could not; the allocator does it for all three, and takes the memory back when there is no more to
 * compress. */
#include "core/encoder.h"

#include <brotli/encode.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "core/panic.h"

#define GZIP_LEVEL       5
#define GZIP_WINDOW_BITS 15
#define GZIP_MEMORY      8
#define GZIP_FORMAT      16 /* added to the window: gzip, not zlib's own frame */
#define BR_QUALITY       4
#define BR_WINDOW_BITS   18
#define ZSTD_LEVEL       3
#define ZSTD_WINDOW_LOG  18

struct encoder {
    enum coding coding;
    bool ended;
    size_t held; /* bytes since the last flush */
    union {
        z_stream gzip;
        BrotliEncoderState *br;
        ZSTD_CCtx *zstd;
    };
};

/* ---- gzip ---- */

static bool gzip_begin(struct encoder *e)
{
    e->gzip = (z_stream){.zalloc = Z_NULL};
    return deflateInit2(&e->gzip, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS + GZIP_FORMAT, GZIP_MEMORY,
                        Z_DEFAULT_STRATEGY) == Z_OK;
}

static bool gzip_put(struct encoder *e, const char *in, size_t n, enum encoder_op op, char *out,
                     size_t *out_bytes)
{
    static const int flush[] = {
        [ENCODER_GO] = Z_NO_FLUSH, [ENCODER_FLUSH] = Z_SYNC_FLUSH, [ENCODER_END] = Z_FINISH};
    z_stream *z = &e->gzip;
    z->next_in = (Bytef *)(uintptr_t)in;
    z->avail_in = (uInt)n;
    z->next_out = (Bytef *)out;
    z->avail_out = ENCODER_OUT_BYTES;
    const int r = deflate(z, flush[op]);
    *out_bytes = ENCODER_OUT_BYTES - z->avail_out;
    return z->avail_in == 0 && z->avail_out > 0 && (op == ENCODER_END ? r == Z_STREAM_END : r == Z_OK);
}

/* ---- br ---- */

static bool br_begin(struct encoder *e)
{
    e->br = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    if (e->br == NULL)
        return false;
    const bool set = BrotliEncoderSetParameter(e->br, BROTLI_PARAM_QUALITY, BR_QUALITY) &&
                     BrotliEncoderSetParameter(e->br, BROTLI_PARAM_LGWIN, BR_WINDOW_BITS);
    ASSERT(set);
    return true;
}

static bool br_put(struct encoder *e, const char *in, size_t n, enum encoder_op op, char *out,
                   size_t *out_bytes)
{
    static const BrotliEncoderOperation operation[] = {[ENCODER_GO] = BROTLI_OPERATION_PROCESS,
                                                       [ENCODER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                       [ENCODER_END] = BROTLI_OPERATION_FINISH};
    const uint8_t *next_in = (const uint8_t *)in;
    uint8_t *next_out = (uint8_t *)out;
    size_t left_in = n, left_out = ENCODER_OUT_BYTES;
    do {
        if (!BrotliEncoderCompressStream(e->br, operation[op], &left_in, &next_in, &left_out, &next_out,
                                         NULL))
            return false;
    } while (left_out > 0 && (left_in > 0 || BrotliEncoderHasMoreOutput(e->br)));
    *out_bytes = ENCODER_OUT_BYTES - left_out;
    return left_in == 0 && left_out > 0 && (op != ENCODER_END || BrotliEncoderIsFinished(e->br));
}

/* ---- zstd ---- */

static bool zstd_begin(struct encoder *e)
{
    e->zstd = ZSTD_createCCtx();
    if (e->zstd == NULL)
        return false;
    const bool set = !ZSTD_isError(ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL)) &&
                     !ZSTD_isError(ZSTD_CCtx_setParameter(e->zstd, ZSTD_c_windowLog, ZSTD_WINDOW_LOG));
    ASSERT(set);
    return true;
}

static bool zstd_put(struct encoder *e, const char *in, size_t n, enum encoder_op op, char *out,
                     size_t *out_bytes)
{
    static const ZSTD_EndDirective directive[] = {
        [ENCODER_GO] = ZSTD_e_continue, [ENCODER_FLUSH] = ZSTD_e_flush, [ENCODER_END] = ZSTD_e_end};
    ZSTD_inBuffer from = {in, n, 0};
    ZSTD_outBuffer to = {out, ENCODER_OUT_BYTES, 0};
    size_t left;
    do {
        left = ZSTD_compressStream2(e->zstd, &to, &from, directive[op]);
        if (ZSTD_isError(left))
            return false;
    } while (to.pos < to.size && (from.pos < from.size || (op != ENCODER_GO && left > 0)));
    *out_bytes = to.pos;
    return from.pos == from.size && to.pos < to.size && (op == ENCODER_GO || left == 0);
}

/* ---- any ---- */

struct encoder *encoder_new(enum coding c)
{
    struct encoder *e = malloc(sizeof *e);
    if (e == NULL)
        return NULL;
    *e = (struct encoder){.coding = c};
    const bool begun = c == CODING_GZIP ? gzip_begin(e) : c == CODING_BR ? br_begin(e) : zstd_begin(e);
    if (begun)
        return e;
    free(e);
    return NULL;
}

void encoder_free(struct encoder **ep)
{
    struct encoder *e = *ep;
    if (e == NULL)
        return;
    *ep = NULL;
    if (e->coding == CODING_GZIP)
        deflateEnd(&e->gzip);
    else if (e->coding == CODING_BR)
        BrotliEncoderDestroyInstance(e->br);
    else
        ZSTD_freeCCtx(e->zstd);
    free(e);
}

size_t encoder_memory(enum coding c)
{
    static const size_t bytes[CODING_COUNT] = {
        [CODING_GZIP] = 288 * KB, [CODING_BR] = 3 * MB / 2, [CODING_ZSTD] = 2 * MB};
    return bytes[c];
}

bool encoder_holds(const struct encoder *e)
{
    return e->held > 0;
}

bool encoder_put(struct encoder *e, const char *in, size_t n, enum encoder_op op, char *out,
                 size_t *out_bytes)
{
    static const size_t flush_after[CODING_COUNT] = {
        [CODING_GZIP] = ENCODER_FLUSH_BYTES, [CODING_BR] = 16 * KB, [CODING_ZSTD] = 32 * KB};
    ASSERT(!e->ended && n <= ENCODER_STEP_BYTES);
    *out_bytes = 0;
    e->held += n;
    if (op == ENCODER_GO && e->held >= flush_after[e->coding])
        op = ENCODER_FLUSH;
    if (op != ENCODER_END && (e->held == 0 || (op == ENCODER_GO && n == 0)))
        return true; /* zlib calls it an error when there is nothing to do */
    if (op != ENCODER_GO)
        e->held = 0;
    e->ended = op == ENCODER_END;
    return e->coding == CODING_GZIP ? gzip_put(e, in, n, op, out, out_bytes)
           : e->coding == CODING_BR ? br_put(e, in, n, op, out, out_bytes)
                                    : zstd_put(e, in, n, op, out, out_bytes);
}
