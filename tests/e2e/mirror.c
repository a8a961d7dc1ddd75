/* mirror.c: copies of requests for another pool: what they are, and that neither a mirror that hangs nor one
 * that is dead or slow is noticed by who asked. */
#include <signal.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define LISTEN  "protocols = h2c, http/1.1\n"
#define COUNT   20
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static void app_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    const char *fields = "Cache-Control: no-store\r\n";
    if (strcmp(request->target, "/cached") == 0)
        fields = "Cache-Control: max-age=600\r\n";
    else if (strcmp(request->target, "/stale") == 0)
        fields = "Cache-Control: max-age=0, stale-while-revalidate=600\r\nAge: 5\r\n";
    origin_respond(c, 200, fields, "app");
}

/* Passes the gate, then answers with another body, of which nobody may see anything. */
static void mirror_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: max-age=600\r\nSet-Cookie: mirror=1\r\n", "mirror");
}

static void error_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 503, "", "mirror");
}

struct site {
    struct origin *app, *mirror;
    struct gate *gate;
    struct millpond *m;
};

static struct site site_of(origin_script *mirror, int mirror_port, const char *pool)
{
    struct site s = {.gate = gate_new()};
    gate_open(s.gate);
    s.app = origin_start(app_script, NULL);
    s.mirror = mirror != NULL ? origin_start(mirror, s.gate) : NULL;
    s.m = millpond_start(.listen = LISTEN, .main = "workers = 1\nshutdown_timeout = 1h\n",
                         .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nhealth_check = off\n[pool next]\n"
                                       "server = 127.0.0.1:%d\nhealth_check = off\n%s[route r]\n"
                                       "mirror = next\n",
                                       origin_port(s.app),
                                       mirror != NULL ? origin_port(s.mirror) : mirror_port, pool));
    return s;
}

/* All copies have come to an end, and nothing is left of them. */
static void finish(struct site *s)
{
    client_close_all();
    millpond_wait_figure(s->m, "mirrors_in_flight", 0);
    millpond_wait_idle(s->m);
    millpond_stop(s->m);
}

static void expect_app(struct message *r)
{
    expect_status(r, 200);
    expect_body(r, "app");
    EXPECT(message_field(r, "Set-Cookie") == NULL, "the mirror's cookie");
}

/* ---- what is copied ---- */

static void copy_is_what_the_instance_gets(void **state)
{
    static const char *const same[] = {"Host", "X-A", "Cookie", "X-Forwarded-For", "X-Request-Id", "Via"};
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    expect_app(client_get(s.m->port, "/p?q=1",
                          "X-A: 1\r\nCookie: c=1\r\nConnection: X-B\r\nX-B: 1\r\nMillpond-Mirror: 2\r\n"));
    origin_wait_requests(s.mirror, 1);
    const struct message *app = origin_request(s.app, 0), *copy = origin_request(s.mirror, 0);
    assert_string_equal(copy->method, "GET");
    assert_string_equal(copy->target, "/p?q=1");
    for (size_t i = 0; i < ARRAY_LEN(same); i++)
        assert_string_equal(message_field(copy, same[i]), message_field(app, same[i]));
    expect_field(copy, "Millpond-Mirror", "1");
    EXPECT(message_field(copy, "X-B") == NULL, "a field of the connection");
    EXPECT(message_field(app, "Millpond-Mirror") == NULL, "the application takes it for a copy");
    finish(&s);
}

static void bodies_are_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    expect_app(client_ask(s.m->port, "POST", "/p", "", "one two"));
    origin_wait_requests(s.mirror, 1);
    expect_body(origin_request(s.mirror, 0), "one two");
    struct client *c = client_open(s.m->port);
    client_send(c, "PUT /p HTTP/1.1\r\nHost: test\r\n" CHUNKED "\r\n3\r\none\r\n");
    origin_wait_requests(s.app, 1);
    client_send(c, "4\r\n two\r\n0\r\n\r\n");
    expect_app(client_read(c));
    origin_wait_requests(s.mirror, 2);
    expect_body(origin_request(s.mirror, 1), "one two");
    client_send(c, "POST /p HTTP/1.1\r\nHost: test\r\n" CHUNKED "\r\n0\r\n\r\n");
    expect_app(client_read(c));
    origin_wait_requests(s.mirror, 3);
    expect_body(origin_request(s.mirror, 2), "");
    finish(&s);
}

static void http2_requests_are_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    struct h2_client *c = h2_open(s.m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 200, "app");
    h2_headers(c, 0, 3, H2_POST("/q"));
    h2_data(c, 0, 3, "one ", 4);
    h2_data(c, NGHTTP2_FLAG_END_STREAM, 3, "two", 3);
    h2_expect(c, 3, 200, "app");
    origin_wait_requests(s.mirror, 2);
    assert_string_equal(origin_request(s.mirror, 0)->target, "/p");
    expect_body(origin_request(s.mirror, 1), "one two");
    h2_close(c);
    finish(&s);
}

static void what_the_cache_answers_is_not_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    for (int i = 0; i < 3; i++)
        expect_app(client_get(s.m->port, "/cached", ""));
    expect_app(client_get(s.m->port, "/last", ""));
    origin_wait_requests(s.mirror, 2);
    assert_int_equal(origin_requests_for(s.mirror, "/cached"), 1);
    assert_int_equal(millpond_figure(s.m, "mirrored_requests"), 2);
    finish(&s);
}

/* They are asked of instances as others are, though no client waits for them. */
static void renewals_in_the_background_are_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    for (unsigned i = 0; i < 2; i++) {
        expect_app(client_get(s.m->port, "/stale", ""));
        origin_wait_requests(s.app, i + 1);
        origin_wait_requests(s.mirror, i + 1);
    }
    finish(&s);
}

static void long_bodies_are_not_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    char *body = calloc(1, 64 * 1024 + 2);
    support_on_end(free, body);
    memset(body, 'a', 64 * 1024 + 1);
    expect_app(client_ask(s.m->port, "POST", "/long", "", body)); /* known by its length */
    struct client *c = client_open(s.m->port);
    client_send(c, "POST /long HTTP/1.1\r\nHost: test\r\n" CHUNKED "\r\n10001\r\n");
    client_send_bytes(c, body, 64 * 1024 + 1);
    client_send(c, "\r\n0\r\n\r\n");
    expect_app(client_read(c));
    assert_int_equal(millpond_figure(s.m, "mirror_skips"), 2);
    body[64 * 1024] = '\0';
    expect_app(client_ask(s.m->port, "POST", "/fits", "", body));
    origin_wait_requests(s.mirror, 1);
    assert_string_equal(origin_request(s.mirror, 0)->target, "/fits");
    expect_body(origin_request(s.mirror, 0), body);
    finish(&s);
}

/* Whose body never becomes whole. */
static void unfinished_bodies_are_not_copied(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    struct client *c = client_open(s.m->port);
    client_send(c, "POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\none");
    millpond_wait_figure(s.m, "mirrors_in_flight", 1);
    client_reset(c);
    millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    assert_int_equal(origin_requests(s.mirror), 0);
    finish(&s);
}

/* ---- it is not noticed ---- */

static void hanging_mirror_holds_up_nobody(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    gate_shut(s.gate);
    for (int i = 0; i < COUNT; i++)
        expect_app(client_get(s.m->port, "/p", ""));
    gate_wait_arrived(s.gate, COUNT);
    assert_int_equal(millpond_figure(s.m, "mirrors_in_flight"), COUNT);
    gate_open(s.gate);
    millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    assert_int_equal(millpond_figure(s.m, "mirror_failures"), 0);
    finish(&s);
}

static void hanging_mirror_holds_up_no_stop(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "response_timeout = 1h\n");
    gate_shut(s.gate);
    expect_app(client_get(s.m->port, "/a", ""));
    gate_wait_arrived(s.gate, 1);
    client_close_all();
    proc_signal(s.m->proc, SIGTERM);
    millpond_expect_clean_end(s.m);
    gate_open(s.gate);
}

static void copies_are_bounded(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    struct client *c = client_open(s.m->port);
    gate_shut(s.gate);
    for (int i = 0; i < 260; i++) {
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_app(client_read(c));
    }
    assert_int_equal(millpond_figure(s.m, "mirrors_in_flight"), 256);
    assert_int_equal(millpond_figure(s.m, "mirror_skips"), 4);
    gate_open(s.gate);
    millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"); /* and there is room again */
    expect_app(client_read(c));
    origin_wait_requests(s.mirror, 257);
    finish(&s);
}

static void dead_mirror_fails_nobody(void **state)
{
    UNUSED(state);
    struct site s = site_of(NULL, origin_refusing_port(), "eject_errors = 0\n");
    for (int i = 0; i < COUNT; i++) {
        expect_app(client_get(s.m->port, "/p", ""));
        expect_app(client_ask(s.m->port, "POST", "/p", "", "body"));
    }
    millpond_wait_figure(s.m, "mirror_failures", 2 * COUNT);
    assert_int_equal(millpond_figure(s.m, "upstream_retries"), 0);
    finish(&s);
}

static void errors_of_the_mirror_are_counted(void **state)
{
    UNUSED(state);
    struct site s = site_of(error_script, 0, "eject_errors = 0\n");
    for (int i = 0; i < 3; i++)
        expect_app(client_get(s.m->port, "/p", ""));
    millpond_wait_figure(s.m, "mirror_failures", 3);
    assert_int_equal(origin_requests(s.mirror), 3); /* once each */
    finish(&s);
}

static void endless_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static const char piece[64 * 1024];
    UNUSED(request);
    UNUSED(arg);
    origin_send(c, "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n");
    while (origin_send_chunk(c, piece, sizeof piece))
        continue;
    origin_close(c);
}

static void endless_answer_is_cut(void **state)
{
    UNUSED(state);
    struct site s = site_of(endless_script, 0, "");
    expect_app(client_get(s.m->port, "/p", ""));
    millpond_wait_figure(s.m, "mirror_failures", 1);
    finish(&s);
}

static void silent_answer_ends_in_time(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "response_timeout = 200ms\n");
    gate_shut(s.gate);
    expect_app(client_get(s.m->port, "/p", ""));
    millpond_wait_figure(s.m, "mirror_failures", 1);
    gate_open(s.gate);
    finish(&s);
}

static void connections_to_the_mirror_are_kept(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    for (int i = 0; i < COUNT; i++) {
        expect_app(client_get(s.m->port, "/p", ""));
        millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    }
    assert_int_equal(origin_requests(s.mirror), COUNT);
    assert_int_equal(origin_connections(s.mirror), 1);
    finish(&s);
}

static void copies_do_not_invalidate(void **state)
{
    UNUSED(state);
    struct site s = site_of(mirror_script, 0, "");
    expect_app(client_get(s.m->port, "/cached", ""));
    millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    gate_shut(s.gate);
    expect_app(client_ask(s.m->port, "POST", "/cached", "", "x"));
    expect_app(client_get(s.m->port, "/cached", ""));
    gate_open(s.gate);
    millpond_wait_figure(s.m, "mirrors_in_flight", 0);
    expect_app(client_get(s.m->port, "/cached", ""));
    assert_int_equal(origin_requests(s.app), 3); /* the last was a hit */
    assert_int_equal(millpond_figure(s.m, "invalidations"), 1);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(copy_is_what_the_instance_gets),
        E2E_TEST(bodies_are_copied),
        E2E_TEST(http2_requests_are_copied),
        E2E_TEST(what_the_cache_answers_is_not_copied),
        E2E_TEST(renewals_in_the_background_are_copied),
        E2E_TEST(long_bodies_are_not_copied),
        E2E_TEST(unfinished_bodies_are_not_copied),
        E2E_TEST(hanging_mirror_holds_up_nobody),
        E2E_TEST(hanging_mirror_holds_up_no_stop),
        E2E_TEST(copies_are_bounded),
        E2E_TEST(dead_mirror_fails_nobody),
        E2E_TEST(errors_of_the_mirror_are_counted),
        E2E_TEST(endless_answer_is_cut),
        E2E_TEST(silent_answer_ends_in_time),
        E2E_TEST(connections_to_the_mirror_are_kept),
        E2E_TEST(copies_do_not_invalidate),
    };
    return E2E_RUN("mirror", tests);
}
