/* test_redis_slots.c: slots of keys, and maps as servers give them, and others. */
#include "core/redis_slots.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redis_slots slots;

static bool parse(const char *wire)
{
    static redisReply *kept; /* the hosts point into it */
    redisReader *r = redis_reader_create();
    void *reply = NULL;
    assert_int_equal(redisReaderFeed(r, wire, strlen(wire)), 0);
    assert_int_equal(redisReaderGetReply(r, &reply), 0);
    assert_non_null(reply);
    redisReaderFree(r);
    if (kept != NULL)
        freeReplyObject(kept);
    kept = reply;
    return redis_slots_parse(reply, &slots);
}

static int forget(void **state)
{
    UNUSED(state);
    parse("*0\r\n");
    return 0;
}

static void slots_of_keys(void **state)
{
    UNUSED(state);
    static const struct {
        const char *key;
        unsigned slot;
    } t[] = {
        {"123456789", 0x31c3}, /* the check value of CRC16/XMODEM */
        {"foo", 12182},
        {"", 0},
        {"{user1000}.following", 3443},
        {"{user1000}.followers", 3443},
        {"user1000", 3443},
        {"foo{}{bar}", 8363}, /* the first braces hold nothing: all of it counts */
        {"foo{{bar}}zap", 4015},
        {"{bar", 4015},
        {"foo{bar}{zap}", 5061},
        {"bar", 5061},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_int_equal(redis_key_slot(slice_str(t[i].key)), t[i].slot);
}

#define RANGE(first, last, host, port)                                                                       \
    "*3\r\n:" first "\r\n:" last "\r\n*3\r\n" host "\r\n:" port "\r\n$2\r\nid\r\n"

static void map_of_a_cluster(void **state)
{
    UNUSED(state);
    assert_true(
        parse("*3\r\n" RANGE("0", "5460", "$1\r\na",
                             "1") "*4\r\n:5461\r\n:10922\r\n*4\r\n$1\r\nb\r\n:2\r\n$2\r\nid\r\n*0\r\n*3\r\n$"
                                  "1\r\nr\r\n:9\r\n$2\r\nid\r\n" RANGE("10923", "16383", "$1\r\na", "1")));
    assert_int_equal(slots.server_count, 2);
    assert_int_equal(slots.covered, REDIS_SLOTS);
    assert_int_equal(slots.owner[0], 0);
    assert_int_equal(slots.owner[5460], 0);
    assert_int_equal(slots.owner[5461], 1);
    assert_int_equal(slots.owner[10922], 1);
    assert_int_equal(slots.owner[16383], 0);
    assert_true(slice_eq(slots.servers[1].host, SLICE_LIT("b")));
    assert_int_equal(slots.servers[1].port, 2);
}

static void gaps_and_unknown_masters(void **state)
{
    UNUSED(state);
    assert_true(parse("*3\r\n" RANGE("5", "5", "$-1", "1") RANGE("6", "6", "$1\r\n?", "2")
                          RANGE("7", "8", "$0\r\n", "0")));
    assert_int_equal(slots.covered, 1);
    assert_int_equal(slots.server_count, 1);
    assert_int_equal(slots.owner[4], REDIS_NO_SERVER);
    assert_int_equal(slots.owner[5], 0);
    assert_int_equal(slots.owner[6], REDIS_NO_SERVER);
    assert_int_equal(slots.servers[0].host.len, 0); /* the one that says so itself */
    assert_true(parse("*0\r\n"));
    assert_int_equal(slots.covered, 0);
}

static void other_answers(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {
        "+OK\r\n",
        "*1\r\n+OK\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*0\r\n",
        "*1\r\n" RANGE("1", "0", "$1\r\na", "1"),
        "*1\r\n" RANGE("-1", "0", "$1\r\na", "1"),
        "*1\r\n" RANGE("0", "16384", "$1\r\na", "1"),
        "*1\r\n" RANGE("0", "1", "$1\r\na", "65536"),
        "*1\r\n" RANGE("0", "1", "$1\r\na", "-1"),
        "*2\r\n" RANGE("0", "1", "$1\r\na", "1") RANGE("1", "2", "$1\r\nb", "1"),
        "*1\r\n*3\r\n$1\r\n0\r\n$1\r\n1\r\n*2\r\n$1\r\na\r\n:1\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(parse(bad[i]));
    assert_false(redis_slots_parse(NULL, &slots));
}

static void too_many_masters(void **state)
{
    UNUSED(state);
    static char wire[(REDIS_SERVERS_MAX + 1) * 64];
    for (int count = REDIS_SERVERS_MAX; count <= REDIS_SERVERS_MAX + 1; count++) {
        int n = snprintf(wire, sizeof wire, "*%d\r\n", count);
        for (int i = 0; i < count; i++)
            n += snprintf(wire + n, sizeof wire - (size_t)n, "*3\r\n:%d\r\n:%d\r\n*2\r\n$1\r\na\r\n:%d\r\n",
                          i, i, i + 1);
        assert_int_equal(parse(wire), count <= REDIS_SERVERS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_of_keys),
        cmocka_unit_test(map_of_a_cluster),
        cmocka_unit_test(gaps_and_unknown_masters),
        cmocka_unit_test(other_answers),
        cmocka_unit_test(too_many_masters),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
