/* admin_security.c: who may use the admin side: the token and the Host check on the address (against other
 * programs and against web pages that rebind their name), the file mode on the socket. */
#include <signal.h>
#include <sys/stat.h>

#include "tests/support/load.h"
#include "tests/support/millpond.h"

static struct millpond *start(const char *admin)
{
    return millpond_start_(
        &(struct millpond_options){.admin = admin, .rest = pool_lines("app", 1, origin_start_named("a"))});
}

/* One request with exactly these fields. */
static int status_of(struct millpond *m, const char *method, const char *target, const char *fields,
                     const char *body)
{
    struct client *c = client_open(m->admin_port);
    client_send(c, "%s %s HTTP/1.1\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n%s", method, target,
                fields, strlen(body), body);
    struct message *r = client_read(c);
    expect_end(r, MESSAGE_COMPLETE);
    return r->status;
}

#define HOST  "Host: localhost\r\n"
#define TOKEN "Authorization: Bearer " MILLPOND_TOKEN "\r\n"

static void address_wants_the_token(void **state)
{
    UNUSED(state);
    struct millpond *m = start(NULL);
    static const char *const reads[] = {"/api/status", "/api/pools", "/api/config", "/metrics"};
    for (size_t i = 0; i < ARRAY_LEN(reads); i++) {
        assert_int_equal(status_of(m, "GET", reads[i], HOST, ""), 401);
        assert_int_equal(
            status_of(m, "GET", reads[i], HOST "Authorization: Bearer wrong-token-of-tests\r\n", ""), 401);
        assert_int_equal(
            status_of(m, "GET", reads[i], HOST "Authorization: Basic " MILLPOND_TOKEN "\r\n", ""), 401);
        assert_int_equal(status_of(m, "GET", textf("%s?token=" MILLPOND_TOKEN, reads[i]), HOST, ""), 401);
        assert_int_equal(status_of(m, "GET", reads[i], HOST TOKEN, ""), 200);
    }
    assert_int_equal(status_of(m, "POST", "/api/reload", HOST, ""), 401);
    assert_int_equal(status_of(m, "POST", "/api/purge", HOST, "{\"all\": true}"), 401);
    assert_int_equal(status_of(m, "POST", "/api/purge", HOST TOKEN, "{\"all\": true}"), 200);
    assert_int_equal(status_of(m, "GET", "/api/purge", HOST TOKEN, ""), 405); /* a link must not purge */
    assert_int_equal(status_of(m, "GET", "/nowhere", HOST TOKEN, ""), 404);
    assert_int_equal(millpond_figure(m, "generation"), 1);
    millpond_stop(m);
}

static void foreign_hosts_are_not_answered(void **state)
{
    UNUSED(state);
    struct millpond *m = start(NULL);
    assert_int_equal(status_of(m, "GET", "/api/status", "Host: evil.example\r\n" TOKEN, ""), 421);
    assert_int_equal(status_of(m, "GET", "/", "Host: evil.example\r\n", ""), 421);
    assert_int_equal(status_of(m, "GET", "/api/status", "Host: localhost.evil.example\r\n" TOKEN, ""), 421);
    assert_int_equal(
        status_of(m, "GET", "/api/status", textf("Host: 127.0.0.1:%d\r\n" TOKEN, m->admin_port), ""), 200);
    assert_int_equal(
        status_of(m, "GET", "/api/status", textf("Host: LOCALHOST:%d\r\n" TOKEN, m->admin_port), ""), 200);
    millpond_stop(m);
    m = start("allowed_hosts = admin.example");
    assert_int_equal(status_of(m, "GET", "/api/status", "Host: admin.example\r\n" TOKEN, ""), 200);
    assert_int_equal(status_of(m, "GET", "/api/status", "Host: evil.example\r\n" TOKEN, ""), 421);
    millpond_stop(m);
}

static void reading_can_be_opened_but_changing_cannot(void **state)
{
    UNUSED(state);
    struct millpond *m = start("read = open");
    assert_int_equal(status_of(m, "GET", "/api/status", HOST, ""), 200);
    assert_int_equal(status_of(m, "POST", "/api/purge", HOST, "{\"all\": true}"), 401);
    assert_int_equal(status_of(m, "POST", "/api/reload", HOST, ""), 401);
    millpond_stop(m);
    m = start("metrics = open");
    assert_int_equal(status_of(m, "GET", "/metrics", HOST, ""), 200);
    assert_int_equal(status_of(m, "GET", "/api/status", HOST, ""), 401);
    millpond_stop(m);
}

static void generated_token_is_kept_private(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_named("a");
    char *ini = millpond_ini(&(struct millpond_options){.rest = pool_lines("app", 1, o)});
    char *token_line = strstr(ini, "token = ");
    assert_non_null(token_line);
    memset(token_line, ';', strlen("token = " MILLPOND_TOKEN)); /* a comment in its place */
    char *ini_path = support_path("millpond.ini");
    support_write_file(ini_path, ini);
    const char *argv[] = {getenv("MILLPOND"), "run", "-c", ini_path, NULL};
    struct proc *p = proc_start(&(struct proc_options){.argv = argv});
    char *log = capture_wait(&p->err, " ready", 1);
    char *path = support_path("admin-token");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char *token = support_read_file(path);
    token[strcspn(token, "\n")] = '\0';
    assert_true(strlen(token) >= 32);
    expect_not_in(log, token); /* logs are read by many */
    int port = atoi(strchr(strstr(log, "admin on "), ':') + 1);
    expect_status(client_get(port, "/api/status", textf("Authorization: Bearer %s\r\n", token)), 421);
    expect_status(
        client_raw(
            port,
            textf("GET /api/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", token)),
        200);
    proc_signal(p, SIGTERM);
    assert_int_equal(proc_exit_code(p), 0);
}

static void socket_has_its_mode_and_needs_no_token(void **state)
{
    UNUSED(state);
    struct millpond *m = start("socket_mode = 0600");
    struct stat st;
    assert_int_equal(stat(m->socket, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0600);
    struct client *c = client_open_unix(m->socket);
    client_send(c, "GET /api/status HTTP/1.1\r\nHost: whatever\r\n\r\n");
    expect_status(client_read(c), 200);
    millpond_stop(m);
}

static void proxy_port_shows_nothing_of_admin(void **state)
{
    UNUSED(state);
    struct millpond *m = start(NULL);
    expect_body(client_get(m->port, "/metrics", TOKEN), "a");
    expect_body(client_get(m->port, "/api/status", TOKEN), "a");
    millpond_stop(m);
}

static void idle_and_garbled_admin_clients_do_no_harm(void **state)
{
    UNUSED(state);
    struct millpond *m = start(NULL);
    struct client *idle[20];
    for (size_t i = 0; i < ARRAY_LEN(idle); i++) {
        idle[i] = client_open(m->admin_port);
        client_send(idle[i], i % 2 ? "GET /api/status HTTP/1.1\r\nHo" : "\x16\x03\x01garbage\r\n\r\n");
    }
    struct client *large = client_open(m->admin_port);
    client_send(large, "POST /api/purge HTTP/1.1\r\n" HOST TOKEN "Content-Length: 100000000\r\n\r\n");
    client_send(large, "%s", text_repeat('x', 1000000));
    assert_int_equal(millpond_admin(m, "GET", "/api/status")->status, 200);
    assert_int_equal(millpond_cli(m, "status", NULL).exit_code, 0);
    expect_body(client_get(m->port, "/", ""), "a");
    millpond_stop(m);
}

/* A number that the kernel gives to a worker's client is no longer used by the admin thread
 * (ThreadSanitizer). */
static void descriptors_of_admin_and_clients_do_not_mix(void **state)
{
    UNUSED(state);
    struct millpond *m = start(NULL);
    struct load *clients = load_start(m->port, 4, "GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    for (int i = 0; i < 100; i++) {
        assert_int_equal(millpond_admin(m, "GET", "/api/status")->status, 200);
        assert_int_equal(status_of(m, "GET", "/api/status", HOST TOKEN, ""), 200);
    }
    assert_int_equal(load_stop(clients).broken, 0);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(address_wants_the_token),
        E2E_TEST(foreign_hosts_are_not_answered),
        E2E_TEST(reading_can_be_opened_but_changing_cannot),
        E2E_TEST(generated_token_is_kept_private),
        E2E_TEST(socket_has_its_mode_and_needs_no_token),
        E2E_TEST(proxy_port_shows_nothing_of_admin),
        E2E_TEST(idle_and_garbled_admin_clients_do_no_harm),
        E2E_TEST(descriptors_of_admin_and_clients_do_not_mix),
    };
    return E2E_RUN("admin_security", tests);
}
