/* chaos_gone.c: an instance, or all, that is gone: killed, stopped, coming and going, unreachable. Three
 * instances under steady load, with every policy.
 *
 *     fault             GET                              POST
 *     kill -9           none fails                       those under way at the killed one fail, 502
 *
 *     SIGSTOP           none fails                       those sent to the stopped one fail, 504, late
 *
 *     flapping          none fails                       those under way at the flapping one fail, 502
 *
 *     all down          502 or 503, until they are up    502 or 503, until they are up
 *
 *     blackhole         none fails                       none fails: nothing was sent
 *
 * and no POST ever comes to two instances, nor twice to one. */
#include <signal.h>
#include <sys/wait.h>

#include "tests/support/app.h"
#include "tests/support/chaos.h"

#define LASTS 12 /* answers of each client, in each stage */

/* ---- processes ---- */

static struct app apps[CHAOS_SERVERS];

static struct chaos *start_apps(void)
{
    if (!app_has("node"))
        skip();
    for (unsigned i = 0; i < CHAOS_SERVERS; i++)
        apps[i] = app_shop("node", i == 1 ? "shop_stream.mjs" : "shop.mjs", wire_hold_port());
    return chaos_start(.ports = {apps[0].port, apps[1].port, apps[2].port}, .lines = chaos_quick_lines());
}

/* The book hears of what an application that ended has taken. */
static void settle(struct chaos *ch, struct app *app)
{
    proc_kill(app->proc);
    chaos_note_output(ch, capture_all(&app->proc->out));
}

static void end_apps(struct chaos *ch)
{
    chaos_stop(ch);
    for (unsigned i = 0; i < CHAOS_SERVERS; i++)
        settle(ch, &apps[i]);
    chaos_expect_once(ch);
}

/* Killed while it has an order that it has not answered. */
static void killed(void **state)
{
    UNUSED(state);
    struct chaos *ch = start_apps();
    for (unsigned i = 0; i < 2; i++) {
        struct capture *out = &apps[0].proc->out;
        capture_wait(out, "order ", support_count(capture_text(out), "order ") + 1);
        settle(ch, &apps[0]);
        chaos_wait(ch, LASTS);
        apps[0] = app_shop("node", "shop.mjs", apps[0].port);
        chaos_wait_state(ch, "a", "up");
        chaos_wait(ch, LASTS);
    }
    end_apps(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts(ch, "a", " reset ");
    millpond_stop(chaos_millpond(ch));
}

static void stopped(void **state)
{
    UNUSED(state);
    struct chaos *ch = start_apps();
    proc_signal(apps[0].proc, SIGSTOP);
    chaos_wait(ch, LASTS);
    proc_signal(apps[0].proc, SIGCONT);
    chaos_wait_state(ch, "a", "up");
    chaos_wait(ch, LASTS);
    end_apps(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts(ch, "a", " response_timeout ");
    assert_true(chaos_expect_errors(ch) > 0);
    millpond_stop(chaos_millpond(ch));
}

/* ---- scripts ---- */

static struct chaos_patient patients[CHAOS_SERVERS];
static int ports[CHAOS_SERVERS];

static struct chaos *start_patients(char *lines)
{
    for (unsigned i = 0; i < CHAOS_SERVERS; i++) {
        patients[i] = (struct chaos_patient){.book = NULL};
        ports[i] = wire_hold_port();
        chaos_patient_start(&patients[i], ports[i]);
    }
    struct chaos *ch = chaos_start(.ports = {ports[0], ports[1], ports[2]}, .lines = lines);
    for (unsigned i = 0; i < CHAOS_SERVERS; i++)
        patients[i].book = ch;
    chaos_wait(ch, 1); /* those under way were not told to the book */
    chaos_forget(ch);
    return ch;
}

static void flaps(void **state)
{
    UNUSED(state);
    struct chaos *ch = start_patients(chaos_quick_lines());
    for (unsigned i = 0; i < 6; i++) {
        origin_stop(patients[0].origin);
        chaos_wait(ch, 4);
        chaos_patient_start(&patients[0], ports[0]);
        if (i % 2 == 0) /* the others come so soon that probes may not have noticed */
            chaos_wait_state(ch, "a", "up");
        chaos_wait(ch, 4);
    }
    chaos_wait_state(ch, "a", "up");
    chaos_wait(ch, LASTS);
    chaos_stop(ch);
    chaos_expect_once(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts(ch, "a", " reset ");
    millpond_stop(chaos_millpond(ch));
}

static void all_down_then_up(void **state)
{
    UNUSED(state);
    struct chaos *ch = start_patients(chaos_quick_lines());
    for (unsigned i = 0; i < CHAOS_SERVERS; i++)
        origin_stop(patients[i].origin);
    chaos_wait(ch, LASTS);
    chaos_stop(ch);
    chaos_expect_once(ch);
    assert_true(chaos_expect_errors(ch) > LASTS);
    for (unsigned i = 0; i < CHAOS_SERVERS; i++)
        chaos_patient_start(&patients[i], ports[i]);
    for (char x[] = "a"; x[0] <= 'c'; x[0]++)
        chaos_wait_state(ch, x, "up");
    chaos_forget(ch);
    chaos_go(ch);
    chaos_wait(ch, LASTS);
    chaos_stop(ch);
    chaos_expect_once(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts_well(ch);
    millpond_stop(chaos_millpond(ch));
}

/* Nobody helps but retries: no probes and no ejection, so that requests meet the hole again and again. */
static void connect_blackhole(void **state)
{
    UNUSED(state);
    struct chaos *ch =
        start_patients("health_check = off\neject_errors = 0\nconnect_timeout = 50ms\nretry_budget = 100%\n");
    chaos_stop(ch);
    origin_stop(patients[0].origin);
    origin_hanging_port(ports[0]);
    chaos_forget(ch);
    chaos_go(ch);
    chaos_wait(ch, LASTS);
    chaos_stop(ch);
    chaos_expect_once(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts_well(ch);
    millpond_wait_log(chaos_millpond(ch), "connecting took longer than connect_timeout; trying again", 1);
    millpond_stop(chaos_millpond(ch));
}

/* ---- between two events ---- */

static void ends_after_the_gate(struct origin_conn *c, const struct message *request, void *arg)
{
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "well");
    if (strcmp(request->method, "GET") == 0) {
        gate_pass(arg);
        origin_close(c);
    }
}

static void wait_stopped(struct millpond *m)
{
    siginfo_t info;
    proc_signal(m->proc, SIGSTOP);
    if (waitid(P_PID, (id_t)m->proc->pid, &info, WSTOPPED | WNOWAIT) != 0)
        support_fail("waitid: %s", strerror(errno));
}

/* The POST comes, and the idle connection ends, while Millpond looks at neither. It sees them in this order,
 * and must not send the one into the other. */
static void posted_as_the_connection_ends(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(ends_after_the_gate, g);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .cache = "store = off", .rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    client_send(c, "GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read(c), 200);
    wait_stopped(m);
    client_send(c, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    gate_open(g);
    origin_wait_open(o, 0);
    proc_signal(m->proc, SIGCONT);
    expect_status(client_read(c), 200);
    assert_int_equal(origin_requests_for(o, "/"), 2);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(killed),           E2E_TEST(stopped),           E2E_TEST(flaps),
        E2E_TEST(all_down_then_up), E2E_TEST(connect_blackhole), E2E_TEST(posted_as_the_connection_ends),
    };
    return E2E_RUN("chaos_gone", tests);
}
