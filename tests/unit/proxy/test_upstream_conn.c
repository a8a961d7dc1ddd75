/* test_upstream_conn.c: what is sent to an instance arrives whole and in order when the kernel takes it in
 * parts. */
#include "proxy/upstream_conn.h"

#include <event2/event.h>

#include "fixture.h"

struct up {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    struct upstream_conn *u;
    int client, instance;
    char *got;
    size_t got_bytes, room;
};

static void start(struct up *o)
{
    int pair[2], bytes = 1;
    memset(o, 0, sizeof *o);
    fix_start(&o->f, FIX_APP, false);
    o->c = fix_client(&o->f, "192.0.2.7:1", &o->client);
    o->x = fix_exchange(&o->f, o->c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    o->x->phase = PHASE_FETCH;
    o->x->instance = pool_pick(o->x->route->pool, NULL, NULL, 0);
    assert_non_null(o->x->instance);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes), 0);
    o->u = upstream_conn_adopt(o->f.pw, pair[0], instance_ref(o->x->instance));
    assert_non_null(o->u);
    o->x->upstream = o->u;
    upstream_conn_assign(o->u, o->x);
    o->instance = pair[1];
    o->room = 2 * MB;
    o->got = malloc(o->room);
    assert_non_null(o->got);
}

static void end(struct up *o)
{
    phase_fetch_release(o->x, FETCH_CANCELLED);
    fix_drop(o->x);
    client_conn_close(o->c, CLOSE_CLIENT_CLOSED);
    close(o->client);
    close(o->instance);
    free(o->got);
    fix_end(&o->f);
}

static void receive_all(struct up *o, const char *want, size_t bytes)
{
    for (unsigned round = 0; o->got_bytes < bytes && round < 100000; round++) {
        ssize_t n = read(o->instance, o->got + o->got_bytes, o->room - o->got_bytes);
        if (n > 0)
            o->got_bytes += (size_t)n;
        event_base_loop(o->f.worker->base, EVLOOP_NONBLOCK);
    }
    assert_int_equal(o->got_bytes, bytes);
    assert_memory_equal(o->got, want, bytes);
    assert_false(upstream_conn_is_blocked(o->u));
}

/* A second try sends the head and then at once the part of the body that was kept: the head may not have
 * fitted. */
static void test_send_while_output_waits(void **state)
{
    UNUSED(state);
    struct up o;
    const size_t bytes = 600 * KB;
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = (char)('a' + i * 7 / 5 % 26);
    start(&o);
    struct iovec head[2] = {{text, 300 * KB}, {text + 300 * KB, 100}};
    struct iovec body[3] = {
        {text + 300 * KB + 100, 5}, {text + 300 * KB + 105, 1}, {text + 300 * KB + 106, 200 * KB}};
    struct iovec rest = {text + 500 * KB + 106, 100 * KB - 106};
    assert_true(upstream_conn_send(o.u, head, 2));
    assert_true(upstream_conn_is_blocked(o.u));
    assert_true(upstream_conn_send(o.u, body, 3));
    event_base_loop(o.f.worker->base, EVLOOP_NONBLOCK); /* some of it goes */
    assert_true(upstream_conn_send(o.u, &rest, 1));
    receive_all(&o, text, bytes);
    end(&o);
    free(text);
}

static void test_send_at_once(void **state)
{
    UNUSED(state);
    struct up o;
    struct iovec iov[3] = {{"abc", 3}, {"", 0}, {"def", 3}};
    start(&o);
    assert_true(upstream_conn_send(o.u, iov, 3));
    assert_false(upstream_conn_is_blocked(o.u));
    receive_all(&o, "abcdef", 6);
    end(&o);
}

static void test_send_to_closed(void **state)
{
    UNUSED(state);
    struct up o;
    struct iovec iov = {"abc", 3};
    start(&o);
    close(o.instance);
    o.instance = -1;
    assert_false(upstream_conn_send(o.u, &iov, 1));
    end(&o);
}

/* ---- keeping ---- */

/* Ends the response and gives the connection back; whether it was kept. */
static bool give_back(struct up *o)
{
    struct upstream_conn *u = o->u;
    o->x->upstream = NULL;
    o->u = NULL;
    upstream_conn_set_idle(u);
    upstream_pool_put(o->f.pw, u, 10, 1000);
    return o->f.pw->upstreams.count == 1;
}

/* The last read took exactly what was there: the edge is not used up, but nothing is wrong. */
static void test_kept_with_unused_edge(void **state)
{
    UNUSED(state);
    struct up o;
    start(&o);
    o.u->readable = true;
    struct upstream_conn *u = o.u;
    assert_true(give_back(&o));
    assert_ptr_equal(upstream_pool_take(o.f.pw, o.x->instance, true), u);
    upstream_conn_assign(u, o.x);
    o.x->upstream = u;
    end(&o);
}

static void test_not_kept_with_bytes_or_end(void **state)
{
    UNUSED(state);
    struct up o;
    start(&o);
    assert_int_equal(write(o.instance, "x", 1), 1);
    o.u->readable = true;
    assert_false(give_back(&o));
    end(&o);
    start(&o);
    shutdown(o.instance, SHUT_WR);
    o.u->readable = true;
    assert_false(give_back(&o));
    end(&o);
}

static void do_nothing(struct turn_hook *h)
{
    UNUSED(h);
}

/* A connection that is put off to the next turn and ends before does not come back from the dead. */
static void test_close_while_put_off(void **state)
{
    UNUSED(state);
    struct up o;
    struct turn_hook other = {.on_turn_end = do_nothing};
    list_init(&other.node);
    start(&o);
    worker_at_turn_end(o.f.worker, &o.u->again);
    worker_at_turn_end(o.f.worker, &other);
    phase_fetch_release(o.x, FETCH_CANCELLED);
    worker_drain(o.f.worker); /* hooks, then graves */
    event_base_loop(o.f.worker->base, EVLOOP_NONBLOCK);
    end(&o);
}

/* ---- whose fault a slow body is ---- */

static void slow_body(bool blocked, bool want_408)
{
    struct up o;
    char *text = calloc(1, 600 * KB), got[4096];
    struct iovec iov = {text, 600 * KB};
    start(&o);
    client_conn_set_state(o.c, CLIENT_EXCHANGE);
    o.x->body_state = BODY_READING;
    o.c->rate_since_ms = worker_now_ms(o.f.worker);
    if (blocked)
        assert_true(upstream_conn_send(o.u, &iov, 1));
    o.f.worker->now_us += 31 * 1000000; /* body_timeout is 30 s */
    o.c->deadline.on_deadline(&o.c->deadline);
    fix_received(o.client, got, sizeof got);
    assert_int_equal(strncmp(got, "HTTP/1.1 408 ", 13) == 0, want_408);
    if (want_408) { /* the exchange and its upstream connection are gone */
        assert_int_equal(o.f.pw->exchange_count, 0);
        o.x = fix_exchange(&o.f, o.c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    } else {
        assert_true(deadline_is_set(&o.c->deadline));
        assert_int_equal(o.x->phase, PHASE_FETCH);
    }
    end(&o);
    free(text);
}

static void test_slow_body(void **state)
{
    UNUSED(state);
    slow_body(false, true); /* the client sends nothing */
    slow_body(true, false); /* the instance takes nothing, so we take nothing from the client */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send_while_output_waits),
        cmocka_unit_test(test_send_at_once),
        cmocka_unit_test(test_send_to_closed),
        cmocka_unit_test(test_kept_with_unused_edge),
        cmocka_unit_test(test_not_kept_with_bytes_or_end),
        cmocka_unit_test(test_close_while_put_off),
        cmocka_unit_test(test_slow_body),
    };
    return cmocka_run_group_tests_name("proxy/upstream_conn", tests, fix_group_setup, fix_group_teardown);
}
