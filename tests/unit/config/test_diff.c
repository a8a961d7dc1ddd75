/* test_diff.c: what two snapshots have in common. */
#include "config_test.h"

#include "config/diff.h"

static void test_addresses(void **state)
{
    UNUSED(state);
    struct config *a = load_ok(APP "[listen x]\naddress = :1, :2\n");
    struct config *b = load_ok(APP "[listen p]\naddress = :2\n[listen q]\naddress = :1\n");
    struct config *c = load_ok(APP "[listen x]\naddress = :1, :2, :3\n");
    assert_string_equal(config_find_listen(b, &a->listens[0].addresses[0], "any")->name, "q");
    assert_null(config_find_listen(a, &c->listens[0].addresses[2], "any"));
    config_unref(a);
    config_unref(b);
    config_unref(c);
}

static void test_pools(void **state)
{
    UNUSED(state);
    struct config *a = load_ok("[pool app]\nserver = a:1\n");
    struct config *b = load_ok("[pool new]\nserver = a:1\n[pool app]\nserver = b:1\n");
    assert_ptr_equal(config_find_pool(b, "app"), &b->pools[1]);
    assert_null(config_find_pool(a, "new"));
    config_unref(a);
    config_unref(b);
}

static void note(void *user, const char *section, const char *key, const char *old_text, const char *new_text)
{
    char *log = user;
    snprintf(log + strlen(log), 256 - strlen(log), "%s.%s %s>%s ", section, key, old_text, new_text);
}

static void test_restart(void **state)
{
    char log[256] = "";
    UNUSED(state);
    struct config *a = load_ok(APP "[millpond]\nworkers = 1\n");
    struct config *b = load_ok(APP "retries = 5\n[millpond]\nworkers = 2\nuser = x\n[log]\nlevel = debug\n");
    assert_int_equal(config_diff_restart(a, a, note, log), 0);
    assert_int_equal(config_diff_restart(a, b, note, log), 2);
    assert_string_equal(log, "millpond.workers 1>2 millpond.user >x ");
    config_unref(a);
    config_unref(b);
}

static void test_restart_for_redis(void **state)
{
    char log[512] = "";
    UNUSED(state);
    struct config *a = load_ok(APP), *b = load_ok(APP "[redis]\nurl = redis://:one@a\n");
    struct config *c = load_ok(APP "[redis]\nmode = cluster\nurl = redis://:one@a\nurl = redis://b\n");
    struct config *d = load_ok(APP "[redis]\nmode = cluster\nurl = redis://:one@a\nurl = redis://:one@c\n");
    struct config *e = load_ok(APP "[redis]\npassword = one\n"),
                  *f = load_ok(APP "[redis]\npassword = two\n");
    assert_int_equal(config_diff_restart(a, b, note, log), 1); /* one line for a section that comes */
    assert_string_equal(log, "redis.url >redis://:***@a ");
    log[0] = '\0';
    assert_int_equal(config_diff_restart(b, a, note, log), 1);
    assert_string_equal(log, "redis.url redis://:***@a> ");
    log[0] = '\0';
    assert_int_equal(config_diff_restart(b, c, note, log), 2);
    assert_string_equal(log, "redis.url >redis://b redis.mode standalone>cluster ");
    log[0] = '\0';
    assert_int_equal(config_diff_restart(c, d, note, log), 1);
    assert_string_equal(log, "redis.url redis://b>redis://:***@c ");
    log[0] = '\0';
    assert_int_equal(config_diff_restart(e, f, note, log), 1);
    assert_string_equal(log, "redis.password (set, not shown)>(set, not shown) ");
    assert_int_equal(config_diff_restart(d, d, note, log), 0);
    struct config *all[] = {a, b, c, d, e, f};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        config_unref(all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_restart_for_redis),
    };
    return cmocka_run_group_tests_name("config/diff", tests, NULL, NULL);
}
