/* completion.c: what `millpond complete` offers for the last of some words, without a server, with one, and
 * with one that does not answer; and the scripts of the shells that ask it. */
#include <signal.h>

#include "tests/support/millpond.h"

#define COMPLETE(...) complete((const char *const[]){getenv("MILLPOND"), "complete", __VA_ARGS__, NULL})

/* A server on a busy machine may take longer than a person at the tab key would: it is asked again. */
#define EXPECT_SOON(call, wanted)                                                                            \
    do {                                                                                                     \
        const mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();                                      \
        const char *got = call;                                                                              \
        while (strcmp(got, wanted) != 0 && clock_mono_ms() < until_ms)                                       \
            got = call;                                                                                      \
        assert_string_equal(got, wanted);                                                                    \
    } while (0)

static char *complete(const char *const *argv)
{
    struct proc_result r = proc_run(argv);
    EXPECT(r.exit_code == 0 && r.err[0] == '\0', "%d %s", r.exit_code, r.err);
    return r.out;
}

static void commands_and_options_are_those_that_there_are(void **state)
{
    UNUSED(state);
    char *all = COMPLETE("");
    expect_in(all, "run\tServes in the foreground");
    expect_in(all, "drain\tGives a server no new requests");
    expect_not_in(all, "demo-app");
    assert_int_equal(support_count(all, "\n"), 20);
    for (char *line; (line = strsep(&all, "\n")) != NULL && line[0] != '\0';) {
        char *name = strsep(&line, "\t"), *option, *options = COMPLETE(name, "-");
        if (strstr(options, "--socket") != NULL)
            continue; /* the client commands have a unit test */
        expect_in(COMPLETE(name, "--h"), "--help\t");
        EXPECT(millpond_run(name, "--help", NULL).exit_code == 0, "%s --help", name);
        while ((option = strsep(&options, "\n")) != NULL && option[0] != '\0') {
            option = strsep(&option, "\t");
            char *said = millpond_run(name, option, "\001", NULL).err;
            expect_not_in(said, "unknown option");
            expect_not_in(said, "unrecognized option");
        }
    }
    assert_string_equal(
        COMPLETE("re"),
        "reload\tHas the server read its configuration anew. One with errors changes nothing.\n"
        "ready\tTakes a drained server back into use.\n"
        "remove\tTakes a server out of its pool: no new requests; those that run there end.\n"
        "resume\tGives a canary that was stopped its share of the route's requests again.\n");
    assert_string_equal(COMPLETE("drain", "a/b", "--w"),
                        "--wait\treturn when they have, or fail after 5 minutes\n");
    assert_string_equal(COMPLETE("status", "--conf"),
                        "--config\tthe server's configuration, which says where its socket is\n");
    assert_string_equal(COMPLETE("--conf"), "--config\t\n");
    assert_string_equal(COMPLETE("explain", "http://a/", "-H"),
                        "-H\ta field of the request; may be repeated\n");
    assert_string_equal(COMPLETE("weight", "a/b", ""), "configured\t\n");
    assert_string_equal(COMPLETE("demo", "--p"), "--port\t\n");
}

static void files_are_named_where_options_take_them(void **state)
{
    UNUSED(state);
    assert_string_equal(COMPLETE("-c", ""), ":files\n");
    assert_string_equal(COMPLETE("check", "--json", "--config", "/e"), ":files\n");
    assert_string_equal(COMPLETE("status", "-c", "a", "-s", "b"), ":files\n");
    const char *const nothing[][4] = {
        {"purge", "--tag", ""},
        {"status", "--json", ""},
        {"frobnicate", ""},
        {"demo", "--port", "1"},
        {"weight", "a/b", "configured", ""},
        {"purge", "h"},
        {"run", "x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(nothing); i++)
        assert_string_equal(COMPLETE(nothing[i][0], nothing[i][1], nothing[i][2],
                                     nothing[i][2] != NULL ? nothing[i][3] : NULL),
                            "");
}

static struct millpond *start(int *port)
{
    struct origin *o = origin_start(NULL, NULL);
    support_on_end((void (*)(void *))origin_stop, o);
    *port = origin_port(o);
    return millpond_start(.rest = textf("[pool app]\nhealth_check = off\nserver = 127.0.0.1:%d name=one\n"
                                        "server = 127.0.0.1:%d\nserver = unix:/tmp/a'b\n"
                                        "[pool apt]\nhealth_check = off\nserver = 127.0.0.1:%d\n"
                                        "[route shop]\npath = /shop\nsplit = app=50 apt=50\n[route rest]\n",
                                        *port, *port + 1, *port));
}

static void names_are_those_of_the_running_server(void **state)
{
    UNUSED(state);
    int port;
    struct millpond *m = start(&port);
    EXPECT_SOON(COMPLETE("drain", "-s", m->socket, "app/"),
                textf("app/one\tup\napp/127.0.0.1:%d\tup\n", port + 1));
    EXPECT_SOON(COMPLETE("remove", "--wait", "-c", m->ini, "app/o"), "app/one\tup\n");
    assert_string_equal(COMPLETE("ready", "-s", m->socket, ""), "");
    assert_int_equal(millpond_cli(m, "drain", "app/one", NULL).exit_code, 0);
    EXPECT_SOON(COMPLETE("ready", "-s", m->socket, ""), "app/one\tdraining\n");
    EXPECT_SOON(COMPLETE("add", "-s", m->socket, "ap"), "app\t\napt\t\n");
    assert_string_equal(COMPLETE("add", "-s", m->socket, "app", ""), "");
    EXPECT_SOON(COMPLETE("resume", "-s", m->socket, ""), "shop\trunning\n");
    proc_signal(m->proc, SIGSTOP);
    assert_string_equal(COMPLETE("drain", "-s", m->socket, ""), "");
    proc_signal(m->proc, SIGCONT);
    millpond_stop(m);
    assert_string_equal(COMPLETE("drain", "-s", m->socket, ""), "");
    assert_string_equal(COMPLETE("drain", "-c", "/nonexistent", ""), "");
}

static char *in_bash(const char *line)
{
    static const char ask[] =
        "source packaging/completion.bash; compopt() { echo \"compopt $*\"; }\n"
        "COMP_LINE=\"some thing; $0 $1\"; COMP_POINT=${#COMP_LINE}; COMP_WORDS=(\"$0\")\n"
        "_millpond; printf '%s\\n' \"${COMPREPLY[@]}\"";
    return complete((const char *const[]){"bash", "--norc", "-c", ask, getenv("MILLPOND"), line, NULL});
}

static void bash_shows_it(void **state)
{
    UNUSED(state);
    int port;
    struct millpond *m = start(&port);
    assert_string_equal(in_bash("stat"), "status\n");
    assert_string_equal(in_bash("demo --"), "--port\n--admin-port\n--help\n");
    assert_string_equal(in_bash("check -c "), "compopt -o default\n\n");
    EXPECT_SOON(in_bash(textf("drain -s %s app/o", m->socket)), "app/one\n");
    EXPECT_SOON(in_bash(textf("drain -s %s app/127.0.0.1:", m->socket)), textf("%d\n", port + 1));
    assert_string_equal(in_bash("frobnicate "), "\n");
    millpond_stop(m);
}

static bool is_installed(const char *program)
{
    return proc_run((const char *const[]){"which", program, NULL}).exit_code == 0;
}

static void fish_shows_it(void **state)
{
    UNUSED(state);
    static const char ask[] = "source packaging/completion.fish; complete -C $argv[1]";
    const struct {
        const char *line, *shown;
    } cases[] = {{"ready", "ready\tTakes a drained server back into use.\n"},
                 {"drain ", ""},
                 {"check -c VERSIO", "VERSION\n"}};
    if (!is_installed("fish"))
        skip();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *line = textf("%s %s", getenv("MILLPOND"), cases[i].line);
        assert_string_equal(complete((const char *const[]){"fish", "--no-config", "-c", ask, line, NULL}),
                            cases[i].shown);
    }
}

/* What the line is after the tab key, in a shell at a terminal. */
static char *in_zsh(const char *line)
{
    static const char type[] =
        "zmodload zsh/zpty; zpty z 'env TERM=dumb zsh -f -i'\n"
        "zpty -w z \"fpath=($1 \\$fpath); autoload -Uz compinit; compinit -D -u; print re''ady\"\n"
        "zpty -r -m z out '*ready*'\n"
        "zpty -w -n z \"$2\"$'\\t\\x01'\"print -r -- >$1/line \"$'\\nexit\\n'\n"
        "while zpty -r z out; do :; done";
    char *function = support_path("_millpond");
    support_write_file(function, support_read_file("packaging/completion.zsh"));
    complete((const char *const[]){"zsh", "-f", "-c", type, "zsh", support_dir(), line, NULL});
    return support_read_file(support_path("line"));
}

static void zsh_shows_it(void **state)
{
    UNUSED(state);
    int port;
    if (!is_installed("zsh"))
        skip();
    struct millpond *m = start(&port);
    const char *program = getenv("MILLPOND");
    const struct {
        const char *typed, *becomes;
    } cases[] = {{"stat", "status"},
                 {"drain a/b --wa", "drain a/b --wait"},
                 {"check -c VERSIO", "check -c VERSION"},
                 {textf("drain -s %s app/127", m->socket),
                  textf("drain -s %s app/127.0.0.1:%d", m->socket, port + 1)}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        EXPECT_SOON(in_zsh(textf("%s %s", program, cases[i].typed)),
                    textf("%s %s\n", program, cases[i].becomes));
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(commands_and_options_are_those_that_there_are),
        E2E_TEST(files_are_named_where_options_take_them),
        E2E_TEST(names_are_those_of_the_running_server),
        E2E_TEST(bash_shows_it),
        E2E_TEST(fish_shows_it),
        E2E_TEST(zsh_shows_it),
    };
    return E2E_RUN("completion", tests);
}
