/* rate_limit.c: rate_limit of routes as clients see it: a burst passes, more is answered 429 with
 * Retry-After, and whose requests are counted together. Most limits here give one request an hour back, so
 * that no time that passes in a test counts. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
                              {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
                              {0}};

static int setup(void **state)
{
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    return support_setup(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

/* `main` are lines of [millpond]; `routes` whole sections. */
static struct millpond *start(const char *main, const char *routes)
{
    struct origin *o = origin_start(pages_script, pages);
    return millpond_start(.main = main, .rest = textf("%s%s", pool_lines("app", 1, o), routes));
}

/* How many of `n` requests pass; all others must be answered 429. */
static unsigned passing(struct millpond *m, unsigned n, const char *target, const char *fields)
{
    unsigned passed = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct message *r = client_get(m->port, target, fields);
        EXPECT(r->status == 200 || r->status == 429, "status %d", r->status);
        passed += r->status == 200;
    }
    return passed;
}

static char *from(const char *address)
{
    return textf("X-Forwarded-For: %s\r\n", address);
}

static void expect_metric(struct millpond *m, const char *line)
{
    expect_in(millpond_admin(m, "GET", "/metrics")->body, line);
}

/* ---- what comes of it ---- */

static void a_burst_passes_and_more_is_answered_429(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrate_limit = 1/h burst=3\n");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 3; i++) { /* a miss, and two hits */
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c), "/p#1");
    }
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    const struct message *r = client_read(c);
    expect_status(r, 429);
    assert_in_range(atoi(message_field(r, "Retry-After")), 3000, 3600);
    expect_field(r, "Cache-Control", "no-store");
    expect_field(r, "Cache-Status", "millpond; detail=rate_limited");
    expect_no_field(r, "Connection");
    expect_in(r->body, "too many requests");
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\n\r\n"); /* on the same connection */
    expect_status(client_read_no_body(c), 429);
    millpond_stop(m);
}

static void it_is_in_the_log_and_the_metrics(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 2", "[route web]\nrate_limit = 1/h burst=2\n");
    assert_int_equal(passing(m, 5, "/p", ""), 2);
    json_t *line = millpond_access_line(m, "\"status\":429");
    assert_string_equal(json_string_value(json_object_get(line, "cache")), "limited");
    assert_string_equal(json_string_value(json_object_get(line, "no_store")), "rate_limited");
    assert_string_equal(json_string_value(json_object_get(line, "route")), "web");
    assert_null(json_object_get(line, "close"));
    millpond_wait_access(m, "\"status\":429", 3); /* a request is counted before its line is written */
    expect_metric(m, "millpond_http_requests_total{route=\"web\",cache=\"limited\",status=\"4xx\"} 3\n");
    expect_metric(m, "{route=\"web\",cache=\"limited\",reason=\"rate_limited\"} 3\n");
    expect_metric(m, "millpond_rate_limits_total{outcome=\"passed\"} 2\n");
    expect_metric(m, "millpond_rate_limits_total{outcome=\"over\"} 3\n");
    assert_int_equal(millpond_figure(m, "rate_limited"), 3);
    millpond_stop(m);
}

/* So many at once that no machine is slow enough to be within the limit. */
static void after_a_while_it_passes_again(void **state)
{
    enum { MANY = 300 };
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrespond = 200 ok\nrate_limit = 10/s burst=20\n");
    struct client *c = client_open(m->port);
    char *all = textf("%s", "");
    for (int i = 0; i < MANY; i++)
        all = textf("%sGET / HTTP/1.1\r\nHost: test\r\n\r\n", all);
    client_send(c, "%s", all);
    unsigned passed = 0, refused = 0;
    for (int i = 0; i < MANY; i++) {
        const struct message *r = client_read(c);
        passed += r->status == 200;
        refused += r->status == 429;
        if (r->status == 429)
            expect_field(r, "Retry-After", "1");
    }
    assert_int_equal(passed + refused, MANY);
    assert_true(passed >= 20 && refused > 0);
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (client_get(m->port, "/", "")->status != 200)
        EXPECT(clock_mono_ms() < until_ms, "it never passes again");
    millpond_stop(m);
}

static void a_body_is_not_waited_for(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrate_limit = 1/h burst=1\n");
    assert_int_equal(passing(m, 1, "/p", ""), 1);
    struct client *c = client_open(m->port);
    client_send(c, "POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n");
    const struct message *r = client_read(c);
    expect_status(r, 429);
    expect_field(r, "Connection", "close");
    client_expect_closed(c);
    c = client_open(m->port);
    client_send(c, "POST /p HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n");
    expect_status(client_read(c), 429); /* instead of a 100 */
    millpond_wait_access(m, "\"close\":\"body_unread\"", 2);
    millpond_stop(m);
}

static void a_429_of_a_route_or_an_instance_is_its_own(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 429 Slow\r\nContent-Length: 0\r\nRetry-After: 7\r\n\r\n");
    struct millpond *m = millpond_before(
        o, "[route own]\npath = /own\nrespond = 429 no\n[route web]\nrate_limit = 1/h burst=9\n");
    expect_no_field(client_get(m->port, "/own", ""), "Retry-After");
    const struct message *r = client_get(m->port, "/", "");
    expect_status(r, 429);
    expect_field(r, "Retry-After", "7");
    expect_not_in(message_field(r, "Cache-Status"), "rate_limited");
    millpond_stop(m);
}

/* ---- who is counted ---- */

static void addresses_are_counted_apart(void **state)
{
    UNUSED(state);
    struct millpond *m =
        start("trusted_proxies = 127.0.0.1\nworkers = 2", "[route web]\nrate_limit = 1/h burst=2\n");
    assert_int_equal(passing(m, 3, "/p", from("192.0.2.1")), 2);
    assert_int_equal(passing(m, 3, "/p", from("192.0.2.2")), 2);
    assert_int_equal(passing(m, 1, "/p", from("::ffff:192.0.2.1")), 0);
    assert_int_equal(passing(m, 1, "/p", from("::ffff:192.0.2.3")), 1); /* not all of these are one */
    assert_int_equal(passing(m, 2, "/p", from("2001:db8:1:2::1")), 2);
    assert_int_equal(passing(m, 1, "/p", from("2001:db8:1:2:ffff:ffff:ffff:ffff")), 0); /* the same /64 */
    assert_int_equal(passing(m, 1, "/p", from("2001:DB8:1:2:0:0:0:9")), 0);
    assert_int_equal(passing(m, 3, "/p", from("2001:db8:1:3::1")), 2);
    millpond_stop(m);
}

static void who_is_not_trusted_cannot_choose_an_address(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrate_limit = 1/h burst=2\n");
    assert_int_equal(passing(m, 1, "/p", from("192.0.2.1")), 1);
    assert_int_equal(passing(m, 1, "/p", from("192.0.2.2")), 1);
    assert_int_equal(passing(m, 1, "/p", from("192.0.2.3")), 0);
    millpond_stop(m);
}

static void fields_tell_clients_apart(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrate_limit = 1/h burst=2 by=header:X-Key\n");
    assert_int_equal(passing(m, 3, "/p", "X-Key: a\r\n"), 2);
    assert_int_equal(passing(m, 3, "/p", "x-key: b\r\n"), 2);
    assert_int_equal(passing(m, 1, "/p", "X-Key: \r\n"), 1); /* this and what follows: the address */
    assert_int_equal(passing(m, 1, "/p", ""), 1);
    assert_int_equal(passing(m, 1, "/p", "X-Key: c\r\nX-Key: d\r\n"), 0);
    assert_int_equal(passing(m, 1, "/p", ""), 0);
    assert_int_equal(passing(m, 1, "/p", "X-Key: c\r\n"), 1);
    millpond_stop(m);
}

static void routes_are_counted_apart(void **state)
{
    UNUSED(state);
    struct millpond *m = start(
        "workers = 1", "[route a]\npath = /p\nrate_limit = 1/h burst=2\n"
                       "[route b]\npath = /q\nrate_limit = 1/h burst=2\n"
                       "[route c]\npath = /go\nredirect = 302 /p\nrate_limit = 1/h burst=1\n"
                       "[route d]\npath = /no\ndeny = 127.0.0.1\nrate_limit = 1/h burst=1\n[route e]\n");
    assert_int_equal(passing(m, 3, "/p", ""), 2);
    assert_int_equal(passing(m, 3, "/q", ""), 2);
    expect_status(client_get(m->port, "/go", ""), 302);
    expect_status(client_get(m->port, "/go", ""), 429);
    for (int i = 0; i < 2; i++) /* closed, whoever comes how often */
        expect_status(client_get(m->port, "/no", ""), 403);
    for (int i = 0; i < 3; i++)
        expect_status(client_get(m->port, "/else", ""), 404);
    millpond_stop(m);
}

static void workers_count_together(void **state)
{
    enum { CLIENTS = 40 };
    UNUSED(state);
    struct client *clients[CLIENTS];
    struct millpond *m = start("workers = 4", "[route web]\nrespond = 200 ok\nrate_limit = 1/h burst=50\n");
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client_open(m->port);
    for (int i = 0; i < CLIENTS; i++)
        client_send(clients[i], "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n");
    unsigned passed = 0;
    for (int i = 0; i < 2 * CLIENTS; i++)
        passed += client_read(clients[i / 2])->status == 200;
    assert_int_equal(passed, 50);
    expect_metric(m, "millpond_rate_limits_total{outcome=\"over\"} 30\n");
    millpond_stop(m);
}

/* ---- configurations ---- */

static void a_reload_keeps_what_was_counted(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(pages_script, pages);
    const char *pool = pool_lines("app", 1, o), *web = "[route web]\nrate_limit = 1/h burst=2\n";
    struct millpond *m = millpond_start(.rest = textf("%s%s", pool, web));
    assert_int_equal(passing(m, 1, "/p", ""), 1);
    millpond_write_ini(m, .rest = textf("%s%sset_response_header = X-New: yes\n", pool, web));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_int_equal(passing(m, 2, "/p", ""), 1);
    millpond_write_ini(m, .rest = textf("%s[route web]\nrate_limit = 1/h burst=3\n", pool));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_int_equal(passing(m, 4, "/p", ""), 3); /* another limit begins anew */
    millpond_write_ini(m, .rest = textf("%s[route web]\n", pool));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_int_equal(passing(m, 9, "/p", ""), 9);
    millpond_stop(m);
}

static void explain_names_it(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "[route web]\nrate_limit = 1/h burst=2\n");
    expect_in(millpond_cli(m, "explain", "http://test/p", NULL).out,
              "takes everything; goes to pool app (round_robin); at most 1/h burst=2 (rate_limit)\n");
    assert_int_equal(passing(m, 3, "/p", ""), 2); /* which explain did not count for */
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_burst_passes_and_more_is_answered_429),
        TEST(it_is_in_the_log_and_the_metrics),
        TEST(after_a_while_it_passes_again),
        TEST(a_body_is_not_waited_for),
        TEST(a_429_of_a_route_or_an_instance_is_its_own),
        TEST(addresses_are_counted_apart),
        TEST(who_is_not_trusted_cannot_choose_an_address),
        TEST(fields_tell_clients_apart),
        TEST(routes_are_counted_apart),
        TEST(workers_count_together),
        TEST(a_reload_keeps_what_was_counted),
        TEST(explain_names_it),
    };
    return E2E_RUN("rate_limit", tests);
}
