/* test_health_probe.c: real probes against a scripted server on the same loop: what is asked, what each kind
 * of answer means, limits, timeouts, unix sockets, stopping at any moment. */
#include "tests/unit/balancer/health_fixture.h"

static void test_request_and_success(void **state)
{
    UNUSED(state);
    expect_reply("HTTP/1.1 204 No Content\r\n\r\n", HEALTH_OK, "status 204");
    assert_string_equal(env.request, "GET /health?deep=1 HTTP/1.1\r\nHost: app.example:8080\r\n"
                                     "User-Agent: millpond/" MILLPOND_VERSION " (health check)\r\n"
                                     "Accept: */*\r\nConnection: close\r\n\r\n");
}

static void test_default_port_is_not_named(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.port = 0;
    env.reply = "HTTP/1.1 200 OK\r\n\r\n";
    run(&s, 1);
    assert_non_null(strstr(env.request, "\r\nHost: app.example\r\n"));
}

static void test_statuses(void **state)
{
    UNUSED(state);
    expect_reply("HTTP/1.0 200 OK\r\n\r\nhello", HEALTH_OK, "status 200");
    expect_reply("HTTP/1.1 399 Odd\r\n\r\n", HEALTH_OK, "status 399");
    expect_reply("HTTP/1.1 400 Bad\r\n\r\n", HEALTH_UNHEALTHY, "status 400");
    expect_reply("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n", HEALTH_UNHEALTHY,
                 "status 503");
}

static void test_several_ranges(void **state)
{
    UNUSED(state);
    static const struct config_status_range ranges[] = {{204, 204}, {301, 302}, {418, 418}};
    static const struct {
        const char *reply;
        enum health_verdict verdict;
    } rows[] = {{"HTTP/1.1 200 OK\r\n\r\n", HEALTH_UNHEALTHY},
                {"HTTP/1.1 204 OK\r\n\r\n", HEALTH_OK},
                {"HTTP/1.1 302 Found\r\n\r\n", HEALTH_OK},
                {"HTTP/1.1 303 Other\r\n\r\n", HEALTH_UNHEALTHY},
                {"HTTP/1.1 418 Pot\r\n\r\n", HEALTH_OK}};
    struct health_settings s = http_settings();
    s.ranges = ranges;
    s.range_count = ARRAY_LEN(ranges);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        env.reply = rows[i].reply;
        assert_int_equal(run(&s, 1)->verdict, rows[i].verdict);
        health_probe_stop(&env.probe);
    }
}

static void test_answer_in_pieces(void **state)
{
    UNUSED(state);
    env.byte_by_byte = true;
    expect_reply("HTTP/1.1 200 OK\r\nServer: slow\r\nContent-Length: 2\r\n\r\nok", HEALTH_OK, "status 200");
}

static void test_interim_responses(void **state)
{
    UNUSED(state);
    static const char many[] = "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
                               "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
                               "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
                               "HTTP/1.1 200 OK\r\n\r\n";
    expect_reply("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n", HEALTH_UNHEALTHY,
                 "status 500");
    expect_reply("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", HEALTH_OK, "status 200");
    expect_reply("HTTP/1.1 101 Switching Protocols\r\n\r\n", HEALTH_UNHEALTHY, "status 101");
    expect_reply(many, HEALTH_UNHEALTHY, "bad response: too many interim responses");
}

static void test_garbage(void **state)
{
    UNUSED(state);
    expect_reply("SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", HEALTH_UNHEALTHY,
                 "bad response: malformed status line");
    expect_reply("HTTP/1.1 200 OK\r\nBroken : yes\r\n\r\n", HEALTH_UNHEALTHY,
                 "bad response: white space before the colon of a field");
}

static void test_endless_head(void **state)
{
    UNUSED(state);
    static char reply[64 * 1024];
    memset(reply, 'x', sizeof reply);
    memcpy(reply, "HTTP/1.1 200 OK\r\nX: ", 20);
    env.reply_bytes = sizeof reply;
    expect_reply(reply, HEALTH_UNHEALTHY, "bad response: head too large");
}

static void test_closed_early(void **state)
{
    UNUSED(state);
    env.close_after = true;
    expect_reply("HTTP/1.1 200 OK\r\nServer: x", HEALTH_UNHEALTHY, "closed before the response was complete");
}

static void test_closed_at_once(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    env.close_at_once = true;
    assert_int_equal(run(&s, 1)->verdict, HEALTH_UNHEALTHY);
    health_probe_stop(&env.probe);
    env.reset = true;
    assert_int_equal(run(&s, 1)->verdict, HEALTH_UNHEALTHY);
}

static void test_refused(void **state)
{
    UNUSED(state);
    int keep;
    struct health_settings s = http_settings();
    stop_serving();
    env.addr = fixture_dead_addr(&keep);
    expect(run(&s, 1), HEALTH_UNREACHABLE, "connect refused");
    health_probe_stop(&env.probe);
    s.kind = CONFIG_HEALTH_TCP;
    expect(run(&s, 1), HEALTH_UNREACHABLE, "connect refused");
    close(keep);
}

static void test_no_answer(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.timeout_ms = 50;
    expect(run(&s, 1), HEALTH_UNHEALTHY, "no response within 50 ms");
    health_probe_stop(&env.probe);
    env.reply = "HTTP/1.1 200 OK\r\n"; /* never ends */
    expect(run(&s, 1), HEALTH_UNHEALTHY, "no response within 50 ms");
}

/* A listening socket whose queue is full drops further connections: they stay half open. */
static void test_connect_timeout(void **state)
{
    UNUSED(state);
    struct net_addr any;
    int extra[8];
    stop_serving();
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &any));
    env.listen_fd = net_listen(&any, 0, false);
    assert_true(env.listen_fd >= 0 && net_local_addr(env.listen_fd, &env.addr));
    for (size_t i = 0; i < ARRAY_LEN(extra); i++)
        extra[i] = net_connect(&env.addr);
    struct health_settings s = http_settings();
    s.timeout_ms = 50;
    expect(run(&s, 1), HEALTH_UNREACHABLE, "connect timed out after 50 ms");
    for (size_t i = 0; i < ARRAY_LEN(extra); i++)
        close(extra[i]);
}

static void test_tcp(void **state)
{
    UNUSED(state);
    struct health_settings s = {.kind = CONFIG_HEALTH_TCP, .interval_ms = 100000, .timeout_ms = 1000};
    expect(run(&s, 1), HEALTH_OK, "connected");
}

static bool has_left(void *arg)
{
    UNUSED(arg);
    return env.peer_closed > 0;
}

/* An instance that wants a PROXY header gets it from probes, too: nobody's. */
static void test_proxy_header(void **state)
{
    UNUSED(state);
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", unknown[] = "PROXY UNKNOWN\r\n";
    struct health_settings s = http_settings();
    s.proxy_header = PROXY_HEADER_V1;
    env.reply = "HTTP/1.1 200 OK\r\n\r\n";
    expect(run(&s, 1), HEALTH_OK, "status 200");
    assert_memory_equal(env.request, unknown, sizeof unknown - 1);
    assert_memory_equal(env.request + sizeof unknown - 1, "GET /health", 11);
    health_probe_stop(&env.probe);
    env.reply = NULL;
    env.peer_closed = 0;
    s.kind = CONFIG_HEALTH_TCP;
    s.proxy_header = PROXY_HEADER_V2;
    expect(run(&s, 1), HEALTH_OK, "connected");
    fixture_run_until(env.w, has_left, NULL);
    assert_int_equal(env.request_bytes, sizeof local - 1);
    assert_memory_equal(env.request, local, sizeof local - 1);
}

static void test_unix_socket(void **state)
{
    UNUSED(state);
    char dir[] = "/tmp/millpond-test-XXXXXX", text[64];
    struct net_addr addr;
    struct health_settings s = http_settings();
    assert_non_null(mkdtemp(dir));
    snprintf(text, sizeof text, "unix:%s/app.sock", dir);
    assert_true(net_addr_parse(slice_str(text), &addr));
    stop_serving();
    env.addr = addr;
    assert_int_equal(run(&s, 1)->verdict, HEALTH_UNREACHABLE);
    assert_string_equal(env.results[0].reason, "connect failed: No such file or directory");
    health_probe_stop(&env.probe);
    serve(&addr, net_listen(&addr, 16, false));
    assert_true(env.listen_fd >= 0);
    expect_reply("HTTP/1.1 200 OK\r\n\r\n", HEALTH_OK, "status 200");
    stop_serving();
    expect_reply("", HEALTH_UNREACHABLE, "connect refused");
    unlink(addr.un.sun_path);
    rmdir(dir);
}

/* The lack of descriptors is ours. */
static void test_no_descriptors(void **state)
{
    UNUSED(state);
    struct rlimit before, none;
    struct health_settings s = {.kind = CONFIG_HEALTH_TCP, .interval_ms = 100000, .timeout_ms = 1000};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    const struct health_result *r = run(&s, 1);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    expect(r, HEALTH_SKIPPED, "Too many open files");
}

static void test_goes_on(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.interval_ms = 40;
    env.reply = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    env.close_after = true;
    run(&s, 5);
    assert_int_equal(env.accepted, 5);
    for (unsigned i = 0; i + 1 < env.count; i++) {
        assert_int_equal(env.results[i].verdict, HEALTH_OK);
        assert_true(env.at_ms[i + 1] - env.at_ms[i] >= 30);
    }
}

/* Ten per cent to either side, and not always the same. */
static void test_jitter(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    mono_ms_t lowest = INT64_MAX, highest = 0;
    env.reply = "HTTP/1.1 200 OK\r\n\r\n";
    for (unsigned n = 0; n < MAX_RESULTS; n++) {
        run(&s, 1);
        mono_ms_t gap_ms = env.probe.next.at_ms - env.probe.begun_ms;
        lowest = MIN(lowest, gap_ms);
        highest = MAX(highest, gap_ms);
        health_probe_stop(&env.probe);
    }
    assert_true(lowest >= 90000 && highest <= 110000);
    assert_true(lowest < highest);
}

static bool server_saw_close(void *arg)
{
    UNUSED(arg);
    return env.peer_closed > 0;
}

/* The body is taken, not reset, up to a bound. */
static void test_body_is_drained(void **state)
{
    UNUSED(state);
    static char reply[128 * 1024];
    struct health_settings s = http_settings();
    memset(reply, 'x', sizeof reply);
    memcpy(reply, "HTTP/1.1 200 OK\r\n\r\n", 19);
    env.reply = reply;
    env.reply_bytes = sizeof reply;
    run(&s, 1);
    assert_int_equal(env.probe.phase, HEALTH_DRAINING);
    assert_int_equal(env.peer_closed, 0);
    for (unsigned round = 0; round < 40; round++) { /* 40 x 128K is beyond the bound */
        ssize_t n = send(env.fd, reply, sizeof reply, MSG_NOSIGNAL | MSG_DONTWAIT);
        UNUSED(n);
        event_base_loop(env.w->base, EVLOOP_NONBLOCK);
    }
    fixture_run_until(env.w, server_saw_close, NULL);
    assert_int_equal(env.probe.phase, HEALTH_IDLE);
    assert_int_equal(env.count, 1);
}

static void test_drain_ends_with_the_timeout(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.timeout_ms = 100;
    env.reply = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    expect(run(&s, 1), HEALTH_OK, "status 200");
    fixture_run_until(env.w, server_saw_close, NULL);
    assert_int_equal(env.count, 1);
}

static bool accepted(void *arg)
{
    UNUSED(arg);
    return env.accepted > 0;
}

static void test_stop_in_the_middle(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    health_probe_start(&env.probe, &s, 0);
    fixture_run_until(env.w, accepted, NULL);
    health_probe_stop(&env.probe);
    health_probe_stop(&env.probe);
    fixture_run_until(env.w, server_saw_close, NULL);
    assert_int_equal(env.count, 0);
}

static void test_stop_inside_the_result(void **state)
{
    UNUSED(state);
    env.stop_in_result = true;
    env.reply = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    struct health_settings s = http_settings();
    run(&s, 1);
    assert_int_equal(env.probe.phase, HEALTH_IDLE);
    assert_false(deadline_is_set(&env.probe.next));
    s.kind = CONFIG_HEALTH_TCP;
    run(&s, 1);
    assert_false(env.probe.started);
}

static void test_hurry(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.interval_ms = 1000;
    env.reply = "HTTP/1.1 200 OK\r\n\r\n";
    env.close_after = true;
    health_probe_hurry(&env.probe); /* not started: nothing */
    run(&s, 1);
    health_probe_hurry(&env.probe);
    health_probe_hurry(&env.probe);
    run(&s, 1);
    assert_true(env.at_ms[1] - env.at_ms[0] >= 100);
    assert_true(env.at_ms[1] - env.at_ms[0] < 900);
}

/* A reload: the new settings count from the next probe on, and a shorter interval at once. */
static void test_settings_change(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    env.reply = "HTTP/1.1 200 OK\r\n\r\n";
    run(&s, 1);
    s.path = "/new";
    s.interval_ms = 40;
    run(&s, 1);
    assert_non_null(strstr(env.request, "GET /new HTTP/1.1\r\n"));
    s.interval_ms = 100000;
    mono_ms_t next_ms = env.probe.next.at_ms;
    health_probe_start(&env.probe, &s, 0);
    assert_int_equal(env.probe.next.at_ms, next_ms);
}

static void test_body(void **state)
{
    UNUSED(state);
    static const struct {
        const char *reply, *reason;
        enum health_verdict verdict;
        bool close;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nIT IS!", "status and body are right", HEALTH_OK, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nit is!", "the body does not hold \"IT IS\"",
         HEALTH_UNHEALTHY, false},
        {"HTTP/1.1 200 OK\r\n\r\nno, it is not", "the body does not hold \"IT IS\"", HEALTH_UNHEALTHY, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\nno",
         "bad response: its body is cut off or not framed as it says", HEALTH_UNHEALTHY, true},
        {"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nIT IS", "status 500", HEALTH_UNHEALTHY, false},
    };
    for (unsigned slow = 0; slow < 2; slow++) {
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            struct health_settings s = http_settings();
            s.body = "IT IS";
            env.byte_by_byte = slow == 1;
            env.reply = cases[i].reply;
            env.close_after = cases[i].close;
            expect(run(&s, 1), cases[i].verdict, cases[i].reason);
            health_probe_stop(&env.probe);
        }
    }
}

static void test_a_body_that_does_not_end(void **state)
{
    UNUSED(state);
    struct health_settings s = http_settings();
    s.body = "IT IS";
    s.timeout_ms = 50;
    env.reply = "HTTP/1.1 200 OK\r\n\r\nIT I";
    expect(run(&s, 1), HEALTH_UNHEALTHY, "no \"IT IS\" in the body within 50 ms");
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_request_and_success),
        T(test_default_port_is_not_named),
        T(test_statuses),
        T(test_several_ranges),
        T(test_answer_in_pieces),
        T(test_interim_responses),
        T(test_garbage),
        T(test_endless_head),
        T(test_closed_early),
        T(test_closed_at_once),
        T(test_refused),
        T(test_no_answer),
        T(test_connect_timeout),
        T(test_tcp),
        T(test_proxy_header),
        T(test_unix_socket),
        T(test_no_descriptors),
        T(test_goes_on),
        T(test_jitter),
        T(test_body_is_drained),
        T(test_body),
        T(test_a_body_that_does_not_end),
        T(test_drain_ends_with_the_timeout),
        T(test_stop_in_the_middle),
        T(test_stop_inside_the_result),
        T(test_hurry),
        T(test_settings_change),
    };
    return cmocka_run_group_tests_name("balancer/health_probe", tests, NULL, NULL);
}
