/* test_h2_priority.c: what the Priority field says, and what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/h2_priority.h"

#include <string.h>

/* Urgency, 'i' for incremental, '-' when nothing was said; behind a first field of "u=5, i". */
static const char *after_first(const char *value)
{
    static char out[4];
    struct h2_priority p = {.urgency = H2_URGENCY_DEFAULT};
    h2_priority_take(&p, SLICE_LIT("u=5, i"));
    h2_priority_take(&p, slice_str(value));
    out[0] = (char)('0' + p.urgency);
    out[1] = p.incremental ? 'i' : '.';
    return out;
}

static const char *alone(const char *value)
{
    static char out[4];
    struct h2_priority p = {.urgency = H2_URGENCY_DEFAULT};
    h2_priority_take(&p, slice_str(value));
    out[0] = (char)('0' + p.urgency);
    out[1] = p.incremental ? 'i' : '.';
    out[2] = p.said ? '\0' : '-';
    return out;
}

static void test_values(void **state)
{
    UNUSED(state);
    assert_string_equal(alone("u=0"), "0.");
    assert_string_equal(alone("u=7, i"), "7i");
    assert_string_equal(alone("i, u=1"), "1i");
    assert_string_equal(alone("i=?0"), "3.");
    assert_string_equal(alone("i=?1;x=y"), "3i");
    assert_string_equal(alone("u=1, u=2"), "2.");
    assert_string_equal(alone(""), "3.");
    assert_string_equal(alone("x=\"u=1\", u=4"), "4.");
}

/* RFC 9218 section 4: unknown, of another type, or out of range. */
static void test_passed_over(void **state)
{
    UNUSED(state);
    assert_string_equal(alone("u=8, i"), "3i");
    assert_string_equal(alone("u=-1"), "3.");
    assert_string_equal(alone("u=1.5"), "3.");
    assert_string_equal(alone("u=\"1\""), "3.");
    assert_string_equal(alone("u, i=1"), "3.");
    assert_string_equal(alone("U=1"), "3.-");
    assert_string_equal(alone("uu=1, ii"), "3.");
}

static void test_broken(void **state)
{
    UNUSED(state);
    assert_string_equal(alone("u=1,"), "3.-");
    assert_string_equal(alone("u=1 i"), "3.-");
    assert_string_equal(alone("i, u="), "3.-");
    assert_string_equal(alone("u=99999999999999999999"), "3.-");
}

static void test_several_fields(void **state)
{
    UNUSED(state);
    assert_string_equal(after_first("u=1"), "1i");
    assert_string_equal(after_first("i=?0"), "5.");
    assert_string_equal(after_first("u=1, !"), "5i");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_values), cmocka_unit_test(test_passed_over),
                                       cmocka_unit_test(test_broken), cmocka_unit_test(test_several_fields)};
    return cmocka_run_group_tests_name("core/h2_priority", tests, NULL, NULL);
}
