/* explain_redis.c: what `millpond explain` says of the store that nodes share is what is there, and what it
 * says of the next request is what then happens; and nothing shows afterwards that it looked. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/redis.h"

#include "cache/record.h"

#define LONG "Cache-Control: max-age=600\r\n"

static struct page pages[] = {
    {.path = "/p", .fields = LONG "Cache-Tag: red blue\r\n"},
    {.path = "/vary", .fields = LONG "Vary: Accept-Language\r\n"},
    {.path = "/ours", .fields = ""},
    {.path = "/private", .fields = "Cache-Control: private\r\n"},
    {.path = "/nvs", .fields = LONG "No-Vary-Search: key-order\r\n"},
    {.path = "/each", .fields = "Cache-Control: no-cache\r\n", .etag = "\"e1\""},
    {.path = "/swr", .fields = "Cache-Control: max-age=10, stale-while-revalidate=6000\r\nAge: 10\r\n"},
    {.path = "/late", .fields = "Cache-Control: max-age=600, stale-while-revalidate=6000\r\n"},
    {.path = "/tag", .fields = LONG, .etag = "\"t1\""},
    {0}};

static struct origin *origin;
static struct redis_process *redis;

static int setup(void **state)
{
    int rc = support_setup(state);
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    origin = origin_start(pages_script, pages);
    redis = redis_start("r", NULL);
    return rc;
}

#define until(condition)                                                                                     \
    do {                                                                                                     \
        mono_ms_t end_ms_ = clock_mono_ms() + support_wait_ms();                                             \
        while (!(condition))                                                                                 \
            EXPECT(clock_mono_ms() < end_ms_, "waited in vain for %s", #condition);                          \
    } while (0)

static bool is_ready(struct millpond *m)
{
    const json_t *status = millpond_status(m);
    const json_t *servers = json_object_get(json_object_get(status, "redis"), "servers");
    return json_integer_value(json_object_get(json_array_get(servers, 0), "connections")) == 2 &&
           json_is_true(json_object_get(json_object_get(status, "purges"), "follows"));
}

static struct millpond *start(const char *name, const char *store, const char *lines)
{
    return millpond_start(.name = name, .main = "workers = 1", .cache = textf("store = %s", store),
                          .rest = textf("%s[redis]\nurl = redis://%s\n%s", pool_lines("app", 1, origin),
                                        redis->address, lines));
}

static struct millpond *node(const char *name, const char *lines)
{
    struct millpond *m = start(name, "tiered", lines);
    until(is_ready(m));
    return m;
}

#define PATIENT "timeout = 30s\n"

static char *encoded(const char *text)
{
    char *out = textf("%*s", (int)(3 * strlen(text)), ""), *at = out;
    for (; *text != '\0'; text++)
        at += sprintf(at, "%%%02X", (unsigned char)*text);
    *at = '\0';
    return out;
}

/* The whole answer; over the address, since a process for each takes its time. */
static json_t *explained_as(struct millpond *m, const char *method, const char *target, const char *field)
{
    struct message *r = millpond_admin(
        m, "GET",
        textf("/api/explain?url=%s&method=%s&header=%s", encoded(url_of(target)), method, encoded(field)));
    expect_status(r, 200);
    json_t *o = json_loads(r->body, 0, NULL);
    EXPECT(o != NULL, "%s", r->body);
    return o;
}

static json_t *explained(struct millpond *m, const char *target, const char *field)
{
    return explained_as(m, "GET", target, field);
}

static const char *text_in(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static const json_t *record_of(const json_t *answer)
{
    return json_object_get(json_object_get(answer, "redis"), "record");
}

/* The verdict, then of "redis": reason, outcome, kept_reason; NULL, or left out: whatever it is. */
#define SAID 4
static void expect_said_(json_t *answer, const char *const want[SAID])
{
    const json_t *r = json_object_get(answer, "redis");
    const char *const said[SAID] = {text_in(answer, "verdict"), text_in(r, "reason"), text_in(r, "outcome"),
                                    text_in(r, "kept_reason")};
    for (size_t i = 0; i < SAID; i++)
        EXPECT(want[i] == NULL || strcmp(said[i], want[i]) == 0, "\"%s\" instead of \"%s\": %s", said[i],
               want[i], json_dumps(answer, JSON_INDENT(1)));
    json_decref(answer);
}
#define expect_said(answer, ...) (SUPPORT_AT, expect_said_(answer, (const char *const[SAID]){__VA_ARGS__}))

static char *record_name(const char *target)
{
    char buf[64 + CACHE_RECORD_NAME_BYTES];
    slice_t key = slice_str(textf("http://test%s", target));
    slice_t name = cache_record_name(buf, SLICE_LIT("millpond:"), key, CACHE_RECORD_HEAD);
    return textf(SLICE_FMT, SLICE_ARG(name));
}

/* Answered by an instance, and waited for in Redis. */
static void fetch(struct millpond *m, const char *target, const char *fields)
{
    expect_status(client_get(m->port, target, fields), 200);
    redis_until(redis, "1", "EXISTS %s", record_name(target));
}

#define ANY "Accept: */*"

/* ---- what is there ---- */

static void what_is_said_then_happens(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT), *b = node("b", PATIENT);
    expect_said(explained(b, "/p", ANY), "miss", "asked", "absent", "unseen");
    expect_said(explained(b, "/p", ANY), "miss", "asked", "absent", "unseen"); /* and nobody fetches it now */
    fetch(a, "/p", "");
    json_t *e = explained(b, "/p", ANY);
    const json_t *record = record_of(e);
    assert_int_equal(json_integer_value(json_object_get(record, "status")), 200);
    assert_int_equal(json_integer_value(json_object_get(record, "bytes")), 4);
    assert_int_equal(json_integer_value(json_object_get(record, "ttl_s")), 600);
    assert_string_equal(text_in(record, "ttl_from"), "max_age");
    assert_string_equal(text_in(record, "tags"), "red blue");
    assert_true(json_integer_value(json_object_get(record, "fresh_for_s")) > 0);
    assert_true(json_integer_value(json_object_get(record, "expires_in_s")) > 600);
    assert_string_equal(text_in(e, "reason"), "none");
    assert_true(json_is_null(json_object_get(e, "edit")));
    assert_null(json_object_get(e, "would_be_stored"));
    expect_said(e, "redis", "asked", "found", "unseen");
    const char *out = millpond_cli(b, "explain", url_of("/p"), NULL).out;
    expect_in(out, "\nredis     asked: looked for there first; what is not there is fetched by one node for "
                   "all\n"
                   "          found: fresh, whole and not purged\n"
                   "          status 200, 4 bytes, age ");
    expect_in(out, ", tags red blue\n          unseen: ");
    expect_in(out, "\nnow       redis: ");
    expect_not_in(out, "because");
    expect_not_in(millpond_admin(b, "GET", "/metrics")->body,
                  "millpond_redis_loads_total{outcome=\"found\"} 1");
    expect_in(message_field(client_get(b->port, "/p", ""), "Cache-Status"), "; detail=redis");
    expect_in(millpond_admin(b, "GET", "/metrics")->body,
              "millpond_redis_loads_total{outcome=\"found\"} 1\n");
    expect_said(explained(b, "/p", ANY), "hit", "memory", "found", "kept");
    assert_int_equal(origin_requests(origin), 1);
    millpond_stop(a);
    millpond_stop(b);
}

static void variants_are_told_apart(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT), *b = node("b", PATIENT);
    fetch(a, "/vary", "Accept-Language: de\r\n");
    json_t *e = explained(b, "/vary", "Accept-Language: de");
    assert_string_equal(text_in(json_object_get(e, "redis"), "vary"), "accept-language");
    expect_said(e, "redis", "asked", "found");
    e = explained(b, "/vary", "Accept-Language: fr");
    assert_true(json_is_null(record_of(e)));
    expect_said(e, "miss", "asked", "absent");
    expect_in(millpond_cli(b, "explain", url_of("/vary"), NULL).out,
              "absent: nothing is kept there under this key; varies there by accept-language\n");
    millpond_stop(a);
    millpond_stop(b);
}

static void a_purged_record_is_said_to_be_purged(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT);
    fetch(a, "/p", "");
    assert_int_equal(millpond_cli(a, "purge", "--tag", "red", NULL).exit_code, 0);
    json_t *e = explained(a, "/p", ANY);
    assert_true(json_is_object(record_of(e)));
    expect_said(e, "miss", "asked", "purged");
    expect_body(client_get(a->port, "/p", ""), "/p#2");
    millpond_stop(a);
}

/* Of what lies there as if it had been kept for some time: its expiry tells its age. */
static void age(const char *target, unsigned by_s)
{
    const long long left_ms = atoll(redis_do(redis, "PTTL %s", record_name(target)));
    EXPECT(left_ms > by_s * 1000LL, "%s expires in %lld ms", target, left_ms);
    assert_string_equal(redis_do(redis, "PEXPIRE %s %lld", record_name(target), left_ms - by_s * 1000LL),
                        "1");
}

static void what_is_stale_is_used_as_is_said(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT), *b = node("b", PATIENT);
    fetch(a, "/late", "");
    fetch(a, "/tag", "");
    age("/late", 700);
    age("/tag", 700);
    expect_said(explained(b, "/late", ANY), "stale", "stale", "stale", "unseen");
    expect_in(
        millpond_cli(b, "explain", url_of("/late"), NULL).out,
        "\nredis     stale: brought back into memory as stale as it is, and used or renewed from there\n"
        "          status 200, 7 bytes, age 7");
    expect_body(client_get(b->port, "/late", ""), "/late#1");
    expect_said(explained(b, "/tag", "Range: bytes=0-1"), "miss", "asked", "stale");
    json_t *e = explained(b, "/tag", ANY);
    assert_string_equal(text_in(e, "reason"), "expired");
    expect_said(e, "expired", "stale", "stale", "unseen");
    expect_in(message_field(client_get(b->port, "/tag", ""), "Cache-Status"), "fwd=stale");
    millpond_stop(a);
    millpond_stop(b);
}

static void where_memory_keeps_nothing_redis_is_looked_into(void **state)
{
    UNUSED(state);
    struct millpond *m = start("a", "redis", PATIENT);
    until(is_ready(m));
    fetch(m, "/late", "");
    millpond_wait_figure(m, "objects", 0);
    expect_said(explained(m, "/late", ANY), "redis", "asked", "found", "unseen");
    expect_in(message_field(client_get(m->port, "/late", ""), "Cache-Status"), "; detail=redis");
    millpond_wait_figure(m, "objects", 0);
    age("/late", 700);
    expect_said(explained(m, "/late", ANY), "miss", "asked", "stale", "unseen");
    expect_body(client_get(m->port, "/late", ""), "/late#2");
    millpond_stop(m);
}

/* ---- who looks there, and what is put there ---- */

static void each_reason_not_to_look_has_its_name(void **state)
{
    UNUSED(state);
    const char *lines = PATIENT "[route ours]\npath = /ours\nttl = 10m\n[route off]\npath = /off\n"
                                "cache = off\n[route all]\nignore_client_cache_control = no\n";
    struct millpond *a = node("a", lines), *b = node("b", lines);
    fetch(a, "/ours", "");
    fetch(a, "/p", "");
    expect_said(explained(b, "/ours", "Cookie: session=1"), "miss", "credentials", "found");
    expect_body(client_get(b->port, "/ours", "Cookie: session=1\r\n"), "/ours#2");
    expect_said(explained(b, "/ours", ANY), "redis", "asked", "found");
    expect_said(explained(b, "/p", "Cache-Control: no-cache"), "miss", "client", "found");
    expect_body(client_get(b->port, "/p", "Cache-Control: no-cache\r\n"), "/p#2");
    expect_said(explained(b, "/off", ANY), "pass", "cache_off", "", "");
    expect_status(client_get(b->port, "/private", ""), 200);
    expect_said(explained(b, "/private", ANY), "miss", "remembered_private", "absent", "private");
    expect_status(client_get(a->port, "/swr", ""), 200);
    expect_said(explained(a, "/swr", ANY), "stale", "background", "absent", "not_fresh");
    expect_said(explained(a, "/swr", "Cache-Control: max-stale"), "stale", "memory", "absent");
    expect_said(explained_as(b, "HEAD", "/vary", ANY), "miss", "method", "absent", "method");
    millpond_stop(a);
    millpond_stop(b);
}

static void what_is_put_there_is_said(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT "max_object_size = 4\n");
    expect_status(client_get(a->port, "/p", ""), 200);
    expect_status(client_get(a->port, "/vary", ""), 200);
    expect_status(client_get(a->port, "/each", ""), 200);
    expect_said(explained(a, "/p", ANY), "hit", "memory", NULL, "kept");
    json_t *e = explained(a, "/vary", ANY);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(e, "redis"), "max_object_size")), 4);
    expect_said(e, "hit", "memory", NULL, "too_large");
    expect_in(millpond_cli(a, "explain", url_of("/vary"), NULL).out,
              "          not kept; too_large: larger than max_object_size of [redis]\n");
    expect_said(explained(a, "/each", ANY), "expired", NULL, "absent", "not_fresh");
    for (unsigned i = 0; i < 3; i++)
        expect_status(client_get(a->port, "/nvs?a=1", ""), 200);
    expect_said(explained(a, "/nvs?a=1", ANY), "hit", "no_vary_search", "", "no_vary_search");
    redis_until(redis, "1", "EXISTS %s", record_name("/p"));
    assert_string_equal(redis_do(redis, "EXISTS %s", record_name("/vary")), "0");
    millpond_stop(a);
}

static void without_a_shared_store_nothing_is_asked(void **state)
{
    UNUSED(state);
    struct millpond *m = start("memory", "memory", "");
    expect_said(explained(m, "/p", ANY), "miss", "store", "", "");
    expect_in(millpond_cli(m, "explain", url_of("/p"), NULL).out, "\nredis     not asked; store: ");
    millpond_stop(m);
    m = millpond_start(.rest = pool_lines("app", 1, origin));
    expect_said(explained(m, "/p", ANY), "miss", "no_redis", "", "");
    expect_not_in(millpond_cli(m, "explain", url_of("/p"), NULL).out, "edis");
    millpond_stop(m);
}

/* ---- trouble ---- */

static void who_does_not_follow_believes_nothing(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT);
    redis_kill(redis);
    until(!json_is_true(json_object_get(json_object_get(millpond_status(a), "purges"), "follows")));
    json_t *e = explained(a, "/p", ANY);
    assert_string_not_equal(text_in(json_object_get(e, "redis"), "trouble"), "");
    expect_said(e, "miss", "unfollowed", "unfollowed", "unfollowed");
    expect_in(millpond_cli(a, "explain", url_of("/p"), NULL).out, "\nredis     not asked; unfollowed: ");
    millpond_stop(a);
}

/* What is frozen for long is noticed elsewhere, and then not even asked; so it may take a few tries. */
static void a_silent_redis_is_said_to_be_silent(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", "timeout = 50ms\n");
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        redis_freeze(redis);
        json_t *e = explained(a, "/p", ANY);
        redis_thaw(redis);
        if (strcmp(text_in(json_object_get(e, "redis"), "outcome"), "timeout") == 0) {
            expect_in(text_in(json_object_get(e, "redis"), "outcome_text"), "did not answer in time");
            expect_said(e, "miss", "asked", "timeout");
            break;
        }
        EXPECT(clock_mono_ms() < until_ms, "%s", json_dumps(e, 0));
        json_decref(e);
        until(is_ready(a));
    }
    millpond_stop(a);
}

static int64_t calls_of(struct millpond *m)
{
    const json_t *servers = json_object_get(json_object_get(millpond_status(m), "redis"), "servers");
    return json_integer_value(json_object_get(json_array_get(servers, 0), "calls"));
}

/* Connections of the admin address that wait for their answer, while Redis says nothing. */
static void begin_questions(struct millpond *m, struct client **clients, unsigned count)
{
    const int64_t calls = calls_of(m);
    redis_freeze(redis);
    for (unsigned i = 0; i < count; i++) {
        clients[i] = client_open(m->admin_port);
        client_send(clients[i],
                    "GET /api/explain?url=http%%3A%%2F%%2Ftest%%2Fp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                    "Authorization: Bearer " MILLPOND_TOKEN "\r\n\r\n",
                    m->admin_port);
    }
    until(calls_of(m) >= calls + 2 * (int64_t)count);
}

#define QUESTIONS 32 /* as many as are asked at a time */

static struct client *clients[QUESTIONS];

static void questions_are_bounded_and_answered_when_redis_is(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT);
    fetch(a, "/p", "");
    begin_questions(a, clients, QUESTIONS);
    expect_said(explained(a, "/p", ANY), "hit", "memory", "busy"); /* and everything else is answered, too */
    redis_thaw(redis);
    for (unsigned i = 0; i < QUESTIONS; i++)
        expect_in(client_read(clients[i])->body, "\"outcome\":\"found\"");
    expect_said(explained(a, "/p", ANY), "hit", "memory", "found");
    millpond_stop(a);
}

static void who_asks_may_leave(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT);
    fetch(a, "/p", "");
    begin_questions(a, clients, QUESTIONS);
    for (unsigned i = 0; i < QUESTIONS; i++)
        client_reset(clients[i]);
    redis_thaw(redis);
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    for (;;) {
        json_t *e = explained(a, "/p", ANY);
        const bool busy = strcmp(text_in(json_object_get(e, "redis"), "outcome"), "busy") == 0;
        if (!busy) {
            expect_said(e, "hit", "memory", "found");
            break;
        }
        json_decref(e);
        EXPECT(clock_mono_ms() < until_ms, "questions of nobody are never over");
    }
    millpond_stop(a);
}

static void a_stop_waits_for_no_explanation(void **state)
{
    UNUSED(state);
    struct millpond *a = node("a", PATIENT);
    begin_questions(a, clients, 3);
    millpond_stop(a);
    redis_thaw(redis);
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(what_is_said_then_happens),
        TEST_OF(variants_are_told_apart),
        TEST_OF(a_purged_record_is_said_to_be_purged),
        TEST_OF(what_is_stale_is_used_as_is_said),
        TEST_OF(where_memory_keeps_nothing_redis_is_looked_into),
        TEST_OF(each_reason_not_to_look_has_its_name),
        TEST_OF(what_is_put_there_is_said),
        TEST_OF(without_a_shared_store_nothing_is_asked),
        TEST_OF(who_does_not_follow_believes_nothing),
        TEST_OF(a_silent_redis_is_said_to_be_silent),
        TEST_OF(questions_are_bounded_and_answered_when_redis_is),
        TEST_OF(who_asks_may_leave),
        TEST_OF(a_stop_waits_for_no_explanation),
    };
    return E2E_RUN("explain_redis", tests);
}
