/* test_demo.c: the demo's supervision of its children, apart from the proxy: this binary takes the program's
 * place, with `run` answering on the admin socket of the written configuration. The environment variable
 * STAND_IN says what goes wrong: "run" or "app-2" ends at once, "slow", or ports are "taken".
 * tests/e2e/demo.c tries the real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/net.h"
#include "proxy/demo.h"
#include "proxy/demo_app.h"

static bool stand_in_is(const char *what)
{
    const char *is = getenv("STAND_IN");
    return is != NULL && strcmp(is, what) == 0;
}

#define INSTANCES(first, second)                                                                             \
    "200 OK", "{\"pools\":[{\"instances\":[{\"state\":\"" first "\"},{\"state\":\"" second "\"}]}]}"

/* What is answered to one question after the other, to the last of them for ever. */
static const char *const answers[][2] = {
    {"503 Service Unavailable", ""},
    {"200 OK", ""},
    {"200 OK", "not JSON"},
    {"200 OK", "{\"pools\":[]}"},
    {"200 OK", "{\"pools\":[{\"instances\":[{\"state\":\"up\"}]}]}"},
    {"200 OK", "{\"pools\":[{\"instances\":[{\"state\":\"up\"},{}]}]}"},
    {INSTANCES("starting", "starting")},
    {INSTANCES("up", "starting")},
    {INSTANCES("down", "up")},
    {INSTANCES("up", "up")},
};
#define LAST_ANSWER (ARRAY_LEN(answers) - 1)
#define NOT_UP      (LAST_ANSWER - 2)

/* What app-2 leaves beside this file when ports are "taken" and it is started again. */
static const char *second_start(const char *beside)
{
    static char path[128];
    snprintf(path, sizeof path, "%.*s/second-start", (int)(strrchr(beside, '/') - beside), beside);
    return path;
}

/* `run -c FILE`: the socket stands beside the file. What is answered is printed before, where the demo
 * prints. */
static int stand_in_run(const char *ini)
{
    struct net_addr a = {.len = sizeof a.un, .un = {.sun_family = AF_UNIX}};
    char request[1024];
    size_t next = stand_in_is("slow") ? 0 : LAST_ANSWER;
    if (stand_in_is("run"))
        return 2;
    snprintf(a.un.sun_path, sizeof a.un.sun_path, "%.*s/admin.sock", (int)(strrchr(ini, '/') - ini), ini);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    unlink(a.un.sun_path); /* of one that was ended */
    if (bind(listener, &a.sa, a.len) != 0 || listen(listener, 8) != 0)
        return 1;
    for (;; next += next < LAST_ANSWER) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || recv(fd, request, sizeof request, 0) <= 0)
            return 1;
        if (stand_in_is("app-2") || (stand_in_is("taken") && access(second_start(ini), F_OK) != 0))
            next = NOT_UP;
        printf("answer %zu\n", next);
        fflush(stdout);
        dprintf(fd, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", answers[next][0],
                strlen(answers[next][1]), answers[next][1]);
        close(fd);
    }
}

static int stand_in_app(int argc, char **argv)
{
    const char *data = "";
    bool is_second = false;
    for (int i = 1; i < argc; i++) {
        if (stand_in_is(argv[i]))
            return 7;
        is_second |= strcmp(argv[i], "app-2") == 0;
        if (strcmp(argv[i], "--data") == 0)
            data = argv[i + 1];
    }
    if (stand_in_is("taken") && is_second && mkdir(data, 0700) == 0)
        return DEMO_APP_NO_PORT;
    if (stand_in_is("taken") && is_second && mkdir(second_start(data), 0700) != 0)
        return 1;
    return demo_app_main(argc, argv);
}

struct shown { /* a demo in a child process, with what it prints */
    pid_t pid;
    int out;
    char text[16384];
    size_t len;
};

static struct shown shown_start(const char *port, const char *admin_port, const char *stand_in)
{
    struct shown s = {0};
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    s.pid = fork();
    assert_true(s.pid >= 0);
    if (s.pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        close(fds[0]);
        close(fds[1]);
        setenv("STAND_IN", stand_in, 1);
        execl("/proc/self/exe", "millpond", "demo", "--port", port, "--admin-port", admin_port, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    s.out = fds[0];
    return s;
}

/* Reads on until `mark` was printed; NULL at the end of the output. */
static const char *shown_wait(struct shown *s, const char *mark)
{
    for (;;) {
        s->text[s->len] = '\0';
        const char *at = strstr(s->text, mark);
        if (at != NULL)
            return at + strlen(mark);
        ssize_t n = read(s->out, s->text + s->len, sizeof s->text - 1 - s->len);
        if (n <= 0)
            return NULL;
        s->len += (size_t)n;
    }
}

static int shown_end(struct shown *s)
{
    int status;
    while (shown_wait(s, "no such text") != NULL)
        continue;
    close(s->out);
    assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void folder_of(struct shown *s, char out[64])
{
    const char *at = shown_wait(s, "The configuration is ");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "%63[^ ]/millpond.ini", out), 1);
    *strrchr(out, '/') = '\0';
}

static void expect_gone(const char *folder, int pid)
{
    struct stat st;
    assert_int_equal(stat(folder, &st), -1);
    assert_int_equal(kill(pid, 0), -1);
}

static void test_from_start_to_ctrl_c(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        struct shown s = shown_start("0", "0", "");
        char folder[64];
        assert_non_null(shown_wait(&s, "Ctrl-C ends everything"));
        int app_pid = atoi(shown_wait(&s, "app-1 itself, pid "));
        assert_int_equal(kill(app_pid, 0), 0);
        folder_of(&s, folder);
        assert_int_equal(kill(s.pid, signals[i]), 0);
        assert_int_equal(shown_end(&s), 0);
        expect_gone(folder, app_pid);
    }
}

static void test_dead_instance_is_announced(void **state)
{
    (void)state;
    struct shown s = shown_start("0", "0", "");
    char folder[64];
    assert_non_null(shown_wait(&s, "Ctrl-C ends everything"));
    int app_pid = atoi(shown_wait(&s, "app-2 itself, pid "));
    folder_of(&s, folder);
    assert_int_equal(kill(app_pid, SIGKILL), 0);
    assert_non_null(shown_wait(&s, "app-2 was ended by signal 9"));
    assert_non_null(shown_wait(&s, "started again in 15 seconds"));
    assert_int_equal(kill(s.pid, SIGINT), 0);
    assert_int_equal(shown_end(&s), 0);
    expect_gone(folder, app_pid);
}

static void test_proxy_that_cannot_start(void **state)
{
    (void)state;
    struct shown s = shown_start("0", "0", "run");
    assert_non_null(shown_wait(&s, "Millpond ended with status 2"));
    assert_int_equal(shown_end(&s), 1);
}

static void test_instance_that_cannot_start(void **state)
{
    (void)state;
    struct shown s = shown_start("0", "0", "app-2");
    assert_non_null(shown_wait(&s, "app-2 ended with status 7"));
    assert_int_equal(shown_end(&s), 1);
    assert_null(strstr(s.text, "Look at"));
    assert_null(strstr(s.text, "started again"));
}

static void test_port_that_was_taken_meanwhile(void **state)
{
    (void)state;
    struct shown s = shown_start("0", "0", "taken");
    assert_non_null(shown_wait(&s, "Its port was taken meanwhile. Trying others."));
    assert_non_null(shown_wait(&s, "Ctrl-C ends everything"));
    assert_int_equal(kill(s.pid, SIGINT), 0);
    assert_int_equal(shown_end(&s), 0);
}

static void test_nothing_is_told_before_the_instances_are_up(void **state)
{
    (void)state;
    char last[32];
    snprintf(last, sizeof last, "answer %zu\n", LAST_ANSWER);
    struct shown s = shown_start("0", "0", "slow");
    assert_non_null(shown_wait(&s, "Millpond is running"));
    const char *told = strstr(s.text, "Millpond is running"), *answered = strstr(s.text, last);
    assert_true(answered != NULL && answered < told);
    assert_int_equal(kill(s.pid, SIGINT), 0);
    assert_int_equal(shown_end(&s), 0);
}

static void test_taken_port_is_said(void **state)
{
    (void)state;
    struct net_addr a;
    char port[16], expected[64];
    assert_true(net_addr_parse(SLICE_LIT("127.0.0.1:0"), &a));
    int fd = net_listen(&a, 1, false);
    assert_true(net_local_addr(fd, &a));
    snprintf(port, sizeof port, "%u", net_addr_port(&a));
    snprintf(expected, sizeof expected, "Port %s is taken, so Millpond is on port ", port);
    struct shown s = shown_start(port, "0", "");
    assert_non_null(shown_wait(&s, expected));
    assert_non_null(shown_wait(&s, "Ctrl-C ends everything"));
    kill(s.pid, SIGINT);
    assert_int_equal(shown_end(&s), 0);
    close(fd);
}

static void test_wrong_usage(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"--port", "70000"}, {"--port", "x"}, {"--frob", "1"}, {"extra", "word"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *argv[] = {(char[]){"demo"}, (char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1], NULL};
        assert_int_equal(demo_main(3, argv), 2);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "demo") == 0)
        return demo_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "demo-app") == 0)
        return stand_in_app(argc - 1, argv + 1);
    if (argc > 3 && strcmp(argv[1], "run") == 0)
        return stand_in_run(argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_start_to_ctrl_c),
        cmocka_unit_test(test_dead_instance_is_announced),
        cmocka_unit_test(test_proxy_that_cannot_start),
        cmocka_unit_test(test_instance_that_cannot_start),
        cmocka_unit_test(test_port_that_was_taken_meanwhile),
        cmocka_unit_test(test_nothing_is_told_before_the_instances_are_up),
        cmocka_unit_test(test_taken_port_is_said),
        cmocka_unit_test(test_wrong_usage),
    };
    return cmocka_run_group_tests_name("proxy/demo", tests, NULL, NULL);
}
