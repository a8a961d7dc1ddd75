/* net.c: see net.h. */
#include "core/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "core/text.h"

static bool net_addr_set_unix(slice_t path, struct net_addr *out)
{
    if (path.len == 0 || path.len >= sizeof out->un.sun_path || memchr(path.ptr, '\0', path.len) != NULL)
        return false;
    *out = (struct net_addr){.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1)};
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path.ptr, path.len);
    return true;
}

static bool net_addr_set_ip(slice_t host, uint16_t port, struct net_addr *out)
{
    char text[INET6_ADDRSTRLEN + 1];
    *out = (struct net_addr){.len = sizeof out->in4};
    if (host.len == 0) {
        out->len = sizeof out->in6;
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(port);
        return true;
    }
    bool bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed)
        host = slice_make(host.ptr + 1, host.len - 2);
    if (host.len >= sizeof text || memchr(host.ptr, '\0', host.len) != NULL)
        return false;
    memcpy(text, host.ptr, host.len);
    text[host.len] = '\0';
    if (bracketed) {
        out->len = sizeof out->in6;
        out->in6.sin6_family = AF_INET6;
        out->in6.sin6_port = htons(port);
        return inet_pton(AF_INET6, text, &out->in6.sin6_addr) == 1;
    }
    out->in4.sin_family = AF_INET;
    out->in4.sin_port = htons(port);
    return inet_pton(AF_INET, text, &out->in4.sin_addr) == 1;
}

bool net_host_port_split(slice_t text, slice_t *host, uint16_t *port)
{
    size_t colon = SIZE_MAX;
    for (size_t i = text.len; i-- > 0;) {
        if (text.ptr[i] == ':') {
            colon = i;
            break;
        }
    }
    uint64_t value;
    if (colon == SIZE_MAX || !slice_to_u64(slice_make(text.ptr + colon + 1, text.len - colon - 1), &value) ||
        value > UINT16_MAX)
        return false;
    *host = slice_make(text.ptr, colon);
    *port = (uint16_t)value;
    return true;
}

bool net_addr_parse(slice_t text, struct net_addr *out)
{
    if (slice_starts(text, SLICE_LIT("unix:")))
        return net_addr_set_unix(slice_make(text.ptr + 5, text.len - 5), out);
    slice_t host;
    uint16_t port;
    return net_host_port_split(text, &host, &port) && net_addr_set_ip(host, port, out);
}

/* Per accepted connection, where inet_ntop's sprintf would show. */
static void net_format_v4(const struct in_addr *in, char buf[NET_ADDR_TEXT])
{
    const uint8_t *byte = (const uint8_t *)&in->s_addr;
    struct text t = text_make(buf, NET_ADDR_TEXT - 1);
    for (int i = 0; i < 4; i++) {
        text_put_u64(&t, byte[i]);
        text_put_char(&t, i < 3 ? '.' : '\0');
    }
}

slice_t net_addr_format_ip(const struct net_addr *a, char buf[NET_ADDR_TEXT])
{
    buf[0] = '\0';
    if (a->sa.sa_family == AF_INET)
        net_format_v4(&a->in4.sin_addr, buf);
    else if (a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
        inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], buf, NET_ADDR_TEXT);
    else if (a->sa.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &a->in6.sin6_addr, buf, NET_ADDR_TEXT);
    else
        strcpy(buf, "unix");
    return slice_str(buf);
}

slice_t net_addr_format(const struct net_addr *a, char buf[NET_ADDR_TEXT])
{
    char ip[NET_ADDR_TEXT];
    if (a->sa.sa_family == AF_UNIX) {
        snprintf(buf, NET_ADDR_TEXT, "unix:%s", a->len > sizeof(sa_family_t) ? a->un.sun_path : "");
        return slice_str(buf);
    }
    net_addr_format_ip(a, ip);
    snprintf(buf, NET_ADDR_TEXT, strchr(ip, ':') != NULL ? "[%s]:%u" : "%s:%u", ip, net_addr_port(a));
    return slice_str(buf);
}

uint16_t net_addr_port(const struct net_addr *a)
{
    if (a->sa.sa_family == AF_INET)
        return ntohs(a->in4.sin_port);
    return a->sa.sa_family == AF_INET6 ? ntohs(a->in6.sin6_port) : 0;
}

bool net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
    return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

static const uint8_t net_v4_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool net_cidr_parse(slice_t text, struct net_cidr *out)
{
    char host[INET6_ADDRSTRLEN + 1];
    uint64_t bits = UINT64_MAX;
    *out = (struct net_cidr){0};
    if (slice_eq(text, SLICE_LIT("unix"))) {
        out->is_unix = true;
        return true;
    }
    size_t slash = slice_find(text, '/', 0);
    size_t host_len = slash == SIZE_MAX ? text.len : slash;
    if (slash != SIZE_MAX &&
        (!slice_to_u64(slice_make(text.ptr + slash + 1, text.len - slash - 1), &bits) || bits > 128))
        return false;
    if (host_len >= sizeof host || memchr(text.ptr, '\0', host_len) != NULL)
        return false;
    memcpy(host, text.ptr, host_len);
    host[host_len] = '\0';
    if (inet_pton(AF_INET, host, out->addr + 12) == 1) {
        memcpy(out->addr, net_v4_prefix, sizeof net_v4_prefix);
        bits = bits == UINT64_MAX ? 128 : bits + 96;
    } else if (inet_pton(AF_INET6, host, out->addr) == 1) {
        bits = bits == UINT64_MAX ? 128 : bits;
    } else {
        return false;
    }
    out->bits = (uint8_t)MIN(bits, 255);
    return bits <= 128;
}

static bool net_bits_eq(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (memcmp(a, b, whole) != 0)
        return false;
    return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

bool net_cidr_match(const struct net_cidr *list, size_t count, const struct net_addr *a)
{
    uint8_t ip[16];
    if (a->sa.sa_family == AF_INET) {
        memcpy(ip, net_v4_prefix, sizeof net_v4_prefix);
        memcpy(ip + 12, &a->in4.sin_addr, 4);
    } else if (a->sa.sa_family == AF_INET6) {
        memcpy(ip, &a->in6.sin6_addr, 16);
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].is_unix != (a->sa.sa_family == AF_UNIX))
            continue;
        if (list[i].is_unix || net_bits_eq(list[i].addr, ip, list[i].bits))
            return true;
    }
    return false;
}

static bool net_listen_prepare(int fd, const struct net_addr *a, bool reuse_port)
{
    int on = 1, off = 0;
    if (a->sa.sa_family == AF_UNIX)
        return unlink(a->un.sun_path) == 0 || errno == ENOENT;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        return false;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        return false;
    if (a->sa.sa_family == AF_INET6) {
        int *v6only = IN6_IS_ADDR_UNSPECIFIED(&a->in6.sin6_addr) ? &off : &on;
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only, sizeof *v6only) != 0)
            return false;
    }
    if (setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on) != 0)
        return false;
    return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
}

int net_listen(const struct net_addr *a, int backlog, bool reuse_port)
{
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (net_listen_prepare(fd, a, reuse_port) && bind(fd, &a->sa, a->len) == 0 && listen(fd, backlog) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int net_connect(const struct net_addr *a)
{
    int on = 1;
    int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (a->sa.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, &a->sa, a->len) == 0 || errno == EINPROGRESS)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

#define GATHER_BYTES 4096

static size_t net_total(const struct iovec *iov, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

static struct iovec net_gather(char *to, const struct iovec *iov, size_t count)
{
    char *at = to;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    return (struct iovec){to, (size_t)(at - to)};
}

ssize_t net_send(int fd, const struct iovec *iov, size_t count, int flags)
{
    char gathered[GATHER_BYTES];
    struct iovec one;
    if (count > 1 && net_total(iov, count) <= sizeof gathered) {
        one = net_gather(gathered, iov, count);
        iov = &one;
        count = 1;
    }
    const struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = count};
    ssize_t n;
    do
        n = count == 1 ? send(fd, iov->iov_base, iov->iov_len, flags | MSG_NOSIGNAL)
                       : sendmsg(fd, &msg, flags | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

bool net_local_addr(int fd, struct net_addr *out)
{
    *out = (struct net_addr){.len = sizeof out->un};
    return getsockname(fd, &out->sa, &out->len) == 0;
}

int net_socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? error : errno;
}

void net_keep_alive(int fd)
{
    static const int on = 1, idle_s = 60, pause_s = 15, probes = 4;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &pause_s, sizeof pause_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

void net_reset_on_close(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
}

bool net_broke(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != EINTR;
}

bool net_is_gone(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLERR | POLLHUP)) != 0;
}
