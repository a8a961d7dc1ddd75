/* h1_chunked.c: the chunked coding, read in place and written (RFC 9112 section 7.1).
 *
 * The body is handed out as views into the caller's buffer; size lines are consumed byte by byte, which
 * makes any cut of the input equal. Extensions mean nothing to us (section 7.1.1 lets us drop them) but
 * are held to their alphabet, because a size line that two parsers end at different places is a smuggled
 * request. Trailers are not read here: they are field lines (h1_parse_fields). Pure; any thread. */
#include "core/h1_parse.h"

#include "core/h1_scan.h"
#include "core/panic.h"

#define SIZE_MAX_DIGITS     16
#define SIZE_LIMIT          (UINT64_C(1) << 60)
#define EXTENSION_MAX_BYTES 256

enum chunked_state {
    SIZE = 0, /* digits, BWS or the line end */
    BWS,      /* white space that a ';' must follow */
    EXTENSION,
    SIZE_LF, /* CR was read */
    EXTENSION_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LAST, /* the last chunk was read */
    FAILED
};

static enum h1_error digit(struct h1_chunked *c, char byte)
{
    uint64_t v;
    if (++c->line_bytes > SIZE_MAX_DIGITS || !slice_hex_to_u64(slice_make(&byte, 1), &v))
        return H1_ERR_CHUNK_SIZE;
    c->left = c->left << 4 | v;
    return c->left < SIZE_LIMIT ? H1_OK : H1_ERR_CHUNK_SIZE;
}

static enum h1_error size_byte(struct h1_chunked *c, char byte)
{
    bool after_digit = c->line_bytes > 0;
    if (after_digit && byte == '\r') {
        c->state = SIZE_LF;
    } else if (after_digit && (byte == ';' || byte == ' ' || byte == '\t')) {
        c->state = byte == ';' ? EXTENSION : BWS;
        c->line_bytes = 1;
    } else {
        return digit(c, byte);
    }
    return H1_OK;
}

static enum h1_error extension_byte(struct h1_chunked *c, char byte)
{
    if (c->state == EXTENSION && byte == '\r') {
        c->state = EXTENSION_LF;
        return H1_OK;
    }
    if (++c->line_bytes > EXTENSION_MAX_BYTES || h1_is_control((unsigned char)byte))
        return H1_ERR_CHUNK_EXTENSION;
    if (c->state == BWS && byte != ' ' && byte != '\t') {
        c->state = EXTENSION;
        return byte == ';' ? H1_OK : H1_ERR_CHUNK_EXTENSION;
    }
    return H1_OK;
}

static enum h1_error size_line_lf(struct h1_chunked *c, char byte)
{
    if (byte != '\n')
        return c->state == SIZE_LF ? H1_ERR_CHUNK_SIZE : H1_ERR_CHUNK_EXTENSION;
    c->state = c->left > 0 ? DATA : LAST;
    return H1_OK;
}

static enum h1_error data_end(struct h1_chunked *c, char byte)
{
    if (byte != (c->state == DATA_CR ? '\r' : '\n'))
        return H1_ERR_CHUNK_END;
    c->state = c->state == DATA_CR ? DATA_LF : SIZE;
    c->line_bytes = 0;
    return H1_OK;
}

/* One byte of anything but data. */
static enum h1_error framing_byte(struct h1_chunked *c, char byte)
{
    switch ((enum chunked_state)c->state) {
    case SIZE:
        return size_byte(c, byte);
    case BWS:
    case EXTENSION:
        return extension_byte(c, byte);
    case SIZE_LF:
    case EXTENSION_LF:
        return size_line_lf(c, byte);
    case DATA_CR:
    case DATA_LF:
        return data_end(c, byte);
    case DATA:
    case LAST:
    case FAILED:
        break;
    }
    PANIC("not a framing state");
}

enum h1_chunk h1_chunked_next(struct h1_chunked *c, const char *buf, size_t len, size_t *consumed,
                              slice_t *data)
{
    size_t i = 0;
    *data = SLICE_EMPTY;
    while (i < len && c->state < LAST) {
        if (c->state == DATA) {
            size_t n = (size_t)MIN(c->left, (uint64_t)(len - i));
            *data = slice_make(buf + i, n);
            *consumed = i + n;
            c->left -= n;
            if (c->left == 0)
                c->state = DATA_CR;
            return H1_CHUNK_DATA;
        }
        c->error = framing_byte(c, buf[i++]);
        if (c->error != H1_OK)
            c->state = FAILED;
    }
    *consumed = i;
    if (c->state == FAILED)
        return H1_CHUNK_FAIL;
    return c->state == LAST ? H1_CHUNK_TRAILERS : H1_CHUNK_MORE;
}

size_t h1_chunk_head(char *buf, uint64_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = 1;
    while (n < 16 && bytes >> (4 * n) != 0)
        n++;
    for (size_t i = 0; i < n; i++)
        buf[i] = digits[bytes >> (4 * (n - 1 - i)) & 15];
    buf[n] = '\r';
    buf[n + 1] = '\n';
    return n + 2;
}
