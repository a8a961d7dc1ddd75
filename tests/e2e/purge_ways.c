/* purge_ways.c: every way to ask for a purge, each with exactly what it is to remove; who may; and what is
 * refused with advice. That a purge is final whatever is under way is in cache_purge.c. */
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define LONG "Cache-Control: max-age=600\r\n"

/* Each answer has a number of its own; what it is tagged with depends on the path. */
static void site_script(struct origin_conn *c, const struct message *request, void *arg)
{
    _Atomic unsigned *answers = arg;
    const char *tags = strncmp(request->target, "/a", 2) == 0 ? "Surrogate-Key: red common\r\n"
                       : strncmp(request->target, "/img/", 5) == 0
                           ? "xkey: img common\r\nContent-Type: application/octet-stream\r\n"
                           : "Cache-Tag: blue, common\r\n";
    char fields[128], body[32];
    snprintf(fields, sizeof(fields), LONG "%s", tags);
    snprintf(body, sizeof(body), "%u", ++*answers);
    origin_respond(c, 200, fields, body);
}

static const struct {
    const char *host, *target;
} site[] = {{"test", "/a?x=1"},     {"test", "/a?x=2"},     {"test", "/b"},
            {"test", "/img/x.png"}, {"test", "/img/y.css"}, {"other:8080", "/b"}};

#define ALL_PAGES "111111"

static _Atomic unsigned site_answers;

static struct millpond *site_start(const char *cache)
{
    site_answers = 0;
    struct origin *o = origin_start(site_script, (void *)&site_answers);
    return millpond_start(.main = "workers = 2", .cache = cache, .rest = pool_lines("app", 1, o));
}

static unsigned site_get(struct millpond *m, size_t page)
{
    struct message *r = client_raw(m->port, textf("GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                                                  site[page].target, site[page].host));
    expect_status(r, 200);
    return (unsigned)strtoul(r->body, NULL, 10);
}

static void site_get_all(struct millpond *m, unsigned numbers[ARRAY_LEN(site)])
{
    for (size_t i = 0; i < ARRAY_LEN(site); i++)
        numbers[i] = site_get(m, i);
}

/* `gone`: a digit per page of the site; `before`: what each was, which becomes what it is. */
#define expect_gone(m, before, gone, what) (SUPPORT_AT, expect_gone_(m, before, gone, what))
static void expect_gone_(struct millpond *m, unsigned before[ARRAY_LEN(site)], const char *gone,
                         const char *what)
{
    char got[ARRAY_LEN(site) + 1] = "";
    for (size_t i = 0; i < ARRAY_LEN(site); i++) {
        unsigned now = site_get(m, i);
        got[i] = now != before[i] ? '1' : '0';
        before[i] = now;
    }
    if (strcmp(got, gone) != 0)
        support_fail("%s: gone is %s, not %s", what, got, gone);
}

/* ---- the ways ---- */

static void commands(void **state)
{
    UNUSED(state);
    static const struct {
        const char *args[4];
        const char *gone, *said;
    } rows[] = {
        {{"http://test/a?x=1"}, "100000", "purged: http://test/a?x=1\n"},
        {{"test/b"}, "001000", ": 1 stored response removed\n"},
        {{"https://test/b", "http://Other:8080/b"}, "001001", ": 2 stored responses removed\n"},
        {{"http://test/a", "--any-query"}, "110000", "whatever its query"},
        {{"http://test/nothing"}, "000000", ": 0 stored responses removed\n"},
        {{"--tag", "red"}, "110000", "purged: tag red\n"},
        {{"--tag", "blue", "--tag", "img"}, "001111", "purged: tag img\n"},
        {{"--prefix", "http://test/img/"}, "000110", "purged: prefix http://test/img/\n"},
        {{"--glob", "*.png"}, "000100", "purged: glob *.png\n"},
        {{"--glob", "http://test/*?x=?"}, "110000", "event "},
        {{"--host", "test"}, "111110", "purged: host test\n"},
        {{"--host", "other:8080", "--wait"}, "000001", "event "},
        {{"--all"}, ALL_PAGES, "purged: everything\n"},
    };
    struct millpond *m = site_start("");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *const *a = rows[i].args;
        struct proc_result r = millpond_cli(m, "purge", a[0], a[1], a[2], a[3], NULL);
        EXPECT(r.exit_code == 0, "%s: %s", a[0], r.err);
        expect_in(r.out, rows[i].said);
        expect_gone(m, numbers, rows[i].gone, textf("%s %s", a[0], a[1] != NULL ? a[1] : ""));
    }
    expect_in(millpond_wait_log(m, "(cli)", ARRAY_LEN(rows)), "asked by user ");
    millpond_stop(m);
}

static void a_command_that_is_half_wrong_does_nothing(void **state)
{
    UNUSED(state);
    struct millpond *m = site_start("");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    struct proc_result r = millpond_cli(m, "purge", "http://test/b", "/b", NULL);
    assert_int_equal(r.exit_code, 1);
    expect_in(r.err, "/b: a path alone does not say on which host");
    assert_int_equal(millpond_cli(m, "purge", "--all", "http://test/b", NULL).exit_code, 2);
    assert_int_equal(millpond_cli(m, "purge", "--soft", NULL).exit_code, 2);
    expect_gone(m, numbers, "000000", "half wrong");
    assert_int_equal(millpond_figure(m, "purges"), 0);
    millpond_stop(m);
}

static struct message *api_purge(struct millpond *m, const char *body)
{
    struct client *c = client_open(m->admin_port);
    client_send(c,
                "POST /api/purge HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer " MILLPOND_TOKEN
                "\r\n"
                "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                m->admin_port, strlen(body), body);
    return client_read(c);
}

static void api(void **state)
{
    UNUSED(state);
    static const struct {
        const char *body, *gone;
    } rows[] = {
        {"{\"url\": [\"http://test/b\", \"http://test/img/x.png\"]}", "001100"},
        {"{\"url\": \"http://test/a?x=9\", \"any_query\": true}", "110000"},
        {"{\"tags\": [\"red\", \"img\"]}", "110110"},
        {"{\"prefix\": \"http://test/a\"}", "110000"},
        {"{\"glob\": \"http://*/b\"}", "001001"},
        {"{\"host\": \"test\", \"tags\": [\"blue\"]}", ALL_PAGES},
        {"{\"all\": true}", ALL_PAGES},
    };
    struct millpond *m = site_start("");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    uint64_t last = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *r = api_purge(m, rows[i].body);
        expect_status(r, 200);
        json_t *said = json_loads(r->body, 0, NULL);
        uint64_t id = strtoull(json_string_value(json_object_get(said, "id")), NULL, 10);
        json_decref(said);
        EXPECT(id > last, "ids do not grow: %s", r->body);
        last = id;
        expect_gone(m, numbers, rows[i].gone, rows[i].body);
    }
    expect_status(api_purge(m, "{\"tags\": [\"red\"], \"sfot\": true}"), 400);
    expect_status(api_purge(m, "{\"url\": [\"http://test/b\", \"/b\"]}"), 400);
    expect_gone(m, numbers, "000000", "refused");
    millpond_wait_log(m, "asked by 127.0.0.1 (api)", ARRAY_LEN(rows));
    millpond_stop(m);
}

static struct message *method(struct millpond *m, const char *line, const char *fields)
{
    return client_raw(m->port,
                      textf("%s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n%s\r\n", line, fields));
}

static void methods(void **state)
{
    UNUSED(state);
    static const struct {
        const char *line, *fields, *gone;
    } rows[] = {
        {"PURGE /a?x=1", "", "100000"},
        {"PURGE /a", "Millpond-Purge: any-query\r\n", "110000"},
        {"PURGE http://other:8080/b", "", "000001"},
        {"PURGE /", "Surrogate-Key: red\r\n", "110000"},
        {"PURGE /", "Cache-Tag: red, img\r\n", "110110"},
        {"PURGE /", "xkey-purge: blue\r\n", "001001"},
        {"PURGE /", "xkey: blue img\r\n", "001111"},
        {"PURGEKEYS /", "xkey-purge: common\r\n", ALL_PAGES},
        {"PURGE /img/*", "", "000110"},
        {"PURGE /.*", "X-Purge-Method: regex\r\n", "111110"},
        {"PURGE /a", "Millpond-Purge: prefix\r\n", "110000"},
        {"PURGE /", "Millpond-Purge: host\r\n", "111110"},
        {"PURGE /", "Millpond-Purge: all\r\n", ALL_PAGES},
        {"BAN /b", "", "001000"},
        {"BAN /img/.*", "", "000110"},
        {"BAN /*.png", "", "000100"},
        {"BAN /", "X-Invalidate-Pattern: ^/img/\r\n", "000110"},
        {"BAN /", "X-Ban-Host: other:8080\r\nX-Ban-Url: /b\r\n", "000001"},
        {"BAN /", "X-Host: .*\r\nX-Url: b$\r\nX-Content-Type: .*\r\n", "001001"},
    };
    struct millpond *m = site_start("");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *r = method(m, rows[i].line, rows[i].fields);
        EXPECT(r->status == 200, "%s: %s", rows[i].line, r->body);
        expect_field(r, "Content-Type", "application/json");
        expect_in(r->body, "{\"id\":\"");
        expect_gone(m, numbers, rows[i].gone, textf("%s %s", rows[i].line, rows[i].fields));
    }
    assert_int_equal(millpond_figure(m, "purges"), ARRAY_LEN(rows));
    json_t *kinds = json_find(millpond_status(m), "purge_kinds"),
           *sources = json_find(millpond_status(m), "purge_sources");
    assert_int_equal(json_integer_value(json_object_get(kinds, "tag")), 7);
    assert_true(json_integer_value(json_object_get(sources, "method")) >= (json_int_t)ARRAY_LEN(rows));
    millpond_wait_log(m, "asked by 127.0.0.1 (method)", ARRAY_LEN(rows));
    millpond_stop(m);
}

/* ---- what is not done ---- */

static void what_cannot_be_done_is_refused_with_advice(void **state)
{
    UNUSED(state);
    static const struct {
        const char *line, *fields, *advice;
    } rows[] = {
        {"BAN /", "X-Url: ^/(a|b)$\r\n", "use a * in the path"},
        {"BAN /", "X-Host: ^(a|b)$\r\n", "one host"},
        {"BAN /", "X-Url: .*\r\nX-Content-Type: image/.*\r\n", "Surrogate-Key"},
        {"BAN /", "X-Cache-Tags: (red)(,.+)?$\r\n", "list tags in Surrogate-Key"},
        {"PURGE /", "X-Magento-Tags-Pattern: ((^|,)red(,|$))\r\n", "list tags in Surrogate-Key"},
        {"PURGEKEYS /", "", "list tags in Surrogate-Key"},
        {"PURGE /", "Surrogate-Key: \r\n", "name at least one"},
        {"PURGE /", "Millpond-Purge: evrything\r\n", "any-query"},
        {"PURGE /", "Surrogate-Key: red\r\nMillpond-Purge: all\r\n", "one request for each"},
    };
    struct millpond *m = site_start("");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct message *r = method(m, rows[i].line, rows[i].fields);
        EXPECT(r->status == 400, "%s %s: %d", rows[i].line, rows[i].fields, r->status);
        json_t *said = json_loads(r->body, 0, NULL);
        assert_non_null(json_object_get(said, "error"));
        json_decref(said);
        expect_in(r->body, rows[i].advice);
    }
    expect_gone(m, numbers, "000000", "refused");
    assert_int_equal(millpond_figure(m, "purges"), 0);
    millpond_stop(m);
}

static void nobody_else_may(void **state)
{
    UNUSED(state);
    static const char *const lines[] = {"PURGE /b", "PURGE /*", "PURGEKEYS /", "BAN /b", "BAN /*"};
    static const char *const fields[] = {"", "Surrogate-Key: common\r\n", "Millpond-Purge: all\r\n",
                                         "X-Forwarded-For: 10.0.0.1\r\n"};
    struct millpond *m = site_start("purge_from = 10.0.0.0/8");
    unsigned numbers[ARRAY_LEN(site)];
    site_get_all(m, numbers);
    for (size_t i = 0; i < ARRAY_LEN(lines) * ARRAY_LEN(fields); i++)
        expect_status(method(m, lines[i % ARRAY_LEN(lines)], fields[i / ARRAY_LEN(lines)]), 403);
    expect_gone(m, numbers, "000000", "not allowed");
    assert_int_equal(site_answers, ARRAY_LEN(site)); /* nothing was forwarded either */
    assert_int_equal(millpond_figure(m, "purges"), 0);
    millpond_stop(m);
}

/* ---- soft ---- */

static void a_soft_purge_serves_the_old_page_once_more(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p",
         .fields = "Cache-Control: max-age=600, stale-while-revalidate=600\r\nSurrogate-Key: t\r\n"},
        {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    static const char *const fields[] = {"Surrogate-Key: t\r\nFastly-Soft-Purge: 1\r\n",
                                         "xkey-softpurge: t\r\n", "Millpond-Purge: soft\r\n"};
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    for (unsigned i = 0; i < ARRAY_LEN(fields); i++) {
        struct message *r = method(m, "PURGE /p", fields[i]);
        expect_status(r, 200);
        expect_in(r->body, "\"soft\":true");
        r = client_get(m->port, "/p", "");
        expect_body(r, textf("/p#%u", i + 1));
        expect_field_in(r, "Cache-Status", "detail=stale_while_revalidate");
        millpond_wait_figure(m, "refreshes_in_flight", 0);
        assert_int_equal(pages[0].served, i + 2);
        r = client_get(m->port, "/p", "");
        expect_body(r, textf("/p#%u", i + 2));
        expect_field_in(r, "Cache-Status", "millpond; hit; ttl=");
    }
    struct proc_result said = millpond_cli(m, "purge", "--soft", "--tag", "t", NULL);
    expect_in(said.out, "purged softly: tag t\n");
    expect_body(client_get(m->port, "/p", ""), "/p#4");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    millpond_purge(m, url_of("/p")); /* a hard one leaves nothing to be served */
    expect_body(client_get(m->port, "/p", ""), "/p#6");
    millpond_stop(m);
    origin_stop(o);
}

static void a_softly_purged_page_is_confirmed(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = LONG "Surrogate-Key: t\r\n", .etag = "\"v1\""}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    expect_status(api_purge(m, "{\"tags\": \"t\", \"soft\": true}"), 200);
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    assert_int_equal(origin_requests(o), 2);
    expect_field(origin_request(o, 1), "If-None-Match", "\"v1\"");
    expect_body(client_get(m->port, "/p", ""), "/p#1");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
    origin_stop(o);
}

/* ---- tags under way ---- */

#define CONNECTIONS 16 /* that all of them are one worker's happens once in 2^15 runs */

static void a_tag_is_purged_for_every_worker(void **state)
{
    UNUSED(state);
    struct millpond *m = site_start("");
    struct client *clients[CONNECTIONS];
    for (size_t i = 0; i < CONNECTIONS; i++)
        clients[i] = client_open(m->port);
    unsigned seen = 0;
    for (unsigned round = 0; round < 20; round++) {
        for (size_t i = 0; i < CONNECTIONS; i++) {
            client_send(clients[i], "GET /b HTTP/1.1\r\nHost: test\r\n\r\n");
            struct message *r = client_read(clients[i]);
            expect_status(r, 200);
            unsigned now = (unsigned)strtoul(r->body, NULL, 10);
            EXPECT(i == 0 ? now > seen : now == seen, "round %u, connection %zu: answer %u after %u", round,
                   i, now, seen);
            seen = now;
        }
        expect_status(
            method(m, "PURGE /", round % 2 == 0 ? "Surrogate-Key: blue\r\n" : "Cache-Tag: none, blue\r\n"),
            200);
    }
    millpond_stop(m);
}

static void gated_script(struct origin_conn *c, const struct message *request, void *arg)
{
    gate_pass(arg);
    origin_respond(c, 200, LONG "Surrogate-Key: t\r\n", request->target);
}

static void a_tag_reaches_a_fetch_without_an_answer_yet(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct origin *o = origin_start(gated_script, g);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    expect_status(method(m, "PURGE /", "xkey-purge: t\r\n"), 200);
    gate_open(g);
    expect_body(client_read(c), "/p");
    for (unsigned i = 0; i < 2; i++) {
        expect_body(client_get(m->port, "/p", ""), "/p");
        assert_int_equal(origin_requests(o), 2);
    }
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(commands),
        E2E_TEST(a_command_that_is_half_wrong_does_nothing),
        E2E_TEST(api),
        E2E_TEST(methods),
        E2E_TEST(what_cannot_be_done_is_refused_with_advice),
        E2E_TEST(nobody_else_may),
        E2E_TEST(a_soft_purge_serves_the_old_page_once_more),
        E2E_TEST(a_softly_purged_page_is_confirmed),
        E2E_TEST(a_tag_is_purged_for_every_worker),
        E2E_TEST(a_tag_reaches_a_fetch_without_an_answer_yet),
    };
    return E2E_RUN("purge_ways", tests);
}
