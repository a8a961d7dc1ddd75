/* cli.c: what the command line says without a running server: check (with names, and for programs) and
 * version. */
#include <sys/stat.h>

#include "tests/support/millpond.h"

/* ".invalid" never resolves (RFC 6761 section 6.4). */
static const char ini_with_names[] = "[pool app]\n"
                                     "server = 127.0.0.1:3001\n"
                                     "server = no-such-host.invalid:3001\n"
                                     "server = [::1]:3001\n"
                                     "server = unix:/tmp/nowhere.sock\n"
                                     "server = localhost:3001\n"
                                     "[pool other]\n"
                                     "server = no-such-host.invalid:3002 name=b\n"
                                     "[route other]\npath = /other\npool = other\n"
                                     "[route rest]\n";

static json_t *json_of(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    EXPECT(o != NULL, "not JSON: %s", text);
    return o;
}

static void check_warns_of_names_that_do_not_resolve(void **state)
{
    UNUSED(state);
    char *ini = support_path("names.ini");
    support_write_file(ini, ini_with_names);
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    EXPECT(r.exit_code == 0, "a warning is no error: %d %s%s", r.exit_code, r.out, r.err);
    expect_in(r.out, "names.ini:3: [pool app] server: no-such-host.invalid does not resolve just now");
    expect_in(r.out, "names.ini:8: [pool other] server: no-such-host.invalid does not resolve just now");
    assert_int_equal(support_count(r.out, "does not resolve"), 2);
    expect_in(r.out, "names.ini: good, but see the warnings");
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001\n");
    r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    assert_string_equal(r.out, textf("%s: good\n", ini));
}

static void check_warns_of_a_webroot_that_is_none(void **state)
{
    UNUSED(state);
    char *ini = support_path("acme.ini"), *file = support_path("file"), *folder = support_path("folder");
    const char *const missing[] = {support_path("nowhere"), file};
    support_write_file(file, "");
    assert_int_equal(mkdir(folder, 0755), 0);
    for (size_t i = 0; i < ARRAY_LEN(missing); i++) {
        support_write_file(
            ini, textf("[pool app]\nserver = 127.0.0.1:3001\n[listen web]\nacme_webroot = %s\n", missing[i]));
        struct proc_result r = millpond_run("check", "-c", ini, NULL);
        assert_int_equal(r.exit_code, 0);
        expect_in(r.out, textf("acme.ini:4: [listen web] acme_webroot: %s is no folder", missing[i]));
    }
    support_write_file(
        ini, textf("[pool app]\nserver = 127.0.0.1:3001\n[listen web]\nacme_webroot = %s\n", folder));
    assert_string_equal(millpond_run("check", "-c", ini, NULL).out, textf("%s: good\n", ini));
}

/* What the machine lacks, so that a file that is good would not start here. */
static void check_warns_of_folders_and_users(void **state)
{
    UNUSED(state);
    char *ini = support_path("logs.ini"), *nowhere = support_path("nowhere");
    support_write_file(ini, textf("[pool app]\nserver = 127.0.0.1:3001\n[log]\nfile = %s/e.log\naccess = "
                                  "%s/a.log\n[millpond]\nuser = no-such-user\ngroup = no-such-group\n",
                                  nowhere, support_path("")));
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, textf("logs.ini:4: [log] file: there is no folder %s, ", nowhere));
    expect_in(r.out, "logs.ini:7: [millpond] user: this machine has no user no-such-user");
    expect_in(r.out, "logs.ini:8: [millpond] group: this machine has no group no-such-group");
    assert_int_equal(support_count(r.out, "warning: "), 3);
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001\n[log]\nfile = syslog\naccess = ./a.log\n"
                            "[millpond]\nuser = root\n");
    assert_string_equal(millpond_run("check", "-c", ini, NULL).out, textf("%s: good\n", ini));
}

static void check_speaks_json(void **state)
{
    UNUSED(state);
    char *ini = support_path("x.ini");
    support_write_file(ini, ini_with_names);
    struct proc_result r = millpond_run("check", "--json", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    json_t *o = json_of(r.out);
    assert_true(json_is_true(json_object_get(o, "ok")));
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 0);
    json_t *warnings = json_object_get(o, "warnings");
    assert_int_equal(json_array_size(warnings), 2);
    expect_in(json_string_value(json_array_get(warnings, 0)), "x.ini:3: [pool app] server: ");
    json_decref(o);

    support_write_file(ini, "[pool app]\nserver = no-such-host.invalid:1\nwieght = 2\n[pol x]\n");
    r = millpond_run("check", "-c", ini, "--json", NULL);
    assert_int_equal(r.exit_code, 2);
    o = json_of(r.out);
    assert_true(json_is_false(json_object_get(o, "ok")));
    json_t *problems = json_object_get(o, "problems");
    assert_int_equal(json_array_size(problems), 2);
    expect_in(json_string_value(json_array_get(problems, 0)), "x.ini:3: ");
    expect_in(json_string_value(json_array_get(problems, 1)), "x.ini:4: ");
    json_decref(o);

    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:1\nw\xe9ight = 2\n"); /* not UTF-8 */
    r = millpond_run("check", "-c", ini, "--json", NULL);
    o = json_of(r.out);
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 1);
    json_decref(o);
    expect_in(millpond_run("check", "-c", ini, NULL).out, "x.ini:3: ");

    assert_int_equal(millpond_run("check", "--frobnicate", "-c", ini, NULL).exit_code, 2);
    r = millpond_run("check", "--json", "-c", support_path("none.ini"), NULL);
    assert_int_equal(r.exit_code, 2);
    o = json_of(r.out);
    assert_int_equal(json_array_size(json_object_get(o, "problems")), 1);
    json_decref(o);
}

static void version_speaks_json(void **state)
{
    UNUSED(state);
    struct proc_result r = millpond_run("version", "--json", NULL);
    assert_int_equal(r.exit_code, 0);
    json_t *o = json_of(r.out);
    assert_string_equal(json_string_value(json_object_get(o, "version")), MILLPOND_VERSION);
    json_decref(o);
    assert_string_equal(millpond_run("version", NULL).out, "millpond " MILLPOND_VERSION "\n");
    assert_string_equal(millpond_run("--version", NULL).out, "millpond " MILLPOND_VERSION "\n");
    assert_int_equal(millpond_run("version", "--yaml", NULL).exit_code, 2);
}

/* What somebody types who knows other programs, or has mistyped it, is answered with what to type. */
static void wrong_words_are_answered_with_right_ones(void **state)
{
    UNUSED(state);
    char *ini = support_path("good.ini");
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:3001\n");
    const struct {
        const char *first, *second, *answer;
    } wrong[] = {
        {"stauts", NULL, "no such command: stauts; did you mean 'millpond status'?"},
        {"-t", NULL, "did you mean 'millpond check'?"},
        {"validate", NULL, "did you mean 'millpond check'?"},
        {"start", NULL, "did you mean 'millpond run'?"},
        {"frobnicate", NULL, "no such command: frobnicate\nTry 'millpond help'."},
        {ini, NULL, textf("a file is named by -c: -c %s", ini)},
        {"check", ini, textf("a file is named by -c: -c %s", ini)},
        {"check", "-c", "-c needs a file"},
        {"run", "--config", "--config needs a file"},
        {"run", "--json", "unknown option --json\nTry 'millpond help'."},
        {"check", "-x", "unknown option -x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct proc_result r = millpond_run(wrong[i].first, wrong[i].second, NULL);
        EXPECT(r.exit_code == 2, "%s: %d", wrong[i].first, r.exit_code);
        expect_in(r.err, wrong[i].answer);
    }
    static const char *const helped[] = {"run", "check", "config", "version", "status", "purge", "demo"};
    for (size_t i = 0; i < ARRAY_LEN(helped); i++) {
        struct proc_result r = millpond_run(helped[i], "--help", NULL);
        EXPECT(r.exit_code == 0, "%s --help: %d %s", helped[i], r.exit_code, r.err);
        expect_in(r.out, "usage: millpond");
    }
    assert_int_equal(millpond_run("check", "--config", ini, NULL).exit_code, 0);
    assert_int_equal(millpond_run("check", textf("--config=%s", ini), NULL).exit_code, 0);
    assert_int_equal(millpond_run("check", textf("-c%s", ini), NULL).exit_code, 0);
    assert_int_equal(millpond_run("check", "--frobnicate", "--json", "-c", ini, NULL).exit_code, 2);
    expect_in(millpond_run("check", "-c", ini, "--help", NULL).out, "usage: millpond");
    assert_string_equal(millpond_run("-V", NULL).out, "millpond " MILLPOND_VERSION "\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(check_warns_of_names_that_do_not_resolve),
        E2E_TEST(check_warns_of_a_webroot_that_is_none),
        E2E_TEST(check_warns_of_folders_and_users),
        E2E_TEST(check_speaks_json),
        E2E_TEST(version_speaks_json),
        E2E_TEST(wrong_words_are_answered_with_right_ones),
    };
    return E2E_RUN("cli", tests);
}
