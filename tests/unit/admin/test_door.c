/* test_door.c: the socket file: its mode, a stale one, a live one, a file of another kind; retiring;
 * descriptors that ran out. */
#include "admin_fixture.h"

#include <sys/resource.h>

static int setup(void **state)
{
    struct fixture *f = malloc(sizeof *f);
    fx_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fx_end(*state);
    free(*state);
    return 0;
}

static struct admin *try_create(struct fixture *f, char err[256])
{
    struct admin_ops ops = fx_ops_for(f);
    err[0] = '\0';
    return admin_create(f->control, &ops, &f->config, err, 256);
}

static void test_socket_mode(void **state)
{
    struct fixture *f = *state;
    static const mode_t modes[] = {0600, 0660, 0666, 0640};
    mode_t before = umask(0077); /* must not matter */
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        struct stat st;
        f->config.admin.socket_mode = modes[i];
        fx_create(f);
        assert_int_equal(stat(f->socket, &st), 0);
        assert_true(S_ISSOCK(st.st_mode));
        assert_int_equal(st.st_mode & 0777, modes[i]);
        admin_destroy(f->admin);
        assert_int_equal(access(f->socket, F_OK), -1);
    }
    assert_int_equal(umask(before), 0077);
}

static void test_mode_change(void **state)
{
    struct fixture *f = *state;
    struct config changed = f->config;
    struct stat before, after;
    char err[256];
    fx_create(f);
    assert_int_equal(stat(f->socket, &before), 0);
    changed.admin.socket_mode = 0600;
    assert_true(admin_change(f->admin, &changed, err, sizeof err));
    assert_int_equal(stat(f->socket, &after), 0);
    assert_int_equal(after.st_mode & 0777, 0600);
    assert_int_equal(after.st_ino, before.st_ino);
    admin_destroy(f->admin);
}

static void test_stale_socket_is_replaced(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    int fd = net_listen(&a, 1, false);
    assert_true(fd >= 0);
    close(fd); /* the file stays, nobody answers */
    fx_start(f);
    assert_answer(&a, "GET /api/pools", "", "", 200);
    fx_call(f, fx_do_stop);
    worker_join(f->control);
}

static void test_live_socket_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    struct stat before, after;
    char err[256];
    int fd = net_listen(&a, 8, false);
    assert_int_equal(stat(f->socket, &before), 0);
    assert_null(try_create(f, err));
    assert_non_null(strstr(err, f->socket));
    assert_non_null(strstr(err, "another millpond"));
    assert_int_equal(stat(f->socket, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    int client = fx_connect(&a);
    close(client);
    close(fd);
}

static void test_file_of_another_kind_is_left_alone(void **state)
{
    struct fixture *f = *state;
    char err[256];
    struct stat st;
    int fd = open(f->socket, O_WRONLY | O_CREAT, 0600);
    close(fd);
    assert_null(try_create(f, err));
    assert_non_null(strstr(err, "another kind"));
    assert_int_equal(stat(f->socket, &st), 0);
    unlink(f->socket);
    assert_int_equal(symlink("/dev/null", f->socket), 0);
    assert_null(try_create(f, err));
    assert_int_equal(lstat(f->socket, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void test_foreign_socket_is_not_removed_at_the_end(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    fx_create(f);
    int fd = net_listen(&a, 8, false); /* another process took the path over */
    assert_true(fd >= 0);
    admin_destroy(f->admin);
    assert_int_equal(access(f->socket, F_OK), 0);
    close(fd);
}

static void test_bad_paths(void **state)
{
    struct fixture *f = *state;
    char err[256], path[300];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    f->config.admin.socket = path;
    assert_null(try_create(f, err));
    assert_non_null(strstr(err, "too long"));
    snprintf(path, sizeof path, "%s/none/none/admin.sock", f->dir);
    assert_null(try_create(f, err));
    assert_non_null(strstr(err, "No such file"));
    snprintf(path, sizeof path, "%s/one/admin.sock", f->dir); /* one missing folder is made */
    struct admin *a = try_create(f, err);
    assert_non_null(a);
    admin_destroy(a);
}

static void test_address_in_use(void **state)
{
    struct fixture *f = *state;
    char err[256];
    int fd = net_listen(&f->config.admin.address, 1, false);
    assert_true(net_local_addr(fd, &f->config.admin.address));
    assert_null(try_create(f, err));
    assert_non_null(strstr(err, "admin address 127.0.0.1:"));
    assert_int_equal(access(f->socket, F_OK), -1); /* what was opened before is undone */
    close(fd);
}

static void test_address_off(void **state)
{
    struct fixture *f = *state;
    f->config.admin.address.len = 0;
    fx_create(f);
    assert_int_equal(admin_local_addr(f->admin).len, 0);
    admin_destroy(f->admin);
}

/* With no descriptor left accept fails each time; the loop must wait then, not spin. The client's socket is
 * made before the limit falls, and the CPU time of the control thread tells a spin from a wait of about a
 * second. */
static struct rlimit saved_limit;
static int64_t cpu_us;

static void no_descriptor_left(struct fixture *f)
{
    UNUSED(f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &saved_limit), 0);
    struct rlimit none = {3, saved_limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void read_cpu(struct fixture *f)
{
    UNUSED(f);
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    cpu_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void give_descriptors_back(struct fixture *f)
{
    UNUSED(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &saved_limit), 0);
}

static void test_no_descriptors(void **state)
{
    struct fixture *f = *state;
    static const char request[] = "GET /api/pools HTTP/1.0\r\n\r\n";
    struct net_addr a = fx_unix(f->socket);
    struct timeval limit = {0, 400000};
    char byte;
    fx_start(f);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    fx_call(f, no_descriptor_left);
    fx_call(f, read_cpu);
    int64_t before_us = cpu_us;
    assert_int_equal(connect(fd, &a.sa, a.len), 0);
    assert_true(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    fx_call(f, read_cpu);
    assert_true(cpu_us - before_us < 200000);
    fx_call(f, give_descriptors_back);
    limit.tv_sec = 10;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    close(fd);
    fx_call(f, fx_do_stop);
    worker_join(f->control);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_socket_mode),
        T(test_mode_change),
        T(test_stale_socket_is_replaced),
        T(test_live_socket_is_left_alone),
        T(test_file_of_another_kind_is_left_alone),
        T(test_foreign_socket_is_not_removed_at_the_end),
        T(test_bad_paths),
        T(test_address_in_use),
        T(test_address_off),
        T(test_no_descriptors),
    };
    return cmocka_run_group_tests_name("admin/door", tests, NULL, NULL);
}
