/* test_key_query.c: the query in a key: what is left out, order and spelling; and, by random, that keys are
 * equal exactly when the parameters are. Buffers are exact, for AddressSanitizer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/key_query.h"

#define TEXT_MAX 4096

static char last[TEXT_MAX];

/* The query as it is in the key, with its '?'. */
static const char *put(const struct config_key *rules, const char *query)
{
    slice_t q = slice_make(malloc(strlen(query) + 1), strlen(query));
    memcpy((char *)(uintptr_t)q.ptr, query, q.len);
    char *buf = malloc(cache_query_bound(q));
    char *end = cache_query_put(buf, rules, q);
    assert_true(end >= buf && (size_t)(end - buf) <= q.len + 1);
    snprintf(last, sizeof last, "%.*s", (int)(end - buf), buf);
    free(buf);
    free((char *)(uintptr_t)q.ptr);
    return last;
}

struct row {
    const char *query, *want;
};

static void expect(const struct config_key *rules, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(put(rules, rows[i].query), rows[i].want) != 0)
            fail_msg("%s became %s instead of %s", rows[i].query, last, rows[i].want);
        if (last[0] == '?' && strcmp(put(rules, rows[i].want + 1), rows[i].want) != 0)
            fail_msg("%s became %s when normalised again", rows[i].want, last);
    }
}

static void test_sorted(void **state)
{
    UNUSED(state);
    static const struct config_key rules = {.sort = true};
    static const struct row rows[] = {
        {"", "?"},
        {"a", "?a"},
        {"a=1&b=2", "?a=1&b=2"},
        {"b=2&a=1", "?a=1&b=2"},
        {"c&b&a", "?a&b&c"},
        {"a=2&a=1", "?a=2&a=1"},
        {"b=1&a=2&b=0&a=1", "?a=2&a=1&b=1&b=0"},
        {"a=&a", "?a=&a"},
        {"ab=1&a=1", "?a=1&ab=1"},
        {"a-b=1&a=1", "?a=1&a-b=1"},     /* by name alone: '-' sorts before '=' */
        {"B=1&a=1&A=1", "?a=1&A=1&B=1"}, /* those that may be one keep their order */
        {"A=1&B=2&a=3", "?A=1&a=3&B=2"},
        {"b&a[]=1&a=", "?a[]=1&a=&b"},
        {"a=&a[]=1&b", "?a=&a[]=1&b"},
        {"b&a_b=2&a.b=1&+%20a=3&a=2", "?+%20a=3&a=2&a_b=2&a.b=1&b"},
        {"b=1;a=2&a=3", "?b=1;a=2&a=3"},
        {"a=3&b=1;a=2", "?a=3&b=1;a=2"},
        {"a=1&&b", "?&a=1&b"},
        {"&", "?&"},
        {"=x&a", "?=x&a"},
        {"b=%7e&%61=%2f", "?a=%2F&b=~"},
        {"%62=1&a=1", "?a=1&b=1"},
        {"b=1&%61=1", "?a=1&b=1"},
        {"a=+&b=%20", "?a=+&b=%20"},
        {"a=%26&b", "?a=%26&b"},
        {"a%3Db=1&a=2", "?a=2&a%3Db=1"},
        {"b=%zz&a=%41", "?a=A&b=%zz"}, /* each parameter by itself */
        {"a=%%34%31", "?a=%%34%31"},
        {"a=1;b=2", "?a=1;b=2"},
        {"x?y&a/b", "?a/b&x?y"},
    };
    expect(&rules, rows, ARRAY_LEN(rows));
}

static void test_unsorted(void **state)
{
    UNUSED(state);
    static const struct config_key rules = {.sort = false};
    static const struct row rows[] = {
        {"", "?"}, {"b=2&a=1", "?b=2&a=1"}, {"b=%7E&a=%2f", "?b=~&a=%2F"}, {"&&", "?&&"}, {"%41", "?A"},
    };
    expect(&rules, rows, ARRAY_LEN(rows));
}

static void test_none(void **state)
{
    UNUSED(state);
    static const struct config_key rules = {.query = CONFIG_QUERY_NONE, .sort = true};
    static const struct row rows[] = {{"", ""}, {"a=1", ""}, {"a=1;b&%41", ""}};
    expect(&rules, rows, ARRAY_LEN(rows));
}

static struct config_key_param listed[] = {{"utm_", 4, true}, {"fbclid", 6, false}, {"a", 1, false}};

static void test_except(void **state)
{
    UNUSED(state);
    static const struct config_key rules = {CONFIG_QUERY_EXCEPT, listed, ARRAY_LEN(listed), .sort = true};
    static const struct row rows[] = {
        {"utm_source=x", ""},
        {"utm_", ""},
        {"fbclid=1&a&utm_x=2", ""},
        {"", "?"},
        {"b=2&utm_source=x&c=1", "?b=2&c=1"},
        {"c=1&fbclid=x&b", "?b&c=1"},
        {"%75tm_a=1&x", "?x"},
        {"fbclid%20=1", "?fbclid%20=1"},
        {"fbclidx&FBCLID&xutm_", "?FBCLID&fbclidx&xutm_"}, /* nothing but what is named */
        {"a[]=1&aa=1&A=1", "?a[]=1&A=1&aa=1"},
        {"utm.source=1", "?utm.source=1"},
        {"utm_a=1;page=2", "?utm_a=1;page=2"}, /* an application may see `page` */
        {"&utm_a", "?"},
        {"utm_%zz=%41", ""},
    };
    expect(&rules, rows, ARRAY_LEN(rows));
}

/* Whatever an application might read as a listed name stays. */
static void test_only(void **state)
{
    UNUSED(state);
    static struct config_key_param names[] = {{"id", 2, false}, {"f_", 2, true}, {"x_y", 3, false}};
    static const struct config_key rules = {CONFIG_QUERY_ONLY, names, ARRAY_LEN(names), .sort = true};
    static const struct row rows[] = {
        {"id=1", "?id=1"},
        {"other=1", ""},
        {"", ""},
        {"z=1&id=2&utm_source=x", "?id=2"},
        {"id=2&id=1", "?id=2&id=1"},
        {"idx=1&i=1&xid=1&%20=1", ""},
        {"%69d=1", "?id=1"},
        {"ID=1&Id=2", "?ID=1&Id=2"},
        {"id[]=1&id%5Bx%5D=2", "?id[]=1&id%5Bx%5D=2"},
        {"%20id=1&+id=2", "?%20id=1&+id=2"},
        {"id%00x=1", "?id%00x=1"},
        {"x.y=1&x_y=2&x%20y=3&x+y=4&x[y=5", "?x[y=5&x.y=1&x_y=2&x%20y=3&x+y=4"},
        {"f_=1&f_a=2&f.b=3&f=4", "?f_=1&f_a=2&f.b=3"},
        {"junk=1;id=2", "?junk=1;id=2"},
        {"a&b&c", ""},
    };
    expect(&rules, rows, ARRAY_LEN(rows));
}

/* More than are sorted: chosen and spelt all the same, in the request's order. */
static void test_many(void **state)
{
    UNUSED(state);
    static const struct config_key all = {.sort = true};
    static const struct config_key except = {CONFIG_QUERY_EXCEPT, listed, ARRAY_LEN(listed), .sort = true};
    char query[TEXT_MAX] = "z=%41", want[TEXT_MAX] = "?z=A";
    for (int i = 0; i < CACHE_QUERY_SORT_MAX; i++) {
        snprintf(query + strlen(query), sizeof query - strlen(query), "&k%02d", i);
        snprintf(want + strlen(want), sizeof want - strlen(want), "&k%02d", i);
    }
    assert_string_equal(put(&all, query), want);
    strcat(query, "&a=1");
    assert_string_equal(put(&except, query), want);
    *strrchr(query, '&') = '\0';
    *strrchr(query, '&') = '\0';
    strcat(query, "&a=1");
    assert_int_equal(strncmp(put(&except, query), "?k00&k01", 8), 0); /* those left out do not count */
    assert_non_null(strstr(last, "&z=A"));
}

/* ---- the property: two queries have one key exactly when they hold the same parameters, those of one name
 * in the same order ---- */

#define PARAMS_MAX 12

static uint64_t rng = 0x5eed;

static unsigned pick(unsigned n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (unsigned)(rng % n);
}

struct params {
    unsigned count;
    uint8_t name[PARAMS_MAX], value[PARAMS_MAX];
};

/* Few names and values, so that equal pairs are common; each in spellings that mean the same. */
static const char *const names[][3] = {
    {"a", "%61", "a"},      {"b", "b", "%62"},     {"ab", "a%62", "%61b"},
    {"", "", ""},           {"%2F", "%2f", "%2F"}, {"a-", "a%2D", "a%2d"},
    {"A", "%41", "A"},      {"B", "B", "%42"},     {"a%5B%5D", "a%5b%5d", "%61%5B%5d"},
    {"a[]", "a[]", "%61[]"}};
/* Those that may be one to an application have the same number. */
static const uint8_t one_of[] = {0, 1, 2, 3, 4, 5, 0, 1, 0, 0};
static const char *const values[][3] = {
    {"", "", ""},       {"=", "=", "="},          {"=1", "=%31", "=1"},
    {"=+", "=+", "=+"}, {"=%20", "=%20", "=%20"}, {"=%c3", "=%C3", "=%C3"}};

static struct params random_params(void)
{
    struct params p = {.count = 1 + pick(PARAMS_MAX)};
    for (unsigned i = 0; i < p.count; i++) {
        p.name[i] = (uint8_t)pick(ARRAY_LEN(names));
        p.value[i] = (uint8_t)pick(ARRAY_LEN(values));
    }
    return p;
}

static void swap_params(struct params *p, unsigned i, unsigned k)
{
    uint8_t name = p->name[i], value = p->value[i];
    p->name[i] = p->name[k];
    p->value[i] = p->value[k];
    p->name[k] = name;
    p->value[k] = value;
}

static struct params random_relative(struct params p)
{
    for (unsigned n = pick(2 * PARAMS_MAX); n > 0; n--)
        swap_params(&p, pick(p.count), pick(p.count));
    if (pick(4) == 0)
        p.value[pick(p.count)] = (uint8_t)pick(ARRAY_LEN(values));
    if (pick(8) == 0)
        p.count = 1 + pick(p.count);
    return p;
}

static const char *write_params(const struct params *p, char *buf)
{
    size_t n = 0;
    for (unsigned i = 0; i < p->count; i++)
        n += (size_t)sprintf(buf + n, "%s%s%s", i > 0 ? "&" : "", names[p->name[i]][pick(3)],
                             values[p->value[i]][pick(3)]);
    return buf;
}

static bool same_params(const struct params *a, const struct params *b)
{
    for (unsigned one = 0; one < ARRAY_LEN(names); one++) {
        unsigned k = 0;
        for (unsigned i = 0; i < a->count; i++) {
            if (one_of[a->name[i]] != one)
                continue;
            while (k < b->count && one_of[b->name[k]] != one)
                k++;
            if (k == b->count || a->name[i] != b->name[k] || a->value[i] != b->value[k++])
                return false;
        }
    }
    return a->count == b->count;
}

static void test_equal_exactly_when_the_parameters_are(void **state)
{
    UNUSED(state);
    static const struct config_key rules = {.sort = true};
    char text[TEXT_MAX], one[TEXT_MAX];
    unsigned equal = 0;
    for (int i = 0; i < 50000; i++) {
        const struct params a = random_params(), b = random_relative(a);
        strcpy(one, put(&rules, write_params(&a, text)));
        bool same = strcmp(one, put(&rules, write_params(&b, text))) == 0;
        if (same != same_params(&a, &b))
            fail_msg("round %d: %s and %s", i, one, last);
        equal += same;
    }
    assert_true(equal > 4000 && equal < 45000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted),
        cmocka_unit_test(test_unsorted),
        cmocka_unit_test(test_none),
        cmocka_unit_test(test_except),
        cmocka_unit_test(test_only),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_equal_exactly_when_the_parameters_are),
    };
    return cmocka_run_group_tests_name("cache/key_query", tests, NULL, NULL);
}
