/* test_early_hints.c: interim responses that come before, while and after others do, and hints that are
 * learned of what is stored: whole links, once, for clients of HTTP/2, and without memory. */
#include "proxy/early_hints.h"

#include "instance_fixture.h"
#include "proxy/h2_conn.h"

#define GET(version) "GET /a HTTP/" version "\r\nHost: h\r\n\r\n"
#define LINK         "</a.css>; rel=preload"
#define HINTS        "HTTP/1.1 103 Early Hints\r\nLink: " LINK "\r\n\r\n"
#define ANSWER       "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"
#define LEARN        "retries = 0\n[route r]\nearly_hints = learn\nignore_client_cache_control = no\n"
#define STORED       "HTTP/1.1 200 OK\r\nETag: \"a\"\r\n"

static uint64_t hints(void)
{
    return metrics_total(METRIC_EARLY_HINTS);
}

static uint64_t learned(void)
{
    return metrics_total(METRIC_EARLY_HINTS_LEARNED);
}

/* ---- what instances say ---- */

static void test_before_the_answer(void **state)
{
    UNUSED(state);
    static const struct {
        const char *ask, *lines;
        bool passes;
    } rows[] = {{GET("1.1"), "", true},
                {GET("1.0"), "", false},
                {GET("1.1"), "[route r]\nearly_hints = off\n", false}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct inst_fix o;
        const uint64_t before = hints();
        inst_start(&o, false, rows[i].lines);
        inst_ask(&o, 0, rows[i].ask);
        INST_UNTIL(&o, inst_is_asked(&o, 0));
        inst_say(&o, 0, HINTS);
        if (rows[i].passes)
            INST_UNTIL(&o, inst_has(&o, 0, LINK "\r\n\r\n"));
        inst_say(&o, 0, HINTS ANSWER "one");
        INST_UNTIL(&o, inst_has(&o, 0, "one"));
        assert_int_equal(fix_count(o.client[0].got, "HTTP/1.1 103"), rows[i].passes ? 2 : 0);
        assert_int_equal(hints() - before, rows[i].passes ? 2 : 0);
        inst_end(&o);
    }
}

/* Other interim responses are no hints: nobody may switch them off, and they are not counted. */
static void test_others_are_no_hints(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const uint64_t before = hints();
    inst_start(&o, false, "[route r]\nearly_hints = off\n");
    inst_ask(&o, 0, GET("1.1"));
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    inst_say(&o, 0, "HTTP/1.1 102 Processing\r\n\r\n" ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 0, "one"));
    assert_true(inst_has(&o, 0, "HTTP/1.1 102"));
    assert_int_equal(hints(), before);
    inst_end(&o);
}

/* Whatever is in the way of it, it is left out and nothing else is touched. */
static void test_in_the_way(void **state)
{
    UNUSED(state);
    enum { CLIENT_GONE, HEAD_SENT, BLOCKED, NO_MEMORY, LAST };
    static char before_it[8 * KB];
    const int room = 1;
    for (unsigned what = 0; what < LAST; what++) {
        struct inst_fix o;
        const uint64_t before = hints();
        inst_start(&o, false, "");
        inst_ask(&o, 0, GET("1.1"));
        INST_UNTIL(&o, inst_is_asked(&o, 0));
        struct exchange *x = inst_exchange(&o, "/a");
        struct client_conn *c = x->client;
        struct http_head head = {.fields = o.f.pw->response_fields};
        fix_parse_response(HINTS, &head);
        if (what == BLOCKED) {
            memset(before_it, 'b', sizeof before_it);
            assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
            client_out_add(c, before_it, sizeof before_it, NULL);
            assert_false(client_out_flush(c));
        }
        x->client = what == CLIENT_GONE ? NULL : c;
        x->head_sent = what == HEAD_SENT;
        for (size_t n = 4 * KB; what == NO_MEMORY && n > 0; n /= 2)
            while (arena_alloc(&x->arena, n) != NULL)
                continue;
        exchange_on_interim(x, &head);
        x->client = c;
        x->head_sent = false;
        assert_int_equal(hints(), before);
        inst_turn(&o);
        assert_false(inst_has(&o, 0, "103"));
        if (what != NO_MEMORY) {
            inst_say(&o, 0, ANSWER "one");
            INST_UNTIL(&o, inst_has(&o, 0, "one"));
        }
        inst_end(&o);
    }
}

static void test_client_leaves_behind_hints(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false, "");
    inst_ask(&o, 0, GET("1.1"));
    inst_ask(&o, 1, GET("1.1"));
    INST_UNTIL(&o, inst_is_asked(&o, 0) && inst_is_asked(&o, 1));
    inst_say(&o, 0, HINTS);
    inst_say(&o, 1, HINTS);
    INST_UNTIL(&o, inst_has(&o, 0, LINK) && inst_has(&o, 1, LINK));
    inst_leave(&o, 0);
    INST_UNTIL(&o, o.f.pw->exchange_count == 1);
    const unsigned other = o.conn[0]->fd < 0 ? 1 : 0;
    inst_say(&o, other, HINTS ANSWER "one");
    INST_UNTIL(&o, inst_has(&o, 1, "one"));
    assert_int_equal(fix_count(o.client[1].got, "HTTP/1.1 103"), 2);
    inst_end(&o);
}

/* ---- learned ---- */

static void put_ask(struct frames *f, uint32_t id, const char *method)
{
    const char *const fields[] = {":method", method, ":scheme",       "http",     ":authority", "h",
                                  ":path",   "/a",   "cache-control", "no-cache", NULL};
    frames_head(f, id, true, fields);
}

static void start_stored(struct inst_fix *o, const char *lines, const char *head)
{
    inst_start_with(o, false, true, lines);
    fix_store(&o->f, "h", "/a", head, "old");
}

static void ask_h2(struct inst_fix *o, const char *method)
{
    struct frames f;
    frames_preface(&f, "", 0);
    put_ask(&f, 1, method);
    put_ask(&f, 3, method);
    inst_ask_bytes(o, 0, f.bytes, f.n);
    INST_UNTIL(o, inst_is_asked(o, 0));
}

/* All heads of a stream, in order. */
static const char *heads(const struct inst_fix *o, uint32_t id)
{
    static char text[16 * KB];
    frames_heads(o->client[0].got, o->client[0].got_bytes, id, text, sizeof text);
    return text;
}

static void answer_all(struct inst_fix *o)
{
    for (unsigned i = 0; i < INST_ROUNDS && o->f.pw->exchange_count > 0; i++) {
        for (unsigned k = 0; k < o->conn_count; k++) {
            if (inst_is_asked(o, k)) {
                memset(o->conn[k]->in, 0, o->conn[k]->in_bytes);
                o->conn[k]->in_bytes = 0;
                inst_say(o, k, ANSWER "new");
            }
        }
        inst_turn(o);
    }
    assert_int_equal(o->f.pw->exchange_count, 0);
}

static void test_learned_by_both(void **state)
{
    UNUSED(state);
    static const char hint[] = ":status: 103\nlink: " LINK "\nlink: <https://c.test>; rel=preconnect\n";
    struct inst_fix o;
    const uint64_t before = learned();
    start_stored(&o, LEARN,
                 STORED "Link: " LINK ", </n>; rel=next\r\nLink: <https://c.test>; rel=preconnect\r\n");
    ask_h2(&o, "GET");
    for (uint32_t id = 1; id < 5; id += 2)
        INST_UNTIL(&o, strcmp(heads(&o, id), hint) == 0); /* and no final one yet */
    struct exchange *x = inst_exchange(&o, "/a");
    early_hints_learn(x); /* as when it looks again */
    x->hinted = false;
    x->info.status = 404;
    early_hints_learn(x);
    x->info.status = 200;
    x->info.fresh.revalidate_always = true; /* it was never to be used before it was confirmed */
    early_hints_learn(x);
    x->info.fresh = (struct cache_freshness){.never_stale = true};
    early_hints_learn(x);
    answer_all(&o);
    INST_UNTIL(&o, strstr(heads(&o, 3), ":status: 200") != NULL);
    for (uint32_t id = 1; id < 5; id += 2)
        assert_int_equal(fix_count(heads(&o, id), ":status: 103"), 1);
    assert_int_equal(learned() - before, 2);
    inst_end(&o);
}

static void test_not_learned(void **state)
{
    UNUSED(state);
    static const struct {
        const char *method, *lines, *head;
    } rows[] = {{"GET", LEARN, STORED}, /* no links */
                {"GET", LEARN, STORED "Link: </n>; rel=next\r\n"},
                {"HEAD", LEARN, STORED "Link: " LINK "\r\n"},
                {"GET", LEARN "remove_response_header = Link\n", STORED "Link: " LINK "\r\n"},
                {"GET", "[route r]\nignore_client_cache_control = no\n", STORED "Link: " LINK "\r\n"}};
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        struct inst_fix o;
        const uint64_t before = learned();
        start_stored(&o, rows[i].lines, rows[i].head);
        ask_h2(&o, rows[i].method);
        answer_all(&o);
        assert_int_equal(learned(), before);
        assert_null(strstr(heads(&o, 1), "103"));
        inst_end(&o);
    }
}

/* Clients of HTTP/1.1 did not ask for any. */
static void test_not_by_http1(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const uint64_t before = learned();
    start_stored(&o, LEARN, STORED "Link: " LINK "\r\n");
    inst_ask(&o, 0, "GET /a HTTP/1.1\r\nHost: h\r\nCache-Control: no-cache\r\n\r\n");
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    inst_say(&o, 0, ANSWER "new");
    INST_UNTIL(&o, inst_has(&o, 0, "new"));
    assert_false(inst_has(&o, 0, "103"));
    assert_int_equal(learned(), before);
    inst_end(&o);
}

/* 4096 bytes as text: what does not fit is left out whole, what still does follows. */
static void test_learned_bytes(void **state)
{
    UNUSED(state);
    static const char tail[] = ", " LINK;
    const size_t fixed = strlen("HTTP/1.1 103 Early Hints\r\n") + strlen("link: <>;rel=preload\r\n");
    const size_t most = 4096 - sizeof "\r\n" - fixed; /* and the byte behind the text */
    for (unsigned longer = 0; longer < 2; longer++) {
        static char head[8 * KB];
        struct inst_fix o;
        const size_t n = most + longer;
        int at = sprintf(head, STORED "Link: <");
        memset(head + at, 'x', n);
        snprintf(head + at + n, sizeof head - (size_t)at - n, ">;rel=preload%s\r\n", longer ? tail : "");
        start_stored(&o, LEARN, head);
        ask_h2(&o, "GET");
        INST_UNTIL(&o, strstr(heads(&o, 3), "103") != NULL);
        const char *all = heads(&o, 1);
        if (longer)
            assert_string_equal(all, ":status: 103\nlink: " LINK "\n");
        else
            assert_int_equal(strlen(all), strlen(":status: 103\nlink: <>;rel=preload\n") + n);
        answer_all(&o);
        inst_end(&o);
    }
}

/* ---- no memory ---- */

static void begin(struct inst_fix *o)
{
    start_stored(o, LEARN, STORED "Link: " LINK "\r\n");
}

static void play(struct inst_fix *o)
{
    struct frames f;
    frames_preface(&f, "", 0);
    put_ask(&f, 1, "GET");
    inst_ask_bytes(o, 0, f.bytes, f.n);
    for (unsigned i = 0; i < 10; i++)
        inst_turn(o);
    answer_all(o);
}

static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_non_null(strstr(heads(o, 1), LINK));
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_before_the_answer),
        cmocka_unit_test(test_others_are_no_hints),
        cmocka_unit_test(test_in_the_way),
        cmocka_unit_test(test_client_leaves_behind_hints),
        cmocka_unit_test(test_learned_by_both),
        cmocka_unit_test(test_not_learned),
        cmocka_unit_test(test_not_by_http1),
        cmocka_unit_test(test_learned_bytes),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/early_hints", tests, fix_group_setup, fix_group_teardown);
}
