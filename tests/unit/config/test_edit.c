/* test_edit.c: one line of an ini file more or less, and nothing else of it changed. */
#include "config_test.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/edit.h"

static char dir[64], main_file[96], part_file[96];

static int setup(void **state)
{
    UNUSED(state);
    strcpy(dir, "/tmp/millpond-edit-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(main_file, sizeof main_file, "%s/main.ini", dir);
    snprintf(part_file, sizeof part_file, "%s/part.ini", dir);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    unlink(main_file);
    unlink(part_file);
    assert_int_equal(rmdir(dir), 0); /* nothing is left behind */
    return 0;
}

static void expect_edit(bool ok, const char *why, bool want, const char *part)
{
    if (ok != want || (!ok && strstr(why, part) == NULL))
        fail_msg("%d: %s", ok, why);
}

static void add(const char *pool, const char *text, bool want, const char *part)
{
    struct config_edit e;
    char why[CONFIG_EDIT_WHY] = "";
    expect_edit(config_edit_add(&e, main_file, pool, text, why) && config_edit_commit(&e, why), why, want,
                part);
    config_edit_free(&e);
}

static void take_out(const char *server, bool want, const char *part)
{
    struct config_edit e;
    char why[CONFIG_EDIT_WHY] = "";
    expect_edit(config_edit_remove(&e, main_file, "app", server, why) && config_edit_commit(&e, why), why,
                want, part);
    config_edit_free(&e);
}

static void test_one_line(void **state)
{
    UNUSED(state);
    put_file(main_file,
             "; a\n[pool app]\nserver = a:1 ; first\n; of last year\nserver=b:1 name=b\nretries = 1\n"
             "[pool x]\nserver = a:1\n");
    assert_int_equal(chmod(main_file, 0640), 0);
    add("app", "c:1 weight=2", true, "");
    expect_file(main_file, "; a\n[pool app]\nserver = a:1 ; first\n; of last year\nserver=b:1 name=b\n"
                           "server = c:1 weight=2\nretries = 1\n[pool x]\nserver = a:1\n");
    take_out("a:1", true, "");
    expect_file(main_file, "; a\n[pool app]\n; of last year\nserver=b:1 name=b\nserver = c:1 weight=2\n"
                           "retries = 1\n[pool x]\nserver = a:1\n");
    struct stat st;
    assert_int_equal(stat(main_file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
}

static void test_line_ends(void **state)
{
    UNUSED(state);
    put_file(main_file, "[pool app]\r\nserver = a:1\r\nretries = 1\r\n");
    add("app", "b:1", true, "");
    expect_file(main_file, "[pool app]\r\nserver = a:1\r\nserver = b:1\r\nretries = 1\r\n");
    put_file(main_file, "[pool app]\nserver = a:1");
    add("app", "b:1", true, "");
    expect_file(main_file, "[pool app]\nserver = a:1\nserver = b:1");
    take_out("b:1", true, "");
    expect_file(main_file, "[pool app]\nserver = a:1\n");
}

/* The pool stands in a file that the main one includes, which is reached by a link. */
static void test_the_file_that_has_the_pool(void **state)
{
    UNUSED(state);
    char real[128];
    struct stat st;
    snprintf(real, sizeof real, "%s/real", dir);
    put_file(main_file, "[millpond]\ninclude = part.ini\n");
    put_file(real, "[pool app]\nserver = a:1\n");
    assert_int_equal(symlink(real, part_file), 0);
    add("app", "b:1", true, "");
    expect_file(real, "[pool app]\nserver = a:1\nserver = b:1\n");
    expect_file(main_file, "[millpond]\ninclude = part.ini\n");
    assert_true(lstat(part_file, &st) == 0 && S_ISLNK(st.st_mode));
    unlink(real);
}

static void test_refusals(void **state)
{
    UNUSED(state);
    static const char text[] = "[pool app]\nserver = a:1\n";
    put_file(main_file, text);
    add("app", "a:1", false, "already there");
    add("app", "b:1 wieght=1", false, "did you mean");
    add("apq", "b:1", false, "there is no pool apq");
    take_out("a:1", false, "a:1 is the only server that");
    expect_file(main_file, text);
    put_file(main_file, "[pool app]\nserver = a:1\nsever = b:1\n");
    add("app", "c:1", false, ":3: ");
}

static void test_nothing_to_take_out(void **state)
{
    UNUSED(state);
    static const char text[] = "[pool app]\nserver = a:1\n";
    struct config_edit e;
    char why[CONFIG_EDIT_WHY] = "";
    put_file(main_file, text);
    assert_true(config_edit_remove(&e, main_file, "app", "b:1", why));
    assert_null(e.path);
    assert_true(config_edit_commit(&e, why));
    assert_null(e.path);
    expect_file(main_file, text);
    config_edit_free(&e);
    assert_false(config_edit_remove(&e, main_file, "apq", "b:1", why));
    assert_non_null(strstr(why, "there is no pool apq in "));
    config_edit_free(&e);
    /* Somebody writes it there before the commit. */
    assert_true(config_edit_remove(&e, main_file, "app", "b:1", why));
    put_file(main_file, "[pool app]\nserver = a:1\nserver = b:1\n");
    assert_true(config_edit_commit(&e, why));
    assert_int_equal(e.line, 3);
    expect_file(main_file, text);
    config_edit_free(&e);
}

static void test_who_else_writes_is_not_undone(void **state)
{
    UNUSED(state);
    struct config_edit e;
    char why[CONFIG_EDIT_WHY] = "";
    put_file(main_file, "[pool app]\nserver = a:1\n");
    assert_true(config_edit_add(&e, main_file, "app", "b:1", why));
    put_file(main_file, "; new\n[pool app]\nserver = c:1\nretries = 3\n");
    assert_true(config_edit_commit(&e, why));
    assert_int_equal(e.line, 4);
    config_edit_free(&e);
    expect_file(main_file, "; new\n[pool app]\nserver = c:1\nserver = b:1\nretries = 3\n");
    /* What he writes cannot be edited. */
    assert_true(config_edit_remove(&e, main_file, "app", "b:1", why));
    put_file(main_file, "[pool app]\nserver = b:1\n");
    assert_false(config_edit_commit(&e, why));
    assert_non_null(strstr(why, "b:1 is the only server that"));
    expect_file(main_file, "[pool app]\nserver = b:1\n");
    put_file(main_file, "[pool app]\nsever = b:1\n");
    assert_false(config_edit_commit(&e, why));
    expect_file(main_file, "[pool app]\nsever = b:1\n");
    config_edit_free(&e);
}

/* Somebody has it open to write all the time, and nothing comes. */
static void test_who_is_about_to_write_is_waited_for_by_the_user(void **state)
{
    UNUSED(state);
    struct config_edit e;
    char why[CONFIG_EDIT_WHY] = "";
    put_file(main_file, "[pool app]\nserver = a:1\n");
    int fd = open(main_file, O_RDONLY | O_CLOEXEC);
    const bool has_leases = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
    close(fd);
    if (!has_leases)
        skip();
    fd = open(main_file, O_WRONLY | O_CLOEXEC);
    assert_true(config_edit_add(&e, main_file, "app", "b:1", why));
    assert_false(config_edit_commit(&e, why));
    assert_non_null(strstr(why, "changed by somebody else meanwhile; try again"));
    config_edit_free(&e);
    close(fd);
    expect_file(main_file, "[pool app]\nserver = a:1\n");
    add("app", "b:1", true, "");
}

/* All have made their text ready before the first is put in place. */
static void test_many_at_once(void **state)
{
    UNUSED(state);
    struct config_edit e[6];
    char why[CONFIG_EDIT_WHY] = "";
    static const char *const texts[] = {"n0:1", "n1:1", "n2:1", "n3:1"};
    put_file(main_file, "[pool app]\nserver = a:1\nserver = b:1\nserver = c:1\n");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_true(config_edit_add(&e[i], main_file, "app", texts[i], why));
    assert_true(config_edit_remove(&e[4], main_file, "app", "a:1", why));
    assert_true(config_edit_remove(&e[5], main_file, "app", "c:1", why));
    for (size_t i = 0; i < ARRAY_LEN(e); i++) {
        assert_true(config_edit_commit(&e[i], why));
        config_edit_free(&e[i]);
    }
    expect_file(main_file, "[pool app]\nserver = b:1\nserver = n0:1\nserver = n1:1\nserver = n2:1\n"
                           "server = n3:1\n");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_one_line),
        T(test_line_ends),
        T(test_the_file_that_has_the_pool),
        T(test_refusals),
        T(test_nothing_to_take_out),
        T(test_who_else_writes_is_not_undone),
        T(test_who_is_about_to_write_is_waited_for_by_the_user),
        T(test_many_at_once),
    };
    return cmocka_run_group_tests_name("config/edit", tests, NULL, NULL);
}
