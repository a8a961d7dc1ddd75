/* test_h1_client.c: a 408 with which an instance ends a connection that was kept open, while our request is
 * on its way: it says something about the time before (RFC 9110 section 15.5.9). */
#include "instance_fixture.h"

#define HEAD     "HTTP/1.1\r\nHost: h\r\n"
#define ANSWER   "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
#define TOO_LATE "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 4\r\n\r\nlate"

/* A request on a connection that has served another one. */
static void ask_on_reused(struct inst_fix *o, const char *request)
{
    inst_start(o, false, "");
    inst_ask(o, 1, "GET /first " HEAD "\r\n");
    INST_UNTIL(o, inst_is_asked(o, 0));
    inst_say(o, 0, ANSWER "one");
    INST_UNTIL(o, o->f.pw->exchange_count == 0);
    o->conn[0]->in_bytes = 0;
    memset(o->conn[0]->in, 0, sizeof o->conn[0]->in);
    inst_ask(o, 0, request);
    INST_UNTIL(o, inst_is_asked(o, 0));
}

static void test_sent_again_on_a_fresh_connection(void **state)
{
    UNUSED(state);
    static const struct {
        const char *request, *end;
    } rows[] = {
        {"GET /a " HEAD "\r\n", "\r\n\r\n"},
        {"POST /a " HEAD "\r\n", "\r\n\r\n"},
        {"POST /a " HEAD "Content-Length: 0\r\n\r\n", "\r\n\r\n"},
        {"PUT /a " HEAD "Content-Length: 4\r\n\r\nbody", "\r\n\r\nbody"},
        {"PUT /a " HEAD "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", "4\r\nbody\r\n0\r\n\r\n"},
        {"POST /a " HEAD "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n", "\r\n\r\n"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct inst_fix o;
        ask_on_reused(&o, rows[i].request);
        inst_say(&o, 0, TOO_LATE);
        INST_UNTIL(&o, o.conn_count == 2 && strstr(o.conn[1]->in, rows[i].end) != NULL);
        assert_true(o.conn[0]->fd < 0);
        const struct exchange *x = inst_exchange(&o, "/a");
        assert_int_equal(x->reuse_races, 1);
        assert_int_equal(x->tries, 1);
        inst_say(&o, 1, ANSWER "two");
        INST_UNTIL(&o, inst_has(&o, 0, "two"));
        assert_false(inst_has(&o, 0, "408"));
        inst_end(&o);
    }
}

static void test_its_answer_otherwise(void **state)
{
    UNUSED(state);
    static const struct {
        const char *request, *answer;
    } rows[] = {
        {"GET /a " HEAD "\r\n", "HTTP/1.1 408 No\r\nContent-Length: 4\r\n\r\nlate"}, /* goes on with it */
        {"GET /a " HEAD "\r\n", "HTTP/1.1 103 Hints\r\n\r\n" TOO_LATE},
        {"POST /a " HEAD "Content-Length: 4\r\n\r\nbody", TOO_LATE}, /* which we have no more */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct inst_fix o;
        ask_on_reused(&o, rows[i].request);
        inst_say(&o, 0, rows[i].answer);
        INST_UNTIL(&o, inst_has(&o, 0, "late"));
        assert_true(inst_has(&o, 0, " 408 "));
        assert_int_equal(o.conn_count, 1);
        inst_end(&o);
    }
}

static void test_its_answer_on_a_fresh_connection(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false, "");
    inst_ask(&o, 0, "GET /a " HEAD "\r\n");
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    inst_say(&o, 0, TOO_LATE);
    INST_UNTIL(&o, inst_has(&o, 0, "late"));
    assert_int_equal(o.conn_count, 1);
    inst_end(&o);
}

/* Nor is it tried for ever: on the fresh connection it is one. */
static void test_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    ask_on_reused(&o, "GET /a " HEAD "\r\n");
    inst_say(&o, 0, TOO_LATE);
    INST_UNTIL(&o, inst_is_asked(&o, 1));
    inst_say(&o, 1, TOO_LATE);
    INST_UNTIL(&o, inst_has(&o, 0, "late"));
    assert_int_equal(o.conn_count, 2);
    inst_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sent_again_on_a_fresh_connection),
        cmocka_unit_test(test_its_answer_otherwise),
        cmocka_unit_test(test_its_answer_on_a_fresh_connection),
        cmocka_unit_test(test_once),
    };
    return cmocka_run_group_tests_name("proxy/h1_client", tests, fix_group_setup, fix_group_teardown);
}
