/* redis.c: one redis-server, started and spoken to; how several become a group is in redis_group.c.
 */
#include "tests/support/redis.h"

#include <arpa/inet.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "tests/support/wire.h"

#define ASK_AGAIN_MS 10

/* ---- certificates ---- */

char *redis_tls_key_file(void)
{
    return support_path("redis-key.pem");
}

char *redis_tls_file(void)
{
    char *file = support_path("redis.pem");
    if (access(file, R_OK) == 0)
        return file;
    const char *argv[] = {"openssl",
                          "req",
                          "-x509",
                          "-newkey",
                          "ec",
                          "-pkeyopt",
                          "ec_paramgen_curve:prime256v1",
                          "-nodes",
                          "-days",
                          "2",
                          "-subj",
                          "/CN=millpond-test",
                          "-addext",
                          "subjectAltName=DNS:localhost,IP:127.0.0.1",
                          "-keyout",
                          redis_tls_key_file(),
                          "-out",
                          file,
                          NULL};
    struct proc_result r = proc_run(argv);
    if (r.exit_code != 0)
        support_fail("openssl: %s", r.err);
    return file;
}

/* ---- one server ---- */

static char *config_of(const struct redis_process *p, const struct redis_server_options *o)
{
    bool sentinel = o->kind == REDIS_AS_SENTINEL;
    char *text = textf("dir %s\nunixsocket %s\nbind 127.0.0.1\ndaemonize no\nprotected-mode no\n", p->folder,
                       p->socket_path);
    text = o->tls ? textf("%sport 0\ntls-port %u\ntls-cert-file %s\ntls-key-file %s\ntls-ca-cert-file %s\n"
                          "tls-auth-clients no\ntls-replication yes\ntls-cluster yes\n",
                          text, p->port, redis_tls_file(), redis_tls_key_file(), redis_tls_file())
                  : textf("%sport %u\n", text, p->port);
    if (!sentinel) /* replicas copy over a socket, at once */
        text = textf("%ssave \"\"\nappendonly no\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 0\n"
                     "repl-timeout 60\nenable-debug-command yes\n",
                     text);
    if (o->kind == REDIS_IN_CLUSTER)
        text = textf("%scluster-enabled yes\ncluster-port %u\ncluster-config-file nodes.conf\n", text,
                     p->bus_port);
    if (o->password != NULL)
        text = textf("%srequirepass %s\n%s %s\n", text, o->password,
                     sentinel ? "sentinel sentinel-pass" : "masterauth", o->password);
    if (o->user != NULL)
        text = textf("%suser %s on >%s ~* &* +@all\n", text, o->user, o->password);
    for (size_t i = 0; o->lines != NULL && o->lines[i] != NULL; i++)
        text = textf("%s%s\n", text, o->lines[i]);
    return text;
}

static void unlink_server(void *arg)
{
    struct redis_process *p = arg;
    if (p->link != NULL)
        redisFree(p->link);
    free(p);
}

static void link_up(struct redis_process *p);

static void run(struct redis_process *p)
{
    const char *argv[] = {"redis-server", textf("%s/redis.conf", p->folder),
                          p->kind == REDIS_AS_SENTINEL ? "--sentinel" : NULL, NULL};
    p->proc = proc_start(&(struct proc_options){.argv = argv});
}

struct redis_process *redis_start_(const char *name, const struct redis_server_options *o)
{
    static const struct redis_server_options plain;
    struct redis_process *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    o = o != NULL ? o : &plain;
    support_on_end(unlink_server, p);
    p->name = textf("%s", name);
    p->kind = o->kind;
    p->password = o->password;
    p->port = wire_hold_port();
    p->bus_port = wire_hold_port();
    p->address = textf("127.0.0.1:%u", p->port);
    p->folder = support_path(name);
    p->socket_path = textf("%s/socket", p->folder);
    p->unix_address = textf("unix:%s", p->socket_path);
    if (mkdir(p->folder, 0700) != 0)
        support_fail("%s: %s", p->folder, strerror(errno));
    support_write_file(textf("%s/redis.conf", p->folder), config_of(p, o));
    run(p);
    link_up(p);
    return p;
}

void redis_kill(struct redis_process *p)
{
    proc_kill(p->proc);
}

void redis_freeze(struct redis_process *p)
{
    proc_signal(p->proc, SIGSTOP);
}

void redis_thaw(struct redis_process *p)
{
    proc_signal(p->proc, SIGCONT);
}

void redis_save(struct redis_process *p)
{
    redis_do(p, "SAVE");
}

void redis_restart(struct redis_process *p, bool empty)
{
    redisFree(p->link);
    p->link = NULL;
    if (empty)
        unlink(textf("%s/dump.rdb", p->folder));
    unlink(p->socket_path);
    run(p);
    link_up(p);
}

/* ---- speaking to it ---- */

static char *reply_text(const redisReply *r)
{
    if (r->type == REDIS_REPLY_NIL)
        return textf("(nil)");
    if (r->type == REDIS_REPLY_INTEGER)
        return textf("%lld", r->integer);
    if (r->type != REDIS_REPLY_ARRAY)
        return textf("%s%s", r->type == REDIS_REPLY_ERROR ? "-" : "", r->str);
    char *text = textf("%s", "");
    for (size_t i = 0; i < r->elements; i++)
        text = textf("%s%s%s", text, i > 0 ? " " : "", reply_text(r->element[i]));
    return text;
}

/* Speaks to it as soon as it listens. */
static void link_up(struct redis_process *p)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    for (;;) {
        p->link = redisConnectUnix(p->socket_path);
        if (p->link != NULL && p->link->err == 0)
            break;
        if (p->link != NULL)
            redisFree(p->link);
        p->link = NULL;
        if (proc_wait(p->proc, ASK_AGAIN_MS) || clock_mono_ms() > deadline)
            support_fail("%s does not listen:\n%s", p->name, capture_text(&p->proc->out));
    }
    redisSetTimeout(p->link, (struct timeval){.tv_sec = support_wait_ms() / 1000});
    if (p->password != NULL)
        redis_do(p, "AUTH %s", p->password);
    redis_until_(p, "PONG", "PING");
}

static char *ask(struct redis_process *p, const char *command, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    redisReply *r = redisvCommand(p->link, command, ap);
    if (r == NULL) { /* a failover ends all connections to the old primary */
        redisFree(p->link);
        link_up(p);
        r = redisvCommand(p->link, command, again);
    }
    va_end(again);
    if (r == NULL)
        support_fail("%s, asked for \"%s\": %s\n%s", p->name, command, p->link->errstr,
                     capture_text(&p->proc->out));
    char *text = reply_text(r);
    freeReplyObject(r);
    return text;
}

char *redis_do(struct redis_process *p, const char *command, ...)
{
    va_list ap;
    va_start(ap, command);
    char *text = ask(p, command, ap);
    va_end(ap);
    return text;
}

char *redis_until_(struct redis_process *p, const char *wanted, const char *command, ...)
{
    mono_ms_t deadline = clock_mono_ms() + support_wait_ms();
    for (;;) {
        va_list ap;
        va_start(ap, command);
        char *text = ask(p, command, ap);
        va_end(ap);
        if (strstr(text, wanted) != NULL)
            return text;
        if (clock_mono_ms() > deadline)
            support_fail("%s does not answer \"%s\" with \"%s\" but:\n%s\n%s", p->name, command, wanted, text,
                         capture_text(&p->proc->out));
        poll(NULL, 0, ASK_AGAIN_MS);
    }
}
