/* balance_hedge.c: `hedge`: a slow instance is not waited for, whoever is slower is left in peace, and
 * nothing is sent twice that may not be, or that nobody wants any more. */
#include <stdatomic.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define NO_STORE   "Cache-Control: no-store\r\n"
#define STORE_OFF  "store = off"
#define HEDGE_SOON "hedge = 20ms\n"

/* Two instances, of which the second is a backup: so it is clear who is asked first. Requests for /slow wait
 * at the gate of whom they came to. */
struct pair {
    struct gate *gate, *second_gate; /* the second has none, unless the test gives it one */
    _Atomic int asked;               /* but for /quick */
    int first_status, second_status;
    bool first_resets;
    const char *fields;
};

static void first_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct pair *p = arg;
    const bool slow = strncmp(request->target, "/slow", 5) == 0;
    if (slow) {
        atomic_fetch_add(&p->asked, 1);
        gate_pass(p->gate);
    }
    if (slow && p->first_resets)
        origin_reset(c);
    else
        origin_respond(c, slow ? p->first_status : 200, p->fields, slow ? "first" : "quick");
}

static void second_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct pair *p = arg;
    UNUSED(request);
    atomic_fetch_add(&p->asked, 1);
    if (p->second_gate != NULL)
        gate_pass(p->second_gate);
    origin_respond(c, p->second_status, p->fields, "second");
}

static struct pair *pair_new(void)
{
    struct pair *p = calloc(1, sizeof *p);
    *p = (struct pair){.gate = gate_new(), .first_status = 200, .second_status = 200, .fields = NO_STORE};
    support_on_end(free, p);
    return p;
}

static struct millpond *start(struct pair *p, const char *cache, const char *pool, const char *route)
{
    struct origin *a = origin_start(first_script, p), *b = origin_start(second_script, p);
    return millpond_start(.listen = "protocols = h2c, http/1.1", .cache = cache,
                          .rest = textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=a\n"
                                        "server = 127.0.0.1:%d name=b backup\n%s[route r]\n%s",
                                        origin_port(a), origin_port(b), pool, route));
}

static void expect_hedge(struct millpond *m, const char *path, const char *outcome, int tries)
{
    json_t *line = millpond_access_line(m, textf("\"%s\"", path));
    json_t *hedge = json_object_get(line, "hedge");
    assert_string_equal(hedge == NULL ? "" : json_string_value(hedge), outcome);
    assert_int_equal(json_integer_value(json_object_get(line, "tries")), tries);
}

static void expect_nobody_failed(struct millpond *m)
{
    json_t *status = millpond_status(m);
    json_t *pool = json_array_get(json_object_get(status, "pools"), 0);
    size_t i;
    json_t *instance;
    json_array_foreach(json_object_get(pool, "instances"), i, instance)
    {
        assert_int_equal(json_integer_value(json_object_get(instance, "failures")), 0);
        assert_int_equal(json_integer_value(json_object_get(instance, "in_flight")), 0);
        assert_string_equal(json_string_value(json_object_get(instance, "state")), "up");
    }
}

static void the_second_answers_for_a_slow_first(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m = start(p, STORE_OFF, "eject_errors = 1\n", HEDGE_SOON);
    expect_body(client_get(m->port, "/slow", ""), "second");
    expect_hedge(m, "/slow", "won", 2);
    assert_int_equal(millpond_figure(m, "hedges"), 1);
    assert_int_equal(millpond_figure(m, "hedges_won"), 1);
    assert_int_equal(p->asked, 2);
    client_close_all();
    millpond_wait_idle(m);
    expect_nobody_failed(m); /* the loser, too */
    gate_open(p->gate);
    expect_body(client_get(m->port, "/quick", ""), "quick");
    expect_hedge(m, "/quick", "", 1);
    p->asked = 0; /* HEAD as well */
    gate_shut(p->gate);
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_no_body(c), 200);
    assert_int_equal(millpond_figure(m, "hedges_won"), 2);
    millpond_stop(m);
}

static void the_first_may_still_win(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    p->second_gate = gate_new();
    struct millpond *m = start(p, STORE_OFF, "eject_errors = 1\n", HEDGE_SOON);
    struct client *c = client_open(m->port);
    client_send(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "hedges", 1);
    gate_open(p->gate);
    expect_body(client_read(c), "first");
    expect_hedge(m, "/slow", "lost", 2);
    assert_int_equal(millpond_figure(m, "hedges_won"), 0);
    client_close_all();
    millpond_wait_idle(m);
    expect_nobody_failed(m);
    millpond_stop(m);
}

static void a_failing_first_leaves_it_to_the_second(void **state)
{
    UNUSED(state);
    for (int resets = 0; resets < 2; resets++) {
        struct pair *p = pair_new();
        p->first_status = 503;
        p->first_resets = resets == 1;
        p->second_gate = gate_new();
        struct millpond *m = start(p, STORE_OFF, "retries = 0\n", HEDGE_SOON);
        struct client *c = client_open(m->port);
        client_send(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
        gate_wait_arrived(p->second_gate, 1);
        gate_open(p->gate);
        if (resets)
            millpond_wait_log(m, "it was asked beside another one, which goes on", 1);
        assert_true(client_is_silent(c));
        gate_open(p->second_gate);
        expect_body(client_read(c), "second");
        expect_hedge(m, "/slow", "won", 2);
        millpond_stop(m);
    }
}

static void a_failing_second_leaves_it_to_the_first(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    p->second_status = 503;
    struct millpond *m = start(p, STORE_OFF, "", HEDGE_SOON);
    struct client *c = client_open(m->port);
    client_send(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "hedges", 1);
    while (p->asked < 2)
        millpond_figure(m, "hedges");
    assert_true(client_is_silent(c));
    gate_open(p->gate);
    expect_body(client_read(c), "first");
    expect_hedge(m, "/slow", "lost", 2);
    millpond_stop(m);
}

/* ---- what is not hedged ---- */

static void only_what_may_be_sent_twice(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m = start(p, STORE_OFF, "eject_errors = 0\n", HEDGE_SOON "timeout = 300ms\n");
    static const char *const methods[] = {"POST", "PUT", "DELETE", "GET", "OPTIONS"};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        p->asked = 0;
        const bool body = i != 2 && i != 4;
        struct message *r = client_ask(m->port, methods[i], textf("/slow/%zu", i), "", body ? "x" : "");
        assert_int_equal(r->status, 504);
        assert_int_equal(p->asked, 1);
    }
    assert_int_equal(millpond_figure(m, "hedges"), 0);
    millpond_stop(m);
}

static void not_without_room_or_another_instance(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    p->second_gate = p->gate;
    struct origin *a = origin_start(first_script, p), *b = origin_start(second_script, p);
    struct millpond *m = millpond_start(
            .main = "workers = 1", .cache = STORE_OFF,
            .rest = textf(
                "[pool one]\nhealth_check = off\neject_errors = 0\nserver = 127.0.0.1:%d\n"
                "[pool full]\nhealth_check = off\neject_errors = 0\nserver = 127.0.0.1:%d max_connections=1\n"
                "server = 127.0.0.1:%d max_connections=1\n"
                "[route one]\npath = /slow/one\npool = one\n" HEDGE_SOON "timeout = 300ms\n"
                "[route hold]\npath = /slow/hold\npool = full\n"
                "[route full]\npool = full\n" HEDGE_SOON "timeout = 300ms\n",
                origin_port(a), origin_port(a), origin_port(b)));
    assert_int_equal(client_get(m->port, "/slow/one", "")->status, 504);
    p->asked = 0;
    struct client *holds = client_open(m->port);
    client_send(holds, "GET /slow/hold HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(p->gate, 2);
    p->asked = 0;
    assert_int_equal(client_get(m->port, "/slow/full", "")->status, 504);
    assert_int_equal(millpond_figure(m, "hedges"), 0);
    assert_int_equal(millpond_figure(m, "queued"), 0);
    gate_open(p->gate);
    expect_status(client_read(holds), 200);
    millpond_stop(m);
}

static void the_budget_bounds_it(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m = start(p, STORE_OFF, "eject_errors = 0\nretry_budget = 0%\n", HEDGE_SOON);
    struct client *late[4];
    for (int i = 0; i < 10; i++) { /* what a budget of nothing leaves */
        p->asked = 0;
        expect_body(client_get(m->port, textf("/slow/%d", i), ""), "second");
    }
    for (int i = 0; i < 4; i++) {
        p->asked = 0;
        late[i] = client_open(m->port);
        client_send(late[i], "GET /slow/late HTTP/1.1\r\nHost: test\r\n\r\n");
        gate_wait_arrived(p->gate, (unsigned)(11 + i));
        millpond_wait_figure(m, "hedges_denied", i + 1);
    }
    assert_int_equal(millpond_figure(m, "hedges"), 10);
    gate_open(p->gate);
    for (int i = 0; i < 4; i++)
        expect_body(client_read(late[i]), "first");
    millpond_stop(m);
}

/* ---- together with the rest ---- */

static void those_who_wait_for_the_fetch_get_it_too(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    p->fields = "Cache-Control: max-age=60\r\n";
    struct millpond *m = start(p, NULL, "", "hedge = 300ms\n");
    struct client *c[5];
    for (int i = 0; i < 5; i++) {
        c[i] = client_open(m->port);
        client_send(c[i], "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    for (int i = 0; i < 5; i++)
        expect_body(client_read(c[i]), "second");
    assert_int_equal(p->asked, 2);
    assert_int_equal(millpond_figure(m, "cache_stored"), 1);
    client_close_all();
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void who_leaves_ends_both(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    p->second_gate = gate_new();
    struct millpond *m = start(p, STORE_OFF, "", HEDGE_SOON);
    struct h2_client *h = h2_open(m->port);
    h2_get(h, 1, "/slow");
    millpond_wait_figure(m, "hedges", 1);
    h2_reset(h, 1, NGHTTP2_CANCEL);
    millpond_wait_figure(m, "upstream_connections", 0);
    client_close_all();
    millpond_wait_idle(m);
    expect_nobody_failed(m);
    p->asked = 0;
    struct client *c = client_open(m->port);
    client_send(c, "GET /slow HTTP/1.1\r\nHost: test\r\n\r\n");
    millpond_wait_figure(m, "hedges", 2);
    client_reset(c);
    millpond_wait_figure(m, "upstream_connections", 0);
    gate_open(p->gate);
    millpond_stop(m);
}

static void streams_are_hedged_as_well(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m = start(p, STORE_OFF, "", HEDGE_SOON);
    struct h2_client *h = h2_open(m->port);
    h2_get(h, 1, "/slow");
    struct h2_answer *r = h2_wait(h, 1);
    assert_int_equal(r->status, 200);
    assert_string_equal(r->body, "second");
    expect_hedge(m, "/slow", "won", 2);
    h2_close(h);
    millpond_stop(m);
}

static void p95_is_learned_first(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m = start(p, STORE_OFF, "eject_errors = 0\n", "hedge = p95\ntimeout = 1s\n");
    expect_status(client_get(m->port, "/slow", ""), 504); /* nothing is known yet */
    assert_int_equal(millpond_figure(m, "hedges"), 0);
    expect_in(millpond_cli(m, "explain", "http://test/x", NULL).out,
              "given up after 1000 ms (timeout); a second instance is asked once it is known");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 120; i++) {
        client_send(c, "GET /quick HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c), "quick");
    }
    expect_in(millpond_cli(m, "explain", "http://test/x", NULL).out, " ms (hedge)");
    p->asked = 0;
    expect_body(client_get(m->port, "/slow/again", ""), "second");
    expect_hedge(m, "/slow/again", "won", 2);
    millpond_stop(m);
}

static void a_visitor_stays_where_he_is_pinned(void **state)
{
    UNUSED(state);
    struct pair *p = pair_new();
    struct millpond *m =
        start(p, STORE_OFF, "eject_errors = 0\nsticky_cookie = srv\n", HEDGE_SOON "timeout = 300ms\n");
    const char *cookie = message_field(client_get(m->port, "/quick", ""), "Set-Cookie");
    assert_non_null(cookie);
    char *own = textf("Cookie: %.*s\r\n", (int)strcspn(cookie, ";"), cookie);
    expect_status(client_get(m->port, "/slow", own), 504);
    assert_int_equal(millpond_figure(m, "hedges"), 0);
    p->asked = 0;
    expect_body(client_get(m->port, "/slow", ""), "second"); /* he who has none yet */
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_second_answers_for_a_slow_first),
        E2E_TEST(the_first_may_still_win),
        E2E_TEST(a_failing_first_leaves_it_to_the_second),
        E2E_TEST(a_failing_second_leaves_it_to_the_first),
        E2E_TEST(only_what_may_be_sent_twice),
        E2E_TEST(not_without_room_or_another_instance),
        E2E_TEST(the_budget_bounds_it),
        E2E_TEST(those_who_wait_for_the_fetch_get_it_too),
        E2E_TEST(who_leaves_ends_both),
        E2E_TEST(streams_are_hedged_as_well),
        E2E_TEST(p95_is_learned_first),
        E2E_TEST(a_visitor_stays_where_he_is_pinned),
    };
    return E2E_RUN("balance_hedge", tests);
}
