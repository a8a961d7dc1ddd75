/* test_stream_script.c: commands as they are given to Redis, and answers as they come or should not. What the
 * scripts do is tested with a real server, in test_stream_link. */
#include "cache/stream_script.h"

#include <hiredis/hiredis.h>

#include "core/redis_reply.h"
#include "tests/unit/cache/fixture.h"

static redisReply *reply_of(const char *wire)
{
    redisReader *r = redis_reader_create();
    void *reply = NULL;
    assert_non_null(r);
    assert_int_equal(redisReaderFeed(r, wire, strlen(wire)), 0);
    assert_int_equal(redisReaderGetReply(r, &reply), 0);
    assert_non_null(reply);
    redisReaderFree(r);
    return reply;
}

static void test_commands(void **state)
{
    UNUSED(state);
    struct cache_stream_keys k;
    struct cache_stream_command c;
    slice_t packed[CACHE_STREAM_BATCH];
    assert_true(cache_stream_keys_open(&k, SLICE_LIT("my:")));
    assert_string_equal(k.stream, "my:{stream}");
    assert_string_equal(k.epoch, "my:{stream}:epoch");
    cache_stream_script_read(&c, &k, SLICE_LIT("1-2"));
    assert_int_equal(c.argc, 8);
    assert_true(slice_eq(c.argv[2], SLICE_LIT("2")));
    assert_true(slice_eq(c.argv[3], SLICE_LIT("my:{stream}")));
    assert_true(slice_eq(c.argv[5], SLICE_LIT("1-2")));
    assert_true(slice_eq(c.argv[6], SLICE_LIT("256")));
    for (size_t i = 0; i < CACHE_STREAM_BATCH; i++)
        packed[i] = SLICE_LIT("x");
    cache_stream_script_append(&c, &k, 10000, packed, CACHE_STREAM_BATCH);
    assert_int_equal(c.argc, 6 + CACHE_STREAM_BATCH);
    assert_true(slice_eq(c.argv[4], SLICE_LIT("10000")));
    cache_stream_keys_close(&k);
}

#define ENTRY "*2\r\n$3\r\n1-2\r\n*4\r\n$1\r\nv\r\n$1\r\n1\r\n$0\r\n\r\n$1\r\nx\r\n"

static void test_pages(void **state)
{
    UNUSED(state);
    struct cache_stream_page p;
    redisReply *r = reply_of("*3\r\n$4\r\nabcd\r\n:1\r\n*2\r\n" ENTRY "*2\r\n$3\r\n3-0\r\n*0\r\n");
    assert_true(cache_stream_page_open(&p, r));
    assert_true(p.whole && p.count == 2 && slice_eq(p.epoch, SLICE_LIT("abcd")));
    assert_int_equal(p.entries[0].count, 4);
    assert_true(p.entries[0].id.ms == 1 && p.entries[0].id.seq == 2);
    assert_true(slice_eq(p.entries[0].texts[3], SLICE_LIT("x")));
    assert_int_equal(p.entries[0].texts[2].len, 0);
    assert_int_equal(p.entries[1].count, 0);
    cache_stream_page_close(&p);
    freeReplyObject(r);
    r = reply_of("*3\r\n$0\r\n\r\n:0\r\n*0\r\n");
    assert_true(cache_stream_page_open(&p, r));
    assert_true(!p.whole && p.count == 0 && p.epoch.len == 0);
    cache_stream_page_close(&p);
    freeReplyObject(r);
}

static void test_answers_that_are_none(void **state)
{
    UNUSED(state);
    static const char *const wires[] = {
        "$-1\r\n",
        "*0\r\n",
        "*2\r\n$0\r\n\r\n:1\r\n",
        "*3\r\n$0\r\n\r\n:1\r\n$-1\r\n",
        "*3\r\n$0\r\n\r\n$1\r\n1\r\n*0\r\n",
        "*3\r\n$0\r\n\r\n:1\r\n*1\r\n:1\r\n",
        "*3\r\n$0\r\n\r\n:1\r\n*1\r\n*2\r\n$1\r\nx\r\n*0\r\n",
        "*3\r\n$0\r\n\r\n:1\r\n*1\r\n*2\r\n$3\r\n1-2\r\n$-1\r\n",
    };
    struct cache_stream_page p;
    for (size_t i = 0; i < ARRAY_LEN(wires); i++) {
        redisReply *r = reply_of(wires[i]);
        assert_false(cache_stream_page_open(&p, r));
        assert_false(cache_stream_script_was_done(r));
        cache_stream_page_close(&p);
        freeReplyObject(r);
    }
    redisReply *r = reply_of(":1\r\n");
    assert_true(cache_stream_script_was_done(r));
    freeReplyObject(r);
}

#define NODE(name, epoch, id, age, lag)                                                                      \
    "*5\r\n$1\r\n" name "\r\n$1\r\n" epoch "\r\n$3\r\n" id "\r\n:" age "\r\n:" lag "\r\n"

static void test_nodes(void **state)
{
    UNUSED(state);
    static struct cache_stream_node nodes[CACHE_STREAM_NODES_MAX];
    bool first = false;
    redisReply *r =
        reply_of("*2\r\n:1\r\n*6\r\n" NODE("a", "f", "5-1", "20", "3") NODE("b", "x", "5-1", "20", "3")
                     NODE("c", "1", "5.1", "20", "3")
                         NODE("d", "1", "5-1", "-20", "3") "*0\r\n" NODE("e", "0", "0-0", "0", "0"));
    assert_int_equal(cache_stream_nodes_parse(r, &first, nodes), 2);
    assert_true(first);
    assert_string_equal(nodes[0].name, "a");
    assert_true(nodes[0].epoch == 15 && nodes[0].applied.ms == 5 && nodes[0].applied.seq == 1);
    assert_true(nodes[0].age_ms == 20 && nodes[0].lag == 3);
    assert_string_equal(nodes[1].name, "e");
    freeReplyObject(r);
    char buf[CACHE_STREAM_REPORT];
    assert_true(slice_eq(cache_stream_report_print(buf, 15, (struct cache_stream_id){5, 1}),
                         SLICE_LIT("000000000000000f 5-1")));
}

/* As redis.sha1hex of "tag\0a\0soft_all\0". */
static void test_digest(void **state)
{
    UNUSED(state);
    static struct cache_stream_entry e;
    static struct cache_stream_fields f;
    char first[CACHE_STREAM_DIGEST], second[CACHE_STREAM_DIGEST];
    e = (struct cache_stream_entry){.by = {1, 2}, .count = 2};
    e.items[0] = (struct cache_purge){CACHE_PURGE_TAG, false, SLICE_LIT("a")};
    e.items[1] = (struct cache_purge){CACHE_PURGE_ALL, true, SLICE_EMPTY};
    cache_stream_entry_encode(&e, &f);
    assert_true(cache_stream_digest(&f, first));
    assert_memory_equal(first, "7e1e9445d6cdb27b87d283f91437b3dd9f26ecfe", CACHE_STREAM_DIGEST);
    e.by.number = 3; /* whoever made it */
    cache_stream_entry_encode(&e, &f);
    assert_true(cache_stream_digest(&f, second));
    assert_memory_equal(first, second, sizeof first);
    e.items[1].soft = false;
    cache_stream_entry_encode(&e, &f);
    assert_true(cache_stream_digest(&f, second));
    assert_memory_not_equal(first, second, sizeof first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_answers_that_are_none),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests_name("cache/stream_script", tests, fix_group_setup, fix_group_teardown);
}
