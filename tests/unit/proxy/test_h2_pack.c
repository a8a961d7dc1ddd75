/* test_h2_pack.c: what is packed says what the text said, to a decoder with the same table, and what comes
 * again is packed tightly. nghttp2's decoder is the judge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hash.h"
#include "proxy/h2_pack.h"

#include <string.h>

/* A connection: our table, and the client's decoder. */
struct peer {
    struct hpack_table table;
    nghttp2_hd_inflater *decoder;
    char got[32768];
    size_t packed; /* bytes of the last block */
};

static void peer_begin(struct peer *p)
{
    hpack_table_begin(&p->table);
    assert_int_equal(nghttp2_hd_inflate_new(&p->decoder), 0);
}

static void peer_end(struct peer *p)
{
    nghttp2_hd_inflate_del(p->decoder);
}

/* One block, a line per field. */
static void decode(struct peer *p, const uint8_t *block, size_t bytes)
{
    const uint8_t *at = block;
    size_t n = 0;
    int flags = 0;
    p->got[0] = '\0';
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        const ssize_t used =
            nghttp2_hd_inflate_hd2(p->decoder, &nv, &flags, at, (size_t)(block + bytes - at), 1);
        assert_true(used >= 0);
        at += used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0)
            n += (size_t)snprintf(p->got + n, sizeof p->got - n, "%.*s=%.*s\n", (int)nv.namelen,
                                  (const char *)nv.name, (int)nv.valuelen, (const char *)nv.value);
    }
    nghttp2_hd_inflate_end_headers(p->decoder);
    p->packed = bytes;
}

/* A place where a first text is stored, as if it were; others have been there before. */
static const void *stored_at;

/* A head of two texts, behind `prefix`, which lie in memory that ends where they do, as the block does. */
static void pack(struct h2_pack *k, struct peer *p, const char *prefix, size_t prefix_bytes,
                 const char *first, const char *second)
{
    const size_t a = strlen(first), b = strlen(second);
    const size_t room = prefix_bytes + h2_pack_room(a) + h2_pack_room(b);
    char *one = malloc(MAX(a, 1)), *two = malloc(MAX(b, 1));
    uint8_t *block = malloc(room);
    size_t n = prefix_bytes;
    memcpy(one, first, a);
    memcpy(two, second, b);
    memcpy(block, prefix, n);
    hpack_table_follow(&p->table, block, n);
    n += h2_pack_lines(k, &p->table, one, a, stored_at, block + n);
    n += h2_pack_lines(k, &p->table, two, b, NULL, block + n);
    assert_true(n <= room);
    decode(p, block, n);
    free(block);
    free(one);
    free(two);
}

static void expect(struct h2_pack *k, struct peer *p, const char *first, const char *second, const char *want)
{
    pack(k, p, "", 0, first, second);
    assert_string_equal(p->got, want);
}

static void test_lines(void **state)
{
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    for (int i = 0; i < 5; i++) {
        expect(&k, &p, "HTTP/1.1 200 OK\r\nEtag: \"a\"\r\nX-Own: b\r\n", "Age: 1\r\n\r\n",
               "etag=\"a\"\nx-own=b\nage=1\n");
        expect(&k, &p, "Etag: \"a\"\r\n", "Age: 2\r\n", "etag=\"a\"\nage=2\n");
        expect(&k, &p, "A: b\r\n", "A: b\r\n", "a=b\na=b\n");
        expect(&k, &p, "A: \r\nB: c:d: e\r\nC:  \t f\t \r\n\r\n", "\r\n", "a=\nb=c:d: e\nc=f\n");
        expect(&k, &p, "Accept-Encoding: gzip, deflate\r\nWww-Authenticate: Basic\r\n", "",
               "accept-encoding=gzip, deflate\nwww-authenticate=Basic\n");
        expect(&k, &p, "HTTP/1.1 204 No Content\r\n", "\r\n", "");
        expect(&k, &p, "Via: \xc3\xa4\tb\r\n", "", "via=\xc3\xa4\tb\n");
    }
    peer_end(&p);
    h2_pack_free(&k);
}

/* A second connection has the fields in full once, as an index afterwards; what is of one resource stays a
 * literal. */
static void test_tight(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nServer: millpond\r\nX-One: first value\r\n"
                               "X-Two: second value\r\nCache-Control: max-age=60\r\n";
    struct h2_pack k = {0};
    struct peer a, b;
    UNUSED(state);
    peer_begin(&a);
    peer_begin(&b);
    pack(&k, &a, "", 0, head, "");
    const size_t full = a.packed;
    assert_true(full > 45);
    pack(&k, &a, "", 0, head,
         ""); /* second sight: entries from here on, the index of whose name is shorter */
    assert_in_range(a.packed, full - 2, full);
    for (int i = 0; i < 3; i++) {
        pack(&k, &a, "", 0, head, "");
        assert_int_equal(a.packed, 4);
    }
    pack(&k, &b, "", 0, "X-Two: second value\r\nEtag: \"1234\"\r\n", ""); /* of a text never seen */
    pack(&k, &b, "", 0, "Etag: \"1234\"\r\nX-Two: second value\r\n", "");
    assert_string_equal(b.got, "etag=\"1234\"\nx-two=second value\n");
    const size_t etag = b.packed - 1;
    assert_true(etag > 5);
    pack(&k, &b, "", 0, head, "Etag: \"1234\"\r\n");
    assert_string_equal(b.got, "server=millpond\nx-one=first value\nx-two=second value\n"
                               "cache-control=max-age=60\netag=\"1234\"\n");
    pack(&k, &b, "", 0, head, "Etag: \"1234\"\r\n");
    assert_int_equal(b.packed, 4 + etag);
    peer_end(&a);
    peer_end(&b);
    h2_pack_free(&k);
}

/* Whether a text is kept: then lines need not be. */
static void expect_kept(struct h2_pack *k, struct peer *p, const char *text, size_t packed)
{
    struct h2_pack_line *lines = k->lines;
    k->lines = NULL;
    pack(k, p, "", 0, text, "");
    assert_null(k->lines);
    assert_int_equal(p->packed, packed);
    k->lines = lines;
}

/* Objects come and go, and where one lay lies another, as long as the first. */
static void test_another_is_stored_there(void **state)
{
    char text[64], want[64];
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    stored_at = &k;
    for (int object = 0; object < 4; object++) {
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nX-One: %d\r\nX-Two: b\r\n", object);
        snprintf(want, sizeof want, "x-one=%d\nx-two=b\n", object);
        for (int i = 0; i < 4; i++)
            expect(&k, &p, text, "", want);
        expect_kept(&k, &p, text, 2);
        assert_string_equal(p.got, want);
    }
    stored_at = NULL;
    peer_end(&p);
    h2_pack_free(&k);
}

static void test_many_fields(void **state)
{
    char text[512];
    struct h2_pack k = {0};
    struct peer p;
    size_t n = 0;
    UNUSED(state);
    peer_begin(&p);
    for (int i = 0; i < 60; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "A%d: b\r\n", i);
    for (int i = 0; i < 4; i++)
        pack(&k, &p, "", 0, text, "");
    assert_in_range(p.packed, 60, 100); /* but for lines that found no place */
    expect_kept(&k, &p, text, p.packed);
    peer_end(&p);
    h2_pack_free(&k);
}

/* What drove its lines out between two sights of a text does not leave it without them for good. */
static void test_lines_of_a_kept_text(void **state)
{
    static const char text[] = "X-One: first value\r\nX-Two: second value\r\n";
    static char others[8192];
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    stored_at = &k;
    pack(&k, &p, "", 0, text, "");
    stored_at = NULL;
    for (int i = 0; i < 3000;) {
        size_t n = 0;
        for (const int end = i + 300; i < end; i++)
            n += (size_t)snprintf(others + n, sizeof others - n, "X-Request: %d\r\n", i + 1000);
        pack(&k, &p, "", 0, others, "");
    }
    stored_at = &k;
    pack(&k, &p, "", 0, text, "");
    expect_kept(&k, &p, text, 2);
    stored_at = NULL;
    peer_end(&p);
    h2_pack_free(&k);
}

/* As a Content-Security-Policy may be. */
static void test_a_long_line(void **state)
{
    static char text[3000];
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    memset(text, '\\', sizeof text); /* Huffman would be longer */
    memcpy(text, "X: ", 3);
    strcpy(text + sizeof text - 3, "\r\n");
    for (int i = 0; i < 4; i++)
        pack(&k, &p, "", 0, text, "");
    expect_kept(&k, &p, text, 1);
    assert_int_equal(strlen(p.got), sizeof text - 3);
    peer_end(&p);
    h2_pack_free(&k);
}

/* What came once is in no table. */
static void test_once_takes_no_room(void **state)
{
    char line[64];
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    for (int i = 0; i < 1000; i++) {
        snprintf(line, sizeof line, "X-Request: %d\r\n", i);
        pack(&k, &p, "", 0, line, "");
    }
    assert_int_equal(p.table.count, 0);
    peer_end(&p);
    h2_pack_free(&k);
}

static void test_a_client_without_a_table(void **state)
{
    struct h2_pack k = {0};
    struct peer p;
    UNUSED(state);
    peer_begin(&p);
    for (int i = 0; i < 4; i++) {
        pack(&k, &p, "\x20", 1, "X-Own: b\r\nWww-Authenticate: Basic\r\n", "Age: 1\r\n");
        assert_string_equal(p.got, "x-own=b\nwww-authenticate=Basic\nage=1\n");
        assert_int_equal(p.table.count, 0);
    }
    pack(&k, &p, "\x20\x3f\x31", 3, "X-Own: b\r\nWww-Authenticate: Basic\r\n", "");
    assert_int_equal(p.table.count, 1); /* of 38 and 53 bytes the table has room for one */
    peer_end(&p);
    h2_pack_free(&k);
}

static uint32_t random_next(void)
{
    static uint32_t r = 1;
    r = r * 1664525u + 1013904223u;
    return r >> 8;
}

/* More texts and lines than are kept, on connections that come and go and change their tables' size. */
static void test_again_and_again(void **state)
{
    enum { TEXTS = 300, PEERS = 4 };
    struct h2_pack k = {0};
    struct peer p[PEERS];
    char first[128], second[96], want[256];
    UNUSED(state);
    for (int i = 0; i < PEERS; i++)
        peer_begin(&p[i]);
    for (int i = 0; i < 40000; i++) {
        const unsigned a = random_next() % TEXTS, b = random_next() % 4 == 0 ? a : random_next() % TEXTS;
        struct peer *q = &p[random_next() % PEERS];
        const bool shrinks = random_next() % 50 == 0;
        stored_at = random_next() % 2 == 0 ? (const void *)(uintptr_t)(0x1000 + a % 200 * 64) : NULL;
        snprintf(first, sizeof first, "HTTP/1.1 200 OK\r\nEtag: \"%u\"\r\nX-Own: %u\r\nServer: s\r\n", a, a);
        snprintf(second, sizeof second, "X-Own: %u\r\nAge: %u\r\n%s", b, b, b % 2 == 0 ? "\r\n" : "");
        snprintf(want, sizeof want, "etag=\"%u\"\nx-own=%u\nserver=s\nx-own=%u\nage=%u\n", a, a, b, b);
        pack(&k, q, i % 3 == 0 ? "\x3f\x45\x3f\xe1\x1f" : "\x3f\x45", shrinks ? (i % 3 == 0 ? 5 : 2) : 0,
             first, second);
        assert_string_equal(q->got, want);
        if (random_next() % 500 == 0) {
            peer_end(q);
            peer_begin(q);
        }
    }
    stored_at = NULL;
    for (int i = 0; i < PEERS; i++)
        peer_end(&p[i]);
    h2_pack_free(&k);
}

/* Beyond what is kept: more fields, more bytes, and as long as a head can be that is packed here. */
static void test_much(void **state)
{
    static char text[9000], want[9000];
    struct h2_pack k = {0};
    struct peer p;
    size_t n = 0, w = 0;
    UNUSED(state);
    peer_begin(&p);
    for (int i = 0; i < 60; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "A%d: %d\r\n", i, i);
        w += (size_t)snprintf(want + w, sizeof want - w, "a%d=%d\n", i, i);
        for (int turn = 0; turn < 3; turn++)
            expect(&k, &p, text, "", want);
    }
    for (int len = 1; len < 8000; len += len < 300 ? 1 : 333) {
        memset(text, '\\', (size_t)len); /* Huffman would be longer */
        memcpy(text, "X: ", 3);
        strcpy(text + MAX(len, 3), "\r\n");
        snprintf(want, sizeof want, "x=%s", text + 3);
        strcpy(want + strlen(want) - 2, "\n");
        for (int turn = 0; turn < 3; turn++)
            expect(&k, &p, text, "", want);
        memset(text, 'N', (size_t)len);
        strcpy(text + len, ": v\r\n");
        memset(want, 'n', (size_t)len);
        strcpy(want + len, "=v\n");
        for (int turn = 0; turn < 3; turn++)
            expect(&k, &p, text, "", want);
    }
    peer_end(&p);
    h2_pack_free(&k);
}

static int group_setup(void **state)
{
    UNUSED(state);
    hash_seed_fixed(1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_tight),
        cmocka_unit_test(test_another_is_stored_there),
        cmocka_unit_test(test_many_fields),
        cmocka_unit_test(test_lines_of_a_kept_text),
        cmocka_unit_test(test_a_long_line),
        cmocka_unit_test(test_once_takes_no_room),
        cmocka_unit_test(test_a_client_without_a_table),
        cmocka_unit_test(test_again_and_again),
        cmocka_unit_test(test_much),
    };
    return cmocka_run_group_tests_name("proxy/h2_pack", tests, group_setup, NULL);
}
