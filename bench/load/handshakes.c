/* handshakes.c: full TLS handshakes, each on a connection of its own that asks for one path and closes.
 *
 * wrk resumes the sessions of servers that let it, with others only now and then, so that what it counts is
 * not one kind of handshake. Here nothing is ever resumed; a server that says it did ends the measurement.
 *
 * usage: handshakes PORT PATH CONNECTIONS SECONDS. Each connection is a thread that blocks. Prints one line
 * of JSON as paced.c does, or ends with a message when an answer is anything but 200. */
#include "bench/load/net.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

#define CONNECTIONS_MOST 256

static SSL_CTX *context;
static struct sockaddr_in server;
static char request[4096];
static uint64_t end_us;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die_tls(const char *what)
{
    fprintf(stderr, "%s: ", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* Reads to the end of the connection; whether the answer began as it should. Not every server ends with
 * close_notify. */
static void read_answer(SSL *ssl)
{
    static const char want[] = "HTTP/1.1 200 ";
    char answer[16384];
    size_t have = 0;
    int n = 0;
    while ((n = SSL_read(ssl, answer + have, (int)(sizeof answer - have))) > 0 && have < sizeof answer)
        have += (size_t)n;
    if (have < sizeof want || memcmp(answer, want, sizeof want - 1) != 0)
        die_tls("an answer that is not 200");
}

static void shake_once(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL *ssl = SSL_new(context);
    if (fd < 0 || ssl == NULL || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        load_die("connect");
    load_no_delay(fd);
    if (SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
        die_tls("the handshake failed");
    if (SSL_session_reused(ssl))
        die_tls("a session was resumed that nobody offered");
    if (SSL_write(ssl, request, (int)strlen(request)) <= 0)
        die_tls("the request could not be sent");
    read_answer(ssl);
    SSL_free(ssl);
    close(fd);
    ERR_clear_error();
}

static void *shake_on(void *done)
{
    while (now_us() < end_us) {
        shake_once();
        ++*(uint64_t *)done;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned count = argc == 5 ? (unsigned)atoi(argv[3]) : 0;
    if (count == 0 || count > CONNECTIONS_MOST) {
        fprintf(stderr, "usage: handshakes PORT PATH CONNECTIONS SECONDS (at most %d connections)\n",
                CONNECTIONS_MOST);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    server = load_loopback((unsigned)atoi(argv[1]));
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
             argv[2]);
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1)
        die_tls("no TLS 1.3");
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);

    static pthread_t threads[CONNECTIONS_MOST];
    static uint64_t done[CONNECTIONS_MOST][8]; /* a cache line each */
    uint64_t begin_us = now_us(), all = 0;
    end_us = begin_us + (uint64_t)(atof(argv[4]) * 1e6);
    for (unsigned i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, shake_on, done[i]) != 0)
            load_die("pthread_create");
    for (unsigned i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        all += done[i][0];
    }
    printf("{\"requests\":%llu,\"micros\":%llu}\n", (unsigned long long)all,
           (unsigned long long)(now_us() - begin_us));
    SSL_CTX_free(context);
    return 0;
}
