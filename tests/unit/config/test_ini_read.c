/* test_ini_read.c: lines and their numbers, and each of inih's silent traps. */
#include "config_test.h"

#include "config/ini_read.h"

struct seen {
    char text[4096];
    size_t len;
    int problems;
};

static void seen_put(struct seen *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void seen_put(struct seen *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(s->text + s->len, sizeof s->text - s->len, fmt, ap);
    va_end(ap);
    assert_true(n >= 0 && (size_t)n < sizeof s->text - s->len);
    s->len += (size_t)n;
}

static void on_section(void *user, int line, slice_t head)
{
    seen_put(user, "%d[%.*s]\n", line, SLICE_ARG(head));
}

static void on_bad_section(void *user, int line)
{
    seen_put(user, "%d[bad]\n", line);
}

static void on_pair(void *user, int line, const char *key, const char *value)
{
    seen_put(user, "%d%s=%s\n", line, key, strlen(value) > 100 ? "(long)" : value);
}

static void on_problem(void *user, int line, const char *what)
{
    struct seen *s = user;
    seen_put(s, "%d!%s\n", line, what);
    s->problems++;
}

static void read_into(struct seen *s, const char *text, size_t len)
{
    const struct ini_read_events events = {s, on_section, on_bad_section, on_pair, on_problem};
    *s = (struct seen){.len = 0};
    assert_true(ini_read_text(slice_make(text, len), &events));
}

static void expect_read(const char *text, const char *expected)
{
    struct seen s;
    read_into(&s, text, strlen(text));
    assert_string_equal(s.text, expected);
}

/* One problem, on that line, that contains `part`; everything else arrives. */
static void expect_refused(const char *text, int line, const char *part)
{
    struct seen s;
    char mark[16];
    read_into(&s, text, strlen(text));
    snprintf(mark, sizeof mark, "%d!", line);
    const char *at = strstr(s.text, mark);
    if (s.problems != 1 || at == NULL || strstr(at, part) == NULL)
        print_error("%s", s.text);
    assert_int_equal(s.problems, 1);
    assert_non_null(at);
    assert_non_null(strstr(at, part));
}

static void test_plain(void **state)
{
    UNUSED(state);
    expect_read("[a]\nx = 1\ny=2\n\n; c\n# c\n[b c]\nz =  two words  \n",
                "1[a]\n2x=1\n3y=2\n7[b c]\n8z=two words\n");
    expect_read("", "");
    expect_read("\n\n", "");
    expect_read("[a]", "1[a]\n");
    expect_read("[a]\nx = 1", "1[a]\n2x=1\n");
    expect_read("[a]\nx =\n", "1[a]\n2x=\n");
    expect_read("[a]\nx = a = b : c\n", "1[a]\n2x=a = b : c\n");
}

static void test_comments(void **state)
{
    UNUSED(state);
    expect_read("[a] ; c\nx = 1 ; c\ny = 1;2\nz = #1 # 2\n[b]# c\n", "1[a]\n2x=1\n3y=1;2\n4z=#1 # 2\n5[b]\n");
    expect_read("  ; indented comment\n\t# another\n   \n[a]\n", "4[a]\n");
}

static void test_line_ends(void **state)
{
    UNUSED(state);
    expect_read("[a]\r\nx = 1\r\n\r\n[b]\r\n", "1[a]\n2x=1\n4[b]\n");
    expect_read("\xEF\xBB\xBF[a]\nx = 1\n", "1[a]\n2x=1\n");
    expect_refused("[a]\nx = 1\ry = 2\n", 2, "control character");
}

/* inih: a line of 200 bytes and more becomes two. */
static void test_trap_long_line(void **state)
{
    char text[INI_READ_MAX_LINE + 64];
    UNUSED(state);
    size_t head = (size_t)snprintf(text, sizeof text, "[a]\nx = ");
    size_t longest = 4 + INI_READ_MAX_LINE;
    memset(text + head, 'v', longest - head);
    memcpy(text + longest, "\ny = 2\n", 8);
    expect_read(text, "1[a]\n2x=(long)\n3y=2\n");
    memcpy(text + longest, "v\ny = 2\n", 9);
    expect_refused(text, 2, "4001 bytes long; at most 4000");
    /* A comment may be as long as it likes. */
    text[4] = ';';
    expect_read(text, "1[a]\n3y=2\n");
}

static void test_value_beyond_inihs_200_arrives_whole(void **state)
{
    char text[600], value[501];
    UNUSED(state);
    memset(value, 'v', 500);
    value[500] = '\0';
    snprintf(text, sizeof text, "[route a]\nrespond = 200 %s\n", value);
    struct config *c = load_ok(text);
    assert_string_equal(c->routes[0].respond_text, value);
    config_unref(c);
}

/* inih: a section name is cut at 49 bytes. */
static void test_trap_section_name(void **state)
{
    UNUSED(state);
    expect_read("[4444444444444444444444444444444444444444444444449]\n",
                "1[4444444444444444444444444444444444444444444444449]\n");
    expect_refused("\n[44444444444444444444444444444444444444444444444450]\nx = 1\n", 2, "longer than 49");
}

/* inih: an indented line is more of the value above. */
static void test_trap_indented(void **state)
{
    UNUSED(state);
    expect_refused("[a]\nx = 1\n  y = 2\n", 3, "indented");
    expect_refused("[a]\nx = 1\n\ty\n", 3, "indented");
    expect_refused("[a]\n [b]\n", 2, "indented");
    expect_read("[a]\nx = 1\n  ; c\nz = 3\n", "1[a]\n2x=1\n4z=3\n");
}

/* inih: an empty section is not told of. */
static void test_trap_empty_section(void **state)
{
    UNUSED(state);
    expect_read("[a]\n[b]\n[c]\nx = 1\n", "1[a]\n2[b]\n3[c]\n4x=1\n");
}

/* inih: what follows the bracket is dropped; a colon is as good as =. */
static void test_trap_section_tail_and_colon(void **state)
{
    UNUSED(state);
    expect_refused("[a] x = 1\n", 1, "follows the closing bracket");
    expect_refused("[a\nx = 1\n", 1, "no closing bracket");
    expect_refused("[a ; b]\n", 1, "may not contain ;");
    expect_refused("[a[b]\n", 1, "may not contain");
    expect_refused("[a]\nx: 1\n", 2, "write key = value");
    expect_refused("[a]\nheader: X = 1\n", 2, "write key = value");
    expect_read("[a]\nheader = X: 1\n", "1[a]\n2header=X: 1\n");
}

static void test_bad_lines(void **state)
{
    UNUSED(state);
    expect_refused("[a]\nnonsense\n", 2, "no key = value");
    expect_refused("[a]\n= 1\n", 2, "no key before");
    expect_refused("[a]\nx ; c = 1\n", 2, "the key contains a ;");
    expect_refused("[a]\nx = \x01\n", 2, "control character");
    expect_refused("[a]\nx = \x7f\n", 2, "control character");
    expect_refused("\nx = 1\ny = 2\n", 2, "before any section");
    expect_read("[a\nx = 1\ny = 2\n[b]\nz = 3\n", "1[bad]\n1!the section has no closing bracket; write it as "
                                                  "[section] or [section name]\n4[b]\n5z=3\n");
}

static void test_nul(void **state)
{
    struct seen s;
    UNUSED(state);
    read_into(&s, "[a]\nx = 1\0002\ny = 3\n", 18);
    assert_int_equal(s.problems, 1);
    assert_non_null(strstr(s.text, "2!the line contains a NUL byte"));
    assert_non_null(strstr(s.text, "3y=3"));
    assert_null(strstr(s.text, "2x="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_trap_long_line),
        cmocka_unit_test(test_value_beyond_inihs_200_arrives_whole),
        cmocka_unit_test(test_trap_section_name),
        cmocka_unit_test(test_trap_indented),
        cmocka_unit_test(test_trap_empty_section),
        cmocka_unit_test(test_trap_section_tail_and_colon),
        cmocka_unit_test(test_bad_lines),
        cmocka_unit_test(test_nul),
    };
    return cmocka_run_group_tests_name("config/ini_read", tests, NULL, NULL);
}
