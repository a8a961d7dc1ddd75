/* split.c: a share of a route's requests for a canary: who goes there and stays, what the cache makes of it,
 * and the stop of one that does worse. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define IDS 200

/* An instance; may be changed while it runs. */
struct side {
    const char *name;
    const char *_Atomic fields;
    _Atomic int status; /* 0: 200 */
    struct gate *gate;  /* passed before the answer */
};

struct pair {
    struct side *side[2];
    struct origin *o[2];
    struct millpond *m;
};

static void side_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct side *s = arg;
    UNUSED(request);
    gate_pass(s->gate);
    origin_respond(c, s->status != 0 ? s->status : 200, s->fields, s->name);
}

static char *pair_ini(const struct pair *p, const char *route)
{
    return textf("[pool stable]\nserver = 127.0.0.1:%d\nhealth_check = off\nretries = 0\neject_errors = 0\n"
                 "[pool canary]\nserver = 127.0.0.1:%d name=c\nhealth_check = off\nretries = 0\n"
                 "eject_errors = 0\n[route r]\n%s",
                 origin_port(p->o[0]), origin_port(p->o[1]), route);
}

static struct pair pair_start(const char *route)
{
    static const char *const names[] = {"stable", "canary"};
    struct pair p;
    for (int i = 0; i < 2; i++) {
        p.side[i] = calloc(1, sizeof(struct side));
        p.side[i]->name = names[i];
        p.side[i]->gate = gate_new();
        gate_open(p.side[i]->gate);
        p.side[i]->fields = "Cache-Control: no-store\r\n";
        p.o[i] = origin_start(side_script, p.side[i]);
        support_on_end(free, p.side[i]);
    }
    p.m = millpond_start(.listen = "protocols = h2c, http/1.1\n", .rest = pair_ini(&p, route));
    return p;
}

static const char *state_of(struct pair *p)
{
    json_t *split = json_array_get(json_find(millpond_status(p->m), "splits"), 0);
    return json_string_value(json_object_get(split, "state"));
}

static const char *asked_by(struct pair *p, const char *fields)
{
    return client_get(p->m->port, "/", fields)->body;
}

static void ask_each(struct pair *p, const char *fields, int times)
{
    for (int i = 0; i < times; i++)
        client_get(p->m->port, "/", fields);
}

/* ---- who goes where ---- */

static void clients_stay_with_their_side(void **state)
{
    UNUSED(state);
    struct pair p = pair_start("split = stable=80 canary=20 by=cookie:sid\n");
    int canaries = 0;
    for (int i = 0; i < IDS; i++) {
        const char *cookie = textf("Cookie: a=b; sid=visitor-%d\r\n", i);
        const char *first = asked_by(&p, cookie);
        canaries += strcmp(first, "canary") == 0;
        for (int k = 0; k < 3; k++)
            assert_string_equal(asked_by(&p, cookie), first);
    }
    EXPECT(canaries > IDS / 10 && canaries < IDS * 3 / 10, "%d of %d went to the canary", canaries, IDS);
    assert_int_equal(millpond_figure(p.m, "split_canary_requests"), 4 * canaries);
    assert_int_equal(origin_requests(p.o[1]), 4u * (unsigned)canaries);
    millpond_wait_idle(p.m);
    millpond_stop(p.m);
}

static void who_has_no_cookie_goes_by_address(void **state)
{
    UNUSED(state);
    struct pair p = pair_start("split = stable=1 canary=1000 by=cookie:sid\n");
    for (int i = 0; i < 4; i++)
        assert_string_equal(asked_by(&p, ""), "canary"); /* as 127.0.0.1 does by these weights */
    millpond_stop(p.m);
}

static void side_may_be_named(void **state)
{
    UNUSED(state);
    struct pair p = pair_start("split = stable=100 canary=0 by=header:X-Side\n");
    assert_string_equal(asked_by(&p, ""), "stable");
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "canary");
    assert_string_equal(asked_by(&p, "X-Side: others\r\n"), "stable");
    struct h2_client *c = h2_open(p.m->port);
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 1, H2_GET("/"), "x-side", "canary");
    h2_expect(c, 1, 200, "canary");
    h2_get(c, 3, "/");
    h2_expect(c, 3, 200, "stable");
    h2_close(c);
    expect_in(millpond_cli(p.m, "explain", "http://test/", "-H", "X-Side: canary", NULL).out, "canary");
    millpond_stop(p.m);
    p = pair_start("split = stable=0 canary=100 by=cookie:side\n");
    assert_string_equal(asked_by(&p, ""), "canary");
    assert_string_equal(asked_by(&p, "Cookie: side=stable\r\n"), "stable");
    millpond_stop(p.m);
}

/* Each side's cookie is between the visitor and Millpond, also when the request goes to the other one. */
static void sticky_cookies_reach_no_instance(void **state)
{
    UNUSED(state);
    static const char *const sides[] = {"stable", "canary"};
    struct pair p = pair_start("");
    millpond_stop(p.m);
    p.m = millpond_start(.cache = "store = off",
                         .rest = textf(
                             "[pool stable]\nserver = 127.0.0.1:%d\nhealth_check = off\nsticky_cookie = st\n"
                             "[pool canary]\nserver = 127.0.0.1:%d\nhealth_check = off\nsticky_cookie = ca\n"
                             "[route r]\nsplit = stable=50 canary=50 by=header:x-side\n",
                             origin_port(p.o[0]), origin_port(p.o[1])));
    for (int i = 0; i < 2; i++) {
        assert_string_equal(
            asked_by(&p, textf("X-Side: %s\r\nCookie: st=1; own=2; ca=3\r\nCookie: ca=4\r\n", sides[i])),
            sides[i]);
        const struct message *seen = origin_request(p.o[i], origin_requests(p.o[i]) - 1);
        assert_string_equal(message_field(seen, "Cookie"), "own=2");
        assert_int_equal(support_count(seen->head, "ookie:"), 1);
    }
    millpond_stop(p.m);
}

static void canary_without_instances_gets_nothing(void **state)
{
    UNUSED(state);
    struct pair p = pair_start("split = stable=0 canary=100\n");
    assert_string_equal(asked_by(&p, ""), "canary");
    assert_int_equal(millpond_cli(p.m, "drain", "canary/c", "--force", NULL).exit_code, 0);
    assert_string_equal(asked_by(&p, ""), "stable");
    millpond_stop(p.m);
}

/* ---- the cache ---- */

static void sides_are_stored_apart(void **state)
{
    UNUSED(state);
    struct pair p = pair_start("split = stable=100 canary=0 by=header:X-Side\n");
    p.side[0]->fields = p.side[1]->fields = "Cache-Control: max-age=600\r\n";
    for (int round = 1; round <= 2; round++) {
        for (int i = 0; i < 3; i++) {
            assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "canary");
            assert_string_equal(asked_by(&p, ""), "stable");
        }
        assert_int_equal(origin_requests(p.o[0]), round);
        assert_int_equal(origin_requests(p.o[1]), round);
        millpond_purge(p.m, url_of("/")); /* of both */
    }
    ask_each(&p, "X-Side: canary\r\n", 1); /* nothing is stored of the other side */
    expect_status(client_ask(p.m->port, "POST", "/", "", "x"), 200);
    ask_each(&p, "X-Side: canary\r\n", 1);
    assert_int_equal(origin_requests(p.o[1]), 4);
    ask_each(&p, "", 1);
    expect_status(client_ask(p.m->port, "POST", "/", "X-Side: canary\r\n", "x"), 200); /* of both as well */
    ask_each(&p, "", 1);
    assert_int_equal(origin_requests(p.o[0]), 5);
    millpond_stop(p.m);
}

/* ---- the stop ---- */

#define SPLIT "split = stable=500 canary=500 by=header:X-Side\nsplit_samples = 20\n"

static void failing_canary_is_stopped(void **state)
{
    UNUSED(state);
    struct pair p = pair_start(SPLIT);
    p.side[1]->status = 500;
    ask_each(&p, "X-Side: stable\r\n", 20);
    ask_each(&p, "X-Side: canary\r\n", 19);
    assert_string_equal(state_of(&p), "running");
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "canary");
    assert_string_equal(state_of(&p), "stopped_for_errors");
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "stable");
    for (int i = 0; i < 20; i++)
        assert_string_equal(asked_by(&p, textf("X-Side: %d\r\n", i)), "stable");
    assert_int_equal(origin_requests(p.o[1]), 20);
    assert_int_equal(millpond_figure(p.m, "split_stops"), 1);
    millpond_wait_log(
        p.m, "route r: canary canary gets no more requests: 100.0% of its last 20 requests failed", 1);
    expect_in(millpond_cli(p.m, "events", NULL).out, "canary canary gets no more requests");
    expect_in(millpond_cli(p.m, "status", NULL).out, "the canary was STOPPED");
    assert_int_equal(millpond_cli(p.m, "reload", NULL).exit_code, 0);
    assert_string_equal(state_of(&p), "stopped_for_errors"); /* for whatever reason the reload was */
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "stable");
    millpond_stop(p.m);
}

static void canary_is_started_again(void **state)
{
    UNUSED(state);
    struct pair p = pair_start(SPLIT);
    p.side[1]->status = 500;
    ask_each(&p, "X-Side: stable\r\n", 20);
    ask_each(&p, "X-Side: canary\r\n", 20);
    assert_string_equal(state_of(&p), "stopped_for_errors");
    struct proc_result r = millpond_cli(p.m, "resume", "r", NULL);
    EXPECT(r.exit_code == 0, "%s%s", r.out, r.err);
    assert_string_equal(r.out, "route r: canary gets its share again\n");
    assert_string_equal(state_of(&p), "running");
    ask_each(&p, "X-Side: canary\r\n", 19);
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "canary"); /* nothing is held against it */
    ask_each(&p, "X-Side: stable\r\n", 20);
    ask_each(&p, "X-Side: canary\r\n", 1);
    assert_string_equal(state_of(&p), "stopped_for_errors");
    millpond_write_ini(p.m, .listen = "protocols = h2c, http/1.1\n",
                       .rest = pair_ini(&p, "split = stable=900 canary=100 by=header:X-Side\n"));
    assert_int_equal(millpond_cli(p.m, "reload", NULL).exit_code, 0);
    assert_string_equal(state_of(&p), "running");
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "canary");
    expect_in(millpond_cli(p.m, "resume", "nobody", NULL).err, "no such route is split");
    millpond_stop(p.m);
}

static void canary_that_fails_like_the_other_goes_on(void **state)
{
    UNUSED(state);
    struct pair p = pair_start(SPLIT);
    p.side[0]->status = p.side[1]->status = 500;
    ask_each(&p, "X-Side: stable\r\n", 40);
    ask_each(&p, "X-Side: canary\r\n", 40);
    p.side[1]->status = 404; /* a client's error */
    ask_each(&p, "X-Side: canary\r\n", 40);
    assert_string_equal(state_of(&p), "running");
    millpond_stop(p.m);
}

static void dead_canary_is_stopped(void **state)
{
    UNUSED(state);
    struct pair p = pair_start(SPLIT);
    ask_each(&p, "X-Side: stable\r\n", 20);
    origin_stop(p.o[1]);
    ask_each(&p, "X-Side: canary\r\n", 20);
    assert_string_equal(state_of(&p), "stopped_for_errors");
    assert_string_equal(asked_by(&p, "X-Side: canary\r\n"), "stable");
    millpond_stop(p.m);
}

static void slow_canary_is_stopped(void **state)
{
    UNUSED(state);
    struct pair p = pair_start(SPLIT "split_max_errors = 100%\n");
    const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (unsigned round = 1; strcmp(state_of(&p), "running") == 0 && clock_mono_ms() < until_ms; round++) {
        struct client *c[20]; /* a machine that is slow for all makes another round */
        gate_shut(p.side[1]->gate);
        for (int i = 0; i < 20; i++) {
            c[i] = client_open(p.m->port);
            client_send(c[i], "GET / HTTP/1.1\r\nHost: test\r\nX-Side: canary\r\n\r\n");
        }
        gate_wait_arrived(p.side[1]->gate, 20 * round);
        const mono_ms_t slow_until_ms = clock_mono_ms() + 200;
        do
            ask_each(&p, "X-Side: stable\r\n", 20);
        while (clock_mono_ms() < slow_until_ms);
        gate_open(p.side[1]->gate);
        for (int i = 0; i < 20; i++) {
            expect_status(client_read(c[i]), 200);
            client_close(c[i]);
        }
    }
    assert_string_equal(state_of(&p), "stopped_for_latency");
    expect_in(millpond_cli(p.m, "events", NULL).out, "95% of its answers began within");
    millpond_stop(p.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(clients_stay_with_their_side),
        E2E_TEST(who_has_no_cookie_goes_by_address),
        E2E_TEST(side_may_be_named),
        E2E_TEST(canary_without_instances_gets_nothing),
        E2E_TEST(sticky_cookies_reach_no_instance),
        E2E_TEST(sides_are_stored_apart),
        E2E_TEST(failing_canary_is_stopped),
        E2E_TEST(canary_is_started_again),
        E2E_TEST(canary_that_fails_like_the_other_goes_on),
        E2E_TEST(dead_canary_is_stopped),
        E2E_TEST(slow_canary_is_stopped),
    };
    return E2E_RUN("split", tests);
}
