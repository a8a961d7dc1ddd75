/* proc.c: fork, exec, two pipes, two reader threads, and a pidfd so that waiting for the end is a poll with a
 * limit and not a loop of waitpid. posix_spawn was rejected: it can set neither limits nor the parent-death
 * signal. */
#include "tests/support/proc.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/support/gate.h"

/* Who has this part of the time to itself is not stuck: others' work is in its way. */
#define BUSY_PART  50
#define EXIT_WAITS 4 /* in a row, while it has */

static void *capture_main(void *arg)
{
    struct capture *c = arg;
    char piece[65536];
    for (;;) {
        pthread_mutex_lock(&c->mtx);
        while (c->paused)
            pthread_cond_wait(&c->changed, &c->mtx);
        pthread_mutex_unlock(&c->mtx);
        ssize_t n = read(c->fd, piece, sizeof(piece));
        if (n < 0 && errno == EINTR)
            continue;
        pthread_mutex_lock(&c->mtx);
        if (n > 0) {
            c->text = realloc(c->text, c->len + (size_t)n + 1);
            if (c->text == NULL)
                abort();
            memcpy(c->text + c->len, piece, (size_t)n);
            c->len += (size_t)n;
            c->text[c->len] = '\0';
        }
        c->ended = n <= 0;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->mtx);
        if (n <= 0)
            return NULL;
    }
}

static void capture_start(struct capture *c, int fd)
{
    *c = (struct capture){.fd = fd};
    pthread_mutex_init(&c->mtx, NULL);
    cond_init_mono(&c->changed);
    c->text = strdup("");
    if (pthread_create(&c->reader, NULL, capture_main, c) != 0)
        abort();
}

void capture_pause(struct capture *c, bool paused)
{
    pthread_mutex_lock(&c->mtx);
    c->paused = paused;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mtx);
}

static void capture_end(struct capture *c)
{
    capture_pause(c, false);
    pthread_join(c->reader, NULL);
    close(c->fd);
    free(c->text);
    pthread_mutex_destroy(&c->mtx);
    pthread_cond_destroy(&c->changed);
}

char *capture_text(struct capture *c)
{
    pthread_mutex_lock(&c->mtx);
    char *copy = strdup(c->text);
    pthread_mutex_unlock(&c->mtx);
    support_on_end(free, copy);
    return copy;
}

char *capture_all(struct capture *c)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    pthread_mutex_lock(&c->mtx);
    while (!c->ended && cond_wait_until(&c->changed, &c->mtx, deadline))
        ;
    pthread_mutex_unlock(&c->mtx);
    return capture_text(c);
}

static char *capture_wait_for(struct capture *c, const char *needle, unsigned times, int wait_ms)
{
    mono_ms_t deadline = clock_mono_ms() + wait_ms;
    pthread_mutex_lock(&c->mtx);
    while (support_count(c->text, needle) < times && !c->ended)
        if (!cond_wait_until(&c->changed, &c->mtx, deadline))
            break;
    bool found = support_count(c->text, needle) >= times;
    pthread_mutex_unlock(&c->mtx);
    char *text = capture_text(c);
    if (!found)
        support_fail("the output does not hold \"%s\" %u times:\n%s", needle, times, text);
    return text;
}

char *capture_wait_(struct capture *c, const char *needle, unsigned times)
{
    return capture_wait_for(c, needle, times, support_wait_ms());
}

char *capture_wait_begun_(struct capture *c, const char *needle)
{
    return capture_wait_for(c, needle, 1, 4 * support_wait_ms());
}

static void proc_free(void *arg)
{
    struct proc *p = arg;
    proc_kill(p);
    capture_end(&p->out);
    capture_end(&p->err);
    close(p->pidfd);
    free(p);
}

/* In the child, between fork and exec. */
static _Noreturn void become(const struct proc_options *o, pid_t parent, int out, int err)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    int in = open("/dev/null", O_RDONLY);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (o->cwd != NULL && chdir(o->cwd) != 0)
        _exit(127);
    if (o->max_fds > 0) {
        struct rlimit r = {o->max_fds, o->max_fds};
        setrlimit(RLIMIT_NOFILE, &r);
    }
    if (o->max_memory > 0) {
        struct rlimit r = {o->max_memory, o->max_memory};
        setrlimit(RLIMIT_AS, &r);
    }
    for (size_t i = 0; o->env != NULL && o->env[i] != NULL; i++)
        putenv((char *)(uintptr_t)o->env[i]);
    if (o->fd_3 > 0)
        dup2(o->fd_3, 3);
    close_range(o->fd_3 > 0 ? 4 : 3, ~0u, 0);
    execvp(o->argv[0], (char *const *)(uintptr_t)o->argv);
    dprintf(2, "cannot run %s: %s\n", o->argv[0], strerror(errno));
    _exit(127);
}

struct proc *proc_start(const struct proc_options *o)
{
    struct proc *p = calloc(1, sizeof(*p));
    int out[2], err[2];
    if (p == NULL || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0)
        abort();
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid < 0)
        support_fail("fork: %s", strerror(errno));
    if (p->pid == 0)
        become(o, parent, out[1], err[1]);
    close(out[1]);
    close(err[1]);
    p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
    if (p->pidfd < 0)
        abort();
    capture_start(&p->out, out[0]);
    capture_start(&p->err, err[0]);
    support_on_end(proc_free, p);
    return p;
}

bool proc_wait(struct proc *p, int wait_ms)
{
    if (p->reaped)
        return true;
    mono_ms_t deadline = clock_mono_ms() + wait_ms;
    struct pollfd f = {.fd = p->pidfd, .events = POLLIN};
    for (;;) {
        int left = (int)MAX(deadline - clock_mono_ms(), 0);
        int n = poll(&f, 1, left);
        if (n > 0)
            break;
        if (n == 0 && left == 0)
            return false;
    }
    p->reaped = waitpid(p->pid, &p->status, 0) == p->pid;
    return true;
}

int proc_follow_(struct proc *p, pid_t pid)
{
    const int code = proc_exit_code_(p);
    close(p->pidfd);
    p->pid = pid;
    p->reaped = false;
    p->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (p->pidfd < 0)
        support_fail("process %d is gone: %s", (int)pid, strerror(errno));
    return code;
}

void proc_signal(struct proc *p, int sig)
{
    if (!p->reaped)
        kill(p->pid, sig);
}

void proc_kill(struct proc *p)
{
    if (p->reaped)
        return;
    kill(p->pid, SIGKILL);
    proc_wait(p, support_wait_ms());
}

uint64_t proc_cpu_ms(struct proc *p)
{
    char *stat = support_read_file(textf("/proc/%d/stat", (int)p->pid));
    unsigned long user = 0, system = 0;
    const char *after_name = strrchr(stat, ')');
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        support_fail("cannot read /proc/PID/stat: %s", stat);
    return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

int proc_exit_code_(struct proc *p)
{
    uint64_t before_ms = 0, used_ms = 0;
    for (int waits = 1; !proc_wait(p, support_wait_ms()); waits++) {
        before_ms = used_ms;
        used_ms = proc_cpu_ms(p);
        if (waits == EXIT_WAITS || used_ms - before_ms < (uint64_t)support_wait_ms() / BUSY_PART)
            support_fail("process %d does not end; its stderr:\n%s", (int)p->pid, capture_text(&p->err));
    }
    return WIFSIGNALED(p->status) ? 128 + WTERMSIG(p->status) : WEXITSTATUS(p->status);
}

struct proc_result proc_run(const char *const *argv)
{
    struct proc *p = proc_start(&(struct proc_options){.argv = argv});
    struct proc_result r = {.exit_code = proc_exit_code_(p)};
    r.out = capture_all(&p->out);
    r.err = capture_all(&p->err);
    return r;
}
