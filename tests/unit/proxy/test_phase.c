/* test_phase.c: which phase may follow which, and what ACCEPT and ROUTE answer by themselves. */
#include "fixture.h"

struct step {
    struct exchange *x;
    uint8_t from, to;
};

static void take_step(void *arg)
{
    struct step *s = arg;
    s->x->phase = s->from;
    phase_set(s->x, (enum phase_id)s->to);
    if (s->x->phase != s->to)
        abort();
}

static void test_transitions(void **state)
{
    UNUSED(state);
    static const char *const legal[PHASE_COUNT] = {
        /*                 A R L A L W S R F D T L */
        [PHASE_ACCEPT] = "010000000100",  [PHASE_ROUTE] = "001110000100",  [PHASE_LIMIT] = "000110000100",
        [PHASE_AUTH] = "000010000100",    [PHASE_LOOKUP] = "000001111100", [PHASE_WAIT] = "000010001101",
        [PHASE_SLICES] = "000010001101",  [PHASE_REMOTE] = "000010001101", [PHASE_FETCH] = "000010000101",
        [PHASE_DELIVER] = "000000001011", [PHASE_TUNNEL] = "000000000001", [PHASE_LOG] = "000000000000",
    };
    struct exchange x = {.magic = EXCHANGE_MAGIC};
    for (unsigned from = 0; from < PHASE_COUNT; from++) {
        for (unsigned to = 0; to < PHASE_COUNT; to++) {
            struct step s = {&x, (uint8_t)from, (uint8_t)to};
            bool aborts = fix_aborts(take_step, &s);
            if (aborts == (legal[from][to] == '1'))
                fail_msg("phase %u to %u", from, to);
        }
    }
}

/* The answer to `request`, run from ACCEPT to the end. */
static void ask(struct proxy_fix *f, const char *peer, const char *request, char *answer, size_t bytes)
{
    int other;
    struct client_conn *c = fix_client(f, peer, &other);
    assert_int_equal(write(other, request, strlen(request)), strlen(request));
    c->readable = true;
    h1_server_run(c);
    fix_received(other, answer, bytes);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    assert_int_equal(f->pw->exchange_count, 0);
    assert_int_equal(f->pw->conn_count, 0);
    close(other);
}

struct qa {
    const char *request, *starts, *has;
};

static void expect_answers(const char *ini, const char *peer, const struct qa *rows, size_t count)
{
    struct proxy_fix f;
    char answer[8192];
    fix_start(&f, ini, true);
    for (size_t i = 0; i < count; i++) {
        ask(&f, peer, rows[i].request, answer, sizeof answer);
        if (strncmp(answer, rows[i].starts, strlen(rows[i].starts)) != 0 ||
            (rows[i].has != NULL && strstr(answer, rows[i].has) == NULL))
            fail_msg("row %zu: %s", i, answer);
    }
    fix_end(&f);
}

static void test_accept_refusals(void **state)
{
    UNUSED(state);
    static const struct qa rows[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", "HTTP/1.1 417 ",
         "Connection: close"},
        {"CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "HTTP/1.1 501 ", "Connection: close"},
        {"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 ", "Allow: "},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n", "HTTP/1.1 413 ", "Connection: close"},
        {"GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Connection: close"},
        {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "HTTP/1.1 400 ", NULL},
        {"GET http://a b/ HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 400 ", NULL},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
         "HTTP/1.1 400 ", NULL},
    };
    expect_answers("[listen l]\naddress = 127.0.0.1:0\nmax_body_size = 1K\n" FIX_APP, "192.0.2.7:1", rows,
                   ARRAY_LEN(rows));
}

static void test_route_answers(void **state)
{
    UNUSED(state);
    static const struct qa rows[] = {
        {"GET /r/x?y=1 HTTP/1.1\r\nHost: h:1\r\n\r\n", "HTTP/1.1 301 ", "Location: https://h:1/r/x?y=1\r\n"},
        {"GET http://other/r/? HTTP/1.1\r\nHost: h:1\r\n\r\n", "HTTP/1.1 301 ",
         "Location: https://other/r/?\r\n"},
        {"GET /s HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 503 ", "\r\n\r\nback soon"},
        {"HEAD /s HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 503 ", "Content-Length: 9\r\n"},
        {"GET /none HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 ", "Cache-Control: no-store\r\n"},
        {"GET /deny HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 403 ", NULL},
        {"GET /allow HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 403 ", NULL},
        {"OPTIONS * HTTP/1.1\r\nHost: star\r\n\r\n", "HTTP/1.1 200 ", "Content-Length: 0\r\n"},
        {"PURGE /x HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 403 ", NULL},
    };
    expect_answers(FIX_APP "[route r]\npath = /r/*\nredirect = 301 https://$host$uri\n[route s]\npath = /s\n"
                           "respond = 503 back soon\n[route d]\npath = /deny\ndeny = 192.0.2.0/24\n"
                           "[route a]\npath = /allow\nallow = 10.0.0.0/8, unix\n[route o]\nhost = star\n",
                   "192.0.2.7:1", rows, ARRAY_LEN(rows));
}

/* allow and deny look at IPv4 in IPv6 as IPv4, and know unix peers. */
static void test_access_by_peer(void **state)
{
    UNUSED(state);
    static const char ini[] =
        FIX_APP "[route r]\nallow = 10.0.0.0/8, unix\ndeny = 10.1.0.0/16\nrespond = 200 in\n";
    static const struct qa in[] = {{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 ", NULL}};
    static const struct qa out[] = {{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 403 ", NULL}};
    expect_answers(ini, "10.2.3.4:1", in, 1);
    expect_answers(ini, "[::ffff:10.2.3.4]:1", in, 1);
    expect_answers(ini, "unix:/x", in, 1);
    expect_answers(ini, "10.1.3.4:1", out, 1);
    expect_answers(ini, "[::ffff:10.1.3.4]:1", out, 1);
    expect_answers(ini, "[::10.2.3.4]:1", out, 1);
}

/* Behind a trusted proxy the rules are about the client it names, from the right, and only for trusted peers.
 */
static void test_access_behind_trusted_proxy(void **state)
{
    UNUSED(state);
    static const char ini[] = "[millpond]\ntrusted_proxies = 192.0.2.0/24\n" FIX_APP
                              "[route r]\ndeny = 203.0.113.9\nrespond = 200 in\n";
    static const struct qa denied[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n", "HTTP/1.1 403 ", NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.1, 203.0.113.9\r\n\r\n", "HTTP/1.1 403 ",
         NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9,192.0.2.8 \r\n\r\n", "HTTP/1.1 403 ",
         NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 192.0.2.8\r\n\r\n",
         "HTTP/1.1 403 ", NULL},
    };
    static const struct qa let[] = {
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.1\r\n\r\n", "HTTP/1.1 200 ",
         NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.9, nonsense\r\n\r\n", "HTTP/1.1 200 ",
         NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: \r\n\r\n", "HTTP/1.1 200 ", NULL},
        {"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.0/24\r\n\r\n", "HTTP/1.1 200 ", NULL},
    };
    expect_answers(ini, "192.0.2.1:1", denied, ARRAY_LEN(denied));
    expect_answers(ini, "192.0.2.1:1", let, ARRAY_LEN(let));
    expect_answers(ini, "198.51.100.1:1", &(struct qa){denied[0].request, "HTTP/1.1 200 ", NULL}, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transitions),
        cmocka_unit_test(test_accept_refusals),
        cmocka_unit_test(test_route_answers),
        cmocka_unit_test(test_access_by_peer),
        cmocka_unit_test(test_access_behind_trusted_proxy),
    };
    return cmocka_run_group_tests_name("proxy/phase", tests, fix_group_setup, fix_group_teardown);
}
