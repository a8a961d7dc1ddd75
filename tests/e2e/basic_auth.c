/* basic_auth.c: basic_auth of routes as clients see it: who passes, what others get, what the instance and
 * the cache see of it, and that slow hashes hold up nobody else. */
#include <crypt.h>
#include <sys/resource.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

/* "alice:secret", "alice:wrong", "bob:pass:word", "nobody:secret" */
#define ALICE  "Authorization: Basic YWxpY2U6c2VjcmV0\r\n"
#define WRONG  "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n"
#define BOB    "Authorization: Basic Ym9iOnBhc3M6d29yZA==\r\n"
#define NOBODY "Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n"

static struct page pages[] = {
    {.path = "/p", .fields = "Cache-Control: max-age=600\r\n"},
    {.path = "/q", .fields = "Cache-Control: no-store\r\n"},
    {.path = "/plain", .fields = ""},
    {.path = "/vary", .fields = "Cache-Control: public, max-age=600\r\nVary: X-Remote-User\r\n"},
    {0}};

static int setup(void **state)
{
    for (struct page *p = pages; p->path != NULL; p++)
        p->served = 0;
    return support_setup(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, support_teardown)

static char *user_line(const char *user, const char *password, const char *setting)
{
    const char *hash = crypt(password, setting);
    EXPECT(hash != NULL && hash[0] != '*', "no hash by %s", setting);
    return textf("%s:%s\n", user, hash);
}

#define QUICK "$2b$04$abcdefghijklmnopqrstuu"
#define SLOW  "$2b$09$abcdefghijklmnopqrstuu"

static char *users_path(void)
{
    return support_path("users");
}

static void write_users(const char *setting)
{
    support_write_file(users_path(), textf("# who may\n%s%s", user_line("alice", "secret", setting),
                                           user_line("bob", "pass:word", setting)));
}

static struct origin *origin;

/* `rest` goes on in the route. */
static struct millpond *start(const char *main, const char *rest)
{
    origin = origin_start(pages_script, pages);
    write_users(QUICK);
    return millpond_start(.main = main, .rest = textf("%s[route web]\nbasic_auth = %s\n%s",
                                                      pool_lines("app", 1, origin), users_path(), rest));
}

static int status_of(struct millpond *m, const char *target, const char *fields)
{
    return client_get(m->port, target, fields)->status;
}

static void expect_metric(struct millpond *m, const char *line)
{
    expect_in(millpond_admin(m, "GET", "/metrics")->body, line);
}

/* ---- who passes ---- */

static void who_shows_nothing_is_challenged(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    const struct message *r = client_read(c);
    expect_status(r, 401);
    expect_field(r, "WWW-Authenticate", "Basic realm=\"web\", charset=\"UTF-8\"");
    expect_field(r, "Cache-Control", "no-store");
    expect_field(r, "Cache-Status", "millpond; detail=unauthorized");
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n" ALICE "\r\n"); /* on the same connection */
    r = client_read(c);
    expect_status(r, 200);
    expect_no_field(r, "WWW-Authenticate");
    expect_status(client_ask(m->port, "OPTIONS", "/p", "Origin: http://x\r\n", ""), 401);
    assert_int_equal(origin_requests(origin), 1);
    millpond_stop(m);
}

static void only_the_right_ones_pass(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    assert_int_equal(status_of(m, "/q", ALICE), 200);
    assert_int_equal(status_of(m, "/q", BOB), 200); /* colons belong to the password */
    assert_int_equal(status_of(m, "/q", "authorization: bAsIc YWxpY2U6c2VjcmV0\r\n"), 200);
    assert_int_equal(status_of(m, "/q", WRONG), 401);
    assert_int_equal(status_of(m, "/q", NOBODY), 401);
    assert_int_equal(status_of(m, "/q", ALICE WRONG), 401); /* which of the two? */
    assert_int_equal(status_of(m, "/q", ALICE ALICE), 401);
    assert_int_equal(status_of(m, "/q", "Authorization: Bearer YWxpY2U6c2VjcmV0\r\n"), 401);
    assert_int_equal(status_of(m, "/q", "Authorization: Basic YWxpY2U\r\n"), 401);
    assert_int_equal(status_of(m, "/q", "Authorization: Basic YWxpY2U6c2Vjcm V0\r\n"), 401);
    assert_int_equal(status_of(m, "/q", textf("Authorization: Basic %s\r\n", text_repeat('Y', 4096))), 401);
    assert_int_equal(status_of(m, "/q", ALICE), 200);
    assert_int_equal(origin_requests(origin), 4);
    millpond_stop(m);
}

static void all_kinds_of_hashes_are_checked(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    const char *settings[] = {"$2y$04$abcdefghijklmnopqrstuu", "$5$rounds=1000$salt", "$6$salt",
                              "$y$j75$salt"};
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        support_write_file(users_path(), user_line("alice", "secret", settings[i]));
        assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
        assert_int_equal(status_of(m, "/q", ALICE), 200);
        assert_int_equal(status_of(m, "/q", WRONG), 401);
        assert_int_equal(status_of(m, "/q", BOB), 401);
    }
    millpond_stop(m);
}

static void it_is_in_the_log_and_the_metrics(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    assert_int_equal(status_of(m, "/p", ""), 401);
    assert_int_equal(status_of(m, "/p", WRONG), 401);
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    json_t *line = millpond_access_line(m, "\"status\":401");
    assert_string_equal(json_string_value(json_object_get(line, "cache")), "unauthorized");
    assert_string_equal(json_string_value(json_object_get(line, "no_store")), "unauthorized");
    millpond_wait_access(m, "\"status\":401", 2);
    millpond_wait_access(m, "\"status\":200", 2);
    expect_metric(m, "millpond_http_requests_total{route=\"web\",cache=\"unauthorized\",status=\"4xx\"} 2\n");
    expect_metric(m, "millpond_basic_auth_total{outcome=\"missing\"} 1\n");
    expect_metric(m, "millpond_basic_auth_total{outcome=\"wrong\"} 1\n");
    expect_metric(m, "millpond_basic_auth_total{outcome=\"right\"} 1\n");
    expect_metric(m, "millpond_basic_auth_total{outcome=\"remembered\"} 1\n");
    const char *explained =
        millpond_cli(m, "explain", "http://test/p", "-H", "Authorization: Basic YTpzZWNyZXQ=", NULL).out;
    expect_in(explained, "and only with a user and password (basic_auth)");
    expect_not_in(explained, "YTpzZWNyZXQ");
    millpond_stop(m);
    expect_not_in(capture_text(&m->proc->out), "YWxpY2U6c2VjcmV0");
    expect_not_in(capture_text(&m->proc->err), "secret");
}

/* ---- the order of things ---- */

static void addresses_and_limits_go_first(void **state)
{
    UNUSED(state);
    struct millpond *m =
        start("workers = 1\ntrusted_proxies = 127.0.0.1", "deny = 192.0.2.9\nrate_limit = 1/h burst=2\n");
    assert_int_equal(status_of(m, "/q", "X-Forwarded-For: 192.0.2.9\r\n"), 403);
    assert_int_equal(status_of(m, "/q", WRONG), 401);
    assert_int_equal(status_of(m, "/q", WRONG), 401);
    assert_int_equal(status_of(m, "/q", ALICE), 429); /* guesses count */
    millpond_stop(m);
}

static void what_a_route_answers_itself_is_guarded(void **state)
{
    UNUSED(state);
    write_users(QUICK);
    struct millpond *m =
        millpond_start(.main = "workers = 1",
                       .rest = textf("[route a]\npath = /r\nbasic_auth = %s\nredirect = 302 /else\n"
                                     "[route b]\nbasic_auth = %s\nrespond = 200 hello\n",
                                     users_path(), users_path()));
    assert_int_equal(status_of(m, "/r", ""), 401);
    assert_int_equal(status_of(m, "/r", ALICE), 302);
    assert_int_equal(status_of(m, "/s", WRONG), 401);
    expect_body(client_get(m->port, "/s", ALICE), "hello");
    millpond_stop(m);
}

static void what_is_stored_is_guarded_and_shared(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "ttl = 60s\n");
    expect_body(client_get(m->port, "/plain", ALICE), "/plain#1");
    expect_body(client_get(m->port, "/plain", BOB), "/plain#1");
    assert_int_equal(status_of(m, "/plain", ""), 401);
    assert_int_equal(status_of(m, "/plain", WRONG), 401);
    assert_int_equal(origin_requests(origin), 1);
    assert_null(message_field(origin_request(origin, 0), "Authorization"));
    millpond_stop(m);
}

static void a_told_user_is_not_shared(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "ttl = 60s\nset_request_header = X-Remote-User: $remote_user\n"
                                              "set_response_header = X-You: $remote_user\n");
    const struct message *r =
        client_get(m->port, "/plain", ALICE "X-Remote-User: root\r\nX_remote-user: root\r\n");
    expect_body(r, "/plain#1");
    expect_field(r, "X-You", "alice");
    expect_body(client_get(m->port, "/plain", BOB), "/plain#2");
    expect_field(origin_request(origin, 0), "X-Remote-User", "alice");
    expect_field(origin_request(origin, 1), "X-Remote-User", "bob");
    expect_no_field(origin_request(origin, 0), "X_remote-user");
    assert_non_null(message_field(origin_request(origin, 1), "Authorization"));
    expect_body(client_get(m->port, "/vary", ALICE "X-Remote-User: bob\r\n"), "/vary#1");
    r = client_get(m->port, "/vary", BOB "X-Remote-User: bob\r\n"); /* by what is sent nobody can be told */
    expect_body(r, "/vary#2");
    expect_field_in(r, "Cache-Status", "vary_star");
    millpond_stop(m);
}

static void nobody_says_who_he_is(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "set_request_header = REMOTE_USER: $remote_user\n");
    struct client *c = client_open(m->port);
    client_send(c, "POST /q HTTP/1.1\r\nHost: test\r\n" ALICE "Remote-User: root\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n0\r\nRemote-User: root\r\nX-Sum: 1\r\n\r\n");
    expect_status(client_read(c), 200);
    const struct message *r = origin_request(origin, 0);
    expect_field(r, "REMOTE_USER", "alice");
    expect_no_field(r, "Remote-User");
    assert_string_equal(r->trailers, "X-Sum: 1\r\n");
    millpond_stop(m);
}

static void http2_is_no_way_around(void **state)
{
    UNUSED(state);
    origin = origin_start(pages_script, pages);
    write_users(QUICK);
    struct millpond *m = millpond_start(.main = "workers = 1", .listen = "protocols = h2c, http/1.1",
                                        .rest = textf("%s[route web]\nbasic_auth = %s\n",
                                                      pool_lines("app", 1, origin), users_path()));
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/p");
    h2_expect(c, 1, 401, NULL);
    expect_in(h2_answer(c, 1)->head, "www-authenticate: Basic realm=\"web\", charset=\"UTF-8\"\n");
    h2_headers(c, NGHTTP2_FLAG_END_STREAM, 3, H2_GET("/p"), "authorization", "Basic YWxpY2U6c2VjcmV0");
    h2_expect(c, 3, 200, "/p#1");
    h2_get(c, 5, "/p"); /* the connection is nobody's */
    h2_expect(c, 5, 401, NULL);
    millpond_stop(m);
}

/* ---- slow hashes ---- */

/* As a browser begins: with more requests than one client has places in the queue. */
static void many_at_once_wait_for_one_hash(void **state)
{
    enum { MANY = 30 };
    UNUSED(state);
    origin = origin_start(pages_script, pages);
    write_users(SLOW);
    struct millpond *m = millpond_start(.main = "workers = 1", .listen = "protocols = h2c, http/1.1",
                                        .rest = textf("%s[route web]\nbasic_auth = %s\n",
                                                      pool_lines("app", 1, origin), users_path()));
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < MANY; i++)
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, 2 * i + 1, H2_GET("/p"), "authorization",
                   "Basic YWxpY2U6c2VjcmV0");
    for (uint32_t i = 0; i < MANY; i++)
        h2_expect(c, 2 * i + 1, 200, "/p#1");
    millpond_stop(m);
}

static void a_slow_hash_holds_up_nobody(void **state)
{
    enum { GUESSERS = 4 };
    UNUSED(state);
    struct client *guessers[GUESSERS];
    origin = origin_start(pages_script, pages);
    write_users(SLOW);
    struct millpond *m =
        millpond_start(.main = "workers = 1",
                       .rest = textf("%s[route open]\npath = /q\n[route web]\nbasic_auth = %s\n",
                                     pool_lines("app", 1, origin), users_path()));
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    for (int i = 0; i < GUESSERS; i++) {
        guessers[i] = client_open(m->port);
        client_send(guessers[i], "GET /p HTTP/1.1\r\nHost: test\r\n" WRONG "\r\n");
    }
    assert_int_equal(status_of(m, "/q", ""), 200);
    assert_int_equal(status_of(m, "/p", ALICE), 200); /* remembered */
    for (int i = 0; i < GUESSERS; i++)
        expect_status(client_read(guessers[i]), 401);
    expect_metric(m, "millpond_basic_auth_total{outcome=\"remembered\"} 1\n");
    millpond_stop(m);
}

static void a_flood_gets_503_and_those_known_pass(void **state)
{
    enum { GUESSES = 40 };
    UNUSED(state);
    origin = origin_start(pages_script, pages);
    write_users(SLOW);
    struct millpond *m = millpond_start(.main = "workers = 1", .listen = "protocols = h2c, http/1.1",
                                        .rest = textf("%s[route web]\nbasic_auth = %s\n",
                                                      pool_lines("app", 1, origin), users_path()));
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    struct h2_client *c = h2_open(m->port);
    for (uint32_t i = 0; i < GUESSES; i++) /* each another password, so none waits for another's answer */
        h2_headers(c, NGHTTP2_FLAG_END_STREAM, 2 * i + 1, H2_GET("/p"), "authorization",
                   textf("Basic YWxpY2U6%c%c==", 'A' + i % 26, i < 26 ? 'A' : 'Q'));
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    unsigned busy = 0, wrong = 0;
    for (uint32_t i = 0; i < GUESSES; i++) {
        const struct h2_answer *a = h2_wait(c, 2 * i + 1);
        busy += a->status == 503;
        wrong += a->status == 401;
        if (a->status == 503)
            expect_in(a->head, "retry-after: 1\n");
    }
    assert_int_equal(busy + wrong, GUESSES);
    assert_true(busy > 0 && wrong > 0);
    expect_metric(m, "millpond_basic_auth_total{outcome=\"remembered\"} 1\n");
    millpond_stop(m);
}

static void clients_that_leave_are_forgotten(void **state)
{
    UNUSED(state);
    origin = origin_start(pages_script, pages);
    write_users(SLOW);
    struct millpond *m =
        millpond_start(.main = "workers = 1", .rest = textf("%s[route web]\nbasic_auth = %s\n",
                                                            pool_lines("app", 1, origin), users_path()));
    for (int i = 0; i < 6; i++) {
        struct client *c = client_open(m->port);
        client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\nAuthorization: Basic YWxpY2U6%cA==\r\n\r\n",
                    'A' + i);
        client_reset(c);
    }
    assert_int_equal(status_of(m, "/p", ALICE), 200);
    millpond_wait_idle(m);
    struct client *c = client_open(m->port); /* and one while the server stops */
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n" WRONG "\r\n");
    millpond_stop(m);
}

/* ---- files ---- */

static void a_changed_file_is_read_anew(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    assert_int_equal(status_of(m, "/q", ALICE), 200);
    support_write_file(users_path(), user_line("bob", "pass:word", QUICK));
    millpond_wait_log(m, "read anew, since it has changed: 1 users", 1);
    assert_int_equal(status_of(m, "/q", ALICE), 401); /* although it is remembered */
    assert_int_equal(status_of(m, "/q", BOB), 200);
    support_write_file(users_path(), "bob:secret\n");
    millpond_wait_log(m, "the users read before stay in use", 1);
    millpond_wait_log(m, textf("basic_auth: %s:1: \"bob\" has no hash that is known", users_path()), 1);
    assert_int_equal(status_of(m, "/q", BOB), 200);
    struct proc_result r = millpond_cli(m, "reload", NULL);
    assert_int_equal(r.exit_code, 1);
    assert_int_equal(status_of(m, "/q", BOB), 200);
    millpond_stop(m);
    expect_not_in(capture_text(&m->proc->err), "secret");
}

static void a_file_that_cannot_be_read_now_is_read_later(void **state)
{
    UNUSED(state);
    struct millpond *m = start("workers = 1", "");
    struct rlimit before, none = {3, 0};
    assert_int_equal(status_of(m, "/q", ALICE), 200);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, NULL, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &none, NULL), 0);
    support_write_file(users_path(), user_line("bob", "pass:word", QUICK));
    millpond_wait_log(m, "the users read before stay in use", 1);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &before, NULL), 0);
    millpond_wait_log(m, "read anew, since it has changed: 1 users", 1);
    assert_int_equal(status_of(m, "/q", ALICE), 401);
    millpond_stop(m);
}

static void check_names_each_bad_line(void **state)
{
    UNUSED(state);
    const char *ini = support_path("check.ini");
    support_write_file(users_path(), textf("a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n%sb:plain\n",
                                           user_line("c", "secret", QUICK)));
    support_write_file(
        ini, textf("[pool app]\nserver = 127.0.0.1:1\n[route web]\nbasic_auth = %s\n", users_path()));
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(r.out,
              textf("check.ini:4: [route web] basic_auth: %s:1: \"a\" has a {SHA} hash", users_path()));
    expect_in(r.out, textf("basic_auth: %s:3: \"b\" has no hash that is known", users_path()));
    expect_in(r.out, "2 problems");
    expect_not_in(r.out, "plain");
    unlink(users_path());
    r = millpond_run("check", "-c", ini, NULL);
    expect_in(r.out, "No such file or directory; name a file that htpasswd wrote");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_shows_nothing_is_challenged),
        TEST(only_the_right_ones_pass),
        TEST(all_kinds_of_hashes_are_checked),
        TEST(it_is_in_the_log_and_the_metrics),
        TEST(addresses_and_limits_go_first),
        TEST(what_a_route_answers_itself_is_guarded),
        TEST(what_is_stored_is_guarded_and_shared),
        TEST(a_told_user_is_not_shared),
        TEST(nobody_says_who_he_is),
        TEST(http2_is_no_way_around),
        TEST(many_at_once_wait_for_one_hash),
        TEST(a_slow_hash_holds_up_nobody),
        TEST(a_flood_gets_503_and_those_known_pass),
        TEST(clients_that_leave_are_forgotten),
        TEST(a_changed_file_is_read_anew),
        TEST(a_file_that_cannot_be_read_now_is_read_later),
        TEST(check_names_each_bad_line),
    };
    return E2E_RUN("basic_auth", tests);
}
