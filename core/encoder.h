/* encoder.h: one body on its way through gzip (RFC 1952), br (RFC 7932) or zstd (RFC 8878), piece by piece.
 *
 * What goes in comes out by the next flush at the latest, and an encoder flushes by itself: br after 16 KB,
 * zstd after 32 KB, gzip after 64 KB. So what one call gives has a bound, and so has the time it takes, some
 * hundred microseconds: br and zstd would otherwise collect far more, and then code all of it at once. That
 * costs about a fiftieth of the size. What was not ended is not a whole stream in any of the three formats.
 *
 * Levels are moderate, since each response is compressed once and while somebody waits; windows are of 32 KB
 * for gzip and 256 KB for the others, which any client can hold (RFC 9659 allows zstd 8 MB). */
#ifndef CORE_ENCODER_H
#define CORE_ENCODER_H

#include "core/coding.h"

#define ENCODER_STEP_BYTES  (8 * KB)   /* the most that goes in at once */
#define ENCODER_FLUSH_BYTES (64 * KB)  /* the most that waits in it */
#define ENCODER_OUT_BYTES   (128 * KB) /* room for whatever one call gives */

/* Owned by whoever made it; one thread at a time. */
struct encoder;

enum encoder_op { ENCODER_GO, ENCODER_FLUSH, ENCODER_END };

/* Not CODING_IDENTITY. NULL when out of memory. */
struct encoder *encoder_new(enum coding c);
/* Nulls the pointer, which may be NULL. */
void encoder_free(struct encoder **e);
/* No more than one of this coding takes, for who counts. */
size_t encoder_memory(enum coding c);

/* Codes `n` bytes; what is ready comes to `out`, of ENCODER_OUT_BYTES. false: out of memory; it is of no use
 * any more. After ENCODER_END nothing may follow. */
bool encoder_put(struct encoder *e, const char *in, size_t n, enum encoder_op op, char *out,
                 size_t *out_bytes);
/* Something went in that has not come out. */
bool encoder_holds(const struct encoder *e);

#endif
