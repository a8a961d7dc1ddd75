/* introduce.c: see introduce.h. The client is who it is for the access log and X-Forwarded-For: who asks, not
 * the last proxy on the way; of those that others named the port is not known, and 0. */
#include "proxy/introduce.h"

#include <sys/socket.h>

#include "core/metrics.h"
#include "core/net.h"
#include "proxy/client_conn.h"
#include "proxy/exchange.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

/* false: nobody in particular. */
static bool client_of(const struct exchange *x, struct net_addr *source, struct net_addr *destination)
{
    const struct client_conn *c = x->client;
    if (c == NULL || !exchange_client_addr(x, source) || !net_local_addr(c->fd, destination))
        return false;
    uint16_t port = slice_eq(x->client_ip, client_conn_ip(c)) ? htons(c->peer_port) : 0;
    if (source->sa.sa_family == AF_INET6)
        source->in6.sin6_port = port;
    else
        source->in4.sin_port = port;
    return true;
}

bool introduce_client(struct upstream_conn *u, enum proxy_header_version version)
{
    char header[PROXY_HEADER_WRITE_MAX];
    struct net_addr source, destination = {0};
    bool known = client_of(u->exchange, &source, &destination);
    size_t n = proxy_header_write(header, version, known ? &source : NULL, &destination);
    ssize_t sent = net_send(u->fd, &(struct iovec){header, n}, 1, MSG_MORE);
    proxy_count(u->pw, METRIC_UPSTREAM_BYTES_OUT, MAX(sent, 0));
    return sent == (ssize_t)n; /* there is room: nothing was sent before */
}
