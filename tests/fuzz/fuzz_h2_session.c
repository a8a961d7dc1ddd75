/* fuzz_h2_session.c: any bytes behind the preface of a client that speaks HTTP/2, against the real callbacks,
 * streams and phases: a route that answers by itself, a response that is stored, and an instance that
 * refuses. The first byte says how the rest is cut into reads, and by how much the client's windows are open.
 *
 * Whatever comes, the connection ends without leaving anything: no exchange, no stream, no reference. */
#include <event2/event.h>
#include <sanitizer/lsan_interface.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cache/cache.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/client_conn.h"
#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/phase.h"
#include "proxy/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static const char text[] = "[listen x]\naddress = 127.0.0.1:1\nprotocols = h2, http/1.1, "
                           "h2c\nmax_header_size = 2K\nmax_target = 1K\n"
                           "max_headers = 20\nmax_body_size = 2K\nh2_max_streams = 5\nh2_max_resets = 20/m\n"
                           "[pool app]\nserver = 127.0.0.1:9\nhealth_check = off\nretries = 0\n"
                           "[route own]\npath = /o\nrespond = 200 hello\n[route rest]\npool = app\n";
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static struct server server;
static struct worker *control, *worker;
static struct proxy_worker *pw;
static struct listener *listener;

/* /s, of 3000 bytes, for host "t". */
static void store(struct cache *cache)
{
    char key_text[64];
    struct cache_key key;
    struct arena scratch;
    enum no_store_reason why;
    static const struct http_head none;
    size_t room;
    cache_key_build(key_text, SLICE_LIT("http"), SLICE_LIT("t"), SLICE_LIT("/s"), (slice_t){NULL, 0}, &key);
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_join_result j = cache_join(cache, &key, &none, &scratch, NULL, worker, NULL, NULL);
    const struct cache_fill fill = {.request = &none,
                                    .response = &none,
                                    .head = SLICE_LIT("HTTP/1.1 200 OK\r\nEtag: \"a\"\r\n"),
                                    .status = 200,
                                    .status_line_bytes = 17,
                                    .body_bytes = 3000,
                                    .max_object_bytes = (int64_t)MB,
                                    .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 1000000000}};
    ASSERT(j.what == CACHE_LEAD && cache_fill_begin(j.flight, &fill, &why) != NULL);
    for (size_t left = 3000; left > 0; left -= room) {
        char *to = cache_fill_buffer(j.flight, &room);
        room = MIN(room, left);
        memset(to, 'x', room);
        cache_fill_commit(j.flight, room);
    }
    ASSERT(cache_fill_finish(&j.flight) == NO_STORE_STORED);
    arena_reset(&scratch);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char err[256];
    struct config_problems problems = {0};
    UNUSED(argc);
    UNUSED(argv);
    __lsan_disable(); /* what lives as long as the program; the index marks its pointers */
    rcu_thread_start();
    control = worker_create(-1);
    worker = worker_create(0);
    worker->metrics = metrics_shard_new();
    control->metrics = metrics_shard_new();
    struct balancer *balancer = balancer_create(control);
    struct config *config = config_load_text("fuzz.ini", text, sizeof text - 1, &problems);
    ASSERT(config != NULL);
    struct snapshot *snapshot = snapshot_build(config, balancer, err, sizeof err);
    ASSERT(snapshot != NULL);
    admission_init(&server.admission, 1000);
    server.spill = upstream_spill_create();
    struct cache *cache = cache_create(&(struct cache_settings){.memory_bytes = 16 * MB, .max_waiters = 10});
    worker_refresh_clock(worker);
    store(cache);
    pw = proxy_worker_create(&server, worker, cache, snapshot);
    listener = calloc(1, sizeof *listener);
    listener->pw = pw;
    listener->fd = -1;
    listener->config = &snapshot->config->listens[0];
    listener->view = snapshot_view_ref(pw->view);
    listener->refs = 1;
    list_init(&listener->node);
    __lsan_enable();
    return 0;
}

static void turn(void)
{
    event_base_loop(worker->base, EVLOOP_NONBLOCK);
    worker_drain(worker);
}

/* Takes what was answered. */
static void take(int fd)
{
    static char answer[1 << 16];
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0)
        continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t settings[2][9 + 6] = {{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 7},
                                               {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0}};
    struct net_addr peer;
    bool by_ip;
    int fds[2];
    if (size < 2)
        return 0;
    const size_t step = (data[0] & 0x7f) + 1;
    ASSERT(net_addr_parse(SLICE_LIT("192.0.2.1:1"), &peer));
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    ASSERT(server_admit(&server, &peer, 0, &by_ip));
    ASSERT(send(fds[1], preface, sizeof preface - 1, 0) == sizeof preface - 1);
    ASSERT(send(fds[1], settings[data[0] >> 7], sizeof settings[0], 0) == sizeof settings[0]);
    client_conn_start(client_conn_open(pw, listener, fds[0], &peer, by_ip));
    for (size_t at = 1; at < size && !list_empty(&pw->conns); at += step) {
        if (send(fds[1], data + at, MIN(step, size - at), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn();
        take(fds[1]);
    }
    shutdown(fds[1], SHUT_WR);
    for (unsigned i = 0; i < 4; i++)
        turn();
    while (!list_empty(&pw->conns))
        client_conn_close(CONTAINER_OF(pw->conns.next, struct client_conn, node), CLOSE_SHUTDOWN);
    close(fds[1]);
    for (unsigned i = 0; i < 4 && pw->exchange_count > 0; i++)
        turn();
    while (!list_empty(&pw->exchanges))
        exchange_abandon(CONTAINER_OF(pw->exchanges.next, struct exchange, node));
    worker_drain(worker);
    ASSERT(pw->conn_count == 0 && pw->exchange_count == 0 && pw->out.conn == NULL);
    return 0;
}
