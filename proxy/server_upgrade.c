/* server_upgrade.c: the older process's side of an upgrade: it starts the newer one, hands its sockets over,
 * and ends when that one serves. See heir.h for the other side.
 *
 *   STARTING -> SWITCHING -> HANDED_OVER
 *       |           |
 *       +-----------+-----> FAILING -> (gone)
 *
 * STARTING: the new process reads its configuration and opens everything, while this one serves; the control
 * thread does not wait. SWITCHING: it is told to serve, and the control thread waits, milliseconds, so that
 * between its first request and the end of our admin side nobody can order anything here that it does not
 * know of. FAILING: it has said why, or died, or is killed, and is waited for. Both processes have the same
 * sockets, so nothing in their queues is lost whoever of the two dies.
 *
 * What is purged in one of them from the switch on is purged in the other (purge_twin.h): the new one may
 * have fetched what a request that still runs here has changed, and idle clients may ask here once more for
 * what was purged there.
 *
 * Rejected: exec in place, which keeps the process id but ends all connections; fork, which copies the page
 * tables of the cache while the workers wait (posix_spawn does not); handing the cache over, whose form in
 * memory another version need not share. */
#include "proxy/server_upgrade.h"

#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "balancer/balancer.h"
#include "core/handover.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/heir.h"
#include "proxy/handing.h"
#include "proxy/program.h"
#include "proxy/snapshot.h"

#define SWITCH_MS     5000 /* for threads to start */
#define FAIL_MS       1000 /* to end by itself */
#define LEAVE_MS      50   /* the answer to the command leaves first */
#define PROBLEM_LINES 50

enum upgrade_state { UPGRADE_STARTING, UPGRADE_SWITCHING, UPGRADE_HANDED_OVER, UPGRADE_FAILING };

struct upgrade { /* owned by the server; control thread, but for `fd`, which lives as long as it */
    struct server *s;
    enum upgrade_state state;
    pid_t pid;
    int fd, pidfd;
    struct event *readable, *writable, *exited;
    struct deadline limit;
    struct admin_reply reply; /* on_answer NULL: nobody waits */
    struct handing handing;
    bool admin_unused[2], was_switched;
    char version[32];         /* of the other */
    char why[HANDOVER_BYTES]; /* it failed; lines */
};

static void upgrade_set_state(struct upgrade *u, enum upgrade_state state)
{
    static const unsigned legal_before[] = {
        [UPGRADE_STARTING] = 0,
        [UPGRADE_SWITCHING] = 1u << UPGRADE_STARTING,
        [UPGRADE_HANDED_OVER] = 1u << UPGRADE_SWITCHING,
        [UPGRADE_FAILING] = 1u << UPGRADE_STARTING | 1u << UPGRADE_SWITCHING,
    };
    ASSERT((legal_before[state] >> u->state & 1) != 0);
    u->state = state;
}

/* ---- what came of it ---- */

static void upgrade_reply(struct upgrade *u, json_t *answer)
{
    const struct admin_reply to = u->reply;
    u->reply = (struct admin_reply){NULL, NULL};
    if (to.on_answer != NULL)
        to.on_answer(to.to, answer);
    else
        json_decref(answer);
}

static void upgrade_free_event(struct event **e)
{
    if (*e != NULL)
        event_free(*e);
    *e = NULL;
}

/* What only concerns a process that does not serve yet. */
static void upgrade_unwatch_child(struct upgrade *u)
{
    upgrade_free_event(&u->writable);
    upgrade_free_event(&u->exited);
    deadline_clear(u->s->control, &u->limit);
    if (u->pidfd >= 0)
        close(u->pidfd);
    u->pidfd = -1;
}

void upgrade_free(struct upgrade *u)
{
    if (u == NULL)
        return;
    if (u->was_switched)
        purge_twin_end(&u->s->twin);
    upgrade_unwatch_child(u);
    upgrade_free_event(&u->readable);
    if (u->pid > 0 && u->state != UPGRADE_HANDED_OVER) {
        kill(-u->pid, SIGKILL);
        waitpid(u->pid, NULL, 0);
    }
    if (u->fd >= 0)
        close(u->fd);
    upgrade_reply(u, NULL);
    free(u);
}

static json_t *problems_of(struct upgrade *u)
{
    const struct config_main *m = &u->s->snapshot->config->main;
    json_t *list = json_array();
    char *rest = u->why;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        if (line[0] == '\0' || json_array_size(list) >= PROBLEM_LINES)
            continue;
        log_error("upgrade: %s", line);
        json_array_append_new(list, json_string(line));
    }
    if (m->user[0] != '\0' && geteuid() != 0)
        json_array_append_new(list, json_pack("s", "it was started as the user that [millpond] user names: "
                                                   "what only root may read or bind needs a restart"));
    return list;
}

/* It is gone, and nothing has happened. */
static void upgrade_failed(struct upgrade *u)
{
    struct server *s = u->s;
    json_t *problems = problems_of(u);
    const char *first = json_string_value(json_array_get(problems, 0));
    char err[512];
    log_error("the upgrade failed; this process goes on");
    timeline_note(TIMELINE_REFUSED, "an upgrade: %s", first != NULL ? first : "out of memory");
    if (u->was_switched && s->pid_written && !server_write_pid(s, err, sizeof err))
        log_warn("%s", err);
    json_decref(s->upgrade_problems);
    s->upgrade_problems = json_incref(problems);
    upgrade_reply(u,
                  json_pack("{s:s, s:s, s:o}", "error", "the upgrade failed; the running process goes on",
                            "hint", "what stood in the way is listed, and in the log", "problems", problems));
    s->upgrade = NULL;
    u->pid = 0;
    upgrade_free(u);
}

/* Whatever it is at: it ends by itself, or is ended. `why` counts if it has not said so itself. */
static void upgrade_fail(struct upgrade *u, const char *why)
{
    if (u->state == UPGRADE_FAILING)
        return;
    upgrade_set_state(u, UPGRADE_FAILING);
    for (size_t i = 0; i < u->s->listener_count; i++)
        u->s->listeners[i].handed_over = false;
    if (u->why[0] == '\0' && why != NULL)
        snprintf(u->why, sizeof u->why, "%s", why);
    handover_say(u->fd, HANDOVER_BACK, SLICE_EMPTY);
    if (u->was_switched) /* it may be serving */
        kill(-u->pid, SIGKILL);
    if (u->readable != NULL)
        event_del(u->readable);
    if (u->writable != NULL)
        event_del(u->writable);
    deadline_set(u->s->control, &u->limit, worker_now_ms(u->s->control) + FAIL_MS);
}

static void upgrade_on_limit(struct deadline *d)
{
    struct upgrade *u = CONTAINER_OF(d, struct upgrade, limit);
    char why[128];
    if (u->state == UPGRADE_HANDED_OVER) {
        if (u->s->state == SERVER_RUNNING)
            server_drain(u->s);
    } else if (u->state == UPGRADE_FAILING) {
        kill(-u->pid, SIGKILL);
    } else {
        snprintf(why, sizeof why, "the new process was not ready within upgrade_timeout (%lld ms)",
                 (long long)u->s->snapshot->config->main.upgrade_timeout_ms);
        upgrade_fail(u, why);
    }
}

/* ---- the switch ---- */

/* One message of the process that serves by now. What came with it may find no descriptor free, say. As
 * handover_receive. */
static int upgrade_hear(struct upgrade *u, struct handover *m)
{
    char bytes[HANDOVER_BYTES];
    int fds[HANDOVER_FDS];
    size_t fd_count;
    const int n = handover_receive(u->fd, bytes, m, fds, &fd_count), error = errno;
    if (n > 0 ? m->kind == HANDOVER_PURGED : n < 0 && error == EBADMSG)
        purge_twin_hear(&u->s->twin);
    handover_close(fds, fd_count);
    errno = error;
    return n;
}

/* Waits; false: it does not serve. */
static bool await_serving(struct upgrade *u)
{
    const mono_ms_t until_ms = clock_mono_ms() + SWITCH_MS;
    struct handover m;
    for (;;) {
        struct pollfd p = {.fd = u->fd, .events = POLLIN};
        const int left_ms = (int)(until_ms - clock_mono_ms());
        int n = left_ms > 0 ? poll(&p, 1, left_ms) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            n = upgrade_hear(u, &m);
        if (n > 0 && m.kind == HANDOVER_SERVING)
            return true;
        if (n == 0 || (n < 0 && errno != EBADMSG && errno != EAGAIN))
            return false;
    }
}

static void upgrade_hand_over(struct upgrade *u)
{
    struct server *s = u->s;
    char text[64];
    upgrade_set_state(u, UPGRADE_HANDED_OVER);
    upgrade_unwatch_child(u); /* what it purges goes on being heard */
    snprintf(text, sizeof text, "MAINPID=%ld", (long)u->pid);
    server_notify(text); /* who is that already may say READY=1 */
    handover_say(u->fd, HANDOVER_TAKEN, SLICE_EMPTY);
    admin_leave(s->admin, !u->admin_unused[0]);
    log_info("process %ld, millpond %s, has taken over", (long)u->pid, u->version);
    upgrade_reply(u, json_pack("{s:I, s:s, s:I}", "pid", (json_int_t)u->pid, "version", u->version, "old_pid",
                               (json_int_t)getpid()));
    /* later than this turn, so the answer has left */
    deadline_set(s->control, &u->limit, worker_now_ms(s->control) + LEAVE_MS);
}

static void upgrade_switch(struct upgrade *u)
{
    struct server *s = u->s;
    upgrade_set_state(u, UPGRADE_SWITCHING);
    handing_orders(&u->handing);
    u->was_switched = true;
    purge_twin_begin(&s->twin, s->cache, u->fd, 0);
    handover_say(u->fd, HANDOVER_GO, SLICE_EMPTY);
    const bool serves = await_serving(u);
    worker_refresh_clock(s->control);
    if (serves)
        upgrade_hand_over(u);
    else
        upgrade_fail(u, "the new process was ready, but then did not serve");
}

/* ---- events ---- */

static void upgrade_on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct upgrade *u = arg;
    UNUSED(fd);
    UNUSED(what);
    if (handing_go_on(&u->handing))
        event_del(u->writable);
    else if (errno == EPIPE || errno == ECONNRESET) /* how it has ended, is more to the point */
        upgrade_fail(u, NULL);
    else if (errno != EAGAIN)
        upgrade_fail(u, strerror(errno));
}

/* Numbers count the listeners, then the doors of the admin side. */
static void on_unused(struct upgrade *u, slice_t number)
{
    uint64_t n;
    if (!slice_to_u64(number, &n))
        return;
    if (n < u->s->listener_count)
        u->s->listeners[n].handed_over = false;
    else if (n - u->s->listener_count < ARRAY_LEN(u->admin_unused))
        u->admin_unused[n - u->s->listener_count] = true;
}

static void on_message(struct upgrade *u, const struct handover *m)
{
    if (m->kind == HANDOVER_UNUSED)
        on_unused(u, m->text[0]);
    if (m->kind == HANDOVER_FAILED)
        snprintf(u->why, sizeof u->why, SLICE_FMT, SLICE_ARG(m->text[0]));
    if (m->kind != HANDOVER_READY)
        return;
    snprintf(u->version, sizeof u->version, SLICE_FMT, SLICE_ARG(m->text[0]));
    if (handing_is_done(&u->handing))
        upgrade_switch(u);
}

static void upgrade_read(struct upgrade *u)
{
    char bytes[HANDOVER_BYTES];
    int fds[HANDOVER_FDS], n;
    size_t fd_count;
    struct handover m;
    while (u->state == UPGRADE_STARTING && (n = handover_receive(u->fd, bytes, &m, fds, &fd_count)) != 0) {
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0 && errno != EBADMSG)
            break;
        handover_close(fds, fd_count);
        if (n > 0)
            on_message(u, &m);
    }
    if (u->state == UPGRADE_STARTING)
        upgrade_fail(u, NULL);
}

static void upgrade_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct upgrade *u = arg;
    struct handover m;
    UNUSED(fd);
    UNUSED(what);
    worker_refresh_clock(u->s->control);
    if (u->state != UPGRADE_HANDED_OVER)
        upgrade_read(u);
    else if (upgrade_hear(u, &m) == 0)
        event_del(u->readable);
}

static void upgrade_on_exit(evutil_socket_t fd, short what, void *arg)
{
    struct upgrade *u = arg;
    int status = 0;
    UNUSED(fd);
    UNUSED(what);
    worker_refresh_clock(u->s->control);
    if (u->state == UPGRADE_STARTING)
        upgrade_read(u); /* its last words */
    if (u->state == UPGRADE_HANDED_OVER)
        return;
    upgrade_fail(u, NULL);
    kill(-u->pid, SIGKILL); /* what it has started */
    waitpid(u->pid, &status, 0);
    if (u->why[0] == '\0' && WIFSIGNALED(status))
        snprintf(u->why, sizeof u->why, "the new process was killed by signal %d before it was ready",
                 WTERMSIG(status));
    else if (u->why[0] == '\0')
        snprintf(u->why, sizeof u->why, "the new process ended with status %d before it was ready",
                 WEXITSTATUS(status));
    upgrade_failed(u);
}

/* ---- beginning ---- */

static bool upgrade_watch_child(struct upgrade *u)
{
    struct server *s = u->s;
    u->pidfd = pidfd_open(u->pid, 0);
    u->readable = event_new(s->control->base, u->fd, EV_READ | EV_PERSIST, upgrade_on_readable, u);
    u->writable = event_new(s->control->base, u->fd, EV_WRITE | EV_PERSIST, upgrade_on_writable, u);
    if (u->pidfd >= 0)
        u->exited = event_new(s->control->base, u->pidfd, EV_READ, upgrade_on_exit, u);
    return u->readable != NULL && u->writable != NULL && u->exited != NULL &&
           event_add(u->readable, NULL) == 0 && event_add(u->writable, NULL) == 0 &&
           event_add(u->exited, NULL) == 0;
}

/* NULL and errno: nothing was started. */
static struct upgrade *upgrade_start(struct server *s)
{
    int ends[2];
    struct upgrade *u = calloc(1, sizeof *u);
    if (u == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        free(u);
        return NULL;
    }
    *u = (struct upgrade){.s = s, .fd = ends[0], .pidfd = -1, .handing = {.s = s, .fd = ends[0]}};
    deadline_init(&u->limit, upgrade_on_limit);
    int error = program_spawn(ends[1], &u->pid);
    close(ends[1]);
    if (error == 0 && upgrade_watch_child(u))
        return u;
    error = error != 0 ? error : ENOMEM;
    upgrade_free(u);
    errno = error;
    return NULL;
}

static const char *refusal(const struct server *s, const char **hint)
{
    static char text[128];
    const char *busy = upgrade_in_the_way(s);
    *hint = "it goes on as it is";
    if (s->state != SERVER_RUNNING)
        return "the server is stopping";
    if (busy != NULL)
        return busy;
    if (getpid() == 1) {
        *hint = "replace the container";
        return "this is process 1 of a container, which would end with it";
    }
    if (program_path()[0] == '\0') {
        *hint = "restart it";
        return "it is not known where the program's file lies";
    }
    if (heir_old_pid(s->heir) == 0)
        return NULL;
    snprintf(text, sizeof text, "process %ld of the upgrade before still has open requests",
             heir_old_pid(s->heir));
    *hint = "try again when it has ended, after shutdown_timeout at the latest";
    return text;
}

bool upgrade_begin(struct server *s, const char *who, const struct admin_reply *reply, const char **error,
                   const char **hint)
{
    static char text[PATH_MAX + 256];
    *error = refusal(s, hint);
    if (*error != NULL) {
        log_warn("upgrade refused, asked for by %s: %s; %s", who, *error, *hint);
        return false;
    }
    s->upgrade = upgrade_start(s);
    if (s->upgrade == NULL) {
        snprintf(text, sizeof text, "cannot start %s: %s", program_path(), strerror(errno));
        *error = text;
        *hint = "the running process goes on";
        log_error("upgrade: %s; this process goes on", text);
        timeline_note(TIMELINE_REFUSED, "an upgrade: %s", text);
        return false;
    }
    struct upgrade *u = s->upgrade;
    log_info("upgrade asked for by %s: %s is started as process %ld", who, program_path(), (long)u->pid);
    if (reply != NULL)
        u->reply = *reply;
    for (size_t i = 0; i < s->listener_count; i++)
        s->listeners[i].handed_over = true;
    deadline_set(s->control, &u->limit,
                 worker_now_ms(s->control) + s->snapshot->config->main.upgrade_timeout_ms);
    return true;
}

const char *upgrade_in_the_way(const struct server *s)
{
    if (s->upgrade == NULL)
        return NULL;
    return upgrade_is_done(s) ? "another process has taken over" : "an upgrade is under way";
}

bool upgrade_is_done(const struct server *s)
{
    return s->upgrade != NULL && s->upgrade->state == UPGRADE_HANDED_OVER;
}

void upgrade_call_off(struct server *s)
{
    if (s->upgrade != NULL && s->upgrade->state == UPGRADE_STARTING)
        upgrade_fail(s->upgrade, "this process was told to stop");
}

json_t *upgrade_status(const struct server *s)
{
    json_t *problems = s->upgrade_problems != NULL ? json_copy(s->upgrade_problems) : json_array();
    return json_pack("{s:b, s:o, s:o}", "under_way", s->upgrade != NULL, "problems", problems, "from",
                     heir_status(s->heir));
}
