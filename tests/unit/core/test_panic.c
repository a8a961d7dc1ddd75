/* test_panic.c: a failed assertion ends the process by abort and says where and why on stderr. */
#include "core/panic.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct thing {
    uint32_t magic;
};

static void failing_assert(void)
{
    int evaluated = 0;
    ASSERT(++evaluated == 2);
}

static void plain_panic(void)
{
    PANIC("the sky fell");
}

static void wrong_magic(void)
{
    struct thing t = {0x1234};
    CHECK_MAGIC(&t, 0x4321u);
}

static void null_object(void)
{
    struct thing *t = NULL;
    CHECK_MAGIC(t, 0x4321u);
}

static void long_message(void)
{
    char what[2000];
    memset(what, 'w', sizeof what - 1);
    what[sizeof what - 1] = '\0';
    panic_at("file.c", 7, "func", what);
}

static void passing(void)
{
    int evaluated = 0;
    struct thing t = {0x1234};
    ASSERT(++evaluated == 1);
    CHECK_MAGIC(&t, 0x1234u);
    if (evaluated != 1) /* once */
        abort();
}

/* Runs `fn` in a child; its wait status, and what it wrote to stderr. */
static int run(void (*fn)(void), char *text, size_t bytes)
{
    int fds[2], status;
    size_t got = 0;
    ssize_t n;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        fn();
        _exit(3);
    }
    close(fds[1]);
    while (got < bytes - 1 && (n = read(fds[0], text + got, bytes - 1 - got)) > 0)
        got += (size_t)n;
    text[got] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void expect_death(void (*fn)(void), const char *place, const char *what)
{
    char text[8192];
    int status = run(fn, text, sizeof text);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_int_equal(strncmp(text, "millpond: panic at ", 19), 0);
    assert_non_null(strstr(text, place));
    assert_non_null(strstr(text, what));
}

static void test_deaths(void **state)
{
    UNUSED(state);
    expect_death(failing_assert, "test_panic.c:", "in failing_assert: ++evaluated == 2\n");
    expect_death(plain_panic, "test_panic.c:", "in plain_panic: the sky fell\n");
    expect_death(wrong_magic, "test_panic.c:", "in wrong_magic: ");
    expect_death(null_object, "test_panic.c:", "in null_object: ");
    expect_death(long_message, "file.c:7 in func: ", "wwww");
}

static void test_passing(void **state)
{
    UNUSED(state);
    char text[256];
    int status = run(passing, text, sizeof text);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_deaths),
        cmocka_unit_test(test_passing),
    };
    return cmocka_run_group_tests_name("core/panic", tests, NULL, NULL);
}
