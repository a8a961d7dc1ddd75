/* test_api_order.c: POST /api/drain, ready and weight, and the commands that send them: what is ordered, what
 * is refused with which words, and that a body which is not understood orders nothing. */
#include "command_fixture.h"

#include "admin/client_order.h"

static json_t *post(struct fixture *f, const char *path, const char *body, unsigned status)
{
    char request[64];
    struct net_addr a = fx_unix(f->socket);
    snprintf(request, sizeof request, "POST /api/%s", path);
    char *answer = fx_ask(&a, request, "", body);
    json_t *o = json_loads(fx_body_of(answer), 0, NULL);
    if (o == NULL || fx_status_of(answer) != status)
        fail_msg("%s: %s", body, answer);
    free(answer);
    return o;
}

static void test_orders(void **state)
{
    json_t *o = post(*state, "drain", "{\"server\": \"app/app-2\"}", 200);
    assert_string_equal(fake_order.text, "drain app app-2 -1");
    assert_true(strncmp(fake_order.who, "user ", 5) == 0);
    assert_string_equal(json_string_value(json_object_get(o, "pool")), "app");
    assert_string_equal(json_string_value(json_object_get(o, "address")), "127.0.0.1:3002");
    json_decref(o);
    json_decref(post(*state, "drain", "{\"server\": \"app/app-2\", \"force\": true}", 200));
    assert_string_equal(fake_order.text, "drain app app-2 -1 force");
    json_decref(post(*state, "ready", "{\"server\": \"app/app-2\"}", 200));
    assert_string_equal(fake_order.text, "ready app app-2 -1");
    json_decref(post(*state, "weight", "{\"server\": \"img/app-2\", \"weight\": 0}", 200));
    assert_string_equal(fake_order.text, "weight img app-2 0");
    json_decref(post(*state, "weight", "{\"server\": \"img/app-2\", \"weight\": null}", 200));
    assert_string_equal(fake_order.text, "weight img app-2 -1");
    assert_int_equal(fake_order.count, 5);
}

static void test_what_makes_no_order(void **state)
{
    static const struct {
        const char *path, *body;
    } cases[] = {
        {"drain", "{}"},
        {"drain", "[]"},
        {"drain", "{\"server\": 1}"},
        {"drain", "{\"server\": \"app\"}"},
        {"drain", "{\"server\": \"/a\"}"},
        {"drain", "{\"server\": \"app/\"}"},
        {"drain", "{\"server\": \"app/app-2\", \"weight\": 1}"},
        {"drain", "{\"server\": \"app/app-2\", \"force\": 1}"},
        {"drain", "{\"server\": \"app/app-2\", \"forse\": true}"},
        {"weight", "{\"server\": \"app/app-2\"}"},
        {"weight", "{\"server\": \"app/app-2\", \"weight\": -1}"},
        {"weight", "{\"server\": \"app/app-2\", \"weight\": 1001}"},
        {"weight", "{\"server\": \"app/app-2\", \"weight\": 1.5}"},
        {"weight", "{\"server\": \"app/app-2\", \"weight\": \"2\"}"},
    };
    char body[3000];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        json_decref(post(*state, cases[i].path, cases[i].body, 400));
    snprintf(body, sizeof body, "{\"server\": \"%02000d/a\"}", 0);
    json_decref(post(*state, "drain", body, 400));
    assert_int_equal(fake_order.count, 0);
}

static void expect_refusal(struct fixture *f, enum balancer_order_result r, unsigned status, const char *hint)
{
    fake_order.result = r;
    json_t *o = post(f, "drain", "{\"server\": \"app/x/y\"}", status);
    if (strstr(json_string_value(json_object_get(o, "hint")), hint) == NULL)
        fail_msg("%s", json_string_value(json_object_get(o, "hint")));
    json_decref(o);
}

static void test_refusals(void **state)
{
    expect_refusal(*state, BALANCER_NO_POOL, 404, "there are app/a\"1, app/app-2, img/app-2");
    expect_refusal(*state, BALANCER_NO_SERVER, 404, "there are app/a\"1, app/app-2");
    expect_refusal(*state, BALANCER_LAST_ONE, 409, "--force");
    expect_refusal(*state, BALANCER_ORDER_NO_MEMORY, 503, "try again");
    assert_string_equal(fake_order.text, "drain app x/y -1"); /* unix:/x/y is a name, too */
}

/* ---- the commands ---- */

static void test_commands(void **state)
{
    struct fixture *f = *state;
    fx_expect_command(f, "drain img/app-2", 0, "img/app-2: starting, with weight 1\n", "");
    assert_string_equal(fake_order.text, "drain img app-2 -1");
    fx_expect_command(f, "weight app/app-2 7 --force", 0, "app/app-2: down, with weight 5 (configured: 6)\n",
                      "");
    assert_string_equal(fake_order.text, "weight app app-2 7 force");
    fx_expect_command(f, "weight app/app-2 configured", 0, "", "");
    assert_string_equal(fake_order.text, "weight app app-2 -1");
    fx_expect_command(f, "ready app/app-2", 0, "", "");
    assert_string_equal(fake_order.text, "ready app app-2 -1");
    /* the stand-in does not drain: so does what somebody else takes back meanwhile */
    fx_expect_command(f, "drain app/app-2 --wait", 1, "",
                      "millpond drain: app/app-2 is not drained any more");
    fake_order.result = BALANCER_LAST_ONE;
    fx_expect_command(f, "drain app/app-2", 1, "", "it is the last one of its pool that takes requests");
}

static void test_wrong_usage(void **state)
{
    struct fixture *f = *state;
    fx_expect_command(f, "drain", 2, "", "write one POOL/SERVER");
    fx_expect_command(f, "drain a/b c/d", 2, "", "write one POOL/SERVER");
    fx_expect_command(f, "drain app", 2, "", "write the server as POOL/SERVER");
    fx_expect_command(f, "ready app/", 2, "", "write the server as POOL/SERVER");
    fx_expect_command(f, "weight app/b", 2, "", "write POOL/SERVER and a weight");
    fx_expect_command(f, "weight app/b -1", 2, "", "unknown option -1");
    fx_expect_command(f, "weight app/b 1001", 2, "", "a weight is 0 to 1000");
    fx_expect_command(f, "weight app/b 1x", 2, "", "a weight is 0 to 1000");
    fx_expect_command(f, "ready app/b --force", 2, "", "option of drain, weight and remove");
    fx_expect_command(f, "weight app/b 1 --wait", 2, "", "option of purge, drain and remove");
    fx_expect_command(f, "drain app/b --soft", 2, "", "option of purge: --soft");
    assert_int_equal(fake_order.count, 0);
}

static void test_resume(void **state)
{
    struct fixture *f = *state;
    json_t *o = post(f, "resume", "{\"route\": \"shop\"}", 200);
    assert_string_equal(json_string_value(json_object_get(o, "route")), "shop");
    json_decref(o);
    json_decref(post(f, "resume", "{\"route\": \"other\"}", 404));
    json_decref(post(f, "resume", "{\"route\": 1}", 400));
    json_decref(post(f, "resume", "{\"route\": \"shop\", \"x\": 1}", 400));
    json_decref(post(f, "resume", "{}", 400));
    fx_expect_command(f, "resume shop", 0, "route shop: new gets its share again\n", "");
    fx_expect_command(f, "resume other", 1, "", "no such route is split");
    fx_expect_command(f, "resume", 2, "", "write the name of one route");
    fx_expect_command(f, "resume a b", 2, "", "write the name of one route");
    fx_expect_command(f, "resume shop --force", 2, "", "option of drain, weight and remove");
}

static void expect_printed(const char *server, const char *want)
{
    char *text = NULL;
    size_t len;
    json_t *o = json_loads(server, 0, NULL);
    FILE *out = open_memstream(&text, &len);
    client_order_print(o, out);
    fclose(out);
    assert_string_equal(text, want);
    free(text);
    json_decref(o);
}

static void test_what_is_printed(void **state)
{
    UNUSED(state);
    expect_printed("{\"pool\": \"p\", \"name\": \"a\", \"state\": \"draining\", \"weight\": 1,"
                   " \"configured_weight\": 1, \"in_flight\": 3}",
                   "p/a: draining; no new requests, 3 still run\n");
    expect_printed("{\"pool\": \"p\", \"name\": \"a\", \"state\": \"up\", \"weight\": 0,"
                   " \"configured_weight\": 2}",
                   "p/a: up, with weight 0: only visitors who are pinned to it (configured: 2)\n");
}

#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_orders),
        T(test_what_makes_no_order),
        T(test_refusals),
        T(test_commands),
        T(test_wrong_usage),
        T(test_resume),
        cmocka_unit_test(test_what_is_printed),
    };
    return cmocka_run_group_tests_name("admin/api_order", tests, NULL, NULL);
}
