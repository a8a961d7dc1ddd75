/* test_redis_script.c: a script runs, by its SHA-1 where it is known and whole where it is not. */
#include "core/redis_script.h"

#include "tests/unit/core/redis_fixture.h"

static const struct redis_login login;
static slice_t server;
static struct redis *redis;
static struct redis_script script;

static int setup(void **state)
{
    redis_script_init(&script, SLICE_LIT("return {#KEYS, KEYS[2], ARGV[1]}"));
    worker_setup();
    return support_setup(state);
}

static int teardown(void **state)
{
    redis_close(&redis);
    worker_teardown();
    return support_teardown(state);
}

struct answered {
    struct redis_call call;
    int ended;
    bool unknown;
    char text[64];
};

static void answered_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct answered *a = CONTAINER_OF(call, struct answered, call);
    slice_t key = redis_reply_text(redis_reply_at(reply, 1)),
            word = redis_reply_text(redis_reply_at(reply, 2));
    int64_t keys = 0;
    redis_reply_integer(redis_reply_at(reply, 0), &keys);
    a->ended++;
    a->unknown = redis_script_is_unknown(o, reply);
    snprintf(a->text, sizeof a->text, "%d " SLICE_FMT " " SLICE_FMT, (int)keys, SLICE_ARG(key),
             SLICE_ARG(word));
}

static const struct answered *run(enum redis_script_form form)
{
    static struct answered a;
    const slice_t words[] = {SLICE_LIT("{k}1"), SLICE_LIT("{k}2"), SLICE_LIT("word")};
    a = (struct answered){.call.on_reply = answered_on_reply};
    assert_true(redis_script_call(redis, &a.call, &script, form, 2, words, ARRAY_LEN(words)));
    UNTIL(a.ended);
    return &a;
}

static void unknown_script_is_sent_whole(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    server = slice_str(p->address);
    const struct redis_settings s = {
        .mode = REDIS_STANDALONE,
        .servers = &server,
        .server_count = 1,
        .login = &login,
        .limits = {.connections = 1, .calls_max = 3, .timeout_ms = 60000, .connect_timeout_ms = 60000}};
    redis = redis_open(w, &s);
    UNTIL(redis_is_up(redis, SLICE_LIT("k")));
    assert_true(run(REDIS_BY_SHA1)->unknown);
    const struct answered *a = run(REDIS_WHOLE);
    assert_false(a->unknown);
    assert_string_equal(a->text, "2 {k}2 word");
    a = run(REDIS_BY_SHA1);
    assert_false(a->unknown);
    assert_string_equal(a->text, "2 {k}2 word");
    redis_do(p, "SCRIPT FLUSH");
    assert_true(run(REDIS_BY_SHA1)->unknown);
}

static void sha1_is_what_redis_says(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    assert_string_equal(redis_do(p, "SCRIPT LOAD %b", script.text.ptr, script.text.len),
                        textf("%.*s", REDIS_SHA1_TEXT, script.sha1));
}

static void other_errors_do_not_mean_that_it_is_unknown(void **state)
{
    UNUSED(state);
    redisReply no = {.type = REDIS_REPLY_ERROR, .str = (char[]){"NOSCRIPT No matching script."}, .len = 28};
    redisReply other = {.type = REDIS_REPLY_ERROR, .str = (char[]){"ERR NOSCRIPT"}, .len = 12};
    assert_true(redis_script_is_unknown(REDIS_REFUSED, &no));
    assert_false(redis_script_is_unknown(REDIS_ANSWERED, &no));
    assert_false(redis_script_is_unknown(REDIS_REFUSED, &other));
    assert_false(redis_script_is_unknown(REDIS_TIMEOUT, NULL));
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(unknown_script_is_sent_whole),
        TEST_OF(sha1_is_what_redis_says),
        TEST_OF(other_errors_do_not_mean_that_it_is_unknown),
    };
    return E2E_RUN("redis_script", tests);
}
