/* test_env.c: environment variables in values. */
#include "config_test.h"

static int set_up(void **state)
{
    UNUSED(state);
    setenv("MP_HOST", "10.0.0.1", 1);
    setenv("MP_EMPTY", "", 1);
    setenv("MP_COMMENT", "a ; b ${MP_HOST}", 1);
    setenv("MP_BAD", "a\nb", 1);
    unsetenv("MP_NONE");
    return 0;
}

static void expect_text(const char *value, const char *expected)
{
    char text[512];
    snprintf(text, sizeof text, "[route a]\nrespond = 200 %s\n", value);
    struct config *c = load_ok(text);
    assert_string_equal(c->routes[0].respond_text, expected);
    config_unref(c);
}

static void test_replaced(void **state)
{
    UNUSED(state);
    expect_text("${MP_HOST}", "10.0.0.1");
    expect_text("<${MP_HOST}:${MP_NONE:-80}>", "<10.0.0.1:80>");
    expect_text("${MP_EMPTY:-x}", "x");
    expect_text("a${MP_EMPTY}b", "ab");
    expect_text("${MP_NONE:-}", "");
    expect_text("${MP_NONE:-a:-b}", "a:-b");
    expect_text("$MP_HOST $ {x} $5", "$MP_HOST $ {x} $5");
    /* What a variable holds is neither a comment nor expanded again. */
    expect_text("${MP_COMMENT}", "a ; b ${MP_HOST}");
}

static void test_in_typed_values_and_lists(void **state)
{
    UNUSED(state);
    struct config *c = load_ok("[pool app]\nserver = ${MP_HOST}:3001 weight=${MP_NONE:-5}\nhealth_status = "
                               "200, ${MP_NONE:-204, 206}\n");
    assert_string_equal(c->pools[0].servers[0].address, "10.0.0.1:3001");
    assert_int_equal(c->pools[0].servers[0].weight, 5);
    assert_int_equal(c->pools[0].health_status_count, 3);
    config_unref(c);
}

static void test_errors(void **state)
{
    UNUSED(state);
    expect_error("[pool app]\nserver = ${MP_NONE}:1\n",
                 "t.ini:2: [pool app] server: the environment variable MP_NONE is not set; set it, or give a "
                 "default as in ${MP_NONE:-value}");
    expect_error("[pool app]\nserver = ${MP_HOST:1\n", "a ${ is not closed; write");
    expect_error("[pool app]\nserver = ${}:1\n", "names no environment variable");
    expect_error("[pool app]\nserver = ${1A}:1\n", "names no environment variable");
    expect_error("[pool app]\nserver = ${a b}:1\n", "names no environment variable");
    expect_error("[pool app]\nserver = ${MP_BAD}:1\n", "MP_BAD contains a control character");
    expect_error(APP "[log]\nlevel = ${MP_EMPTY}\n", "there is no value");
}

static void test_not_in_names(void **state)
{
    UNUSED(state);
    expect_error("[pool ${MP_HOST}]\nserver = a:1\n", "other characters than letters");
    expect_error(APP "${MP_HOST} = 1\n", "there is no key");
}

static void test_growth_is_bounded(void **state)
{
    char text[4096], *big = malloc(200001);
    UNUSED(state);
    memset(big, 'x', 200000);
    big[200000] = '\0';
    setenv("MP_BIG", big, 1);
    free(big);
    size_t len = (size_t)snprintf(text, sizeof text, "[route a]\nrespond = 200 ");
    for (int i = 0; i < 6; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "${MP_BIG}");
    expect_error(text, "make the value too long");
    unsetenv("MP_BIG");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replaced),
        cmocka_unit_test(test_in_typed_values_and_lists),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_not_in_names),
        cmocka_unit_test(test_growth_is_bounded),
    };
    return cmocka_run_group_tests_name("config/env", tests, set_up, NULL);
}
