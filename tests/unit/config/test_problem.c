/* test_problem.c: order, form and number of the messages. */
#include "config_test.h"

#include "config/problem.h"

static const char file_a[] = "a.ini", file_b[] = "b.ini";

static void test_sorted_by_file_and_line(void **state)
{
    const char *files[] = {file_a, file_b};
    struct problem_list l = {.main_file = file_a, .files = files, .file_count = 2};
    struct config_problems p;
    UNUSED(state);
    problem_add(&l, false, (struct config_origin){file_b, 1}, "[pool x]", "server", "wrong %d; right", 1);
    problem_add(&l, true, (struct config_origin){file_a, 10}, "[pool x]", NULL, "two; right");
    problem_add(&l, false, (struct config_origin){file_a, 10}, NULL, NULL, "three; right");
    problem_add(&l, false, (struct config_origin){file_a, 2}, NULL, NULL, "four; right");
    problem_add(&l, false, (struct config_origin){.file = NULL}, NULL, NULL, "five; right");
    problem_list_finish(&l, &p);
    static const char *const expected[] = {"a.ini: five; right", "a.ini:2: four; right",
                                           "a.ini:10: [pool x]: two; right", "a.ini:10: three; right",
                                           "b.ini:1: [pool x] server: wrong 1; right"};
    assert_int_equal(p.count, 5);
    assert_int_equal(p.errors, 4);
    for (size_t i = 0; i < 5; i++) {
        assert_string_equal(p.items[i].text, expected[i]);
        assert_int_equal(p.items[i].warning, i == 2);
    }
    config_problems_free(&p);
    assert_int_equal(p.count, 0);
    config_problems_free(&p); /* again is harmless */
}

static void test_no_more_than_the_limit(void **state)
{
    struct problem_list l = {.main_file = file_a};
    struct config_problems p;
    UNUSED(state);
    for (int i = 1; i <= PROBLEM_MAX + 50; i++)
        problem_add(&l, false, (struct config_origin){file_a, i}, NULL, NULL, "x; y");
    problem_list_finish(&l, &p);
    assert_int_equal(p.errors, PROBLEM_MAX + 50);
    assert_int_equal(p.count, PROBLEM_MAX + 1);
    assert_string_equal(p.items[249].text, "a.ini:250: x; y");
    assert_string_equal(p.items[PROBLEM_MAX].text, "a.ini: and 50 more; they show once these are put right");
    config_problems_free(&p);
}

static void test_long_values_are_cut(void **state)
{
    char text[1200];
    struct config_problems p;
    UNUSED(state);
    size_t len = (size_t)snprintf(text, sizeof text, APP "[log]\nlevel = ");
    memset(text + len, 'x', 1000);
    assert_null(config_load_text("t.ini", text, len + 1000, &p));
    assert_true(strlen(p.items[0].text) < 250);
    config_problems_free(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sorted_by_file_and_line),
        cmocka_unit_test(test_no_more_than_the_limit),
        cmocka_unit_test(test_long_values_are_cut),
    };
    return cmocka_run_group_tests_name("config/problem", tests, NULL, NULL);
}
