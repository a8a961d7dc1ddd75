/* test_server_files.c: folders, the pid file, users and groups, and the word to systemd. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/server.h"

static char base[] = "/tmp/test_server_files_XXXXXX";
static char base_path[64];

static int make_base(void **state)
{
    UNUSED(state);
    strcpy(base_path, base);
    return mkdtemp(base_path) != NULL ? 0 : -1;
}

static int remove_base(void **state)
{
    UNUSED(state);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", base_path);
    return system(command) == 0 ? 0 : -1;
}

static const char *below(char *buf, size_t bytes, const char *name)
{
    snprintf(buf, bytes, "%s/%s", base_path, name);
    return buf;
}

static bool make_folder(const char *path, char *err, size_t err_bytes)
{
    err[0] = '\0';
    return server_make_folder(path, (uid_t)-1, (gid_t)-1, err, err_bytes);
}

static void test_folders(void **state)
{
    UNUSED(state);
    char path[256], err[256];
    struct stat st;
    assert_true(make_folder(below(path, sizeof path, "a/b/c"), err, sizeof err));
    assert_true(stat(path, &st) == 0 && S_ISDIR(st.st_mode));
    assert_int_equal(st.st_mode & 022, 0); /* nobody else writes there */
    assert_true(make_folder(path, err, sizeof err));
    assert_true(make_folder(below(path, sizeof path, "a//d/"), err, sizeof err));
    assert_int_equal(stat(below(path, sizeof path, "a/d"), &st), 0);
    FILE *f = fopen(below(path, sizeof path, "file"), "w");
    assert_non_null(f);
    fclose(f);
    assert_false(make_folder(below(path, sizeof path, "file/x"), err, sizeof err));
    assert_non_null(strstr(err, "/file: Not a directory"));
}

static void expect_no_folder(const char *path)
{
    char err[256];
    struct stat st;
    bool made = make_folder(path, err, sizeof err);
    if (made && !(stat(path, &st) == 0 && S_ISDIR(st.st_mode)))
        fail_msg("said to be made: %.60s", path);
    if (!made)
        assert_true(err[0] != '\0');
}

/* A success is a folder: not a file of that name, not a path too long to try. */
static void test_no_folder(void **state)
{
    UNUSED(state);
    char path[1024];
    FILE *f = fopen(below(path, sizeof path, "taken"), "w");
    assert_non_null(f);
    fclose(f);
    expect_no_folder(path);
    int n = snprintf(path, sizeof path, "%s/", base_path);
    for (; n < 700; n += 2)
        strcpy(path + n, n % 100 == 0 ? "//" : "x/");
    expect_no_folder(path);
    expect_no_folder("");
}

static void test_pid_file(void **state)
{
    UNUSED(state);
    struct server s = {0};
    char err[512] = "", text[32] = "";
    below(s.pid_path, sizeof s.pid_path, "pid");
    FILE *f = fopen(s.pid_path, "w");
    assert_non_null(f);
    fputs("99999999999999 and more\n", f); /* of an earlier run */
    fclose(f);
    assert_true(server_write_pid(&s, err, sizeof err));
    f = fopen(s.pid_path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    char want[32];
    snprintf(want, sizeof want, "%ld\n", (long)getpid());
    assert_string_equal(text, want);
    server_remove_pid(&s);
    assert_int_equal(access(s.pid_path, F_OK), -1);
    below(s.pid_path, sizeof s.pid_path, "none/pid");
    assert_false(server_write_pid(&s, err, sizeof err));
    assert_non_null(strstr(err, "runtime_dir"));
    assert_false(s.pid_written); /* nothing to remove later */
    server_remove_pid(&s);
}

static void test_full_disk(void **state)
{
    UNUSED(state);
    struct server s = {.pid_path = "/dev/full"};
    char err[512] = "";
    if (access("/dev/full", W_OK) != 0)
        skip();
    assert_false(server_write_pid(&s, err, sizeof err));
    assert_non_null(strstr(err, strerror(ENOSPC)));
    assert_int_equal(access("/dev/full", W_OK), 0); /* it was nobody's file */
}

static void test_users(void **state)
{
    UNUSED(state);
    uid_t uid;
    gid_t gid;
    char err[256] = "";
    struct config_main keep = {.user = "", .group = ""};
    assert_true(server_find_user(&keep, &uid, &gid, err, sizeof err));
    assert_true(uid == (uid_t)-1 && gid == (gid_t)-1);
    assert_true(server_drop_privileges(&keep, err, sizeof err)); /* to nobody else: nothing happens */
    struct config_main nobody = {.user = "no-such-user-here", .group = ""};
    struct config_main nogroup = {.user = "", .group = "no-such-group-here"};
    if (geteuid() != 0) { /* who is not root has nothing to drop */
        assert_true(server_find_user(&nobody, &uid, &gid, err, sizeof err));
        return;
    }
    assert_false(server_find_user(&nobody, &uid, &gid, err, sizeof err));
    assert_non_null(strstr(err, "no-such-user-here"));
    assert_false(server_find_user(&nogroup, &uid, &gid, err, sizeof err));
    assert_non_null(strstr(err, "no-such-group-here"));
    assert_false(server_drop_privileges(&nobody, err, sizeof err));
}

/* In a child, because there is no way back. */
static void test_drop_for_good(void **state)
{
    UNUSED(state);
    if (geteuid() != 0)
        skip();
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char err[256];
        struct config_main m = {.user = "nobody", .group = ""};
        bool ok = server_drop_privileges(&m, err, sizeof err) && geteuid() != 0 && getuid() != 0 &&
                  getegid() != 0 && setuid(0) != 0;
        gid_t groups[64];
        int n = getgroups(64, groups);
        for (int i = 0; i < n; i++)
            ok = ok && groups[i] != 0;
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int notify_socket(struct sockaddr_un *addr, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, len), 0);
    return fd;
}

static void expect_word(int fd, const char *want)
{
    char got[64] = "";
    assert_int_equal(recv(fd, got, sizeof got - 1, 0), strlen(want));
    assert_string_equal(got, want);
}

static void test_notify(void **state)
{
    UNUSED(state);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char name[64];
    unsetenv("NOTIFY_SOCKET");
    server_notify("READY=1"); /* nobody asked */
    below(addr.sun_path, sizeof addr.sun_path, "notify");
    int fd = notify_socket(&addr, sizeof addr);
    setenv("NOTIFY_SOCKET", addr.sun_path, 1);
    server_notify("READY=1");
    expect_word(fd, "READY=1");
    close(fd);
    int n = snprintf(name, sizeof name, "@millpond-test-%ld", (long)getpid());
    struct sockaddr_un abstract = {.sun_family = AF_UNIX};
    memcpy(abstract.sun_path, name, (size_t)n);
    abstract.sun_path[0] = '\0';
    fd = notify_socket(&abstract, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n));
    setenv("NOTIFY_SOCKET", name, 1);
    server_notify("STOPPING=1");
    expect_word(fd, "STOPPING=1");
    setenv("NOTIFY_SOCKET", name + 1, 1); /* neither a path nor abstract */
    server_notify("READY=1");
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    close(fd);
    unsetenv("NOTIFY_SOCKET");
}

static void test_file_limit(void **state)
{
    UNUSED(state);
    struct rlimit before, after, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = MIN((rlim_t)64, before.rlim_max);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(server_client_limit(10), 10);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
    assert_true(after.rlim_cur == before.rlim_max);
    assert_int_equal(server_clients_of(before.rlim_max, 10), 10);
    setrlimit(RLIMIT_NOFILE, &before);
}

/* Who asks for something and what is asked need room both. */
static void test_few_files(void **state)
{
    UNUSED(state);
    assert_int_equal(server_clients_of(0, 10), 1);
    assert_int_equal(server_clients_of(64, 10), 10);
    assert_int_equal(server_clients_of(64, 10000), 20);
    assert_int_equal(server_clients_of(1024, 10000), 548);
    assert_int_equal(server_clients_of(15203, 10000), 10000);
    assert_int_equal(server_clients_of(UINT64_MAX, UINT32_MAX), UINT32_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders),   cmocka_unit_test(test_no_folder),
        cmocka_unit_test(test_pid_file),  cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_users),     cmocka_unit_test(test_drop_for_good),
        cmocka_unit_test(test_notify),    cmocka_unit_test(test_file_limit),
        cmocka_unit_test(test_few_files),
    };
    return cmocka_run_group_tests_name("proxy/server_files", tests, make_base, remove_base);
}
