/* fuzz_h2_instance.c: any bytes from an instance that speaks HTTP/2, against the real callbacks, calls and
 * phases: three clients wait for answers, one of which may be stored, one of which has a body and trailers to
 * send. The first byte says how the rest is cut into reads, and whether the clients read.
 *
 * Whatever comes, nothing is left of it: no exchange, no call, no connection. */
#include <event2/event.h>
#include <nghttp2/nghttp2.h>
#include <sanitizer/lsan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
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

#define CLIENTS 3

static struct server server;
static struct worker *control, *worker;
static struct proxy_worker *pw;
static struct listener *listener;
static int instance_fd;
static unsigned round_number; /* nothing is a hit */

static void start_instance(char *path, size_t room)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(path, room, "/tmp/millpond-fuzz-%d", (int)getpid());
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    instance_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    unlink(path);
    ASSERT(instance_fd >= 0 && bind(instance_fd, (struct sockaddr *)&a, sizeof a) == 0 &&
           listen(instance_fd, 100) == 0);
}

static void remove_instance(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/millpond-fuzz-%d", (int)getpid());
    unlink(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char err[256], path[64], text[512];
    struct config_problems problems = {0};
    UNUSED(argc);
    UNUSED(argv);
    __lsan_disable(); /* what lives as long as the program; the index marks its pointers */
    rcu_thread_start();
    control = worker_create(-1);
    worker = worker_create(0);
    worker->metrics = metrics_shard_new();
    control->metrics = metrics_shard_new();
    start_instance(path, sizeof path);
    atexit(remove_instance);
    const int n = snprintf(text, sizeof text,
                           "[listen x]\naddress = 127.0.0.1:1\n[pool app]\nserver = unix:%s\nprotocol = h2\n"
                           "health_check = off\nretries = 1\neject_errors = 0\n",
                           path);
    struct balancer *balancer = balancer_create(control);
    struct config *config = config_load_text("fuzz.ini", text, (size_t)n, &problems);
    ASSERT(config != NULL);
    struct snapshot *snapshot = snapshot_build(config, balancer, err, sizeof err);
    ASSERT(snapshot != NULL);
    admission_init(&server.admission, 1000);
    server.spill = upstream_spill_create();
    struct cache *cache = cache_create(&(struct cache_settings){.memory_bytes = 16 * MB, .max_waiters = 10});
    worker_refresh_clock(worker);
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

static void take(int fd)
{
    static char answer[1 << 16];
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0)
        continue;
}

static int client_start(unsigned which)
{
    char request[256];
    struct net_addr peer;
    bool by_ip;
    int fds[2];
    ASSERT(net_addr_parse(SLICE_LIT("192.0.2.1:1"), &peer));
    ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    ASSERT(server_admit(&server, &peer, 0, &by_ip));
    const int n =
        snprintf(request, sizeof request, "%s /%c%u HTTP/1.1\r\nHost: t\r\nTE: trailers\r\n%s",
                 which == 1   ? "POST"
                 : which == 2 ? "HEAD"
                              : "GET",
                 'a' + (int)which, round_number,
                 which == 1 ? "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-A: b\r\n\r\n" : "\r\n");
    ASSERT(send(fds[1], request, (size_t)n, 0) == n);
    client_conn_start(client_conn_open(pw, listener, fds[0], &peer, by_ip));
    return fds[1];
}

static int accept_one(void)
{
    for (unsigned i = 0; i < 4; i++) {
        const int fd = accept4(instance_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        turn();
    }
    return -1;
}

static void clean_up(const int *clients)
{
    while (!list_empty(&pw->conns))
        client_conn_close(CONTAINER_OF(pw->conns.next, struct client_conn, node), CLOSE_SHUTDOWN);
    for (unsigned i = 0; i < CLIENTS; i++)
        close(clients[i]);
    while (!list_empty(&pw->exchanges))
        exchange_abandon(CONTAINER_OF(pw->exchanges.next, struct exchange, node));
    worker_drain(worker);
    upstream_pool_close_all(pw);
    worker_drain(worker);
    for (int fd; (fd = accept4(instance_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        close(fd);
    ASSERT(pw->conn_count == 0 && pw->exchange_count == 0 && list_empty(&pw->upstreams.shared));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS};
    int clients[CLIENTS];
    if (size < 2)
        return 0;
    const size_t step = (data[0] & 0x7f) + 1;
    const bool reads = data[0] >> 7;
    round_number++;
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = client_start(i);
        turn();
    }
    const int fd = accept_one();
    ASSERT(fd >= 0 && send(fd, settings, sizeof settings, 0) == sizeof settings);
    turn();
    for (size_t at = 1; at < size; at += step) {
        if (send(fd, data + at, MIN(step, size - at), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
            break;
        turn();
        take(fd);
        for (unsigned i = 0; reads && i < CLIENTS; i++)
            take(clients[i]);
    }
    close(fd);
    for (unsigned i = 0; i < 4; i++)
        turn();
    clean_up(clients);
    return 0;
}
