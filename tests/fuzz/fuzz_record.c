/* fuzz_record.c: a record that decodes is what this program would have written: encoded again it gives the
 * same bytes, a flight can be filled with it, and a packed body comes out as long as announced or not at all.
 * Checksum and length are put right first, or nothing would get past them; the first byte says whether they
 * are, and whether it is a chunk. */
#include <stdlib.h>

#include "cache/record_object.h"
#include "cache/record_pack.h"
#include "core/panic.h"

#define PREAMBLE 12
#define CHECKSUM 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reseal(char *at, size_t n)
{
    for (unsigned i = 0; i < 4; i++)
        at[PREAMBLE - 4 + i] = (char)(n >> 8 * i & 0xff);
    const uint64_t sum = hash_bytes_unseeded(at, n - CHECKSUM).lo;
    for (unsigned i = 0; i < CHECKSUM; i++)
        at[n - CHECKSUM + i] = (char)(sum >> 8 * i & 0xff);
}

static size_t number16(const char *at)
{
    return (size_t)(unsigned char)at[0] | (size_t)(unsigned char)at[1] << 8;
}

/* What the record says its key is: the caller knows it from the request. */
static slice_t key_of(slice_t s)
{
    const size_t at = s.len > 5 && s.ptr[5] == CACHE_RECORD_MARKER ? PREAMBLE : 104;
    const size_t text = at == PREAMBLE ? PREAMBLE + 4 : 120;
    if (s.len < text + CHECKSUM)
        return SLICE_EMPTY;
    return slice_make(s.ptr + text, MIN(number16(s.ptr + at), s.len - text));
}

/* Into room of its exact size. */
static void unpack(slice_t packed, size_t bytes)
{
    static struct cache_packer *packer;
    if (packer == NULL)
        packer = cache_packer_open();
    char *to = malloc(bytes);
    ASSERT(packer != NULL && to != NULL);
    cache_packer_unpack(packer, packed, to, bytes);
    free(to);
}

static void check(slice_t s, struct cache_record *r)
{
    const size_t whole = r->kind == CACHE_RECORD_OBJECT ? cache_record_part_bytes(r, CACHE_RECORD_HEAD) : 0;
    if (r->body.len < whole) {
        unpack(r->body, whole);
        r->part = r->body;
    }
    ASSERT(cache_record_bytes(r) == s.len);
    char *again = malloc(s.len);
    ASSERT(again != NULL);
    cache_record_encode(r, again);
    ASSERT(memcmp(again, s.ptr, s.len) == 0);
    free(again);
    if (r->kind != CACHE_RECORD_OBJECT)
        return;
    static const struct http_head request;
    struct cache_record_fill f;
    cache_record_to_fill(r, 1, &request, 1000, r->written_ms + 1000, -1, &f);
    ASSERT(f.fill.etag.len <= r->head.len && f.fill.last_modified.len <= r->head.len);
    ASSERT(f.fill.status_line_bytes <= r->head.len);
    ASSERT(cache_freshness_age_ms(&f.fill.fresh, r->written_ms + 1000) >=
           r->fresh.corrected_initial_ms + 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cache_record r;
    slice_t body;
    if (size < 2)
        return 0;
    const uint8_t how = data[0];
    const size_t n = size - 1;
    char *copy = malloc(n); /* of its exact size */
    ASSERT(copy != NULL);
    memcpy(copy, data + 1, n);
    if ((how & 1) == 0 && n >= PREAMBLE + CHECKSUM)
        reseal(copy, n);
    const slice_t s = slice_make(copy, n);
    if (how & 2) {
        const struct cache_record of = {
            .write_id = 1, .body_bytes = CACHE_RECORD_CHUNK + (how & 4 ? 500 : 5), .packed = how & 4};
        const size_t whole = cache_record_part_bytes(&of, 1);
        if (cache_record_decode_chunk(s, &of, 1, &body) == CACHE_RECORD_NONE) {
            ASSERT(body.len <= whole && body.ptr > s.ptr && body.ptr + body.len < s.ptr + s.len);
            if (body.len < whole)
                unpack(body, whole);
        }
    } else if (cache_record_decode(s, key_of(s), &r) == CACHE_RECORD_NONE) {
        check(s, &r);
    }
    free(copy);
    return 0;
}
