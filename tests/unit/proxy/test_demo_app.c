/* test_demo_app.c: the sample application over a socket: caching fields, validators, the product, slow
 * answers, and text from a request that must not become markup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/net.h"
#include "proxy/demo_app.h"

struct served { /* an application on a thread of its own */
    struct event_base *base;
    struct demo_app *app;
    struct net_addr addr;
    struct event *stop;
    int stop_pipe[2];
    pthread_t thread;
};

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    UNUSED(fd);
    UNUSED(what);
    event_base_loopbreak(((struct served *)arg)->base);
}

static void *serve(void *arg)
{
    event_base_dispatch(((struct served *)arg)->base);
    return NULL;
}

static struct served *served_start(const struct demo_app_settings *s)
{
    struct served *v = calloc(1, sizeof *v);
    struct net_addr any;
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    int fd = net_listen(&any, 16, false);
    assert_true(net_local_addr(fd, &v->addr));
    v->base = event_base_new();
    v->app = demo_app_create(v->base, fd, s);
    assert_non_null(v->app);
    assert_int_equal(pipe(v->stop_pipe), 0);
    v->stop = event_new(v->base, v->stop_pipe[0], EV_READ, on_stop, v);
    event_add(v->stop, NULL);
    assert_int_equal(pthread_create(&v->thread, NULL, serve, v), 0);
    return v;
}

static void served_stop(struct served *v)
{
    assert_int_equal(write(v->stop_pipe[1], "x", 1), 1);
    pthread_join(v->thread, NULL);
    event_free(v->stop);
    demo_app_destroy(v->app);
    event_base_free(v->base);
    close(v->stop_pipe[0]);
    close(v->stop_pipe[1]);
    free(v);
}

static int setup(void **state)
{
    *state = served_start(&(struct demo_app_settings){.name = "app-<1>"});
    return 0;
}

static int teardown(void **state)
{
    served_stop(*state);
    return 0;
}

static int connect_to(struct served *v)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &v->addr.sa, v->addr.len), 0);
    return fd;
}

/* "METHOD TARGET" and field lines; the whole answer, which the caller frees. */
static char *ask(struct served *v, const char *request, const char *fields)
{
    size_t room = 1 << 16, have = 0;
    char *text = malloc(room);
    int n = snprintf(text, room,
                     "%s HTTP/1.1\r\nHost: shop.example\r\n%sConnection: close\r\nContent-Length: 0\r\n\r\n",
                     request, fields);
    int fd = connect_to(v);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    ssize_t got;
    while (have + 1 < room && (got = recv(fd, text + have, room - 1 - have, 0)) > 0)
        have += (size_t)got;
    text[have] = '\0';
    close(fd);
    return text;
}

static void expect(struct served *v, const char *request, const char *fields, const char *const *wanted)
{
    char *text = ask(v, request, fields);
    for (size_t i = 0; wanted[i] != NULL; i++) {
        bool must_not = wanted[i][0] == '!';
        if ((strstr(text, wanted[i] + must_not) == NULL) != must_not)
            fail_msg("%s: '%s' in: %s", request, wanted[i], text);
    }
    free(text);
}

#define EXPECT_IN(v, request, fields, ...)                                                                   \
    expect(v, request, fields, (const char *const[]){__VA_ARGS__, NULL})

static void test_pages(void **state)
{
    struct served *v = *state;
    EXPECT_IN(v, "GET /", "", "200 OK", "Cache-Control: no-store", "Made by <b>app-&lt;1&gt;</b>",
              "X-Served-By: app-<1>");
    EXPECT_IN(v, "GET /cached", "", "200 OK", "Cache-Control: public, max-age=30", "data-made=");
    EXPECT_IN(v, "GET /vary", "Accept-Language: de\r\n", "Vary: Accept-Language", "Guten Tag");
    EXPECT_IN(v, "GET /vary", "", "Vary: Accept-Language", "Good day");
    EXPECT_IN(v, "GET /healthz", "", "200 OK", "\r\n\r\nok\n");
    EXPECT_IN(v, "GET /none", "", "404 ");
    EXPECT_IN(v, "DELETE /", "", "405 ");
    EXPECT_IN(v, "HEAD /cached", "", "200 OK", "Content-Length: ", "!</html>");
    EXPECT_IN(v, "GET /static/../etc/passwd", "", "404 ");
}

static void test_fail(void **state)
{
    struct served *v = *state;
    EXPECT_IN(v, "GET /fail", "", "HTTP/1.1 500 ");
    EXPECT_IN(v, "GET /fail?status=503", "", "HTTP/1.1 503 ");
    static const char *const strange[] = {
        "GET /fail?status=200", "GET /fail?status=-1",  "GET /fail?status=99999999999999999999",
        "GET /fail?status=",    "GET /fail?status=5e2", "GET /fail?&&=;%"};
    for (size_t i = 0; i < ARRAY_LEN(strange); i++)
        EXPECT_IN(v, strange[i], "", "HTTP/1.1 500 ");
}

static void test_request_is_escaped(void **state)
{
    struct served *v = *state;
    EXPECT_IN(v, "GET /", "X-Forwarded-For: <script>alert(1)</script>\r\n", "!<script>alert",
              "&lt;script&gt;");
    EXPECT_IN(v, "GET /vary", "Accept-Language: \"><b>\r\n", "!\"><b>");
    EXPECT_IN(v, "GET /product/1", "X-Forwarded-Host: x\"><i>\r\n", "!\"><i>");
}

static void test_assets(void **state)
{
    struct served *v = *state;
    char etag_line[64] = "If-None-Match: ";
    EXPECT_IN(v, "GET /static/app.js", "", "200 OK", "text/javascript", "max-age=3600");
    EXPECT_IN(v, "GET /static/logo.svg", "", "200 OK", "image/svg+xml");
    char *text = ask(v, "GET /static/app.css", "");
    const char *etag = strstr(text, "ETag: ");
    assert_non_null(etag);
    snprintf(etag_line + strlen(etag_line), 40, "%.*s\r\n", (int)strcspn(etag + 6, "\r"), etag + 6);
    free(text);
    EXPECT_IN(v, "GET /static/app.css", etag_line, "304 ", "ETag: ", "Cache-Control: ", "!body{");
    EXPECT_IN(v, "GET /static/app.css", "If-None-Match: *\r\n", "304 ");
    EXPECT_IN(v, "GET /static/app.css", "If-None-Match: \"other\"\r\n", "200 OK", "body{");
    EXPECT_IN(v, "GET /static/app.js", etag_line, "200 OK");
    EXPECT_IN(v, "GET /static/app.css", "If-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "304 ");
    EXPECT_IN(v, "GET /static/app.css", "If-Modified-Since: Wed, 31 Dec 2025 23:59:59 GMT\r\n", "200 OK");
    EXPECT_IN(v, "GET /static/app.css", "If-Modified-Since: never\r\n", "200 OK");
    /* RFC 9110 section 13.1.3: If-None-Match wins */
    EXPECT_IN(v, "GET /static/app.css",
              "If-None-Match: \"x\"\r\nIf-Modified-Since: Thu, 01 Jan 2026 00:00:00 GMT\r\n", "200 OK");
}

static void test_product(void **state)
{
    struct served *v = *state;
    EXPECT_IN(v, "GET /product/7", "", "max-age=300", ">10.00<",
              "millpond purge http://shop.example/product/7");
    EXPECT_IN(v, "POST /product/7", "", "no-store", ">11.25<");
    EXPECT_IN(v, "GET /product/7", "X-Forwarded-Host: www.example\r\n", ">11.25<",
              "http://www.example/product/7");
    EXPECT_IN(v, "GET /product/x", "", "404 ");
    EXPECT_IN(v, "GET /product/", "", "404 ");
    EXPECT_IN(v, "GET /product/99999999999", "", "404 ");
    EXPECT_IN(v, "PUT /product/7", "", "405 ");
}

/* Two instances over one file agree; a file with rubbish in it counts as new. */
static void test_instances_share_the_price(void **state)
{
    UNUSED(state);
    char path[] = "/tmp/millpond-price-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "rubbish", 7), 7);
    close(fd);
    struct served *one = served_start(&(struct demo_app_settings){.name = "one", .data_path = path});
    struct served *two = served_start(
        &(struct demo_app_settings){.name = "two", .data_path = path, .purge_command = "mp purge"});
    EXPECT_IN(one, "GET /product/7", "", ">10.00<");
    EXPECT_IN(one, "POST /product/7", "", ">11.25<");
    EXPECT_IN(two, "GET /product/7", "", ">11.25<", "mp purge http://");
    EXPECT_IN(two, "POST /product/7", "", ">12.50<");
    EXPECT_IN(one, "GET /product/7", "", ">12.50<");
    served_stop(one);
    served_stop(two);
    unlink(path);
}

static void test_slow(void **state)
{
    struct served *v = *state;
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    EXPECT_IN(v, "GET /slow?ms=120", "", "200 OK", "max-age=10", "took 120 ms");
    clock_gettime(CLOCK_MONOTONIC, &after);
    assert_true((after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000 >= 115);
    EXPECT_IN(v, "GET /slow?ms=0", "", "200 OK");
}

/* Clients that leave while they wait, and the end of the application while others do: nothing is used after
 * it is freed. */
static void test_slow_clients_leave(void **state)
{
    struct served *v = *state;
    static const char request[] = "GET /slow?ms=20000 HTTP/1.1\r\nHost: a\r\n\r\n",
                      soon[] = "GET /slow?ms=20 HTTP/1.1\r\nHost: a\r\n\r\n";
    int fds[6];
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        const char *text = i % 2 == 0 ? request : soon;
        fds[i] = connect_to(v);
        assert_true(send(fds[i], text, strlen(text), MSG_NOSIGNAL) > 0);
    }
    for (size_t i = 0; i < 4; i++)
        close(fds[i]);
    EXPECT_IN(v, "GET /slow?ms=40", "", "200 OK");
    served_stop(v);
    close(fds[4]);
    close(fds[5]);
    *state = served_start(&(struct demo_app_settings){.name = "next"});
}

static void test_wrong_usage(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"", "0", "65536", "x", "-1"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *argv[] = {(char[]){"demo-app"}, (char[]){"--port"}, (char *)(uintptr_t)bad[i], NULL};
        assert_int_equal(demo_app_main(3, argv), 2);
    }
    char *none[] = {(char[]){"demo-app"}, NULL};
    assert_int_equal(demo_app_main(1, none), 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_pages),
        T(test_fail),
        T(test_request_is_escaped),
        T(test_assets),
        T(test_product),
        cmocka_unit_test(test_instances_share_the_price),
        T(test_slow),
        T(test_slow_clients_leave),
        cmocka_unit_test(test_wrong_usage),
    };
    return cmocka_run_group_tests_name("proxy/demo_app", tests, NULL, NULL);
}
