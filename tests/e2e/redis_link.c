/* redis_link.c: the [redis] section with real servers: each way to reach and log in to them, what is said
 * when that fails, and that the proxy serves without them and shows no password. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/redis.h"

#define PASSWORD "s3cr3t/p@ss"
#define ENCODED  "s3cr3t%%2Fp%%40ss" /* in formats */
#define WORKERS  2

static struct page pages[] = {{.path = "/p", .fields = "Cache-Control: max-age=600\r\n"}, {0}};

/* Two workers, before an origin that is there; with a timeout that a loaded machine keeps. */
static struct millpond *start(const char *redis_lines)
{
    struct origin *o = origin_start(pages_script, pages);
    const char *timeout = strstr(redis_lines, "timeout") == NULL ? "timeout = 2s\n" : "";
    return millpond_start(.main = textf("workers = %d", WORKERS),
                          .rest = textf("%s[redis]\n%s%s", pool_lines("app", 1, o), timeout, redis_lines));
}

static json_t *redis_of(struct millpond *m)
{
    return json_object_get(millpond_status(m), "redis");
}

static json_t *server_of(json_t *redis, const char *name)
{
    size_t i;
    json_t *server;
    json_array_foreach(json_object_get(redis, "servers"), i, server)
    {
        if (strcmp(json_string_value(json_object_get(server, "server")), name) == 0)
            return server;
    }
    return NULL;
}

/* Until all workers have all their connections to it. */
static void wait_until_connected(struct millpond *m, const char *server, int connections)
{
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms();
    json_t *redis;
    for (;;) {
        redis = redis_of(m);
        json_t *s = server_of(redis, server);
        if (json_integer_value(json_object_get(s, "workers_up")) == WORKERS &&
            json_integer_value(json_object_get(s, "connections")) == connections)
            return;
        EXPECT(clock_mono_ms() < until_ms, "%s is not all up: %s", server, json_dumps(redis, 0));
    }
}

static void expect_up(struct millpond *m, const struct redis_process *p)
{
    millpond_wait_log(m, textf("info redis: %s is up", p->address), 1);
    wait_until_connected(m, p->address, 2 * WORKERS);
    json_t *s = server_of(redis_of(m), p->address);
    assert_string_equal(json_string_value(json_object_get(s, "state")), "up");
    assert_string_equal(json_string_value(json_object_get(s, "reason")), "");
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              textf("millpond_redis_up{server=\"%s\",kind=\"redis\"} 1\n", p->address));
}

static void expect_page(struct millpond *m)
{
    assert_int_equal(client_get(m->port, "/p", "")->status, 200);
}

/* Nowhere is anything of it shown. */
static void expect_secret(struct millpond *m)
{
    const char *const texts[] = {millpond_cli(m, "status", NULL).out,
                                 millpond_cli(m, "status", "--json", NULL).out,
                                 millpond_run("config", "-c", m->ini, NULL).out,
                                 millpond_run("check", "-c", m->ini, NULL).out,
                                 millpond_admin(m, "GET", "/metrics")->body,
                                 millpond_admin(m, "GET", "/api/config")->body,
                                 capture_text(&m->proc->err),
                                 capture_text(&m->proc->out)};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        expect_not_in(texts[i], "s3cr3t");
    expect_in(texts[2], "[redis]");
    expect_in(texts[5], "[redis]");
}

/* ---- ways to it ---- */

static void password_in_the_url(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.password = PASSWORD});
    struct millpond *m = start(textf("url = redis://:" ENCODED "@%s\n", p->address));
    expect_up(m, p);
    expect_in(redis_do(p, "CLIENT LIST"), "user=default");
    struct proc_result r = millpond_cli(m, "status", NULL);
    expect_in(r.out, "\nredis     standalone\n");
    expect_in(r.out, textf("\n%s  up ", p->address));
    expect_page(m);
    expect_secret(m);
    millpond_stop(m);
    assert_int_equal(support_count(capture_all(&m->proc->err), " is up"), 1);
}

static void user_and_database(void **state)
{
    UNUSED(state);
    const struct redis_server_options o = {.user = "pond", .password = PASSWORD};
    struct redis_process *p = redis_start("one", &o);
    struct millpond *m = start(
        textf("url = redis://%s/7\nusername = pond\npassword = " PASSWORD "\nconnections = 1\n", p->address));
    wait_until_connected(m, p->address, WORKERS);
    char *clients = redis_do(p, "CLIENT LIST TYPE normal");
    assert_int_equal(support_count(clients, "user=pond"), WORKERS);
    assert_int_equal(support_count(clients, "db=7"), WORKERS);
    expect_secret(m);
    millpond_stop(m);
    redis_until(p, "connected_clients:1\r", "INFO clients"); /* ours */
}

static void unix_socket(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct millpond *m = start(textf("url = %s?db=3\n", p->unix_address));
    wait_until_connected(m, p->unix_address, 2 * WORKERS);
    assert_int_equal(support_count(redis_do(p, "CLIENT LIST"), "db=3"), 2 * WORKERS);
    millpond_stop(m);
}

static void tls_with_the_right_authority(void **state)
{
    UNUSED(state);
    struct redis_process *p =
        redis_start("one", &(struct redis_server_options){.tls = true, .password = PASSWORD});
    struct millpond *m = start(textf("url = rediss://:" ENCODED "@localhost:%u\ntls_ca = %s\ntimeout = 2s\n",
                                     p->port, redis_tls_file()));
    char *name = textf("localhost:%u", p->port);
    wait_until_connected(m, name, 2 * WORKERS);
    expect_in(millpond_cli(m, "status", NULL).out, "\nredis     standalone, TLS\n");
    expect_secret(m);
    char *aside = textf("%s.aside", redis_tls_file());
    assert_int_equal(rename(redis_tls_file(), aside),
                     0); /* or not readable without the rights of the start */
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    millpond_wait_log(m, "what was loaded at the start stays in use", 1);
    wait_until_connected(m, name, 2 * WORKERS);
    assert_int_equal(rename(aside, redis_tls_file()), 0);
    millpond_stop(m);
}

static char *other_authority(void)
{
    char *file = support_path("other.pem");
    const char *argv[] = {
        "openssl", "req",   "-x509", "-newkey", "ec",        "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes",  "-days", "2",     "-subj",   "/CN=other", "-keyout",  support_path("other-key.pem"),
        "-out",    file,    NULL};
    EXPECT(proc_run(argv).exit_code == 0, "openssl failed");
    return file;
}

static void tls_with_a_wrong_authority(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.tls = true});
    struct millpond *m = start(textf("url = rediss://%s\ntls_ca = %s\n", p->address, other_authority()));
    millpond_wait_log(
        m,
        textf("warn redis: %s is down: TLS: certificate verify failed: self-signed certificate", p->address),
        1);
    expect_page(m);
    millpond_stop(m);
    /* That of the system does not vouch for it either. */
    m = start(textf("url = rediss://%s\n", p->address));
    millpond_wait_log(m, "certificate verify failed", 1);
    millpond_stop(m);
    /* Not for this host: the certificate is for localhost and 127.0.0.1. */
    m = start(textf("url = rediss://[::ffff:127.0.0.1]:%u\ntls_ca = %s\n", p->port, redis_tls_file()));
    millpond_wait_log(m, "certificate verify failed: IP address mismatch", 1);
    millpond_stop(m);
}

static void sentinels_name_the_master(void **state)
{
    UNUSED(state);
    struct redis_group g;
    const struct redis_server_options o = {.password = PASSWORD}, of_sentinels = {.password = "s3cr3t-2"};
    redis_group_start(&g, 1, 60000, &o, &of_sentinels);
    char *lines = textf("mode = sentinel\nsentinel_name = millpond\npassword = " PASSWORD "\n");
    for (int i = 0; i < REDIS_SENTINELS; i++)
        lines = textf("%surl = redis://:s3cr3t-2@%s\n", lines, g.sentinels[i]->address);
    struct millpond *m = start(lines);
    expect_up(m, g.primary);
    for (int i = 0; i < REDIS_SENTINELS; i++) {
        millpond_wait_log(m, textf("redis: Sentinel %s is up", g.sentinels[i]->address), 1);
        json_t *s = server_of(redis_of(m), g.sentinels[i]->address);
        assert_string_equal(json_string_value(json_object_get(s, "kind")), "sentinel");
    }
    expect_secret(m);
    redis_group_fail_over(&g);
    expect_up(m, g.replicas[0]);
    assert_null(server_of(redis_of(m), g.primary->address));
    assert_string_equal(json_string_value(json_object_get(redis_of(m), "trouble")), "");
    expect_in(millpond_cli(m, "status", NULL).out, "\nredis     sentinel millpond\n");
    millpond_stop(m);
}

static void sentinels_that_refuse_us(void **state)
{
    UNUSED(state);
    struct redis_group g;
    const struct redis_server_options of_sentinels = {.password = PASSWORD};
    redis_group_start(&g, 0, 60000, NULL, &of_sentinels);
    struct millpond *m = start(textf("mode = sentinel\nsentinel_name = millpond\nurl = redis://:s3cr3t@%s\n",
                                     g.sentinels[0]->address));
    millpond_wait_log(m, textf("warn redis: Sentinel %s is down: WRONGPASS", g.sentinels[0]->address), 1);
    millpond_wait_log(m, "warn redis: no Sentinel answers", 1);
    expect_in(millpond_cli(m, "status", NULL).out, "\nredis     sentinel millpond; no Sentinel answers\n");
    expect_page(m);
    expect_secret(m);
    millpond_stop(m);
}

static void cluster(void **state)
{
    UNUSED(state);
    struct redis_cluster_group g;
    redis_cluster_group_start(&g, false, 60000, &(struct redis_server_options){.password = PASSWORD});
    struct millpond *m = start(textf("mode = cluster\nurl = redis://:" ENCODED "@%s\nurl = redis://%s\n",
                                     g.masters[0]->address, g.masters[1]->address));
    for (int i = 0; i < REDIS_MASTERS; i++)
        expect_up(m, g.masters[i]);
    assert_int_equal(json_integer_value(json_object_get(redis_of(m), "slots")), 16384);
    expect_in(millpond_cli(m, "status", NULL).out, "\nredis     cluster, 16384 of 16384 slots\n");
    expect_secret(m);
    millpond_stop(m);
}

/* ---- it is not there ---- */

static void down_at_the_start(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    redis_kill(p);
    struct millpond *m = start(textf("url = redis://%s\n", p->address));
    expect_page(m);
    millpond_wait_log(m, textf("warn redis: %s is down: Connection refused", p->address), 1);
    json_t *s = server_of(redis_of(m), p->address);
    assert_string_equal(json_string_value(json_object_get(s, "state")), "down");
    assert_string_equal(json_string_value(json_object_get(s, "reason")), "Connection refused");
    expect_in(millpond_admin(m, "GET", "/metrics")->body,
              textf("millpond_redis_up{server=\"%s\",kind=\"redis\"} 0\n", p->address));
    assert_true(millpond_figure(m, "redis_reconnects") > 0);
    redis_restart(p, true);
    expect_up(m, p);
    millpond_stop(m);
    char *log = capture_all(&m->proc->err);
    assert_int_equal(support_count(log, "is down: Connection refused"), 1);
    assert_int_equal(support_count(log, " is up"), 1);
}

static void killed_and_back(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct millpond *m = start(textf("url = redis://%s\n", p->address));
    expect_up(m, p);
    redis_kill(p);
    millpond_wait_log(m, textf("warn redis: %s is down: ", p->address), 1);
    expect_page(m);
    redis_restart(p, true);
    millpond_wait_log(m, textf("info redis: %s is up", p->address), 2);
    wait_until_connected(m, p->address, 2 * WORKERS);
    redis_kill(p); /* and it stops with it away */
    millpond_stop(m);
}

static void wrong_password_is_said_once(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.password = "other"});
    struct millpond *m = start(textf("url = redis://%s\npassword = " PASSWORD "\n", p->address));
    millpond_wait_log(m, textf("warn redis: %s is down: WRONGPASS", p->address), 1);
    expect_page(m);
    int64_t tries = millpond_figure(m, "redis_reconnects");
    while (millpond_figure(m, "redis_reconnects") < tries + 3 * WORKERS)
        continue; /* it is tried again and again, and nothing more is said */
    assert_int_equal(support_count(capture_text(&m->proc->err), "WRONGPASS"), 1);
    expect_in(millpond_cli(m, "status", NULL).out, "WRONGPASS");
    expect_secret(m);
    redis_do(p, "CONFIG SET requirepass %s", PASSWORD);
    expect_up(m, p);
    millpond_stop(m);
}

/* ---- the file ---- */

static void check_looks_at_the_machine(void **state)
{
    UNUSED(state);
    char *ini = support_path("x.ini");
    support_write_file(ini,
                       "[pool app]\nserver = 127.0.0.1:1\n[redis]\nurl = rediss://no-such-host.invalid\n");
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, "x.ini:4: [redis] url: no-such-host.invalid does not resolve just now");
    expect_in(r.out, "x.ini:3: [redis]: store = memory keeps nothing in Redis");
    char *bad = support_path("bad.pem");
    support_write_file(bad, "no certificate\n");
    support_write_file(ini, textf("[pool app]\nserver = 127.0.0.1:1\n[redis]\nurl = rediss://127.0.0.1\n"
                                  "tls_ca = %s\n",
                                  bad));
    r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(r.out, textf("x.ini:5: [redis] tls_ca: %s has no certificate that can be read; ", bad));
    expect_in(r.out, "x.ini: 1 problem; it would not be used");
    r = millpond_run("run", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, textf("not started: %s:5: [redis] tls_ca: %s has no certificate", ini, bad));
}

static void reload_changes_nothing_of_it(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", &(struct redis_server_options){.password = PASSWORD});
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = start(textf("url = redis://:" ENCODED "@%s\ntimeout = 60ms\n", p->address));
    expect_up(m, p);
    char *pool = pool_lines("app", 1, o);
    millpond_write_ini(
        m, .main = "workers = 2",
        .rest = textf("%s[redis]\nurl = redis://:s3cr3t-2@%s\ntimeout = 70ms\n", pool, p->address));
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    millpond_wait_log(m, "[redis] timeout: 60ms -> 70ms takes effect at the next start", 1);
    millpond_wait_log(
        m, textf("[redis] url: redis://:***@%s -> redis://:***@%s takes", p->address, p->address), 1);
    millpond_write_ini(m, .main = "workers = 2",
                       .rest =
                           textf("%s[redis]\nurl = rediss://%s\ntls_ca = /nowhere.pem\n", pool, p->address));
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(textf("%s%s", r.out, r.err), "[redis] tls_ca: /nowhere.pem cannot be read");
    millpond_write_ini(m, .main = "workers = 2", .rest = pool);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_not_in(capture_text(&m->proc->err), "s3cr3t");
    wait_until_connected(m, p->address, 2 * WORKERS); /* still */
    expect_page(m);
    millpond_stop(m);
    assert_int_equal(support_count(capture_all(&m->proc->err), " is up"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(password_in_the_url),
        E2E_TEST(user_and_database),
        E2E_TEST(unix_socket),
        E2E_TEST(tls_with_the_right_authority),
        E2E_TEST(tls_with_a_wrong_authority),
        E2E_TEST(sentinels_name_the_master),
        E2E_TEST(sentinels_that_refuse_us),
        E2E_TEST(cluster),
        E2E_TEST(down_at_the_start),
        E2E_TEST(killed_and_back),
        E2E_TEST(wrong_password_is_said_once),
        E2E_TEST(check_looks_at_the_machine),
        E2E_TEST(reload_changes_nothing_of_it),
    };
    return E2E_RUN("redis_link", tests);
}
