/* seeing.c: what the program says about what it did: access log lines, the slow-request line, counters,
 * latencies, the Prometheus page (as promtool sees it) and `millpond status`. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define LONG "Cache-Control: max-age=600\r\n"

static const char *text_of(json_t *line, const char *name)
{
    json_t *v = json_object_get(line, name);
    return json_is_string(v) ? json_string_value(v) : "(absent)";
}

static json_int_t number_of(json_t *line, const char *name)
{
    json_t *v = json_object_get(line, name);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static void json_lines_tell_the_story_of_each_request(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG},
                           {.path = "/private", .fields = "Cache-Control: private\r\n"},
                           {.path = "/check", .fields = "Cache-Control: no-cache\r\n", .etag = "\"1\""},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=one\n[route main]\n",
                           origin_port(o)));
    client_get(m->port, "/p?n=1", "User-Agent: tester \"q\"\r\nReferer: http://ref/\r\n");
    json_t *line = millpond_access_line(m, "/p?n=1");
    assert_string_equal(text_of(line, "method"), "GET");
    assert_string_equal(text_of(line, "target"), "/p?n=1");
    assert_string_equal(text_of(line, "host"), "test");
    assert_string_equal(text_of(line, "client"), "127.0.0.1");
    assert_string_equal(text_of(line, "scheme"), "http");
    assert_string_equal(text_of(line, "version"), "HTTP/1.1");
    assert_string_equal(text_of(line, "cache"), "miss");
    assert_string_equal(text_of(line, "no_store"), "stored");
    assert_string_equal(text_of(line, "route"), "main");
    assert_string_equal(text_of(line, "pool"), "app");
    assert_string_equal(text_of(line, "instance"), "one");
    assert_string_equal(text_of(line, "user_agent"), "tester \"q\"");
    assert_string_equal(text_of(line, "referer"), "http://ref/");
    assert_int_equal(number_of(line, "status"), 200);
    assert_int_equal(number_of(line, "tries"), 1);
    assert_int_equal(number_of(line, "retries"), 0);
    assert_true(number_of(line, "duration_us") > 0 && number_of(line, "connect_us") >= 0);
    assert_true(number_of(line, "first_byte_us") > 0 && number_of(line, "upstream_us") > 0);
    assert_true(number_of(line, "response_bytes") > 30 && number_of(line, "request_bytes") > 30);
    assert_string_equal(text_of(line, "request_id"), message_field(origin_request(o, 0), "X-Request-Id"));

    client_get(m->port, "/p?n=1", "X-Marker: 2\r\nUser-Agent: second\r\n");
    line = millpond_access_line(m, "second");
    assert_string_equal(text_of(line, "cache"), "hit");
    assert_int_equal(number_of(line, "tries"), 0);
    assert_true(number_of(line, "age_s") >= 0);
    assert_int_equal(number_of(line, "upstream_us"), -1);

    client_get(m->port, "/private", "");
    line = millpond_access_line(m, "/private");
    assert_string_equal(text_of(line, "no_store"), "private");
    client_ask(m->port, "POST", "/p?post", "Connection: close\r\n", "x");
    line = millpond_access_line(m, "/p?post");
    assert_string_equal(text_of(line, "cache"), "pass");
    assert_string_equal(text_of(line, "no_store"), "method");
    assert_string_equal(text_of(line, "close"), "no_keep_alive");
    client_get(m->port, "/check", "User-Agent: cold checker\r\n");
    client_get(m->port, "/check", "User-Agent: warm checker\r\n");
    assert_string_equal(text_of(millpond_access_line(m, "warm checker"), "cache"), "revalidated");
    client_raw(m->port, "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    line = millpond_access_line(m, "bad_request");
    assert_int_equal(number_of(line, "status"), 400);
    /* Whatever a client sends, a line is one line of JSON. */
    client_get(m->port, "/evil", "User-Agent: \"}\\\t\xff\xfe{\r\n");
    millpond_access_line(m, "/evil");
    millpond_stop(m);
}

static void aborted_and_failed_requests_say_why(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct page pages[] = {{.path = "/held", .fields = "Cache-Control: private\r\n", .gate = g}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "%sretries = 1\n[pool dead]\nhealth_check = off\nserver = 127.0.0.1:%d name=d\n"
                           "[route d]\npath = /dead\npool = dead\n[route rest]\npool = app\n",
                           pool_lines("app", 1, o), origin_refusing_port()));
    client_get(m->port, "/dead", "");
    json_t *line = millpond_access_line(m, "/dead");
    assert_int_equal(number_of(line, "status"), 502);
    assert_string_equal(text_of(line, "fetch_error"), "connect_refused");
    assert_string_equal(text_of(line, "instance"), "d");
    assert_true(number_of(line, "tries") >= 1);
    struct client *c = client_open(m->port);
    client_send(c, "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
    client_read_head(c);
    gate_wait_arrived(g, 1);
    client_reset(c);
    line = millpond_access_line(m, "/held");
    expect_in(text_of(line, "close"), "client_");
    gate_open(g);
    millpond_stop(m);
    origin_stop(o);
}

static void other_formats(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("four");
    struct millpond *m = millpond_start(.log = "access_format = combined", .rest = pool_lines("app", 1, o));
    client_get(m->port, "/c?x", "User-Agent: agent\r\nReferer: http://ref/\r\n");
    char *log = millpond_wait_access(m, "agent", 1);
    expect_in(log, "127.0.0.1 - - [");
    expect_in(log, "] \"GET /c?x HTTP/1.1\" 200 ");
    expect_in(log, " \"http://ref/\" \"agent\"\n");
    millpond_stop(m);
    m = millpond_start(.log = "access_format = %{method} %{status} <%{target}> %{cache} 100%%",
                       .rest = pool_lines("app", 1, o));
    client_get(m->port, "/t", "");
    expect_in(millpond_wait_access(m, "</t>", 1), "GET 200 </t> miss 100%\n");
    millpond_stop(m);
}

static void slow_script(struct origin_conn *c, const struct message *request, void *arg)
{
    if (strcmp(request->target, "/slow") == 0)
        gate_pass(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "slow");
}

static void slow_requests_are_told_apart(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(slow_script, g);
    struct millpond *m = millpond_start(.log = "slow_request = 250ms", .rest = pool_lines("app", 1, o));
    client_get(m->port, "/quick", "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    mono_ms_t since = clock_mono_ms();
    while (clock_mono_ms() - since < 300) /* time spent asking how it is going */
        millpond_status(m);
    gate_open(g);
    expect_body(client_read(c), "slow");
    char *log = millpond_wait_log(m, "/slow", 1);
    expect_not_in(log, "/quick");
    assert_int_equal(millpond_figure(m, "slow_requests"), 1);
    millpond_stop(m);
    origin_stop(o);
}

static void status_counts_and_measures(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=one\n[route main]\n",
                           origin_port(o)));
    for (int i = 0; i < 50; i++)
        client_get(m->port, "/p", "");
    client_get(m->port, "/missing", "");
    millpond_wait_idle(m);
    json_t *status = millpond_status(m);
    assert_int_equal(millpond_figure(m, "requests"), 51);
    assert_int_equal(millpond_figure(m, "client_connections_accepted"), 51);
    assert_int_equal(millpond_figure(m, "cache_stored"), 1);
    assert_int_equal(millpond_figure(m, "client_connections"), 0);
    assert_int_equal(json_integer_value(json_find(status, "hit")), 49);
    assert_string_equal(json_string_value(json_find(status, "version")), MILLPOND_VERSION);
    assert_int_equal(json_integer_value(json_find(status, "pid")), m->proc->pid);
    json_t *latency = json_find(status, "latency");
    double p50 = json_number_value(json_find(latency, "p50_ms")),
           p95 = json_number_value(json_find(latency, "p95_ms")),
           p99 = json_number_value(json_find(latency, "p99_ms")),
           p999 = json_number_value(json_find(latency, "p999_ms"));
    EXPECT(p50 > 0 && p50 <= p95 && p95 <= p99 && p99 <= p999 && p999 < 10000, "p50 %g p95 %g p99 %g p999 %g",
           p50, p95, p99, p999);
    assert_int_equal(json_integer_value(json_find(latency, "count")), 51);
    struct proc_result people = millpond_cli(m, "status", NULL);
    assert_int_equal(people.exit_code, 0);
    expect_in(people.out, "one");
    struct proc_result by_config = millpond_run("status", "-c", m->ini, "--json", NULL);
    assert_int_equal(by_config.exit_code, 0); /* the socket is found through the configuration too */
    millpond_stop(m);
}

/* The value behind "name{labels} " whose labels hold all of `with`; -1 when there is none. */
static double sample(const char *page, const char *name, const char *with)
{
    size_t n = strlen(name);
    for (const char *line = page; line != NULL && *line != '\0'; line = strchr(line, '\n') + 1) {
        const char *end = strchr(line, '\n');
        char *text = textf("%.*s", (int)(end - line), line);
        if (strncmp(text, name, n) == 0 && (text[n] == ' ' || text[n] == '{') && strstr(text, with) != NULL)
            return atof(strrchr(text, ' '));
    }
    return -1;
}

static void prometheus_page_is_sound(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.rest = textf(
                           "[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=one\n[route main]\n",
                           origin_port(o)));
    for (int i = 0; i < 10; i++)
        client_get(m->port, "/p", "");
    millpond_wait_idle(m);
    struct message *r = millpond_admin(m, "GET", "/metrics");
    expect_status(r, 200);
    expect_field_in(r, "Content-Type", "text/plain");
    support_write_file(support_path("page"), r->body);
    const char *promtool[] = {"sh", "-c", textf("promtool check metrics <%s", support_path("page")), NULL};
    struct proc_result p = proc_run(promtool);
    EXPECT(p.exit_code == 0 && strcmp(textf("%s%s", p.out, p.err), "") == 0, "promtool: %d\n%s%s\n%s",
           p.exit_code, p.out, p.err, r->body);
    assert_true(sample(r->body, "millpond_client_connections_accepted_total", "") == 10);
    assert_true(sample(r->body, "millpond_cache_stored_total", "") == 1);
    assert_true(sample(r->body, "millpond_client_connections", "") == 0);
    expect_in(r->body, "main");
    expect_in(r->body, "hit");
    millpond_stop(m);
}

/* Each decision is a word of a table; the page counts the words that the access log shows (promise 7). */
static void reasons_are_counted(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG},
                           {.path = "/private", .fields = "Cache-Control: private\r\n"},
                           {.path = "/cookie", .fields = LONG "Set-Cookie: a=b\r\n"},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_start(.listen = "header_timeout = 100ms",
                       .rest = textf(
                           "%s[pool dead]\nhealth_check = off\nretries = 0\nserver = 127.0.0.1:%d name=gone\n"
                           "[route dead]\npath = /dead\npool = dead\n[route off]\npath = /off\ncache = off\n"
                           "[route rest]\n",
                           pool_lines("app", 1, o), origin_refusing_port()));
    static const char *const targets[] = {"/p", "/p", "/private", "/cookie", "/cookie", "/off", "/dead"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++)
        client_get(m->port, targets[i], "Connection: close\r\n");
    struct client *slow = client_open(m->port);
    client_send(slow, "GET / HTTP/1.1\r\n");
    expect_status(client_read(slow), 408);
    client_close(slow);
    millpond_wait_idle(m);
    static const struct {
        const char *name, *with;
        double count;
    } wanted[] = {
        {"millpond_no_store_total", "\"private\"", 1},
        {"millpond_no_store_total", "\"cache_off\"", 1},
        {"millpond_no_store_total", "\"no_store\"", 0},
        {"millpond_no_store_total", "\"stored\"", -1},
        {"millpond_client_closes_total", "\"no_keep_alive\"", ARRAY_LEN(targets)},
        {"millpond_client_closes_total", "\"header_timeout\"", 1},
        {"millpond_client_closes_total", "\"write_timeout\"", 0},
        {"millpond_fetch_errors_total", "\"connect_refused\"", 1},
        {"millpond_fetch_errors_total", "\"reset\"", 0},
        {"millpond_instance_up", "instance=\"gone\"", 1}, /* nobody probes it */
        {"millpond_instance_state", "instance=\"gone\",state=\"down\"", 0},
    };
    const char *page = millpond_admin(m, "GET", "/metrics")->body;
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
        double got = sample(page, wanted[i].name, wanted[i].with);
        EXPECT(got == wanted[i].count, "%s{%s} is %g, not %g", wanted[i].name, wanted[i].with, got,
               wanted[i].count);
    }
    /* The second answer for a page that could not be stored may be remembered as such: one reason each. */
    EXPECT(sample(page, "millpond_no_store_total", "\"set_cookie\"") +
                   sample(page, "millpond_no_store_total", "\"remembered_set_cookie\"") ==
               2,
           "two answers with cookies:\n%s", page);
    json_t *reasons = json_object_get(millpond_status(m), "reasons");
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(reasons, "fetch_errors"), "connect_refused")), 1);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(json_lines_tell_the_story_of_each_request),
        E2E_TEST(aborted_and_failed_requests_say_why),
        E2E_TEST(other_formats),
        E2E_TEST(slow_requests_are_told_apart),
        E2E_TEST(status_counts_and_measures),
        E2E_TEST(prometheus_page_is_sound),
        E2E_TEST(reasons_are_counted),
    };
    return E2E_RUN("seeing", tests);
}
