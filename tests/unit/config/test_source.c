/* test_source.c: names of sections and keys: unknown, repeated, misplaced. */
#include "config_test.h"

#include "config/foreign.h"

static void test_unknown_section(void **state)
{
    UNUSED(state);
    expect_error("[pol app]\nserver = a:1\n", "t.ini:1: there is no section [pol]; did you mean [pool]?");
    expect_error(APP "[Route x]\n", "did you mean [route]?");
    expect_error(APP "[other x]\nkeys = here\nare = skipped\n", "there are millpond, log, listen");
    expect_error(APP "[upstream x]\nkeys = here\nare = skipped\n",
                 "t.ini:3: there is no section [upstream]; what is meant is called [pool NAME] here");
    expect_error(APP "[Global]\n", "there is no section [Global]; what is meant is called [millpond] here");
    expect_error(APP "[]\n", "there is no section []");
}

static void test_section_names(void **state)
{
    UNUSED(state);
    expect_error(APP "[pool]\nserver = a:1\n",
                 "t.ini:3: the section has no name; write one, such as [pool main]");
    expect_error(APP "[log x]\n", "t.ini:3: the section takes no name; write [log]");
    expect_error(APP "[route a b]\n", "other characters than letters");
    expect_error(APP "[route a/b]\n", "other characters than letters");
    config_unref(load_ok("[ pool   app ]\nserver = a:1\n[listen a-1_B.c]\n"));
}

static void test_repeated_sections(void **state)
{
    UNUSED(state);
    expect_error(APP "[pool app]\nserver = a:1\n",
                 "t.ini:3: the section [pool app] was already begun at t.ini:1");
    expect_error("[log]\n" APP "[log]\n", "t.ini:4: the section [log] was already begun at t.ini:1");
    config_unref(load_ok(APP "[pool b]\nserver = a:1\n[route b]\n[listen b]\n"));
}

static void test_unknown_key(void **state)
{
    UNUSED(state);
    expect_error(APP "ballance = round_robin\n",
                 "t.ini:3: [pool app]: there is no key \"ballance\"; did you mean \"balance\"?");
    expect_error(APP "Server = a:1\n", "did you mean \"server\"?");
    expect_error(APP "[cache]\nserver = a:1\n",
                 "t.ini:4: [cache]: there is no key \"server\" here; it belongs in [pool]");
    expect_error(APP "colour = red\n", "see millpond.ini(5) for the keys of [pool]");
}

/* Names that other proxies have for it: not guessed at by their letters. */
static void test_foreign_key(void **state)
{
    UNUSED(state);
    expect_error(
        APP "fail_timeout = 10s\n",
        "t.ini:3: [pool app]: there is no key \"fail_timeout\"; what is meant is eject_time in [pool NAME]");
    expect_error(APP "Timeout Connect = 5s\n",
                 "\"Timeout Connect\"; what is meant is connect_timeout in [pool NAME]");
    expect_error(APP "least-conn = on\n", "what is meant is balance = least_connections in [pool NAME]");
    expect_error(APP "[log]\nworker_processes = 4\n", "what is meant is workers in [millpond]");
    expect_error(APP "[route r]\ngzip = on\n", "what is meant is compress = gzip in [route NAME]");
    expect_error(APP "[route r]\nauth_basic = on\n", "what is meant is basic_auth in [route NAME]");
}

/* Each row names an option there is, and none that there is here by that name. */
static void test_foreign_table(void **state)
{
    UNUSED(state);
    static const struct {
        const char *name;
        enum option_section section;
        const char *key;
    } rows[] = {
#define X(name, section, key, how) {(name), OPTION_##section, (key)},
#include "config/foreign_tbl.h"
#undef X
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (option_find(rows[i].section, slice_str(rows[i].key)) == NULL)
            fail_msg("%s: there is no key %s", rows[i].name, rows[i].key);
        for (size_t k = 0; k < option_count; k++) {
            if (strcmp(option_table[k].key, rows[i].name) == 0)
                fail_msg("%s is a key here", rows[i].name);
        }
        assert_string_equal(foreign_key_find(slice_str(rows[i].name))->key, rows[i].key);
        for (const char *p = rows[i].name; *p != '\0'; p++)
            assert_true(*p == ascii_lower(*p) && *p != ' ' && *p != '-');
    }
}

static void test_repeated_keys(void **state)
{
    UNUSED(state);
    expect_error(APP "retries = 1\n\nretries = 2\n",
                 "t.ini:5: [pool app] retries: the key was already given at t.ini:3 and takes one value");
    struct config *c = load_ok(APP "server = a:1\nhealth_status = 200\nhealth_status = 204\n");
    assert_int_equal(c->pools[0].server_count, 2);
    assert_int_equal(c->pools[0].health_status_count, 2);
    config_unref(c);
    /* The same key in two sections of a kind is no repetition. */
    config_unref(load_ok(APP "retries = 1\n[pool b]\nserver = a:1\nretries = 1\n"));
}

static void test_all_problems_in_one_report(void **state)
{
    struct config_problems p;
    static const char text[] =
        "[pol x]\n[log]\nlevle = info\nlevel = loud\n indented\n[pool app]\nserver = a\n"
        "protocol = h3\n[route r]\npool = nope\nttl = 5\n";
    static const char *const starts[] = {
        "t.ini:1:", "t.ini:3:", "t.ini:4:", "t.ini:5:", "t.ini:7:", "t.ini:8:", "t.ini:10:", "t.ini:11:"};
    UNUSED(state);
    assert_null(config_load_text("t.ini", text, sizeof text - 1, &p));
    if (p.count != ARRAY_LEN(starts))
        print_problems(&p);
    assert_int_equal(p.count, ARRAY_LEN(starts));
    assert_int_equal(p.errors, ARRAY_LEN(starts));
    for (size_t i = 0; i < ARRAY_LEN(starts); i++)
        assert_memory_equal(p.items[i].text, starts[i], strlen(starts[i]));
    config_problems_free(&p);
}

static void test_too_many_sections(void **state)
{
    size_t bytes = 400000, len = 0;
    char *text = malloc(bytes);
    struct config_problems p;
    UNUSED(state);
    len += (size_t)snprintf(text, bytes, APP);
    for (int i = 0; i < 10001; i++)
        len += (size_t)snprintf(text + len, bytes - len, "[listen n%d]\naddress = :0\n", i);
    assert_null(config_load_text("t.ini", text, len, &p));
    assert_true(count_containing(&p, "one section too many") > 0);
    config_problems_free(&p);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_section),   cmocka_unit_test(test_section_names),
        cmocka_unit_test(test_repeated_sections), cmocka_unit_test(test_unknown_key),
        cmocka_unit_test(test_foreign_key),       cmocka_unit_test(test_foreign_table),
        cmocka_unit_test(test_repeated_keys),     cmocka_unit_test(test_all_problems_in_one_report),
        cmocka_unit_test(test_too_many_sections),
    };
    return cmocka_run_group_tests_name("config/source", tests, NULL, NULL);
}
