/* test_api_server.c: POST /api/add and /api/remove, and the commands that send them: what the proxy is asked,
 * and how its refusals are told. */
#include "command_fixture.h"

static struct {
    struct admin_changed answer; /* to the next ones */
    bool with_problems;
    unsigned count;
    char text[200];
} fake_change;

static bool on_change(void *arg, const struct admin_server_change *what, struct admin_changed *out)
{
    assert_non_null(arg);
    fake_change.count++;
    assert_true(strncmp(what->who, "user ", 5) == 0);
    snprintf(fake_change.text, sizeof fake_change.text, "%s %s%s%s", what->text != NULL ? "add" : "remove",
             what->pool, what->text != NULL ? " " : "/", what->text != NULL ? what->text : what->server);
    if (what->force)
        strcat(fake_change.text, " force");
    *out = fake_change.answer;
    strcpy(out->server, "app-2");
    out->problems = fake_change.with_problems ? json_pack("[s]", "x: it is wrong; mend it") : NULL;
    return out->result == ADMIN_CHANGED;
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    char err[256];
    fx_init(f);
    struct admin_ops ops = fx_ops_for(f);
    ops.change_servers = on_change;
    f->admin = admin_create(f->control, &ops, &f->config, err, sizeof err);
    assert_non_null(f->admin);
    assert_true(worker_start(f->control));
    memset(&fake_change, 0, sizeof fake_change);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fx_finish(*state);
    free(*state);
    return 0;
}

static void test_commands(void **state)
{
    fx_expect_command(*state, "add app 10.0.0.3:3000", 0, "app/app-2: down, with weight 5", "");
    assert_string_equal(fake_change.text, "add app 10.0.0.3:3000");
    fx_expect_command(*state, "add app 10.0.0.3:3000 7 name=c backup", 0, "app/app-2", "");
    assert_string_equal(fake_change.text, "add app 10.0.0.3:3000 weight=7 name=c backup");
    fake_change.answer.in_flight = 3;
    fx_expect_command(*state, "remove app/unix:/x", 0, "app/unix:/x: removed; no new requests, 3 still run\n",
                      "");
    assert_string_equal(fake_change.text, "remove app/unix:/x");
    fx_expect_command(*state, "remove app/c --force", 0, "", "");
    assert_string_equal(fake_change.text, "remove app/c force");
}

static void test_refusals(void **state)
{
    fake_change.answer.result = ADMIN_CHANGE_NO_POOL;
    fx_expect_command(*state, "add app x:1", 1, "", "no such pool; there are app/a\"1, app/app-2, img/app-2");
    fake_change.answer.result = ADMIN_CHANGE_NO_SERVER;
    fx_expect_command(*state, "remove app/x", 1, "", "no such server; there are app/a\"1, app/app-2\n");
    fake_change.answer.result = ADMIN_CHANGE_LAST_ONE;
    fx_expect_command(*state, "remove app/x", 1, "", "it is the last one of its pool that takes requests");
    fake_change.answer.result = ADMIN_CHANGE_REFUSED;
    fake_change.answer.error = "no";
    fake_change.answer.hint = "do this";
    fx_expect_command(*state, "remove app/x", 1, "", "millpond remove: no; do this\n");
    fake_change.with_problems = true;
    fx_expect_command(*state, "add app x", 1, "", "millpond add: no; do this\n  x: it is wrong; mend it\n");
}

static void test_what_asks_for_nothing(void **state)
{
    static const struct {
        const char *path, *body;
    } cases[] = {
        {"add", "{}"},
        {"add", "[]"},
        {"add", "{\"pool\": \"app\"}"},
        {"add", "{\"server\": \"app/x\"}"},
        {"add", "{\"pool\": \"app\", \"server\": 1}"},
        {"add", "{\"pool\": \"app\", \"server\": \"x:1\", \"force\": true}"},
        {"remove", "{\"server\": \"app\"}"},
        {"remove", "{\"server\": \"app/x\", \"force\": 1}"},
        {"remove", "{\"server\": \"app/x\", \"wait\": true}"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char request[64];
        struct net_addr a = fx_unix(f->socket);
        snprintf(request, sizeof request, "POST /api/%s", cases[i].path);
        char *answer = fx_ask(&a, request, "", cases[i].body);
        if (fx_status_of(answer) != 400)
            fail_msg("%s: %s", cases[i].body, answer);
        free(answer);
    }
    assert_int_equal(fake_change.count, 0);
}

static void test_wrong_usage(void **state)
{
    fx_expect_command(*state, "add app", 2, "", "write the pool and the address");
    fx_expect_command(*state, "remove app", 2, "", "write one server as POOL/SERVER");
    fx_expect_command(*state, "remove app/x app/y", 2, "", "write one server as POOL/SERVER");
    fx_expect_command(*state, "add app x:1 --force", 2, "", "option of drain, weight and remove: --force");
    fx_expect_command(*state, "add app x:1 --wait", 2, "", "option of purge, drain and remove: --wait");
    fx_expect_command(*state, "drain app/x --save", 2, "", "option of add and remove: --save");
    fx_expect_command(*state, "add app x:1 --save", 2, "", "--save needs the file as well: -c FILE");
    assert_int_equal(fake_change.count, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_commands),
        T(test_refusals),
        T(test_what_asks_for_nothing),
        T(test_wrong_usage),
    };
    return cmocka_run_group_tests_name("admin/api_server", tests, NULL, NULL);
}
