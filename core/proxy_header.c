/* proxy_header.c: see proxy_header.h. Strict where the specification is: one space between the words of
 * version 1, ports without leading zeros, no unassigned command, family or protocol in version 2. Whoever
 * takes a malformed header for something else gives a client the choice of its own address. */
#include "core/proxy_header.h"

#include <arpa/inet.h>

#include "core/panic.h"
#include "core/text.h"

#define V1_MAX 107 /* the specification's, CRLF included */

static const char v1_start[] = "PROXY ";
static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_header_status bad(struct proxy_header *out, const char *why)
{
    out->why = why;
    return PROXY_HEADER_BAD;
}

/* ---- version 1 ---- */

/* Up to the next space or the end. */
static slice_t next_word(slice_t *rest)
{
    size_t space = MIN(slice_find(*rest, ' ', 0), rest->len);
    slice_t word = slice_make(rest->ptr, space);
    size_t gone = MIN(space + 1, rest->len);
    *rest = slice_make(rest->ptr + gone, rest->len - gone);
    return word;
}

static bool parse_ip(slice_t word, bool v6, struct net_addr *out)
{
    char text[INET6_ADDRSTRLEN];
    if (word.len == 0 || word.len >= sizeof text || memchr(word.ptr, '\0', word.len) != NULL)
        return false;
    memcpy(text, word.ptr, word.len);
    text[word.len] = '\0';
    *out = (struct net_addr){.len = v6 ? sizeof out->in6 : sizeof out->in4};
    out->sa.sa_family = v6 ? AF_INET6 : AF_INET;
    return inet_pton(out->sa.sa_family, text,
                     v6 ? (void *)&out->in6.sin6_addr : (void *)&out->in4.sin_addr) == 1;
}

static bool parse_port(slice_t word, uint16_t *port)
{
    uint64_t value;
    if (!slice_to_u64(word, &value) || value > UINT16_MAX || (word.len > 1 && word.ptr[0] == '0'))
        return false;
    *port = htons((uint16_t)value);
    return true;
}

/* The line without CRLF, behind "PROXY ". */
static enum proxy_header_status parse_v1_line(slice_t line, struct proxy_header *out)
{
    struct net_addr destination;
    uint16_t ports[2];
    slice_t family = next_word(&line);
    bool v6 = slice_eq(family, SLICE_LIT("TCP6"));
    if (slice_eq(family, SLICE_LIT("UNKNOWN")))
        return PROXY_HEADER_DONE;
    if (!v6 && !slice_eq(family, SLICE_LIT("TCP4")))
        return bad(out, "neither TCP4, TCP6 nor UNKNOWN");
    if (!parse_ip(next_word(&line), v6, &out->source) || !parse_ip(next_word(&line), v6, &destination))
        return bad(out, "an address is wrong");
    bool trails = line.len > 0 && line.ptr[line.len - 1] == ' '; /* next_word does not tell "80" from "80 " */
    if (!parse_port(next_word(&line), &ports[0]) || !parse_port(next_word(&line), &ports[1]) ||
        line.len > 0 || trails)
        return bad(out, "a port is wrong, or something follows");
    if (v6)
        out->source.in6.sin6_port = ports[0];
    else
        out->source.in4.sin_port = ports[0];
    out->has_source = true;
    return PROXY_HEADER_DONE;
}

static enum proxy_header_status parse_v1(const char *in, size_t len, struct proxy_header *out)
{
    const size_t start = sizeof v1_start - 1;
    if (memcmp(in, v1_start, MIN(len, start)) != 0)
        return bad(out, "there is none");
    const char *end = memchr(in, '\n', MIN(len, V1_MAX));
    if (end == NULL)
        return len < V1_MAX ? PROXY_HEADER_MORE : bad(out, "the line is longer than 107 bytes");
    size_t line = (size_t)(end - in);
    if (line < start + 1 || in[line - 1] != '\r' || memchr(in, '\r', line) != in + line - 1)
        return bad(out, "the line does not end with CRLF");
    out->bytes = line + 1;
    return parse_v1_line(slice_make(in + start, line - 1 - start), out);
}

/* ---- version 2 ---- */

#define V2_HEAD       16
#define V2_PROXY      1
#define V2_INET       1
#define V2_INET6      2
#define V2_UNIX       3
#define V2_STREAM     1
#define V2_DGRAM      2
#define V2_TLV_CRC32C 3

static size_t get_u16(const char *at)
{
    return (size_t)(uint8_t)at[0] << 8 | (uint8_t)at[1];
}

/* RFC 3720 appendix B.4, bit by bit: a header has one at most, and few have it. */
static uint32_t crc32c(uint32_t crc, const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)at[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

/* Of the whole header, with zeros where the sum stands. */
static bool crc_is_right(const char *in, size_t bytes, size_t at)
{
    static const char zeros[4];
    uint32_t said;
    memcpy(&said, in + at, sizeof said);
    uint32_t crc = crc32c(crc32c(UINT32_MAX, in, at), zeros, sizeof zeros);
    return (crc32c(crc, in + at + sizeof zeros, bytes - at - sizeof zeros) ^ UINT32_MAX) == ntohl(said);
}

static enum proxy_header_status check_tlvs(const char *in, size_t at, struct proxy_header *out)
{
    while (at < out->bytes) {
        if (out->bytes - at < 3 || out->bytes - at - 3 < get_u16(in + at + 1))
            return bad(out, "a TLV is longer than the header");
        size_t value = at + 3, length = get_u16(in + at + 1);
        if (in[at] == V2_TLV_CRC32C && (length != 4 || !crc_is_right(in, out->bytes, value)))
            return bad(out, "the checksum is wrong");
        at = value + length;
    }
    return PROXY_HEADER_DONE;
}

static void set_source(const char *block, bool v6, struct net_addr *a)
{
    *a = (struct net_addr){.len = v6 ? sizeof a->in6 : sizeof a->in4};
    a->sa.sa_family = v6 ? AF_INET6 : AF_INET;
    if (v6) {
        memcpy(&a->in6.sin6_addr, block, 16);
        memcpy(&a->in6.sin6_port, block + 32, 2);
    } else {
        memcpy(&a->in4.sin_addr, block, 4);
        memcpy(&a->in4.sin_port, block + 8, 2);
    }
}

static enum proxy_header_status parse_v2(const char *in, size_t len, struct proxy_header *out)
{
    static const size_t address_bytes[] = {0, [V2_INET] = 12, [V2_INET6] = 36, [V2_UNIX] = 216};
    if (memcmp(in, v2_signature, MIN(len, sizeof v2_signature)) != 0)
        return bad(out, "there is none");
    if (len < V2_HEAD)
        return PROXY_HEADER_MORE;
    unsigned command = in[12] & 15, family = (uint8_t)in[13] >> 4, protocol = in[13] & 15;
    if ((uint8_t)in[12] >> 4 != 2 || command > V2_PROXY || family > V2_UNIX || protocol > V2_DGRAM)
        return bad(out, "unknown version, command, family or protocol");
    out->bytes = V2_HEAD + get_u16(in + 14);
    if (out->bytes > PROXY_HEADER_MAX)
        return bad(out, "longer than 4096 bytes");
    if (len < out->bytes)
        return PROXY_HEADER_MORE;
    if (command != V2_PROXY || family == 0) /* what is in there is not ours to understand */
        return PROXY_HEADER_DONE;
    size_t tlvs = V2_HEAD + address_bytes[family];
    if (out->bytes < tlvs)
        return bad(out, "too short for its addresses");
    out->has_source = family != V2_UNIX && protocol == V2_STREAM;
    if (out->has_source)
        set_source(in + V2_HEAD, family == V2_INET6, &out->source);
    return check_tlvs(in, tlvs, out);
}

enum proxy_header_status proxy_header_parse(const char *in, size_t len, struct proxy_header *out)
{
    *out = (struct proxy_header){0};
    if (len == 0)
        return PROXY_HEADER_MORE;
    return in[0] == v2_signature[0] ? parse_v2(in, len, out) : parse_v1(in, len, out);
}

/* ---- writing ---- */

/* As IPv6, IPv4 mapped into it. */
struct end {
    struct in6_addr ip;
    uint16_t port; /* as in a socket address */
};

static bool end_of(const struct net_addr *a, struct end *e)
{
    *e = (struct end){.ip.s6_addr = {[10] = 0xff, [11] = 0xff}};
    if (a == NULL || (a->sa.sa_family != AF_INET && a->sa.sa_family != AF_INET6))
        return false;
    if (a->sa.sa_family == AF_INET)
        memcpy(&e->ip.s6_addr[12], &a->in4.sin_addr, 4);
    else
        e->ip = a->in6.sin6_addr;
    e->port = a->sa.sa_family == AF_INET ? a->in4.sin_port : a->in6.sin6_port;
    return true;
}

static void put_v1_ip(struct text *t, const struct end *e, bool v4)
{
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(v4 ? AF_INET : AF_INET6, &e->ip.s6_addr[v4 ? 12 : 0], ip, sizeof ip);
    TEXT_LIT(t, " ");
    text_put(t, slice_str(ip));
}

static void put_v1(struct text *t, const struct end ends[2], bool v4)
{
    text_put(t, v4 ? SLICE_LIT("TCP4") : SLICE_LIT("TCP6"));
    put_v1_ip(t, &ends[0], v4);
    put_v1_ip(t, &ends[1], v4);
    TEXT_LIT(t, " ");
    text_put_u64(t, ntohs(ends[0].port));
    TEXT_LIT(t, " ");
    text_put_u64(t, ntohs(ends[1].port));
}

static void put_v2(struct text *t, const struct end ends[2], bool v4)
{
    text_put(t, v4 ? SLICE_LIT("\x21\x11\0\x0c") : SLICE_LIT("\x21\x21\0\x24"));
    for (int i = 0; i < 2; i++)
        text_put(t, slice_make((const char *)&ends[i].ip.s6_addr[v4 ? 12 : 0], v4 ? 4 : 16));
    for (int i = 0; i < 2; i++)
        text_put(t, slice_make((const char *)&ends[i].port, 2));
}

size_t proxy_header_write(char to[PROXY_HEADER_WRITE_MAX], enum proxy_header_version version,
                          const struct net_addr *source, const struct net_addr *destination)
{
    struct text t = text_make(to, PROXY_HEADER_WRITE_MAX);
    struct end ends[2];
    bool known = end_of(source, &ends[0]) && end_of(destination, &ends[1]);
    bool v4 = known && IN6_IS_ADDR_V4MAPPED(&ends[0].ip) && IN6_IS_ADDR_V4MAPPED(&ends[1].ip);
    if (version == PROXY_HEADER_V1) {
        text_put(&t, slice_str(v1_start));
        if (known)
            put_v1(&t, ends, v4);
        else
            TEXT_LIT(&t, "UNKNOWN");
        TEXT_LIT(&t, "\r\n");
    } else {
        ASSERT(version == PROXY_HEADER_V2);
        text_put(&t, slice_make(v2_signature, sizeof v2_signature));
        if (known)
            put_v2(&t, ends, v4);
        else
            TEXT_LIT(&t, "\x20\0\0\0");
    }
    ASSERT(!t.overflow);
    return text_slice(&t).len;
}
