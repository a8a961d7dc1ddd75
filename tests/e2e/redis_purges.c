/* redis_purges.c: two nodes with one Redis: what is purged at one is purged at the other, whatever happens to
 * Redis, to the links to it, or to the nodes meanwhile. */
#include <pthread.h>
#include <unistd.h>

#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#define LONG "Cache-Control: max-age=600\r\n"

static struct page pages[] = {{.path = "/p", .fields = LONG "Cache-Tag: red blue\r\n"},
                              {.path = "/q", .fields = LONG},
                              {.path = "/off/x", .fields = LONG},
                              {0}};

static struct origin *origin;
static struct redis_process *redis;
static struct relay *link_of_a;
static struct millpond *a, *b;

static char *sections(const char *address, const char *off)
{
    return textf("%s[route off]\npath = /off/*\ncache = %s\n[route rest]\npath = /*\n"
                 "[redis]\nurl = redis://%s\ntimeout = 5s\n",
                 pool_lines("app", 1, origin), off, address);
}

static struct millpond *node(const char *name, const char *address)
{
    return millpond_start(.name = name, .cache = "store = tiered", .rest = sections(address, "off"));
}

static void reload(struct millpond *m, const char *name, const char *address, const char *off)
{
    millpond_write_ini(m, .name = name, .cache = "store = tiered", .rest = sections(address, off));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
}

static json_t *purges_of(struct millpond *m)
{
    return json_object_get(millpond_status(m), "purges");
}

static bool follows(struct millpond *m)
{
    return json_is_true(json_object_get(purges_of(m), "follows"));
}

static int64_t figure_of(struct millpond *m, const char *name)
{
    return json_integer_value(json_object_get(purges_of(m), name));
}

#define until(condition)                                                                                     \
    do {                                                                                                     \
        mono_ms_t end_ms_ = clock_mono_ms() + support_wait_ms();                                             \
        while (!(condition))                                                                                 \
            EXPECT(clock_mono_ms() < end_ms_, "waited in vain for %s", #condition);                          \
    } while (0)

static int setup(void **state)
{
    int rc = support_setup(state);
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    origin = origin_start(pages_script, pages);
    redis = redis_start("r", NULL);
    link_of_a = relay_start(redis->port);
    a = node("a", relay_address(link_of_a));
    b = node("b", redis->address);
    until(follows(a) && follows(b));
    return rc;
}

static const char *get(struct millpond *m, const char *target)
{
    return client_get(m->port, target, "")->body;
}

/* The page is in the memory of both. */
static void both_have(const char *target)
{
    get(a, target);
    get(b, target);
    expect_in(message_field(client_get(a->port, target, ""), "Cache-Status"), "millpond; hit");
    expect_in(message_field(client_get(b->port, target, ""), "Cache-Status"), "millpond; hit");
}

static unsigned number_of(const char *body)
{
    return (unsigned)atoi(strchr(body, '#') + 1);
}

/* Its `n`th answer, and no older one. */
static void expect_fresh(struct millpond *m, const char *target, const struct page *p, unsigned n)
{
    const char *body = get(m, target);
    EXPECT(number_of(body) >= n, "%s is older than #%u of %s", body, n, p->path);
}

static void stop(void)
{
    millpond_stop(a);
    millpond_stop(b);
}

static void each_kind_of_purge_reaches_the_other(void **state)
{
    UNUSED(state);
    static const char *const args[][2] = {
        {"http://test/p"}, {"--tag", "red"},   {"--prefix", "http://test/"},
        {"--glob", "*/p"}, {"--host", "test"}, {"--any-query", "http://test/p"},
        {"--all"}};
    for (size_t i = 0; i < ARRAY_LEN(args); i++) {
        both_have("/p");
        const unsigned served = pages[0].served;
        assert_int_equal(millpond_cli(i % 2 ? b : a, "purge", args[i][0], args[i][1], NULL).exit_code, 0);
        until(figure_of(i % 2 ? a : b, "applied") == (int64_t)(i + 2 - i % 2) / 2);
        expect_fresh(a, "/p", &pages[0], served + 1);
        expect_fresh(b, "/p", &pages[0], served + 1);
    }
    stop();
}

static void soft_purges_are_soft_at_the_other(void **state)
{
    UNUSED(state);
    both_have("/p");
    assert_int_equal(millpond_cli(a, "purge", "--soft", "--tag", "blue", NULL).exit_code, 0);
    until(figure_of(b, "applied") == 1);
    struct message *r = client_get(b->port, "/p", "");
    expect_in(message_field(r, "Cache-Status"), "fwd=stale");
    stop();
}

static void unsafe_methods_reach_the_other(void **state)
{
    UNUSED(state);
    both_have("/p");
    expect_status(client_ask(a->port, "POST", "/p", "Content-Length: 0\r\n", ""), 200);
    const unsigned served = pages[0].served;
    until(figure_of(b, "applied") == 1);
    expect_fresh(b, "/p", &pages[0], served + 1);
    stop();
}

/* No node can have it. */
static void unsafe_methods_where_nothing_is_cached_are_no_events(void **state)
{
    UNUSED(state);
    for (unsigned i = 0; i < 5; i++)
        expect_status(client_ask(a->port, "POST", textf("/off/x?%u", i), "Content-Length: 0\r\n", ""), 200);
    expect_status(client_ask(a->port, "POST", "/p", "Content-Length: 0\r\n", ""), 200);
    until(figure_of(b, "applied") == 1);
    assert_int_equal(figure_of(a, "appended"), 1);
    stop();
}

/* What changed there meanwhile was told to nobody. */
static void what_is_cached_again_is_not_from_before(void **state)
{
    UNUSED(state);
    reload(a, "a", relay_address(link_of_a), "on");
    reload(b, "b", redis->address, "on");
    until(figure_of(a, "appended") == 1 && figure_of(b, "appended") == 1 && figure_of(a, "applied") == 1);
    get(b, "/off/x");
    expect_in(message_field(client_get(b->port, "/off/x", ""), "Cache-Status"), "millpond; hit");
    const unsigned served = pages[2].served;
    reload(a, "a", relay_address(link_of_a), "off");
    reload(b, "b", redis->address, "off");
    expect_status(client_ask(a->port, "POST", "/off/x", "Content-Length: 0\r\n", ""), 200);
    assert_int_equal(figure_of(a, "appended"), 1);
    reload(b, "b", redis->address, "on");
    expect_fresh(b, "/off/x", &pages[2], served + 2); /* POST was one, too */
    stop();
}

/* So it is when another route comes to take requests that none cached. */
static void what_another_route_caches_is_not_from_before(void **state)
{
    UNUSED(state);
    millpond_write_ini(b, .name = "b", .cache = "store = tiered",
                       .rest = textf("[route part]\npath = /off/x\n%s", sections(redis->address, "off")));
    assert_int_equal(millpond_cli(b, "reload", NULL).exit_code, 0);
    until(figure_of(b, "appended") == 1);
    get(b, "/off/x");
    reload(b, "b", redis->address, "off");
    const unsigned served = pages[2].served;
    expect_status(client_ask(a->port, "POST", "/off/x", "Content-Length: 0\r\n", ""), 200);
    assert_int_equal(figure_of(a, "appended"), 0);
    millpond_write_ini(b, .name = "b", .cache = "store = tiered",
                       .rest = textf("[route part]\npath = /off/x\n%s", sections(redis->address, "off")));
    assert_int_equal(millpond_cli(b, "reload", NULL).exit_code, 0);
    expect_fresh(b, "/off/x", &pages[2], served + 2); /* POST was one, too */
    stop();
}

/* What a client asks for may be longer than what a request to purge may name. */
static void long_targets_hurt_nobody(void **state)
{
    UNUSED(state);
    both_have("/q");
    const char *target = textf("/p?%s", text_repeat('x', 8187));
    expect_status(client_ask(a->port, "POST", target, "Content-Length: 0\r\n", ""), 200);
    until(figure_of(b, "applied") == 1);
    until(figure_of(a, "pending") == 0);
    assert_int_equal(figure_of(a, "refused") + figure_of(b, "refused"), 0);
    expect_in(message_field(client_get(a->port, "/q", ""), "Cache-Status"), "millpond; hit");
    stop();
}

static void applications_may_publish(void **state)
{
    UNUSED(state);
    both_have("/p");
    const unsigned served = pages[0].served;
    assert_string_equal(redis_do(redis, "PUBLISH millpond:purge %s", "tag red"), "2");
    until(number_of(get(a, "/p")) > served && number_of(get(b, "/p")) > served);
    assert_true(figure_of(a, "applied") + figure_of(b, "applied") >= 1);
    redis_do(redis, "PUBLISH millpond:purge %s", "purge that thing");
    millpond_wait_log(a, "is refused", 1);
    stop();
}

/* Purged at once where it was asked for; the other hears of it when the link is back. */
static void purge_without_redis_is_made_good(void **state)
{
    UNUSED(state);
    both_have("/p");
    relay_cut(link_of_a);
    until(!follows(a));
    const unsigned served = pages[0].served;
    millpond_purge(a, url_of("/p"));
    expect_fresh(a, "/p", &pages[0], served + 1);
    assert_int_equal(figure_of(a, "pending"), 1);
    relay_heal(link_of_a);
    until(figure_of(b, "applied") == 1);
    expect_fresh(b, "/p", &pages[0], served + 1);
    until(figure_of(a, "pending") == 0);
    stop();
}

/* The answers say what is promised: from then on, nothing but the disk may fail. */
static void purge_without_redis_survives_a_kill(void **state)
{
    UNUSED(state);
    both_have("/p");
    struct proc_result r = millpond_cli(a, "purge", url_of("/p"), NULL);
    expect_not_in(r.out, "other nodes");
    until(figure_of(b, "applied") == 1);
    relay_cut(link_of_a);
    until(!follows(a));
    expect_in(client_ask(a->port, "PURGE", "/q", "", "")->body, "\"shared\":\"pending\"");
    for (unsigned i = 2; i < 6; i++) {
        both_have("/p");
        const unsigned served = pages[0].served;
        r = millpond_cli(a, "purge", url_of("/p"), NULL);
        proc_kill(a->proc);
        expect_in(r.out, "other nodes: not told yet; it is kept on disk until Redis is back\n");
        relay_heal(link_of_a);
        a = node("a", relay_address(link_of_a));
        until(figure_of(b, "applied") == i + 1); /* with that of /q */
        expect_fresh(b, "/p", &pages[0], served + 1);
        until(follows(a));
        relay_cut(link_of_a);
        until(!follows(a));
    }
    relay_heal(link_of_a);
    stop();
}

/* What a node missed while it was cut off it makes good before it counts as following again. */
static void node_that_was_away_catches_up(void **state)
{
    UNUSED(state);
    both_have("/p");
    relay_cut(link_of_a);
    until(!follows(a));
    const unsigned served = pages[0].served;
    millpond_purge(b, url_of("/p"));
    relay_heal(link_of_a);
    until(follows(a));
    expect_fresh(a, "/p", &pages[0], served + 1);
    stop();
}

/* Who waits for all nodes is told of each. */
static void purge_can_wait_for_all_nodes(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 10; i++) {
        both_have("/p");
        const unsigned served = pages[0].served;
        struct proc_result r = millpond_cli(a, "purge", "--wait", "--tag", "red", NULL);
        assert_int_equal(r.exit_code, 0);
        expect_in(r.out, ": applied\n");
        expect_fresh(b, "/p", &pages[0], served + 1);
    }
    proc_kill(b->proc);
    const mono_ms_t since_ms = clock_mono_ms();
    struct proc_result r = millpond_cli(a, "purge", "--wait", "--all", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.out, "not heard of for ");
    EXPECT(clock_mono_ms() - since_ms < 30000, "it waited to the end");
    millpond_stop(a);
}

/* Purges without end, from a thread of its own. */
static atomic_bool enough;

static void *purge_on_and_on(void *arg)
{
    char request[100];
    const int fd = *(int *)arg;
    for (unsigned i = 0; !atomic_load(&enough); i++) {
        const int n = snprintf(request, sizeof request,
                               "POST /p?%u HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n", i);
        char answer[4096];
        if (write(fd, request, (size_t)n) != n || read(fd, answer, sizeof answer) <= 0)
            break;
    }
    return NULL;
}

/* At every look, something of a later purge is pending. */
static void who_waits_is_not_kept_by_later_purges(void **state)
{
    UNUSED(state);
    enum { CLIENTS = 8 };
    pthread_t clients[CLIENTS];
    int fds[CLIENTS];
    atomic_store(&enough, false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        fds[i] = client_open(a->port)->wire.fd;
        assert_int_equal(pthread_create(&clients[i], NULL, purge_on_and_on, &fds[i]), 0);
    }
    until(figure_of(a, "appended") > 100);
    for (unsigned i = 0; i < 3; i++) {
        struct proc_result r = millpond_cli(a, "purge", "--wait", "--tag", "red", NULL);
        EXPECT(r.exit_code == 0, "%s%s", r.out, r.err);
        assert_int_equal(support_count(r.out, ": applied\n"), 2);
    }
    atomic_store(&enough, true);
    for (unsigned i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_join(clients[i], NULL), 0);
    stop();
}

/* Redis is full, or does not allow it: what it has can still be read and believed. */
static void refused_appends_do_not_end_following(void **state)
{
    UNUSED(state);
    both_have("/p");
    redis_do(redis, "ACL SETUSER default -xadd");
    const unsigned served = pages[0].served;
    millpond_purge(a, url_of("/p"));
    millpond_wait_log(a, "refuses what is purged here", 1);
    struct proc_result r = millpond_cli(a, "purge", "--tag", "blue", NULL);
    expect_in(r.out, "other nodes: not told yet");
    until(figure_of(a, "refusals") == 3);
    assert_int_equal(figure_of(a, "pending"), 2);
    expect_in(json_string_value(json_object_get(purges_of(a), "trouble")), "appends are refused: ");
    expect_in(millpond_cli(a, "status", NULL).out, "appends are refused: ");
    assert_true(follows(a));
    redis_do(redis, "ACL SETUSER default +xadd");
    until(figure_of(b, "applied") == 2);
    expect_fresh(b, "/p", &pages[0], served + 1);
    millpond_wait_log(a, "takes what is purged here again", 1);
    assert_string_equal(json_string_value(json_object_get(purges_of(a), "trouble")), "");
    redis_do(redis, "ACL SETUSER default -publish"); /* which only saves work */
    both_have("/p");
    millpond_purge(a, url_of("/p"));
    until(figure_of(b, "applied") == 3);
    millpond_wait_log(a, "refuses to PUBLISH", 1);
    redis_do(redis, "ACL SETUSER default +publish");
    redis_do(redis, "CONFIG SET maxmemory 1");
    millpond_purge(a, url_of("/p"));
    millpond_wait_log(a, "refuses what is purged here", 2);
    assert_true(follows(a));
    redis_do(redis, "CONFIG SET maxmemory 0");
    until(figure_of(b, "applied") == 4);
    const char *log = millpond_wait_log(a, "refuses what is purged here", 2);
    assert_int_equal(support_count(log, "refuses what is purged here"), 2);
    expect_not_in(log, "cannot be followed");
    stop();
}

/* Nobody looks for who ended in order. Who was killed may come back. */
static void a_node_that_stops_is_not_missed(void **state)
{
    UNUSED(state);
    until(json_array_size(json_object_get(purges_of(a), "nodes")) == 2);
    millpond_stop(b);
    until(json_array_size(json_object_get(purges_of(a), "nodes")) == 1);
    assert_int_equal(millpond_cli(a, "purge", "--wait", "--all", NULL).exit_code, 0);
    millpond_stop(a);
    assert_string_equal(redis_do(redis, "HLEN millpond:{stream}:nodes"), "0");
    redis_kill(redis); /* without it, that is not waited for */
    a = node("a", relay_address(link_of_a));
    millpond_stop(a);
}

static json_t *node_named(struct millpond *m, const char *name)
{
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(purges_of(m), "nodes"), i, one)
    {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            return one;
    }
    return NULL;
}

/* After a failover that lost entries, another node may have applied later ones of the stream that was, and
 * not know yet that it began anew: its id says nothing. */
static void who_follows_another_stream_has_not_applied(void **state)
{
    UNUSED(state);
    const unsigned long long s = strtoull(redis_do(redis, "TIME"), NULL, 10);
    redis_do(redis, "HSET millpond:{stream}:nodes other %s",
             textf("00000000000000ff %llu-0 %llu", 2 * s * 1000, s * 1000));
    until(node_named(a, "other") != NULL);
    assert_true(json_is_false(json_object_get(node_named(a, "other"), "follows")));
    struct proc_result r = millpond_cli(a, "purge", "--wait", "--tag", "red", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.out, "node other: not heard of for ");
    stop();
}

/* A right that is missing would else show only by what does not happen. */
static void who_may_not_listen_says_so(void **state)
{
    UNUSED(state);
    redis_do(redis, "ACL SETUSER default resetchannels");
    redis_do(redis, "CLIENT KILL TYPE pubsub");
    millpond_wait_log(a, "refuses to let this node listen to channel millpond:purge (NOPERM", 1);
    until(strstr(json_string_value(json_object_get(purges_of(a), "trouble")), "does not let this node") !=
          NULL);
    assert_true(follows(a));
    redis_do(redis, "ACL SETUSER default allchannels");
    millpond_wait_log(a, "listens to purges on channel", 2);
    assert_string_equal(json_string_value(json_object_get(purges_of(a), "trouble")), "");
    stop();
}

/* Nobody could report while Redis was away. */
static void who_was_silent_with_redis_is_waited_for(void **state)
{
    UNUSED(state);
    until(json_array_size(json_object_get(purges_of(a), "nodes")) == 2);
    redis_freeze(redis);
    until(json_is_false(json_object_get(
        node_named(a, json_string_value(json_object_get(purges_of(b), "node"))), "reachable")));
    redis_thaw(redis);
    until(follows(a));
    assert_int_equal(millpond_cli(a, "purge", "--wait", "--tag", "red", NULL).exit_code, 0);
    stop();
}

/* With Redis' memory went the report of a node that still answers from what it has. */
static void a_node_is_missed_although_redis_lost_its_report(void **state)
{
    UNUSED(state);
    until(json_array_size(json_object_get(purges_of(b), "nodes")) == 2);
    const char *name = json_string_value(json_object_get(purges_of(a), "node"));
    relay_cut(link_of_a);
    redis_kill(redis);
    redis_restart(redis, true);
    until(follows(b) && redis_do(redis, "HLEN millpond:{stream}:nodes")[0] == '1');
    struct proc_result r = millpond_cli(b, "purge", "--wait", "--tag", "red", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.out, textf("node %s: not heard of for ", name));
    relay_heal(link_of_a);
    until(follows(a));
    r = millpond_cli(b, "purge", "--wait", "--tag", "red", NULL);
    assert_int_equal(r.exit_code, 0);
    assert_int_equal(support_count(r.out, ": applied\n"), 2);
    stop();
}

/* Nobody knows what was purged meanwhile: everything goes. */
static void redis_that_restarts_empty_purges_everything(void **state)
{
    UNUSED(state);
    both_have("/q");
    const unsigned served = pages[1].served;
    redis_kill(redis);
    until(!follows(a) && !follows(b));
    expect_in(message_field(client_get(b->port, "/q", ""), "Cache-Status"), "millpond; hit");
    const char *logs = textf("%s%s", capture_text(&a->proc->err), capture_text(&b->proc->err));
    assert_int_equal(support_count(logs, "the stream of purges begins here"), 1);
    expect_not_in(logs, "begins anew");
    redis_restart(redis, true);
    until(follows(a) && follows(b));
    until(strstr(capture_text(&a->proc->err), "the stream of purges begins anew") != NULL ||
          strstr(capture_text(&b->proc->err), "the stream of purges begins anew") != NULL);
    expect_fresh(a, "/q", &pages[1], served + 1);
    expect_fresh(b, "/q", &pages[1], served + 1);
    stop();
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(each_kind_of_purge_reaches_the_other),
        TEST_OF(soft_purges_are_soft_at_the_other),
        TEST_OF(unsafe_methods_reach_the_other),
        TEST_OF(unsafe_methods_where_nothing_is_cached_are_no_events),
        TEST_OF(what_is_cached_again_is_not_from_before),
        TEST_OF(what_another_route_caches_is_not_from_before),
        TEST_OF(long_targets_hurt_nobody),
        TEST_OF(applications_may_publish),
        TEST_OF(purge_without_redis_is_made_good),
        TEST_OF(purge_without_redis_survives_a_kill),
        TEST_OF(node_that_was_away_catches_up),
        TEST_OF(purge_can_wait_for_all_nodes),
        TEST_OF(who_waits_is_not_kept_by_later_purges),
        TEST_OF(refused_appends_do_not_end_following),
        TEST_OF(a_node_that_stops_is_not_missed),
        TEST_OF(who_follows_another_stream_has_not_applied),
        TEST_OF(who_may_not_listen_says_so),
        TEST_OF(who_was_silent_with_redis_is_waited_for),
        TEST_OF(a_node_is_missed_although_redis_lost_its_report),
        TEST_OF(redis_that_restarts_empty_purges_everything),
    };
    return E2E_RUN("redis_purges", tests);
}
