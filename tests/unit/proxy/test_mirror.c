/* test_mirror.c: a request and its copy, each by an instance that the test plays: whoever answers, breaks or
 * leaves first, two at once, the limits of both, and memory that is not there. */
#include "proxy/mirror.h"

#include "instance_fixture.h"

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define ANSWER    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
#define COPIES                                                                                               \
    "retries = 0\n[pool next]\nserver = 127.0.0.1:SECOND\nhealth_check = off\neject_errors = 0\n"            \
    "[route r]\nmirror = next\n"

enum { APP, NEXT }; /* to whom a connection came */

struct figures {
    uint64_t copies, failures, skips;
};

static struct figures figures(void)
{
    return (struct figures){metrics_total(METRIC_MIRRORED), metrics_total(METRIC_MIRROR_FAILURES),
                            metrics_total(METRIC_MIRROR_SKIPS)};
}

static void expect_since(struct figures before, unsigned copies, unsigned failures, unsigned skips)
{
    const struct figures now = figures();
    assert_int_equal(now.copies - before.copies, copies);
    assert_int_equal(now.failures - before.failures, failures);
    assert_int_equal(now.skips - before.skips, skips);
}

static void start(struct inst_fix *o)
{
    inst_start(o, false, COPIES);
}

/* Nothing is left of any copy. */
static void end(struct inst_fix *o)
{
    INST_UNTIL(o, o->f.pw->exchange_count == 0);
    assert_int_equal(o->f.pw->mirror_count, 0);
    assert_int_equal(metrics_total(METRIC_MIRRORS_OPEN), 0);
    inst_end(o);
}

/* The connection by which `text` came to one of the two; INST_CONNS: none. */
static unsigned conn_with(const struct inst_fix *o, int to, const char *text)
{
    for (unsigned i = 0; i < o->conn_count; i++) {
        if (o->conn_of[i] == to && strstr(o->conn[i]->in, text) != NULL)
            return i;
    }
    return INST_CONNS;
}

static bool is_asked(const struct inst_fix *o, int to)
{
    const unsigned conn = conn_with(o, to, "\r\n\r\n");
    return conn < INST_CONNS;
}

static void ask_both(struct inst_fix *o)
{
    start(o);
    inst_ask(o, 0, GET("/a"));
    INST_UNTIL(o, is_asked(o, APP) && is_asked(o, NEXT));
    assert_int_equal(o->f.pw->mirror_count, 1);
}

static struct exchange *copy_of(struct inst_fix *o)
{
    LIST_FOREACH (n, &o->f.pw->exchanges) {
        struct exchange *x = CONTAINER_OF(n, struct exchange, node);
        if (x->is_mirror)
            return x;
    }
    return NULL;
}

/* ---- who comes to an end first ---- */

static void test_either_answers_first(void **state)
{
    UNUSED(state);
    for (int first = APP; first <= NEXT; first++) {
        struct inst_fix o;
        const struct figures before = figures();
        ask_both(&o);
        inst_say(&o, conn_with(&o, first, "/a"), ANSWER "one");
        INST_UNTIL(&o, o.f.pw->exchange_count == 1);
        assert_int_equal(o.f.pw->mirror_count, first == APP ? 1 : 0);
        assert_int_equal(inst_has(&o, 0, "one"), first == APP);
        inst_say(&o, conn_with(&o, NEXT - first, "/a"), ANSWER "two");
        INST_UNTIL(&o, o.f.pw->exchange_count == 0);
        INST_UNTIL(&o, inst_has(&o, 0, first == APP ? "one" : "two"));
        assert_int_equal(fix_count(o.client[0].got, "HTTP/1.1"), 1);
        assert_true(o.conn[0]->fd >= 0 && o.conn[1]->fd >= 0);
        end(&o);
        expect_since(before, 1, 0, 0);
    }
}

/* Before it is answered, in the middle of it, and with an error. */
static void test_copy_fails(void **state)
{
    UNUSED(state);
    static const char *const last[] = {"", ANSWER "o", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
                                       "HTTP/1.1 499 No\r\nContent-Length: 0\r\n\r\n"};
    for (unsigned i = 0; i < ARRAY_LEN(last); i++) {
        struct inst_fix o;
        const struct figures before = figures();
        ask_both(&o);
        const unsigned next = conn_with(&o, NEXT, "/a");
        inst_say(&o, next, last[i]);
        if (i < 2)
            inst_break(&o, next);
        INST_UNTIL(&o, o.f.pw->exchange_count == 1);
        assert_int_equal(o.client[0].got_bytes, 0);
        inst_say(&o, conn_with(&o, APP, "/a"), ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        end(&o);
        expect_since(before, 1, i < 3, 0);
    }
}

static void test_instance_breaks(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    ask_both(&o);
    inst_break(&o, conn_with(&o, APP, "/a"));
    INST_UNTIL(&o, inst_has(&o, 0, "HTTP/1.1 502"));
    assert_int_equal(o.f.pw->mirror_count, 1);
    inst_say(&o, conn_with(&o, NEXT, "/a"), ANSWER "two");
    end(&o);
    expect_since(before, 1, 0, 0);
}

static void test_client_leaves(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    ask_both(&o);
    inst_leave(&o, 0);
    INST_UNTIL(&o, o.conn[conn_with(&o, APP, "/a")]->fd < 0);
    assert_int_equal(o.f.pw->exchange_count, 1);
    const unsigned next = conn_with(&o, NEXT, "/a");
    inst_say(&o, next, ANSWER "two");
    INST_UNTIL(&o, o.f.pw->exchange_count == 0);
    assert_true(o.conn[next]->fd >= 0);
    end(&o);
    expect_since(before, 1, 0, 0);
}

/* Who leaves, breaks or answers in the middle of the request's body: there is no copy of half a request. */
static void test_body_never_ends(void **state)
{
    UNUSED(state);
    enum { CLIENT_LEAVES, APP_BREAKS, APP_ANSWERS, LAST };
    for (unsigned who = 0; who < LAST; who++) {
        struct inst_fix o;
        const struct figures before = figures();
        start(&o);
        inst_ask(&o, 0, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\none ");
        INST_UNTIL(&o, conn_with(&o, APP, "one ") < INST_CONNS);
        assert_int_equal(o.f.pw->mirror_count, 1);
        if (who == CLIENT_LEAVES)
            inst_leave(&o, 0);
        else if (who == APP_BREAKS)
            inst_break(&o, 0);
        else
            inst_say(&o, 0, ANSWER "one");
        end(&o);
        assert_int_equal(o.conn_count, 1);
        expect_since(before, 0, 0, 1);
    }
}

/* The request is sent twice, to the instance; there is one copy. */
static void test_tried_again(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    ask_both(&o);
    inst_say(&o, conn_with(&o, NEXT, "/a"), ANSWER "two");
    inst_say(&o, conn_with(&o, APP, "/a"), ANSWER "one");
    INST_UNTIL(&o, o.f.pw->exchange_count == 0);
    inst_client_send(&o, 0, GET("/b"), strlen(GET("/b")));
    INST_UNTIL(&o, conn_with(&o, APP, "/b") < INST_CONNS);
    inst_break(&o, conn_with(&o, APP, "/b")); /* kept open since /a */
    INST_UNTIL(&o, o.conn_count == 3 && inst_is_asked(&o, 2));
    assert_int_equal(o.conn_of[2], APP);
    inst_say(&o, 2, ANSWER "try");
    INST_UNTIL(&o, inst_has(&o, 0, "try"));
    assert_int_equal(fix_count(o.conn[conn_with(&o, NEXT, "/b")]->in, "GET /b"), 1);
    inst_say(&o, conn_with(&o, NEXT, "/b"), ANSWER "two");
    end(&o);
    expect_since(before, 2, 0, 0);
}

/* What an instance confirms is not what is stored: it is asked anew, for the same request. */
static void test_asked_anew(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    inst_start_with(&o, false, true, COPIES);
    inst_ask(&o, 0, GET("/a"));
    INST_UNTIL(&o, is_asked(&o, APP) && is_asked(&o, NEXT));
    const unsigned app = conn_with(&o, APP, "/a"), next = conn_with(&o, NEXT, "/a");
    inst_say(&o, next, ANSWER "two");
    inst_say(&o, app,
             "HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nAge: 5\r\nETag: \"a\"\r\n"
             "Last-Modified: Sun, 22 Nov 2026 00:00:00 GMT\r\n"
             "Content-Length: 3\r\n\r\none");
    INST_UNTIL(&o, o.f.pw->exchange_count == 0);
    inst_ask(&o, 1, GET("/a"));
    INST_UNTIL(&o,
               strstr(o.conn[app]->in, "If-None-Match") != NULL && fix_count(o.conn[next]->in, "GET") == 2);
    inst_say(&o, app, "HTTP/1.1 304 Not Modified\r\nETag: \"b\"\r\n\r\n");
    inst_say(&o, next, ANSWER "two");
    INST_UNTIL(&o, o.conn_count == 3 || fix_count(o.conn[app]->in, "\r\n\r\n") == 3);
    inst_say(&o, o.conn_count == 3 ? 2 : app, ANSWER "new");
    INST_UNTIL(&o, inst_has(&o, 1, "new"));
    end(&o);
    expect_since(before, 2, 0, 0);
}

static void test_two_at_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    start(&o);
    inst_ask(&o, 0, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\none ");
    inst_ask(&o, 1, "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntwo \r\n");
    INST_UNTIL(&o, conn_with(&o, APP, "one ") < INST_CONNS && conn_with(&o, APP, "two ") < INST_CONNS);
    assert_int_equal(o.f.pw->mirror_count, 2);
    inst_client_send(&o, 1, "3\r\nTWO\r\n0\r\n\r\n", 13);
    inst_client_send(&o, 0, "ONE!", 4);
    INST_UNTIL(&o, conn_with(&o, NEXT, "one ONE!") < INST_CONNS &&
                       conn_with(&o, NEXT, "7\r\ntwo TWO\r\n0\r\n\r\n") < INST_CONNS);
    assert_true(conn_with(&o, NEXT, "POST /a ") == conn_with(&o, NEXT, "one ONE!"));
    assert_true(conn_with(&o, NEXT, "POST /b ") == conn_with(&o, NEXT, "two TWO"));
    for (unsigned i = 0; i < o.conn_count; i++)
        inst_say(&o, i, ANSWER "all");
    end(&o);
    expect_since(before, 2, 0, 0);
}

/* ---- limits ---- */

static void test_body_length(void **state)
{
    UNUSED(state);
    static const struct {
        size_t bytes;
        bool chunked, copied;
    } rows[] = {{MIRROR_BODY_MAX, false, true},
                {MIRROR_BODY_MAX, true, true},
                {MIRROR_BODY_MAX + 1, false, false},
                {MIRROR_BODY_MAX + 1, true, false}};
    static char text[MIRROR_BODY_MAX + 1024];
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct inst_fix o;
        const struct figures before = figures();
        const size_t n = rows[i].bytes;
        int at =
            snprintf(text, sizeof text,
                     rows[i].chunked ? "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                                       "%zx\r\n"
                                     : "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n",
                     n);
        const char *const body = text + at;
        for (size_t b = 0; b < n; b++)
            text[(size_t)at + b] = (char)('a' + b % 23);
        at += (int)n;
        if (rows[i].chunked)
            at += sprintf(text + at, "\r\n0\r\n\r\n");
        start(&o);
        inst_ask_bytes(&o, 0, text, (size_t)at);
        INST_UNTIL(&o, is_asked(&o, APP) && o.conn[0]->in_bytes > n);
        if (rows[i].copied) {
            INST_UNTIL(&o, is_asked(&o, NEXT) && o.conn[1]->in_bytes > n + 5);
            for (unsigned turn = 0; turn < 10; turn++)
                inst_turn(&o);
            const char *copy = strstr(o.conn[1]->in, "\r\n\r\n") + 4;
            copy = rows[i].chunked ? strstr(copy, "\r\n") + 2 : copy;
            assert_memory_equal(copy, body, n);
            inst_say(&o, 1, ANSWER "two");
        }
        inst_say(&o, 0, ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        end(&o);
        assert_int_equal(o.conn_count, rows[i].copied ? 2 : 1);
        expect_since(before, rows[i].copied, 0, !rows[i].copied);
    }
}

/* Known to be too long: nothing of it is kept to begin with. */
static void test_length_is_known(void **state)
{
    UNUSED(state);
    char text[128];
    for (unsigned longer = 0; longer < 2; longer++) {
        struct inst_fix o;
        snprintf(text, sizeof text, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\none ",
                 (size_t)MIRROR_BODY_MAX + longer);
        start(&o);
        inst_ask(&o, 0, text);
        INST_UNTIL(&o, conn_with(&o, APP, "one ") < INST_CONNS);
        assert_int_equal(o.f.pw->mirror_count, !longer);
        inst_leave(&o, 0);
        end(&o);
    }
}

static void test_number(void **state)
{
    UNUSED(state);
    static const char *const asks[] = {GET("/a"), GET("/b"), GET("/c")};
    struct inst_fix o;
    const struct figures before = figures();
    start(&o);
    o.f.pw->mirror_count = MIRROR_MAX - 1; /* as if so many were under way */
    for (unsigned i = 0; i < 2; i++) {
        inst_ask(&o, i, asks[i]);
        INST_UNTIL(&o, conn_with(&o, APP, i == 0 ? "/a" : "/b") < INST_CONNS);
    }
    INST_UNTIL(&o, is_asked(&o, NEXT));
    inst_say(&o, conn_with(&o, NEXT, "/a"), ANSWER "two");
    INST_UNTIL(&o, o.f.pw->mirror_count == MIRROR_MAX - 1);
    inst_ask(&o, 2, asks[2]);
    INST_UNTIL(&o, conn_with(&o, NEXT, "/c") < INST_CONNS);
    assert_int_equal(conn_with(&o, NEXT, "/b"), INST_CONNS);
    inst_say(&o, conn_with(&o, NEXT, "/c"), ANSWER "two");
    INST_UNTIL(&o, copy_of(&o) == NULL);
    for (unsigned i = 0; i < o.conn_count; i++) {
        if (o.conn_of[i] == APP)
            inst_say(&o, i, ANSWER "one");
    }
    INST_UNTIL(&o, inst_has(&o, 0, "one") && inst_has(&o, 1, "one") && inst_has(&o, 2, "one"));
    assert_int_equal(o.f.pw->mirror_count, MIRROR_MAX - 1);
    o.f.pw->mirror_count = 0;
    end(&o);
    expect_since(before, 2, 0, 1);
}

/* Answers may be so long; whoever says more is not listened to. */
static void test_answer_length(void **state)
{
    UNUSED(state);
    static char piece[16 * KB];
    for (unsigned longer = 0; longer < 2; longer++) {
        struct inst_fix o;
        char head[128];
        const size_t all = MIRROR_ANSWER_MAX + longer;
        const struct figures before = figures();
        ask_both(&o);
        struct inst_conn *k = o.conn[conn_with(&o, NEXT, "/a")];
        snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", all);
        inst_send(k, head, strlen(head));
        for (size_t sent = 0; sent < all && k->fd >= 0; inst_turn(&o)) {
            ssize_t n = send(k->fd, piece, MIN(sizeof piece, all - sent), MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        INST_UNTIL(&o, copy_of(&o) == NULL);
        if (longer)
            INST_UNTIL(&o, k->fd < 0);
        assert_int_equal(k->fd >= 0, !longer);
        inst_say(&o, conn_with(&o, APP, "/a"), ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        end(&o);
        expect_since(before, 1, longer, 0);
    }
}

static void test_answer_takes_too_long(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    ask_both(&o);
    const unsigned next = conn_with(&o, NEXT, "/a");
    inst_say(&o, next, ANSWER "o");
    struct exchange *copy = copy_of(&o);
    INST_UNTIL(&o, copy->phase == PHASE_DELIVER);
    inst_ring(&copy->wait_deadline);
    INST_UNTIL(&o, o.conn[next]->fd < 0);
    inst_say(&o, conn_with(&o, APP, "/a"), ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 0, "one"));
    end(&o);
    expect_since(before, 1, 1, 0);
}

static void test_none_begins_while_draining(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const struct figures before = figures();
    start(&o);
    inst_ask(&o, 0, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\none ");
    INST_UNTIL(&o, conn_with(&o, APP, "one ") < INST_CONNS);
    o.f.pw->draining = true;
    inst_client_send(&o, 0, "ONE!", 4);
    INST_UNTIL(&o, conn_with(&o, APP, "one ONE!") < INST_CONNS);
    o.f.pw->draining = false;
    inst_say(&o, 0, ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 0, "one"));
    end(&o);
    assert_int_equal(o.conn_count, 1);
    expect_since(before, 0, 0, 1);
}

/* ---- no memory ---- */

static void play(struct inst_fix *o)
{
    bool said[INST_CONNS] = {false};
    inst_ask(o, 0,
             "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n two\r\n"
             "0\r\n\r\n");
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        for (unsigned k = 0; k < o->conn_count; k++) {
            if (said[k] || strstr(o->conn[k]->in, "0\r\n\r\n") == NULL)
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
    assert_int_equal(o->f.pw->mirror_count, 0);
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(start, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_either_answers_first),
        cmocka_unit_test(test_copy_fails),
        cmocka_unit_test(test_instance_breaks),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_body_never_ends),
        cmocka_unit_test(test_tried_again),
        cmocka_unit_test(test_asked_anew),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_body_length),
        cmocka_unit_test(test_length_is_known),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_answer_length),
        cmocka_unit_test(test_answer_takes_too_long),
        cmocka_unit_test(test_none_begins_while_draining),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/mirror", tests, fix_group_setup, fix_group_teardown);
}
