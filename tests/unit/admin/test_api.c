/* test_api.c: every endpoint on both doors: who may, who may not, what comes; and what a hostile peer sends.
 */
#include <signal.h>

#include "admin_fixture.h"

#include "admin/page.h"

static json_t *ask_json(const struct net_addr *a, const char *request, const char *fields, const char *body)
{
    char *answer = fx_ask(a, request, fields, body);
    json_t *o = json_loads(fx_body_of(answer), 0, NULL);
    if (o == NULL)
        fail_msg("%s: no JSON: %s", request, answer);
    free(answer);
    return o;
}

static void test_socket_needs_no_token(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    assert_answer(&a, "GET /api/status", "", "", 200);
    assert_answer(&a, "GET /api/pools", "Host: evil.example\r\n", "", 200);
    assert_answer(&a, "GET /metrics", "", "", 200);
    assert_answer(&a, "POST /api/reload", "", "", 200);
    assert_int_equal(f->reloads, 1);
}

static void test_address_needs_token(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin);
    static const char *const guarded[] = {"GET /api/status",  "GET /api/pools",
                                          "GET /api/config",  "GET /metrics",
                                          "POST /api/reload", "POST /api/purge",
                                          "POST /api/drain",  "POST /api/ready",
                                          "POST /api/weight", "POST /api/resume",
                                          "POST /api/add",    "POST /api/remove",
                                          "GET /api/events",  "GET /api/explain?url=http:a",
                                          "HEAD /api/status"};
    static const char *const wrong[] = {
        FX_HOST,
        FX_HOST "Authorization: Bearer secret-token-0124\r\n",
        FX_HOST "Authorization: Bearer secret-token-012\r\n",
        FX_HOST "Authorization: Bearer secret-token-01234\r\n",
        FX_HOST "Authorization: Bearer \r\n",
        FX_HOST "Authorization: secret-token-0123\r\n",
        FX_HOST "Authorization: Basic secret-token-0123\r\n",
        FX_HOST "X-Token: secret-token-0123\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(guarded); i++) {
        for (size_t j = 0; j < ARRAY_LEN(wrong); j++)
            assert_answer(&a, guarded[i], wrong[j], "", 401);
    }
    assert_answer(&a, "GET /api/status?token=secret-token-0123", FX_HOST, "", 401);
    assert_int_equal(f->reloads, 0);
    assert_answer(&a, "GET /api/status", FX_HOST FX_BEARER, "", 200);
    assert_answer(&a, "GET /api/status", FX_HOST "Authorization: bearer  secret-token-0123 \r\n", "", 200);
    assert_answer(&a, "POST /api/reload", FX_HOST FX_BEARER, "", 200);
    assert_int_equal(f->reloads, 1);
}

static void test_refusal_says_what_to_do(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin);
    char *answer = fx_ask(&a, "GET /api/status", FX_HOST, "");
    assert_non_null(strstr(answer, "WWW-Authenticate: Bearer"));
    assert_non_null(strstr(answer, "X-Content-Type-Options: nosniff"));
    assert_non_null(strstr(answer, "Content-Type: application/json"));
    assert_non_null(strstr(answer, "Cache-Control: no-store"));
    json_t *o = json_loads(fx_body_of(answer), 0, NULL);
    assert_non_null(json_string_value(json_object_get(o, "error")));
    assert_non_null(json_string_value(json_object_get(o, "hint")));
    json_decref(o);
    free(answer);
}

static void test_foreign_host_is_refused(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin);
    static const char *const wrong[] = {
        "Host: evil.example\r\n" FX_BEARER,
        "Host: localhost.evil.example\r\n" FX_BEARER,
        "Host: localhost:x\r\n" FX_BEARER,
        "Host: \r\n" FX_BEARER,
        FX_BEARER,
        "Host: localhost\r\nHost: evil.example\r\n" FX_BEARER,
    };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_answer(&a, "GET /api/status", wrong[i], "", 421);
        assert_answer(&a, "GET /", wrong[i], "", 421);
    }
    assert_answer(&a, "GET http://evil.example/api/status", FX_HOST FX_BEARER, "", 421);
    assert_answer(&a, "GET /api/status", "Host: LOCALHOST:8081\r\n" FX_BEARER, "", 200);
    assert_answer(&a, "GET /api/status", "Host: [::1]:8081\r\n" FX_BEARER, "", 200);
}

static void test_stop_only_on_the_socket(void **state)
{
    struct fixture *f = *state;
    struct net_addr inet = admin_local_addr(f->admin), local = fx_unix(f->socket);
    assert_answer(&inet, "POST /api/stop", FX_HOST FX_BEARER, "", 403);
    assert_answer(&inet, "POST /api/upgrade", FX_HOST FX_BEARER, "", 403);
    assert_int_equal(f->upgrades, 0);
    assert_answer(&local, "POST /api/upgrade", "", "", 409);
    assert_answer(&local, "POST /api/upgrade", "", "", 422);
    assert_answer(&local, "POST /api/upgrade", "", "", 200);
    assert_answer(&inet, "GET /api/token", FX_HOST FX_BEARER, "", 403);
    assert_int_equal(sem_trywait(&f->stopped), -1);
    json_t *o = ask_json(&local, "POST /api/stop", "", "");
    assert_int_equal(json_integer_value(json_object_get(o, "shutdown_timeout_ms")), 7000);
    json_decref(o);
    while (sem_wait(&f->stopped) != 0)
        continue;
    o = ask_json(&local, "GET /api/token", "", "");
    assert_string_equal(json_string_value(json_object_get(o, "token")), "secret-token-0123");
    json_decref(o);
}

static void test_unknown_paths_and_methods(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin);
    assert_answer(&a, "GET /nothing", FX_HOST FX_BEARER, "", 404);
    assert_answer(&a, "GET /api/status/", FX_HOST FX_BEARER, "", 404);
    assert_answer(&a, "GET //api/status", FX_HOST FX_BEARER, "", 421); /* "//api" is an authority */
    assert_answer(&a, "POST /api/status", FX_HOST FX_BEARER, "", 405);
    assert_answer(&a, "GET /api/reload", FX_HOST FX_BEARER, "", 405);
    assert_answer(&a, "OPTIONS /api/purge", FX_HOST "Origin: http://evil.example\r\n", "", 405);
    assert_answer(&a, "DELETE /", FX_HOST, "", 405);
    char *answer = fx_ask(&a, "GET /api/purge", FX_HOST FX_BEARER, "");
    assert_non_null(strstr(answer, "Allow: POST\r\n"));
    free(answer);
    assert_int_equal(f->reloads, 0);
}

static void test_reload_refused(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    f->reload_ok = false;
    assert_answer(&a, "POST /api/reload", "", "", 422);
    json_t *o = ask_json(&a, "POST /api/reload", "", "");
    assert_true(json_is_false(json_object_get(o, "ok")));
    assert_string_equal(json_string_value(json_array_get(json_object_get(o, "problems"), 0)),
                        "millpond.ini:3: [pool app] server: missing");
    json_decref(o);
}

/* A reload that takes away the door it came through must still be answered, and the new settings hold at
 * once. */
static void test_reload_moves_its_own_door(void **state)
{
    struct fixture *f = *state;
    struct net_addr old = admin_local_addr(f->admin), old_socket = fx_unix(f->socket);
    struct config changed = f->config;
    char moved[128];
    snprintf(moved, sizeof moved, "%s/moved.sock", f->dir);
    assert_true(net_addr_parse(SLICE_LIT("[::1]:0"), &changed.admin.address));
    changed.admin.socket = moved;
    changed.admin.token = "another-token-9";
    f->change_to = &changed;
    assert_answer(&old, "POST /api/reload", FX_HOST FX_BEARER, "", 200);
    struct net_addr now = admin_local_addr(f->admin);
    assert_int_equal(now.sa.sa_family, AF_INET6);
    assert_answer(&now, "GET /api/status", FX_HOST FX_BEARER, "", 401);
    assert_answer(&now, "GET /api/status", FX_HOST "Authorization: Bearer another-token-9\r\n", "", 200);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &old.sa, old.len), -1);
    close(fd);
    assert_int_equal(access(old_socket.un.sun_path, F_OK), -1);
    struct net_addr new_socket = fx_unix(moved);
    assert_answer(&new_socket, "GET /api/status", "", "", 200);
    f->change_to = NULL;
}

static void test_failed_change_keeps_the_old(void **state)
{
    struct fixture *f = *state;
    struct net_addr old = admin_local_addr(f->admin), local = fx_unix(f->socket);
    struct config changed = f->config;
    char moved[128];
    snprintf(moved, sizeof moved, "%s/moved.sock", f->dir);
    changed.admin.socket = moved;
    changed.admin.token = "another-token-9";
    int taken = net_listen(
        &(struct net_addr){.len = sizeof(struct sockaddr_in), .in4 = {.sin_family = AF_INET}}, 1, false);
    assert_true(net_local_addr(taken, &changed.admin.address));
    f->change_to = &changed;
    assert_answer(&local, "POST /api/reload", "", "", 422);
    assert_answer(&local, "GET /api/status", "", "", 200);
    assert_answer(&old, "GET /api/status", FX_HOST FX_BEARER, "", 200);
    assert_int_equal(access(moved, F_OK), -1);
    close(taken);
    f->change_to = NULL;
}

static void test_read_and_metrics_open(void **state)
{
    struct fixture *f = *state;
    struct config changed = f->config;
    changed.admin.metrics_open = true;
    f->change_to = &changed;
    struct net_addr a = admin_local_addr(f->admin), local = fx_unix(f->socket);
    assert_answer(&local, "POST /api/reload", "", "", 200);
    assert_answer(&a, "GET /metrics", FX_HOST, "", 200);
    assert_answer(&a, "GET /api/status", FX_HOST, "", 401);
    changed.admin.metrics_open = false;
    changed.admin.read_open = true;
    assert_answer(&local, "POST /api/reload", "", "", 200);
    assert_answer(&a, "GET /metrics", FX_HOST, "", 200);
    assert_answer(&a, "GET /api/status", FX_HOST, "", 200);
    assert_answer(&a, "GET /api/pools", FX_HOST, "", 200);
    assert_answer(&a, "GET /api/config", FX_HOST, "", 401);
    assert_answer(&a, "POST /api/purge", FX_HOST, "{\"all\": true}", 401);
    assert_answer(&a, "POST /api/reload", FX_HOST, "", 401);
    assert_answer(&a, "GET /api/status", "Host: evil.example\r\n", "", 421);
    f->change_to = NULL;
}

static void test_page_is_whole_and_closed(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin);
    char *page = fx_ask(&a, "GET /", FX_HOST, "");
    assert_int_equal(fx_status_of(page), 200);
    assert_non_null(strstr(page, "Content-Security-Policy: default-src 'none'"));
    assert_non_null(strstr(page, "</html>"));
    assert_null(strstr(page, "secret-token"));
    assert_null(strstr(fx_body_of(page), "=\"http")); /* nothing from elsewhere */
    assert_null(strstr(fx_body_of(page), "=\"//"));
    free(page);
    assert_answer(&a, "GET /page.css", FX_HOST, "", 200);
    assert_answer(&a, "GET /page.js", FX_HOST, "", 200);
}

static void test_head_has_no_body(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    char *answer = fx_ask(&a, "HEAD /api/status", "", "");
    assert_int_equal(fx_status_of(answer), 200);
    assert_string_equal(fx_body_of(answer), "");
    free(answer);
}

static void test_metrics_page(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = fx_unix(f->socket);
    char *answer = fx_ask(&a, "GET /metrics", "", "");
    assert_non_null(strstr(answer, "Content-Type: text/plain; version=0.0.4"));
    assert_non_null(strstr(answer, "\nmillpond_instance_up{pool=\"app\",instance=\"a\\\"1\"} 1\n"));
    assert_non_null(strstr(answer, "\nmillpond_instance_up{pool=\"app\",instance=\"app-2\"} 0\n"));
    assert_non_null(
        strstr(answer, "\nmillpond_instance_state{pool=\"app\",instance=\"a\\\"1\",state=\"up\"} 1\n"));
    assert_non_null(
        strstr(answer, "\nmillpond_instance_state{pool=\"app\",instance=\"app-2\",state=\"up\"} 0\n"));
    assert_non_null(
        strstr(answer, "\nmillpond_instance_requests_total{pool=\"app\",instance=\"a\\\"1\"} 40\n"));
    assert_non_null(strstr(answer, "\nmillpond_cache_limit_bytes 1048576\n"));
    assert_non_null(strstr(answer, "\nmillpond_purge_log_entries 4\n"));
    assert_non_null(strstr(answer, "\nmillpond_purge_sources_total{source=\"method\"} 0\n"));
    assert_non_null(strstr(answer, "\nmillpond_config_generation 4\n"));
    assert_non_null(strstr(answer, "\nmillpond_redis_up{server=\"a:1\",kind=\"redis\"} 1\n"));
    assert_non_null(strstr(answer, "\nmillpond_redis_up{server=\"s\\\"1\",kind=\"sentinel\"} 0\n"));
    free(answer);
}

static void test_malice(void **state)
{
    struct fixture *f = *state;
    struct net_addr a = admin_local_addr(f->admin), local = fx_unix(f->socket);
    static const char *const rubbish[] = {
        "\r\n\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET /api/status\r\n\r\n",
        "GET /api/status HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "POST /api/purge HTTP/1.1\r\nHost: localhost\r\n" FX_BEARER "Content-Length: -5\r\n\r\n",
        "POST /api/purge HTTP/1.1\r\nHost: localhost\r\n" FX_BEARER "Content-Length: 99999999999\r\n\r\n",
        "BREW /api/purge HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /%00%ff%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(rubbish); i++) {
        int fd = fx_connect(&a);
        char answer[256] = "";
        assert_true(send(fd, rubbish[i], strlen(rubbish[i]), MSG_NOSIGNAL) > 0);
        shutdown(fd, SHUT_WR);
        ssize_t n = recv(fd, answer, sizeof answer - 1, 0);
        assert_true(n <= 0 || fx_status_of(answer) >= 400);
        close(fd);
    }
    assert_int_equal(fake_cache.purges + f->reloads, 0);
    assert_answer(&local, "GET /api/status", "", "", 200);
}

static void test_too_large(void **state)
{
    struct fixture *f = *state;
    struct net_addr local = fx_unix(f->socket);
    size_t len = 200 * 1024;
    char *bytes = malloc(len);
    memset(bytes, 'a', len);
    int n = sprintf(bytes, "GET /api/status HTTP/1.1\r\nHost: localhost\r\nX: ");
    bytes[n] = 'a';
    char *answer = fx_exchange(&local, bytes, len);
    assert_true(fx_status_of(answer) == 413 || fx_status_of(answer) == 400 || answer[0] == '\0');
    free(answer);
    memset(bytes, 'a', len);
    n = sprintf(bytes, "POST /api/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
                100 * 1024);
    bytes[n] = 'a';
    answer = fx_exchange(&local, bytes, len);
    assert_true(fx_status_of(answer) == 413 || fx_status_of(answer) == 400 || answer[0] == '\0');
    free(answer);
    free(bytes);
    assert_answer(&local, "GET /api/status", "", "", 200);
}

/* Peers that leave in every phase, and one that is cut by the end of the server itself. */
static void test_peers_that_leave(void **state)
{
    struct fixture *f = *state;
    struct net_addr local = fx_unix(f->socket);
    static const char request[] =
        "POST /api/purge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\n{\"url\": \"http://";
    for (size_t len = 0; len < sizeof request; len += 7) {
        int fd = fx_connect(&local);
        assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
        close(fd);
    }
    int open_at_the_end = fx_connect(&local);
    assert_true(send(open_at_the_end, request, 20, MSG_NOSIGNAL) == 20);
    assert_answer(&local, "GET /api/status", "", "", 200);
    fx_call(f, fx_do_stop);
    char byte;
    assert_true(recv(open_at_the_end, &byte, 1, 0) <= 0);
    close(open_at_the_end);
    worker_join(f->control);
    worker_destroy(f->control);
    f->control = worker_create(-1);
    fx_start(f);
}

/* An explanation that comes later, to who still waits, or to nobody: then the admin is gone, too. */
static int ask_late(struct fixture *f)
{
    struct net_addr local = fx_unix(f->socket);
    static const char request[] =
        "GET /api/explain?url=http%3A%2F%2Flate%2F HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int fd = fx_connect(&local);
    assert_true(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
    while (sem_wait(&f->late_asked) != 0)
        continue;
    return fd;
}

static void answer_late(struct fixture *f)
{
    f->late.on_answer(f->late.to, json_pack("{s:s}", "url", "late"));
}

static void answer_too_late(struct fixture *f)
{
    admin_destroy(f->admin);
    answer_late(f);
    fx_create(f);
}

static void test_late_explanations(void **state)
{
    struct fixture *f = *state;
    struct net_addr local = fx_unix(f->socket);
    char answer[4096] = "";
    signal(SIGPIPE, SIG_IGN); /* as the program does */
    int fd = ask_late(f);
    assert_answer(&local, "GET /api/status", "", "", 200);
    fx_call(f, answer_late);
    assert_true(recv(fd, answer, sizeof answer - 1, MSG_WAITALL) > 0);
    assert_int_equal(fx_status_of(answer), 200);
    assert_string_equal(fx_body_of(answer), "{\"url\":\"late\"}");
    close(fd);
    fd = ask_late(f);
    fx_call(f, answer_too_late);
    assert_true(recv(fd, answer, 1, 0) <= 0);
    close(fd);
    assert_answer(&local, "GET /api/status", "", "", 200);
    close(ask_late(f)); /* who left is not noticed before the answer */
    fx_call(f, answer_late);
    assert_answer(&local, "GET /api/status", "", "", 200);
}

/* What the script looks up by its id stands in the page. */
static void test_page_has_what_its_script_names(void **state)
{
    UNUSED(state);
    size_t found = 0;
    static const char *const calls[] = {"$('", "cells('"};
    for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
        for (const char *p = admin_page_js; (p = strstr(p, calls[k])) != NULL; found++) {
            char id[64];
            p += strlen(calls[k]);
            snprintf(id, sizeof id, "id=\"%.*s\"", (int)strcspn(p, "'"), p);
            if (strstr(admin_page_html, id) == NULL)
                fail_msg("the page has no %s", id);
        }
    }
    assert_true(found > 10);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, fx_setup, fx_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_has_what_its_script_names),
        T(test_socket_needs_no_token),
        T(test_address_needs_token),
        T(test_refusal_says_what_to_do),
        T(test_foreign_host_is_refused),
        T(test_stop_only_on_the_socket),
        T(test_unknown_paths_and_methods),
        T(test_reload_refused),
        T(test_reload_moves_its_own_door),
        T(test_failed_change_keeps_the_old),
        T(test_read_and_metrics_open),
        T(test_page_is_whole_and_closed),
        T(test_head_has_no_body),
        T(test_metrics_page),
        T(test_malice),
        T(test_too_large),
        T(test_peers_that_leave),
        T(test_late_explanations),
    };
    return cmocka_run_group_tests_name("admin/api", tests, NULL, NULL);
}
