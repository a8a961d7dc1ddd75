/* test_no_vary.c: what No-Vary-Search states, by the draft's own examples and their neighbours, and the keys
 * that rules make. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "cache/no_vary.h"

static struct arena arena;

/* What two lines state (NULL: no such line), without what all rules begin with. */
static const char *stated(const char *one, const char *two)
{
    static char out[NO_VARY_TEXT_MAX + 1];
    struct http_field fields[2];
    struct http_head head = {.fields = fields, .status = 200};
    const char *const lines[] = {one, two};
    for (size_t i = 0; i < 2; i++) {
        if (lines[i] == NULL)
            continue;
        fields[head.field_count++] = (struct http_field){.name = SLICE_LIT("no-vary-search"),
                                                         .value = slice_str(lines[i]),
                                                         .id = HTTP_FIELD_NO_VARY_SEARCH};
        head.present = HTTP_BIT(NO_VARY_SEARCH);
    }
    slice_t text = cache_no_vary_parse(&arena, &head);
    if (text.len == 0)
        return "";
    assert_true(slice_starts(text, NO_VARY_PART));
    snprintf(out, sizeof out, "%.*s", (int)(text.len - NO_VARY_PART.len), text.ptr + NO_VARY_PART.len);
    return out;
}

static const struct {
    const char *field, *want;
} statements[] = {
    {"params", "none"},
    {"params=(\"a\")", "except:a"},
    {"params, except=(\"x\")", "only:x"},
    {"key-order", "order"},
    {"params=(\"utm_source\" \"utm_medium\" \"utm_campaign\")", "except:utm_campaign&utm_medium&utm_source"},
    {"params=?1", "none"},
    {"key-order=?1", "order"},
    {"params, key-order, except=(\"x\")", "order,only:x"},
    {"key-order, params=(\"b\" \"a\" \"b\")", "order,except:a&b"},
    {"params, key-order", "none"}, /* the order of nothing */
    {"params, except=()", "none"},
    {"params=?0", ""},
    {"params=()", ""},
    {"key-order=?0", ""},
    {"params=(), key-order", "order"},
    {"params=?0, key-order", "order"},
    /* invalid by the draft */
    {"unknown-key", ""},
    {"key-order=\"not a boolean\"", ""},
    {"params=\"not a boolean or inner list\"", ""},
    {"params=(not-a-string)", ""},
    {"params=(\"a\"), except=(\"x\")", ""},
    {"params=(), except=()", ""},
    {"params=?0, except=(\"x\")", ""},
    {"params, except=(not-a-string)", ""},
    {"params, except=\"not an inner list\"", ""},
    {"params, except=?1", ""},
    {"except=(\"x\")", ""},
    {"except=()", ""},
    {"params=1", ""},
    {"key-order=1, params", ""},
    /* other members and parameters are ignored */
    {"params, future=(\"a\" 1 ?0);x", "none"},
    {"params=(\"a\";p=1 \"b\");q", "except:a&b"},
    {"key-order;x=2", "order"},
    /* the last of a name counts */
    {"params=(\"a\"), params=(\"b\")", "except:b"},
    {"params=1, params", "none"},
    {"params, params=(\"b\"), key-order=1, key-order", "order,except:b"},
    {"params, except=(\"a\"), params=?0", ""},
    /* one mistake, and all of it is nothing */
    {"params,", ""},
    {"params=(\"a\"", ""},
    {"params=(\"a\"\"b\")", ""},
    {"Params", ""},
    {"params key-order", ""},
    {"", ""},
    /* names */
    {"params=(\"%C3%A9+%E6%B0%97\")", "except:%C3%A9%20%E6%B0%97"},
    {"params=(\"%c3%a9 %e6%b0%97\")", "except:%C3%A9%20%E6%B0%97"},
    {"params=(\"%61\" \"a\")", "except:a"},
    {"params=(\"a\\\"b\" \"c\\\\d\")", "except:a%22b&c%5Cd"},
    {"params=(\"a&b=c\")", "except:a%26b%3Dc"},
    {"params=(\"%zz\")", "except:%25zz"},
    {"params=(\"\")", "except:"},
    {"params, except=(\"\" \"b\")", "only:&b"},
    {"params=(\"%f6\")", ""}, /* no UTF-8 */
    {"params=(\"%C3\")", ""},
    {"params=(\"%C0%80\")", ""},
    {"params=(\"%ED%A0%80\")", ""},
    {"params=(\"%F4%90%80%80\")", ""},
    {"params=(\"%F0%9F%98%80\")", "except:%F0%9F%98%80"},
    {"params, except=(\"%EF%BF%BD\")", ""}, /* stands for what is none */
};

static void test_stated(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        const char *got = stated(statements[i].field, NULL);
        if (strcmp(got, statements[i].want) != 0)
            fail_msg("%s states '%s' instead of '%s'", statements[i].field, got, statements[i].want);
    }
    assert_string_equal(stated(NULL, NULL), "");
    assert_string_equal(stated("params", "except=(\"x\")"), "only:x");
    assert_string_equal(stated("params=(\"x\")", "params"), "none");
    assert_string_equal(stated("params=(\"x\"", "\"y\")"), "");
}

static void test_too_large(void **state)
{
    UNUSED(state);
    char field[6000] = "params=(";
    for (int i = 0; i < NO_VARY_NAMES_MAX; i++)
        snprintf(field + strlen(field), 16, "\"%d\" ", i);
    size_t end = strlen(field);
    strcpy(field + end, ")");
    assert_string_not_equal(stated(field, NULL), "");
    strcpy(field + end, "\"x\")");
    assert_string_equal(stated(field, NULL), "");
    for (size_t n = 230; n < 260; n++) {
        snprintf(field, sizeof field, "params=(\"%0*d\")", (int)n, 7);
        bool fits = NO_VARY_PART.len + strlen("except:") + n <= NO_VARY_TEXT_MAX;
        assert_int_equal(strlen(stated(field, NULL)) > 0, fits);
    }
    snprintf(field, sizeof field, "params, x=\"%05000d\"", 1);
    assert_string_equal(stated(field, NULL), "");
}

/* The key of a URL by the rule that a field states. */
static const char *keyed(const char *field, const char *plain)
{
    static char out[2][1024];
    static unsigned turn;
    struct no_vary_rule rule;
    struct cache_key key;
    char text[NO_VARY_TEXT_MAX + 1];
    snprintf(text, sizeof text, " no-vary:%s", stated(field, NULL));
    cache_no_vary_read(slice_str(text), &rule);
    assert_true(slice_eq(rule.text, slice_str(text)));
    assert_true(cache_no_vary_key(&arena, &rule, slice_str(plain), &key));
    assert_true(hash_eq(key.hash, hash_bytes(key.text.ptr, key.text.len)));
    assert_true(cache_no_vary_is_part_of(key.text, cache_key_url(key.text)));
    turn ^= 1;
    snprintf(out[turn], sizeof out[0], "%.*s", (int)key.text.len, key.text.ptr);
    return out[turn];
}

static void test_same(void **state)
{
    UNUSED(state);
    static const struct {
        const char *field, *one, *other;
        bool same;
    } rows[] = {
        /* the draft's: with any rule */
        {"key-order", "", "?", true},
        {"key-order", "?a=x", "?%61=%78", true},
        {"key-order", "?a=\xc3\xa9", "?a=%C3%A9", true},
        {"key-order", "?a=x&&&&", "?a=x", true},
        {"key-order", "?a=", "?a", true},
        {"key-order", "?a=%20", "?a=+", true},
        {"key-order", "?a=%20", "?a=+&", true},
        {"key-order", "?a=%f6", "?a=%ef%bf%bd", false}, /* told apart, which is never wrong */
        {"params=(\"zz\")", "?b=1&a=2", "?a=2&b=1", false},
        {"key-order", "?b=1&a=2", "?a=2&b=1", true},
        {"key-order", "?a=1&a=2", "?a=2&a=1", false},
        {"key-order", "?a=1&b=2", "?a=2&b=1", false},
        {"key-order", "?a==", "?a=%3D", true},
        {"key-order", "?a=1&b", "?a=1%26b", false},
        {"key-order", "?%26=1", "?&=1", false},
        {"key-order", "?=", "", false},
        {"key-order", "?a=/", "?a=%2f", true},
        {"key-order", "?a=%zz", "?a=%25zz", true},
        {"key-order", "?a=1;b=2", "?a=1%3Bb=2", false},
        {"params=(\"a\")", "?a=1&b=2", "?b=2", true},
        {"params=(\"a\")", "?a=1", "", true},
        {"params=(\"a\")", "?%61", "", true},
        {"params=(\"a\")", "?A=1", "", false},
        {"params=(\"a\")", "?ab=1", "", false},
        {"params=(\"a\")", "?b=1", "?b=2", false},
        {"params=(\"a\")", "?a=1;b=2", "", false},
        {"params=(\"\")", "?=1&b=2", "?b=2", true},
        {"params=(\"%C3%A9+%E6%B0%97\")", "?%C3%A9%20\xe6\xb0\x97=3", "?\xc3\xa9+%E6%B0%97=4", true},
        {"params=(\"a\" \"b\")", "?b=1&c=3&a=1", "?c=3", true},
        {"key-order, params=(\"a\")", "?c=1&a=2&b=3", "?b=3&c=1", true},
        {"params", "?a=1&b=2", "", true},
        {"params", "?a;b", "", true},
        {"params, except=(\"id\")", "?id=1&x=2", "?y&id=1", true},
        {"params, except=(\"id\")", "?id=1", "?id=2", false},
        {"params, except=(\"id\")", "?id=1", "", false},
        {"params, except=(\"id\")", "?%69d=1", "?id=1", true},
        {"params, except=(\"id\")", "?id[]=1", "", false}, /* PHP takes it for id */
        {"params, except=(\"id\")", "?x=1;id=2", "", false},
        {"params, except=(\" id\")", "?+id=1", "", false},
        {"params, except=(\"%C3%A9\")", "?%C3%A9=1", "", false},
        {"params, except=(\"%C3%A9\")", "?\xc3\xa9=1", "?%c3%a9=1", true},
        {"params, except=(\"a%25b\")", "?a%25b=1", "", false},
        {"params, except=(\"\" \"b\")", "?=1&c", "", false},
        {"params, except=(\"a\" \"b\")", "?a=1&b=2", "?b=2&a=1", false},
        {"key-order, params, except=(\"a\" \"b\")", "?b=1&c=2&a=1", "?a=1&b=1", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char one[256], other[256];
        snprintf(one, sizeof one, "http://h/p%s", rows[i].one);
        snprintf(other, sizeof other, "http://h/p%s", rows[i].other);
        const char *a = keyed(rows[i].field, one), *b = keyed(rows[i].field, other);
        if ((strcmp(a, b) == 0) != rows[i].same)
            fail_msg("row %zu, %s: %s and %s", i, rows[i].field, a, b);
    }
}

static void test_keys(void **state)
{
    UNUSED(state);
    assert_string_equal(keyed("params", "http://h/p?a"), "http://h/p no-vary:none");
    assert_string_equal(keyed("params=(\"a\")", "http://h/p?a=1&b rules:0 device:mobile"),
                        "http://h/p?b= no-vary:except:a rules:0 device:mobile");
    assert_string_equal(keyed("params, except=(\"b c\")", "http://h/p?a=1&b+c=%2f"),
                        "http://h/p?b%20c=%2F no-vary:only:b%20c");
    /* never under one key by two rules */
    assert_string_not_equal(keyed("params", "http://h/p?a"), keyed("params=(\"a\")", "http://h/p?a"));
}

static int make_arena(void **state)
{
    UNUSED(state);
    arena_init(&arena, NULL, 0, 16 * MB);
    return 0;
}

static int drop_arena(void **state)
{
    UNUSED(state);
    arena_reset(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stated, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_too_large, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_same, make_arena, drop_arena),
        cmocka_unit_test_setup_teardown(test_keys, make_arena, drop_arena),
    };
    return cmocka_run_group_tests_name("cache/no_vary", tests, NULL, NULL);
}
