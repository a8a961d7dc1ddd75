/* demo.c: `millpond demo` as a newcomer meets it: what it prints is true, an instance may die, and nothing is
 * left. */
#include "tests/support/client.h"
#include "tests/support/proc.h"

#include <signal.h>
#include <sys/stat.h>

struct demo {
    struct proc *proc;
    char *out;
    int port, admin_port, app_port, app_pid;
    char *socket;
};

static int number_after(const char *text, const char *mark)
{
    const char *at = strstr(text, mark);
    EXPECT(at != NULL, "the demo did not print '%s':\n%s", mark, text);
    return atoi(at + strlen(mark));
}

static struct demo demo_begin(void)
{
    struct demo d;
    const char *argv[] = {getenv("MILLPOND"), "demo", "--port", "0", "--admin-port", "0", NULL};
    d.proc = proc_start(&(struct proc_options){.argv = argv});
    d.out = capture_wait(&d.proc->out, "Ctrl-C ends everything", 1);
    d.port = number_after(d.out, "Look at\n\n  http://127.0.0.1:");
    d.admin_port = number_after(strstr(d.out, "through Millpond"), "http://127.0.0.1:");
    d.app_port = number_after(strstr(d.out, "Millpond's own page"), "http://127.0.0.1:");
    d.app_pid = number_after(d.out, "app-1 itself, pid ");
    const char *socket = strstr(d.out, "status -s ") + strlen("status -s ");
    d.socket = textf("%.*s", (int)strcspn(socket, "\n "), socket);
    return d;
}

/* Ctrl-C: status 0, the folder is gone, nobody listens. */
static void demo_end(struct demo *d)
{
    struct stat st;
    proc_signal(d->proc, SIGINT);
    assert_int_equal(proc_exit_code(d->proc), 0);
    char *dir = textf("%.*s", (int)(strrchr(d->socket, '/') - d->socket), d->socket);
    assert_int_equal(stat(dir, &st), -1);
    assert_int_equal(kill(d->app_pid, 0), -1);
}

static void what_is_printed_is_true(void **state)
{
    UNUSED(state);
    struct demo d = demo_begin();
    struct message *first = client_get(d.port, "/cached", ""), *second = client_get(d.port, "/cached", "");
    expect_status(first, 200);
    expect_field_in(second, "Cache-Status", "hit");
    expect_body(second, first->body);
    bool seen[2] = {false, false};
    for (int i = 0; i < 4; i++) {
        struct message *m = client_get(d.port, "/", "");
        expect_status(m, 200);
        seen[strstr(m->body, "<b>app-2</b>") != NULL] = true;
    }
    assert_true(seen[0] && seen[1]);
    expect_status(client_get(d.port, "/fail", ""), 500);
    expect_status(client_get(d.admin_port, "/", "Connection: close\r\n"), 421); /* Host: test is not ours */
    demo_end(&d);
}

static void price_is_seen_after_the_purge(void **state)
{
    UNUSED(state);
    struct demo d = demo_begin();
    char *url = textf("http://test/product/7");
    expect_in(client_get(d.port, "/product/7", "")->body, ">10.00<");
    expect_in(client_ask(d.app_port, "POST", "/product/7", "", "")->body, ">11.25<");
    expect_in(client_get(d.port, "/product/7", "")->body, ">10.00<");
    const char *argv[] = {getenv("MILLPOND"), "purge", "-s", d.socket, url, NULL};
    struct proc_result r = proc_run(argv);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, "1 stored response removed");
    expect_in(client_get(d.port, "/product/7", "")->body, ">11.25<");
    demo_end(&d);
}

static void killed_instance_is_not_noticed(void **state)
{
    UNUSED(state);
    struct demo d = demo_begin();
    expect_status(client_get(d.port, "/", ""), 200);
    kill(d.app_pid, SIGKILL);
    capture_wait(&d.proc->out, "app-1 was ended by signal 9", 1);
    for (int i = 0; i < 10; i++)
        expect_status(client_get(d.port, "/", ""), 200);
    demo_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(what_is_printed_is_true),
        E2E_TEST(price_is_seen_after_the_purge),
        E2E_TEST(killed_instance_is_not_noticed),
    };
    return E2E_RUN("demo", tests);
}
