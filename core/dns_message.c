/* dns_message.c: see dns_message.h.
 *
 * What is read from a reply: its header, its question, which has to be ours, and of the answer section the
 * aliases (CNAME) that lead from our name on and the addresses at their end. Records of other names are
 * passed over: a server has no say about names that nobody asked for (RFC 5452 section 6). The other sections
 * are not looked at. Each step is bounded by the message: a compressed name only points backwards (RFC 1035
 * section 4.1.4), and aliases are followed DNS_ALIASES times. */
#include "core/dns_message.h"

#include <ctype.h>

#define HEADER_BYTES 12
#define LABEL_BYTES  63
#define CLASS_IN     1
#define TYPE_CNAME   5
#define TYPE_OPT     41

#define FLAG_REPLY     0x8000u
#define FLAG_CUT       0x0200u
#define FLAG_RECURSION 0x0100u
#define OPCODE_MASK    0x7800u
#define RCODE_MASK     0x000fu
enum { RCODE_NONE = 0, RCODE_FORMAT = 1, RCODE_NAME = 3, RCODE_NOT_IMPLEMENTED = 4 };

/* ---- names ---- */

static bool name_add_label(struct dns_name *n, slice_t label)
{
    if (label.len == 0 || label.len > LABEL_BYTES || n->len + label.len + 2 > DNS_NAME_BYTES)
        return false;
    n->bytes[n->len++] = (uint8_t)label.len;
    for (size_t i = 0; i < label.len; i++)
        n->bytes[n->len++] = (uint8_t)tolower((unsigned char)label.ptr[i]);
    return true;
}

static bool name_add(struct dns_name *n, slice_t text)
{
    if (text.len > 0 && text.ptr[text.len - 1] == '.')
        text.len--;
    while (text.len > 0) {
        size_t dot = slice_find(text, '.', 0);
        size_t len = MIN(dot, text.len);
        if (!name_add_label(n, slice_make(text.ptr, len)) || dot == text.len - 1)
            return false;
        len += dot != SIZE_MAX;
        text = slice_make(text.ptr + len, text.len - len);
    }
    return true;
}

bool dns_name_make(slice_t host, slice_t suffix, struct dns_name *out)
{
    out->len = 0;
    if (!name_add(out, host) || out->len == 0 || !name_add(out, suffix))
        return false;
    out->bytes[out->len++] = 0;
    return true;
}

static bool name_eq(const struct dns_name *a, const struct dns_name *b)
{
    return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* ---- bytes ---- */

/* A cursor over the message; `broken` once something did not fit. */
struct reader {
    const uint8_t *bytes;
    size_t len, at;
    bool broken;
};

static unsigned read_u8(struct reader *r)
{
    if (r->at >= r->len) {
        r->broken = true;
        return 0;
    }
    return r->bytes[r->at++];
}

static unsigned read_u16(struct reader *r)
{
    const unsigned high = read_u8(r);
    return high << 8 | read_u8(r);
}

static uint32_t read_u32(struct reader *r)
{
    const uint32_t high = read_u16(r);
    return high << 16 | read_u16(r);
}

static void read_skip(struct reader *r, size_t n)
{
    if (r->len - r->at < n)
        r->broken = true;
    else
        r->at += n;
}

static void read_name(struct reader *r, struct dns_name *out)
{
    size_t limit = r->at; /* a pointer goes to before this */
    size_t behind = 0;    /* the first pointer; 0: there was none */
    out->len = 0;
    for (;;) {
        const unsigned len = read_u8(r);
        if (r->broken || len == 0)
            break;
        if (len >= 0xc0) {
            const size_t to = (len & 0x3f) << 8 | read_u8(r);
            if (to >= limit)
                r->broken = true;
            if (r->broken)
                break;
            if (behind == 0)
                behind = r->at;
            limit = r->at = to;
            continue;
        }
        if (len > LABEL_BYTES || r->len - r->at < len ||
            !name_add_label(out, slice_make((const char *)r->bytes + r->at, len))) {
            r->broken = true;
            break;
        }
        r->at += len;
    }
    if (behind != 0 && !r->broken)
        r->at = behind;
    out->bytes[out->len++] = 0; /* name_add_label leaves room for it */
}

static uint8_t *write_u16(uint8_t *at, unsigned v)
{
    at[0] = (uint8_t)(v >> 8);
    at[1] = (uint8_t)v;
    return at + 2;
}

size_t dns_query_write(uint8_t out[DNS_QUERY_BYTES], uint16_t id, const struct dns_name *name,
                       enum dns_type type, bool edns)
{
    uint8_t *at = write_u16(out, id);
    at = write_u16(at, FLAG_RECURSION);
    at = write_u16(at, 1);
    at = write_u16(at, 0);
    at = write_u16(at, 0);
    at = write_u16(at, edns);
    memcpy(at, name->bytes, name->len);
    at = write_u16(at + name->len, type);
    at = write_u16(at, CLASS_IN);
    if (edns) { /* RFC 6891 section 6.1.2: the root as its name, our size as its class */
        *at++ = 0;
        at = write_u16(at, TYPE_OPT);
        at = write_u16(at, DNS_MESSAGE_BYTES);
        memset(at, 0, 6);
        at += 6;
    }
    return (size_t)(at - out);
}

/* ---- replies ---- */

struct record {
    struct dns_name owner;
    unsigned type, class;
    uint32_t ttl_s;
    size_t data_at, data_len;
};

static bool read_record(struct reader *r, struct record *out)
{
    read_name(r, &out->owner);
    out->type = read_u16(r);
    out->class = read_u16(r);
    out->ttl_s = read_u32(r);
    out->data_len = read_u16(r);
    out->data_at = r->at;
    read_skip(r, out->data_len);
    if (out->ttl_s > INT32_MAX) /* RFC 2181 section 8 */
        out->ttl_s = 0;
    return !r->broken;
}

static void take_address(struct dns_addresses *out, const uint8_t *data, enum dns_type type, uint16_t port)
{
    if (out->count == DNS_ADDRESSES)
        return;
    struct net_addr *a = &out->items[out->count++];
    *a = (struct net_addr){0};
    if (type == DNS_TYPE_A) {
        a->len = sizeof a->in4;
        a->in4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
        memcpy(&a->in4.sin_addr, data, 4);
    } else {
        a->len = sizeof a->in6;
        a->in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
        memcpy(&a->in6.sin6_addr, data, 16);
    }
}

/* One pass over the answers: takes the addresses of `name`; true and the name it is an alias of when it is
 * one. */
static bool read_answers(struct reader *r, unsigned count, struct dns_name *name, enum dns_type type,
                         uint16_t port, struct dns_addresses *out)
{
    const size_t size = type == DNS_TYPE_A ? 4 : 16;
    struct record record;
    struct dns_name alias = {0};
    while (count-- > 0 && read_record(r, &record)) {
        if (record.class != CLASS_IN || !name_eq(&record.owner, name))
            continue;
        if (record.type == (unsigned)type && record.data_len == size) {
            out->ttl_s = MIN(out->ttl_s, record.ttl_s);
            take_address(out, r->bytes + record.data_at, type, port);
        } else if (record.type == TYPE_CNAME && alias.len == 0) {
            struct reader data = {.bytes = r->bytes, .len = r->len, .at = record.data_at};
            read_name(&data, &alias);
            r->broken |= data.broken;
            out->ttl_s = MIN(out->ttl_s, record.ttl_s);
        }
    }
    *name = alias;
    return alias.len > 0 && out->count == 0 && !r->broken;
}

/* Everything behind the header's id: the flags say it is a reply, and the question is ours. */
static bool read_question(struct reader *r, unsigned flags, unsigned questions, const struct dns_name *name,
                          enum dns_type type)
{
    struct dns_name asked;
    if ((flags & FLAG_REPLY) == 0 || (flags & OPCODE_MASK) != 0 || questions != 1)
        return false;
    read_name(r, &asked);
    const unsigned asked_type = read_u16(r), asked_class = read_u16(r);
    return !r->broken && asked_type == (unsigned)type && asked_class == CLASS_IN && name_eq(&asked, name);
}

enum dns_reply dns_reply_parse(const uint8_t *message, size_t len, uint16_t id, const struct dns_name *name,
                               enum dns_type type, uint16_t port, struct dns_addresses *out)
{
    struct reader r = {.bytes = message, .len = len};
    struct dns_name at = *name;
    out->count = 0;
    out->ttl_s = INT32_MAX;
    if (len < HEADER_BYTES || read_u16(&r) != id)
        return DNS_REPLY_FOREIGN;
    const unsigned flags = read_u16(&r), questions = read_u16(&r), answers = read_u16(&r);
    const unsigned rcode = flags & RCODE_MASK;
    r.at = HEADER_BYTES;
    /* A server that cannot read the query may leave the question out (RFC 6891 section 7). */
    if ((rcode == RCODE_FORMAT || rcode == RCODE_NOT_IMPLEMENTED) && (flags & FLAG_REPLY) != 0 &&
        questions == 0)
        return DNS_REPLY_PLAIN;
    if (!read_question(&r, flags, questions, name, type))
        return DNS_REPLY_FOREIGN;
    if (rcode == RCODE_FORMAT || rcode == RCODE_NOT_IMPLEMENTED)
        return DNS_REPLY_PLAIN;
    if (rcode == RCODE_NAME)
        return DNS_REPLY_NO_NAME;
    if (rcode != RCODE_NONE)
        return DNS_REPLY_FAILED;
    const size_t answers_at = r.at;
    for (unsigned hops = 0; read_answers(&r, answers, &at, type, port, out) && hops < DNS_ALIASES; hops++)
        r.at = answers_at;
    if ((flags & FLAG_CUT) != 0)
        return DNS_REPLY_CUT;
    if (r.broken)
        return DNS_REPLY_FAILED;
    return out->count > 0 ? DNS_REPLY_ADDRESSES : DNS_REPLY_NO_DATA;
}
