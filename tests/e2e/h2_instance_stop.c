/* h2_instance_stop.c: the program is told to stop while an instance that speaks HTTP/2 still answers. */
#include <signal.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define FRAME_HEAD 9

static size_t put_frame(unsigned char *to, uint8_t type, uint8_t flags, uint8_t id, const void *payload,
                        size_t n)
{
    const unsigned char head[FRAME_HEAD] = {
        0, (unsigned char)(n >> 8), (unsigned char)n, type, flags, 0, 0, 0, id};
    memcpy(to, head, FRAME_HEAD);
    memcpy(to + FRAME_HEAD, payload, n);
    return FRAME_HEAD + n;
}

/* The last response ends the worker's connections while one of them is being worked on, and has something to
 * say: the answer to a PING that came in the same packet. */
static void the_last_response_may_come_with_other_frames(void **state)
{
    UNUSED(state);
    struct h2_listener l = h2_listen();
    struct millpond *m =
        millpond_start(.main = "workers = 1\n",
                       .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n",
                                     l.port));
    struct client *c = client_open(m->port);
    client_send(c, "GET /last HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    struct h2_client *i = h2_accept(&l, 0, 0);
    h2_wait_asked(i, 1);
    proc_signal(m->proc, SIGTERM);
    millpond_wait_log(m, "stopping", 1);

    const char *const fields[] = {":status", "200", "cache-control", "no-store", "x-late", "yes", NULL};
    unsigned char packet[512], block[256];
    size_t n = put_frame(packet, NGHTTP2_PING, 0, 0, "12345678", 8);
    n += put_frame(packet + n, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, block,
                   h2_encode(fields, block, sizeof block));
    wire_send(&i->wire, packet, n);
    expect_field(client_read(c), "X-Late", "yes");
    millpond_expect_clean_end(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_last_response_may_come_with_other_frames),
    };
    return E2E_RUN("h2_instance_stop", tests);
}
