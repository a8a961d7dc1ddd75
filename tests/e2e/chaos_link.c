/* chaos_link.c: an instance that is well, at the end of a link that is not: half-open connections, gone
 * without a FIN. On loopback bytes stop in a relay, which goes on to accept; between network namespaces the
 * far end of the link goes down, so that connecting fails as well. Steady load, with every policy, and the
 * link heals.
 *
 *     GET: none fails.   POST: those that were sent into the silence fail, 504, after response_timeout.
 *
 * and no POST ever comes to two instances. Whether a POST is among those that an instance gets before it is
 * found down, and on a connection that was open, is chance: the link fails again until one was. This program
 * lives in a network namespace of its own where that is allowed (root, or user namespaces); where it is not,
 * the second test is skipped. */
#include <fcntl.h>
#include <sched.h>

#include "tests/support/app.h"
#include "tests/support/chaos.h"
#include "tests/support/relay.h"

#define LASTS 12 /* answers of each client, in each stage */
#define TIMES 10 /* that the link fails, at most */

static bool own_namespace;
static struct chaos_patient a, b, c;

static void expect_only_the_unanswered_failed(struct chaos *ch)
{
    chaos_expect_once(ch);
    chaos_expect_gets_well(ch);
    chaos_expect_posts(ch, "a", " response_timeout ");
    assert_true(chaos_expect_errors(ch) > 0);
    millpond_stop(chaos_millpond(ch));
}

static void half_open(void **state)
{
    UNUSED(state);
    struct chaos_patient *all[] = {&a, &b, &c};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        *all[i] = (struct chaos_patient){.book = NULL};
        chaos_patient_start(all[i], 0);
    }
    struct relay *link = relay_start((uint16_t)origin_port(a.origin));
    struct chaos *ch = chaos_start(.ports = {relay_port(link), origin_port(b.origin), origin_port(c.origin)},
                                   .lines = chaos_quick_lines());
    a.book = b.book = c.book = ch;
    chaos_wait(ch, 1); /* those under way were not told to the book */
    chaos_forget(ch);
    for (unsigned i = 0; i < TIMES && chaos_failed(ch) == 0; i++) {
        relay_stall(link);
        chaos_wait(ch, LASTS);
        relay_heal(link);
        chaos_wait_state(ch, "a", "up");
        chaos_wait(ch, LASTS);
    }
    chaos_stop(ch);
    expect_only_the_unanswered_failed(ch);
}

/* ---- namespaces ---- */

/* Runs the words; they must succeed. */
static void run(const char *words)
{
    const char *argv[16];
    size_t n = 0;
    char *save = NULL, *copy = textf("%s", words);
    for (char *w = strtok_r(copy, " ", &save); w != NULL && n + 1 < ARRAY_LEN(argv);
         w = strtok_r(NULL, " ", &save))
        argv[n++] = w;
    argv[n] = NULL;
    struct proc_result r = proc_run(argv);
    if (r.exit_code != 0)
        support_fail("%s: %s", words, r.err);
}

static void far_end(const struct app *app, const char *words)
{
    run(textf("nsenter -t %d -n ip %s", (int)app->proc->pid, words));
}

/* A shop behind a link of its own, 10.9.0.1 to 10.9.0.2. */
static struct app shop_far_away(void)
{
    const char *argv[] = {"unshare", "-n", "node", "tests/apps/shop.mjs", "8000", "0.0.0.0", NULL};
    struct app app = {.proc = proc_start(&(struct proc_options){.argv = argv}), .port = 8000};
    capture_wait_begun_(&app.proc->out, "port 8000");
    run(textf("ip link add near type veth peer name far netns %d", (int)app.proc->pid));
    run("ip addr add 10.9.0.1/24 dev near");
    run("ip link set near up");
    far_end(&app, "addr add 10.9.0.2/24 dev far");
    far_end(&app, "link set far up");
    return app;
}

static void unplugged(void **state)
{
    UNUSED(state);
    if (!own_namespace || !app_has("node"))
        skip();
    struct app far = shop_far_away(),
               near[2] = {app_shop("node", "shop.mjs", 0), app_shop("node", "shop_stream.mjs", 0)};
    struct chaos *ch = chaos_start(.servers = {"10.9.0.2:8000"}, .ports = {0, near[0].port, near[1].port},
                                   .lines = chaos_quick_lines());
    for (unsigned i = 0; i < TIMES && chaos_failed(ch) == 0; i++) {
        far_end(&far, "link set far down");
        chaos_wait(ch, LASTS);
        far_end(&far, "link set far up");
        chaos_wait_state(ch, "a", "up");
        chaos_wait(ch, LASTS);
    }
    chaos_stop(ch);
    struct app *all[] = {&far, &near[0], &near[1]};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        proc_kill(all[i]->proc);
        chaos_note_output(ch, capture_all(&all[i]->proc->out));
    }
    expect_only_the_unanswered_failed(ch);
}

static bool write_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return written;
}

/* Before there is a thread, which would not follow. As who is not root: within a user namespace. */
static bool enter_namespace(void)
{
    char map[64];
    if (unshare(CLONE_NEWNET) == 0)
        return true;
    snprintf(map, sizeof map, "0 %u 1", (unsigned)getuid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_to("/proc/self/uid_map", map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(half_open),
        E2E_TEST(unplugged),
    };
    own_namespace = enter_namespace() && system("ip link set lo up") == 0;
    return E2E_RUN("chaos_link", tests);
}
