/* dns_message.h: one question to a name server and the reply to it, as bytes (RFC 1035). Pure: no sockets, no
 * clock. */
#ifndef CORE_DNS_MESSAGE_H
#define CORE_DNS_MESSAGE_H

#include "core/net.h"
#include "core/slice.h"

#define DNS_NAME_BYTES    255  /* of a name in wire form, RFC 1035 section 2.3.4 */
#define DNS_MESSAGE_BYTES 1232 /* what we say we take (RFC 6891): fits into one packet on any path */
#define DNS_QUERY_BYTES   (12 + DNS_NAME_BYTES + 4 + 11)
#define DNS_ADDRESSES     64 /* of one reply; what is beyond is left out */
#define DNS_ALIASES       8  /* CNAMEs one after the other */

enum dns_type { DNS_TYPE_A = 1, DNS_TYPE_AAAA = 28 };

/* In wire form, lower case. */
struct dns_name {
    uint8_t len; /* 0: none */
    uint8_t bytes[DNS_NAME_BYTES];
};

/* `host` with `suffix` behind it (both without, or with one, dot at the end). false when that is no name. */
bool dns_name_make(slice_t host, slice_t suffix, struct dns_name *out);

/* The query for one type; its length. `edns`: with our size (some old servers refuse that). */
size_t dns_query_write(uint8_t out[DNS_QUERY_BYTES], uint16_t id, const struct dns_name *name,
                       enum dns_type type, bool edns);

enum dns_reply {
    DNS_REPLY_FOREIGN,   /* no reply to this query: not its id or question, or no message at all */
    DNS_REPLY_ADDRESSES, /* *out has some */
    DNS_REPLY_NO_DATA,   /* the name is there, such addresses are not */
    DNS_REPLY_NO_NAME,   /* NXDOMAIN */
    DNS_REPLY_CUT,       /* truncated: *out has what came whole, if anything did */
    DNS_REPLY_PLAIN,     /* FORMERR or NOTIMPL: to be asked again without `edns` */
    DNS_REPLY_FAILED     /* SERVFAIL, REFUSED, or the answer cannot be read */
};

struct dns_addresses {
    uint32_t ttl_s; /* the least of all records that led here */
    size_t count;
    struct net_addr items[DNS_ADDRESSES]; /* with `port` */
};

/* Judges a datagram from the server that was asked. */
enum dns_reply dns_reply_parse(const uint8_t *message, size_t len, uint16_t id, const struct dns_name *name,
                               enum dns_type type, uint16_t port, struct dns_addresses *out);

#endif
