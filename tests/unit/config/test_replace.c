/* test_replace.c: a file gets another text, unless somebody else was there: before, in the very moment, or
 * with the file open to write. The system call is the test's own, which lets others in just before it. */
#include "config_test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "config/replace.h"

#define OLD "[pool app]\nserver = a:1\n"
#define NEW "[pool app]\nserver = a:1\nserver = b:1\n"

static char dir[64], path[96], spare[96];
static struct {
    void (*before[2])(void); /* the first call, and the second */
    unsigned calls;
    int error; /* of all calls; 0: none */
} fake_swap;

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    const unsigned call = fake_swap.calls++;
    if (call < ARRAY_LEN(fake_swap.before) && fake_swap.before[call] != NULL)
        fake_swap.before[call]();
    errno = fake_swap.error;
    return errno != 0 ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
}

/* As most editors do, and as some do. */
static void save_by_rename(void)
{
    put_file(spare, "by rename\n");
    assert_int_equal(rename(spare, path), 0);
}

static void save_in_place(void)
{
    put_file(path, "in place\n");
}

static void remove_it(void)
{
    assert_int_equal(unlink(path), 0);
}

static int setup(void **state)
{
    UNUSED(state);
    strcpy(dir, "/tmp/millpond-replace-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/main.ini", dir);
    snprintf(spare, sizeof spare, "%s/spare", dir);
    memset(&fake_swap, 0, sizeof fake_swap);
    put_file(path, OLD);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    unlink(path);
    assert_int_equal(rmdir(dir), 0); /* nothing is left behind */
    return 0;
}

static struct replace_old look(void)
{
    struct replace_old old = {.text = SLICE_LIT(OLD)};
    assert_int_equal(stat(path, &old.st), 0);
    return old;
}

static void expect(const struct replace_old *old, enum replace_result want, const char *text)
{
    assert_int_equal(config_replace(path, old, SLICE_LIT(NEW)), want);
    expect_file(path, text);
}

static void test_mode_and_owner_stay(void **state)
{
    UNUSED(state);
    struct stat st;
    assert_int_equal(chmod(path, 0640), 0);
    if (geteuid() == 0)
        assert_int_equal(chown(path, 1234, 4321), 0);
    const struct replace_old old = look();
    expect(&old, REPLACE_DONE, NEW);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode, old.st.st_mode);
    assert_int_equal(st.st_uid, old.st.st_uid);
    assert_int_equal(st.st_gid, old.st.st_gid);
}

/* As acl(5) of Linux has it: version 2, then tag, permissions and id each. User 1234 may read. */
static void test_the_access_list_stays(void **state)
{
    UNUSED(state);
    static const unsigned char acl[] = {
        2,    0, 0, 0,                         /* version */
        0x01, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, /* owner */
        0x02, 0, 4, 0, 0xd2, 0x04, 0,    0,    /* user 1234 */
        0x04, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* group */
        0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, /* mask */
        0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, /* others */
    };
    unsigned char now[sizeof acl + 1];
    if (setxattr(path, "system.posix_acl_access", acl, sizeof acl, 0) != 0) {
        assert_int_equal(errno, ENOTSUP);
        skip();
    }
    const struct replace_old old = look();
    expect(&old, REPLACE_DONE, NEW);
    assert_int_equal(getxattr(path, "system.posix_acl_access", now, sizeof now), sizeof acl);
    assert_memory_equal(now, acl, sizeof acl);
}

static void test_what_changed_before(void **state)
{
    UNUSED(state);
    struct replace_old old = look();
    save_by_rename();
    expect(&old, REPLACE_CHANGED, "by rename\n");
    put_file(path, OLD);
    old = look();
    save_in_place();
    expect(&old, REPLACE_CHANGED, "in place\n");
    put_file(path, OLD);
    old = look();
    assert_int_equal(chmod(path, (old.st.st_mode & 0777) ^ 0040), 0);
    expect(&old, REPLACE_CHANGED, OLD);
    /* As many bytes, within one step of the clock. */
    old = look();
    put_file(path, "[pool app]\nserver = x:1\n");
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){old.st.st_atim, old.st.st_mtim}, 0), 0);
    expect(&old, REPLACE_CHANGED, "[pool app]\nserver = x:1\n");
    old = look();
    remove_it();
    assert_int_equal(config_replace(path, &old, SLICE_LIT(NEW)), REPLACE_CHANGED);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(fake_swap.calls, 0);
}

static void test_what_changes_in_the_moment(void **state)
{
    UNUSED(state);
    struct replace_old old = look();
    fake_swap.before[0] = save_by_rename;
    expect(&old, REPLACE_CHANGED, "by rename\n");
    put_file(path, OLD);
    old = look();
    fake_swap.calls = 0;
    fake_swap.before[0] = save_in_place;
    expect(&old, REPLACE_CHANGED, "in place\n");
    put_file(path, OLD);
    old = look();
    fake_swap.calls = 0;
    fake_swap.before[0] = remove_it;
    assert_int_equal(config_replace(path, &old, SLICE_LIT(NEW)), REPLACE_CHANGED);
    assert_int_equal(access(path, F_OK), -1);
}

/* Twice in a row: the latest counts. */
static void test_what_changes_while_it_is_put_back(void **state)
{
    UNUSED(state);
    struct replace_old old = look();
    fake_swap.before[0] = save_in_place;
    fake_swap.before[1] = save_by_rename;
    expect(&old, REPLACE_CHANGED, "by rename\n");
    put_file(path, OLD);
    old = look();
    fake_swap.calls = 0;
    fake_swap.before[1] = remove_it;
    expect(&old, REPLACE_CHANGED, "in place\n");
}

static void test_who_has_it_open_to_write(void **state)
{
    UNUSED(state);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    const bool has_leases = fcntl(fd, F_SETLEASE, F_RDLCK) == 0;
    close(fd);
    if (!has_leases)
        skip();
    const struct replace_old old = look();
    fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    expect(&old, REPLACE_CHANGED, OLD);
    assert_int_equal(write(fd, "[", 1), 1);
    close(fd);
    expect_file(path, OLD); /* the file that he has open is the one at its place */
    const struct replace_old again = look();
    expect(&again, REPLACE_DONE, NEW);
}

static void test_where_files_cannot_change_places(void **state)
{
    UNUSED(state);
    struct replace_old old = look();
    fake_swap.error = EINVAL;
    expect(&old, REPLACE_DONE, NEW);
    expect(&old, REPLACE_CHANGED, NEW);
}

static void test_failures(void **state)
{
    UNUSED(state);
    const struct replace_old old = look();
    fake_swap.error = EBUSY;
    expect(&old, REPLACE_FAILED, OLD);
    assert_int_equal(errno, EBUSY);
    assert_int_equal(config_replace("/nowhere/at/all", &old, SLICE_LIT(NEW)), REPLACE_FAILED);
    assert_int_equal(errno, ENOENT);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_mode_and_owner_stay),
        T(test_the_access_list_stays),
        T(test_what_changed_before),
        T(test_what_changes_in_the_moment),
        T(test_what_changes_while_it_is_put_back),
        T(test_who_has_it_open_to_write),
        T(test_where_files_cannot_change_places),
        T(test_failures),
    };
    return cmocka_run_group_tests_name("config/replace", tests, NULL, NULL);
}
