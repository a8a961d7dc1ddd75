/* test_record_text.c: only texts as this program writes them are taken out of a record. */
#include "cache/record_text.h"

#include "cache/key.h"
#include "tests/unit/cache/fixture.h"
#include "tests/unit/cache/text_head.h"

static void test_heads(void **state)
{
    UNUSED(state);
#define OK "HTTP/1.1 200 OK\r\n"
    static const struct {
        slice_t head;
        size_t line;
        bool ok;
    } cases[] = {
        {SLICE_LIT(OK), 17, true},
        {SLICE_LIT(OK "A: b\r\nC: \r\nD: x: y\t\x80\r\n"), 17, true},
        {SLICE_LIT("HTTP/1.1 200 \r\n"), 15, true},
        {SLICE_LIT(OK "A: b\r\nSurrogate-Control: x\r\n\x15\0\0"), 17, false}, /* not where a line begins */
        {SLICE_LIT(OK "A: b\r\nSurrogate-Control: x\r\n\x17\0\0"), 17, false},
        {SLICE_LIT(OK "A: b\r\nSurrogate-Control: x\r\n\x16\0\0"), 17, true},
        {SLICE_LIT(OK "A: b\r\nSet-Cookie: xyza=bcd\r\n\x16\0\0"), 17, false},
        {SLICE_LIT(OK "\xff\xff\0"), 17, false},
        {SLICE_LIT(""), 0, false},
        {SLICE_LIT(OK), 16, false},
        {SLICE_LIT("HTTP/1.0 200 OK\r\n"), 17, false},
        {SLICE_LIT("HTTP/1.1 201 OK\r\n"), 17, false},
        {SLICE_LIT("HTTP/1.1 +20 OK\r\n"), 17, false},
        {SLICE_LIT("HTTP/1.1 200OK\r\n"), 16, false},
        {SLICE_LIT("HTTP/1.1 200\r\n"), 14, false},
        {SLICE_LIT("HTTP/1.1 200 OK\n"), 16, false},
        {SLICE_LIT(OK "\r\n"), 17, false},
        {SLICE_LIT(OK "A: b"), 17, false},
        {SLICE_LIT(OK "A: b\n"), 17, false},
        {SLICE_LIT(OK "A: b\rc\r\n"), 17, false},
        {SLICE_LIT(OK "A: b\0\r\n"), 17, false},
        {SLICE_LIT(OK "A:b\r\n"), 17, false},
        {SLICE_LIT(OK "A:\r\n"), 17, false},
        {SLICE_LIT(OK ": b\r\n"), 17, false},
        {SLICE_LIT(OK "A : b\r\n"), 17, false},
        {SLICE_LIT(OK " A: b\r\n"), 17, false},
        {SLICE_LIT(OK "content-length: 5\r\n"), 17, false},
        {SLICE_LIT(OK "Transfer-Encoding: chunked\r\n"), 17, false},
        {SLICE_LIT(OK "Connection: close\r\n"), 17, false},
        {SLICE_LIT(OK "Age: 5\r\n"), 17, false},
        {SLICE_LIT(OK "Set-Cookie: a=b\r\n"), 17, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(cache_record_head_is_ok(cases[i].head, 200, cases[i].line), cases[i].ok);
    assert_false(cache_record_head_is_ok(SLICE_LIT("HTTP/1.1 100 Go\r\n"), 100, 17));
#undef OK
}

static void test_keys(void **state)
{
    UNUSED(state);
    static const struct {
        slice_t key;
        size_t primary;
        slice_t names;
        bool ok;
    } cases[] = {
        {SLICE_LIT("http://h/ x"), 11, SLICE_LIT(""), true},
        {SLICE_LIT("k\0a\n"), 1, SLICE_LIT("a"), true},
        {SLICE_LIT("k\0a: x\nb: \n"), 1, SLICE_LIT("a,b"), true},
        {SLICE_LIT("k"), 1, SLICE_LIT("a,b"), true}, /* a marker's */
        {SLICE_LIT(""), 0, SLICE_LIT(""), false},
        {SLICE_LIT("k"), 0, SLICE_LIT(""), false},
        {SLICE_LIT("k"), 2, SLICE_LIT(""), false},
        {SLICE_LIT("k\0a\n"), 1, SLICE_LIT(""), false},
        {SLICE_LIT("k\0a\n"), 4, SLICE_LIT(""), false},
        {SLICE_LIT("k a\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a:\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a:x\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a; x\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0ab\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0b\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a\nb\n"), 1, SLICE_LIT("a"), false},
        {SLICE_LIT("k\0a\n"), 1, SLICE_LIT("a,b"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("b,a"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("a,a"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("A"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("a,"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT(",a"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("a b"), false},
        {SLICE_LIT("k"), 1, SLICE_LIT("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q"), false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(cache_record_key_is_ok(cases[i].key, cases[i].primary, cases[i].names), cases[i].ok);
}

/* What the cache makes of requests and Vary is what is taken for a key. */
static void test_keys_of_the_cache(void **state)
{
    UNUSED(state);
    struct text_head request, response;
    struct arena arena;
    arena_init(&arena, NULL, 0, 64 * KB);
    text_head_request(&request, HTTP_GET,
                      "Accept-Encoding: gzip, br;q=0.5\nX-Empty:\nCookie: a=b; c\nAccept: a\nAccept: b");
    text_head_response(&response, 200,
                       "Vary: X-Empty, accept-encoding\nVary: Cookie, x-absent, Accept, cookie");
    bool star;
    slice_t names = cache_vary_names(&arena, &response.head, &star);
    slice_t secondary = cache_vary_key(&arena, names, &request.head);
    assert_true(names.len > 0 && secondary.len > 0);
    char key[512] = "http://h/";
    memcpy(key + 10, secondary.ptr, secondary.len);
    assert_true(cache_record_key_is_ok(slice_make(key, 10 + secondary.len), 9, names));
    arena_reset(&arena);
    text_head_free(&request);
    text_head_free(&response);
}

static void test_tags(void **state)
{
    UNUSED(state);
    static const struct {
        struct cache_tags tags;
        bool ok;
    } cases[] = {
        {{SLICE_LIT(""), {0, 0, 0}}, true},       {{SLICE_LIT("a bb "), {2, 0, 3}}, true},
        {{SLICE_LIT("a bb "), {0, 0, 0}}, true},  {{SLICE_LIT("a bb"), {0, 0, 0}}, false},
        {{SLICE_LIT(" a "), {0, 0, 0}}, false},   {{SLICE_LIT("a  b "), {0, 0, 0}}, false},
        {{SLICE_LIT("a bb "), {1, 0, 0}}, false}, {{SLICE_LIT("a bb "), {2, 2, 0}}, false},
        {{SLICE_LIT("a bb "), {2, 3, 2}}, false}, {{SLICE_LIT(""), {0, 0, 1}}, false},
        {{SLICE_LIT("a\nb "), {0, 0, 0}}, false}, {{SLICE_LIT("a\rb "), {0, 0, 0}}, false},
        {{SLICE_LIT("a\0b "), {0, 0, 0}}, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(cache_record_tags_are_ok(&cases[i].tags), cases[i].ok);
    static char many[CACHE_TAGS_BYTES_MAX + 2];
    for (size_t i = 0; i < sizeof many; i++)
        many[i] = i % 2 == 0 ? 'a' : ' ';
    struct cache_tags t = {.text = {many, (size_t)CACHE_TAGS_MAX * 2}};
    assert_true(cache_record_tags_are_ok(&t));
    t.text.len += 2;
    assert_false(cache_record_tags_are_ok(&t));
    memset(many, 'a', sizeof many);
    many[CACHE_TAGS_BYTES_MAX - 1] = ' ';
    t.text.len = CACHE_TAGS_BYTES_MAX;
    assert_true(cache_record_tags_are_ok(&t));
    many[CACHE_TAGS_BYTES_MAX - 1] = 'a';
    many[CACHE_TAGS_BYTES_MAX] = ' ';
    t.text.len++;
    assert_false(cache_record_tags_are_ok(&t));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_of_the_cache),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
