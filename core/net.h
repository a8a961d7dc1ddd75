/* net.h: socket addresses, CIDR lists, and sockets opened the way the program wants them: non-blocking,
 * close-on-exec. No events, no threads; errors come back as -1 with errno. */
#ifndef CORE_NET_H
#define CORE_NET_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "core/base.h"
#include "core/slice.h"

#define NET_ADDR_TEXT 128 /* room for any address as text, NUL included */

/* Plain value; copy freely. */
struct net_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

/* "1.2.3.4:80", "[::1]:80", ":80" (all addresses, both families), "unix:/path". Numeric only: names are
 * resolved elsewhere. false when it is none of these or the port is not 1..65535 (0 is allowed, for tests).
 */
bool net_addr_parse(slice_t text, struct net_addr *out);
/* "host:port" of a name: splits at the last colon; false when there is no port. */
bool net_host_port_split(slice_t text, slice_t *host, uint16_t *port);
/* "1.2.3.4:80", "[::1]:80", "unix:/path"; IPv4-mapped IPv6 is shown as IPv4. */
slice_t net_addr_format(const struct net_addr *a, char buf[NET_ADDR_TEXT]);
/* The same without port; "unix" for a unix socket. */
slice_t net_addr_format_ip(const struct net_addr *a, char buf[NET_ADDR_TEXT]);
bool net_addr_eq(const struct net_addr *a, const struct net_addr *b);
uint16_t net_addr_port(const struct net_addr *a); /* 0 for unix */

/* A network: 10.0.0.0/8, 2001:db8::/32, a bare address, or "unix" (any unix-socket peer). */
struct net_cidr {
    uint8_t addr[16]; /* IPv4 as mapped IPv6 */
    uint8_t bits;     /* 0..128 in mapped form */
    bool is_unix;
};
bool net_cidr_parse(slice_t text, struct net_cidr *out);
bool net_cidr_match(const struct net_cidr *list, size_t count, const struct net_addr *a);

/* Listening socket: SO_REUSEADDR, SO_REUSEPORT when `reuse_port`, TCP_NODELAY inherited by accepted ones,
 * TCP_DEFER_ACCEPT (a connection is given out with its first bytes, or after a second or so without any),
 * dual stack for the IPv6 wildcard. A stale unix socket file is replaced. -1 and errno on failure. */
int net_listen(const struct net_addr *a, int backlog, bool reuse_port);
/* Starts a connection; the caller waits for writability. TCP_NODELAY is set. -1 and errno on failure at once.
 */
int net_connect(const struct net_addr *a);
/* As sendmsg(2), without SIGPIPE and EINTR. A few small pieces are gathered first: that costs less than
 * naming each to the kernel. */
ssize_t net_send(int fd, const struct iovec *iov, size_t count, int flags);
/* The address a bound socket really has (port 0 resolved by the kernel). */
bool net_local_addr(int fd, struct net_addr *out);
/* 0, or the errno a non-blocking connect ended with. */
int net_socket_error(int fd);
/* A peer that vanished without a word is noticed after some two minutes, also when nothing is sent. */
void net_keep_alive(int fd);
/* Closing it will break the connection (RST) instead of ending it; what was not sent is lost. */
void net_reset_on_close(int fd);
/* A connection broke, while nothing was read from it or behind what was. */
bool net_broke(int fd);
/* The other end is gone for good, whatever of it may still be read. The event library tells an error as bytes
 * and room; when both come in one event, nothing else says so. */
bool net_is_gone(int fd);

#endif
