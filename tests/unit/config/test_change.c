/* test_change.c: servers that are added and removed at run time, as copies of a configuration and along with
 * files that are read again. */
#include "config_test.h"

#include <unistd.h>

#include "config/change.h"
#include "config/diff.h"

static const struct config_pool *app_of(const struct config *c)
{
    const struct config_pool *p = config_find_pool(c, "app");
    assert_non_null(p);
    return p;
}

static void expect_names(const struct config *c, const char *want)
{
    char names[256] = "";
    const struct config_pool *p = app_of(c);
    for (size_t i = 0; i < p->server_count; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s ", p->servers[i].name,
                 p->servers[i].added ? "+" : "");
    assert_string_equal(names, want);
}

static struct config *add(const struct config *from, const char *text)
{
    struct config_problems p;
    struct config *c = config_with_server(from, "app", text, &p);
    if (c == NULL)
        print_problems(&p);
    assert_non_null(c);
    config_problems_free(&p);
    return c;
}

static void test_copies(void **state)
{
    UNUSED(state);
    setenv("NAME_OF_A", "a", 1);
    struct config *one =
        load_ok("[pool app]\nserver = x:1 name=${NAME_OF_A}\nretries = 7\n[log]\nlevel = debug\n"
                "[route r]\npath = /x\npool = app\n");
    unsetenv("NAME_OF_A"); /* what was read is what counts */
    struct config *two = add(one, "y:1 weight=3 max_connections=5 name=b backup");
    const struct config_server *b = config_server_named(app_of(two), "b");
    expect_names(one, "a ");
    expect_names(two, "a b+ ");
    config_unref(one); /* a copy stands by itself */
    assert_int_equal(app_of(two)->retries, 7);
    assert_int_equal(two->log.level, CONFIG_LOG_DEBUG);
    assert_string_equal(two->routes[0].name, "r");
    assert_int_equal(two->route_count, 1);
    assert_int_equal(two->listen_count, 1);
    assert_string_equal(b->address, "y:1");
    assert_true(b->weight == 3 && b->max_connections == 5 && b->backup);
    assert_string_equal(config_server_text(two, app_of(two), b),
                        "y:1 weight=3 max_connections=5 name=b backup");
    struct config_problems p;
    struct config *three = config_without_server(two, "app", "a", &p);
    config_problems_free(&p);
    expect_names(three, "b+ ");
    struct config *four = add(three, "z:1");
    expect_names(four, "b+ z:1+ ");
    config_unref(two);
    config_unref(three);
    config_unref(four);
}

static void expect_refused(struct config *c, struct config_problems *p, const char *part)
{
    assert_null(c);
    if (count_containing(p, part) == 0)
        print_problems(p);
    assert_int_not_equal(count_containing(p, part), 0);
    config_problems_free(p);
}

static void test_what_makes_no_configuration(void **state)
{
    UNUSED(state);
    struct config_problems p = {0};
    struct config *c = load_ok("[pool app]\nserver = a:1\n");
    expect_refused(config_with_server(c, "app", "a:1", &p), &p, "the server \"a:1\" is already there");
    expect_refused(config_with_server(c, "app", "b:1 wieght=2", &p), &p,
                   "added at run time: [pool app] server: there is no \"wieght=2\"");
    expect_refused(config_without_server(c, "app", "a:1", &p), &p, "the pool has no server");
    config_unref(c);
}

static void test_the_list(void **state)
{
    UNUSED(state);
    struct config_changes l;
    char name[32];
    config_changes_init(&l);
    assert_true(config_change_note(&l, "app", "a", "x:1 name=a", false));
    assert_true(config_change_note(&l, "app", "a", NULL, false)); /* it never was in the file */
    assert_int_equal(l.count, 0);
    assert_true(config_change_note(&l, "app", "a", "x:1 name=a", false));
    assert_true(config_change_note(&l, "app", "a", NULL, true));
    assert_true(config_change_note(&l, "app", "a", "x:2 name=a", false));
    assert_true(config_change_find(&l, "app", "a")->in_file);
    assert_string_equal(config_change_find(&l, "app", "a")->text, "x:2 name=a");
    assert_null(config_change_find(&l, "other", "a"));
    for (int i = 1; i < CONFIG_CHANGES_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_true(config_change_fits(&l, "app", name));
        assert_true(config_change_note(&l, "app", name, "x:3", false));
    }
    assert_false(config_change_fits(&l, "app", "more"));
    assert_true(config_change_fits(&l, "app", "n7"));
    config_changes_free(&l);
    assert_int_equal(l.count, 0);
}

static struct config *try_reload(const char *text, struct config_changes *l, struct config_problems *p)
{
    char path[] = "/tmp/millpond-change-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    struct config *c = config_load_changed(path, l, p);
    unlink(path);
    return c;
}

static struct config *reload(const char *text, struct config_changes *l)
{
    struct config_problems p;
    struct config *c = try_reload(text, l, &p);
    print_problems(&p);
    config_problems_free(&p);
    assert_non_null(c);
    return c;
}

/* What the files say meanwhile, the pool that results, and what becomes of the change. */
static void test_reloads(void **state)
{
    static const struct {
        const char *change, *file, *names;
        enum config_change_fate fate;
        bool was_in_file;
    } cases[] = {
        {"b:1 name=b", "server = a:1\n", "a:1 b+ ", CONFIG_CHANGE_APPLIES, false},
        {"b:1 name=b", "server = b:2 name=b\n", "b ", CONFIG_CHANGE_TAKEN_OVER, false},
        {"b:1 name=b", "server = b:1 name=b\n", "b ", CONFIG_CHANGE_TAKEN_OVER, true},
        {"b:1 name=b", "server = b:2 name=b\n", "b+ ", CONFIG_CHANGE_APPLIES, true},
        {NULL, "server = a:1\nserver = b:2 weight=2 name=b\nserver = c:1\n", "a:1 c:1 ",
         CONFIG_CHANGE_APPLIES, true},
        {NULL, "server = a:1\n", "a:1 ", CONFIG_CHANGE_TAKEN_OVER, true},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config_changes l;
        char text[256];
        config_changes_init(&l);
        if (cases[i].was_in_file)
            config_change_note(&l, "app", "b", NULL, true);
        config_change_note(&l, "app", "b", cases[i].change, cases[i].was_in_file);
        snprintf(text, sizeof text, "[pool app]\n%s", cases[i].file);
        struct config *c = reload(text, &l);
        expect_names(c, cases[i].names);
        assert_int_equal(config_change_find(&l, "app", "b")->fate, cases[i].fate);
        config_unref(c);
        c = reload("[pool other]\nserver = a:1\n", &l);
        assert_int_equal(config_change_find(&l, "app", "b")->fate, CONFIG_CHANGE_POOL_GONE);
        config_unref(c);
        config_changes_free(&l);
    }
}

/* The files name nobody else any more. It is said once, of each, and how to go on. */
static void test_removals_that_leave_nobody(void **state)
{
    UNUSED(state);
    static const char file[] = "[pool app]\nserver = x:1 weight=2 name=a\nserver = b:1\n[pool other]\n"
                               "server = a:1\n";
    struct config_changes l;
    struct config_problems p;
    config_changes_init(&l);
    config_change_note(&l, "app", "a", NULL, true);
    config_change_note(&l, "app", "b:1", NULL, true);
    assert_null(try_reload(file, &l, &p));
    assert_int_equal(p.errors, 2);
    assert_int_equal(count_containing(&p,
                                      ":2: [pool app] server: a was removed at run time, and no other one "
                                      "would be left; write another one, or take it back: millpond add "
                                      "app x:1 weight=2 name=a"),
                     1);
    assert_int_equal(count_containing(&p, ":3: [pool app] server: b:1 was removed"), 1);
    config_problems_free(&p);
    /* Taken back by what was said there. */
    config_change_note(&l, "app", "a", "x:1 weight=2 name=a", false);
    struct config *c = reload(file, &l);
    expect_names(c, "a ");
    assert_int_equal(config_change_find(&l, "app", "a")->fate, CONFIG_CHANGE_TAKEN_OVER);
    config_unref(c);
    config_changes_free(&l);
    /* One that was added is enough. */
    config_changes_init(&l);
    config_change_note(&l, "app", "a", NULL, true);
    config_change_note(&l, "app", "c", "c:1 name=c", false);
    c = reload("[pool app]\nserver = x:1 name=a\n", &l);
    expect_names(c, "c+ ");
    config_unref(c);
    config_changes_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_what_makes_no_configuration),
        cmocka_unit_test(test_the_list),
        cmocka_unit_test(test_reloads),
        cmocka_unit_test(test_removals_that_leave_nobody),
    };
    return cmocka_run_group_tests_name("config/change", tests, NULL, NULL);
}
