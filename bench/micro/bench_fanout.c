/* bench_fanout.c: the floor of one response for many who wait: two threads write 1 KB to 1,000 connections,
 * and a process of its own reads them. What it prints is how far behind the first the others have their first
 * byte when nothing is done but write(2) and read(2). tests/e2e/cache_herd.c prints the same of the program.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"

#define CONNECTIONS 1000
#define THREADS     2
#define BYTES       1300 /* a head and 1 KB */
#define ROUNDS      9

static int written[CONNECTIONS], read_from[CONNECTIONS];

#define MUST(call) ((call) < 0 ? (perror(#call), exit(1)) : (void)0)

static void connect_all(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at;
    const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    MUST(bind(listener, (struct sockaddr *)&at, len));
    MUST(listen(listener, CONNECTIONS));
    MUST(getsockname(listener, (struct sockaddr *)&at, &len));
    for (int i = 0; i < CONNECTIONS; i++) {
        MUST(read_from[i] = socket(AF_INET, SOCK_STREAM, 0));
        MUST(connect(read_from[i], (struct sockaddr *)&at, len));
        MUST(written[i] = accept(listener, NULL, NULL));
        MUST(setsockopt(written[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    }
}

static void *write_share(void *arg)
{
    static const char response[BYTES];
    for (size_t i = (size_t)arg; i < CONNECTIONS; i += THREADS)
        MUST(write(written[i], response, sizeof response));
    return NULL;
}

static void read_round(int epoll, double *median_ms, double *last_ms)
{
    static mono_us_t first_byte_us[CONNECTIONS];
    char buf[2 * BYTES];
    for (int n = 0; n < CONNECTIONS;) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            MUST(read(read_from[events[i].data.u32], buf, sizeof buf));
            first_byte_us[n++] = clock_mono_us();
        }
    }
    *median_ms = (double)(first_byte_us[CONNECTIONS / 2] - first_byte_us[0]) / 1000;
    *last_ms = (double)(first_byte_us[CONNECTIONS - 1] - first_byte_us[0]) / 1000;
}

static void reader(int go)
{
    const int epoll = epoll_create1(0);
    double median_ms, last_ms;
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, read_from[i], &e));
    }
    for (int round = 0; round < ROUNDS; round++) {
        MUST(write(go, "", 1));
        read_round(epoll, &median_ms, &last_ms);
        printf("%d connections: median %.2f ms, last %.2f ms behind the first\n", CONNECTIONS, median_ms,
               last_ms);
    }
    fflush(stdout);
    _exit(0);
}

int main(void)
{
    const struct rlimit files = {3 * CONNECTIONS, 3 * CONNECTIONS};
    int go[2];
    char c;
    setrlimit(RLIMIT_NOFILE, &files);
    connect_all();
    MUST(pipe(go));
    if (fork() == 0)
        reader(go[1]);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t threads[THREADS];
        MUST(read(go[0], &c, 1));
        usleep(50000); /* until the reader sleeps */
        for (size_t i = 0; i < THREADS; i++)
            pthread_create(&threads[i], NULL, write_share, (void *)i);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    wait(NULL);
    return 0;
}
