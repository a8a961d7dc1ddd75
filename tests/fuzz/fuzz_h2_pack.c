/* fuzz_h2_pack.c: any lines, in any order, on two connections whose tables change: nghttp2's decoder reads
 * what was packed, field by field as the lines are.
 *
 * A byte says what comes: which connection, whether its table changes its size, and how many lines; then
 * lines of a length byte each, cut at the first ':'. */
#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"
#include "proxy/h2_lines.h"
#include "proxy/h2_pack.h"

#define CHECK(x) ((x) ? (void)0 : panic_at(__FILE__, __LINE__, __func__, #x))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct peer {
    struct hpack_table table;
    nghttp2_hd_inflater *decoder;
};

/* What fields may hold that reach a client. */
static char name_byte(uint8_t c)
{
    static const char ok[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    return ok[c % 64];
}

static size_t take_line(char *out, const uint8_t **at, const uint8_t *end)
{
    const size_t most = MIN((size_t)(end - *at), (size_t)(*at < end ? **at : 0));
    const uint8_t *p = *at;
    size_t n = 0, name = most > 0 ? p[0] % 16 + 1u : 1;
    for (size_t i = 0; i < name; i++)
        out[n++] = name_byte(i < most ? p[i] : (uint8_t)i);
    out[n++] = ':';
    out[n++] = ' ';
    for (size_t i = name; i < most; i++)
        out[n++] = (char)(p[i] < 0x20 || p[i] == 0x7f ? 'v' : p[i]);
    out[n++] = '\r';
    out[n++] = '\n';
    *at += MAX(most, (size_t)(*at < end));
    return n;
}

static void decode(struct peer *p, const uint8_t *block, size_t bytes, slice_t text)
{
    struct h2_lines lines = h2_lines_of(text);
    slice_t name, value;
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        const ssize_t used = nghttp2_hd_inflate_hd2(p->decoder, &nv, &flags, block, bytes, 1);
        CHECK(used >= 0);
        block += used;
        bytes -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0)
            continue;
        CHECK(h2_lines_next(&lines, &name, &value));
        CHECK(slice_ieq(name, slice_make((const char *)nv.name, nv.namelen)));
        for (size_t i = 0; i < nv.namelen; i++)
            CHECK(nv.name[i] < 'A' || nv.name[i] > 'Z');
        CHECK(slice_eq(value, slice_make((const char *)nv.value, nv.valuelen)));
    }
    CHECK(!h2_lines_next(&lines, &name, &value));
    nghttp2_hd_inflate_end_headers(p->decoder);
}

static void pack(struct h2_pack *k, struct peer *p, bool resize, unsigned to, const char *text, size_t n)
{
    char *copy = malloc(n > 0 ? n : 1);
    uint8_t *block = malloc(3 + h2_pack_room(n));
    size_t m = 0;
    CHECK(copy != NULL && block != NULL);
    memcpy(copy, text, n);
    if (resize) { /* 31 and more, below 4096 */
        block[m++] = 0x3f;
        block[m++] = (uint8_t)(0x80 | (to & 0x7f));
        block[m++] = (uint8_t)(to >> 7 & 0x1f);
        if (block[2] == 0x1f)
            block[2] = 0x1e;
        hpack_table_follow(&p->table, block, m);
    }
    m += h2_pack_lines(k, &p->table, copy, n, (const void *)(uintptr_t)(to & 3u), block + m);
    CHECK(m <= 3 + h2_pack_room(n));
    decode(p, block, m, slice_make(text, n));
    free(copy);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[8 * 300];
    struct h2_pack k = {0};
    struct peer p[2];
    const uint8_t *at = data, *const end = data + size;
    for (int i = 0; i < 2; i++) {
        hpack_table_begin(&p[i].table);
        CHECK(nghttp2_hd_inflate_new(&p[i].decoder) == 0);
    }
    while (at < end) {
        const uint8_t what = *at++;
        const unsigned to = what >> 2 & 1 && at < end ? (unsigned)*at++ << 4 : 0;
        size_t n = 0;
        for (unsigned i = 0; i < (what >> 3 & 7u); i++)
            n += take_line(text + n, &at, end);
        for (unsigned i = 0; i <= (what >> 1 & 1u); i++)
            pack(&k, &p[what & 1], (what >> 2 & 1) != 0 && i == 0, to, text, n);
    }
    nghttp2_hd_inflate_del(p[0].decoder);
    nghttp2_hd_inflate_del(p[1].decoder);
    h2_pack_free(&k);
    return 0;
}
