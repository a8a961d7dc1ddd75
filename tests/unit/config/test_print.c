/* test_print.c: `millpond config`: values, origins, secrets, and that its output is a configuration again. */
#include "config_test.h"

static char *print_text(const struct config *c)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    config_print(c, out);
    fclose(out);
    return text;
}

static void expect_line(const char *text, const char *line_start, const char *line_end)
{
    const char *at = strstr(text, line_start);
    if (at == NULL) {
        fail_msg("no line %s", line_start);
        return;
    }
    at++; /* the line feed before it */
    const char *end = strchr(at, '\n');
    size_t len = strlen(line_end);
    if ((size_t)(end - at) < len || strncmp(end - len, line_end, len) != 0)
        fail_msg("%.*s does not end in %s", (int)(end - at), at, line_end);
}

static void test_values_and_origins(void **state)
{
    UNUSED(state);
    setenv("MP_LEVEL", "debug", 1);
    struct config *c =
        load_ok(APP "server = a:1\n[log]\nlevel = ${MP_LEVEL}\n[admin]\ntoken = s3cr3t-s3cr3t\n");
    char *text = print_text(c);
    expect_line(text, "\n[pool app] ;", "; t.ini:1");
    expect_line(text, "\nserver = 127.0.0.1:3001 ", " ; t.ini:2");
    expect_line(text, "\nserver = a:1 ", " ; t.ini:3");
    expect_line(text, "\nlevel = debug ", " ; t.ini:5 (environment)");
    expect_line(text, "\nretries = 2 ", " ; default");
    expect_line(text, "\n[listen default]", " ; default");
    expect_line(text, "\n# token = (set, not shown)", " ; t.ini:7");
    assert_null(strstr(text, "s3cr3t"));
    expect_line(text, "\n# user = ", "(not set)");
    free(text);
    config_unref(c);
}

/* Every key of every section is there. */
static void test_every_key_is_shown(void **state)
{
    char key[64];
    UNUSED(state);
    struct config *c = load_ok(APP "[redis]\n");
    char *text = print_text(c);
    for (size_t i = 0; i < option_count; i++) {
        snprintf(key, sizeof key, "\n%s = ", option_table[i].key);
        bool shown = strstr(text, key) != NULL;
        snprintf(key, sizeof key, "\n# %s = ", option_table[i].key);
        if (!shown && strstr(text, key) == NULL)
            fail_msg("%s is not shown", option_table[i].key);
    }
    free(text);
    config_unref(c);
}

static void test_passwords_of_redis_are_not_shown(void **state)
{
    UNUSED(state);
    setenv("MP_SECRET", "s3cr3t", 1);
    struct config *c = load_ok(APP "[redis]\nmode = cluster\nurl = redis://app:s3cr3t@a:1\n"
                                   "url = redis://app:${MP_SECRET}@b\n");
    char *text = print_text(c);
    expect_line(text, "\n# url = redis://app:***@a:1", " ; t.ini:5");
    expect_line(text, "\n# url = redis://app:***@b", " ; t.ini:6 (environment)");
    assert_null(strstr(text, "s3cr3t"));
    free(text);
    config_unref(c);
    c = load_ok(APP "[redis]\nurl = redis://app@a:1\npassword = s3cr3t\n");
    text = print_text(c);
    expect_line(text, "\nurl = redis://app@a:1 ", " ; t.ini:4");
    expect_line(text, "\n# password = (set, not shown)", " ; t.ini:5");
    assert_null(strstr(text, "s3cr3t"));
    free(text);
    config_unref(c);
    c = load_ok(APP);
    text = print_text(c);
    assert_null(strstr(text, "[redis]")); /* what is printed can be loaded again, and opens no connection */
    free(text);
    config_unref(c);
}

static char *without_origins(char *text)
{
    char *out = text;
    for (char *p = text; *p != '\0';) {
        char *end = strchr(p, '\n'), *comment = strstr(p, " ;");
        size_t len = (size_t)((comment != NULL && comment < end ? comment : end) - p);
        memmove(out, p, len);
        out += len;
        *out++ = '\n';
        p = end + 1;
    }
    *out = '\0';
    return text;
}

static void test_output_is_a_configuration_again(void **state)
{
    struct config_problems p;
    UNUSED(state);
    struct config *c = config_load("packaging/millpond.ini", &p);
    assert_non_null(c);
    char *first = print_text(c);
    struct config *again = load_ok(first);
    char *second = print_text(again);
    assert_string_equal(without_origins(first), without_origins(second));
    free(first);
    free(second);
    config_unref(c);
    config_unref(again);
    config_problems_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_and_origins),
        cmocka_unit_test(test_every_key_is_shown),
        cmocka_unit_test(test_passwords_of_redis_are_not_shown),
        cmocka_unit_test(test_output_is_a_configuration_again),
    };
    return cmocka_run_group_tests_name("config/print", tests, NULL, NULL);
}
