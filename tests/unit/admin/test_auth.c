/* test_auth.c: the token's life in state_dir, comparing it, and the Host rule. */
#include "admin_fixture.h"

#include "admin/auth.h"

static struct admin_auth *make(struct fixture *f)
{
    char err[128];
    struct admin_auth *a = admin_auth_create(&f->config, NULL, err, sizeof err);
    assert_non_null(a);
    return a;
}

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fx_init(f);
    f->config.admin.token = "";
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fx_end(*state);
    free(*state);
    return 0;
}

static void token_path(struct fixture *f, char out[160])
{
    snprintf(out, 160, "%s/%s", f->state_dir, ADMIN_TOKEN_FILE);
}

static void test_generated_token_is_kept(void **state)
{
    struct fixture *f = *state;
    char path[160], first[64];
    struct stat st;
    token_path(f, path);
    struct admin_auth *a = make(f);
    assert_int_equal(strlen(admin_auth_token(a)), 32);
    assert_int_equal(strspn(admin_auth_token(a), "0123456789abcdef"), 32);
    assert_string_equal(admin_auth_token_file(a), path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    strcpy(first, admin_auth_token(a));
    admin_auth_free(a);
    a = make(f);
    assert_string_equal(admin_auth_token(a), first);
    admin_auth_free(a);
    unlink(path);
    a = make(f);
    assert_string_not_equal(admin_auth_token(a), first);
    admin_auth_free(a);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void test_token_file_of_a_person(void **state)
{
    struct fixture *f = *state;
    char path[160];
    struct stat st;
    token_path(f, path);
    assert_int_equal(mkdir(f->state_dir, 0700), 0);
    write_file(path, "written-by-a-person\r\n", 0644);
    struct admin_auth *a = make(f);
    assert_string_equal(admin_auth_token(a), "written-by-a-person");
    admin_auth_free(a);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    static const char *const unsound[] = {
        "",
        "\n",
        "short",
        "has a space inside it",
        "line-one-is-long\nline-two-too\n",
        "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11"};
    for (size_t i = 0; i < ARRAY_LEN(unsound); i++) {
        write_file(path, unsound[i], 0600);
        a = make(f);
        assert_int_equal(strspn(admin_auth_token(a), "0123456789abcdef"), 32);
        admin_auth_free(a);
    }
    char *long_text = malloc(600);
    memset(long_text, 'x', 599);
    long_text[599] = '\0';
    write_file(path, long_text, 0600);
    a = make(f);
    assert_int_equal(strlen(admin_auth_token(a)), 32);
    admin_auth_free(a);
    free(long_text);
}

static void test_link_is_not_followed(void **state)
{
    struct fixture *f = *state;
    char path[160], target[160];
    token_path(f, path);
    snprintf(target, sizeof target, "%s/elsewhere", f->dir);
    assert_int_equal(mkdir(f->state_dir, 0700), 0);
    write_file(target, "chosen-by-an-attacker", 0600);
    assert_int_equal(symlink(target, path), 0);
    struct admin_auth *a = make(f);
    assert_string_not_equal(admin_auth_token(a), "chosen-by-an-attacker");
    admin_auth_free(a);
}

static void test_token_that_cannot_be_kept(void **state)
{
    struct fixture *f = *state;
    write_file(f->state_dir, "a file where the folder should be", 0600);
    struct admin_auth *a = make(f);
    assert_int_equal(strlen(admin_auth_token(a)), 32);
    assert_string_equal(admin_auth_token_file(a), "");
    admin_auth_free(a);
}

/* Reloads go on while the folder cannot be written: those who read the token are not shut out. */
static void test_token_of_this_run_stays(void **state)
{
    struct fixture *f = *state;
    char err[128], path[160];
    write_file(f->state_dir, "a file where the folder should be", 0600);
    struct admin_auth *first = make(f);
    struct admin_auth *a = admin_auth_create(&f->config, first, err, sizeof err);
    assert_string_equal(admin_auth_token(a), admin_auth_token(first));
    assert_string_equal(admin_auth_token_file(a), "");
    admin_auth_free(first);
    /* What the configuration said is nothing that was made. */
    f->config.admin.token = "of-the-configuration";
    struct admin_auth *given = admin_auth_create(&f->config, a, err, sizeof err);
    assert_string_equal(admin_auth_token(given), "of-the-configuration");
    admin_auth_free(a);
    f->config.admin.token = "";
    a = admin_auth_create(&f->config, given, err, sizeof err);
    assert_string_not_equal(admin_auth_token(a), "of-the-configuration");
    admin_auth_free(given);
    /* And a file that is there is what counts. */
    assert_int_equal(unlink(f->state_dir), 0);
    assert_int_equal(mkdir(f->state_dir, 0700), 0);
    token_path(f, path);
    write_file(path, "written-by-a-person", 0600);
    struct admin_auth *kept = admin_auth_create(&f->config, a, err, sizeof err);
    assert_string_equal(admin_auth_token(kept), "written-by-a-person");
    admin_auth_free(kept);
    admin_auth_free(a);
}

static void test_no_address_no_token(void **state)
{
    struct fixture *f = *state;
    f->config.admin.address.len = 0;
    struct admin_auth *a = make(f);
    assert_string_equal(admin_auth_token(a), "");
    assert_int_equal(access(f->state_dir, F_OK), -1);
    assert_false(admin_auth_token_ok(a, "Bearer "));
    assert_false(admin_auth_token_ok(a, "Bearer x"));
    assert_false(admin_auth_token_ok(a, NULL));
    admin_auth_free(a);
}

static void test_token_compare(void **state)
{
    struct fixture *f = *state;
    f->config.admin.token = "abcd";
    struct admin_auth *a = make(f);
    static const char *const good[] = {"Bearer abcd", "bearer abcd", "BEARER   abcd  ", " Bearer abcd"};
    static const char *const bad[] = {"Bearer abc", "Bearer abcde", "Bearer abcdabcd",  "Bearer ABCD",
                                      "Bearer",     "Bearer ",      "Bearerabcd",       "abcd",
                                      "",           "Basic abcd",   "Bearer abcd abcd", "Bearer \"abcd\""};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(admin_auth_token_ok(a, good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(admin_auth_token_ok(a, bad[i]));
    assert_false(admin_auth_token_ok(a, NULL));
    admin_auth_free(a);
}

static void test_hosts(void **state)
{
    struct fixture *f = *state;
    f->hosts[3] = "Admin.Example.com";
    f->config.admin.allowed_hosts.count = 4;
    f->config.admin.token = "x";
    struct admin_auth *a = make(f);
    static const char *const good[] = {"localhost", "LocalHost:1",       "127.0.0.1:8081",       "[::1]",
                                       "[::1]:80",  "admin.example.com", "ADMIN.example.com:443"};
    static const char *const bad[] = {"",
                                      ":80",
                                      "evil",
                                      "localhost.",
                                      "localhost.evil",
                                      "127.0.0.2",
                                      "::1",
                                      "[::1",
                                      "[::1]x",
                                      "localhost:",
                                      "localhost:99999",
                                      "localhost:1x",
                                      "localhost:80:80",
                                      "user@localhost",
                                      "localhost/x",
                                      " "};
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(admin_auth_host_ok(a, good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(admin_auth_host_ok(a, bad[i]));
    assert_false(admin_auth_host_ok(a, NULL));
    admin_auth_free(a);
}

static void test_hosts_without_a_list(void **state)
{
    struct fixture *f = *state;
    f->config.admin.allowed_hosts.count = 0;
    f->config.admin.token = "x";
    struct admin_auth *a = make(f);
    assert_true(admin_auth_host_ok(a, "localhost:80"));
    assert_true(admin_auth_host_ok(a, "10.1.2.3:8081"));
    assert_true(admin_auth_host_ok(a, "[2001:db8::1]:8081"));
    assert_false(admin_auth_host_ok(a, "rebound.example"));
    assert_false(admin_auth_host_ok(a, "1.2.3"));
    admin_auth_free(a);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_generated_token_is_kept), T(test_token_file_of_a_person),
        T(test_link_is_not_followed),    T(test_token_that_cannot_be_kept),
        T(test_token_of_this_run_stays), T(test_no_address_no_token),
        T(test_token_compare),           T(test_hosts),
        T(test_hosts_without_a_list),
    };
    return cmocka_run_group_tests_name("admin/auth", tests, NULL, NULL);
}
