/* record_pack.c: see record_pack.h. The contexts of zstd are made when they are first used: many nodes only
 * ever read what others have packed, or nothing. A frame is unpacked in one call into room for the part and
 * not a byte more, so neither the size nor the window that it claims asks for memory. */
#include "cache/record_pack.h"

#include <stdlib.h>
#include <zstd.h>

#include "cache/record_text.h"
#include "core/panic.h"

#define PACK_LEVEL     1
#define PACK_WORTH(n)  ((n) - (n) / 8)
#define PACK_ROOM_MOST PACK_WORTH(CACHE_RECORD_CHUNK)
#define PACKER_MAGIC   0x7061636bu

struct cache_packer {
    uint32_t magic;
    ZSTD_CCtx *out;
    ZSTD_DCtx *in;
    char plain[CACHE_RECORD_CHUNK], packed[PACK_ROOM_MOST];
};

struct cache_packer *cache_packer_open(void)
{
    struct cache_packer *p = calloc(1, sizeof *p);
    if (p != NULL)
        p->magic = PACKER_MAGIC;
    return p;
}

void cache_packer_close(struct cache_packer **pp)
{
    struct cache_packer *p = *pp;
    *pp = NULL;
    if (p == NULL)
        return;
    CHECK_MAGIC(p, PACKER_MAGIC);
    ZSTD_freeCCtx(p->out);
    ZSTD_freeDCtx(p->in);
    p->magic = 0;
    free(p);
}

/* ---- what is worth it ---- */

/* Without parameters. */
static bool is_text(slice_t type)
{
    static const char *const whole[] = {"application/json", "application/javascript", "application/xml",
                                        "application/x-javascript"};
    const size_t end = slice_find(type, ';', 0);
    type = slice_trim(end == SIZE_MAX ? type : slice_make(type.ptr, end));
    if (type.len > 5 && slice_ieq(slice_make(type.ptr, 5), SLICE_LIT("text/")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        if (slice_ieq(type, slice_str(whole[i])))
            return true;
    }
    return (type.len > 5 && slice_ieq(slice_make(type.ptr + type.len - 5, 5), SLICE_LIT("+json"))) ||
           (type.len > 4 && slice_ieq(slice_make(type.ptr + type.len - 4, 4), SLICE_LIT("+xml")));
}

bool cache_pack_wants(slice_t head, uint64_t body_bytes)
{
    return body_bytes >= CACHE_PACK_LEAST &&
           cache_record_head_field(head, HTTP_FIELD_CONTENT_ENCODING).len == 0 &&
           is_text(cache_record_head_field(head, HTTP_FIELD_CONTENT_TYPE));
}

/* ---- to and fro ---- */

slice_t cache_packer_pack(struct cache_packer *p, const struct cache_record *r, int64_t part)
{
    CHECK_MAGIC(p, PACKER_MAGIC);
    const size_t bytes = cache_record_copy_part(r, part, p->plain);
    if (bytes == 0 || (p->out == NULL && (p->out = ZSTD_createCCtx()) == NULL))
        return SLICE_EMPTY;
    const size_t n = ZSTD_compressCCtx(p->out, p->packed, PACK_WORTH(bytes), p->plain, bytes, PACK_LEVEL);
    return ZSTD_isError(n) ? SLICE_EMPTY : slice_make(p->packed, n); /* an error: there is no room for it */
}

bool cache_packer_unpack(struct cache_packer *p, slice_t packed, char *out, size_t bytes)
{
    CHECK_MAGIC(p, PACKER_MAGIC);
    if (p->in == NULL && (p->in = ZSTD_createDCtx()) == NULL)
        return false;
    return ZSTD_decompressDCtx(p->in, out, bytes, packed.ptr, packed.len) == bytes; /* errors are huge */
}
