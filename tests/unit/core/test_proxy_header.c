/* test_proxy_header.c: PROXY headers of both versions: whole, cut at every place, wrong in every way we could
 * think of; and what we write reads back. */
#include "core/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define V4  "\xc6\x33\x64\x07\x0a\x00\x00\x01\x30\x39\x00\x50" /* 198.51.100.7:12345 to 10.0.0.1:80 */
#define V6                                                                                                   \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x30\x39\x00\x50"

struct sample {
    slice_t in;
    const char *source; /* NULL: none */
};

static const struct sample good[] = {
    {SLICE_LIT("PROXY TCP4 198.51.100.7 10.0.0.1 12345 80\r\n"), "198.51.100.7:12345"},
    {SLICE_LIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255:65535"},
    {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 0 0\r\n"), "1.2.3.4:0"},
    {SLICE_LIT("PROXY TCP6 2001:db8::7 ::1 1 2\r\n"), "[2001:db8::7]:1"},
    {SLICE_LIT("PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2\r\n"), "1.2.3.4:1"},
    {SLICE_LIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
               "65535 65535\r\n"),
     "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
    {SLICE_LIT("PROXY UNKNOWN\r\n"), NULL},
    {SLICE_LIT("PROXY UNKNOWN ffff:: whatever 1 2\r\n"), NULL},
    {SLICE_LIT(SIG "\x21\x11\x00\x0c" V4), "198.51.100.7:12345"},
    {SLICE_LIT(SIG "\x21\x21\x00\x24" V6), "[2001:db8::7]:12345"},
    {SLICE_LIT(SIG "\x21\x11\x00\x13" V4 "\x04\x00\x04\0\0\0\0"), "198.51.100.7:12345"},     /* NOOP */
    {SLICE_LIT(SIG "\x21\x11\x00\x12" V4 "\xea\x00\x00\x02\x00\x00"), "198.51.100.7:12345"}, /* two, empty */
    {SLICE_LIT(SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\x14\x83\xed\x28"), "198.51.100.7:12345"},
    {SLICE_LIT(SIG "\x20\x00\x00\x00"), NULL},                     /* LOCAL */
    {SLICE_LIT(SIG "\x20\x11\x00\x0c" V4), NULL},                  /* LOCAL, with what nobody shall look at */
    {SLICE_LIT(SIG "\x20\x11\x00\x03\x01\x02\x03"), NULL},         /* and that is too short */
    {SLICE_LIT(SIG "\x21\x00\x00\x05\x01\x02\x03\x04\x05"), NULL}, /* UNSPEC */
    {SLICE_LIT(SIG "\x21\x12\x00\x0c" V4), NULL},                  /* UDP */
    {SLICE_LIT(SIG "\x21\x10\x00\x0c" V4), NULL},
};

/* The whole of it, and each beginning of it, and more behind it. */
static void expect_good(const struct sample *s)
{
    struct proxy_header h;
    char text[NET_ADDR_TEXT], more[512];
    for (size_t n = 0; n < s->in.len; n++)
        assert_int_equal(proxy_header_parse(s->in.ptr, n, &h), PROXY_HEADER_MORE);
    memcpy(more, s->in.ptr, s->in.len);
    memset(more + s->in.len, '\n', sizeof more - s->in.len);
    for (size_t n = s->in.len; n < sizeof more; n++) {
        assert_int_equal(proxy_header_parse(more, n, &h), PROXY_HEADER_DONE);
        assert_int_equal(h.bytes, s->in.len);
        assert_int_equal(h.has_source, s->source != NULL);
        if (s->source != NULL)
            assert_string_equal(net_addr_format(&h.source, text).ptr, s->source);
    }
}

static void test_good(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        expect_good(&good[i]);
}

/* Bad as a whole; some of its beginnings may still look well. */
static void expect_bad(slice_t in, const char *why)
{
    struct proxy_header h;
    bool bad = false;
    for (size_t n = 0; n <= in.len; n++) {
        enum proxy_header_status s = proxy_header_parse(in.ptr, n, &h);
        assert_int_not_equal(s, PROXY_HEADER_DONE);
        assert_true(!bad || s == PROXY_HEADER_BAD);
        bad = s == PROXY_HEADER_BAD;
    }
    assert_true(bad);
    assert_non_null(strstr(h.why, why));
}

static void test_no_header(void **state)
{
    UNUSED(state);
    static const slice_t rows[] = {
        SLICE_LIT("G"),
        SLICE_LIT("GET / HTTP/1.1\r\n\r\n"),
        SLICE_LIT("\x16\x03\x01"),
        SLICE_LIT("PROXZ"),
        SLICE_LIT("proxy TCP4"),
        SLICE_LIT("\r\n\r\n\r"),
        SLICE_LIT("\r\nGET / H"),
        SLICE_LIT(" PROXY TCP4"),
        SLICE_LIT("PROXY\tTCP4"),
        SLICE_LIT("\0"),
        SLICE_LIT("PRI * HTTP/2.0"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_bad(rows[i], "there is none");
}

static void test_bad_lines(void **state)
{
    UNUSED(state);
    static const struct {
        slice_t in;
        const char *why;
    } rows[] = {
        {SLICE_LIT("PROXY \r\n"), "neither"},
        {SLICE_LIT("PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n"), "neither"},
        {SLICE_LIT("PROXY tcp4 1.2.3.4 1.2.3.4 1 2\r\n"), "neither"},
        {SLICE_LIT("PROXY UNKNOWNX\r\n"), "neither"},
        {SLICE_LIT("PROXY  TCP4 1.2.3.4 1.2.3.4 1 2\r\n"), "neither"},
        {SLICE_LIT("PROXY TCP4\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 x 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 ::1 ::1 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP6 1.2.3.4 ::1 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP6 [::1] ::1 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"), "an address"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1  2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 -1 2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 0x2\r\n"), "a port"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"), "CRLF"},
        {SLICE_LIT("PROXY TCP4 1.2.3.4 1.2.3.4 1\r2\r\n"), "CRLF"},
        {SLICE_LIT("PROXY \n"), "CRLF"},
        {SLICE_LIT(
             "PROXY UNKNOWN 4567890123456789012345678901234567890123456789012345678901234567890123456789"
             "0123456789012345678901234567\r\n"),
         "107"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_bad(rows[i].in, rows[i].why);
}

static void test_longest_line(void **state)
{
    UNUSED(state);
    static const char start[] = "PROXY UNKNOWN ";
    char in[108];
    struct proxy_header h;
    memset(in, 'x', sizeof in);
    memcpy(in, start, sizeof start - 1);
    memcpy(in + 105, "\r\n", 2);
    expect_good(&(struct sample){{in, 107}, NULL});
    memcpy(in + 105, "x\r\n", 3);
    assert_int_equal(proxy_header_parse(in, 106, &h), PROXY_HEADER_MORE);
    assert_int_equal(proxy_header_parse(in, 107, &h), PROXY_HEADER_BAD);
    assert_int_equal(proxy_header_parse(in, 108, &h), PROXY_HEADER_BAD);
}

static void test_bad_binary(void **state)
{
    UNUSED(state);
    static const struct {
        slice_t in;
        const char *why;
    } rows[] = {
        {SLICE_LIT(SIG "\x11\x11\x00\x0c" V4), "unknown version"},
        {SLICE_LIT(SIG "\x31\x11\x00\x0c" V4), "unknown version"},
        {SLICE_LIT(SIG "\x22\x11\x00\x0c" V4), "unknown version"},
        {SLICE_LIT(SIG "\x21\x41\x00\x0c" V4), "unknown version"},
        {SLICE_LIT(SIG "\x21\x13\x00\x0c" V4), "unknown version"},
        {SLICE_LIT(SIG "\x20\xf0\x00\x00"), "unknown version"},
        {SLICE_LIT(SIG "\x21\x11\x00\x0b" V4), "too short"},
        {SLICE_LIT(SIG "\x21\x11\x00\x00"), "too short"},
        {SLICE_LIT(SIG "\x21\x21\x00\x0c" V4), "too short"},
        {SLICE_LIT(SIG "\x21\x31\x00\x0c" V4), "too short"},
        {SLICE_LIT(SIG "\x21\x11\x00\x0d" V4 "\x04"), "a TLV"},
        {SLICE_LIT(SIG "\x21\x11\x00\x0e" V4 "\x04\x00"), "a TLV"},
        {SLICE_LIT(SIG "\x21\x11\x00\x0f" V4 "\x04\x00\x01"), "a TLV"},
        {SLICE_LIT(SIG "\x21\x11\x00\x13" V4 "\x04\x00\x05\0\0\0\0"), "a TLV"},
        {SLICE_LIT(SIG "\x21\x11\x00\x13" V4 "\x04\xff\xff\0\0\0\0"), "a TLV"},
        {SLICE_LIT(SIG "\x21\x11\x00\x13" V4 "\x03\x00\x04\x14\x83\xed\x29"), "checksum"},
        {SLICE_LIT(SIG "\x21\x11\x00\x12" V4 "\x03\x00\x03\0\0\0"), "checksum"},
        {SLICE_LIT(SIG "\x21\x11\x0f\xf1" V4), "4096"},
        {SLICE_LIT(SIG "\x20\x00\xff\xff"), "4096"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect_bad(rows[i].in, rows[i].why);
}

static void test_longest_binary(void **state)
{
    UNUSED(state);
    static char in[PROXY_HEADER_MAX + 1];
    struct proxy_header h;
    memcpy(in, SIG "\x21\x11\x0f\xf0" V4 "\xea\x0f\xe1", 31);
    assert_int_equal(proxy_header_parse(in, PROXY_HEADER_MAX - 1, &h), PROXY_HEADER_MORE);
    assert_int_equal(proxy_header_parse(in, PROXY_HEADER_MAX, &h), PROXY_HEADER_DONE);
    assert_int_equal(h.bytes, PROXY_HEADER_MAX);
    in[30]++;
    assert_int_equal(proxy_header_parse(in, PROXY_HEADER_MAX, &h), PROXY_HEADER_BAD);
}

static void test_unix_addresses_are_skipped(void **state)
{
    UNUSED(state);
    char in[16 + 216 + 3] = SIG "\x21\x31\x00\xdb/tmp/client.sock";
    in[16 + 216] = 4;
    expect_good(&(struct sample){{in, sizeof in}, NULL});
}

/* ---- writing ---- */

static struct net_addr addr(const char *text)
{
    struct net_addr a;
    assert_true(net_addr_parse(slice_str(text), &a));
    return a;
}

static void expect_written(enum proxy_header_version v, const char *source, const char *destination,
                           slice_t want)
{
    char got[PROXY_HEADER_WRITE_MAX];
    struct net_addr s = source != NULL ? addr(source) : (struct net_addr){0}, d = addr(destination);
    size_t n = proxy_header_write(got, v, source != NULL ? &s : NULL, &d);
    assert_int_equal(n, want.len);
    assert_memory_equal(got, want.ptr, n);
    struct proxy_header h;
    assert_int_equal(proxy_header_parse(got, n, &h), PROXY_HEADER_DONE);
}

static void test_written(void **state)
{
    UNUSED(state);
    expect_written(PROXY_HEADER_V1, "198.51.100.7:12345", "10.0.0.1:80", good[0].in);
    expect_written(PROXY_HEADER_V2, "198.51.100.7:12345", "10.0.0.1:80", SLICE_LIT(SIG "\x21\x11\0\x0c" V4));
    expect_written(PROXY_HEADER_V2, "[2001:db8::7]:12345", "[2001:db8::1]:80",
                   SLICE_LIT(SIG "\x21\x21\0\x24" V6));
    expect_written(PROXY_HEADER_V1, "[2001:db8::7]:1", "[::1]:2",
                   SLICE_LIT("PROXY TCP6 2001:db8::7 ::1 1 2\r\n"));
    expect_written(PROXY_HEADER_V1, "[::ffff:1.2.3.4]:1", "5.6.7.8:2",
                   SLICE_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"));
    expect_written(PROXY_HEADER_V1, "1.2.3.4:1", "[2001:db8::1]:2",
                   SLICE_LIT("PROXY TCP6 ::ffff:1.2.3.4 2001:db8::1 1 2\r\n"));
    static const char *const unknown[] = {"unix:/a", NULL};
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        expect_written(PROXY_HEADER_V1, unknown[i], "10.0.0.1:80", SLICE_LIT("PROXY UNKNOWN\r\n"));
        expect_written(PROXY_HEADER_V2, unknown[i], "10.0.0.1:80", SLICE_LIT(SIG "\x20\0\0\0"));
    }
    expect_written(PROXY_HEADER_V1, "1.2.3.4:1", "unix:/a", SLICE_LIT("PROXY UNKNOWN\r\n"));
    expect_written(PROXY_HEADER_V1, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                   "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", good[5].in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_no_header),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_longest_line),
        cmocka_unit_test(test_bad_binary),
        cmocka_unit_test(test_longest_binary),
        cmocka_unit_test(test_unix_addresses_are_skipped),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
