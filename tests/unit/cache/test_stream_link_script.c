/* test_stream_link_script.c: the scripts of stream_script.h, run by a real Redis. */
#include <hiredis/hiredis.h>

#include "core/redis_reply.h"
#include "tests/unit/cache/stream_link_fixture.h"

static struct cache_stream_keys keys;

static redisReply *run(const struct cache_stream_command *c)
{
    const char *words[CACHE_STREAM_ARGV_MAX];
    size_t bytes[CACHE_STREAM_ARGV_MAX];
    for (size_t i = 0; i < c->argc; i++) {
        words[i] = c->argv[i].ptr;
        bytes[i] = c->argv[i].len;
    }
    redisReply *r = redisCommandArgv(lf_redis->link, (int)c->argc, words, bytes);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        FAIL("%s", r->str);
    return r;
}

static bool was_done(const struct cache_stream_command *c)
{
    redisReply *r = run(c);
    bool done = cache_stream_script_was_done(r);
    freeReplyObject(r);
    return done;
}

/* A packed event; valid until the test ends. */
static slice_t packed_tag(unsigned number, const char *tag)
{
    static struct cache_stream_entry e;
    static struct cache_stream_fields f;
    e = (struct cache_stream_entry){.by = {7, number}, .count = 1};
    e.items[0] = (struct cache_purge){.kind = CACHE_PURGE_TAG, .text = slice_str(tag)};
    cache_stream_entry_encode(&e, &f);
    const size_t bytes = cache_stream_fields_bytes(&f);
    char *packed = text_repeat('x', bytes);
    cache_stream_fields_pack(&f, packed);
    return slice_make(packed, bytes);
}

static bool start(const char *seen, const char *epoch)
{
    struct cache_stream_command c;
    cache_stream_script_start(&c, &keys, 1000, slice_str(seen), slice_str(epoch), packed_tag(0, "start"));
    return was_done(&c);
}

static bool append(const slice_t *packed, size_t count)
{
    struct cache_stream_command c;
    cache_stream_script_append(&c, &keys, 1000, packed, count);
    return was_done(&c);
}

static void open_redis(void)
{
    lf_redis = redis_start("redis", NULL);
    assert_true(cache_stream_keys_open(&keys, SLICE_LIT("p:")));
}

static void test_start_is_for_who_has_seen_the_last(void **state)
{
    UNUSED(state);
    open_redis();
    assert_true(start("", "aaaaaaaaaaaaaaaa"));
    assert_false(start("", "bbbbbbbbbbbbbbbb"));
    assert_string_equal(redis_do(lf_redis, "GET p:{stream}:epoch"), "aaaaaaaaaaaaaaaa");
    assert_string_equal(redis_do(lf_redis, "XLEN p:{stream}"), "1");
    assert_true(start("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"));
    assert_string_equal(redis_do(lf_redis, "XLEN p:{stream}"), "2");
    redis_do(lf_redis, "SET p:{stream}:epoch what-is-longer-than-any");
    assert_true(start("", "cccccccccccccccc"));
}

static void test_append_makes_no_stream(void **state)
{
    UNUSED(state);
    open_redis();
    const slice_t both[] = {packed_tag(1, "a"), packed_tag(2, "b")};
    assert_false(append(both, 2));
    assert_string_equal(redis_do(lf_redis, "EXISTS p:{stream}"), "0");
    assert_true(start("", "aaaaaaaaaaaaaaaa"));
    assert_true(append(both, 2));
    char *all = redis_do(lf_redis, "XRANGE p:{stream} - +");
    expect_in(all, "v 1 by 0000000000000007-1 tag a");
    expect_in(all, "v 1 by 0000000000000007-2 tag b");
}

static void read_page(const char *from, struct cache_stream_page *p, redisReply **r)
{
    struct cache_stream_command c;
    cache_stream_script_read(&c, &keys, slice_str(from));
    *r = run(&c);
    assert_true(cache_stream_page_open(p, *r));
}

static void close_page(struct cache_stream_page *p, redisReply *r)
{
    cache_stream_page_close(p);
    freeReplyObject(r);
}

static void test_pages_end_in_time(void **state)
{
    UNUSED(state);
    struct cache_stream_page p;
    redisReply *r;
    open_redis();
    read_page("-", &p, &r);
    assert_true(p.whole && p.count == 0 && p.epoch.len == 0);
    close_page(&p, r);
    assert_true(start("", "aaaaaaaaaaaaaaaa"));
    char *tag = text_repeat('t', 300000);
    for (unsigned i = 0; i < 6; i++)
        redis_do(lf_redis, "XADD p:{stream} 9999999999999-%u tag %s", i, tag);
    redis_do(lf_redis, "XADD p:{stream} 9999999999999-6 tag %s", text_repeat('t', 2 * MB));
    read_page("-", &p, &r);
    assert_true(!p.whole && p.count == 4 && slice_eq(p.epoch, SLICE_LIT("aaaaaaaaaaaaaaaa")));
    close_page(&p, r);
    read_page("9999999999999-5", &p, &r); /* what is too large is shown as nothing */
    assert_true(p.whole && p.count == 2 && p.entries[0].count == 2 && p.entries[1].count == 0);
    close_page(&p, r);
    for (unsigned i = 0; i < CACHE_STREAM_READ_MAX - 2; i++)
        redis_do(lf_redis, "XADD p:{stream} * a b");
    read_page("9999999999999-6", &p, &r);
    assert_true(p.whole && p.count == CACHE_STREAM_READ_MAX - 1);
    close_page(&p, r);
    redis_do(lf_redis, "XADD p:{stream} * a b");
    read_page("9999999999999-6", &p, &r); /* there may be more */
    assert_true(!p.whole && p.count == CACHE_STREAM_READ_MAX);
    close_page(&p, r);
}

static int setup(void **state)
{
    cache_stream_keys_close(&keys);
    return lf_setup(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_start_is_for_who_has_seen_the_last),
        TEST(test_append_makes_no_stream),
        TEST(test_pages_end_in_time),
    };
    int failed =
        cmocka_run_group_tests_name("cache/stream_link_script", tests, lf_group_setup, lf_group_teardown);
    cache_stream_keys_close(&keys);
    return failed;
}
