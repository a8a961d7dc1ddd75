/* test_program.c: the program finds its own file by whatever it was called, and starts it with nothing but
 * what is meant for it. */
#include "proxy/program.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/handover.h"

static char *const *real_argv;

static void assert_found(const char *called)
{
    char *argv[] = {(char *)(uintptr_t)called, NULL};
    struct stat self, found;
    program_remember(argv);
    assert_int_equal(program_path()[0], '/');
    assert_int_equal(stat("/proc/self/exe", &self), 0);
    assert_int_equal(stat(program_path(), &found), 0);
    assert_true(self.st_dev == found.st_dev && self.st_ino == found.st_ino);
}

static void test_its_own_file(void **state)
{
    UNUSED(state);
    char folder[] = "/tmp/millpond-program-XXXXXX", path[64];
    assert_found(real_argv[0]);
    assert_found("millpond"); /* found by PATH, which the kernel knows */
    assert_found("/bin/sh");  /* somebody has lied */
    assert_found("/proc/self/exe");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/link", folder);
    char *self = realpath("/proc/self/exe", NULL);
    assert_int_equal(symlink(self, path), 0);
    assert_found(path);
    assert_string_equal(program_path(), path); /* the link, which may lead elsewhere by then */
    unlink(path);
    rmdir(folder);
    free(self);
}

/* It is this program once more, which then is child(). */
static void test_the_child_has_what_it_needs(void **state)
{
    UNUSED(state);
    char *argv[] = {real_argv[0], (char *)(uintptr_t) "child", NULL};
    int ends[2], status = -1, other = open("/dev/null", O_RDONLY); /* not close-on-exec */
    pid_t pid;
    assert_int_equal(pipe(ends), 0);
    assert_true(other > 2);
    setenv(HANDOVER_VARIABLE, "stale", 1);
    program_remember(argv);
    assert_int_equal(program_spawn(ends[1], &pid), 0);
    unsetenv(HANDOVER_VARIABLE);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    char got = 0;
    assert_int_equal(read(ends[0], &got, 1), 1);
    close(ends[0]);
    close(ends[1]);
    close(other);
}

static int child(void)
{
    const char *told = getenv(HANDOVER_VARIABLE);
    if (told == NULL || atoi(told) != HANDOVER_CHILD_FD || getpgrp() != getpid())
        return 1;
    for (int fd = HANDOVER_CHILD_FD + 1; fd < 64; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            return 2;
    }
    return write(HANDOVER_CHILD_FD, "x", 1) == 1 ? 0 : 3;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_own_file),
        cmocka_unit_test(test_the_child_has_what_it_needs),
    };
    if (argc > 1 && strcmp(argv[1], "child") == 0)
        return child();
    real_argv = argv;
    return cmocka_run_group_tests_name("program", tests, NULL, NULL);
}
