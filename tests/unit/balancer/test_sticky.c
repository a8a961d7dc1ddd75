/* test_sticky.c: the key, made once and kept; values that differ by key, pool and server, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "balancer/sticky.h"

static char dir[] = "/tmp/test_sticky.XXXXXX";
static char file[64];

static int setup(void **state)
{
    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/" STICKY_KEY_FILE, dir);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    unlink(file);
    rmdir(dir);
    return 0;
}

static void test_key_is_kept(void **state)
{
    UNUSED(state);
    struct sticky_key first = {0}, second = {0}, third = {0};
    struct stat st;
    sticky_key_obtain(&first, dir);
    assert_true(first.known);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    sticky_key_obtain(&second, dir);
    assert_memory_equal(first.bytes, second.bytes, STICKY_KEY_BYTES);
    unlink(file);
    sticky_key_obtain(&second, dir); /* known: the file is not asked again */
    assert_memory_equal(first.bytes, second.bytes, STICKY_KEY_BYTES);
    assert_int_not_equal(access(file, F_OK), 0);
    sticky_key_obtain(&third, dir);
    assert_memory_not_equal(first.bytes, third.bytes, STICKY_KEY_BYTES);
}

static void test_broken_key_is_replaced(void **state)
{
    UNUSED(state);
    static const char *const broken[] = {
        "", "abc\n", "zz000000000000000000000000000000000000000000000000000000000000zz\n"};
    for (size_t i = 0; i < ARRAY_LEN(broken); i++) {
        FILE *f = fopen(file, "w");
        fputs(broken[i], f);
        fclose(f);
        struct sticky_key made = {0}, again = {0};
        sticky_key_obtain(&made, dir);
        sticky_key_obtain(&again, dir);
        assert_memory_equal(made.bytes, again.bytes, STICKY_KEY_BYTES);
    }
}

static void test_key_that_cannot_be_kept(void **state)
{
    UNUSED(state);
    struct sticky_key k = {0}, other = {0};
    sticky_key_obtain(&k, "/dev/null/nowhere");
    sticky_key_obtain(&other, "/dev/null/nowhere");
    assert_true(k.known);
    assert_memory_not_equal(k.bytes, other.bytes, STICKY_KEY_BYTES);
}

static void test_values(void **state)
{
    UNUSED(state);
    struct sticky_key k = {.known = true, .bytes = {1, 2, 3}}, other = {.known = true};
    char v[STICKY_CHARS + 1], w[STICKY_CHARS + 1];
    assert_true(sticky_value(&k, "app", "a", v));
    assert_int_equal(strlen(v), STICKY_CHARS);
    assert_int_equal(strspn(v, "0123456789abcdef"), STICKY_CHARS);
    assert_true(sticky_value(&k, "app", "a", w) && sticky_values_equal(v, w));
    assert_true(sticky_value(&k, "app", "b", w) && !sticky_values_equal(v, w));
    assert_true(sticky_value(&other, "app", "a", w) && !sticky_values_equal(v, w));
    /* Which part is the pool's name matters. */
    assert_true(sticky_value(&k, "appa", "", w) && !sticky_values_equal(v, w));
    assert_true(sticky_value(&k, "ap", "pa", w) && !sticky_values_equal(v, w));
    /* HMAC-SHA-256 with the key above and "app", NUL, "a", its first half. */
    assert_string_equal(v, "d1db437b6dd1491ab3d1ceaf87bf9fb2");
    v[STICKY_CHARS - 1] ^= 1;
    assert_true(sticky_value(&k, "app", "a", w) && !sticky_values_equal(v, w));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_is_kept),
        cmocka_unit_test(test_broken_key_is_replaced),
        cmocka_unit_test(test_key_that_cannot_be_kept),
        cmocka_unit_test(test_values),
    };
    return cmocka_run_group_tests_name("balancer/sticky", tests, setup, teardown);
}
