/* test_log_sink.c: a log whose file loses its name, alone or with its folder, at times that the test gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log_sink.h"

static char dir[64], folder[96], path[128], moved[128];
static struct log_sink *sink;

static int begin(void **state)
{
    char err[256];
    (void)state;
    strcpy(dir, "/tmp/millpond-sink-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(folder, sizeof folder, "%s/log", dir);
    snprintf(path, sizeof path, "%s/a.log", folder);
    snprintf(moved, sizeof moved, "%s/a.log.1", folder);
    if (mkdir(folder, 0700) != 0)
        return -1;
    sink = log_sink_open(path, err, sizeof err);
    return sink == NULL ? -1 : 0;
}

static int end(void **state)
{
    char command[128];
    (void)state;
    log_sink_free(sink);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static enum log_sink_put put(const char *line, mono_ms_t now_ms)
{
    const enum log_sink_put p = log_sink_put(sink, slice_str(line), now_ms);
    log_sink_write(sink, now_ms);
    return p;
}

static void expect_text(const char *file, const char *wanted)
{
    char text[256];
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    assert_string_equal(text, wanted);
}

static void test_removed_file_is_made_again(void **state)
{
    (void)state;
    put("one\n", 1);
    assert_int_equal(unlink(path), 0);
    put("lost\n", LOG_SINK_LOOK_MS); /* it is not asked with each write */
    put("two\n", LOG_SINK_LOOK_MS + 1);
    put("three\n", LOG_SINK_LOOK_MS + 2);
    expect_text(path, "two\nthree\n");
    assert_int_equal(sink->failed_errno, 0);
}

static void test_removed_folder_is_waited_for(void **state)
{
    mono_ms_t now_ms = 1;
    (void)state;
    put("one\n", now_ms);
    assert_true(unlink(path) == 0 && rmdir(folder) == 0);
    now_ms += LOG_SINK_LOOK_MS;
    put("kept\n", now_ms);
    assert_int_equal(sink->failed_errno, ENOENT);
    assert_true(log_sink_is_broken(sink, now_ms));
    assert_int_equal(access(folder, F_OK), -1);
    now_ms += LOG_SINK_RETRY_MS;
    log_sink_write(sink, now_ms); /* still not */
    assert_int_equal(sink->failed_errno, ENOENT);
    assert_int_equal(mkdir(folder, 0700), 0);
    log_sink_write(sink, now_ms); /* not yet */
    assert_int_equal(access(path, F_OK), -1);
    now_ms += LOG_SINK_RETRY_MS;
    log_sink_write(sink, now_ms);
    expect_text(path, "kept\n");
    assert_false(log_sink_is_broken(sink, now_ms));
}

static void test_moved_file_is_a_rotation_s(void **state)
{
    (void)state;
    put("one\n", 1);
    assert_int_equal(rename(path, moved), 0);
    put("two\n", 1 + LOG_SINK_LOOK_MS);
    assert_int_equal(access(path, F_OK), -1);
    expect_text(moved, "one\ntwo\n");
    assert_int_equal(unlink(moved), 0); /* it has gone further than that */
    put("three\n", 1 + 2 * LOG_SINK_LOOK_MS);
    expect_text(path, "three\n");
}

/* The first half is in the file that was removed. */
static void test_half_a_line_is_not_begun_with(void **state)
{
    (void)state;
    put("half", 1);
    assert_int_equal(unlink(path), 0);
    put(" a line\nwhole\n", 1 + LOG_SINK_LOOK_MS);
    expect_text(path, "whole\n");
}

#define SINK_TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SINK_TEST(test_removed_file_is_made_again),
        SINK_TEST(test_removed_folder_is_waited_for),
        SINK_TEST(test_moved_file_is_a_rotation_s),
        SINK_TEST(test_half_a_line_is_not_begun_with),
    };
    return cmocka_run_group_tests_name("core/log_sink", tests, NULL, NULL);
}
