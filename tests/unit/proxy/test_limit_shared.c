/* test_limit_shared.c: a rate counted in a real Redis: by numbers, whatever lies under its name, and that
 * what several ask for adds up. Steps are an hour, so that no time that passes in a test counts; what passes
 * is written into Redis instead. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "proxy/limit_shared.h"
#include "tests/unit/core/redis_fixture.h"

#define HOUR    ((rate_ns_t)3600 * 1000000000)
#define HOUR_US (HOUR / 1000)

static const struct rate_limit five = {HOUR, 5 * HOUR};
static struct redis_process *p;
static struct redis *redis;
static struct redis_settings settings;
static struct redis_login login;
static slice_t server;

static struct asking {
    struct redis_call call;
    bool ended, understood;
    enum redis_outcome outcome;
    struct limit_shared_answer answer;
} asked[64];

static void on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct asking *a = CONTAINER_OF(call, struct asking, call);
    a->ended = true;
    a->outcome = o;
    a->understood = o == REDIS_ANSWERED && limit_shared_read(reply, &a->answer);
}

static struct redis *open_client(void)
{
    struct redis *r = redis_open(w, &settings);
    assert_non_null(r);
    UNTIL(redis_is_up(r, SLICE_LIT("x")));
    return r;
}

static int setup(void **state)
{
    int rc = support_setup(state);
    worker_setup();
    p = redis_start("r", NULL);
    server = slice_str(p->address);
    settings = (struct redis_settings){
        .mode = REDIS_STANDALONE,
        .servers = &server,
        .server_count = 1,
        .login = &login,
        .limits = {.connections = 2, .calls_max = 100, .timeout_ms = 30000, .connect_timeout_ms = 30000}};
    redis = open_client();
    return rc;
}

static int teardown(void **state)
{
    redis_close(&redis);
    worker_teardown();
    return support_teardown(state);
}

static struct asking *ask(const char *name, const struct rate_limit *l)
{
    struct asking *a = &asked[0];
    *a = (struct asking){.call = {.on_reply = on_reply}};
    assert_true(limit_shared_ask(redis, &a->call, slice_str(name), l));
    UNTIL(a->ended);
    return a;
}

static bool passes(const char *name, const struct rate_limit *l)
{
    const struct asking *a = ask(name, l);
    assert_int_equal(a->outcome, REDIS_ANSWERED);
    assert_true(a->understood);
    return a->answer.passed;
}

/* As if `us` had passed since the number was written. */
static void let_pass(const char *name, int64_t us)
{
    const double tat_us = strtod(redis_do(p, "GET %s", name), NULL);
    redis_do(p, "SET %s %s", name, textf("%.2f", tat_us - (double)us));
}

static void a_burst_passes_and_comes_back_at_the_rate(void **state)
{
    UNUSED(state);
    for (int i = 1; i <= 5; i++) {
        assert_true(passes("k", &five));
        assert_in_range(asked[0].answer.used_ns, (i - 1) * HOUR + 1, i * HOUR);
    }
    assert_false(passes("k", &five));
    assert_in_range(asked[0].answer.used_ns, 4 * HOUR + 1, 5 * HOUR);
    let_pass("k", HOUR_US / 2);
    assert_false(passes("k", &five));
    let_pass("k", HOUR_US / 2);
    assert_true(passes("k", &five));
    assert_false(passes("k", &five));
    assert_true(passes("other", &five));
    let_pass("k", 100 * HOUR_US); /* no more than the burst */
    for (int i = 1; i <= 5; i++)
        assert_true(passes("k", &five));
    assert_false(passes("k", &five));
}

static void nothing_stays(void **state)
{
    UNUSED(state);
    static const struct rate_limit quick = {1000000, 5000000};
    passes("k", &five);
    const char *left_ms = redis_do(p, "PTTL k");
    assert_in_range(strtoll(left_ms, NULL, 10), 1, HOUR_US / 1000);
    passes("quick", &quick);
    redis_until(p, "(nil)", "GET quick");
}

static void a_clock_that_was_set_back_locks_nobody_out_for_long(void **state)
{
    UNUSED(state);
    passes("k", &five);
    let_pass("k", -1000 * HOUR_US);
    assert_false(passes("k", &five));
    assert_true(asked[0].answer.used_ns == 5 * HOUR);
}

static void what_is_not_ours_decides_nothing(void **state)
{
    UNUSED(state);
    redis_do(p, "SET text hello");
    assert_true(passes("text", &five));
    redis_do(p, "LPUSH list a");
    assert_int_equal(ask("list", &five)->outcome, REDIS_REFUSED);
}

/* Many at once from two clients: five of them pass. */
static void what_several_ask_for_adds_up(void **state)
{
    UNUSED(state);
    struct redis *other = open_client();
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        asked[i] = (struct asking){.call = {.on_reply = on_reply}};
        assert_true(limit_shared_ask(i % 2 == 0 ? redis : other, &asked[i].call, SLICE_LIT("k"), &five));
    }
    unsigned passed = 0;
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        UNTIL(asked[i].ended);
        passed += asked[i].understood && asked[i].answer.passed;
    }
    assert_int_equal(passed, 5);
    redis_close(&other);
}

static void names_are_apart_by_each_part(void **state)
{
    UNUSED(state);
    const struct limit_shared_key keys[] = {
        {SLICE_LIT("r"), SLICE_LIT(""), SLICE_LIT("a"), five},
        {SLICE_LIT("s"), SLICE_LIT(""), SLICE_LIT("a"), five},
        {SLICE_LIT("r"), SLICE_LIT("X"), SLICE_LIT("a"), five},
        {SLICE_LIT("r"), SLICE_LIT(""), SLICE_LIT("b"), five},
        {SLICE_LIT("r"), SLICE_LIT(""), SLICE_LIT("a"), {HOUR, 6 * HOUR}},
        {SLICE_LIT("r"), SLICE_LIT("a"), SLICE_LIT(""), five},
        {SLICE_LIT("ra"), SLICE_LIT(""), SLICE_LIT(""), five},
    };
    char name[LIMIT_SHARED_NAME_BYTES], other[LIMIT_SHARED_NAME_BYTES];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        slice_t a = limit_shared_name(name, SLICE_LIT("millpond:"), &keys[i]);
        assert_int_equal(a.len, strlen("millpond:limit:") + 32);
        assert_true(slice_starts(a, SLICE_LIT("millpond:limit:")));
        for (size_t k = 0; k < ARRAY_LEN(keys); k++)
            assert_int_equal(slice_eq(a, limit_shared_name(other, SLICE_LIT("millpond:"), &keys[k])), i == k);
    }
}

static void answers_of_others_are_not_understood(void **state)
{
    UNUSED(state);
    static const char *const scripts[] = {"return 1",      "return {1}",      "return {1, 2, 3}",
                                          "return {2, 1}", "return {1, -1}",  "return {'1', 5}",
                                          "return {}",     "return {1, 2^62}"};
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct asking *a = &asked[0];
        *a = (struct asking){.call = {.on_reply = on_reply}};
        const slice_t argv[] = {SLICE_LIT("EVAL"), slice_str(scripts[i]), SLICE_LIT("0")};
        assert_true(redis_call(redis, &a->call, SLICE_EMPTY, argv, ARRAY_LEN(argv)));
        UNTIL(a->ended);
        assert_int_equal(a->outcome, REDIS_ANSWERED);
        EXPECT(!a->understood, "%s", scripts[i]);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_burst_passes_and_comes_back_at_the_rate),
        TEST(nothing_stays),
        TEST(a_clock_that_was_set_back_locks_nobody_out_for_long),
        TEST(what_is_not_ours_decides_nothing),
        TEST(what_several_ask_for_adds_up),
        TEST(names_are_apart_by_each_part),
        TEST(answers_of_others_are_not_understood),
    };
    return cmocka_run_group_tests_name("proxy/limit_shared", tests, NULL, NULL);
}
