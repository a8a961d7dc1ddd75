/* test_sf.c: dictionaries of Structured Fields (RFC 9651), well-formed and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/sf.h"

/* The members as "key type integer;" or "!" behind the last one when the field is broken. */
static void read_all(const char *text, char *out, size_t room)
{
    static const char types[] = "idstbBDPl";
    size_t len = strlen(text), used = 0;
    char *copy = malloc(len > 0 ? len : 1); /* exact, so that a sanitizer sees any read beyond */
    assert_non_null(copy);
    memcpy(copy, text, len);
    slice_t rest = slice_make(copy, len);
    struct sf_member m;
    enum sf_step step;
    while ((step = sf_dictionary_next(&rest, &m)) == SF_MEMBER)
        used += (size_t)snprintf(out + used, room - used, SLICE_FMT " %c %lld;", SLICE_ARG(m.key),
                                 types[m.type], (long long)m.integer);
    snprintf(out + used, room - used, "%s", step == SF_BROKEN ? "!" : "");
    free(copy);
}

static const struct {
    const char *text, *want;
} cases[] = {
    {"", ""},
    {"a", "a B 1;"},
    {"a=?1", "a B 1;"},
    {"a=?0", "a B 0;"},
    {"a=60", "a i 60;"},
    {"a=-60", "a i -60;"},
    {"a=0060", "a i 60;"},
    {"a=999999999999999", "a i 999999999999999;"},
    {"a=-999999999999999", "a i -999999999999999;"},
    {"a=1.5", "a d 0;"},
    {"a=123456789012.123", "a d 0;"},
    {"a=\"x, y; z\"", "a s 0;"},
    {"a=\"\"", "a s 0;"},
    {"a=\"\\\"\\\\\"", "a s 0;"},
    {"a=foo/bar:baz*", "a t 0;"},
    {"a=*", "a t 0;"},
    {"a=Foo", "a t 0;"},
    {"a=:aGk=:", "a b 0;"},
    {"a=::", "a b 0;"},
    {"a=@1659578233", "a D 1659578233;"},
    {"a=@-1", "a D -1;"},
    {"a=%\"caf%c3%a9\"", "a P 0;"},
    {"a=()", "a l 0;"},
    {"a=(1 \"x\";p  b )", "a l 0;"},
    {"a=(1);q=2", "a l 0;"},
    {"max-age=60, no-store", "max-age i 60;no-store B 1;"},
    {"a=1,b=2", "a i 1;b i 2;"},
    {"a=1 \t,\t b=2", "a i 1;b i 2;"},
    {"a=1;x;y=2;  z=\"s\", b", "a i 1;b B 1;"},
    {"a;x=?0, b", "a B 1;b B 1;"},
    {"*a_b-c.d*1=1", "*a_b-c.d*1 i 1;"},
    {"a=1, a=2", "a i 1;a i 2;"},
    /* broken */
    {",", "!"},
    {"a,", "!"},
    {"a, ", "!"},
    {"a,,b", "a B 1;!"},
    {"a b", "!"},
    {"a=", "!"},
    {"a= 1", "!"},
    {"a =1", "!"},
    {"A=1", "!"},
    {"1a=1", "!"},
    {"=1", "!"},
    {"aB=1", "!"},
    {"a=1, &&&&&", "a i 1;!"},
    {"a=1000000000000000", "!"},
    {"a=-", "!"},
    {"a=--1", "!"},
    {"a=+1", "!"},
    {"a=1.", "!"},
    {"a=.5", "!"},
    {"a=1.2345", "!"},
    {"a=1234567890123.1", "!"},
    {"a=1x", "!"},
    {"a=\"x", "!"},
    {"a=\"x\\\"", "!"},
    {"a=\"\\x\"", "!"},
    {"a=\"\x01\"", "!"},
    {"a=\"\x7f\"", "!"},
    {"a=\"\xc3\xa9\"", "!"},
    {"a='x'", "!"},
    {"a=:x", "!"},
    {"a=:-:", "!"},
    {"a=?2", "!"},
    {"a=?", "!"},
    {"a=@", "!"},
    {"a=@1.5", "!"},
    {"a=%x", "!"},
    {"a=%\"%C3\"", "!"},
    {"a=%\"%c\"", "!"},
    {"a=%\"x", "!"},
    {"a=(", "!"},
    {"a=(1", "!"},
    {"a=(1,2)", "!"},
    {"a=(1)x", "!"},
    {"a=((1))", "!"},
    {"a=1;", "!"},
    {"a=1;X", "!"},
    {"a=1;x=", "!"},
    {"a;=1", "!"},
};

static void test_dictionaries(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char got[128];
        read_all(cases[i].text, got, sizeof got);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("[%s]: [%s], not [%s]", cases[i].text, got, cases[i].want);
    }
}

/* The strings of a list as "text;", other members as their type. */
static const struct {
    const char *text, *want;
} lists[] = {
    {"", ""},
    {"\"a\"", "a;"},
    {"\"a\", \"b c\"", "a;b c;"},
    {"\"a\";p=\"q\" ,\t\"b\"", "a;b;"},
    {"\"\"", ";"},
    {"\"a\\\"b\\\\\"", "a\\\"b\\\\;"},
    {"a, 1, (\"x\" y), :aGk=:", "t;i;l;b;"},
    {"\"a\",", "!"},
    {"\"a\" \"b\"", "!"},
    {"\"a", "!"},
    {"\"a\", \"b", "a;!"},
    {",", "!"},
};

static void test_lists(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        static const char types[] = "idstbBDPl";
        char got[128] = "";
        slice_t rest = slice_str(lists[i].text);
        struct sf_member m;
        enum sf_step step;
        while ((step = sf_list_next(&rest, &m)) == SF_MEMBER) {
            slice_t shown = m.type == SF_STRING ? m.text : slice_make(&types[m.type], 1);
            snprintf(got + strlen(got), sizeof got - strlen(got), SLICE_FMT ";", SLICE_ARG(shown));
        }
        strcat(got, step == SF_BROKEN ? "!" : "");
        if (strcmp(got, lists[i].want) != 0)
            fail_msg("[%s]: [%s], not [%s]", lists[i].text, got, lists[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_dictionaries),
    };
    return cmocka_run_group_tests_name("core/sf", tests, NULL, NULL);
}
