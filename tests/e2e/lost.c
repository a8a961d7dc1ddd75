/* lost.c: an instance stops answering, its probes notice, and requests wait for it: who may be sent to
 * another one is, at once; the others wait on, and get what comes. With HTTP/1.1 and HTTP/2 to the instance.
 */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

static struct gate *gate;
static _Atomic bool ill;

static void hung_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    if (strcmp(request->target, "/health") == 0) {
        origin_respond(c, ill ? 500 : 200, "", "");
        return;
    }
    if (strcmp(request->target, "/begun") == 0)
        origin_send(c, "HTTP/1.1 103 Early Hints\r\n\r\n");
    gate_pass(gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "hung");
}

struct place {
    struct origin *hung, *good;
    struct millpond *m, *inner[2]; /* inner: what makes the two speak HTTP/2; NULL: none */
};

static int speaks_h2(struct place *p, int i, struct origin *o)
{
    p->inner[i] = millpond_start(.name = textf("inner%d", i), .main = "workers = 1\n", .cache = "store = off",
                                 .listen = "protocols = h2c, http/1.1\n", .rest = pool_lines("app", 1, o));
    return p->inner[i]->port;
}

static struct place start(bool h2, const char *lines)
{
    struct place p = {.hung = origin_start(hung_script, NULL), .good = origin_start_named("good")};
    gate = gate_new();
    ill = false;
    p.m = millpond_start(
            .main = "workers = 2\n", .cache = strstr(lines, "hedge") != NULL ? "" : "store = off",
            .listen = "protocols = h2c, http/1.1\n",
            .rest =
                textf("[pool app]\nserver = 127.0.0.1:%d name=hung\nserver = 127.0.0.1:%d name=good backup\n"
                      "health_path = /health\nhealth_interval = 20ms\nresponse_timeout = 1h\n"
                      "protocol = %s\n%s",
                      h2 ? speaks_h2(&p, 0, p.hung) : origin_port(p.hung),
                      h2 ? speaks_h2(&p, 1, p.good) : origin_port(p.good), h2 ? "h2" : "http/1.1", lines));
    millpond_wait_state(p.m, "hung", "up");
    return p;
}

static struct client *ask(struct place *p, const char *request)
{
    struct client *c = client_open(p->m->port);
    client_send(c, "%s HTTP/1.1\r\nHost: test\r\n\r\n", request);
    return c;
}

static void stop(struct place *p)
{
    gate_open(gate);
    millpond_stop(p->m);
    for (int i = 0; i < 2 && p->inner[i] != NULL; i++)
        millpond_stop(p->inner[i]);
    origin_stop(p->hung); /* its threads leave the gate */
}

static void who_may(bool h2)
{
    struct place p = start(h2, "");
    enum { ASKED = 6 };
    struct client *get[ASKED];
    for (unsigned i = 0; i < ASKED; i++)
        get[i] = ask(&p, "GET /page");
    struct client *post = ask(&p, "POST /order"), *begun = ask(&p, "GET /begun");
    expect_status(client_read_head(begun), 103);
    gate_wait_arrived(gate, ASKED + 2);
    ill = true;
    for (unsigned i = 0; i < ASKED; i++)
        expect_body(client_read(get[i]), "good");
    assert_int_equal(origin_requests_for(p.good, "/page"), ASKED);
    millpond_wait_log(p.m, "app/hung: went down before it answered; trying again", ASKED);
    assert_true(client_is_silent(post) && client_is_silent(begun));
    gate_open(gate);
    expect_body(client_read(post), "hung");
    expect_body(client_read(begun), "hung");
    assert_int_equal(origin_requests_for(p.good, "/order"), 0);
    assert_int_equal(millpond_figure(p.m, "upstream_retries"), ASKED);
    stop(&p);
}

static void who_may_goes_elsewhere(void **state)
{
    UNUSED(state);
    who_may(false);
}

static void who_may_goes_elsewhere_by_http2(void **state)
{
    UNUSED(state);
    who_may(true);
}

static void within_retries(void **state)
{
    UNUSED(state);
    struct place p = start(false, "retries = 0\n");
    struct client *get = ask(&p, "GET /page");
    gate_wait_arrived(gate, 1);
    ill = true;
    millpond_wait_state(p.m, "hung", "down");
    expect_body(client_get(p.m->port, "/next", ""), "good"); /* the worker may have been told by now */
    assert_true(client_is_silent(get));
    gate_open(gate);
    expect_body(client_read(get), "hung");
    stop(&p);
}

/* Nobody else is there: what was asked is all there is to wait for. */
static void last_one_is_waited_for(void **state)
{
    UNUSED(state);
    struct place p = start(false, "");
    origin_stop(p.good);
    millpond_wait_state(p.m, "good", "down");
    struct client *get = ask(&p, "GET /page");
    gate_wait_arrived(gate, 1);
    ill = true;
    millpond_wait_state(p.m, "hung", "down");
    gate_open(gate);
    expect_body(client_read(get), "hung");
    stop(&p);
}

static void shared_fetches_and_hedges(void **state)
{
    UNUSED(state);
    struct place p = start(false, "[route r]\nhedge = 1h\n");
    struct client *first = ask(&p, "GET /page"), *second = ask(&p, "GET /page");
    gate_wait_arrived(gate, 1);
    ill = true;
    expect_body(client_read(first), "good");
    expect_body(client_read(second), "good");
    stop(&p);
}

static void half_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const _Atomic bool *is_ill = arg;
    if (strcmp(request->target, "/health") == 0) {
        origin_respond(c, *is_ill ? 500 : 200, "", "");
        return;
    }
    gate_pass(gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "hung");
}

/* Both whom a hedged request has asked go down, in either order. */
static void both_tries_of_a_hedge(void **state)
{
    UNUSED(state);
    for (unsigned begins = 0; begins < 2; begins++) {
        static _Atomic bool is_ill[2];
        static const char *const names[2] = {"one", "two"};
        struct origin *hung[2], *good = origin_start_named("good");
        gate = gate_new();
        for (unsigned i = 0; i < 2; i++) {
            is_ill[i] = false;
            hung[i] = origin_start(half_script, &is_ill[i]);
        }
        struct millpond *m =
            millpond_start(.main = "workers = 1\n",
                           .rest = textf(
                               "[pool app]\nserver = 127.0.0.1:%d name=one\nserver = 127.0.0.1:%d name=two\n"
                               "server = 127.0.0.1:%d name=good backup\nhealth_path = /health\n"
                               "health_interval = 20ms\nresponse_timeout = 1h\nretries = 2\n"
                               "[route r]\nhedge = 20ms\n",
                               origin_port(hung[0]), origin_port(hung[1]), origin_port(good)));
        millpond_wait_state(m, "one", "up");
        millpond_wait_state(m, "two", "up");
        struct client *get = client_open(m->port);
        client_send(get, "GET /page HTTP/1.1\r\nHost: test\r\n\r\n");
        gate_wait_arrived(gate, 2);
        for (unsigned i = 0; i < 2; i++) {
            is_ill[(begins + i) % 2] = true;
            millpond_wait_state(m, names[(begins + i) % 2], "down");
        }
        expect_body(client_read(get), "good");
        gate_open(gate);
        millpond_stop(m);
        origin_stop(hung[0]);
        origin_stop(hung[1]);
        origin_stop(good);
    }
}

/* A drained instance answers what it has. */
static void drained_is_waited_for(void **state)
{
    UNUSED(state);
    struct place p = start(false, "");
    struct client *get = ask(&p, "GET /page");
    gate_wait_arrived(gate, 1);
    assert_int_equal(millpond_cli(p.m, "drain", "app/hung", NULL).exit_code, 0);
    expect_body(client_get(p.m->port, "/next", ""), "good");
    gate_open(gate);
    expect_body(client_read(get), "hung");
    stop(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(who_may_goes_elsewhere),
        E2E_TEST(who_may_goes_elsewhere_by_http2),
        E2E_TEST(within_retries),
        E2E_TEST(last_one_is_waited_for),
        E2E_TEST(shared_fetches_and_hedges),
        E2E_TEST(both_tries_of_a_hedge),
        E2E_TEST(drained_is_waited_for),
    };
    return E2E_RUN("lost", tests);
}
