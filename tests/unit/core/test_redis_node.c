/* test_redis_node.c: a node against a real redis-server, which is stopped, continued, killed and started. */
#include "core/redis_node.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct asked {
    struct redis_call call;
    int ended;
    enum redis_outcome outcome;
    char text[64];
};

static struct worker *w;
static char folder[64], path[96];
static struct redis_endpoint endpoint;
static struct redis_node *node;
static pid_t server;
static int ups, downs;

static void on_up(void *arg)
{
    UNUSED(arg);
    ups++;
}

static void on_down(void *arg, const char *reason)
{
    UNUSED(arg);
    assert_true(reason[0] != '\0');
    downs++;
}

static void on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    a->ended++;
    a->outcome = o;
    if (reply != NULL && reply->str != NULL)
        snprintf(a->text, sizeof a->text, "%s", reply->str);
}

static void stop(struct worker *worker, struct mail *m)
{
    UNUSED(m);
    worker_stop(worker);
}

static void turn(void)
{
    struct mail m = {.on_mail = stop};
    worker_post(w, &m);
    w->stopping = false;
    worker_run(w);
}

static void server_start(void)
{
    server = fork();
    assert_true(server >= 0);
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", path, "--save", "",
               "--appendonly", "no", "--dir", folder, "--logfile", "log", "--daemonize", "no", (char *)NULL);
        _exit(127);
    }
}

static void server_kill(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    server = 0;
}

static bool ask(struct asked *a, const slice_t *argv, size_t argc)
{
    *a = (struct asked){.call.on_reply = on_reply};
    return redis_node_call(node, &a->call, argv, argc);
}

static void node_start(dur_ms_t timeout_ms)
{
    const struct redis_node_settings s = {.connections = 2,
                                          .timeout_ms = timeout_ms,
                                          .connect_timeout_ms = 60000,
                                          .on_up = on_up,
                                          .on_down = on_down};
    worker_refresh_clock(w);
    node = redis_node_open(w, &endpoint, &s);
    assert_non_null(node);
}

static int setup(void **state)
{
    UNUSED(state);
    strcpy(folder, "/tmp/millpond-redis-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/redis", folder);
    char text[128];
    int n = snprintf(text, sizeof text, "unix:%s", path);
    endpoint = (struct redis_endpoint){.database = 0};
    assert_true(net_addr_parse(slice_make(text, (size_t)n), &endpoint.addr));
    w = worker_create(0);
    assert_non_null(w);
    ups = downs = 0;
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    redis_node_close(&node);
    worker_drain(w);
    worker_destroy(w);
    if (server > 0)
        server_kill();
    char log[128];
    snprintf(log, sizeof log, "%s/log", folder);
    unlink(log);
    unlink(path);
    return rmdir(folder);
}

static void comes_up_when_the_server_does(void **state)
{
    UNUSED(state);
    struct asked a, b;
    const slice_t set[] = {SLICE_LIT("SET"), SLICE_LIT("k"), SLICE_LIT("v")};
    const slice_t get[] = {SLICE_LIT("GET"), SLICE_LIT("k")};
    node_start(60000);
    while (redis_node_get_figures(node).reconnects < 2)
        turn();
    assert_false(ask(&a, get, 2));
    server_start();
    while (!redis_node_is_up(node))
        turn();
    assert_int_equal(ups, 1);
    assert_true(ask(&a, set, 3));
    while (!a.ended)
        turn();
    assert_true(ask(&b, get, 2));
    while (!b.ended)
        turn();
    assert_string_equal(b.text, "v");
    struct redis_node_figures f = redis_node_get_figures(node);
    assert_int_equal(f.calls, 2);
    assert_int_equal(f.refused_at_once, 1);
    assert_int_equal(f.outcomes[REDIS_OK], 2);
}

static void killed_server_is_found_again(void **state)
{
    UNUSED(state);
    struct asked a;
    const slice_t block[] = {SLICE_LIT("BLPOP"), SLICE_LIT("never"), SLICE_LIT("0")};
    server_start();
    node_start(60000);
    while (redis_node_get_figures(node).connected < 2)
        turn();
    assert_true(ask(&a, block, 3));
    server_kill();
    while (!a.ended || redis_node_is_up(node))
        turn();
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(downs, 1);
    server_start();
    while (redis_node_get_figures(node).connected < 2)
        turn();
    assert_int_equal(ups, 2);
}

static void breaker_opens_on_a_server_that_hangs(void **state)
{
    UNUSED(state);
    struct asked a[REDIS_FAILURES_MAX], more;
    const slice_t get[] = {SLICE_LIT("GET"), SLICE_LIT("k")};
    server_start();
    node_start(200);
    while (redis_node_get_figures(node).connected < 2)
        turn();
    kill(server, SIGSTOP);
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_true(ask(&a[i], get, 2));
    while (redis_node_is_up(node))
        turn();
    for (size_t i = 0; i < ARRAY_LEN(a); i++)
        assert_int_equal(a[i].outcome, REDIS_TIMEOUT);
    assert_int_equal(downs, 1);
    assert_false(ask(&more, get, 2));
    while (redis_node_get_figures(node).breaks < 3) /* trials fail as well */
        turn();
    kill(server, SIGCONT);
    while (!redis_node_is_up(node))
        turn();
    assert_int_equal(ups, 2);
    assert_true(ask(&more, get, 2));
    while (!more.ended)
        turn();
    assert_int_equal(more.outcome, REDIS_OK);
}

static void closing_ends_what_is_under_way(void **state)
{
    UNUSED(state);
    struct asked a;
    const slice_t block[] = {SLICE_LIT("BLPOP"), SLICE_LIT("never"), SLICE_LIT("0")};
    server_start();
    node_start(60000);
    while (!redis_node_is_up(node))
        turn();
    assert_true(ask(&a, block, 3));
    redis_node_close(&node);
    assert_int_equal(a.outcome, REDIS_LOST);
    assert_int_equal(downs, 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(comes_up_when_the_server_does, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_server_is_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(breaker_opens_on_a_server_that_hangs, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_ends_what_is_under_way, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
