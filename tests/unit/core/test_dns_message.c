/* test_dns_message.c: names, queries and replies as bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/dns_message.h"

static struct dns_name name;
static struct dns_addresses found;

#define NAME    "\3app\4test\0"
#define QUERY_A NAME "\0\1\0\1"
/* A message's header by id, flags, and numbers of questions and answers. */
#define HEAD(flags, questions, answers) "\x12\x34" flags "\0" questions "\0" answers "\0\0\0\0"
#define OWNER                           "\xc0\x0c"
#define A(ttl, address)                 OWNER "\0\1\0\1\0\0\0" ttl "\0\4" address

#define PARSE(literal)                                                                                       \
    dns_reply_parse((const uint8_t *)(literal), sizeof(literal) - 1, 0x1234, &name, DNS_TYPE_A, 80, &found)

static int setup(void **state)
{
    UNUSED(state);
    assert_true(dns_name_make(SLICE_LIT("App.Test"), SLICE_EMPTY, &name));
    return 0;
}

static void test_names(void **state)
{
    UNUSED(state);
    static const struct {
        const char *host, *suffix, *wire;
    } cases[] = {
        {"App.Test", "", "\3app\4test"},
        {"app.test.", "", "\3app\4test"},
        {"app", "test.", "\3app\4test"},
        {"app", "", "\3app"},
        {"", "", NULL},
        {".", "", NULL},
        {"a..b", "", NULL},
        {".a", "", NULL},
        {"a..", "", NULL},
        {"a", "b..c", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct dns_name n;
        const bool ok = dns_name_make(slice_str(cases[i].host), slice_str(cases[i].suffix), &n);
        assert_int_equal(ok, cases[i].wire != NULL);
        if (ok) {
            assert_int_equal(n.len, strlen(cases[i].wire) + 1);
            assert_memory_equal(n.bytes, cases[i].wire, n.len);
        }
    }
    char label[65], host[300];
    struct dns_name n;
    memset(label, 'x', 64);
    assert_true(dns_name_make(slice_make(label, 63), SLICE_EMPTY, &n));
    assert_false(dns_name_make(slice_make(label, 64), SLICE_EMPTY, &n));
    memset(host, 'x', sizeof host);
    for (size_t i = 49; i < sizeof host; i += 50)
        host[i] = '.';
    assert_true(dns_name_make(slice_make(host, 253), SLICE_EMPTY, &n));
    assert_int_equal(n.len, 255);
    assert_false(dns_name_make(slice_make(host, 254), SLICE_EMPTY, &n));
}

static void test_query(void **state)
{
    UNUSED(state);
    static const char plain[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0" QUERY_A;
    static const char edns[] = "\x12\x34\1\0\0\1\0\0\0\0\0\1" NAME "\0\x1c\0\1"
                               "\0\0\x29\4\xd0\0\0\0\0\0\0";
    uint8_t out[DNS_QUERY_BYTES];
    assert_int_equal(dns_query_write(out, 0x1234, &name, DNS_TYPE_A, false), sizeof plain - 1);
    assert_memory_equal(out, plain, sizeof plain - 1);
    assert_int_equal(dns_query_write(out, 0x1234, &name, DNS_TYPE_AAAA, true), sizeof edns - 1);
    assert_memory_equal(out, edns, sizeof edns - 1);
}

static void expect_found(size_t i, const char *want)
{
    char text[NET_ADDR_TEXT];
    assert_true(i < found.count);
    net_addr_format(&found.items[i], text);
    assert_string_equal(text, want);
}

static void test_addresses(void **state)
{
    UNUSED(state);
    assert_int_equal(
        PARSE(HEAD("\x81\x80", "\1", "\2") QUERY_A A("\x3c", "\x0a\0\0\1") A("\x1e", "\x0a\0\0\2")),
        DNS_REPLY_ADDRESSES);
    assert_int_equal(found.count, 2);
    assert_int_equal(found.ttl_s, 30); /* the least */
    expect_found(0, "10.0.0.1:80");
    expect_found(1, "10.0.0.2:80");
}

/* app.test is www.test, which is app.other: in any order, with the least TTL of the way. */
static void test_aliases(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\3") QUERY_A
                           /* 26: */ "\3www\xc0\x10\0\5\0\1\0\0\0\5\0\x0b\3app\5other\0"
                                     /* 53: */ "\xc0\x2a\0\1\0\1\0\0\0\x09\0\4\x0a\0\0\7"
                           /* 69: */ OWNER "\0\5\0\1\0\0\0\7\0\2\xc0\x1a"),
                     DNS_REPLY_ADDRESSES);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.ttl_s, 5);
    expect_found(0, "10.0.0.7:80");
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A OWNER "\0\5\0\1\0\0\0\7\0\2\xc0\x0c"),
                     DNS_REPLY_NO_DATA); /* its own alias */
    assert_int_equal(found.count, 0);
    /* an alias of what is no name, whatever else there is */
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\2") QUERY_A OWNER
                           "\0\5\0\1\0\0\0\7\0\2\xc0\xff" A("\1", "\x0a\0\0\1")),
                     DNS_REPLY_FAILED);
}

/* One behind the other, then an address. */
static void test_number_of_aliases(void **state)
{
    UNUSED(state);
    for (unsigned aliases = DNS_ALIASES; aliases <= DNS_ALIASES + 1; aliases++) {
        uint8_t message[512] = HEAD("\x81\x80", "\1", "\0") QUERY_A;
        uint8_t *at = message + 12 + sizeof QUERY_A - 1;
        message[7] = (uint8_t)(aliases + 1);
        for (unsigned i = 0; i <= aliases; i++) {
            const uint8_t owner[3] = {1, (uint8_t)('a' + i), 0}, next[3] = {1, (uint8_t)('b' + i), 0};
            const size_t owner_bytes = i == 0 ? 2 : 3;
            memcpy(at, i == 0 ? (const uint8_t *)OWNER : owner, owner_bytes);
            at += owner_bytes;
            memcpy(at, i < aliases ? "\0\5\0\1\0\0\0\7\0\3" : "\0\1\0\1\0\0\0\7\0\4", 10);
            memcpy(at + 10, i < aliases ? next : (const uint8_t *)"\x0a\0\0\1", i < aliases ? 3 : 4);
            at += i < aliases ? 13 : 14;
        }
        const enum dns_reply want = aliases == DNS_ALIASES ? DNS_REPLY_ADDRESSES : DNS_REPLY_NO_DATA;
        assert_int_equal(
            dns_reply_parse(message, (size_t)(at - message), 0x1234, &name, DNS_TYPE_A, 80, &found), want);
    }
}

static void test_other_outcomes(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\0") QUERY_A), DNS_REPLY_NO_DATA);
    assert_int_equal(PARSE(HEAD("\x81\x83", "\1", "\0") QUERY_A), DNS_REPLY_NO_NAME);
    assert_int_equal(PARSE(HEAD("\x81\x82", "\1", "\0") QUERY_A), DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x81\x85", "\1", "\0") QUERY_A), DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x81\x81", "\1", "\0") QUERY_A), DNS_REPLY_PLAIN);
    assert_int_equal(PARSE(HEAD("\x81\x81", "\0", "\0")), DNS_REPLY_PLAIN);
    assert_int_equal(PARSE(HEAD("\x83\x80", "\1", "\1") QUERY_A A("\1", "\x0a\0\0\1")), DNS_REPLY_CUT);
    assert_int_equal(found.count, 1);
    /* the record that was announced is not there, or cut */
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A), DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A A("\1", "\x0a\0\0")), DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x83\x80", "\1", "\1") QUERY_A A("\1", "\x0a\0\0")), DNS_REPLY_CUT);
}

static void test_foreign(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(""), DNS_REPLY_FOREIGN);
    assert_int_equal(PARSE("\x12\x34"), DNS_REPLY_FOREIGN);
    assert_int_equal(PARSE("\x12\x35\x81\x80\0\1\0\0\0\0\0\0" QUERY_A), DNS_REPLY_FOREIGN); /* id */
    assert_int_equal(PARSE(HEAD("\x01\x80", "\1", "\0") QUERY_A), DNS_REPLY_FOREIGN);       /* a query */
    assert_int_equal(PARSE(HEAD("\x89\x80", "\1", "\0") QUERY_A), DNS_REPLY_FOREIGN);       /* opcode */
    assert_int_equal(PARSE(HEAD("\x81\x80", "\2", "\0") QUERY_A), DNS_REPLY_FOREIGN);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\0") NAME "\0\x1c\0\1"), DNS_REPLY_FOREIGN);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\0") "\3apq\4test\0\0\1\0\1"), DNS_REPLY_FOREIGN);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\0") "\3apq"), DNS_REPLY_FOREIGN);
    /* Case may differ. */
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\0") "\3ApP\4teST\0\0\1\0\1"), DNS_REPLY_NO_DATA);
}

/* Records of other names, types, classes and sizes are passed over. */
static void test_what_was_not_asked_for(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\4") QUERY_A
                           "\3www\xc0\x10\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1" /* owner */
                           OWNER "\0\x1c\0\1\0\0\0\5\0\4\x0a\0\0\1"      /* type */
                           OWNER "\0\1\0\3\0\0\0\5\0\4\x0a\0\0\1"        /* class */
                           OWNER "\0\1\0\1\0\0\0\5\0\5\x0a\0\0\1\0"),    /* size */
                     DNS_REPLY_NO_DATA);
}

/* Compressed names that point at themselves, forwards, or in a circle end. */
static void test_circles(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A "\xc0\x1a\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1"),
                     DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A "\xc0\xff\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1"),
                     DNS_REPLY_FAILED);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A "\1x\xc0\x1a\0\1\0\1\0\0\0\5\0\4\x0a\0\0\1"),
                     DNS_REPLY_FAILED);
}

static void test_ttl_and_room(void **state)
{
    UNUSED(state);
    assert_int_equal(PARSE(HEAD("\x81\x80", "\1", "\1") QUERY_A OWNER "\0\1\0\1\x80\0\0\1\0\4\x0a\0\0\1"),
                     DNS_REPLY_ADDRESSES);
    assert_int_equal(found.ttl_s, 0); /* the top bit: RFC 2181 section 8 */
    uint8_t message[12 + 14 + 100 * 16];
    memcpy(message, HEAD("\x81\x80", "\1", "\x64") QUERY_A, 26);
    for (uint8_t i = 0; i < 100; i++) {
        memcpy(message + 26 + i * 16, A("\1", "\x0a\0\0\0"), 16);
        message[26 + i * 16 + 15] = i;
    }
    assert_int_equal(dns_reply_parse(message, sizeof message, 0x1234, &name, DNS_TYPE_A, 80, &found),
                     DNS_REPLY_ADDRESSES);
    assert_int_equal(found.count, DNS_ADDRESSES);
    expect_found(63, "10.0.0.63:80");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_number_of_aliases),
        cmocka_unit_test(test_other_outcomes),
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_what_was_not_asked_for),
        cmocka_unit_test(test_circles),
        cmocka_unit_test(test_ttl_and_room),
    };
    return cmocka_run_group_tests_name("core/dns_message", tests, setup, NULL);
}
