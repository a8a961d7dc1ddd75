/* upgrade.h: what the tests of an upgrade share. The test stands in for whoever inherits orphans, so that it
 * can wait for processes that the program has started. */
#ifndef TESTS_E2E_UPGRADE_H
#define TESTS_E2E_UPGRADE_H

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE "store = off"
#define ASK      "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define ASK_ONCE "GET /p HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"

static inline char *children_of(pid_t pid)
{
    return support_read_file(textf("/proc/%d/task/%d/children", (int)pid, (int)pid));
}

/* Of these, those that are not `spared`; and what ended is buried when it was ours. */
static inline void end_all(const char *children, pid_t spared)
{
    for (char *at = (char *)(uintptr_t)children; at[strspn(at, " \n")] != '\0';) {
        pid_t pid = (pid_t)strtol(at, &at, 10);
        if (pid <= 0 || pid == spared)
            continue;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

/* The output of all is one, and ends with the last of them. */
static inline void end_orphans(void *arg)
{
    const struct millpond *m = arg;
    end_all(children_of(m->proc->pid), 0);
    end_all(children_of(getpid()), m->proc->pid);
}

/* Any millpond_start. */
static inline struct millpond *adopting_orphans(struct millpond *m)
{
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    support_on_end(end_orphans, m);
    return m;
}

/* Everything that was started has ended. */
static inline void expect_no_children(void)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    pid_t pid = 0;
    while (pid >= 0 && clock_mono_ms() < until_ms) {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == 0)
            poll(NULL, 0, 2);
    }
    EXPECT(pid < 0, "there are still processes: %s", children_of(getpid()));
}

static inline struct proc *ask_for_upgrade(struct millpond *m)
{
    const char *argv[] = {getenv("MILLPOND"), "upgrade", "--json", "-s", m->socket, NULL};
    return proc_start(&(struct proc_options){.argv = argv});
}

/* The id of the new process. */
static inline pid_t upgrade_ended(struct proc *command)
{
    int code = proc_exit_code(command);
    char *said = capture_all(&command->out);
    EXPECT(code == 0, "upgrade: %d\n%s%s", code, said, capture_all(&command->err));
    json_t *o = json_loads(said, 0, NULL);
    pid_t pid = (pid_t)json_integer_value(json_object_get(o, "pid"));
    json_decref(o);
    assert_true(pid > 0);
    return pid;
}

/* Until the old process has ended. */
static inline void upgrade(struct millpond *m)
{
    pid_t pid = upgrade_ended(ask_for_upgrade(m));
    assert_int_equal(proc_follow(m->proc, pid), 0);
}

static inline void expect_refused(struct millpond *m, const char *why)
{
    struct proc_result r = millpond_cli(m, "upgrade", NULL);
    EXPECT(r.exit_code == 1, "upgrade: %d\n%s%s", r.exit_code, r.out, r.err);
    expect_in(r.err, why);
    expect_body(client_get(m->port, "/", ""), "a");
}

static inline void expect_all_well(struct load *l, const char *who)
{
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0,
           "%s: %llu answered, %llu broken, %llu refused: %s", who, (unsigned long long)r.answered,
           (unsigned long long)r.broken, (unsigned long long)r.refused, r.first_problem);
    assert_true(r.answered > 0);
}

#endif
