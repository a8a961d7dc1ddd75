/* redis_store.c: two nodes with one Redis: what one has fetched the other finds there, and whatever becomes
 * of Redis, of what lies in it, or of clients, requests are answered as if it were not there. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#include "cache/record.h"

#define LONG    "Cache-Control: max-age=600\r\n"
#define CROWD   40
#define WORKERS 2

static struct page pages[] = {
    {.path = "/p", .fields = LONG, .etag = "\"v1\""},
    {.path = "/vary", .fields = LONG "Vary: Accept-Language\r\n", .vary_on = "Accept-Language"},
    {.path = "/ours", .fields = ""},
    {.path = "/swr", .etag = "\"s1\""},
    {.path = "/nvs", .fields = LONG "No-Vary-Search: key-order\r\n"},
    {0}};

static struct origin *origin;

/* Until all workers have all their connections, and the stream of purges is followed. */
static void wait_until_connected(struct millpond *m)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *status = millpond_status(m);
        json_t *servers = json_object_get(json_object_get(status, "redis"), "servers");
        json_t *s = json_array_get(servers, 0);
        if (json_integer_value(json_object_get(s, "connections")) == 2 * WORKERS &&
            json_is_true(json_object_get(json_object_get(status, "purges"), "follows")))
            return;
        EXPECT(clock_mono_ms() < until_ms, "it is not all up: %s", json_dumps(servers, 0));
    }
}

/* Up. `lines` go on behind [redis]. */
static struct millpond *node(const char *name, const char *address, const char *lines)
{
    struct millpond *m =
        millpond_start(.name = name, .main = textf("workers = %d", WORKERS), .cache = "store = tiered",
                       .rest = textf("%s[redis]\nurl = redis://%s\n%s", pool_lines("app", 1, origin), address,
                                     lines));
    wait_until_connected(m);
    return m;
}

/* Nothing that is slow here shall pass for a Redis that does not answer. */
static struct millpond *patient(const char *name, struct redis_process *p)
{
    return node(name, p->address, "timeout = 30s\n");
}

static char *part_name(const char *target, int64_t part)
{
    char buf[64 + CACHE_RECORD_NAME_BYTES];
    slice_t key = slice_str(textf("http://test%s", target));
    slice_t name = cache_record_name(buf, SLICE_LIT("millpond:"), key, part);
    return textf(SLICE_FMT, SLICE_ARG(name));
}

static char *record_name(const char *target)
{
    return part_name(target, CACHE_RECORD_HEAD);
}

/* Nobody fetches it, as far as Redis knows: who had the lease has said what became of it. */
static void wait_let_go_of(struct redis_process *p, const char *target)
{
    const char *name = record_name(target);
    redis_until(p, "0", "EXISTS %s", textf("%.*slease", (int)(strlen(name) - strlen("head")), name));
}

#define wait_saved(p, target) (SUPPORT_AT, redis_until_(p, "1", "EXISTS %s", record_name(target)))

static int setup(void **state)
{
    int rc = support_setup(state);
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    pages[3].fields = LONG;
    origin = origin_start(pages_script, pages);
    return rc;
}

static void expect_redis(const struct message *r, const char *body)
{
    expect_status(r, 200);
    expect_body(r, body);
    expect_in(message_field(r, "Cache-Status"), "millpond; hit; ttl=");
    expect_in(message_field(r, "Cache-Status"), "; detail=redis");
}

/* ---- finding ---- */

static void what_one_node_fetched_the_other_finds(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    struct message *r = client_get(b->port, "/p", "");
    expect_redis(r, "/p#1");
    assert_non_null(message_field(r, "Age"));
    expect_in(message_field(r, "ETag"), "\"v1\"");
    json_t *line = millpond_access_line(b, "\"target\":\"/p\"");
    assert_string_equal(json_string_value(json_object_get(line, "cache")), "redis");
    r = client_get(b->port, "/p", ""); /* from then on it is in memory */
    expect_body(r, "/p#1");
    expect_not_in(message_field(r, "Cache-Status"), "redis");
    expect_in(message_field(r, "Cache-Status"), "hit");
    assert_int_equal(origin_requests(origin), 1);
    expect_in(millpond_admin(b, "GET", "/metrics")->body,
              "millpond_redis_loads_total{outcome=\"found\"} 1\n");
    expect_in(millpond_admin(a, "GET", "/metrics")->body,
              "millpond_redis_saves_total{outcome=\"saved\"} 1\n");
    millpond_stop(a);
    millpond_stop(b);
}

static void ranges_and_conditions_are_answered_from_it(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p), *c = patient("c", p);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    struct message *r = client_get(b->port, "/p", "Range: bytes=1-2\r\n");
    expect_status(r, 206);
    expect_body(r, "p#");
    r = client_get(c->port, "/p", "If-None-Match: \"v1\"\r\n");
    expect_status(r, 304);
    expect_in(message_field(r, "Cache-Status"), "detail=redis");
    assert_int_equal(origin_requests(origin), 1);
    millpond_stop(a);
    millpond_stop(b);
    millpond_stop(c);
}

static void each_variant_is_found(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    expect_body(client_get(a->port, "/vary", "Accept-Language: de\r\n"), "/vary#1 de");
    expect_body(client_get(a->port, "/vary", "Accept-Language: en\r\n"), "/vary#2 en");
    redis_until(p, "6", "DBSIZE"); /* with the three of the stream of purges */
    wait_saved(p, "/vary");        /* the marker comes last */
    expect_redis(client_get(b->port, "/vary", "Accept-Language: en\r\n"), "/vary#2 en");
    expect_redis(client_get(b->port, "/vary", "Accept-Language: de\r\n"), "/vary#1 de");
    expect_body(client_get(b->port, "/vary", "Accept-Language: fr\r\n"), "/vary#3 fr");
    assert_int_equal(origin_requests(origin), 3);
    millpond_stop(a);
    millpond_stop(b);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_respond(c, 200, LONG, arg);
}

static void large_bodies_come_whole(void **state)
{
    UNUSED(state);
    char *body = text_repeat('x', 900000);
    for (size_t i = 0; i < 900000; i += 7)
        body[i] = (char)('a' + i % 26);
    origin = origin_start(large_script, body);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p), *c = patient("c", p);
    expect_body(client_get(a->port, "/large", ""), body);
    wait_saved(p, "/large");
    expect_redis(client_get(b->port, "/large", ""), body);
    redis_do(p, "DEL %s", part_name("/large", 3));
    expect_body(client_get(c->port, "/large", ""), body);
    assert_int_equal(origin_requests(origin), 2);
    expect_in(millpond_admin(c, "GET", "/metrics")->body,
              "millpond_redis_loads_total{outcome=\"incomplete\"} 1\n");
    millpond_stop(a);
    millpond_stop(b);
    millpond_stop(c);
}

static void what_was_confirmed_is_kept_there_too(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    pages[3].fields = "Cache-Control: max-age=10\r\nAge: 10\r\n"; /* not worth it yet */
    expect_body(client_get(a->port, "/swr", ""), "/swr#1");
    wait_let_go_of(p, "/swr");
    pages[3].fields = LONG;
    expect_in(message_field(client_get(a->port, "/swr", ""), "Cache-Status"), "fwd-status=304");
    wait_saved(p, "/swr");
    expect_redis(client_get(b->port, "/swr", ""), "/swr#1");
    assert_int_equal(origin_requests(origin), 2);
    millpond_stop(a);
    millpond_stop(b);
}

/* What one node has renewed in the background, another need not. */
static void a_renewed_response_ends_another_nodes_renewal(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    redis_do(p, "SET %s hello", record_name("/swr")); /* so that nobody remembers that there is nothing */
    pages[3].fields = "Cache-Control: max-age=10, stale-while-revalidate=6000\r\nAge: 10\r\n";
    expect_body(client_get(a->port, "/swr", ""), "/swr#1");
    expect_body(client_get(b->port, "/swr", ""), "/swr#2");
    wait_let_go_of(p, "/swr");
    pages[3].fields = LONG;
    pages[3].etag = "\"s2\"";
    expect_body(client_get(a->port, "/swr", ""), "/swr#1");
    redis_until(p, "MlpR", "GETRANGE %s 0 3", record_name("/swr"));
    struct message *r = client_get(b->port, "/swr", "");
    expect_body(r, "/swr#2");
    expect_in(message_field(r, "Cache-Status"), "stale_while_revalidate");
    millpond_wait_figure(b, "refreshes_in_flight", 0);
    expect_body(client_get(b->port, "/swr", ""), "/swr#3");
    assert_int_equal(origin_requests(origin), 3);
    pages[3].etag = "\"s1\"";
    millpond_stop(a);
    millpond_stop(b);
}

/* ---- who may have it ---- */

static void what_only_the_ini_file_calls_fresh_is_not_for_credentials(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    const char *lines = "timeout = 30s\n[route all]\nttl = 10m\n";
    struct millpond *a = node("a", p->address, lines), *b = node("b", p->address, lines);
    expect_body(client_get(a->port, "/ours", ""), "/ours#1");
    wait_saved(p, "/ours");
    expect_body(client_get(b->port, "/ours", "Cookie: session=1\r\n"), "/ours#2");
    expect_redis(client_get(b->port, "/ours", ""), "/ours#1");
    millpond_stop(a);
    millpond_stop(b);
}

static void who_wants_the_instance_gets_the_instance(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    const char *lines = "timeout = 30s\n[route all]\nignore_client_cache_control = no\n";
    struct millpond *a = node("a", p->address, lines), *b = node("b", p->address, lines);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    expect_body(client_get(a->port, "/swr", ""), "/swr#1");
    wait_saved(p, "/p");
    wait_saved(p, "/swr");
    expect_body(client_get(b->port, "/p", "Cache-Control: no-cache\r\n"), "/p#2");
    expect_body(client_get(b->port, "/swr", "Cache-Control: min-fresh=1\r\n"), "/swr#2");
    expect_body(client_get(b->port, "/p", ""), "/p#2");
    millpond_stop(a);
    millpond_stop(b);
}

static void rules_for_queries_stay_on_their_node(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p);
    expect_body(client_get(a->port, "/nvs?a=1", ""), "/nvs#1"); /* which is news, and not stored at all */
    expect_body(client_get(a->port, "/nvs?a=1", ""), "/nvs#2");
    expect_body(client_get(a->port, "/nvs?a=1", ""), "/nvs#2");
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    redis_until(p, "4", "DBSIZE");
    millpond_stop(a);
}

/* ---- purges ---- */

static void what_was_purged_does_not_come_back(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    millpond_purge(a, url_of("/p"));
    expect_body(client_get(a->port, "/p", ""), "/p#2");
    expect_in(millpond_admin(a, "GET", "/metrics")->body,
              "millpond_redis_loads_total{outcome=\"purged\"} 1\n");
    millpond_stop(a);
}

/* Also where the node that it went through has nothing stored. */
static void a_post_invalidates_what_only_redis_has(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    expect_status(client_ask(b->port, "POST", "/p", "Content-Length: 0\r\n", ""), 200);
    expect_body(client_get(b->port, "/p", ""), "/p#3");
    millpond_stop(a);
    millpond_stop(b);
}

/* ---- what may go wrong ---- */

static void damaged_records_are_misses(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = patient("a", p), *b = patient("b", p);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    redis_do(p, "SETRANGE %s 130 xxx", record_name("/p"));
    expect_body(client_get(b->port, "/p", ""), "/p#2");
    redis_do(p, "SET %s hello", record_name("/vary"));
    expect_body(client_get(b->port, "/vary", ""), "/vary#1 none");
    const char *page = millpond_admin(b, "GET", "/metrics")->body;
    expect_in(page, "millpond_redis_loads_total{outcome=\"damaged\"} 1\n");
    expect_in(page, "millpond_redis_loads_total{outcome=\"foreign\"} 1\n");
    millpond_stop(a);
    millpond_stop(b);
}

static void without_redis_the_instance_is_asked(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct millpond *a = node("a", p->address, "timeout = 50ms\n");
    redis_freeze(p);
    for (unsigned i = 0; i < 20; i++)
        expect_status(client_get(a->port, textf("/p?%u", i), ""), 200);
    redis_kill(p);
    millpond_wait_log(a, "is down", 1);
    for (unsigned i = 20; i < 40; i++)
        expect_status(client_get(a->port, textf("/p?%u", i), ""), 200);
    assert_int_equal(origin_requests(origin), 40);
    expect_body(client_get(a->port, "/p?0", ""), "/p#1");
    redis_restart(p, true);
    millpond_wait_log(a, "is up", 2);
    wait_until_connected(a);
    expect_status(client_get(a->port, "/p?50", ""), 200);
    wait_saved(p, "/p?50");
    millpond_stop(a);
}

/* A crowd on node b, whose link to Redis stands still. */
static struct client *crowd[CROWD];
static struct relay *gather(struct redis_process *p, struct millpond **b)
{
    struct millpond *a = patient("a", p);
    struct relay *link = relay_start(p->port);
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_saved(p, "/p");
    millpond_stop(a);
    *b = node("b", relay_address(link), "timeout = 30s\n");
    relay_stall(link);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = client_open((*b)->port);
        client_send(crowd[i], "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    }
    millpond_wait_figure(*b, "followers_now", CROWD - 1);
    return link;
}

static void a_crowd_shares_one_look_up(void **state)
{
    UNUSED(state);
    struct millpond *b;
    struct relay *link = gather(redis_start("r", NULL), &b);
    relay_heal(link);
    for (unsigned i = 0; i < CROWD; i++)
        expect_redis(client_read(crowd[i]),
                     "/p#1"); /* who waited for the look-up, too: nothing was fetched */
    assert_int_equal(origin_requests(origin), 1);
    assert_int_equal(millpond_figure(b, "cache_collapsed"), 0);
    millpond_wait_access(b, "\"cache\":\"redis\"", CROWD);
    expect_in(millpond_admin(b, "GET", "/metrics")->body,
              "millpond_redis_loads_total{outcome=\"found\"} 1\n");
    client_close_all();
    millpond_wait_idle(b);
    millpond_stop(b);
}

/* The leader is among those that leave, whoever it is. */
static void clients_that_leave_do_not_take_the_others_along(void **state)
{
    UNUSED(state);
    struct millpond *b;
    struct relay *link = gather(redis_start("r", NULL), &b);
    for (unsigned i = 0; i < CROWD - 1; i++)
        client_reset(crowd[i]);
    millpond_wait_figure(b, "requests_in_flight", 1);
    assert_int_equal(origin_requests(origin), 1);
    relay_heal(link);
    expect_body(client_read(crowd[CROWD - 1]), "/p#1");
    assert_int_equal(origin_requests(origin), 1);
    client_close_all();
    millpond_wait_idle(b);
    millpond_stop(b);
}

static void a_stop_waits_for_no_look_up(void **state)
{
    UNUSED(state);
    struct millpond *b;
    gather(redis_start("r", NULL), &b);
    millpond_stop(b); /* which closes the clients first */
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(what_one_node_fetched_the_other_finds),
        TEST_OF(ranges_and_conditions_are_answered_from_it),
        TEST_OF(each_variant_is_found),
        TEST_OF(large_bodies_come_whole),
        TEST_OF(what_was_confirmed_is_kept_there_too),
        TEST_OF(a_renewed_response_ends_another_nodes_renewal),
        TEST_OF(what_only_the_ini_file_calls_fresh_is_not_for_credentials),
        TEST_OF(who_wants_the_instance_gets_the_instance),
        TEST_OF(rules_for_queries_stay_on_their_node),
        TEST_OF(what_was_purged_does_not_come_back),
        TEST_OF(a_post_invalidates_what_only_redis_has),
        TEST_OF(damaged_records_are_misses),
        TEST_OF(without_redis_the_instance_is_asked),
        TEST_OF(a_crowd_shares_one_look_up),
        TEST_OF(clients_that_leave_do_not_take_the_others_along),
        TEST_OF(a_stop_waits_for_no_look_up),
    };
    return E2E_RUN("redis store", tests);
}
