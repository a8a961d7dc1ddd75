/* test_report.c: which measurements `make bench` makes again and which its tables rest on. The rules are
 * Python, and so is what they are held against: report_rules.py, run from the root of the project as all
 * tests are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

static void test_disturbed_measurements(void **state)
{
    (void)state;
    if (system("command -v python3 >/dev/null") != 0)
        skip();
    assert_int_equal(system("python3 tests/unit/bench/report_rules.py"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_disturbed_measurements)};
    return cmocka_run_group_tests_name("bench/report", tests, NULL, NULL);
}
