/* demo.c: see demo.h.
 *
 * One thread without a loop: the signals that matter are blocked and taken one at a time with sigtimedwait,
 * so nothing runs in a signal handler. The children stand in process groups of their own, so that Ctrl-C in a
 * terminal reaches only this process, which then ends them in order; the kernel ends them should this process
 * be killed. An instance that dies is shown to be down for a while before it is started again: that is the
 * point of the demonstration.
 *
 * Rejected: running the instances as threads. A person could not kill one. */
#include "proxy/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/client_http.h"
#include "balancer/balancer.h"
#include "core/net.h"
#include "proxy/demo_app.h"
#include "proxy/demo_pages.h"

#define DEMO_APPS        2
#define PROXY_PORT       8080
#define ADMIN_PORT       8081
#define FIRST_APP_PORT   3001
#define START_TIMEOUT_MS 15000
#define RESTART_AFTER_MS 15000
#define STOP_TIMEOUT_MS  10000
#define START_TRIES      5
#define POLL_MS          50

struct demo_child {
    const char *name;
    pid_t pid; /* 0: not running */
    int port;
    mono_ms_t restart_at_ms; /* 0: not planned */
};

struct demo {           /* lives as long as demo_main */
    char exe[PATH_MAX]; /* this program, as a person may type it */
    char dir[64], ini[96], socket[96], data[96];
    int admin_port;
    bool port_is_lost; /* an instance found its port taken when it started */
    struct demo_child proxy;
    struct demo_child apps[DEMO_APPS];
};

static bool demo_is_tty; /* set once */

static const char *bold(void)
{
    return demo_is_tty ? "\033[1m" : "";
}

static const char *plain(void)
{
    return demo_is_tty ? "\033[0m" : "";
}

static void say(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void say(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    fflush(stdout);
}

/* ---- ports ---- */

/* The port if it is free on 127.0.0.1 (0: any), else 0. It may be taken until it is used: an instance gets
 * another one then, of Millpond's own that is said. */
static int port_try(int port)
{
    struct net_addr a = {.len = sizeof a.in4, .in4 = {.sin_family = AF_INET}};
    a.in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.in4.sin_port = htons((uint16_t)port);
    int fd = net_listen(&a, 1, false);
    if (fd < 0)
        return 0;
    int got = net_local_addr(fd, &a) ? net_addr_port(&a) : 0;
    close(fd);
    return got;
}

static int port_choose(int wanted, const char *what)
{
    int port = port_try(wanted);
    if (port != 0)
        return port;
    port = port_try(0);
    if (what != NULL && port != 0)
        say("Port %d is taken, so %s is on port %d.\n", wanted, what, port);
    return port;
}

static bool app_ports_choose(struct demo *d)
{
    for (int i = 0; i < DEMO_APPS; i++) {
        do
            d->apps[i].port = port_choose(FIRST_APP_PORT + i, NULL);
        while (d->apps[i].port != 0 &&
               (d->apps[i].port == d->proxy.port || d->apps[i].port == d->admin_port ||
                (i > 0 && d->apps[i].port == d->apps[0].port)));
    }
    return d->apps[0].port != 0 && d->apps[1].port != 0;
}

static bool ports_choose(struct demo *d, int proxy_port, int admin_port)
{
    d->proxy.port = port_choose(proxy_port, "Millpond");
    do
        d->admin_port = port_choose(admin_port, "its admin page");
    while (d->admin_port == d->proxy.port && d->admin_port != 0);
    return d->proxy.port != 0 && d->admin_port != 0 && app_ports_choose(d);
}

/* ---- files ---- */

static bool ini_write(const struct demo *d)
{
    FILE *f = fopen(d->ini, "we");
    if (f == NULL)
        return false;
    fprintf(f,
            "; The configuration of this demo. Change it while it runs, then: millpond reload -s %s\n"
            "[millpond]\nruntime_dir = %s\nstate_dir = %s\nshutdown_timeout = 2s\n\n"
            "[log]\naccess = %s/access.log\n\n"
            "[listen web]\naddress = 127.0.0.1:%d\n\n"
            "[pool app]\n"
            "server = 127.0.0.1:%d name=%s\nserver = 127.0.0.1:%d name=%s\n"
            "health_path = /healthz\nhealth_interval = 1s\n\n"
            "[cache]\nmemory_size = 64M\n\n"
            "[admin]\naddress = 127.0.0.1:%d\nread = open\nmetrics = open\n",
            d->socket, d->dir, d->dir, d->dir, d->proxy.port, d->apps[0].port, d->apps[0].name,
            d->apps[1].port, d->apps[1].name, d->admin_port);
    return fclose(f) == 0;
}

static bool files_make(struct demo *d)
{
    strcpy(d->dir, "/tmp/millpond-demo-XXXXXX");
    if (mkdtemp(d->dir) == NULL)
        return false;
    snprintf(d->ini, sizeof d->ini, "%s/millpond.ini", d->dir);
    snprintf(d->socket, sizeof d->socket, "%s/admin.sock", d->dir);
    snprintf(d->data, sizeof d->data, "%s/price", d->dir);
    return ini_write(d);
}

static int file_remove(const char *path, const struct stat *st, int type, struct FTW *where)
{
    UNUSED(st);
    UNUSED(type);
    UNUSED(where);
    remove(path);
    return 0;
}

/* As a person in this folder would type it. */
static void exe_find(struct demo *d)
{
    char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", d->exe, sizeof d->exe - 1);
    d->exe[n > 0 ? n : 0] = '\0';
    size_t len = getcwd(here, sizeof here) != NULL ? strlen(here) : 0;
    if (len > 1 && strncmp(d->exe, here, len) == 0 && d->exe[len] == '/')
        memmove(d->exe, d->exe + len + 1, strlen(d->exe + len + 1) + 1);
}

/* ---- children ---- */

static void child_start(struct demo_child *c, char *const argv[])
{
    pid_t parent = getpid();
    fflush(NULL);
    c->restart_at_ms = 0;
    c->pid = fork();
    if (c->pid != 0) {
        if (c->pid < 0) {
            say("%s cannot be started: %s\n", c->name, strerror(errno));
            c->pid = 0;
        }
        return;
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1); /* it died before the kernel was asked to watch it */
    int null_fd = open("/dev/null", O_RDONLY);
    if (null_fd >= 0)
        dup2(null_fd, STDIN_FILENO);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static void app_start(struct demo *d, struct demo_child *c)
{
    char port[16], purge[PATH_MAX + 128];
    snprintf(port, sizeof port, "%d", c->port);
    snprintf(purge, sizeof purge, "%s purge -s %s", d->exe, d->socket);
    char name[32];
    snprintf(name, sizeof name, "%s", c->name);
    char *argv[] = {(char[]){"millpond"},
                    (char[]){"demo-app"},
                    (char[]){"--port"},
                    port,
                    (char[]){"--name"},
                    name,
                    (char[]){"--data"},
                    d->data,
                    (char[]){"--purge"},
                    purge,
                    NULL};
    child_start(c, argv);
}

static void proxy_start(struct demo *d)
{
    char *argv[] = {(char[]){"millpond"}, (char[]){"run"}, (char[]){"-c"}, d->ini, NULL};
    child_start(&d->proxy, argv);
}

static struct demo_child *child_of_pid(struct demo *d, pid_t pid)
{
    if (d->proxy.pid == pid)
        return &d->proxy;
    for (int i = 0; i < DEMO_APPS; i++) {
        if (d->apps[i].pid == pid)
            return &d->apps[i];
    }
    return NULL;
}

static void describe_end(int status, char *out, size_t out_bytes)
{
    if (WIFSIGNALED(status))
        snprintf(out, out_bytes, "was ended by signal %d (%s)", WTERMSIG(status),
                 strsignal(WTERMSIG(status)));
    else
        snprintf(out, out_bytes, "ended with status %d", WEXITSTATUS(status));
}

/* Takes the children that ended. false when one did that is not started again: Millpond itself, or any of
 * them before all were ready. */
static bool children_reap(struct demo *d, bool is_shown)
{
    int status;
    pid_t pid;
    bool go_on = true;
    char how[96];
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct demo_child *c = child_of_pid(d, pid);
        if (c == NULL)
            continue;
        c->pid = 0;
        describe_end(status, how, sizeof how);
        d->port_is_lost |= c != &d->proxy && WIFEXITED(status) && WEXITSTATUS(status) == DEMO_APP_NO_PORT;
        if (c == &d->proxy || !is_shown) {
            say("\n%s %s.\n", c->name, how);
            go_on = false;
            continue;
        }
        c->restart_at_ms = clock_mono_ms() + RESTART_AFTER_MS;
        say("\n%s %s; it is started again in %d seconds. Requests go on meanwhile: try them.\n", c->name, how,
            RESTART_AFTER_MS / 1000);
    }
    return go_on;
}

static void apps_restart(struct demo *d)
{
    for (int i = 0; i < DEMO_APPS; i++) {
        struct demo_child *c = &d->apps[i];
        if (c->restart_at_ms == 0 || c->restart_at_ms > clock_mono_ms())
            continue;
        app_start(d, c);
        if (c->pid != 0)
            say("%s is started again, now with pid %d.\n", c->name, (int)c->pid);
        else
            c->restart_at_ms = clock_mono_ms() + RESTART_AFTER_MS;
    }
}

/* ---- telling ---- */

static void tell_addresses(const struct demo *d)
{
    say("\n%sMillpond is running.%s Look at\n\n", bold(), plain());
    say("  http://127.0.0.1:%-5d  the sample application, through Millpond\n", d->proxy.port);
    say("  http://127.0.0.1:%-5d  Millpond's own page: traffic, cache, instances\n", d->admin_port);
    for (int i = 0; i < DEMO_APPS; i++)
        say("  http://127.0.0.1:%-5d  %s itself, pid %d\n", d->apps[i].port, d->apps[i].name,
            (int)d->apps[i].pid);
}

static void tell_what_to_try(const struct demo *d)
{
    int port = d->proxy.port;
    char etag[DEMO_ETAG_BYTES];
    demo_asset_etag(&demo_assets[0], etag);
    say("\n%sTry in another terminal%s\n\n", bold(), plain());
    say("  curl -s http://127.0.0.1:%d/ | grep 'Made by'      # twice: the instances take turns\n", port);
    say("  curl -i http://127.0.0.1:%d/cached                 # twice: the second is a hit, see Cache-Status "
        "and Age\n",
        port);
    say("  curl -I -H 'If-None-Match: %s' http://127.0.0.1:%d/static/app.css   # 304: unchanged\n", etag,
        port);
    say("  curl -w '%%{time_total}\\n' -so /dev/null 'http://127.0.0.1:%d/slow?ms=1500'   # slow once, then "
        "from the cache\n",
        port);
    say("  curl -i http://127.0.0.1:%d/fail                   # an error page of the application\n", port);
    say("\n  A page that is kept until it is purged:\n");
    say("  curl -s http://127.0.0.1:%d/product/7 | grep costs\n", port);
    say("  curl -s -X POST http://127.0.0.1:%d/product/7 >/dev/null   # a new price, at the application "
        "itself\n",
        d->apps[0].port);
    say("  %s purge -s %s http://127.0.0.1:%d/product/7\n", d->exe, d->socket, port);
    say("\n  Kill an instance, and see no error:\n");
    say("  kill -9 %d; for i in 1 2 3 4; do curl -s http://127.0.0.1:%d/ | grep 'Made by'; done\n",
        (int)d->apps[0].pid, port);
    say("\n  Look inside:\n");
    say("  %s status -s %s\n", d->exe, d->socket);
    say("  tail -f %s/access.log\n", d->dir);
    say("  curl -s http://127.0.0.1:%d/metrics                # open in this demo; elsewhere it takes the "
        "admin token\n",
        d->admin_port);
    say("\nThe configuration is %s. %sCtrl-C ends everything.%s\n\n", d->ini, bold(), plain());
}

/* ---- running ---- */

/* The signal that came, 0 when none did within `timeout_ms`. */
static int signal_wait(const sigset_t *set, dur_ms_t timeout_ms)
{
    struct timespec ts = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    int sig = sigtimedwait(set, NULL, &ts);
    return sig > 0 ? sig : 0;
}

/* The answer to GET /api/pools: probes of each instance succeed. */
static bool are_up(slice_t answer)
{
    size_t i, up = 0;
    const json_t *instance;
    json_t *root = json_loadb(answer.ptr, answer.len, 0, NULL);
    const json_t *pool = json_array_get(json_object_get(root, "pools"), 0);
    json_array_foreach(json_object_get(pool, "instances"), i, instance)
    {
        const char *state = json_string_value(json_object_get(instance, "state"));
        up += state != NULL && strcmp(state, instance_state_name(INSTANCE_UP)) == 0;
    }
    json_decref(root);
    return up == DEMO_APPS;
}

/* Whoever looks now finds what is told. */
static bool is_ready(const struct demo *d)
{
    struct client_answer answer;
    char err[256];
    if (!client_http_ask(d->socket, "GET", "/api/pools", SLICE_EMPTY, 2000, &answer, err, sizeof err))
        return false;
    bool ok = answer.status == 200 && are_up(answer.body);
    client_answer_free(&answer);
    return ok;
}

static bool children_all_run(const struct demo *d)
{
    return d->proxy.pid > 0 && d->apps[0].pid > 0 && d->apps[1].pid > 0;
}

/* 0: ready; otherwise the signal that asks to end, or SIGCHLD when something could not start. */
static int start_all(struct demo *d, const sigset_t *set)
{
    mono_ms_t deadline_ms = clock_mono_ms() + START_TIMEOUT_MS;
    d->port_is_lost = false;
    for (int i = 0; i < DEMO_APPS; i++)
        app_start(d, &d->apps[i]);
    proxy_start(d);
    while (!is_ready(d)) {
        int sig = signal_wait(set, POLL_MS);
        if (sig != 0 && (sig != SIGCHLD || !children_reap(d, false)))
            return sig;
        if (!children_all_run(d) || clock_mono_ms() > deadline_ms) {
            say("Millpond or one of its instances did not become ready.\n");
            return SIGCHLD;
        }
    }
    return children_reap(d, false) ? 0 : SIGCHLD; /* who answered may be another's on a port that was lost */
}

static void child_signal(const struct demo_child *c, int sig)
{
    if (c->pid > 0)
        kill(c->pid, sig);
}

static bool child_is_running(const struct demo *d)
{
    return d->proxy.pid > 0 || d->apps[0].pid > 0 || d->apps[1].pid > 0;
}

/* The proxy first, so that it sees no instance die; what does not end in time is killed. */
static void stop_all(struct demo *d)
{
    mono_ms_t kill_at_ms = clock_mono_ms() + STOP_TIMEOUT_MS;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    child_signal(&d->proxy, SIGTERM);
    bool apps_told = false;
    while (child_is_running(d)) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            struct demo_child *c = child_of_pid(d, pid);
            if (c != NULL)
                c->pid = 0;
        }
        if (d->proxy.pid == 0 && !apps_told) {
            for (int i = 0; i < DEMO_APPS; i++)
                child_signal(&d->apps[i], SIGTERM);
            apps_told = true;
        }
        if (clock_mono_ms() > kill_at_ms) {
            child_signal(&d->proxy, SIGKILL);
            for (int i = 0; i < DEMO_APPS; i++)
                child_signal(&d->apps[i], SIGKILL);
        }
        if (child_is_running(d))
            signal_wait(&child, POLL_MS);
    }
}

/* As start_all; begins again with other ports when others were quicker. */
static int start_with_ports(struct demo *d, const sigset_t *set)
{
    int sig = start_all(d, set);
    for (int tries = 1; sig == SIGCHLD && d->port_is_lost && tries < START_TRIES; tries++) {
        stop_all(d);
        say("Its port was taken meanwhile. Trying others.\n");
        if (!app_ports_choose(d) || !ini_write(d))
            return SIGCHLD;
        sig = start_all(d, set);
    }
    return sig;
}

static int demo_run(struct demo *d)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int sig = start_with_ports(d, &set);
    bool failed = sig == SIGCHLD;
    if (sig == 0) {
        tell_addresses(d);
        tell_what_to_try(d);
    }
    while (sig == 0 || (sig == SIGCHLD && !failed)) {
        sig = signal_wait(&set, 1000);
        if (sig == SIGCHLD)
            failed = !children_reap(d, true);
        apps_restart(d);
    }
    say("\nStopping.\n");
    stop_all(d);
    return failed ? 1 : 0;
}

const struct option demo_options[] = {
    {"port", required_argument, NULL, 'p'}, {"admin-port", required_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};

static bool parse(int argc, char **argv, int *proxy_port, int *admin_port)
{
    int opt;
    uint64_t port;
    optind = 0;
    while ((opt = getopt_long(argc, argv, "", demo_options, NULL)) != -1) {
        if (opt == '?' || !slice_to_u64(slice_str(optarg), &port) || port > UINT16_MAX)
            return false;
        *(opt == 'p' ? proxy_port : admin_port) = (int)port;
    }
    return optind == argc;
}

int demo_main(int argc, char **argv)
{
    struct demo d = {.proxy = {.name = "Millpond"}, .apps = {{.name = "app-1"}, {.name = "app-2"}}};
    int proxy_port = PROXY_PORT, admin_port = ADMIN_PORT;
    if (!parse(argc, argv, &proxy_port, &admin_port)) {
        fprintf(stderr, "usage: millpond demo [--port N] [--admin-port N]\n");
        return 2;
    }
    demo_is_tty = isatty(STDOUT_FILENO);
    signal(SIGPIPE, SIG_IGN); /* a closed terminal must not keep the folder from being removed */
    exe_find(&d);
    int result = 1;
    if (!ports_choose(&d, proxy_port, admin_port))
        fprintf(stderr, "millpond demo: no free port on 127.0.0.1: %s\n", strerror(errno));
    else if (!files_make(&d))
        fprintf(stderr, "millpond demo: cannot write %s: %s\n", d.dir, strerror(errno));
    else
        result = demo_run(&d);
    if (d.dir[0] != '\0')
        nftw(d.dir, file_remove, 8, FTW_DEPTH | FTW_PHYS);
    return result;
}
