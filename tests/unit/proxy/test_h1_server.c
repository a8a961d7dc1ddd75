/* test_h1_server.c: clients that have ended their side of the connection and wait for the answer, and those
 * that only seem to. Deadlines come when the test says so. */
#include "instance_fixture.h"

#define GET    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"

static void begin(struct inst_fix *o, const char *text)
{
    inst_start(o, false, "");
    inst_ask(o, 0, text);
    INST_UNTIL(o, inst_is_asked(o, 0));
}

static void turn_often(struct inst_fix *o)
{
    for (unsigned i = 0; i < 20; i++)
        inst_turn(o);
}

static void end_side(struct inst_fix *o, unsigned i)
{
    assert_int_equal(shutdown(o->client[i].fd, SHUT_WR), 0);
    turn_often(o);
}

static void look(struct inst_fix *o)
{
    inst_ring(&inst_exchange(o, "/a")->client->deadline);
    turn_often(o);
}

static void test_whole_requests_are_answered(void **state)
{
    UNUSED(state);
    static const char *const requests[] = {
        GET,
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody",
        "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "GET /a HTTP/1.0\r\nHost: h\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct inst_fix o;
        begin(&o, requests[i]);
        end_side(&o, 0);
        assert_non_null(inst_exchange(&o, "/a"));
        inst_say(&o, 0, ANSWER "one");
        INST_UNTIL(&o, o.client[0].closed);
        assert_true(inst_has(&o, 0, "one"));
        assert_true(o.conn[0]->fd >= 0); /* kept */
        inst_end(&o);
    }
}

static void test_all_that_was_asked_is_answered(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    begin(&o, GET "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    end_side(&o, 0);
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, strstr(o.conn[0]->in, "GET /b") != NULL);
    turn_often(&o);
    assert_false(o.client[0].closed);
    inst_say(&o, 0, ANSWER "two");
    INST_UNTIL(&o, o.client[0].closed);
    assert_true(inst_has(&o, 0, "one") && inst_has(&o, 0, "two"));
    inst_end(&o);
}

/* It can be told from the others only by what it sends when it is written to. */
static void test_who_is_silent_is_gone_some_time(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    begin(&o, GET);
    end_side(&o, 0);
    look(&o);
    assert_true(o.conn[0]->fd < 0 && o.client[0].closed && o.client[0].got_bytes == 0);
    inst_end(&o);
}

static void test_a_body_that_comes_slowly(void **state)
{
    UNUSED(state);
    for (int ends = 0; ends < 2; ends++) {
        struct inst_fix o;
        begin(&o, GET);
        end_side(&o, 0);
        inst_say(&o, 0, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        look(&o);
        assert_false(o.client[0].closed);
        inst_say(&o, 0, "two");
        INST_UNTIL(&o, inst_has(&o, 0, "two"));
        look(&o);
        assert_false(o.client[0].closed);
        if (ends == 1)
            inst_say(&o, 0, "six");
        else
            look(&o);
        INST_UNTIL(&o, o.client[0].closed);
        assert_true(inst_has(&o, 0, "six") == (ends == 1) && (o.conn[0]->fd >= 0) == (ends == 1));
        inst_end(&o);
    }
}

static void test_half_a_body_is_none(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    begin(&o, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nbody");
    end_side(&o, 0);
    assert_true(o.conn[0]->fd < 0 && o.client[0].closed && o.client[0].got_bytes == 0);
    inst_end(&o);
}

static void test_no_place_in_the_queue(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false,
               "[pool narrow]\nserver = 127.0.0.1:SECOND max_connections=1\nhealth_check = off\n"
               "[route r]\npool = narrow\n");
    inst_ask(&o, 1, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n");
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    inst_ask(&o, 0, GET);
    turn_often(&o);
    assert_non_null(inst_exchange(&o, "/a")->queued);
    end_side(&o, 0);
    assert_true(o.client[0].closed);
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 1, "one"));
    turn_often(&o);
    assert_int_equal(o.conn_count, 1);
    assert_int_equal(fix_count(o.conn[0]->in, "GET"), 1);
    inst_end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_requests_are_answered),
        cmocka_unit_test(test_all_that_was_asked_is_answered),
        cmocka_unit_test(test_who_is_silent_is_gone_some_time),
        cmocka_unit_test(test_a_body_that_comes_slowly),
        cmocka_unit_test(test_half_a_body_is_none),
        cmocka_unit_test(test_no_place_in_the_queue),
    };
    return cmocka_run_group_tests_name("proxy/h1_server", tests, fix_group_setup, fix_group_teardown);
}
