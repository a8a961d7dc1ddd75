/* h2_instances_change.c: instances that speak HTTP/2 come, go and change while requests run, and none is
 * lost: reloads, orders, certificates on either side; and what they are told when the program ends. The
 * instances are the program itself, over TLS, or played frame by frame. */
#include <signal.h>

#include "tests/support/h2.h"
#include "tests/support/load.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

#define GET      "GET /q HTTP/1.1\r\nHost: test\r\n\r\n"
#define CLIENTS  8
#define SOME     100 /* requests between two changes */
#define NO_STORE "store = off"

static struct tls_cert *authority, *other_authority;

static void say_name(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(request);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", arg);
}

/* It ends each connection after a while, so that there are always new ones. */
static struct millpond *instance_start(const char *name, const struct tls_cert *cert)
{
    struct origin *o = origin_start_with(
        &(struct origin_options){.script = say_name, .arg = (void *)(uintptr_t)name, .forgets = true});
    return millpond_start(.name = textf("instance-%s", name), .main = "workers = 1\n", .cache = NO_STORE,
                          .log = "access = off\n",
                          .listen = textf("%smax_requests_per_connection = 50\n", tls_cert_lines(cert)),
                          .rest = pool_lines("app", 1, o));
}

static void prepare(void)
{
    authority = tls_cert_make("authority", .authority = true);
    other_authority = tls_cert_make("other", .authority = true);
}

static struct tls_cert *instance_cert(const char *name, const struct tls_cert *issuer)
{
    return tls_cert_make(name, .names = "app.test", .issuer = issuer);
}

static char *pool(const char *protocol, const char *servers)
{
    return textf("[pool app]\n%sprotocol = %s\ntls = yes\ntls_ca = %s\ntls_sni = app.test\n"
                 "health_interval = 100ms\nhealth_timeout = 10s\nconnect_timeout = 10s\n",
                 servers, protocol, authority->file);
}

static char *server(const char *name, int port)
{
    return textf("server = 127.0.0.1:%d name=%s\n", port, name);
}

static struct millpond *front_start(const char *pools)
{
    return millpond_start(.main = "workers = 2\n", .cache = NO_STORE, .log = "access = off\n", .rest = pools);
}

static void reload_to(struct millpond *m, const char *pools)
{
    millpond_write_ini(m, .main = "workers = 2\n", .cache = NO_STORE, .log = "access = off\n", .rest = pools);
    struct proc_result r = millpond_cli(m, "reload", NULL);
    EXPECT(r.exit_code == 0, "reload: %s%s", r.out, r.err);
}

static void expect_all_answered(struct load *l)
{
    const struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken == 0 && r.refused == 0, "%llu of %llu, %llu broken: %s",
           (unsigned long long)r.by_class[2], (unsigned long long)r.answered, (unsigned long long)r.broken,
           r.first_problem);
}

static void done(struct millpond *m, const char *verb, const char *a, const char *b, const char *c)
{
    struct proc_result r = millpond_cli(m, verb, a, b, c, NULL);
    EXPECT(r.exit_code == 0, "%s %s: %s%s", verb, a, r.out, r.err);
}

static int64_t figure(struct millpond *m, const char *name)
{
    return millpond_figure(m, name);
}

/* ---- reloads and orders ---- */

static void reloads_lose_nothing(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *cert = instance_cert("app", authority);
    struct millpond *a = instance_start("a", cert), *b = instance_start("b", cert);
    char *one = server("a", a->port), *both = textf("%s%s", one, server("b", b->port));
    struct millpond *m = front_start(pool("h2", both));
    struct load *l = load_start(m->port, CLIENTS, GET);
    const char *const steps[] = {
        pool("h2", both),                 /* as it was */
        pool("h2", one),                  /* one fewer */
        pool("h2", server("a", b->port)), /* another address */
        pool("http/1.1", both),
        pool("h2", both),
        pool("http/1.1", one),
        pool("h2", both), /* protocols */
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        load_wait(l, SOME);
        reload_to(m, steps[i]);
    }
    load_wait(l, SOME);
    expect_all_answered(l);
    millpond_stop(m);
    millpond_stop(a);
    millpond_stop(b);
}

/* In clear text nothing of a connection depends on the files, so it outlives a reload; unless the pool speaks
 * another protocol now. */
static void connections_outlive_a_reload_that_changes_nothing(void **state)
{
    UNUSED(state);
    struct h2_listener l = h2_listen();
    char *h2 = textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n", l.port);
    struct millpond *m = millpond_start(.main = "workers = 1\n", .cache = NO_STORE, .rest = h2);
    struct client *c = client_open(m->port);
    client_send(c, GET);
    struct h2_client *i = h2_accept(&l, 0, 0);
    h2_wait_asked(i, 1);
    millpond_write_ini(m, .main = "workers = 1\n", .cache = NO_STORE, .rest = h2);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    h2_headers(i, NGHTTP2_FLAG_END_STREAM, 1, ":status", "204"); /* it was under way */
    assert_int_equal(client_read(c)->status, 204);
    client_send(c, GET);
    h2_wait_asked(i, 3);
    h2_headers(i, NGHTTP2_FLAG_END_STREAM, 3, ":status", "204");
    assert_int_equal(client_read(c)->status, 204);
    assert_int_equal(figure(m, "upstream_connects"), 1);
    millpond_stop(m);
}

static void orders_lose_nothing(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *cert = instance_cert("app", authority);
    struct millpond *a = instance_start("a", cert), *b = instance_start("b", cert);
    struct millpond *m = front_start(pool("h2", textf("%s%s", server("a", a->port), server("b", b->port))));
    struct load *l = load_start(m->port, CLIENTS, GET);
    millpond_wait_log(m, "starting -> up", 2);
    for (unsigned i = 0; i < 3; i++) {
        load_wait(l, SOME);
        done(m, "drain", "app/a", "--wait", NULL);
        expect_body(client_get(m->port, "/q", ""), "b");
        done(m, "ready", "app/a", NULL, NULL);
        load_wait(l, SOME);
        done(m, "remove", "app/b", "--wait", NULL);
        expect_body(client_get(m->port, "/q", ""), "a");
        done(m, "add", "app", textf("127.0.0.1:%d", b->port), "name=b");
    }
    expect_all_answered(l);
    millpond_stop(m);
    millpond_stop(a);
    millpond_stop(b);
}

/* ---- certificates ---- */

static void write_cert(const struct tls_cert *from, const struct tls_cert *over)
{
    char *next = support_path("copy.tmp");
    support_write_file(next, support_read_file(from->key_file));
    assert_int_equal(rename(next, over->key_file), 0);
    support_write_file(next, support_read_file(from->file));
    assert_int_equal(rename(next, over->file), 0);
}

static void write_authorities(const char *text)
{
    char *next = support_path("copy.tmp");
    support_write_file(next, text);
    assert_int_equal(rename(next, authority->file), 0);
}

/* Instances change from one authority to another, as one does it: both are believed meanwhile. */
static void authorities_and_certificates_change(void **state)
{
    UNUSED(state);
    prepare();
    struct tls_cert *cert = instance_cert("app", authority), *next = instance_cert("next", authority),
                    *alien = instance_cert("alien", other_authority);
    char *old = support_read_file(authority->file), *new = support_read_file(other_authority->file);
    struct millpond *a = instance_start("a", cert);
    struct millpond *m = front_start(pool("h2", server("a", a->port)));
    struct load *l = load_start(m->port, CLIENTS, GET);
    millpond_wait_log(m, "starting -> up", 1);
    write_cert(next, cert);
    millpond_wait_log(a, "certificates read anew", 1);
    load_wait(l, SOME);
    write_authorities(textf("%s%s", old, new));
    millpond_wait_log(m, "read anew, since they have changed", 1);
    load_wait(l, SOME);
    write_cert(alien, cert);
    millpond_wait_log(a, "certificates read anew", 2);
    load_wait(l, SOME);
    write_authorities(new);
    millpond_wait_log(m, "read anew, since they have changed", 2);
    load_wait(l, SOME);
    expect_all_answered(l);
    write_authorities(old); /* and now it is not believed: nothing that there is helps */
    millpond_wait_log(m, "-> down: TLS: ", 1);
    expect_status(client_get(m->port, "/q", ""), 503);
    millpond_stop(m);
    millpond_stop(a);
}

/* ---- the end ---- */

/* RFC 9113 section 6.8: whoever ends a connection says so before. */
static void instances_are_told_goodbye(void **state)
{
    UNUSED(state);
    struct h2_listener l = h2_listen(), idle = h2_listen();
    struct millpond *m =
        millpond_start(.main = "workers = 1\n", .cache = NO_STORE,
                       .rest = textf("[pool app]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n"
                                     "[pool idle]\nserver = 127.0.0.1:%d\nprotocol = h2\nhealth_check = off\n"
                                     "[route idle]\npath = /idle\npool = idle\n[route rest]\npool = app\n",
                                     l.port, idle.port));
    struct client *c = client_open(m->port), *d = client_open(m->port);
    client_send(d, "GET /idle HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    struct h2_client *j = h2_accept(&idle, 0, 0);
    h2_wait_asked(j, 1);
    h2_headers(j, NGHTTP2_FLAG_END_STREAM, 1, ":status", "204");
    assert_int_equal(client_read(d)->status, 204);
    client_send(c, "GET /q HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    struct h2_client *i = h2_accept(&l, 0, 0);
    h2_wait_asked(i, 1);
    h2_headers(i, 0, 1, ":status", "200", "cache-control", "no-store");
    h2_data(i, 0, 1, "half ", 5);
    proc_signal(m->proc, SIGTERM);
    millpond_wait_log(m, "stopping", 1);
    h2_data(i, NGHTTP2_FLAG_END_STREAM, 1, "whole", 5);
    expect_body(client_read(c), "half whole");
    assert_int_equal(h2_wait_goaway(i), NGHTTP2_NO_ERROR);
    h2_wait_end(i);
    assert_int_equal(h2_wait_goaway(j), NGHTTP2_NO_ERROR);
    h2_wait_end(j);
    millpond_expect_clean_end(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(reloads_lose_nothing),       E2E_TEST(connections_outlive_a_reload_that_changes_nothing),
        E2E_TEST(orders_lose_nothing),        E2E_TEST(authorities_and_certificates_change),
        E2E_TEST(instances_are_told_goodbye),
    };
    return E2E_RUN("h2_instances_change", tests);
}
