/* health.c: probes of real instances: one for all pools that ask an address the same, what the body must
 * hold, and TCP over TLS. */
#include "tests/support/app.h"
#include "tests/support/millpond.h"
#include "tests/support/tls.h"

static const char *_Atomic page;

static void page_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    UNUSED(request);
    origin_respond(c, 200, "", page);
}

static void pools_that_ask_the_same_share_a_prober(void **state)
{
    UNUSED(state);
    const char *rest = "";
    page = "fine";
    struct origin *o = origin_start(page_script, NULL);
    for (int i = 0; i < 20; i++)
        rest = textf("%s[pool p%d]\nserver = 127.0.0.1:%d name=s\nhealth_interval = 1h\nhealth_timeout = "
                     "10s\n%s[route r%d]\n"
                     "path = /%d\npool = p%d\n",
                     rest, i, origin_port(o), i == 19 ? "health_path = /other\n" : "", i, i, i);
    struct millpond *m = millpond_start(.rest = rest);
    for (int i = 0; i < 20; i++)
        millpond_wait_log(m, textf("p%d/s: starting -> up: first probe succeeded (status 200)", i), 1);
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    assert_int_equal(client_get(m->port, "/3", "")->status, 200);
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
    origin_stop(o);
}

static void the_body_says_whether_it_is_well(void **state)
{
    UNUSED(state);
    page = "{\"state\": \"starting\"}";
    struct origin *o = origin_start(page_script, NULL);
    struct millpond *m = millpond_start(
            .rest =
                textf("[pool app]\nserver = 127.0.0.1:%d name=a\nhealth_interval = 20ms\nhealth_rise = 1\n"
                      "health_timeout = 10s\nhealth_fall = 2\nhealth_body = \"state\": \"up\"\n",
                      origin_port(o)));
    millpond_wait_log(m, "app/a: starting -> down: the body does not hold \"\"state\": \"up\"\"", 1);
    page = "{\"state\": \"up\"}";
    millpond_wait_log(m, "app/a: down -> up: status and body are right", 1);
    millpond_stop(m);
    origin_stop(o);
}

/* The same by HTTP/2, HAProxy before it, with a page that takes windows and frames. */
static void the_body_says_so_by_http_2(void **state)
{
    UNUSED(state);
    char *filler = text_repeat('.', 200000);
    page = textf("%s{\"state\": \"starting\"}", filler);
    struct origin *o = origin_start(page_script, NULL);
    struct app ha = app_haproxy("proto h2", textf("127.0.0.1:%d", origin_port(o)), "mode http\n");
    struct millpond *m = millpond_start(
            .rest = textf(
                "[pool app]\nserver = 127.0.0.1:%d name=a\nprotocol = h2\nhealth_interval = 20ms\n"
                "health_rise = 1\nhealth_timeout = 10s\nhealth_fall = 2\nhealth_body = \"state\": \"up\"\n",
                ha.port));
    millpond_wait_log(m, "app/a: starting -> down: the body does not hold \"\"state\": \"up\"\"", 1);
    page = textf("%s{\"state\": \"up\"}", filler);
    millpond_wait_log(m, "app/a: down -> up: status and body are right", 1);
    page = textf("%s%s{\"state\": \"up\"}", filler, filler); /* behind the first 256K */
    millpond_wait_log(m, "app/a: up -> down: the body does not hold", 1);
    millpond_stop(m);
    origin_stop(o);
}

static void tcp_probes_shake_hands(void **state)
{
    UNUSED(state);
    page = "fine";
    struct origin *o = origin_start(page_script, NULL);
    struct tls_cert *authority = tls_cert_make("authority", .authority = true);
    struct tls_cert *cert = tls_cert_make("app", .names = "app.test", .issuer = authority);
    char *pem = support_path("app.pem");
    support_write_file(pem, textf("%s%s", support_read_file(cert->file), support_read_file(cert->key_file)));
    struct app ha = app_haproxy(textf("ssl crt %s", pem), textf("127.0.0.1:%d", origin_port(o)), "");
    const char *lines = textf("tls = yes\ntls_ca = %s\nhealth_check = tcp\nhealth_interval = 20ms\n"
                              "health_timeout = 10s\nhealth_fall = 1\nserver = 127.0.0.1:%d name=a\n",
                              authority->file, ha.port);
    struct millpond *m =
        millpond_start(.rest = textf("[pool good]\n%stls_sni = app.test\n[pool bad]\n%stls_sni = b.test\n"
                                     "[route b]\npath = /b\npool = bad\n[route g]\npool = good\n",
                                     lines, lines));
    millpond_wait_log(m, "good/a: starting -> up: first probe succeeded (connected)", 1);
    millpond_wait_log(m, "bad/a: starting -> down: TLS: hostname mismatch", 1);
    millpond_stop(m);
    proc_kill(ha.proc);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(pools_that_ask_the_same_share_a_prober),
        E2E_TEST(the_body_says_whether_it_is_well),
        E2E_TEST(the_body_says_so_by_http_2),
        E2E_TEST(tcp_probes_shake_hands),
    };
    return E2E_RUN("health", tests);
}
