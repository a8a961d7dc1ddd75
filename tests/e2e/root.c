/* root.c: routes that serve files: what is found and what is not, conditions and ranges, what is stored and
 * for how long, and files that change or vanish while they are served. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <utime.h>

#include "tests/support/h2.h"
#include "tests/support/millpond.h"

static char *root_path_of(const char *name)
{
    return textf("%s/%s", support_path("www"), name);
}

/* Written an hour ago, so that its ETag is a strong one. */
static void put_file(const char *name, const char *content)
{
    const time_t then = time(NULL) - 3600;
    support_write_file(root_path_of(name), content);
    const struct utimbuf times = {then, then};
    assert_int_equal(utime(root_path_of(name), &times), 0);
}

static void put_big(const char *name, size_t bytes)
{
    const int fd = open(root_path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    char block[4096];
    for (size_t i = 0; i < sizeof block; i++)
        block[i] = (char)('a' + i % 26);
    for (size_t at = 0; at < bytes; at += sizeof block)
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
    close(fd);
    const time_t then = time(NULL) - 3600;
    const struct utimbuf times = {then, then};
    assert_int_equal(utime(root_path_of(name), &times), 0);
}

static void make_site(void)
{
    assert_int_equal(mkdir(support_path("www"), 0755), 0);
    assert_int_equal(mkdir(root_path_of("sub"), 0755), 0);
    assert_int_equal(mkdir(root_path_of(".git"), 0755), 0);
    put_file("index.html", "<p>home");
    put_file("a.css", "body{}");
    put_file("sub/index.html", "<p>sub");
    put_file("sub/b c.txt", "0123456789");
    put_file(".git/config", "secret");
    put_file(".env", "secret");
    support_write_file(support_path("outside"), "secret");
    assert_int_equal(symlink("../outside", root_path_of("link")), 0);
    assert_int_equal(symlink("a.css", root_path_of("alias.css")), 0);
}

/* `rest` goes on in the route. */
static struct millpond *start_with(const char *cache, const char *rest)
{
    make_site();
    return millpond_start(.main = "workers = 1", .cache = cache,
                          .rest = textf("[route files]\nroot = %s\n%s", support_path("www"), rest));
}

static struct millpond *start(const char *rest)
{
    return start_with(NULL, rest);
}

static const char *etag_of(struct millpond *m, const char *target)
{
    const char *etag = message_field(client_ask(m->port, "HEAD", target, "", ""), "ETag");
    EXPECT(etag != NULL, "no ETag");
    return etag;
}

/* ---- what is found ---- */

static void files_are_served(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    const struct message *r = client_get(m->port, "/a.css?v=1", "");
    expect_status(r, 200);
    expect_body(r, "body{}");
    expect_field(r, "Content-Type", "text/css; charset=utf-8");
    expect_field(r, "Content-Length", "6");
    expect_field(r, "Accept-Ranges", "bytes");
    expect_field_in(r, "ETag", "\"");
    expect_field_in(r, "Last-Modified", " GMT");
    expect_field(r, "Server", "millpond");
    expect_body(client_get(m->port, "/", ""), "<p>home");
    expect_body(client_get(m->port, "/sub/", ""), "<p>sub");
    expect_body(client_get(m->port, "/sub/b%20c.txt", ""), "0123456789");
    expect_body(client_get(m->port, "/alias.css", ""), "body{}");
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /a.css HTTP/1.1\r\nHost: test\r\n\r\n");
    r = client_read_no_body(c);
    expect_status(r, 200);
    expect_field(r, "Content-Length", "6");
    r = client_get(m->port, "/sub?x=1", "");
    expect_status(r, 301);
    expect_field(r, "Location", "/sub/?x=1");
    json_t *line = millpond_access_line(m, "/sub/b%20c.txt");
    assert_string_equal(json_string_value(json_object_get(line, "route")), "files");
    expect_in(millpond_cli(m, "explain", "http://test/a.css", NULL).out,
              textf("files from %s", support_path("www")));
    millpond_stop(m);
}

static void nothing_else_is_found(void **state)
{
    static const char *const targets[] = {"/none",   "/a.css/",           "/a.css/b",        "/.git/config",
                                          "/.env",   "/sub/../.env",      "/%2e%2e/outside", "/../outside",
                                          "/link",   "/sub%2findex.html", "/a.css%00",       "/a%5ccss",
                                          "//a.css", "/sub//index.html"};
    UNUSED(state);
    struct millpond *m = start("");
    struct client *c = client_open(m->port);
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", targets[i]);
        const struct message *r = client_read(c);
        EXPECT(r->status == 404 || r->status == 400, "%s: %d", targets[i], r->status);
        expect_not_in(r->body, "secret");
    }
    assert_int_equal(mkfifo(root_path_of("fifo"), 0644), 0);
    expect_status(client_get(m->port, "/fifo", ""), 404);
    mkdir(root_path_of("empty"), 0755);
    expect_status(client_get(m->port, "/empty/", ""), 404);
    millpond_stop(m);
}

static void only_reading_is_allowed(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    const struct message *r = client_ask(m->port, "POST", "/a.css", "", "hi");
    expect_status(r, 405);
    expect_field(r, "Allow", "GET, HEAD");
    expect_status(client_ask(m->port, "DELETE", "/a.css", "", ""), 405);
    expect_status(client_ask(m->port, "OPTIONS", "/a.css", "", ""), 405);
    r = client_raw(m->port, "GET /a.css HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n");
    expect_body(r, "body{}"); /* a body that nobody reads */
    millpond_stop(m);
}

static void a_query_is_not_told_to_others(void **state)
{
    UNUSED(state);
    struct millpond *m = start("ttl = 1h\nkey_query = none\n");
    expect_field(client_get(m->port, "/sub?token=1", ""), "Location", "/sub/");
    const struct message *r = client_get(m->port, "/sub", "");
    expect_field(r, "Location", "/sub/");
    expect_field_in(r, "Cache-Status", "millpond; hit");
    millpond_stop(m);
}

/* What one client sends beside the URL does not make others believe that there is no such file. */
static void many_fields_are_no_404(void **state)
{
    UNUSED(state);
    make_site();
    struct millpond *m =
        millpond_start(.main = "workers = 1", .listen = "max_headers = 1000",
                       .rest = textf("[route files]\nroot = %s\nttl = 1h\n", support_path("www")));
    char fields[998 * 6 + 1];
    for (size_t i = 0; i < 998; i++)
        memcpy(fields + i * 6, "A: b\r\n", 7);
    expect_status(client_get(m->port, "/a.css", fields), 503);
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    millpond_stop(m);
}

/* ---- conditions and ranges, stored or not ---- */

static void expect_conditions(struct millpond *m)
{
    const char *etag = etag_of(m, "/sub/b%20c.txt"),
               *modified = message_field(client_get(m->port, "/sub/b%20c.txt", ""), "Last-Modified");
    struct client *c = client_open(m->port);
    client_send(c, "GET /sub/b%%20c.txt HTTP/1.1\r\nHost: test\r\nIf-None-Match: %s\r\n\r\n", etag);
    const struct message *r = client_read_no_body(c);
    expect_status(r, 304);
    expect_field(r, "ETag", etag);
    client_send(c, "GET /sub/b%%20c.txt HTTP/1.1\r\nHost: test\r\nIf-Modified-Since: %s\r\n\r\n", modified);
    expect_status(client_read_no_body(c), 304);
    expect_status(client_get(m->port, "/sub/b%20c.txt", "If-Match: \"x\"\r\n"), 412);
    r = client_get(m->port, "/sub/b%20c.txt", "Range: bytes=2-4\r\n");
    expect_status(r, 206);
    expect_body(r, "234");
    expect_field(r, "Content-Range", "bytes 2-4/10");
    r = client_get(m->port, "/sub/b%20c.txt", textf("Range: bytes=-3\r\nIf-Range: %s\r\n", etag));
    expect_status(r, 206);
    expect_body(r, "789");
    expect_body(client_get(m->port, "/sub/b%20c.txt", "Range: bytes=2-4\r\nIf-Range: \"x\"\r\n"),
                "0123456789");
    r = client_get(m->port, "/sub/b%20c.txt", "Range: bytes=10-\r\n");
    expect_status(r, 416);
    expect_field(r, "Content-Range", "bytes */10");
}

static void conditions_hold_for_what_is_stored(void **state)
{
    UNUSED(state);
    struct millpond *m = start("ttl = 1h\n");
    expect_conditions(m);
    millpond_stop(m);
}

static void conditions_hold_without_a_cache(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("store = off", "");
    expect_conditions(m);
    millpond_stop(m);
}

static void what_is_stored_is_confirmed_or_renewed(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("heuristic = off", "");
    expect_field_in(client_get(m->port, "/a.css", ""), "Cache-Status", "fwd=uri-miss");
    put_file("a.css", "other!"); /* as long, and an hour old as well */
    const struct utimbuf times = {time(NULL) - 1800, time(NULL) - 1800};
    assert_int_equal(utime(root_path_of("a.css"), &times), 0);
    expect_body(client_get(m->port, "/a.css", ""), "other!");
    millpond_stop(m);
}

/* Builds that are to come out the same each time give all files one time. */
static void files_without_a_time_are_told_apart(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("heuristic = off", "");
    const struct utimbuf none = {1, 1};
    assert_int_equal(utime(root_path_of("a.css"), &none), 0);
    char *etag = textf("%s", etag_of(m, "/a.css"));
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    put_file("new", "other!");
    assert_int_equal(utime(root_path_of("new"), &none), 0);
    assert_int_equal(rename(root_path_of("new"), root_path_of("a.css")), 0);
    expect_body(client_get(m->port, "/a.css", ""), "other!");
    expect_body(client_get(m->port, "/a.css", textf("If-None-Match: %s\r\n", etag)), "other!");
    const struct timespec far[2] = {{.tv_sec = INT64_C(12000000000)}, {.tv_sec = INT64_C(12000000000)}};
    assert_int_equal(utimensat(AT_FDCWD, root_path_of("a.css"), far, 0), 0);
    expect_body(client_get(m->port, "/a.css", ""), "other!");
    millpond_stop(m);
}

static void a_ttl_keeps_it_and_a_purge_ends_that(void **state)
{
    UNUSED(state);
    struct millpond *m = start("ttl = 1h\ntags = site\n");
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    put_file("a.css", "other");
    const struct message *r = client_get(m->port, "/a.css", "");
    expect_body(r, "body{}");
    expect_field_in(r, "Cache-Status", "millpond; hit");
    r = client_get(m->port, "/a.css", "Cookie: session=1\r\nAuthorization: Basic YTph\r\n");
    expect_field_in(r, "Cache-Status", "millpond; hit"); /* files are the same for everybody */
    millpond_purge(m, url_of("/a.css"));
    expect_body(client_get(m->port, "/a.css", ""), "other");
    millpond_stop(m);
}

static void stale_files_are_confirmed(void **state)
{
    UNUSED(state);
    struct millpond *m = start("ttl = 0\nstale_if_error = 1h\n");
    struct client *c = client_open(m->port);
    for (int i = 0; i < 3; i++) {
        client_send(c, "GET /a.css HTTP/1.1\r\nHost: test\r\n\r\n");
        expect_body(client_read(c), "body{}");
    }
    millpond_stop(m);
}

/* ---- large ones ---- */

#define BIG (24 * MB)

static void expect_big(const struct message *r, size_t bytes)
{
    expect_status(r, 200);
    assert_int_equal(r->body_len, bytes);
    for (size_t i = 0; i < bytes; i += 997)
        assert_int_equal(r->body[i], 'a' + i % 4096 % 26);
}

static void big_files_are_stored_or_passed(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("memory_size = 64M", "ttl = 1h\nmax_object_size = 16M\n");
    put_big("big", BIG);
    put_big("middle", 8 * MB);
    for (int i = 0; i < 2; i++) {
        expect_big(client_get(m->port, "/big", ""), BIG);
        expect_big(client_get(m->port, "/middle", ""), 8 * MB);
    }
    expect_field_in(client_get(m->port, "/middle", "Range: bytes=0-0\r\n"), "Cache-Status", "millpond; hit");
    const struct message *r = client_get(m->port, "/big", "Range: bytes=8388608-8388611\r\n");
    expect_status(r, 206);
    expect_body(r, "abcd");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void a_slow_reader_holds_up_nobody(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("store = off", "");
    put_big("big", BIG);
    struct client *slow = client_open_rcvbuf(m->port, 4096);
    client_send(slow, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_head(slow), 200);
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    assert_int_equal(unlink(root_path_of("big")), 0); /* what was opened is served */
    client_wait_bytes(slow, BIG);
    client_reset(slow);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void a_file_that_gets_shorter_is_cut(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("store = off", "");
    put_big("big", BIG);
    struct client *c = client_open_rcvbuf(m->port, 4096);
    client_send(c, "GET /big HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_head(c), 200);
    assert_int_equal(truncate(root_path_of("big"), 4096), 0);
    size_t got = 0;
    char block[65536];
    for (ssize_t n; (n = read(c->wire.fd, block, sizeof block)) > 0;)
        got += (size_t)n;
    assert_true(got < BIG);
    millpond_wait_access(m, "\"close\":\"upstream_cut\"", 1);
    millpond_stop(m);
}

static void clients_that_leave_are_forgotten(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("memory_size = 64M", "ttl = 1h\n");
    put_big("big", BIG);
    expect_big(client_get(m->port, "/big?0", ""), BIG);
    client_close_all();
    millpond_wait_idle(m);
    const unsigned before = millpond_fds(m);
    for (int i = 0; i < 8; i++) {
        struct client *c = client_open_rcvbuf(m->port, 4096);
        client_send(c, "GET /big?%d HTTP/1.1\r\nHost: test\r\n\r\n", 1 + i % 4);
        expect_status(client_read_head(c), 200);
        client_reset(c);
    }
    millpond_wait_idle(m);
    expect_big(client_get(m->port, "/big?1", ""), BIG);
    client_close_all();
    millpond_wait_idle(m);
    EXPECT(millpond_fds(m) <= before + 1, "%u descriptors, %u before", millpond_fds(m), before);
    millpond_stop(m);
}

static void http2_gets_them_too(void **state)
{
    UNUSED(state);
    make_site();
    struct millpond *m =
        millpond_start(.main = "workers = 1", .listen = "protocols = h2c, http/1.1", .cache = "store = off",
                       .rest = textf("%s[route app]\npath = /app\n[route files]\nroot = %s\n",
                                     pool_lines("app", 1, origin_start_named("app")), support_path("www")));
    put_big("big", 1 * MB);
    struct h2_client *c = h2_open(m->port);
    h2_get(c, 1, "/a.css");
    h2_get(c, 3, "/big");
    h2_get(c, 5, "/none");
    h2_expect(c, 1, 200, "body{}");
    h2_expect(c, 3, 200, NULL);
    assert_int_equal(h2_answer(c, 3)->body_len, 1 * MB);
    h2_expect(c, 5, 404, NULL);
    h2_headers(c, 0, 7, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority",
               "test", ":path", "/a.css", "sec-websocket-version", "13");
    h2_wait_head(c, 7); /* by HTTP/2 a 200 would be a WebSocket */
    EXPECT(h2_answer(c, 7)->status >= 400, "status %d", h2_answer(c, 7)->status);
    millpond_stop(m);
}

static void slices_of_files(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("memory_size = 64M", "ttl = 1h\nslice = 1M\n");
    put_big("big", BIG);
    const struct message *r = client_get(m->port, "/big", "Range: bytes=8388608-8388611\r\n");
    expect_status(r, 206);
    expect_body(r, "abcd");
    expect_big(client_get(m->port, "/big", ""), BIG);
    millpond_stop(m);
}

/* ---- bad days ---- */

static void without_its_folder_it_is_503_and_stale(void **state)
{
    UNUSED(state);
    struct millpond *m = start("ttl = 1ms\nstale_if_error = 1h\n");
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    assert_int_equal(rename(support_path("www"), support_path("away")), 0);
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    expect_status(client_get(m->port, "/sub/", ""), 503);
    millpond_wait_log(m, "cannot be opened: No such file or directory", 1);
    json_t *line = millpond_access_line(m, "\"status\":503");
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), "no_folder");
    assert_int_equal(rename(support_path("away"), support_path("www")), 0);
    expect_body(client_get(m->port, "/sub/", ""), "<p>sub");
    millpond_stop(m);
}

static void without_descriptors_it_is_503(void **state)
{
    UNUSED(state);
    struct millpond *m = start_with("store = off", "");
    struct rlimit before;
    struct rlimit none = {3, 0};
    struct client *c = client_open(m->port);
    client_send(c, "GET /a.css HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "body{}");
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, NULL, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &none, NULL), 0);
    client_send(c, "GET /a.css HTTP/1.1\r\nHost: test\r\n\r\n");
    const struct message *r = client_read(c);
    assert_int_equal(prlimit(m->proc->pid, RLIMIT_NOFILE, &before, NULL), 0);
    expect_status(r, 503);
    client_send(c, "GET /a.css HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_body(client_read(c), "body{}");
    json_t *line = millpond_access_line(m, "\"status\":503");
    assert_string_equal(json_string_value(json_object_get(line, "fetch_error")), "no_memory");
    millpond_stop(m);
}

static void a_swapped_link_is_followed(void **state)
{
    UNUSED(state);
    make_site();
    assert_int_equal(mkdir(support_path("next"), 0755), 0);
    support_write_file(textf("%s/a.css", support_path("next")), "next");
    assert_int_equal(symlink("www", support_path("current")), 0);
    struct millpond *m = millpond_start(.main = "workers = 1", .cache = "store = off",
                                        .rest = textf("[route files]\nroot = %s\n", support_path("current")));
    expect_body(client_get(m->port, "/a.css", ""), "body{}");
    assert_int_equal(symlink("next", support_path("new")), 0);
    assert_int_equal(rename(support_path("new"), support_path("current")), 0);
    expect_body(client_get(m->port, "/a.css", ""), "next");
    millpond_stop(m);
}

static void check_says_what_is_missing(void **state)
{
    UNUSED(state);
    const char *ini = support_path("check.ini");
    support_write_file(ini, "[route files]\nroot = /nowhere/at/all\n");
    struct proc_result r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 0);
    expect_in(r.out, "check.ini:2: [route files] root: /nowhere/at/all is no folder that can be found");
    support_write_file(ini, "[pool app]\nserver = 127.0.0.1:1\n[route files]\nroot = /tmp\npool = app\n");
    r = millpond_run("check", "-c", ini, NULL);
    assert_int_equal(r.exit_code, 2);
    expect_in(r.out, "keep one of pool, split, root, redirect and respond");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(files_are_served),
        E2E_TEST(nothing_else_is_found),
        E2E_TEST(only_reading_is_allowed),
        E2E_TEST(a_query_is_not_told_to_others),
        E2E_TEST(many_fields_are_no_404),
        E2E_TEST(conditions_hold_for_what_is_stored),
        E2E_TEST(conditions_hold_without_a_cache),
        E2E_TEST(what_is_stored_is_confirmed_or_renewed),
        E2E_TEST(files_without_a_time_are_told_apart),
        E2E_TEST(a_ttl_keeps_it_and_a_purge_ends_that),
        E2E_TEST(stale_files_are_confirmed),
        E2E_TEST(big_files_are_stored_or_passed),
        E2E_TEST(a_slow_reader_holds_up_nobody),
        E2E_TEST(a_file_that_gets_shorter_is_cut),
        E2E_TEST(clients_that_leave_are_forgotten),
        E2E_TEST(http2_gets_them_too),
        E2E_TEST(slices_of_files),
        E2E_TEST(without_its_folder_it_is_503_and_stale),
        E2E_TEST(without_descriptors_it_is_503),
        E2E_TEST(a_swapped_link_is_followed),
        E2E_TEST(check_says_what_is_missing),
    };
    return E2E_RUN("root", tests);
}
