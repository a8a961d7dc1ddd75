/* tunnel.h: what the tests of tunnels share: a request for one, an instance that grants it and echoes. */
#ifndef TESTS_E2E_TUNNEL_H
#define TESTS_E2E_TUNNEL_H

#include "tests/support/millpond.h"

#define TUNNEL_ASK                                                                                           \
    "GET /ws HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"            \
    "Sec-WebSocket-Key: key\r\nSec-WebSocket-Version: 13\r\nReferer: http://test/page\r\n"                   \
    "User-Agent: tests\r\n\r\n"
#define TUNNEL_GRANT                                                                                         \
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"                      \
    "Sec-WebSocket-Accept: yes\r\n\r\n"

/* Grants a tunnel and sends back what comes, until the client ends; then "bye", and ends too. `arg` is what
 * it says at once, in one write with the grant, or NULL. */
static inline void tunnel_echo(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    const char *first = arg != NULL ? arg : "";
    bool ok = origin_send(c, "%s%s", TUNNEL_GRANT, first);
    while (ok && (c->wire.len > 0 || wire_more(&c->wire, 4 * support_wait_ms()))) {
        ok = origin_send_bytes(c, c->wire.buf, c->wire.len);
        wire_take(&c->wire, c->wire.len);
    }
    if (c->wire.closed)
        origin_send(c, "bye");
    origin_close(c);
    if (c->wire.closed || c->wire.reset)
        return;
    origin_wait_peer_close(c);
}

static inline struct origin *tunnel_origin(const char *first)
{
    return origin_start_with(
        &(struct origin_options){.script = tunnel_echo, .arg = (void *)(uintptr_t)first, .head_only = true});
}

/* The next bytes are these. */
static inline void tunnel_expect_(struct client *c, const char *text)
{
    size_t n = strlen(text);
    if (memcmp(client_wait_bytes_(c, n), text, n) != 0)
        support_fail("expected %s, got %.*s", text, (int)n, c->wire.buf);
    wire_take(&c->wire, n);
}
#define tunnel_expect(c, text) (SUPPORT_AT, tunnel_expect_(c, text))

/* A tunnel through which something has passed both ways. */
static inline struct client *tunnel_open_(int port)
{
    struct client *c = client_open_(port, 0);
    client_send(c, "%s", TUNNEL_ASK);
    message_expect_status(client_read_head(c), 101);
    client_send(c, "ping");
    tunnel_expect_(c, "ping");
    return c;
}
#define tunnel_open(port) (SUPPORT_AT, tunnel_open_(port))

#endif
