/* test_client_wait.c: admin/client_wait.c. */
#include "admin/client_wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"

static json_t *parse(const char *text)
{
    json_t *o = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(o);
    return o;
}

static enum client_wait_state look(struct client_wait *w, const char *text)
{
    json_t *o = parse(text);
    enum client_wait_state state = client_wait_look(w, o);
    json_decref(o);
    return state;
}

#define OWN(pending, cursor)                                                                                 \
    "{\"node\":\"n\",\"follows\":true,\"pending_from\":" #pending ",\"cursor\":\"" cursor "\",\"nodes\":["
#define NODE(reachable, follows, applied)                                                                    \
    "{\"name\":\"n\",\"reachable\":" #reachable ",\"follows\":" #follows ",\"applied\":\"" applied           \
    "\",\"lag\":2,\"seen_ms_ago\":7000}"

static void test_one_node_waits_for_nobody(void **state)
{
    UNUSED(state);
    struct client_wait w = {.number = 7};
    assert_int_equal(look(&w, "null"), CLIENT_WAIT_REACHED);
}

static void test_the_event_must_have_come_back(void **state)
{
    UNUSED(state);
    struct client_wait w = {.number = 7};
    assert_int_equal(look(&w, OWN(7, "10-0") NODE(true, true, "10-0") "]}"), CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, "{\"follows\":false,\"pending_from\":null,\"cursor\":\"10-0\",\"nodes\":[]}"),
                     CLIENT_WAIT_GO_ON);
    /* what is purged after it is not waited for */
    assert_int_equal(look(&w, OWN(8, "10-1") NODE(true, true, "10-0") "]}"), CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, OWN(9, "11-0") NODE(true, true, "10-1") "]}"), CLIENT_WAIT_REACHED);
}

static void test_each_node_counts(void **state)
{
    UNUSED(state);
    struct client_wait w = {10, 5, 7};
    assert_int_equal(look(&w, OWN(null, "10-5") NODE(true, true, "10-5") "," NODE(true, true, "10-4") "]}"),
                     CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, OWN(null, "10-5") NODE(true, true, "9-9") "]}"), CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, OWN(null, "10-5") NODE(true, false, "10-5") "]}"), CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, OWN(null, "10-5") NODE(false, true, "9-9") "," NODE(true, true, "11-0") "]}"),
                     CLIENT_WAIT_MISSED);
    assert_int_equal(look(&w, OWN(null, "10-5") NODE(true, true, "10-5") "," NODE(true, true, "11-0") "]}"),
                     CLIENT_WAIT_REACHED);
}

static void test_no_report_is_no_news(void **state)
{
    UNUSED(state);
    struct client_wait w = {10, 5, 7};
    assert_int_equal(look(&w, OWN(null, "10-5") "]}"), CLIENT_WAIT_GO_ON);
    assert_int_equal(look(&w, "{\"node\":\"m\",\"nodes\":[" NODE(true, true, "11-0") "]}"),
                     CLIENT_WAIT_GO_ON);
}

static const char *print(const struct client_wait *w, const char *text)
{
    static char buf[1000];
    json_t *o = parse(text);
    FILE *f = fmemopen(buf, sizeof buf, "w");
    client_wait_print(w, o, f);
    fclose(f);
    json_decref(o);
    return buf;
}

static void test_each_node_is_named(void **state)
{
    UNUSED(state);
    const struct client_wait unknown = {.number = 7}, w = {10, 5, 7};
    assert_string_equal(print(&unknown, "{\"follows\":false,\"trouble\":\"timeout\",\"nodes\":[]}"),
                        "other nodes: not told yet, timeout; they will be when Redis is back\n");
    assert_string_equal(print(&w, OWN(null, "10-5") NODE(true, true, "10-5") "," NODE(
                                      true, true, "10-3") "," NODE(false, true, "10-3") "]}"),
                        "node n: applied\nnode n: behind by 2 events\n"
                        "node n: not heard of for 7 s; it catches up when it is back\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_node_waits_for_nobody),
        cmocka_unit_test(test_the_event_must_have_come_back),
        cmocka_unit_test(test_each_node_counts),
        cmocka_unit_test(test_no_report_is_no_news),
        cmocka_unit_test(test_each_node_is_named),
    };
    return cmocka_run_group_tests_name("admin/client_wait", tests, NULL, NULL);
}
