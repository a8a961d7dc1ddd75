/* client_peer.c: see client_peer.h. The header is looked at where it lies, in the socket, and taken out of
 * there once it is whole: so the connection needs no buffer meanwhile, and TLS, which reads from the socket
 * by itself, finds its first byte first. Looking again at each piece costs little: a peer is trusted, and its
 * header short. */
#include "proxy/client_peer.h"

#include <errno.h>
#include <sys/socket.h>

#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/proxy_header.h"
#include "proxy/listener.h"
#include "proxy/server.h"

void client_peer_set(struct client_conn *c, const struct net_addr *peer)
{
    static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};
    const struct config_cidrs *trusted = &c->pw->view->shared->config->main.trusted_proxies;
    char text[NET_ADDR_TEXT];
    slice_t ip = net_addr_format_ip(peer, text);
    c->ip_text_len = (uint8_t)MIN(ip.len, sizeof c->ip_text);
    memcpy(c->ip_text, ip.ptr, c->ip_text_len);
    c->peer_port = net_addr_port(peer);
    c->peer_is_unix = peer->sa.sa_family == AF_UNIX;
    c->peer_is_v4 = !c->peer_is_unix && slice_find(ip, ':', 0) == SIZE_MAX;
    if (peer->sa.sa_family == AF_INET) {
        memcpy(c->peer_ip, v4_prefix, sizeof v4_prefix);
        memcpy(c->peer_ip + 12, &peer->in4.sin_addr, 4);
    } else if (peer->sa.sa_family == AF_INET6) {
        memcpy(c->peer_ip, &peer->in6.sin6_addr, 16);
    }
    c->peer_trusted = net_cidr_match(trusted->items, trusted->count, peer);
}

/* ---- PROXY header ---- */

static void peer_is_refused(struct client_conn *c, enum close_reason reason, const char *why)
{
    log_warn("[listen %s]: connection of " SLICE_FMT " closed: PROXY header: %s", c->listener->config->name,
             SLICE_ARG(client_conn_ip(c)), why);
    client_conn_close(c, reason);
}

/* The limit of connections per address is about whom the header names. */
static bool peer_is_admitted(struct client_conn *c)
{
    if (server_admit_client(c->pw->server, c, c->listener->config->max_connections_per_ip))
        return true;
    listener_say_full(c->listener, c->fd);
    client_conn_close(c, CLOSE_MAX_PER_IP);
    return false;
}

static void peer_is_known(struct client_conn *c, const struct proxy_header *header)
{
    ssize_t taken = recv(c->fd, c->pw->relay_buffer, header->bytes, 0);
    ASSERT(taken == (ssize_t)header->bytes); /* it was there when we looked */
    if (header->has_source)
        client_peer_set(c, &header->source);
    else
        c->peer_trusted = false;
    if (peer_is_admitted(c)) {
        client_conn_set_state(c, CLIENT_IDLE);
        client_conn_begin(c);
    }
}

void client_peer_step(struct client_conn *c)
{
    ASSERT(c->state == CLIENT_PROXY_HEADER);
    struct proxy_header header;
    ssize_t n;
    do
        n = recv(c->fd, c->pw->relay_buffer, PROXY_HEADER_MAX, MSG_PEEK);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return;
    if (n <= 0) { /* a port scan, or a check whether we listen */
        client_conn_close(c, n == 0 ? CLOSE_CLIENT_CLOSED : CLOSE_CLIENT_RESET);
        return;
    }
    switch (proxy_header_parse(c->pw->relay_buffer, (size_t)n, &header)) {
    case PROXY_HEADER_DONE:
        peer_is_known(c, &header);
        return;
    case PROXY_HEADER_MORE:
        if (c->hup)
            peer_is_refused(c, CLOSE_PROXY_HEADER, "it ends in the middle");
        else if (net_is_gone(c->fd))
            client_conn_close(c, CLOSE_CLIENT_RESET);
        return;
    case PROXY_HEADER_BAD:
        peer_is_refused(c, CLOSE_PROXY_HEADER, header.why);
        return;
    }
}

void client_peer_await(struct client_conn *c)
{
    client_conn_set_state(c, CLIENT_PROXY_HEADER);
    if (!c->peer_trusted) {
        peer_is_refused(c, CLOSE_PROXY_UNTRUSTED, "its address is not in trusted_proxies");
        return;
    }
    client_conn_arm(c);
    client_peer_step(c);
}
