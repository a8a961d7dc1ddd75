/* millpond.c: writes an ini file, starts the binary, waits for its `ready`, and reads its ports from the log.
 * What is asked of the admin side goes through the real command line, so that every test of a counter tests
 * that too; only what is asked again and again goes to the admin socket, without a process for each time. */
#include "tests/support/millpond.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "admin/client_http.h"
#include "tests/support/h2.h"

#define ASK_AGAIN_MS 2

static const char *binary(void)
{
    const char *path = getenv("MILLPOND");
    if (path == NULL || access(path, X_OK) != 0)
        support_fail("MILLPOND is not the path of the program to test: %s", path != NULL ? path : "(unset)");
    return path;
}

/* ---- configuration ---- */

/* True when `lines` sets `key` itself. */
static bool sets(const char *lines, const char *key)
{
    size_t n = strlen(key);
    for (const char *p = lines; p != NULL; p = strchr(p, '\n') != NULL ? strchr(p, '\n') + 1 : NULL)
        if (strncmp(p, key, n) == 0 && strspn(p + n, " =") > 0)
            return true;
    return false;
}

static void put_key(FILE *f, const char *lines, const char *key, const char *value)
{
    if (lines == NULL || !sets(lines, key))
        fprintf(f, "%s = %s\n", key, value);
}

static void put_lines(FILE *f, const char *lines)
{
    if (lines != NULL)
        fprintf(f, "%s\n", lines);
}

static const char *folder_of(const struct millpond_options *o)
{
    return o->name != NULL ? support_path(o->name) : support_dir();
}

char *millpond_ini(const struct millpond_options *o)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *f = open_memstream(&text, &bytes);
    fprintf(f, "[millpond]\n");
    put_key(f, o->main, "workers", "2");
    put_key(f, o->main, "shutdown_timeout", "5s");
    put_key(f, o->main, "runtime_dir", folder_of(o));
    put_key(f, o->main, "state_dir", folder_of(o));
    put_lines(f, o->main);
    fprintf(f, "[log]\n");
    put_key(f, o->log, "access", "stdout");
    put_lines(f, o->log);
    fprintf(f, "[listen web]\n");
    put_key(f, o->listen, "address", "127.0.0.1:0");
    put_lines(f, o->listen);
    fprintf(f, "[admin]\n");
    put_key(f, o->admin, "address", "127.0.0.1:0");
    put_key(f, o->admin, "token", MILLPOND_TOKEN);
    put_lines(f, o->admin);
    if (o->cache != NULL)
        fprintf(f, "[cache]\n%s\n", o->cache);
    put_lines(f, o->rest);
    fclose(f);
    support_on_end(free, text);
    return text;
}

void millpond_write_ini_(struct millpond *m, const struct millpond_options *o)
{
    support_write_file(m->ini, millpond_ini(o));
}

char *pool_lines(const char *name, unsigned count, ...)
{
    char *lines = textf("[pool %s]\nhealth_check = off\n", name);
    va_list ap;
    va_start(ap, count);
    for (unsigned i = 0; i < count; i++)
        lines = textf("%sserver = 127.0.0.1:%d\n", lines, origin_port(va_arg(ap, struct origin *)));
    va_end(ap);
    return lines;
}

/* ---- start and stop ---- */

static void show_log_of_unstopped(void *arg)
{
    struct millpond *m = arg;
    if (!m->proc->reaped) {
        if (proc_wait(m->proc, 0))
            print_error("the program had ended with status %d\n", proc_exit_code_(m->proc));
        proc_kill(m->proc);
        print_error("log of the program when the test ended:\n%s\n", capture_text(&m->proc->err));
    }
    free(m);
}

int millpond_port(struct millpond *m, const char *listen_name)
{
    char *mark = textf(" (listen %s)", listen_name);
    const char *log = capture_wait_(&m->proc->err, mark, 1);
    const char *end = strstr(log, mark);
    while (end > log && end[-1] != ':')
        end--;
    return atoi(end);
}

static int admin_port_of(const char *log)
{
    const char *at = strstr(log, "admin on ");
    const char *colon = at != NULL ? strchr(at, ':') : NULL;
    return colon != NULL ? atoi(colon + 1) : 0;
}

struct millpond *millpond_start_(const struct millpond_options *o)
{
    struct millpond *m = calloc(1, sizeof(*m));
    if (m == NULL)
        abort();
    m->dir = textf("%s", folder_of(o));
    if (o->name != NULL && mkdir(m->dir, 0700) != 0 && errno != EEXIST)
        support_fail("%s: %s", m->dir, strerror(errno));
    m->ini = textf("%s/millpond.ini", m->dir);
    m->socket = textf("%s/admin.sock", m->dir);
    support_write_file(m->ini, millpond_ini(o));
    const char *argv[] = {o->program != NULL ? o->program : binary(), "run", "-c", m->ini, NULL};
    m->proc = proc_start(&(struct proc_options){
        .argv = argv, .env = o->env, .max_fds = o->max_fds, .max_memory = o->max_memory});
    support_on_end(show_log_of_unstopped, m);
    char *log = capture_wait_(&m->proc->err, " ready", 1);
    if (o->stderr_unread)
        capture_pause(&m->proc->err, true);
    m->port = millpond_port(m, "web");
    m->admin_port = admin_port_of(log);
    return m;
}

struct millpond *millpond_before_(struct origin *origin, const char *sections)
{
    struct millpond_options o = {.rest = textf("%s%s", pool_lines("app", 1, origin), sections)};
    return millpond_start_(&o);
}

static void expect_no_report(const char *log)
{
    static const char *const marks[] = {"AddressSanitizer", "LeakSanitizer",     "ThreadSanitizer",
                                        "runtime error:",   "UndefinedBehavior", "panic"};
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strstr(log, marks[i]) != NULL)
            support_fail("the program reported \"%s\":\n%s", marks[i], log);
}

void millpond_expect_clean_end_(struct millpond *m)
{
    capture_pause(&m->proc->err, false);
    int code = proc_exit_code_(m->proc);
    char *log = capture_all(&m->proc->err);
    expect_no_report(log);
    if (code != 0)
        support_fail("the program ended with status %d:\n%s", code, log);
    if (access(m->socket, F_OK) == 0)
        support_fail("the program left its admin socket behind");
}

void millpond_stop_(struct millpond *m)
{
    client_close_all();
    h2_close_all();
    proc_signal(m->proc, SIGTERM);
    millpond_expect_clean_end_(m);
}

/* ---- the command line ---- */

#define MAX_ARGS 24

static struct proc_result run_list(const char *first, va_list ap, const char *socket)
{
    const char *argv[MAX_ARGS + 4] = {binary(), first};
    size_t n = 2;
    const char *arg;
    while ((arg = va_arg(ap, const char *)) != NULL && n < MAX_ARGS)
        argv[n++] = arg;
    if (socket != NULL) {
        argv[n++] = "-s";
        argv[n++] = socket;
    }
    return proc_run(argv);
}

struct proc_result millpond_cli(struct millpond *m, ...)
{
    va_list ap;
    va_start(ap, m);
    const char *first = va_arg(ap, const char *);
    struct proc_result r = run_list(first, ap, m->socket);
    va_end(ap);
    return r;
}

struct proc_result millpond_run(const char *first, ...)
{
    va_list ap;
    va_start(ap, first);
    struct proc_result r = run_list(first, ap, NULL);
    va_end(ap);
    return r;
}

void millpond_purge_(struct millpond *m, const char *url)
{
    struct proc_result r = millpond_cli(m, "purge", url, NULL);
    if (r.exit_code != 0)
        support_fail("purge %s: status %d\n%s%s", url, r.exit_code, r.out, r.err);
}

/* ---- status ---- */

static void json_drop(void *arg)
{
    json_decref(arg);
}

static json_t *json_keep(const char *text)
{
    json_error_t err;
    json_t *root = json_loads(text, 0, &err);
    if (root == NULL)
        support_fail("not JSON (%s at %d): %s", err.text, err.position, text);
    support_on_end(json_drop, root);
    return root;
}

json_t *millpond_status_(struct millpond *m)
{
    struct proc_result r = millpond_cli(m, "status", "--json", NULL);
    if (r.exit_code != 0)
        support_fail("status: %d\n%s%s", r.exit_code, r.out, r.err);
    return json_keep(r.out);
}

json_t *json_find(json_t *root, const char *name)
{
    const char *key;
    json_t *value, *found = json_object_get(root, name);
    size_t i;
    if (found != NULL)
        return found;
    json_object_foreach(root, key, value) if ((found = json_find(value, name)) != NULL) return found;
    json_array_foreach(root, i, value) if ((found = json_find(value, name)) != NULL) return found;
    return NULL;
}

static int64_t figure_of(json_t *status, const char *name)
{
    json_t *v = json_object_get(json_object_get(status, "counters"), name);
    if (v == NULL)
        v = json_find(status, name);
    if (!json_is_number(v))
        support_fail("the status has no number %s: %s", name, json_dumps(status, 0));
    return (int64_t)json_number_value(v);
}

int64_t millpond_figure_(struct millpond *m, const char *name)
{
    return figure_of(millpond_status_(m), name);
}

/* The same, asked of the socket. */
static int64_t figure_now(struct millpond *m, const char *name)
{
    struct client_answer a;
    char err[256];
    if (!client_http_ask(m->socket, "GET", "/api/status", SLICE_EMPTY, support_wait_ms(), &a, err,
                         sizeof err))
        support_fail("status: %s", err);
    json_t *status = json_loadb(a.body.ptr, a.body.len, 0, NULL);
    if (a.status != 200 || status == NULL)
        support_fail("status: %.*s", (int)a.body.len, a.body.ptr);
    const int64_t value = figure_of(status, name);
    json_decref(status);
    client_answer_free(&a);
    return value;
}

void millpond_wait_figure_(struct millpond *m, const char *name, int64_t value)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    int64_t got;
    while ((got = figure_now(m, name)) != value) {
        if (clock_mono_ms() > deadline)
            support_fail("%s stays at %lld, not %lld", name, (long long)got, (long long)value);
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}

void millpond_wait_idle_(struct millpond *m)
{
    static const char *const gauges[] = {"client_connections", "requests_in_flight", "fetches_in_flight"};
    for (size_t i = 0; i < ARRAY_LEN(gauges); i++)
        millpond_wait_figure_(m, gauges[i], 0);
}

json_t *millpond_access_line_(struct millpond *m, const char *text)
{
    char *log = capture_wait_(&m->proc->out, text, 1);
    char *at = strstr(log, text);
    char *end = strchr(at, '\n');
    while (at > log && at[-1] != '\n')
        at--;
    if (end == NULL)
        support_fail("half a line in the access log: %s", at);
    *end = '\0';
    return json_keep(at);
}

struct message *millpond_admin(struct millpond *m, const char *method, const char *target)
{
    struct client *c = client_open_(m->admin_port, 0);
    client_send(c,
                "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer " MILLPOND_TOKEN
                "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                method, target, m->admin_port);
    return client_read(c);
}

/* ---- /proc ---- */

uint64_t millpond_memory(struct millpond *m, const char *which)
{
    char *status = support_read_file(textf("/proc/%d/status", (int)m->proc->pid));
    const char *at = strstr(status, textf("%s:", which));
    if (at == NULL)
        support_fail("no %s in /proc", which);
    return strtoull(at + strlen(which) + 1, NULL, 10) * KB;
}

void millpond_reset_high_water(struct millpond *m)
{
    int fd = open(textf("/proc/%d/clear_refs", (int)m->proc->pid), O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "5", 1) != 1)
        support_fail("cannot reset VmHWM: %s", strerror(errno));
    close(fd);
}

unsigned millpond_fds(struct millpond *m)
{
    DIR *d = opendir(textf("/proc/%d/fd", (int)m->proc->pid));
    if (d == NULL)
        support_fail("the program is gone");
    unsigned n = 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

uint64_t millpond_cpu_ms(struct millpond *m)
{
    return proc_cpu_ms(m->proc);
}

char *url_of(const char *target)
{
    return textf("http://test%s", target);
}

const char *millpond_instance_text_(struct millpond *m, const char *name, const char *key)
{
    struct message *r = millpond_admin(m, "GET", "/api/pools");
    json_t *pools = json_loads(r->body, 0, NULL), *found = NULL, *pool, *i;
    size_t x, y;
    json_array_foreach(json_object_get(pools, "pools"), x, pool)
        json_array_foreach(json_object_get(pool, "instances"), y,
                           i) if (strcmp(json_string_value(json_object_get(i, "name")), name) == 0) found = i;
    const char *text = json_string_value(json_object_get(found, key));
    text = textf("%s", text != NULL ? text : "missing");
    json_decref(pools);
    return text;
}

void millpond_wait_state_(struct millpond *m, const char *name, const char *wanted)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    while (strcmp(millpond_instance_text_(m, name, "state"), wanted) != 0)
        if (clock_mono_ms() > deadline)
            support_fail("%s is %s, not %s", name, millpond_instance_text_(m, name, "state"), wanted);
}
