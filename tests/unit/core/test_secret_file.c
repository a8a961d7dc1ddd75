/* test_secret_file.c: what is written is read, by nobody else; what is no such file is not. */
#include "core/secret_file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/test_secret.XXXXXX";
static char path[64], other[64];

static int setup(void **state)
{
    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/new/secret", dir);
    snprintf(other, sizeof other, "%s/new/other", dir);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    unlink(path);
    unlink(other);
    *strrchr(path, '/') = '\0';
    rmdir(path);
    rmdir(dir);
    return 0;
}

static void test_written_and_read(void **state)
{
    UNUSED(state);
    char text[32];
    struct stat st;
    assert_int_equal(secret_file_read(path, text, sizeof text), 0);
    assert_true(secret_file_write(path, "first")); /* and the folder made */
    assert_true(secret_file_write(path, "a secret"));
    assert_int_equal(secret_file_read(path, text, sizeof text), 8);
    assert_string_equal(text, "a secret");
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    assert_int_equal(secret_file_read(path, text, 9), 8);
    assert_int_equal(secret_file_read(path, text, 8), 0); /* no room for it */
}

static void test_open_to_others(void **state)
{
    UNUSED(state);
    char text[32];
    struct stat st;
    assert_true(secret_file_write(path, "seen") && chmod(path, 0644) == 0);
    assert_int_equal(secret_file_read(path, text, sizeof text), 4);
    assert_true(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
}

static void test_links_are_not_followed(void **state)
{
    UNUSED(state);
    char text[32];
    assert_true(secret_file_write(other, "elsewhere"));
    unlink(path);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(secret_file_read(path, text, sizeof text), 0);
    assert_true(secret_file_write(path, "mine")); /* takes the link's place */
    assert_int_equal(secret_file_read(other, text, sizeof text), 9);
    assert_string_equal(text, "elsewhere");
}

static void test_no_place_for_it(void **state)
{
    UNUSED(state);
    assert_false(secret_file_write("/dev/null/x", "y"));
    assert_int_equal(errno, ENOTDIR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_and_read),
        cmocka_unit_test(test_open_to_others),
        cmocka_unit_test(test_links_are_not_followed),
        cmocka_unit_test(test_no_place_for_it),
    };
    return cmocka_run_group_tests_name("core/secret_file", tests, setup, teardown);
}
