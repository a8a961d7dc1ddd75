/* test_print_docs.c: the committed pages are what the table says. Run from the root of the tree, as `make
 * unit` does. */
#include "config_test.h"

static char *print_to_text(void (*print)(FILE *))
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    print(out);
    fclose(out);
    return text;
}

static void expect_same_as_file(void (*print)(FILE *), const char *path)
{
    char *text = print_to_text(print), *kept = calloc(1, 1 << 20);
    FILE *in = fopen(path, "r");
    if (in == NULL) {
        fail_msg("%s is missing; run make docs", path);
        return;
    }
    size_t len = fread(kept, 1, (1 << 20) - 1, in);
    fclose(in);
    if (len != strlen(text) || memcmp(kept, text, len) != 0)
        fail_msg("%s is out of step with config/option_tbl.h; run make docs", path);
    free(text);
    free(kept);
}

static void test_markdown_in_step(void **state)
{
    UNUSED(state);
    expect_same_as_file(config_print_markdown, "docs/configuration.md");
}

static void test_man_in_step(void **state)
{
    UNUSED(state);
    expect_same_as_file(config_print_man, "packaging/millpond.ini.5");
}

static void test_every_option_is_documented(void **state)
{
    char heading[80];
    UNUSED(state);
    char *md = print_to_text(config_print_markdown), *man = print_to_text(config_print_man);
    for (size_t i = 0; i < option_count; i++) {
        snprintf(heading, sizeof heading, "\n### %s\n", option_table[i].key);
        assert_non_null(strstr(md, heading));
        assert_non_null(strstr(md, option_table[i].help));
        snprintf(heading, sizeof heading, "\n.B %s\n", option_table[i].key);
        assert_non_null(strstr(man, heading));
    }
    /* No line of text is taken for a request. */
    assert_null(strstr(man, "\n'"));
    free(md);
    free(man);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_markdown_in_step),
        cmocka_unit_test(test_man_in_step),
        cmocka_unit_test(test_every_option_is_documented),
    };
    return cmocka_run_group_tests_name("config/print_docs", tests, NULL, NULL);
}
