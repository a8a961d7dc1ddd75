/* test_calm_page.c: which files are taken, what is said of others, after which ends of a fetch the page is
 * shown, and that it stays while it is on its way. */
#include "proxy/calm_page.h"

#include <sys/stat.h>

#include "instance_fixture.h"
#include "proxy/grpc.h"

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

static char dir[] = "/tmp/calm_page_XXXXXX", path[sizeof dir + 32];

/* A file of so many bytes, in `path`. */
static void write_page(const char *name, size_t bytes)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (size_t i = 0; i < bytes; i++)
        putc('a' + (int)(i % 23), f);
    assert_int_equal(fclose(f), 0);
}

static bool load(const char *file, struct calm_page **out, char *err, size_t err_bytes)
{
    char ini[512];
    snprintf(ini, sizeof ini, "[listen x]\naddress = 127.0.0.1:1\n" FIX_APP "[route r]\n%s%s\n",
             *file != '\0' ? "calm_page = " : "", file);
    struct config *c = fix_config(ini);
    *err = '\0';
    const bool ok = calm_page_load(c, &c->routes[0], out, err, err_bytes);
    config_unref(c);
    return ok;
}

static void expect_loads(const char *file, bool any)
{
    struct calm_page *p;
    char err[256];
    const bool ok = load(file, &p, err, sizeof err);
    assert_string_equal(err, "");
    assert_true(ok);
    assert_int_equal(p != NULL, any);
    calm_page_free(p);
}

static void expect_refused(const char *file, const char *why)
{
    struct calm_page *p;
    char err[256], want[256];
    snprintf(want, sizeof want, "test.ini:7: [route r] calm_page: %s: %s", file, why);
    assert_false(load(file, &p, err, sizeof err));
    assert_string_equal(err, want);
    assert_null(p);
}

/* ---- files ---- */

static void test_files(void **state)
{
    UNUSED(state);
    const int free_fd = dup(0);
    assert_true(free_fd >= 0);
    close(free_fd);
    expect_loads("", false);
    write_page("p.html", 0);
    expect_loads(path, true);
    write_page("p.json", CALM_PAGE_MAX_BYTES);
    expect_loads(path, true);
    write_page("p.json", CALM_PAGE_MAX_BYTES + 1);
    expect_refused(path, "it is larger than 256K; make it smaller");
    write_page("p.css", 1);
    expect_refused(path, "its suffix says no type; name a .html, .txt, .json or .xml file");
    snprintf(path, sizeof path, "%s/gone.html", dir);
    expect_refused(path, "No such file or directory; name a readable file");
    snprintf(path, sizeof path, "%s/dir.html", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refused(path, "it is no file; name one");
    snprintf(path, sizeof path, "%s/fifo.html", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refused(path, "it is no file; name one"); /* and nobody waits for a writer */
    assert_int_equal(dup(0), free_fd);               /* all are closed again */
    close(free_fd);
}

static void test_no_memory_for_it(void **state)
{
    UNUSED(state);
    struct calm_page *p;
    unsigned refused = 0, n = 0;
    write_page("p.html", 5);
    struct config *c;
    char ini[512], err[256];
    snprintf(ini, sizeof ini, "[listen x]\naddress = 127.0.0.1:1\n" FIX_APP "[route r]\ncalm_page = %s\n",
             path);
    c = fix_config(ini);
    do {
        no_memory_at(++n);
        *err = '\0';
        const bool ok = calm_page_load(c, &c->routes[0], &p, err, sizeof err);
        no_memory.fails_at = 0;
        assert_int_equal(ok, p != NULL);
        if (!ok)
            assert_non_null(strstr(err, ": out of memory"));
        refused += !ok;
        calm_page_free(p);
    } while (no_memory.failed);
    config_unref(c);
    assert_int_equal(refused, 1);
    assert_int_equal(n, 3); /* without memory to make it smaller, it stays as it is */
}

/* ---- answers ---- */

static char *route_lines(const char *name, size_t bytes)
{
    static char lines[512];
    write_page(name, bytes);
    snprintf(lines, sizeof lines, "retries = 0\n[route r]\ncalm_page = %s\n", path);
    return lines;
}

static void test_after_which_ends(void **state)
{
    UNUSED(state);
    static const enum fetch_error calm[] = {FETCH_NO_INSTANCE,    FETCH_QUEUE_FULL,      FETCH_QUEUE_TIMEOUT,
                                            FETCH_QUEUE_SHED,     FETCH_CONNECT_REFUSED, FETCH_CONNECT_FAILED,
                                            FETCH_CONNECT_TIMEOUT};
    struct inst_fix o;
    struct grpc_call call = {.status = 0};
    const uint64_t before = metrics_total(METRIC_CALM_PAGES);
    unsigned shown = 0;
    inst_start(&o, false, route_lines("p.txt", 8));
    struct client_conn *c = fix_client(&o.f, "192.0.2.7:1", &o.client[0].fd);
    for (unsigned i = 0; i < 2 * FETCH_ERROR_COUNT; i++) {
        const enum fetch_error e = (enum fetch_error)(i / 2);
        struct exchange *x = fix_exchange(&o.f, c, GET);
        bool is_calm = false;
        for (unsigned k = 0; k < ARRAY_LEN(calm); k++)
            is_calm |= calm[k] == e;
        x->grpc = i % 2 == 0 ? NULL : &call; /* whose clients would not read it */
        calm_page_or_error(x, e, 502);
        if (is_calm && x->grpc == NULL) {
            assert_int_equal(x->status, 503);
            assert_true(slice_eq(x->local_body, SLICE_LIT("abcdefgh")));
            assert_true(slice_eq(x->local_type, SLICE_LIT("text/plain; charset=utf-8")));
            shown++;
        } else if (x->grpc == NULL) {
            assert_int_equal(x->status, 502);
            assert_false(slice_eq(x->local_body, SLICE_LIT("abcdefgh")));
        } else {
            assert_int_equal(x->local_body.len, 0);
        }
        x->grpc = NULL;
        fix_drop(x);
        c->exchange = NULL;
    }
    assert_int_equal(shown, ARRAY_LEN(calm));
    assert_int_equal(metrics_total(METRIC_CALM_PAGES) - before, shown);
    inst_end(&o);
}

/* The instance is there, and answers ill, or breaks: that is its own. */
static void test_not_for_what_instances_do(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false, route_lines("p.txt", 8));
    inst_ask(&o, 0, GET);
    INST_UNTIL(&o, inst_is_asked(&o, 0));
    inst_say(&o, 0, "HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nown");
    INST_UNTIL(&o, inst_has(&o, 0, "own"));
    inst_ask(&o, 1, GET);
    INST_UNTIL(&o, fix_count(o.conn[0]->in, "\r\n\r\n") == 2);
    inst_say(&o, 0, "H");
    inst_turn(&o);
    inst_break(&o, 0);
    INST_UNTIL(&o, inst_has(&o, 1, "HTTP/1.1 502"));
    assert_false(inst_has(&o, 1, "abcdefgh"));
    inst_end(&o);
}

/* Two are being shown it when a configuration without it comes. */
static void test_outlives_its_configuration(void **state)
{
    UNUSED(state);
    const size_t bytes = 12 * KB;
    const int room = 1;
    struct inst_fix o;
    inst_start(&o, false, route_lines("p.html", bytes));
    close(o.listener[0]);
    o.listener[0] = -1;
    struct config *c = fix_config("[listen x]\naddress = 127.0.0.1:1\n" FIX_APP "[route r]\n");
    char err[256];
    struct snapshot *next = snapshot_build(c, o.f.balancer, err, sizeof err);
    assert_non_null(next);
    config_unref(c);
    struct client_conn *both[2];
    for (unsigned i = 0; i < 2; i++) {
        both[i] = fix_client(&o.f, "192.0.2.7:1", &o.client[i].fd);
        assert_int_equal(setsockopt(both[i]->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
        inst_client_send(&o, i, GET, strlen(GET));
        client_conn_start(both[i]);
    }
    INST_UNTIL(&o, o.client[0].got_bytes > 0 && o.client[1].got_bytes > 0);
    assert_true(o.client[0].got_bytes < bytes && o.client[1].got_bytes < bytes);
    proxy_worker_use(o.f.pw, snapshot_ref(next));
    snapshot_unref(o.f.snapshot);
    o.f.snapshot = next;
    balancer_set_activate(o.f.balancer, next->balancers);
    for (unsigned i = 0; i < 2; i++) {
        INST_UNTIL(&o, inst_has(&o, i, "\r\n\r\n") && o.client[i].got + o.client[i].got_bytes ==
                                                          strstr(o.client[i].got, "\r\n\r\n") + 4 + bytes);
        const char *body = strstr(o.client[i].got, "\r\n\r\n") + 4;
        assert_true(inst_has(&o, i, "HTTP/1.1 503") && inst_has(&o, i, "Content-Type: text/html"));
        for (size_t b = 0; b < bytes; b++)
            assert_int_equal(body[b], 'a' + (int)(b % 23));
    }
    inst_end(&o);
}

/* ---- no memory ---- */

static void begin(struct inst_fix *o)
{
    inst_start(o, false, route_lines("p.txt", 8));
    close(o->listener[0]);
    o->listener[0] = -1;
}

static void play(struct inst_fix *o)
{
    inst_ask(o, 0, GET);
    INST_UNTIL(o, o->f.pw->exchange_count == 0);
}

static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 0, "abcdefgh"));
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin, play, after);
}

static int setup(void **state)
{
    assert_non_null(mkdtemp(dir));
    return fix_group_setup(state);
}

static int teardown(void **state)
{
    static const char *const names[] = {"p.html", "p.json", "p.css", "p.txt", "dir.html", "fifo.html"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        remove(path);
    }
    rmdir(dir);
    return fix_group_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_no_memory_for_it),
        cmocka_unit_test(test_after_which_ends),
        cmocka_unit_test(test_not_for_what_instances_do),
        cmocka_unit_test(test_outlives_its_configuration),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/calm_page", tests, setup, teardown);
}
