/* balance.c: who answers, and what a client sees when an instance refuses, dies, hangs, or says it is ill.
 * Health probes are scripted, so states change because a probe was answered, never because time was slept
 * away. */
#include <signal.h>

#include "tests/support/app.h"
#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "store = off"
#define GET_X    "GET /x HTTP/1.1\r\nHost: test\r\n\r\n"
/* Probes every 20 ms, so that a change of health is seen at once. */
#define FAST_PROBES "health_interval = 20ms\nhealth_timeout = 2s\nhealth_rise = 2\nhealth_fall = 2\n"

static char *server(struct origin *o, const char *attributes)
{
    return textf("server = 127.0.0.1:%d %s\n", origin_port(o), attributes);
}

static void instances_take_turns(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a"), *b = origin_start_named("b"), *c = origin_start_named("c");
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE, .rest = pool_lines("app", 3, a, b, c));
    char seen[10] = "";
    for (int i = 0; i < 9; i++)
        strcat(seen, client_get(m->port, "/", "")->body);
    assert_int_equal(support_count(seen, "a"), 3);
    assert_int_equal(support_count(seen, "b"), 3);
    EXPECT(strstr(seen, "aa") == NULL && strstr(seen, "bb") == NULL && strstr(seen, "cc") == NULL,
           "no turns but %s", seen);
    millpond_stop(m);
}

static void weights_share_smoothly(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a"), *b = origin_start_named("b"), *z = origin_start_named("z");
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = off\n%s%s%s", server(a, "weight=3"),
                                     server(b, "weight=1"), server(z, "weight=0")));
    char seen[41] = "";
    for (int i = 0; i < 40; i++)
        strcat(seen, client_get(m->port, "/", "")->body);
    assert_int_equal(support_count(seen, "a"), 30);
    assert_int_equal(support_count(seen, "b"), 10);
    expect_not_in(seen, "aaaa");             /* smooth: the light one is not kept to the end */
    assert_int_equal(origin_requests(z), 0); /* weight 0 is drained */
    millpond_stop(m);
}

static void backup_serves_only_when_nobody_else_can(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a"), *spare = origin_start_named("spare");
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = off\nretry_budget = 100%%\n%s%s",
                                     server(a, "name=first"), server(spare, "backup name=spare")));
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "a");
    origin_stop(a);
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "spare");
    millpond_stop(m);
}

static void refused_connections_are_never_seen(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a");
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=dead\n%s",
                                     origin_refusing_port(), server(a, "name=alive")));
    struct load *l = load_start(m->port, 4, GET_X);
    load_wait(l, 500);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%llu of %llu answered well; %s",
           (unsigned long long)r.by_class[2], (unsigned long long)r.answered, r.first_problem);
    for (int i = 0; i < 20; i++) /* nothing was sent, so even a POST may go elsewhere */
        expect_body(client_ask(m->port, "POST", "/", "", "body"), "a");
    millpond_stop(m);
}

static void killed_instance_under_load_loses_no_idempotent_request(void **state)
{
    UNUSED(state);
    struct app a = app_node("setImmediate(() => res.end('a'));"), b = app_node("res.end('b');");
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest =
                           textf("[pool app]\nserver = 127.0.0.1:%d name=a\nserver = 127.0.0.1:%d name=b\n"
                                 "retry_budget = 100%%\n" FAST_PROBES,
                                 a.port, b.port));
    struct load *l = load_start(m->port, 8, GET_X);
    load_wait(l, 500);
    proc_signal(a.proc, SIGKILL);
    load_wait(l, 2000);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%llu of %llu answered well; %s",
           (unsigned long long)r.by_class[2], (unsigned long long)r.answered, r.first_problem);
    millpond_wait_log(m, "down", 1);
    expect_in(capture_text(&m->proc->err), "a");
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "b");
    millpond_stop(m);
}

/* ---- health ---- */

struct patient {
    const char *name;
    _Atomic int probe_status;
};

static void patient_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct patient *p = arg;
    bool probe = strcmp(request->target, "/health") == 0;
    origin_respond(c, probe ? p->probe_status : 200, "Cache-Control: no-store\r\n", probe ? "" : p->name);
}

static void probes_take_out_and_bring_back(void **state)
{
    UNUSED(state);
    struct patient pa = {"a", 200}, pb = {"b", 204};
    struct origin *a = origin_start(patient_script, &pa), *b = origin_start(patient_script, &pb);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf(
                           "[pool app]\nhealth_path = /health\nhealth_host = probe.example\n%s%s" FAST_PROBES,
                           server(a, "name=a"), server(b, "name=b")));
    millpond_wait_state(m, "a", "up");
    millpond_wait_state(m, "b", "up");
    const struct message *probe = origin_request(a, 0);
    assert_string_equal(probe->target, "/health");
    expect_field(probe, "Host", "probe.example");
    pa.probe_status = 503;
    millpond_wait_state(m, "a", "down");
    millpond_wait_log(m, "up -> down: status 503", 1);
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "b");
    pa.probe_status = 302; /* 200-399 is healthy */
    millpond_wait_state(m, "a", "up");
    char seen[11] = "";
    for (int i = 0; i < 10; i++)
        strcat(seen, client_get(m->port, "/", "")->body);
    assert_int_equal(support_count(seen, "a"), 5);
    pa.probe_status = pb.probe_status = 500;
    millpond_wait_state(m, "a", "down");
    millpond_wait_state(m, "b", "down");
    struct message *r = client_get(m->port, "/", "");
    expect_status(r, 503);
    millpond_stop(m);
    origin_stop(a);
    origin_stop(b);
}

static void tcp_probes_need_only_a_connection(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start_named("a");
    int port = origin_port(a);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = tcp\n%s" FAST_PROBES, server(a, "name=a")));
    millpond_wait_state(m, "a", "up");
    assert_int_equal(origin_requests(a), 0);
    origin_stop(a);
    millpond_wait_state(m, "a", "down");
    struct patient p = {"a", 200};
    struct origin *again =
        origin_start_with(&(struct origin_options){.script = patient_script, .arg = &p, .port = port});
    millpond_wait_state(m, "a", "up");
    expect_status(client_get(m->port, "/", ""), 200);
    millpond_stop(m);
    origin_stop(again);
}

/* ---- our own error pages ---- */

static void expect_page(struct message *r, int status, bool json)
{
    expect_status(r, status);
    expect_field_in(r, "Content-Type", json ? "application/json" : "text/html");
    expect_field_in(r, "Cache-Control", "no-store");
    const char *id = message_field(r, "X-Request-Id");
    if (json) {
        json_t *page = json_loads(r->body, 0, NULL);
        EXPECT(page != NULL, "not JSON: %s", r->body);
        json_t *in_page = json_find(page, "request_id");
        EXPECT(json_is_string(in_page) && strlen(json_string_value(in_page)) >= 16, "no request_id: %s",
               r->body);
        json_decref(page);
    } else {
        expect_in(r->body, "<");
        expect_in(r->body, textf("%d", status));
        EXPECT(id == NULL || strstr(r->body, id) != NULL, "the page does not show the request id %s: %s", id,
               r->body);
    }
}

static void error_pages_suit_the_reader(void **state)
{
    UNUSED(state);
    struct origin *bad = origin_start_fixed("garbage\r\n\r\n");
    struct millpond *m = millpond_start(
            .cache = NO_STORE,
            .rest = textf(
                "%sretries = 0\n[pool refusing]\nhealth_check = off\nserver = 127.0.0.1:%d\n"
                "[pool hanging]\nhealth_check = off\nretries = 0\nconnect_timeout = 100ms\nserver = "
                "127.0.0.1:%d\n"
                "[pool drained]\nhealth_check = off\nserver = 127.0.0.1:%d weight=0\n"
                "[route r]\npath = /refusing\npool = refusing\n[route h]\npath = /hanging\npool = hanging\n"
                "[route d]\npath = /drained\npool = drained\n[route rest]\npool = app\n",
                pool_lines("app", 1, bad), origin_refusing_port(), origin_hanging_port(0), origin_port(bad)));
    static const struct {
        const char *path;
        int status;
    } pages[] = {{"/", 502}, {"/refusing", 502}, {"/hanging", 504}, {"/drained", 503}};
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        expect_page(
            client_get(m->port, pages[i].path, "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"),
            pages[i].status, false);
        expect_page(client_get(m->port, pages[i].path, "Accept: application/json\r\n"), pages[i].status,
                    true);
    }
    struct message *r = client_ask(m->port, "HEAD", "/", "", "");
    expect_status(r, 502);
    expect_body(r, "");
    millpond_stop(m);
}

static void held_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    gate_pass(arg);
    origin_respond(c, 200, "", "late");
}

static void silent_instance_is_a_504(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(held_script, g);
    struct millpond *m = millpond_before(o, "response_timeout = 200ms\nretries = 0\n");
    expect_page(client_get(m->port, "/", "Accept: application/json\r\n"), 504, true);
    gate_open(g);
    expect_body(client_get(m->port, "/", ""), "late");
    millpond_stop(m);
    origin_stop(o);
}

/* ---- retries ---- */

static void status_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_respond(c, (int)(intptr_t)arg, "", "from the failing one");
}

static void failing_status_is_tried_elsewhere_when_idempotent(void **state)
{
    UNUSED(state);
    struct origin *bad = origin_start(status_script, (void *)(intptr_t)503),
                  *good = origin_start_named("good");
    struct millpond *m =
        millpond_start(.cache = NO_STORE, .rest = textf("%sretry_budget = 100%%\neject_errors = 0\n",
                                                        pool_lines("app", 2, bad, good)));
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "good");
    assert_true(origin_requests(bad) > 0);
    expect_body(client_ask(m->port, "PUT", "/", "", "x"), "good");
    unsigned failed = 0;
    for (int i = 0; i < 10; i++)
        failed += client_ask(m->port, "POST", "/", "", "x")->status == 503;
    assert_true(failed >= 1); /* a POST that was sent is not sent again */
    millpond_stop(m);
}

static void every_instance_failing_shows_the_last_answer(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start(status_script, (void *)(intptr_t)503);
    struct origin *b = origin_start(status_script, (void *)(intptr_t)503);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("%sretries = 3\nretry_budget = 100%%\n", pool_lines("app", 2, a, b)));
    struct message *r = client_get(m->port, "/", "");
    expect_status(r, 503);
    expect_body(r, "from the failing one"); /* the application's own page, not ours */
    assert_true(origin_requests(a) + origin_requests(b) <= 4);
    millpond_stop(m);
}

static void retry_budget_bounds_an_outage(void **state)
{
    UNUSED(state);
    struct origin *a = origin_start(status_script, (void *)(intptr_t)503);
    struct origin *b = origin_start(status_script, (void *)(intptr_t)503);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("%sretries = 2\nretry_budget = 20%%\n", pool_lines("app", 2, a, b)));
    struct load *l = load_start(m->port, 2, GET_X);
    load_wait(l, 1000);
    struct load_result r = load_stop(l);
    unsigned tries = origin_requests(a) + origin_requests(b);
    EXPECT(tries <= r.answered * 14 / 10 + 50, "%u tries for %llu requests", tries,
           (unsigned long long)r.answered);
    millpond_stop(m);
}

static void reset_before_answer_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_reset(c);
}

static void broken_try_is_repeated_but_not_for_post(void **state)
{
    UNUSED(state);
    struct origin *bad = origin_start(reset_before_answer_script, NULL), *good = origin_start_named("good");
    struct millpond *m =
        millpond_start(.cache = NO_STORE, .rest = textf("%sretry_budget = 100%%\neject_errors = 0\n",
                                                        pool_lines("app", 2, bad, good)));
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "good");
    unsigned before = origin_requests(bad) + origin_requests(good), failed = 0;
    for (int i = 0; i < 10; i++)
        failed += client_ask(m->port, "POST", "/", "", "x")->status == 502;
    assert_true(failed >= 1);
    assert_int_equal(origin_requests(bad) + origin_requests(good) - before,
                     10); /* each was sent exactly once */
    millpond_stop(m);
}

/* Answers the first request of a connection, then closes it the moment the next one arrives: what a
 * kept-alive connection that the instance is just closing looks like. */
static void keep_alive_race_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    if (c->served > 0)
        origin_reset(c);
    else
        origin_respond(c, 200, "Cache-Control: no-store\r\n", "ok");
}

static void keep_alive_race_is_invisible(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(keep_alive_race_script, NULL);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = NO_STORE,
                       .rest = textf("%sretries = 0\nretry_budget = 0%%\n", pool_lines("app", 1, o)));
    struct client *c = client_open(m->port);
    for (int i = 0; i < 20; i++) { /* one instance, no retries allowed: the free one must do */
        client_send(c, GET_X);
        expect_body(client_read(c), "ok");
    }
    assert_true(origin_requests(o) > 20);
    millpond_stop(m);
}

static void idle_connections_closed_by_the_instance_are_dropped(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    int port = origin_port(o);
    struct millpond *m = millpond_before(o, "[cache]\nstore = off\n");
    expect_body(client_get(m->port, "/", ""), "a");
    origin_stop(o);
    millpond_wait_figure(m, "upstream_idle_connections", 0);
    struct patient p = {"again", 200};
    struct origin *again =
        origin_start_with(&(struct origin_options){.script = patient_script, .arg = &p, .port = port});
    expect_body(client_ask(m->port, "POST", "/", "", "x"), "again");
    millpond_stop(m);
    origin_stop(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(instances_take_turns),
        E2E_TEST(weights_share_smoothly),
        E2E_TEST(backup_serves_only_when_nobody_else_can),
        E2E_TEST(refused_connections_are_never_seen),
        E2E_TEST(killed_instance_under_load_loses_no_idempotent_request),
        E2E_TEST(probes_take_out_and_bring_back),
        E2E_TEST(tcp_probes_need_only_a_connection),
        E2E_TEST(error_pages_suit_the_reader),
        E2E_TEST(silent_instance_is_a_504),
        E2E_TEST(failing_status_is_tried_elsewhere_when_idempotent),
        E2E_TEST(every_instance_failing_shows_the_last_answer),
        E2E_TEST(retry_budget_bounds_an_outage),
        E2E_TEST(broken_try_is_repeated_but_not_for_post),
        E2E_TEST(keep_alive_race_is_invisible),
        E2E_TEST(idle_connections_closed_by_the_instance_are_dropped),
    };
    return E2E_RUN("balance", tests);
}
