/* test_root_open.c: what is opened below a folder, and that nothing else is: by openat2 and without it. */
#include "proxy/root_open.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char base[] = "/tmp/root_open_XXXXXX", folder[sizeof base + 8], path[512];

static const char *at(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", base, name);
    return path;
}

static void make_file(const char *name)
{
    FILE *f = fopen(at(name), "w");
    assert_non_null(f);
    fputs(name, f);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    if (mkdtemp(base) == NULL)
        return -1;
    snprintf(folder, sizeof folder, "%s/root", base);
    mkdir(folder, 0755);
    mkdir(at("root/sub"), 0755);
    make_file("secret");
    make_file("root/a");
    make_file("root/sub/b");
    assert_int_equal(symlink("sub/b", at("root/inside")), 0);
    assert_int_equal(symlink("../secret", at("root/outside")), 0);
    assert_int_equal(symlink(base, at("root/absolute")), 0);
    assert_int_equal(symlink("loop", at("root/loop")), 0);
    assert_int_equal(symlink("root", at("current")), 0);
    mkfifo(at("root/fifo"), 0644);
    return 0;
}

static int teardown(void **state)
{
    char command[sizeof base + 16];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", base);
    return system(command);
}

static enum root_found open_one(const char *name)
{
    int fd = -1;
    struct stat st;
    const enum root_found found = root_open(folder, name, &fd, &st);
    assert_int_equal(found == ROOT_FILE, fd >= 0);
    if (fd >= 0)
        close(fd);
    return found;
}

static void test_what_is_found(void **state)
{
    (void)state;
    assert_int_equal(open_one("a"), ROOT_FILE);
    assert_int_equal(open_one("sub/b"), ROOT_FILE);
    assert_int_equal(open_one("sub"), ROOT_FOLDER);
    assert_int_equal(open_one("none"), ROOT_NOTHING);
    assert_int_equal(open_one("a/b"), ROOT_NOTHING);
    assert_int_equal(open_one("fifo"), ROOT_NOTHING); /* without waiting for who writes */
    assert_int_equal(open_one("loop"), ROOT_NOTHING);
}

static void test_nothing_outside(void **state)
{
    (void)state;
    assert_int_equal(open_one("outside"), ROOT_NOTHING);
    assert_int_equal(open_one("absolute/secret"), ROOT_NOTHING);
    assert_int_equal(open_one("../secret"), ROOT_NOTHING);
    assert_int_equal(open_one("sub/../../secret"), ROOT_NOTHING);
}

static void test_the_folder(void **state)
{
    int fd = -1;
    struct stat st;
    (void)state;
    assert_int_equal(root_open(at("current"), "a", &fd, &st), ROOT_FILE); /* a link as deploys swap it */
    close(fd);
    assert_int_equal(root_open(at("nowhere"), "a", &fd, &st), ROOT_FAILED);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(root_open(at("secret"), "a", &fd, &st), ROOT_FAILED);
}

static void test_without_openat2(void **state)
{
    (void)state;
    const int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = root_open_walk(dir, "sub/b");
    assert_true(fd >= 0);
    close(fd);
    static const char *const none[] = {"inside",   "outside", "absolute/secret", "none", "a/b",
                                       "sub/none", "loop"};
    for (size_t i = 0; i < ARRAY_LEN(none); i++) {
        if ((fd = root_open_walk(dir, none[i])) >= 0)
            fail_msg("%s was opened", none[i]);
    }
    char long_name[600];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(root_open_walk(dir, long_name), -1);
    assert_int_equal(errno, ENAMETOOLONG);
    close(dir);
}

static void test_out_of_descriptors(void **state)
{
    struct rlimit before;
    (void)state;
    getrlimit(RLIMIT_NOFILE, &before);
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    for (int room = 0; room < 2; room++) {
        const struct rlimit none = {(rlim_t)(next + room), before.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        const enum root_found found = open_one("sub/b");
        setrlimit(RLIMIT_NOFILE, &before);
        assert_int_equal(found, ROOT_NO_MEMORY);
    }
    assert_int_equal(open_one("sub/b"), ROOT_FILE);
}

/* Somebody has it open for writing and a lease on it, as Samba does for its clients: it is there. */
static void test_not_now(void **state)
{
    (void)state;
    const int owner = open(at("root/a"), O_RDWR | O_CLOEXEC);
    signal(SIGIO, SIG_IGN);
    if (fcntl(owner, F_SETLEASE, F_WRLCK) != 0) {
        close(owner);
        skip();
    }
    assert_int_equal(open_one("a"), ROOT_FAILED);
    assert_int_equal(errno, EAGAIN);
    close(owner);
    assert_int_equal(open_one("a"), ROOT_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_found),      cmocka_unit_test(test_nothing_outside),
        cmocka_unit_test(test_the_folder),         cmocka_unit_test(test_without_openat2),
        cmocka_unit_test(test_out_of_descriptors), cmocka_unit_test(test_not_now),
    };
    return cmocka_run_group_tests_name("root_open", tests, setup, teardown);
}
