/* record.c: see record.h. Pure; any thread.
 *
 * An object is fixed fields in the order of put_object, then key, Vary names, head, tags and inline body.
 * What can be derived is not kept twice: ETag and Last-Modified are found in the head again. Order of
 * judgement: magic, version, length and checksum, form, key; so that a count of "damaged" means damage, and
 * nothing is looked at before it is known to be undamaged. The form of texts is judged in record_text.c.
 *
 * Rejected: JSON or MessagePack (a parser more, and no canonical form), and one value for a whole body (a
 * command that moves 64 MB keeps a Redis busy for tens of milliseconds). */
#include "cache/record.h"

#include "cache/herd.h"
#include "cache/object.h"
#include "cache/record_text.h"
#include "core/panic.h"

#define PREAMBLE_BYTES 12
#define CHECKSUM_BYTES 8
#define OBJECT_BYTES   (8 + 10 * 8 + 4 + 2 * 8)
#define MARKER_BYTES   4
#define PIECE_BYTES    12
#define MS_MAX         (((uint64_t)1 << 42) - 1) /* what an object keeps of a time */

enum { FLAG_REVALIDATE_ALWAYS = 1, FLAG_NEVER_STALE = 2, FLAG_PACKED = 4, FLAGS_ALL = 7 };

static const char magic[4] = {'M', 'l', 'p', 'R'};

const char *cache_record_fault_name(enum cache_record_fault f)
{
#define X(id, name, text) name,
    static const char *const names[] = {CACHE_RECORD_FAULTS(X)};
#undef X
    ASSERT((unsigned)f < CACHE_RECORD_FAULT_COUNT);
    return names[f];
}

/* ---- bytes ---- */

static void put_number(char **at, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *(*at)++ = (char)(v >> 8 * i & 0xff);
}

static void put_bytes(char **at, slice_t s)
{
    if (s.len > 0)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
}

static uint64_t take_number(slice_t *rest, unsigned bytes)
{
    uint64_t v = 0;
    ASSERT(rest->len >= bytes);
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)(unsigned char)rest->ptr[i] << 8 * i;
    *rest = slice_make(rest->ptr + bytes, rest->len - bytes);
    return v;
}

/* `ok` goes when there is not as much. */
static slice_t take_bytes(slice_t *rest, size_t bytes, bool *ok)
{
    if (bytes > rest->len) {
        *ok = false;
        return SLICE_EMPTY;
    }
    slice_t s = slice_make(rest->ptr, bytes);
    *rest = slice_make(rest->ptr + bytes, rest->len - bytes);
    return s;
}

static char *put_preamble(char *buf, enum cache_record_kind kind, size_t bytes)
{
    char *at = buf;
    put_bytes(&at, slice_make(magic, sizeof magic));
    put_number(&at, CACHE_RECORD_FORMAT, 1);
    put_number(&at, kind, 1);
    put_number(&at, 0, 2);
    put_number(&at, bytes, 4);
    return at;
}

static void put_checksum(char *buf, char *at)
{
    put_number(&at, hash_bytes_unseeded(buf, (size_t)(at - buf)).lo, CHECKSUM_BYTES);
}

/* What lies between preamble and checksum. */
static enum cache_record_fault take_payload(slice_t bytes, unsigned *kind, slice_t *payload)
{
    if (!slice_starts(bytes, slice_make(magic, sizeof magic)))
        return CACHE_RECORD_FOREIGN;
    if (bytes.len > sizeof magic && bytes.ptr[sizeof magic] != CACHE_RECORD_FORMAT)
        return CACHE_RECORD_VERSION;
    if (bytes.len < PREAMBLE_BYTES + CHECKSUM_BYTES)
        return CACHE_RECORD_DAMAGED;
    slice_t rest = slice_make(bytes.ptr + sizeof magic + 1, bytes.len - sizeof magic - 1);
    *kind = (unsigned)take_number(&rest, 1);
    uint64_t zero = take_number(&rest, 2), length = take_number(&rest, 4);
    *payload = slice_make(rest.ptr, rest.len - CHECKSUM_BYTES);
    rest = slice_make(rest.ptr + payload->len, CHECKSUM_BYTES);
    if (length != bytes.len ||
        take_number(&rest, CHECKSUM_BYTES) != hash_bytes_unseeded(bytes.ptr, bytes.len - CHECKSUM_BYTES).lo)
        return CACHE_RECORD_DAMAGED;
    return zero == 0 ? CACHE_RECORD_NONE : CACHE_RECORD_MALFORMED;
}

/* ---- names ---- */

slice_t cache_record_name(char *buf, slice_t prefix, slice_t key, int64_t part)
{
    static const char digits[] = "0123456789abcdef";
    ASSERT(part >= CACHE_RECORD_HEAD && part <= UINT32_MAX);
    ASSERT(slice_find(prefix, '{', 0) == SIZE_MAX && slice_find(prefix, '}', 0) == SIZE_MAX);
    const hash128_t h = hash_bytes_unseeded(key.ptr, key.len);
    char *at = buf;
    put_bytes(&at, prefix);
    *at++ = '{';
    for (unsigned i = 0; i < 32; i++)
        *at++ = digits[(i < 16 ? h.hi : h.lo) >> (60 - i % 16 * 4) & 0xf];
    put_bytes(&at, SLICE_LIT("}:"));
    if (part == CACHE_RECORD_HEAD)
        put_bytes(&at, SLICE_LIT("head"));
    else
        at += slice_put_u64(at, (uint64_t)part);
    return slice_make(buf, (size_t)(at - buf));
}

/* ---- writing ---- */

size_t cache_record_part_bytes(const struct cache_record *r, int64_t part)
{
    if (part == CACHE_RECORD_HEAD)
        return r->body_bytes <= CACHE_RECORD_CHUNK ? (size_t)r->body_bytes : 0;
    ASSERT(part >= 0 && part < cache_record_chunks(r));
    return (size_t)MIN(r->body_bytes - (uint64_t)part * CACHE_RECORD_CHUNK, CACHE_RECORD_CHUNK);
}

/* What a part takes when it is written. */
static size_t written_bytes(const struct cache_record *r, int64_t part)
{
    const size_t whole = cache_record_part_bytes(r, part);
    ASSERT(r->part.len == 0 || (r->packed && r->part.len < whole));
    return r->part.len > 0 ? r->part.len : whole;
}

size_t cache_record_bytes(const struct cache_record *r)
{
    size_t fixed = PREAMBLE_BYTES + CHECKSUM_BYTES + r->key.len + r->vary_names.len;
    if (r->kind == CACHE_RECORD_MARKER)
        return fixed + MARKER_BYTES;
    return fixed + OBJECT_BYTES + r->head.len + r->tags.text.len + written_bytes(r, CACHE_RECORD_HEAD);
}

/* Body bytes from `offset` on. */
static void put_body(char **at, const struct cache_record *r, uint64_t offset, size_t bytes)
{
    if (r->object == NULL) {
        ASSERT(offset + bytes <= r->body.len);
        put_bytes(at, slice_make(r->body.ptr + offset, bytes));
        return;
    }
    while (bytes > 0) {
        struct iovec iov;
        ASSERT(cache_object_iov(r->object, offset, &iov, 1) == 1);
        size_t n = MIN(bytes, iov.iov_len);
        put_bytes(at, slice_make(iov.iov_base, n));
        offset += n;
        bytes -= n;
    }
}

static void put_part(char **at, const struct cache_record *r, int64_t part)
{
    if (r->part.len > 0)
        put_bytes(at, r->part);
    else
        put_body(at, r, (uint64_t)MAX(part, 0) * CACHE_RECORD_CHUNK, cache_record_part_bytes(r, part));
}

size_t cache_record_copy_part(const struct cache_record *r, int64_t part, char *buf)
{
    char *at = buf;
    put_body(&at, r, (uint64_t)MAX(part, 0) * CACHE_RECORD_CHUNK, cache_record_part_bytes(r, part));
    return (size_t)(at - buf);
}

static void put_object(char **at, const struct cache_record *r)
{
    const struct cache_freshness *f = &r->fresh;
    put_number(at, r->status, 2);
    put_number(at, r->status_line_bytes, 2);
    put_number(at, f->source, 1);
    put_number(at,
               (f->revalidate_always ? FLAG_REVALIDATE_ALWAYS : 0) | (f->never_stale ? FLAG_NEVER_STALE : 0) |
                   (r->packed ? FLAG_PACKED : 0),
               1);
    put_number(at, f->keep_code, 1);
    put_number(at, r->early_code, 1);
    put_number(at, (uint64_t)f->response_ms, 8);
    put_number(at, (uint64_t)f->corrected_initial_ms, 8);
    put_number(at, (uint64_t)f->lifetime_ms, 8);
    put_number(at, (uint64_t)r->written_ms, 8);
    put_number(at, (uint64_t)r->expire_ms, 8);
    put_number(at, r->stamp.epoch, 8);
    put_number(at, r->stamp.id.ms, 8);
    put_number(at, r->stamp.id.seq, 8);
    put_number(at, r->write_id, 8);
    put_number(at, r->body_bytes, 8);
    put_number(at, (uint64_t)r->last_modified_s, 4);
    put_number(at, r->key.len, 2);
    put_number(at, r->primary_bytes, 2);
    put_number(at, r->vary_names.len, 2);
    put_number(at, r->head.len, 2);
    put_number(at, r->tags.text.len, 2);
    for (unsigned i = 0; i < CACHE_TAG_FIELDS; i++)
        put_number(at, r->tags.bytes[i], 2);
}

void cache_record_encode(const struct cache_record *r, char *buf)
{
    const size_t bytes = cache_record_bytes(r);
    char *at = put_preamble(buf, r->kind, bytes);
    if (r->kind == CACHE_RECORD_OBJECT) {
        put_object(&at, r);
    } else {
        put_number(&at, r->key.len, 2);
        put_number(&at, r->vary_names.len, 2);
    }
    put_bytes(&at, r->key);
    put_bytes(&at, r->vary_names);
    if (r->kind == CACHE_RECORD_OBJECT) {
        put_bytes(&at, r->head);
        put_bytes(&at, r->tags.text);
        put_part(&at, r, CACHE_RECORD_HEAD);
    }
    ASSERT((size_t)(at - buf) + CHECKSUM_BYTES == bytes);
    put_checksum(buf, at);
}

uint32_t cache_record_chunks(const struct cache_record *r)
{
    if (r->body_bytes <= CACHE_RECORD_CHUNK)
        return 0;
    return (uint32_t)((r->body_bytes + CACHE_RECORD_CHUNK - 1) / CACHE_RECORD_CHUNK);
}

size_t cache_record_chunk_bytes(const struct cache_record *r, uint32_t chunk)
{
    return PREAMBLE_BYTES + PIECE_BYTES + written_bytes(r, chunk) + CHECKSUM_BYTES;
}

void cache_record_encode_chunk(const struct cache_record *r, uint32_t chunk, char *buf)
{
    char *at = put_preamble(buf, CACHE_RECORD_PIECE, cache_record_chunk_bytes(r, chunk));
    put_number(&at, r->write_id, 8);
    put_number(&at, chunk, 4);
    put_part(&at, r, chunk);
    put_checksum(buf, at);
}

/* ---- reading ---- */

/* The numbers are such as put_object writes. */
static bool object_numbers_are_ok(const struct cache_record *r)
{
    const struct cache_freshness *f = &r->fresh;
    return f->source < FRESHNESS_SOURCE_COUNT && f->keep_code <= CACHE_KEEP_CODE_MAX &&
           r->early_code <= CACHE_EARLY_CODE_MAX && (uint64_t)f->response_ms <= MS_MAX &&
           (uint64_t)f->corrected_initial_ms <= MS_MAX && (uint64_t)f->lifetime_ms <= MS_MAX &&
           (uint64_t)r->written_ms <= MS_MAX && r->expire_ms > 0 &&
           r->expire_ms <= CACHE_RECORD_EXPIRE_MAX_MS && r->stamp.epoch != 0 &&
           r->body_bytes <= CACHE_RECORD_BODY_MAX;
}

/* As many bytes may lie there for the part. A body that is inline and not packed is not called so. */
static bool part_fits(const struct cache_record *r, int64_t part, size_t got)
{
    const size_t whole = cache_record_part_bytes(r, part);
    const bool head = part == CACHE_RECORD_HEAD;
    if (!r->packed || (head && r->body_bytes > CACHE_RECORD_CHUNK))
        return got == whole;
    return got > 0 && (head ? got < whole : got <= whole);
}

static bool take_object(slice_t rest, struct cache_record *r)
{
    struct cache_freshness *f = &r->fresh;
    if (rest.len < OBJECT_BYTES)
        return false;
    r->status = (uint16_t)take_number(&rest, 2);
    r->status_line_bytes = (uint16_t)take_number(&rest, 2);
    f->source = (uint8_t)take_number(&rest, 1);
    const unsigned flags = (unsigned)take_number(&rest, 1);
    f->revalidate_always = (flags & FLAG_REVALIDATE_ALWAYS) != 0;
    f->never_stale = (flags & FLAG_NEVER_STALE) != 0;
    f->keep_code = (uint8_t)take_number(&rest, 1);
    r->early_code = (uint8_t)take_number(&rest, 1);
    f->response_ms = (wall_ms_t)take_number(&rest, 8);
    f->corrected_initial_ms = (dur_ms_t)take_number(&rest, 8);
    f->lifetime_ms = (dur_ms_t)take_number(&rest, 8);
    r->written_ms = (wall_ms_t)take_number(&rest, 8);
    r->expire_ms = (dur_ms_t)take_number(&rest, 8);
    r->stamp.epoch = take_number(&rest, 8);
    r->stamp.id.ms = take_number(&rest, 8);
    r->stamp.id.seq = take_number(&rest, 8);
    r->write_id = take_number(&rest, 8);
    r->body_bytes = take_number(&rest, 8);
    r->last_modified_s = (wall_s_t)take_number(&rest, 4);
    const size_t key = take_number(&rest, 2);
    r->primary_bytes = take_number(&rest, 2);
    const size_t names = take_number(&rest, 2), head = take_number(&rest, 2), tags = take_number(&rest, 2);
    for (unsigned i = 0; i < CACHE_TAG_FIELDS; i++)
        r->tags.bytes[i] = (uint16_t)take_number(&rest, 2);
    r->packed = (flags & FLAG_PACKED) != 0;
    bool ok = flags <= FLAGS_ALL;
    r->key = take_bytes(&rest, key, &ok);
    r->vary_names = take_bytes(&rest, names, &ok);
    r->head = take_bytes(&rest, head, &ok);
    r->tags.text = take_bytes(&rest, tags, &ok);
    r->body = rest;
    return ok && object_numbers_are_ok(r) && part_fits(r, CACHE_RECORD_HEAD, rest.len) &&
           (r->primary_bytes == r->key.len) == (r->vary_names.len == 0) &&
           cache_record_key_is_ok(r->key, r->primary_bytes, r->vary_names) &&
           cache_record_head_is_ok(r->head, r->status, r->status_line_bytes) &&
           cache_record_tags_are_ok(&r->tags);
}

static bool take_marker(slice_t rest, struct cache_record *r)
{
    if (rest.len < MARKER_BYTES)
        return false;
    const size_t key = take_number(&rest, 2), names = take_number(&rest, 2);
    bool ok = true;
    r->key = take_bytes(&rest, key, &ok);
    r->vary_names = take_bytes(&rest, names, &ok);
    r->primary_bytes = r->key.len;
    return ok && rest.len == 0 && names > 0 &&
           cache_record_key_is_ok(r->key, r->primary_bytes, r->vary_names);
}

enum cache_record_fault cache_record_decode(slice_t bytes, slice_t key, struct cache_record *out)
{
    unsigned kind;
    slice_t payload;
    struct cache_record r = {.kind = CACHE_RECORD_OBJECT};
    enum cache_record_fault fault = take_payload(bytes, &kind, &payload);
    if (fault != CACHE_RECORD_NONE)
        return fault;
    r.kind = (enum cache_record_kind)kind;
    if (!(kind == CACHE_RECORD_OBJECT ? take_object(payload, &r)
                                      : kind == CACHE_RECORD_MARKER && take_marker(payload, &r)))
        return CACHE_RECORD_MALFORMED;
    if (!slice_eq(r.key, key))
        return CACHE_RECORD_WRONG_KEY;
    *out = r;
    return CACHE_RECORD_NONE;
}

enum cache_record_fault cache_record_decode_chunk(slice_t bytes, const struct cache_record *r, uint32_t chunk,
                                                  slice_t *body)
{
    unsigned kind;
    slice_t payload;
    enum cache_record_fault fault = take_payload(bytes, &kind, &payload);
    if (fault != CACHE_RECORD_NONE)
        return fault;
    if (kind != CACHE_RECORD_PIECE || payload.len < PIECE_BYTES)
        return CACHE_RECORD_MALFORMED;
    const uint64_t write_id = take_number(&payload, 8);
    const uint32_t index = (uint32_t)take_number(&payload, 4);
    if (write_id != r->write_id || index != chunk)
        return CACHE_RECORD_TORN;
    if (!part_fits(r, chunk, payload.len))
        return CACHE_RECORD_MALFORMED;
    *body = payload;
    return CACHE_RECORD_NONE;
}
