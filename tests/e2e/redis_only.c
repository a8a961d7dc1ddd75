/* redis_only.c: store = redis: what was fetched is found in Redis and nowhere else; memory has it while it is
 * on its way, so that nobody who asks in between has it fetched again. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/redis.h"
#include "tests/support/relay.h"

#include "cache/record.h"

#define LONG     "Cache-Control: max-age=600\r\n"
#define OBJECTS  200
#define CROWD    40
#define WORKERS  2
#define BIG_BODY (12 * 1024 * 1024)

static struct page pages[] = {
    {.path = "/p", .fields = LONG "Cache-Tag: red\r\n", .etag = "\"v1\""},
    {.path = "/vary", .fields = LONG "Vary: Accept-Language\r\n", .vary_on = "Accept-Language"},
    {.path = "/nvs", .fields = LONG "No-Vary-Search: key-order\r\n"},
    {.path = "/asks", .fields = "Cache-Control: no-cache, max-age=600\r\n", .etag = "\"a1\""},
    {.path = "/gate", .fields = LONG},
    {0}};

static struct origin *origin;
static struct redis_process *redis;

static void wait_until_followed(struct millpond *m)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *status = millpond_status(m), *redis_of = json_object_get(status, "redis");
        json_t *server = json_array_get(json_object_get(redis_of, "servers"), 0);
        if (json_integer_value(json_object_get(server, "connections")) == 2 * WORKERS &&
            json_is_true(json_object_get(json_object_get(status, "purges"), "follows")))
            return;
        EXPECT(clock_mono_ms() < until_ms, "it is not all up: %s", json_dumps(redis_of, 0));
    }
}

/* Nothing that is slow here shall pass for a Redis that does not answer, or a client that does not read. */
static struct millpond *node_at(const char *name, const char *address, const char *lines)
{
    struct millpond *m = millpond_start(.name = name, .main = textf("workers = %d", WORKERS),
                                        .cache = "store = redis", .listen = "min_rate = 0",
                                        .rest = textf("%s[redis]\nurl = redis://%s\n%s",
                                                      pool_lines("app", 1, origin), address, lines));
    wait_until_followed(m);
    return m;
}

static struct millpond *node(const char *name)
{
    return node_at(name, redis->address, "timeout = 30s\n");
}

static int setup(void **state)
{
    int rc = support_setup(state);
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    pages[4].gate = NULL;
    origin = origin_start(pages_script, pages);
    redis = redis_start("r", NULL);
    return rc;
}

static void expect_redis(const struct message *r, const char *body)
{
    expect_status(r, 200);
    expect_body(r, body);
    expect_in(message_field(r, "Cache-Status"), "millpond; hit; ttl=");
    expect_in(message_field(r, "Cache-Status"), "; detail=redis");
}

/* What is on its way has arrived, and memory has let go of it. */
static void wait_let_go(struct millpond *m)
{
    millpond_wait_figure(m, "objects", 0);
    millpond_wait_figure(m, "followers_now", 0);
}

static void wait_metric(struct millpond *m, const char *line)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    while (strstr(millpond_admin(m, "GET", "/metrics")->body, line) == NULL)
        EXPECT(clock_mono_ms() < until_ms, "waited in vain for %s", line);
}

static void wait_loads(struct millpond *m, const char *outcome, unsigned times)
{
    wait_metric(m, textf("millpond_redis_loads_total{outcome=\"%s\"} %u\n", outcome, times));
}

static void wait_saves(struct millpond *m, const char *outcome, unsigned times)
{
    wait_metric(m, textf("millpond_redis_saves_total{outcome=\"%s\"} %u\n", outcome, times));
}

/* ---- memory ---- */

static void sized_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    char *body = calloc(1, 40001);
    snprintf(body, 40000, "%s ", request->target);
    memset(body + strlen(body), 'x', 40000 - strlen(body));
    origin_respond(c, 200, LONG, body);
    free(body);
}

static void memory_keeps_nothing_however_much_is_asked_for(void **state)
{
    UNUSED(state);
    origin = origin_start(sized_script, NULL);
    struct millpond *m = node("a");
    const int64_t before = millpond_figure(m, "bytes_used");
    for (unsigned i = 0; i < OBJECTS; i++)
        expect_status(client_get(m->port, textf("/%u", i), ""), 200);
    wait_let_go(m);
    for (unsigned i = 0; i < OBJECTS; i++) {
        const struct message *r = client_get(m->port, textf("/%u", i), "");
        expect_in(message_field(r, "Cache-Status"), "; detail=redis");
        expect_in(r->body, textf("/%u x", i));
    }
    assert_int_equal(origin_requests(origin), OBJECTS);
    wait_let_go(m);
    EXPECT(millpond_figure(m, "bytes_used") < before + 100000, "memory holds %lld bytes, before %lld",
           (long long)millpond_figure(m, "bytes_used"), (long long)before);
    wait_loads(m, "found", OBJECTS);
    wait_saves(m, "saved", OBJECTS);
    millpond_stop(m);
}

/* The instance has answered, and Redis does not: memory has it, on all workers, until that is over. */
static void what_is_on_its_way_is_found_in_memory(void **state)
{
    UNUSED(state);
    struct relay *link = relay_start(redis->port);
    struct millpond *m = node_at("a", relay_address(link), "timeout = 30s\n");
    pages[4].gate = gate_new();
    struct client *first = client_open(m->port);
    client_send(first, "GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(pages[4].gate, 1);
    relay_stall(link);
    gate_open(pages[4].gate);
    expect_body(client_read(first), "/gate#1");
    for (unsigned i = 0; i < 10; i++) { /* each on a connection, so on any worker */
        const struct message *r = client_get(m->port, "/gate", "");
        expect_body(r, "/gate#1");
        expect_in(message_field(r, "Cache-Status"), "millpond; hit");
        expect_not_in(message_field(r, "Cache-Status"), "redis");
    }
    assert_int_equal(millpond_figure(m, "objects"), 1);
    relay_heal(link);
    wait_let_go(m);
    expect_redis(client_get(m->port, "/gate", ""), "/gate#1");
    assert_int_equal(origin_requests(origin), 1);
    millpond_stop(m);
}

static void large_script(struct origin_conn *c, const struct message *request, void *arg)
{
    const char *body = arg;
    if (strstr(request->target, "chunked") == NULL) {
        origin_respond(c, 200, LONG, body);
        return;
    }
    origin_send(c, "HTTP/1.1 200 OK\r\n" LONG "Transfer-Encoding: chunked\r\n\r\n");
    origin_send_chunk(c, body, strlen(body));
    origin_send_chunk(c, NULL, 0);
}

static void text_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_respond(c, 200, LONG "Content-Type: text/plain\r\n", arg);
}

static char *large_body(size_t bytes)
{
    char *body = text_repeat('x', bytes);
    for (size_t i = 0; i < bytes; i += 7)
        body[i] = (char)('a' + i % 26);
    return body;
}

/* Who reads slowly goes on with what memory no longer has. */
static void a_slow_reader_gets_all_of_what_was_let_go(void **state)
{
    UNUSED(state);
    char *body = large_body(BIG_BODY);
    origin = origin_start(large_script, body);
    struct millpond *m = node_at("a", redis->address, "timeout = 30s\nmax_object_size = 16M\n");
    for (unsigned round = 0; round < 2; round++) { /* fetched, then found */
        struct client *slow = client_open_rcvbuf(m->port, 4096);
        client_send(slow, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
        if (round == 0)
            wait_saves(m, "saved", 1);
        else
            wait_loads(m, "found", 1);
        millpond_wait_figure(m, "objects", 0);
        assert_int_equal(millpond_figure(m, "followers_now"), 1);
        expect_body(client_read(slow), body);
    }
    assert_int_equal(origin_requests(origin), 1);
    client_close_all();
    wait_let_go(m);
    millpond_stop(m);
}

/* Whatever it is that keeps something out of Redis keeps it out of memory as well. */
static void what_is_not_kept_there_is_not_kept_here(void **state)
{
    UNUSED(state);
    struct millpond *m = node("a");
    for (unsigned i = 1; i <= 3; i++)
        expect_body(client_get(m->port, "/nvs?a=1", ""), textf("/nvs#%u", i));
    for (unsigned i = 1; i <= 2; i++)
        expect_body(client_get(m->port, "/asks", ""), textf("/asks#%u", i));
    wait_let_go(m);
    origin = origin_start(large_script, large_body(1024 * 1024 + 1));
    struct millpond *other = node("b");
    expect_status(client_get(other->port, "/large", ""), 200);
    wait_let_go(other);
    expect_status(client_get(other->port, "/large", ""), 200);
    wait_saves(other, "too_large", 2);
    assert_int_equal(origin_requests(origin), 2);
    millpond_stop(m);
    millpond_stop(other);
}

/* ---- as with memory in front ---- */

static void bodies_of_all_kinds_are_found(void **state)
{
    UNUSED(state);
    static const char *const targets[] = {"/small", "/chunked-small", "/large", "/chunked-large"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char *body = large_body(strstr(targets[i], "small") != NULL ? 3000 : 900000);
        origin = origin_start(large_script, body);
        struct millpond *m = node(textf("a%zu", i));
        expect_body(client_get(m->port, targets[i], ""), body);
        wait_let_go(m);
        expect_redis(client_get(m->port, targets[i], ""), body);
        assert_int_equal(origin_requests(origin), 1);
        millpond_stop(m);
    }
}

/* What is packed there comes out as it went in, also where another node packs nothing. */
static void packed_bodies_come_out_as_they_were(void **state)
{
    UNUSED(state);
    static const char *const targets[] = {"/small", "/large"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        char *body = large_body(i == 0 ? 3000 : 900000);
        origin = origin_start(text_script, body);
        struct millpond *a = node_at(textf("a%zu", i), redis->address, "timeout = 30s\ncompress = zstd\n"),
                        *b = node(textf("b%zu", i));
        expect_body(client_get(a->port, targets[i], ""), body);
        wait_let_go(a);
        expect_redis(client_get(a->port, targets[i], ""), body);
        expect_redis(client_get(b->port, targets[i], ""), body);
        assert_int_equal(origin_requests(origin), 1);
        char name[64 + CACHE_RECORD_NAME_BYTES];
        slice_t key = slice_str(textf("http://test%s", targets[i]));
        slice_t n = cache_record_name(name, SLICE_LIT("millpond:"), key, i == 0 ? CACHE_RECORD_HEAD : 0);
        const long long stored = atoll(redis_do(redis, "STRLEN %s", textf(SLICE_FMT, SLICE_ARG(n))));
        EXPECT(stored > 0 && stored < (i == 0 ? 2000 : 40000), "it takes %lld bytes", stored);
        millpond_stop(a);
        millpond_stop(b);
    }
}

static void ranges_conditions_and_head_are_answered_from_it(void **state)
{
    UNUSED(state);
    struct millpond *m = node("a");
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    wait_let_go(m);
    struct message *r = client_get(m->port, "/p", "Range: bytes=1-2\r\n");
    expect_status(r, 206);
    expect_body(r, "p#");
    r = client_get(m->port, "/p", "If-None-Match: \"v1\"\r\n");
    expect_status(r, 304);
    expect_in(message_field(r, "Cache-Status"), "detail=redis");
    assert_int_equal(origin_requests(origin), 1);
    wait_let_go(m);
    millpond_stop(m);
}

static void each_variant_is_found(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a"), *b = node("b");
    expect_body(client_get(a->port, "/vary", "Accept-Language: de\r\n"), "/vary#1 de");
    expect_body(client_get(b->port, "/vary", "Accept-Language: en\r\n"), "/vary#2 en");
    wait_let_go(a);
    wait_let_go(b);
    struct millpond *nodes[] = {a, b};
    for (size_t i = 0; i < ARRAY_LEN(nodes); i++) {
        expect_redis(client_get(nodes[i]->port, "/vary", "Accept-Language: en\r\n"), "/vary#2 en");
        expect_redis(client_get(nodes[i]->port, "/vary", "Accept-Language: de\r\n"), "/vary#1 de");
        wait_let_go(nodes[i]);
    }
    assert_int_equal(origin_requests(origin), 2);
    millpond_stop(a);
    millpond_stop(b);
}

static void a_purge_counts_at_each_node(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a"), *b = node("b");
    expect_body(client_get(a->port, "/p", ""), "/p#1");
    wait_let_go(a);
    expect_redis(client_get(b->port, "/p", ""), "/p#1");
    millpond_purge(a, url_of("/p"));
    expect_body(client_get(a->port, "/p", ""), "/p#2");
    wait_let_go(a);
    struct proc_result r = millpond_cli(b, "purge", "--wait", "--tag", "red", NULL);
    assert_int_equal(r.exit_code, 0);
    expect_body(client_get(a->port, "/p", ""), "/p#3");
    wait_let_go(a);
    expect_redis(client_get(b->port, "/p", ""), "/p#3");
    expect_status(client_ask(b->port, "POST", "/p", "Content-Length: 0\r\n", ""), 200);
    expect_body(client_get(b->port, "/p", ""), "/p#5");
    millpond_stop(a);
    millpond_stop(b);
}

/* While it is on its way, too: what lies in memory, and what is written after the purge. */
static void a_purge_counts_for_what_is_on_its_way(void **state)
{
    UNUSED(state);
    struct relay *link = relay_start(redis->port);
    struct millpond *m = node_at("a", relay_address(link), "timeout = 30s\n");
    pages[4].gate = gate_new();
    struct client *first = client_open(m->port);
    client_send(first, "GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(pages[4].gate, 1);
    relay_stall(link);
    gate_open(pages[4].gate);
    expect_body(client_read(first), "/gate#1");
    expect_body(client_get(m->port, "/gate", ""), "/gate#1");
    millpond_purge(m, url_of("/gate"));
    struct client *second = client_open(m->port);
    client_send(second, "GET /gate HTTP/1.1\r\nHost: test\r\n\r\n");
    relay_heal(link);
    expect_body(client_read(second), "/gate#2");
    wait_let_go(m);
    bool found = false;
    for (unsigned i = 0; i < 10 && !found;
         i++) { /* the older write may come last: then that is purged, too */
        const struct message *r = client_get(m->port, "/gate", "");
        EXPECT(strcmp(r->body, "/gate#1") != 0, "it was purged");
        found = strstr(message_field(r, "Cache-Status"), "detail=redis") != NULL;
        wait_let_go(m);
    }
    assert_true(found);
    millpond_stop(m);
}

static void crowd_of(struct millpond *m, struct client *clients[CROWD], const char *target)
{
    for (unsigned i = 0; i < CROWD; i++) {
        clients[i] = client_open(m->port);
        client_send(clients[i], "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
    }
}

static void a_crowd_shares_one_fetch_and_one_look_up(void **state)
{
    UNUSED(state);
    struct client *clients[CROWD];
    struct relay *link = relay_start(redis->port);
    struct millpond *m = node_at("a", relay_address(link), "timeout = 30s\n");
    pages[4].gate = gate_new();
    crowd_of(m, clients, "/gate");
    gate_wait_arrived(pages[4].gate, 1);
    millpond_wait_figure(m, "followers_now", CROWD);
    gate_open(pages[4].gate);
    for (unsigned i = 0; i < CROWD; i++)
        expect_body(client_read(clients[i]), "/gate#1");
    wait_let_go(m);
    relay_stall(link);
    crowd_of(m, clients, "/gate");
    millpond_wait_figure(m, "followers_now", CROWD - 1);
    relay_heal(link);
    for (unsigned i = 0; i < CROWD; i++)
        expect_body(client_read(clients[i]), "/gate#1");
    wait_let_go(m);
    wait_loads(m, "found", 1);
    assert_int_equal(origin_requests(origin), 1);
    millpond_stop(m);
}

/* ---- without it ---- */

static void without_redis_the_instance_is_asked(void **state)
{
    UNUSED(state);
    struct millpond *m = node_at("a", redis->address, "timeout = 50ms\n");
    redis_freeze(redis);
    for (unsigned i = 1; i <= 20; i++)
        expect_status(client_get(m->port, "/p", ""), 200);
    redis_kill(redis);
    millpond_wait_log(m, "is down", 1);
    const unsigned before = origin_requests(origin);
    for (unsigned i = 1; i <= 20; i++)
        expect_status(client_get(m->port, textf("/p?%u", i % 2), ""), 200);
    wait_let_go(m);
    EXPECT(origin_requests(origin) > before + 2, "who served it?");
    struct client *clients[CROWD];
    pages[4].gate = gate_new();
    crowd_of(m, clients, "/gate");
    millpond_wait_figure(m, "followers_now", CROWD);
    gate_open(pages[4].gate);
    for (unsigned i = 0; i < CROWD; i++)
        expect_body(client_read(clients[i]), "/gate#1");
    wait_let_go(m);
    redis_restart(redis, true);
    millpond_wait_log(m, "is up", 2);
    wait_until_followed(m);
    expect_status(client_get(m->port, "/p?3", ""), 200);
    wait_let_go(m);
    redis_until(redis, "4", "DBSIZE"); /* with the three of the stream of purges */
    millpond_stop(m);
}

static void what_is_explained_is_what_redis_has(void **state)
{
    UNUSED(state);
    struct millpond *m = node("a");
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    wait_let_go(m);
    struct proc_result r = millpond_cli(m, "explain", url_of("/p"), NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, "found: fresh, whole and not purged\n");
    expect_in(r.out, "\nnow       redis: ");
    millpond_stop(m);
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(memory_keeps_nothing_however_much_is_asked_for),
        TEST_OF(what_is_on_its_way_is_found_in_memory),
        TEST_OF(a_slow_reader_gets_all_of_what_was_let_go),
        TEST_OF(what_is_not_kept_there_is_not_kept_here),
        TEST_OF(bodies_of_all_kinds_are_found),
        TEST_OF(packed_bodies_come_out_as_they_were),
        TEST_OF(ranges_conditions_and_head_are_answered_from_it),
        TEST_OF(each_variant_is_found),
        TEST_OF(a_purge_counts_at_each_node),
        TEST_OF(a_purge_counts_for_what_is_on_its_way),
        TEST_OF(a_crowd_shares_one_fetch_and_one_look_up),
        TEST_OF(without_redis_the_instance_is_asked),
        TEST_OF(what_is_explained_is_what_redis_has),
    };
    return E2E_RUN("redis only", tests);
}
