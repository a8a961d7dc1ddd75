/* names_storm.c: a name whose addresses change with each answer, under load, in pools of all kinds at once:
 * with a queue and sticky visitors, with HTTP/2 to the instances, hedged, mirrored to and split; with reloads
 * and orders in between. No request is lost, and what is left is as if nothing had happened. */
#include "tests/support/load.h"
#include "tests/support/millpond.h"
#include "tests/support/names.h"

#define HOSTS  4
#define ROUNDS 8

static struct origin *hosts[HOSTS];
static struct names *dns;

static void host_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    UNUSED(arg);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", "here");
}

static const char *const answers[] = {
    "127.0.0.2",          "127.0.0.3 127.0.0.4", "127.0.0.2 127.0.0.3 127.0.0.4 127.0.0.5",
    "127.0.0.5 ::1",      "127.0.0.4",           NULL,
    "127.0.0.3 127.0.0.5"};

static void start_all(void)
{
    for (unsigned i = 0; i < HOSTS; i++)
        hosts[i] = origin_start_with(&(struct origin_options){.script = host_script,
                                                              .forgets = true,
                                                              .loopback = i + 2,
                                                              .port = i == 0 ? 0 : origin_port(hosts[0])});
    dns = names_start();
    names_set(dns, "app.test", 0, answers[0]);
    names_set(dns, "same.test", 0, answers[2]);
}

static char *pool(const char *name, const char *lines)
{
    return textf("[pool %s]\nserver = app.test:%d name=web max_connections=3\n"
                 "server = same.test:%d name=same\nresolver = 127.0.0.1:%d\nhealth_interval = 50ms\n"
                 "max_idle = 1\n%s",
                 name, origin_port(hosts[0]), origin_port(hosts[0]), names_port(dns), lines);
}

static const char *config(unsigned turn)
{
    return textf("%s%s%s%s%s"
                 "[route h]\npath = /hedged\npool = hashed\nhedge = 1ms\n"
                 "[route s]\npath = /split\nsplit = app=50 other=50\nmirror = mirrored\n"
                 "[route r]\npool = app\n",
                 pool("app", "health_check = tcp\nsticky_cookie = srv\n"),
                 pool("other", turn % 2 == 0 ? "health_check = tcp\n" : "health_check = off\n"),
                 pool("hashed", "health_check = tcp\nbalance = hash\nhash_on = header:Host\n"),
                 pool("mirrored", "health_check = tcp\nbalance = least_connections\n"),
                 turn % 3 == 0 ? "" : pool("more", "health_check = tcp\n"));
}

static void nothing_is_lost(void **state)
{
    UNUSED(state);
    start_all();
    struct millpond *m = millpond_start(.main = "workers = 2\n", .rest = config(0));
    struct load *loads[3];
    static const char *const targets[] = {"/", "/hedged", "/split"};
    for (unsigned i = 0; i < ARRAY_LEN(loads); i++)
        loads[i] = load_start(m->port, 4, textf("GET %s HTTP/1.1\r\nHost: test\r\n\r\n", targets[i]));
    static const char *const orders[] = {"drain", "ready"};
    for (unsigned turn = 1; turn <= ROUNDS; turn++) {
        names_set(dns, "app.test", 0, answers[turn % ARRAY_LEN(answers)]);
        names_wait_asked(dns, "app.test", names_asked(dns, "app.test") + 5);
        load_wait(loads[0], 20);
        if (turn % 4 == 1) {
            millpond_write_ini(m, .main = "workers = 2\n", .rest = config(turn));
            assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        } else {
            millpond_cli(m, orders[turn % 2], "app/web", NULL);
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(loads); i++) {
        const struct load_result r = load_stop(loads[i]);
        EXPECT(r.answered == r.by_class[2] && r.broken + r.refused == 0, "%s: %llu of %llu; %s", targets[i],
               (unsigned long long)r.by_class[2], (unsigned long long)r.answered, r.first_problem);
    }
    EXPECT(millpond_fds(m) < 200, "%u descriptors", millpond_fds(m));
    millpond_stop(m);
    for (unsigned i = 0; i < HOSTS; i++)
        origin_stop(hosts[i]);
    names_stop(dns);
}

int main(void)
{
    const struct CMUnitTest tests[] = {E2E_TEST(nothing_is_lost)};
    return E2E_RUN("names_storm", tests);
}
