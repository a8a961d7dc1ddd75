/* test_redis_reply.c: answers as servers give them, and others. */
#include "core/redis_reply.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static void huge_arrays_are_refused(void **state)
{
    UNUSED(state);
    static const char *const wires[] = {"*65537\r\n", "*2147483647\r\n", "*1\r\n*65537\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(wires); i++) {
        redisReader *r = redis_reader_create();
        void *reply = NULL;
        redisReaderFeed(r, wires[i], strlen(wires[i]));
        assert_int_not_equal(redisReaderGetReply(r, &reply), 0);
        redisReaderFree(r);
    }
    redisReader *r = redis_reader_create();
    void *reply = NULL;
    redisReaderFeed(r, "*65536\r\n", 8);
    assert_int_equal(redisReaderGetReply(r, &reply), 0); /* goes on */
    redisReaderFree(r);
}

static void parts_of_a_reply(void **state)
{
    UNUSED(state);
    redisReply *r = reply_of("*4\r\n+status\r\n$2\r\nab\r\n:7\r\n$-1\r\n");
    assert_int_equal(redis_reply_count(r), 4);
    assert_true(slice_eq(redis_reply_text(redis_reply_at(r, 0)), SLICE_LIT("status")));
    assert_true(slice_eq(redis_reply_text(redis_reply_at(r, 1)), SLICE_LIT("ab")));
    for (size_t i = 2; i < 6; i++)
        assert_int_equal(redis_reply_text(redis_reply_at(r, i)).len, 0);
    assert_non_null(redis_reply_at(r, 3));
    assert_null(redis_reply_at(r, 4));
    assert_int_equal(redis_reply_count(redis_reply_at(r, 0)), 0);
    assert_null(redis_reply_at(NULL, 0));
    assert_non_null(redis_reply_text(NULL).ptr);
    freeReplyObject(r);
}

static void servers_as_text(void **state)
{
    UNUSED(state);
    static const struct {
        const char *host;
        unsigned port;
        const char *self, *text;
    } t[] = {
        {"10.0.0.1", 6379, "", "10.0.0.1:6379"},
        {"redis.example.com", 1, "x", "redis.example.com:1"},
        {"2001:db8::1", 65535, "", "[2001:db8::1]:65535"},
        {"", 7000, "10.0.0.2", "10.0.0.2:7000"},
        {"", 7000, "::1", "[::1]:7000"},
        {"", 7000, "", ""},
    };
    char out[REDIS_SERVER_TEXT];
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        const struct redis_server s = {slice_str(t[i].host), (uint16_t)t[i].port};
        assert_int_equal(redis_server_format(&s, slice_str(t[i].self), out), t[i].text[0] != '\0');
        assert_string_equal(out, t[i].text);
    }
    char longest[REDIS_SERVER_TEXT];
    memset(longest, 'x', sizeof longest);
    const struct redis_server fits = {slice_make(longest, sizeof longest - 3), 1};
    assert_true(redis_server_format(&fits, SLICE_EMPTY, out));
    const struct redis_server too_long = {slice_make(longest, sizeof longest - 2), 1};
    assert_false(redis_server_format(&too_long, SLICE_EMPTY, out));
    assert_string_equal(out, "");
    const struct redis_server cut = {slice_make("a\0b", 3), 1};
    assert_false(redis_server_format(&cut, SLICE_EMPTY, out));
}

static void host_of_a_server(void **state)
{
    UNUSED(state);
    static const char *const t[][2] = {{"10.0.0.1:6379", "10.0.0.1"},
                                       {"[2001:db8::1]:6379", "2001:db8::1"},
                                       {"redis.test:1", "redis.test"},
                                       {"unix:/run/redis:1", "unix:/run/redis:1"}};
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        assert_true(slice_eq(redis_server_host(slice_str(t[i][0])), slice_str(t[i][1])));
}

static void redirections(void **state)
{
    UNUSED(state);
    static const struct {
        const char *error;
        bool ok;
        enum redis_redirect_kind kind;
        unsigned slot;
        const char *host;
        unsigned port;
    } t[] = {
        {"MOVED 3999 127.0.0.1:6381", true, REDIS_MOVED, 3999, "127.0.0.1", 6381},
        {"ASK 0 redis.test:1", true, REDIS_ASK, 0, "redis.test", 1},
        {"MOVED 16383 2001:db8::1:6381", true, REDIS_MOVED, 16383, "2001:db8::1", 6381},
        {"MOVED 1 :6381", true, REDIS_MOVED, 1, "", 6381},
        {"MOVED 1 ?:6381", false, 0, 0, "", 0},
        {"MOVED 16384 127.0.0.1:6381", false, 0, 0, "", 0},
        {"MOVED 1 127.0.0.1:0", false, 0, 0, "", 0},
        {"MOVED 1 127.0.0.1:65536", false, 0, 0, "", 0},
        {"MOVED 1 127.0.0.1", false, 0, 0, "", 0},
        {"MOVED 1", false, 0, 0, "", 0},
        {"MOVED", false, 0, 0, "", 0},
        {"MOVED -1 127.0.0.1:1", false, 0, 0, "", 0},
        {"MOVED 1 127.0.0.1:1 more", false, 0, 0, "", 0},
        {"MOVEDX 1 127.0.0.1:1", false, 0, 0, "", 0},
        {"", false, 0, 0, "", 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct redis_redirect r;
        assert_int_equal(redis_redirect_parse(slice_str(t[i].error), &r), t[i].ok);
        if (!t[i].ok)
            continue;
        assert_int_equal(r.kind, t[i].kind);
        assert_int_equal(r.slot, t[i].slot);
        assert_int_equal(r.server.port, t[i].port);
        assert_true(slice_eq(r.server.host, slice_str(t[i].host)));
    }
}

static void roles(void **state)
{
    UNUSED(state);
    static const struct {
        const char *wire;
        bool master;
    } t[] = {
        {"*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n", true},
        {"*1\r\n$5\r\nslave\r\n", false},
        {"*1\r\n$8\r\nsentinel\r\n", false},
        {"*0\r\n", false},
        {"$6\r\nmaster\r\n", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        redisReply *r = reply_of(t[i].wire);
        assert_int_equal(redis_role_is_master(r), t[i].master);
        freeReplyObject(r);
    }
    assert_false(redis_role_is_master(NULL));
}

static void integers(void **state)
{
    UNUSED(state);
    static const char *const none[] = {"*0\r\n", "$1\r\n7\r\n", "+7\r\n", "$-1\r\n", "-7\r\n"};
    int64_t n = 1;
    redisReply *r = reply_of(":-7\r\n");
    assert_true(redis_reply_integer(r, &n));
    assert_int_equal(n, -7);
    freeReplyObject(r);
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        r = reply_of(none[i]);
        assert_false(redis_reply_integer(r, &n));
        freeReplyObject(r);
    }
    assert_false(redis_reply_integer(NULL, &n));
    assert_int_equal(n, -7);
}

static void addresses_of_masters(void **state)
{
    UNUSED(state);
    static const char *const bad[] = {"*-1\r\n",
                                      "*2\r\n$0\r\n\r\n$4\r\n6379\r\n",
                                      "*2\r\n$4\r\nhost\r\n$1\r\n0\r\n",
                                      "*2\r\n$4\r\nhost\r\n$5\r\n65536\r\n",
                                      "*2\r\n$4\r\nhost\r\n:6379\r\n",
                                      "*3\r\n$4\r\nhost\r\n$4\r\n6379\r\n$1\r\nx\r\n",
                                      "+OK\r\n"};
    struct redis_server s;
    redisReply *r = reply_of("*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n");
    assert_true(redis_master_addr_parse(r, &s));
    assert_true(slice_eq(s.host, SLICE_LIT("127.0.0.1")));
    assert_int_equal(s.port, 6379);
    freeReplyObject(r);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        r = reply_of(bad[i]);
        assert_false(redis_master_addr_parse(r, &s));
        freeReplyObject(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_arrays_are_refused),
        cmocka_unit_test(parts_of_a_reply),
        cmocka_unit_test(servers_as_text),
        cmocka_unit_test(host_of_a_server),
        cmocka_unit_test(redirections),
        cmocka_unit_test(roles),
        cmocka_unit_test(integers),
        cmocka_unit_test(addresses_of_masters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
