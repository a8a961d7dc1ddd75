/* test_hedge.c: two instances that are asked the same: who answers, who does not, who leaves meanwhile; and
 * the route's time for all of it (fetch_timeout). Deadlines come when the test says so. */
#include "proxy/hedge.h"

#include "balancer/balancer.h"
#include "balancer/instance.h"
#include "instance_fixture.h"

#define GET    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
#define POOL   "server = 127.0.0.1:SECOND\nretries = 0\n[route r]\nhedge = 1h\ntimeout = 1h\n"

static void begin(struct inst_fix *o)
{
    inst_start(o, false, POOL);
}

static void start(struct inst_fix *o)
{
    begin(o);
    inst_ask(o, 0, GET);
    INST_UNTIL(o, inst_is_asked(o, 0));
}

static void start_both(struct inst_fix *o)
{
    start(o);
    inst_ring(inst_exchange(o, "/a")->hedge);
    INST_UNTIL(o, inst_is_asked(o, 1));
    assert_int_not_equal(o->conn_of[0], o->conn_of[1]);
}

static void test_who_answers(void **state)
{
    UNUSED(state);
    for (unsigned who = 0; who < 2; who++) {
        struct inst_fix o;
        start_both(&o);
        inst_say(&o, who, ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        INST_UNTIL(&o, o.conn[1 - who]->fd < 0); /* cancelled */
        assert_true(o.conn[who]->fd >= 0);
        inst_end(&o);
    }
}

static void test_both_answer_at_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start_both(&o);
    inst_say(&o, 0, ANSWER "one");
    inst_say(&o, 1, ANSWER "two");
    INST_UNTIL(&o, inst_has(&o, 0, "one") || inst_has(&o, 0, "two"));
    inst_turn(&o);
    assert_int_equal(fix_count(o.client[0].got, "HTTP/1.1"), 1);
    inst_end(&o);
}

static void test_one_breaks_the_other_answers(void **state)
{
    UNUSED(state);
    for (unsigned who = 0; who < 2; who++) {
        struct inst_fix o;
        start_both(&o);
        inst_break(&o, who);
        for (unsigned i = 0; i < 10; i++)
            inst_turn(&o);
        assert_int_equal(o.client[0].got_bytes, 0);
        assert_int_equal(inst_exchange(&o, "/a")->fetch_error, FETCH_RESET); /* which the log tells */
        inst_say(&o, 1 - who, ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        inst_end(&o);
    }
}

/* With an answer that another instance would be asked for: the other one is asked already. */
static void test_one_fails_the_other_answers(void **state)
{
    UNUSED(state);
    for (unsigned who = 0; who < 2; who++) {
        struct inst_fix o;
        start_both(&o);
        inst_say(&o, who, "HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno");
        for (unsigned i = 0; i < 10; i++)
            inst_turn(&o);
        assert_int_equal(o.client[0].got_bytes, 0);
        inst_say(&o, 1 - who, ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        inst_end(&o);
    }
}

/* Both are asked by connections that were kept open; one ends just then, which says nothing about its
 * instance. */
static void test_one_was_old(void **state)
{
    UNUSED(state);
    for (unsigned who = 0; who < 2; who++) {
        struct inst_fix o;
        begin(&o);
        inst_ask(&o, 1, GET);
        inst_ask(&o, 2, GET);
        INST_UNTIL(&o, inst_is_asked(&o, 0) && inst_is_asked(&o, 1));
        for (unsigned i = 0; i < 2; i++)
            inst_say(&o, i, ANSWER "old");
        INST_UNTIL(&o, o.f.pw->exchange_count == 0);
        inst_ask(&o, 0, GET);
        INST_UNTIL(&o, fix_count(o.conn[0]->in, "GET") + fix_count(o.conn[1]->in, "GET") == 3);
        const unsigned first = fix_count(o.conn[0]->in, "GET") == 2 ? 0 : 1;
        struct exchange *x = inst_exchange(&o, "/a");
        inst_ring(x->hedge);
        INST_UNTIL(&o, fix_count(o.conn[1 - first]->in, "GET") == 2);
        const struct instance *tried = x->tried[who];
        inst_break(&o, who == 0 ? first : 1 - first);
        for (unsigned i = 0; i < 10; i++)
            inst_turn(&o);
        assert_int_equal(atomic_load(&tried->failures), 0);
        inst_say(&o, who == 0 ? 1 - first : first, ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        assert_int_equal(o.conn_count, 2);
        inst_end(&o);
    }
}

static void test_none_answers(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start_both(&o);
    for (unsigned who = 0; who < 2; who++) {
        inst_break(&o, who);
        inst_turn(&o);
    }
    INST_UNTIL(&o, inst_has(&o, 0, "HTTP/1.1 502"));
    inst_end(&o);
}

static void test_client_leaves(void **state)
{
    UNUSED(state);
    for (unsigned hedged = 0; hedged < 2; hedged++) {
        struct inst_fix o;
        if (hedged)
            start_both(&o);
        else
            start(&o);
        inst_leave(&o, 0);
        INST_UNTIL(&o, o.f.pw->exchange_count == 0);
        INST_UNTIL(&o, o.conn[0]->fd < 0 && (!hedged || o.conn[1]->fd < 0));
        inst_end(&o);
    }
}

/* ---- the route's timeout ---- */

static void test_time_is_up(void **state)
{
    UNUSED(state);
    for (unsigned hedged = 0; hedged < 2; hedged++) {
        struct inst_fix o;
        if (hedged)
            start_both(&o);
        else
            start(&o);
        inst_ring(inst_exchange(&o, "/a")->timeout);
        INST_UNTIL(&o, inst_has(&o, 0, "HTTP/1.1 504"));
        INST_UNTIL(&o, o.conn[0]->fd < 0);
        inst_end(&o);
    }
}

/* A second try is to blame when it has had half of the time; before, the first one has taken it. */
static void test_who_took_the_time(void **state)
{
    UNUSED(state);
    for (unsigned long_ago = 0; long_ago < 2; long_ago++) {
        struct inst_fix o;
        inst_start(&o, false, "server = 127.0.0.1:SECOND\nretries = 1\n[route r]\ntimeout = 1h\n");
        inst_ask(&o, 0, GET);
        INST_UNTIL(&o, inst_is_asked(&o, 0));
        inst_break(&o, 0);
        INST_UNTIL(&o, inst_is_asked(&o, 1));
        struct exchange *x = inst_exchange(&o, "/a");
        const struct instance *second = x->instance;
        if (long_ago)
            x->connected_us -= (mono_us_t)1800 * 1000000;
        inst_ring(x->timeout);
        INST_UNTIL(&o, inst_has(&o, 0, "HTTP/1.1 504"));
        assert_int_equal(atomic_load(&second->failures), long_ago);
        inst_end(&o);
    }
}

static void test_time_is_up_once_it_has_begun(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start(&o);
    inst_say(&o, 0, ANSWER "o");
    INST_UNTIL(&o, inst_has(&o, 0, "200 OK"));
    inst_ring(inst_exchange(&o, "/a")->timeout);
    inst_say(&o, 0, "ne");
    INST_UNTIL(&o, inst_has(&o, 0, "one"));
    inst_end(&o);
}

/* ---- no memory ---- */

static void play(struct inst_fix *o)
{
    struct exchange *x;
    bool rung = false, said[INST_CONNS] = {false};
    inst_ask(o, 0, GET);
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        x = inst_exchange(o, "/a");
        if (!rung && inst_is_asked(o, 0) && x != NULL && x->hedge != NULL &&
            deadline_is_set((void *)x->hedge)) {
            rung = true;
            inst_ring(x->hedge);
        }
        for (unsigned k = 0; k < o->conn_count; k++) {
            if (said[k] || !inst_is_asked(o, k) || (k == 0 && rung && round < 20))
                continue;
            said[k] = true;
            inst_say(o, k, ANSWER "one");
        }
    }
    assert_int_equal(o->f.pw->exchange_count, 0);
}

static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 0, "one"));
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_answers),
        cmocka_unit_test(test_both_answer_at_once),
        cmocka_unit_test(test_one_breaks_the_other_answers),
        cmocka_unit_test(test_one_fails_the_other_answers),
        cmocka_unit_test(test_one_was_old),
        cmocka_unit_test(test_none_answers),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_time_is_up),
        cmocka_unit_test(test_who_took_the_time),
        cmocka_unit_test(test_time_is_up_once_it_has_begun),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/hedge", tests, fix_group_setup, fix_group_teardown);
}
