/* proxy_header.h: the header of the PROXY protocol, by which a proxy in front of us, or we towards an
 * instance, say whose connection it is (versions 1 and 2 of HAProxy's "The PROXY protocol").
 *
 * Pure: bytes in, a verdict out. Whom to believe is the caller's business. */
#ifndef CORE_PROXY_HEADER_H
#define CORE_PROXY_HEADER_H

#include "core/net.h"

#define PROXY_HEADER_MAX       4096 /* a longer one is refused; addresses take 232 bytes at most, TLVs the rest */
#define PROXY_HEADER_WRITE_MAX 108

enum proxy_header_status { PROXY_HEADER_MORE, PROXY_HEADER_DONE, PROXY_HEADER_BAD };

struct proxy_header {
    size_t bytes;           /* DONE: how long it was */
    bool has_source;        /* false: LOCAL, UNKNOWN, or no TCP: the connection's own addresses hold */
    struct net_addr source; /* an IP address */
    const char *why;        /* BAD: what is wrong; a constant */
};

/* Looks at the first bytes of a connection. Starts over with each call; whatever follows the header is not
 * looked at. BAD as soon as the bytes cannot be the beginning of a header. The type-length-values of version
 * 2 must fill their room exactly, and a CRC-32C among them be right; they have no other effect. */
enum proxy_header_status proxy_header_parse(const char *in, size_t len, struct proxy_header *out);

enum proxy_header_version { PROXY_HEADER_OFF, PROXY_HEADER_V1, PROXY_HEADER_V2 };

/* Writes the header of a connection from `source` to `destination`; its length. When either is no IP address,
 * or `source` is NULL: "UNKNOWN", or in version 2 "LOCAL". Addresses of different families are both written
 * as IPv6. `version` is not OFF. */
size_t proxy_header_write(char to[PROXY_HEADER_WRITE_MAX], enum proxy_header_version version,
                          const struct net_addr *source, const struct net_addr *destination);

#endif
