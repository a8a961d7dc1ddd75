/* test_phase_deliver.c: pipelined answers, gathered into one write, must each be whole and their own: what a
 * piece points at may not go before the write. */
#include "fixture.h"
#include "proxy/deliver.h"
#include "proxy/upstream_conn.h"

#define HEAD(tag) "HTTP/1.1 200 OK\r\nETag: \"" tag "\"\r\nX-Which: " tag "\r\nContent-Location: /" tag "\r\n"

static void ask(struct proxy_fix *f, const char *requests, char *answers, size_t bytes)
{
    int other;
    struct client_conn *c = fix_client(f, "192.0.2.7:1", &other);
    assert_int_equal(write(other, requests, strlen(requests)), strlen(requests));
    c->readable = true;
    h1_server_run(c);
    fix_received(other, answers, bytes);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
}

static void expect_order(const char *text, const char *const *parts, size_t count)
{
    const char *at = text;
    for (size_t i = 0; i < count; i++) {
        const char *found = strstr(at, parts[i]);
        if (found == NULL)
            fail_msg("no %s in its place in: %s", parts[i], text);
        at = found + strlen(parts[i]);
    }
}

static void test_pipelined_hits(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    char answers[8192];
    fix_start(&f, FIX_APP, true);
    fix_store(&f, "a", "/1", HEAD("one"), "first");
    fix_store(&f, "a", "/2", HEAD("two"), "second");
    ask(&f,
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /1 HTTP/1.1\r\nHost: "
        "a\r\n\r\n",
        answers, sizeof answers);
    const char *want[] = {"X-Which: one", "first", "X-Which: two", "second", "X-Which: one", "first"};
    expect_order(answers, want, ARRAY_LEN(want));
    assert_int_equal(fix_count(answers, "HTTP/1.1 200 OK\r\n"), 3);
    fix_end(&f);
}

/* A 304's head is built in the exchange's arena, which ends before the batch is written. */
static void test_pipelined_not_modified(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    char answers[8192];
    fix_start(&f, FIX_APP, true);
    fix_store(&f, "a", "/1", HEAD("one"), "first");
    fix_store(&f, "a", "/2", HEAD("two"), "second");
    ask(&f,
        "GET /1 HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"one\"\r\n\r\n"
        "GET /2 HTTP/1.1\r\nHost: a\r\nIf-None-Match: \"two\"\r\n\r\n",
        answers, sizeof answers);
    const char *want[] = {"304 Not Modified", "ETag: \"one\"", "Content-Location: /one",
                          "304 Not Modified", "ETag: \"two\"", "Content-Location: /two"};
    expect_order(answers, want, ARRAY_LEN(want));
    assert_int_equal(fix_count(answers, "\"two\""), 1);
    fix_end(&f);
}

/* The same for a route that edits the head, with more of it than the exchange's own block holds. */
static void test_pipelined_edits(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    char answers[32768], head[4096];
    fix_start(&f, FIX_APP "[route r]\nset_response_header = X-Host: $host\n", true);
    for (int i = 1; i <= 3; i++) {
        char path[8];
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX-Which: %d\r\nX-Long: %0*d\r\n", i,
                 i == 2 ? 100 : 3000, i);
        snprintf(path, sizeof path, "/%d", i);
        fix_store(&f, "a", path, head, "body");
    }
    ask(&f,
        "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: "
        "a\r\n\r\n",
        answers, sizeof answers);
    const char *want[] = {"X-Which: 1", "X-Host: a",  "body",      "X-Which: 2", "X-Host: a",
                          "body",       "X-Which: 3", "X-Host: a", "body"};
    expect_order(answers, want, ARRAY_LEN(want));
    assert_int_equal(fix_count(answers, "X-Which: 3"), 1);
    fix_end(&f);
}

/* A client that is gone is noticed by the write; the fetch must not go on for nobody. */
static void test_relay_to_gone_client(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    int other, pair[2];
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "unix:/x", &other);
    struct exchange *x = fix_exchange(&f, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    client_conn_set_state(c, CLIENT_EXCHANGE);
    x->phase = PHASE_DELIVER;
    x->source = SOURCE_RELAY;
    x->out_framing = FRAME_CHUNKED;
    x->head_sent = true;
    x->instance = pool_pick(x->route->pool, NULL, NULL, 0);
    struct upstream_conn *u = upstream_conn_adopt(f.pw, pair[0], instance_ref(x->instance));
    upstream_conn_assign(u, x);
    x->upstream = u;
    deliver_relay(x, "one", 3);
    assert_int_equal(f.pw->exchange_count, 1);
    close(other);
    deliver_relay(x, "two", 3);
    assert_int_equal(f.pw->exchange_count, 0);
    assert_int_equal(f.pw->conn_count, 0);
    assert_int_equal(u->state, UPSTREAM_CLOSED);
    close(pair[1]);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pipelined_hits),
        cmocka_unit_test(test_pipelined_not_modified),
        cmocka_unit_test(test_pipelined_edits),
        cmocka_unit_test(test_relay_to_gone_client),
    };
    return cmocka_run_group_tests_name("proxy/phase_deliver", tests, fix_group_setup, fix_group_teardown);
}
