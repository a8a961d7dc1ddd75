/* test_defaults.c: folders of a process that is not root, hosts of the admin address, implied sections. */
#include "config_test.h"

#include <unistd.h>

#include "config/build.h"

static void expect_dirs(uid_t uid, const char *runtime, const char *state_dir)
{
    struct arena a;
    arena_init(&a, NULL, 0, 64 * KB);
    assert_true(slice_eq(config_default_runtime_dir(&a, uid), slice_str(runtime)));
    assert_true(slice_eq(config_default_state_dir(&a, uid), slice_str(state_dir)));
    arena_reset(&a);
}

static void test_folders(void **state)
{
    UNUSED(state);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    setenv("XDG_STATE_HOME", "/home/x/state", 1);
    setenv("HOME", "/home/x", 1);
    expect_dirs(0, "/run/millpond", "/var/lib/millpond");
    expect_dirs(7, "/run/user/7/millpond", "/home/x/state/millpond");
    unsetenv("XDG_RUNTIME_DIR");
    unsetenv("XDG_STATE_HOME");
    expect_dirs(7, "/tmp/millpond-7", "/home/x/.local/state/millpond");
    setenv("XDG_RUNTIME_DIR", "relative", 1); /* the specification tells to ignore it */
    setenv("XDG_STATE_HOME", "", 1);
    unsetenv("HOME");
    expect_dirs(7, "/tmp/millpond-7", "/tmp/millpond-7/state");
    unsetenv("XDG_RUNTIME_DIR");
}

/* Else commands that root gives would not find the socket of the service, which runs as another user. */
static void test_service_has_the_folders_of_root(void **state)
{
    UNUSED(state);
    char line[256], *rest = line;
    FILE *f = fopen("packaging/millpond.service", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL && strncmp(line, "Environment=", strlen("Environment=")) != 0)
        line[0] = '\0';
    fclose(f);
    assert_non_null(strsep(&rest, "="));
    for (char *name; (name = strsep(&rest, " \n")) != NULL && *name != '\0';) {
        char *value = name;
        assert_non_null(strsep(&value, "="));
        setenv(name, value, 1);
    }
    expect_dirs(7, "/run/millpond", "/var/lib/millpond");
    unsetenv("XDG_RUNTIME_DIR");
    unsetenv("XDG_STATE_HOME");
}

static void test_socket_follows_runtime_dir(void **state)
{
    UNUSED(state);
    struct config *c = load_ok("[admin]\n" APP "[millpond]\nruntime_dir = /r\n");
    assert_string_equal(c->admin.socket, "/r/admin.sock");
    config_unref(c);
    char text[256];
    int n = snprintf(text, sizeof text, APP "[millpond]\nruntime_dir = /");
    memset(text + n, 'r', 100);
    strcpy(text + n + 100, "\n");
    expect_error(text, "[admin] socket:"); /* too long for a socket, though no line says so */
}

static void expect_hosts(const char *address, const char *fourth)
{
    char text[256];
    snprintf(text, sizeof text, APP "[admin]\naddress = %s\n", address);
    struct config *c = load_ok(text);
    assert_int_equal(c->admin.allowed_hosts.count, fourth == NULL ? 3 : 4);
    assert_string_equal(c->admin.allowed_hosts.items[0], "localhost");
    assert_string_equal(c->admin.allowed_hosts.items[1], "127.0.0.1");
    assert_string_equal(c->admin.allowed_hosts.items[2], "[::1]");
    if (fourth != NULL)
        assert_string_equal(c->admin.allowed_hosts.items[3], fourth);
    config_unref(c);
}

static void test_allowed_hosts(void **state)
{
    UNUSED(state);
    expect_hosts("off", NULL);
    expect_hosts("127.0.0.1:9", NULL);
    expect_hosts("[::1]:9", NULL);
    expect_hosts(":9", NULL);
    expect_hosts("unix:/x", NULL);
    expect_hosts("10.0.0.1:9", "10.0.0.1");
    expect_hosts("[2001:db8::1]:9", "[2001:db8::1]");
}

static void test_default_route_is_for_the_first_pool(void **state)
{
    UNUSED(state);
    struct config *c = load_ok("[pool z]\nserver = a:1\n[pool a]\nserver = a:1\n");
    assert_string_equal(c->pools[c->routes[0].pool].name, "z");
    config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_service_has_the_folders_of_root),
        cmocka_unit_test(test_socket_follows_runtime_dir),
        cmocka_unit_test(test_allowed_hosts),
        cmocka_unit_test(test_default_route_is_for_the_first_pool),
    };
    return cmocka_run_group_tests_name("config/defaults", tests, NULL, NULL);
}
