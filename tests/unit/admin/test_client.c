/* test_client.c: the commands as a person runs them: what is printed where, the exit status, and every way of
 * finding nobody at home. */
#include "admin_fixture.h"

#include "admin/client.h"
#include "admin/client_help.h"
#include "admin/client_http.h"

struct run { /* one command's outcome */
    int status;
    char *out, *err;
};

static struct run run_command(const char *const *words)
{
    struct run r = {0};
    size_t out_len = 0, err_len = 0;
    char *argv[16];
    int argc = 0;
    for (; words[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc];
    argv[argc] = NULL;
    FILE *out = open_memstream(&r.out, &out_len), *err = open_memstream(&r.err, &err_len);
    r.status = admin_client_run(argc, argv, out, err);
    fclose(out);
    fclose(err);
    return r;
}

#define RUN(...) run_command((const char *const[]){__VA_ARGS__, NULL})

static void expect(struct run r, int status, const char *out, const char *err)
{
    if (r.status != status || strstr(r.out, out) == NULL || strstr(r.err, err) == NULL)
        fail_msg("status %d, out '%s', err '%s'", r.status, r.out, r.err);
    free(r.out);
    free(r.err);
}

static void test_commands(void **state)
{
    struct fixture *f = *state;
    expect(RUN("status", "-s", f->socket), 0, "running for", "");
    expect(RUN("pools", "-s", f->socket), 0, "POOL", "");
    expect(RUN("reload", "-s", f->socket), 0, "generation 4", "");
    assert_int_equal(f->reloads, 1);
    expect(RUN("upgrade", "-s", f->socket), 1, "", "an upgrade is under way; it goes on");
    expect(RUN("upgrade", "-s", f->socket), 1, "", "the upgrade failed; see below\n  it ended with status 1");
    expect(RUN("upgrade", "-s", f->socket), 0, "process 12, millpond 9.9, serves; process 11 ends", "");
    expect(RUN("stop", "-s", f->socket), 0, "up to 7 s", "");
    while (sem_wait(&f->stopped) != 0)
        continue;
}

static void test_purge(void **state)
{
    struct fixture *f = *state;
    expect(RUN("purge", "http://A.example/x", "-s", f->socket), 0,
           "purged: http://a.example/x\nevent 9007199254740993: 3 stored responses removed\n", "");
    expect(RUN("purge", "-s", f->socket, "http://a/1", "http://a/2"), 0, "purged: http://a/2\n", "");
    assert_int_equal(fake_cache.purges, 2);
    assert_int_equal(fake_cache.count, 2);
    expect(RUN("purge", "--all", "-s", f->socket), 0, "purged: everything\nevent", "");
    assert_int_equal(fake_cache.events[0].kind, CACHE_PURGE_ALL);
    assert_int_equal(fake_cache.purges, 3);
    /* one bad URL: nothing is purged */
    expect(RUN("purge", "-s", f->socket, "nonsense", "http://a/3"), 1, "", "write the whole URL");
    expect(RUN("purge", "-s", f->socket, "/news"), 1, "", "/news: a path alone does not say on which host");
    expect(RUN("purge", "-s", f->socket, "http://a/\xff\xfe"), 1, "", "UTF-8");
    assert_int_equal(fake_cache.purges, 3);
    expect(RUN("purge", "-s", f->socket, "http://a/\"}"), 0, "", "");
    f->has_cache = false;
    expect(RUN("purge", "-s", f->socket, "http://a/"), 1, "", "store is off");
}

static void test_purge_kinds(void **state)
{
    struct fixture *f = *state;
    expect(RUN("purge", "-s", f->socket, "--tag", "a", "--tag", "b", "--soft"), 0,
           "purged softly: tag a\npurged softly: tag b\n", "");
    assert_int_equal(fake_cache.count, 2);
    assert_true(fake_cache.events[1].soft);
    expect(RUN("purge", "-s", f->socket, "--prefix", "http://a/n", "--wait"), 0,
           "purged: prefix http://a/n\n", "");
    expect(RUN("purge", "-s", f->socket, "--glob=*.png"), 0, "purged: glob *.png\n", "");
    expect(RUN("purge", "-s", f->socket, "--host", "A"), 0, "purged: host a\n", "");
    expect(RUN("purge", "-s", f->socket, "http://a/x?y", "--any-query"), 0,
           "purged: http://a/x, whatever its query\n", "");
    assert_int_equal(fake_cache.events[0].kind, CACHE_PURGE_URL_ANY_QUERY);
    expect(RUN("purge", "-s", f->socket, "--soft", "http://a/x"), 0, "3 stored responses made stale\n", "");
}

static void test_json(void **state)
{
    struct fixture *f = *state;
    struct run r = RUN("status", "--json", "-s", f->socket);
    json_t *o = json_loads(r.out, 0, NULL);
    assert_non_null(o);
    json_decref(o);
    expect(r, 0, "\"pools\"", "");
    expect(RUN("purge", "--json", "-s", f->socket, "http://a/1"), 0,
           "{\"id\":\"9007199254740993\",\"soft\":false,\"purged\":3,"
           "\"events\":[{\"kind\":\"url\",\"text\":\"http://a/1\"}]}\n",
           "");
    f->reload_ok = false;
    expect(RUN("reload", "--json", "-s", f->socket), 1, "\"problems\"", "");
}

static void test_refused_reload(void **state)
{
    struct fixture *f = *state;
    f->reload_ok = false;
    expect(RUN("reload", "-s", f->socket), 1, "", "the old one stays");
    expect(RUN("reload", "-s", f->socket), 1, "", "\n  millpond.ini:3: [pool app] server: missing\n");
}

static void test_wrong_usage(void **state)
{
    struct fixture *f = *state;
    expect(RUN("purge", "-s", f->socket), 2, "", "name at least one URL");
    expect(RUN("purge", "-s", f->socket, "--all", "http://x/"), 2, "", "either");
    expect(RUN("purge", "-s", f->socket, "--all", "--tag", "x"), 2, "", "either");
    expect(RUN("purge", "-s", f->socket, "--soft"), 2, "", "name at least one URL");
    expect(RUN("purge", "-s", f->socket, "--tag"), 2, "", "a value is missing after --tag");
    expect(RUN("purge", "-s", f->socket, "--tag", "x", "--any-query"), 2, "", "--any-query goes with a URL");
    expect(RUN("status", "-s", f->socket, "--tag", "x"), 2, "", "an option of purge: --tag");
    expect(RUN("status", "-s", f->socket, "extra"), 2, "", "unexpected argument: extra");
    expect(RUN("status", "-s", f->socket, "--all"), 2, "", "--all");
    expect(RUN("status", "-s"), 2, "", "a value is missing after -s");
    expect(RUN("status", "-s", ""), 2, "", "no path");
    expect(RUN("status", "-x"), 2, "", "unknown option -x");
    expect(RUN("status", "--frob"), 2, "", "unknown option --frob");
    expect(RUN("frob"), 2, "", "unknown command");
    expect(RUN("status", "--help"), 0, "usage: millpond status\n", "");
    expect(RUN("drain", "-h"), 0, "--force ", "");
    expect(RUN("purge", "--tagg", "x"), 2, "", "unknown option --tagg\nTry 'millpond purge --help'.\n");
    assert_int_equal(fake_cache.purges, 0);
}

static void test_nobody_at_home(void **state)
{
    struct fixture *f = *state;
    char path[160];
    snprintf(path, sizeof path, "%s/none.sock", f->dir);
    expect(RUN("status", "-s", path), 1, "", "no millpond is running here");
    struct net_addr a = fx_unix(path);
    int fd = net_listen(&a, 1, false);
    close(fd);
    expect(RUN("status", "-s", path), 1, "", "has ended");
    unlink(path);
    if (geteuid() != 0) {
        assert_int_equal(chmod(f->socket, 0), 0);
        expect(RUN("status", "-s", f->socket), 1, "", "you may not open");
    }
}

/* Somebody else answers: silence, half an answer, an answer that is none. */
static void test_strange_servers(void **state)
{
    struct fixture *f = *state;
    static const char *const answers[] = {
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{\"a\":",
    };
    char path[160], err[512];
    snprintf(path, sizeof path, "%s/strange.sock", f->dir);
    struct net_addr a = fx_unix(path);
    int listener = net_listen(&a, 8, false);
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct client_answer answer;
        pid_t child = fork();
        if (child == 0) {
            char byte;
            fcntl(listener, F_SETFL, 0);
            int fd = accept(listener, NULL, NULL);
            if (recv(fd, &byte, 1, 0) < 0 || send(fd, answers[i], strlen(answers[i]), MSG_NOSIGNAL) < 0)
                _exit(1);
            shutdown(fd, SHUT_WR);
            while (recv(fd, &byte, 1, 0) > 0)
                continue;
            _exit(0);
        }
        bool ok = client_http_ask(path, "GET", "/", SLICE_EMPTY, 5000, &answer, err, sizeof err);
        if (i + 1 < ARRAY_LEN(answers))
            assert_false(ok);
        if (ok)
            client_answer_free(&answer);
    }
    struct client_answer answer; /* connects, and is never answered */
    assert_false(client_http_ask(path, "GET", "/", SLICE_EMPTY, 50, &answer, err, sizeof err));
    assert_non_null(strstr(err, "did not answer"));
    close(listener);
}

static void write_config(struct fixture *f, char path[160], const char *text)
{
    snprintf(path, 160, "%s/millpond.ini", f->dir);
    FILE *out = fopen(path, "w");
    fprintf(out, text, f->dir);
    fclose(out);
}

static void test_socket_of_a_configuration(void **state)
{
    struct fixture *f = *state;
    char path[160];
    write_config(f, path, "[millpond]\nruntime_dir = %s\n[pool app]\nserver = 127.0.0.1:1\n");
    expect(RUN("status", "-c", path), 0, "running", "");
    /* errors in the file: the running server is still found */
    write_config(f, path, "[millpond]\nruntime_dir = %s\n[pool app]\nserver = nonsense\nfrob = 1\n");
    expect(RUN("status", "-c", path), 0, "running", "errors ('millpond check' lists them)");
    expect(RUN("status", "-c", "/does/not/exist.ini"), 2, "", "cannot read /does/not/exist.ini");
}

static void test_scan(void **state)
{
    UNUSED(state);
    static const struct {
        const char *text, *socket;
    } cases[] = {
        {"[admin]\nsocket = /a/b.sock\n", "/a/b.sock"},
        {"[admin]\r\nsocket=/a/b.sock ; mine\r\n", "/a/b.sock"},
        {"[millpond]\nruntime_dir = /run/x\n[admin]\n", "/run/x/admin.sock"},
        {"[millpond]\nruntime_dir = /run/x\n[admin]\nsocket = /y\n", "/y"},
        {"[pool x]\nsocket = /no\n", NULL},
        {"# [admin]\nsocket = /no\n", NULL},
        {"[admin]\n;socket = /no\n", NULL},
        {"[admin]\nsocket_mode = 0600\n", NULL},
        {"[admin]\nsocket = ${DIR}/x\n", NULL},
        {"[admin]\nsocket =\n", NULL},
        {"", NULL},
        {"=\n[\n\n=[admin]", NULL},
        {"[admin]\nsocket = /no/newline/at/the/end", "/no/newline/at/the/end"},
        {"[admin]\nsocket = /far/too/long/for/the/buffer/that/is/given/here/xxxxxxxxxxxxxxxxxxxxxxxx\n",
         NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char out[48] = "";
        bool found = admin_client_scan_socket(slice_str(cases[i].text), out, sizeof out);
        assert_int_equal(found, cases[i].socket != NULL);
        if (found)
            assert_string_equal(out, cases[i].socket);
    }
}

static void test_explain(void **state)
{
    struct fixture *f = *state;
    expect(RUN("explain", "http://a/b?c=1&d=%20+", "-H", "Cookie: a=1; b", "-X", "HEAD", "-HX: y", "-s",
               f->socket, "--json"),
           0,
           "\"url\":\"http://a/b?c=1&d=%20+\",\"method\":\"HEAD\",\"fields\":[\"Cookie: a=1; b\",\"X: y\"]",
           "");
    expect(RUN("explain", "-s", f->socket, "http://a/"), 0,
           "now       miss: nothing?\nbecause   private: it said so\n"
           "change    ttl = 1m   in place of the line at x.ini:7\n",
           "");
    expect(RUN("explain", "nonsense", "-s", f->socket), 1, "", "this is no URL; write a URL");
    expect(RUN("explain", "-s", f->socket), 2, "", "name the URL to explain");
    expect(RUN("explain", "http://a/", "http://b/"), 2, "", "write one URL");
    expect(RUN("explain", "http://a/", "-H"), 2, "", "a value is missing");
    expect(RUN("explain", "http://a/", "--all"), 2, "", "this is an option of purge: --all");
    expect(RUN("explain", "-h"), 0, "millpond explain URL", "");
    expect(RUN("explain", "http://a/", "-s", "/nonexistent/socket"), 1, "", "no millpond is running");
}

static bool takes(const char *command, const struct client_help_option *o)
{
    char word[40];
    if (o->name != NULL)
        snprintf(word, sizeof word, "--%s%s%s", o->name, o->value != NULL ? "=" : "",
                 o->value != NULL ? o->value : "");
    else
        snprintf(word, sizeof word, "-%c%s", o->letter, o->value);
    struct run r = RUN(command, "http://a/", "-s", "/nonexistent/socket", word);
    const bool refused = strstr(r.err, "unknown option") != NULL || strstr(r.err, "an option of") != NULL;
    free(r.out);
    free(r.err);
    return !refused;
}

static bool lists(const struct client_help_option *list, const struct client_help_option *o)
{
    for (; list->text != NULL; list++) {
        if (list->letter == o->letter && (o->name == NULL) == (list->name == NULL) &&
            (o->name == NULL || strcmp(o->name, list->name) == 0))
            return true;
    }
    return false;
}

/* Each option that --help shows of any command is taken by exactly those that show it. */
static void test_help_is_what_is_taken(void **state)
{
    (void)state;
    const struct client_help *shows, *command;
    for (size_t i = 0; (shows = client_help_at(i)) != NULL; i++) {
        for (const struct client_help_option *o = shows->options; o->text != NULL; o++) {
            for (size_t j = 0; (command = client_help_at(j)) != NULL; j++) {
                if (takes(command->command, o) != lists(command->options, o))
                    fail_msg("%s: %s", command->command, o->text);
            }
        }
    }
    for (size_t j = 0; (command = client_help_at(j)) != NULL; j++) {
        for (const struct client_help_option *o = client_help_common; o->text != NULL; o++)
            assert_true(takes(command->command, o));
    }
    /* One whole, since its columns are made. */
    expect(RUN("drain", "--help"), 0,
           "usage: millpond drain POOL/SERVER [--wait] [--force]\n"
           "Gives a server no new requests; those that run there end.\n\n"
           "      --wait           return when they have, or fail after 5 minutes\n"
           "      --force          also the last one of its pool that takes requests\n"
           "  -c, --config FILE    the server's configuration, which says where its socket is\n"
           "                       (default /etc/millpond/millpond.ini)\n"
           "  -s, --socket SOCKET  the admin socket itself\n"
           "      --json           print the answer as JSON\n"
           "  -h, --help           print this\n"
           "Exit status: 0 done, 1 refused or failed, 2 wrong usage or configuration.\n",
           "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
    const struct CMUnitTest tests[] = {
        T(test_commands),
        T(test_explain),
        T(test_purge),
        T(test_purge_kinds),
        T(test_json),
        T(test_refused_reload),
        T(test_wrong_usage),
        T(test_nobody_at_home),
        T(test_strange_servers),
        T(test_socket_of_a_configuration),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_help_is_what_is_taken),
    };
    return cmocka_run_group_tests_name("admin/client", tests, NULL, NULL);
}
