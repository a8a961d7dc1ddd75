/* explain.c: `millpond explain` names the cause of what is always fetched, and the one edit it proposes makes
 * it a hit; what it says about the next request is what then happens. And the figures of the cache add up. */
#include <unistd.h>

#include "tests/support/millpond.h"
#include "tests/support/pages.h"
#include "tests/support/site.h"

#define GOOD "Cache-Control: max-age=60\r\n"

/* A page that is fetched each time. `%d` in query and header is the number of the request. */
struct trouble {
    const char *name;
    const char *fields, *ini, *method, *query, *header; /* as it is */
    const char *verdict, *reason, *edit, *edit_in;      /* what explain says */
    const char *good_fields, *good_ini, *good_method;   /* after the edit; NULL: as before */
    const char *path;                                   /* NULL: /p, then /q */
};

static const struct trouble troubles[] = {
    {.name = "a cookie on each response",
     .fields = GOOD "Set-Cookie: a=1\r\n",
     .verdict = "miss",
     .reason = "remembered_set_cookie",
     .edit = "Cache-Control: max-age=60, private=\"Set-Cookie\"",
     .edit_in = "response",
     .good_fields = "Cache-Control: max-age=60, private=\"Set-Cookie\"\r\nSet-Cookie: a=1\r\n"},
    {.name = "private",
     .fields = "Cache-Control: private, max-age=60\r\n",
     .verdict = "miss",
     .reason = "remembered_private",
     .edit = "Cache-Control: public, max-age=60",
     .edit_in = "response",
     .good_fields = "Cache-Control: public, max-age=60\r\n"},
    {.name = "no-store",
     .fields = "Cache-Control: no-store\r\n",
     .verdict = "miss",
     .reason = "remembered_no_store",
     .edit = "Cache-Control: public, max-age=60",
     .edit_in = "response",
     .good_fields = "Cache-Control: public, max-age=60\r\n"},
    {.name = "nothing said",
     .fields = "",
     .verdict = "miss",
     .reason = "remembered_no_freshness",
     .edit = "ttl = 1m",
     .edit_in = "ini",
     .good_ini = "ttl = 1m\n"},
    {.name = "max-age=0",
     .fields = "Cache-Control: max-age=0\r\n",
     .verdict = "miss",
     .reason = "remembered_already_expired",
     .edit = "Cache-Control: max-age=60",
     .edit_in = "response",
     .good_fields = GOOD},
    {.name = "Vary: *",
     .fields = GOOD "Vary: *\r\n",
     .verdict = "miss",
     .reason = "remembered_vary_star",
     .edit = "Vary: Accept-Encoding",
     .edit_in = "response",
     .good_fields = GOOD "Vary: Accept-Encoding\r\n"},
    {.name = "Vary: User-Agent",
     .fields = GOOD "Vary: User-Agent, Accept-Encoding\r\n",
     .header = "User-Agent: browser %d",
     .verdict = "miss",
     .reason = "vary",
     .edit = "Vary: accept-encoding",
     .edit_in = "response",
     .good_fields = GOOD "Vary: Accept-Encoding\r\n"},
    {.name = "Vary: Cookie",
     .fields = GOOD "Vary: Cookie\r\n",
     .header = "Cookie: visitor=%d",
     .verdict = "miss",
     .reason = "vary",
     .edit = "no Vary field (or Vary: Accept-Encoding)",
     .edit_in = "response",
     .good_fields = GOOD},
    {.name = "Authorization",
     .fields = GOOD,
     .header = "Authorization: Basic eDp5",
     .verdict = "miss",
     .reason = "authorization",
     .edit = "Cache-Control: public, max-age=60",
     .edit_in = "response",
     .good_fields = "Cache-Control: public, max-age=60\r\n"},
    {.name = "a cookie, and a ttl",
     .fields = "",
     .ini = "ttl = 1m\n",
     .header = "Cookie: session=%d; _ga=1; session=0",
     .verdict = "miss",
     .reason = "cookie",
     .edit = "remove_cookies = session, _ga",
     .edit_in = "ini",
     .good_ini = "ttl = 1m\nremove_cookies = session, _ga\n"},
    {.name = "another cookie than is removed",
     .fields = "",
     .ini = "ttl = 1m\nremove_cookies = _g*\n",
     .header = "Cookie: session=%d; _ga=1",
     .verdict = "miss",
     .reason = "cookie",
     .edit = "remove_cookies = _g*, session",
     .edit_in = "ini",
     .good_ini = "ttl = 1m\nremove_cookies = _g*, session\n"},
    {.name = "POST",
     .fields = GOOD,
     .method = "POST",
     .verdict = "pass",
     .reason = "method",
     .edit = "GET (what changes nothing can be asked for with GET)",
     .edit_in = "request",
     .good_method = "GET"},
    {.name = "cache = off",
     .fields = GOOD,
     .ini = "cache = off\n",
     .verdict = "pass",
     .reason = "cache_off",
     .edit = "cache = on",
     .edit_in = "ini",
     .good_ini = "cache = on\n"},
    {.name = "bypass_if",
     .fields = GOOD,
     .ini = "cache = bypass_if=cookie:session\n",
     .header = "Cookie: session=1",
     .verdict = "pass",
     .reason = "bypass_rule",
     .edit = "cache = on",
     .edit_in = "ini",
     .good_ini = "cache = on\n"},
    {.name = "too large",
     .fields = GOOD,
     .ini = "max_object_size = 3\n",
     .verdict = "miss",
     .reason = "remembered_too_large",
     .edit = "max_object_size = 1K",
     .edit_in = "ini",
     .good_ini = "max_object_size = 1K\n"},
    {.name = "a client's no-cache",
     .fields = GOOD,
     .ini = "ignore_client_cache_control = no\n",
     .header = "Cache-Control: no-cache",
     .verdict = "refreshed",
     .reason = "client",
     .edit = "ignore_client_cache_control = yes",
     .edit_in = "ini",
     .good_ini = "ignore_client_cache_control = yes\n"},
    {.name = "an affiliate's parameter",
     .fields = GOOD,
     .query = "?irclickid=%d",
     .verdict = "miss",
     .reason = "query",
     .edit = "key_query = except: campaign",
     .edit_in = "ini",
     .good_ini = "key_query = except: campaign\n"},
    {.name = "404",
     .verdict = "miss",
     .reason = "remembered_no_freshness",
     .edit = "ttl_404 = 1m",
     .edit_in = "ini",
     .good_ini = "ttl_404 = 1m\n",
     .path = "/nowhere"},
    {.name = "campaign parameters",
     .fields = GOOD,
     .query = "?utm_source=%d",
     .verdict = "miss",
     .reason = "query",
     .edit = "key_query = except: campaign",
     .edit_in = "ini",
     .good_ini = "key_query = except: campaign\n"},
};

static char *numbered(const char *text, int n)
{
    const char *at = text != NULL ? strstr(text, "%d") : NULL;
    if (at == NULL)
        return textf("%s", text != NULL ? text : "");
    return textf("%.*s%d%s", (int)(at - text), text, n, at + 2);
}

static struct message *ask(struct millpond *m, const struct trouble *t, const char *path, bool good, int n)
{
    const char *method = good && t->good_method != NULL ? t->good_method
                         : t->method != NULL            ? t->method
                                                        : "GET";
    char *header = numbered(t->header, n);
    char *fields = textf("%s%sReferer: http://ask/%s/%d\r\n", header, header[0] != '\0' ? "\r\n" : "",
                         good ? "good" : "bad", n);
    return client_ask_(m->port, method, textf("%s%s", path, numbered(t->query, n)), fields, "");
}

/* `explain --json` of what ask() would ask. */
static json_t *explained(struct millpond *m, const struct trouble *t, const char *path, bool good, int n)
{
    const char *method = good && t->good_method != NULL ? t->good_method
                         : t->method != NULL            ? t->method
                                                        : "GET";
    char *header = numbered(t->header, n), *url = url_of(textf("%s%s", path, numbered(t->query, n)));
    struct proc_result r = header[0] != '\0'
                               ? millpond_cli(m, "explain", url, "-X", method, "-H", header, "--json", NULL)
                               : millpond_cli(m, "explain", url, "-X", method, "--json", NULL);
    EXPECT(r.exit_code == 0, "%s: %s", t->name, r.err);
    json_t *o = json_loads(r.out, 0, NULL);
    EXPECT(o != NULL, "%s", r.out);
    return o;
}

static const char *text_in(const json_t *o, const char *key)
{
    const char *text = json_string_value(json_object_get(o, key));
    return text != NULL ? text : "";
}

static void expect_text(const struct trouble *t, const json_t *o, const char *key, const char *want)
{
    EXPECT(strcmp(text_in(o, key), want) == 0, "%s: %s is \"%s\" instead of \"%s\"", t->name, key,
           text_in(o, key), want);
}

static void expect_logged(struct millpond *m, const struct trouble *t, const char *kind, int n,
                          const char *verdict)
{
    json_t *line = millpond_access_line(m, textf("http://ask/%s/%d\"", kind, n));
    EXPECT(strcmp(text_in(line, "cache"), verdict) == 0,
           "%s: the %s request %d was \"%s\", explained as \"%s\"", t->name, kind, n, text_in(line, "cache"),
           verdict);
}

/* `explain` for people says the same, in a few lines. */
static void expect_words(struct millpond *m, const struct trouble *t, const char *path)
{
    char *url = url_of(textf("%s%s", path, numbered(t->query, 4)));
    const char *method = t->method != NULL ? t->method : "GET";
    char *header = numbered(t->header, 4);
    struct proc_result r =
        millpond_cli(m, "explain", "-H", header[0] != '\0' ? header : "Accept: */*", url, "-X", method, NULL);
    EXPECT(r.exit_code == 0, "%s: %s", t->name, r.err);
    EXPECT(strstr(r.out, textf("now       %s: ", t->verdict)) != NULL &&
               strstr(r.out, textf("because   %s: ", t->reason)) != NULL && strstr(r.out, t->edit) != NULL &&
               strstr(r.out, "\nroute     all (") != NULL,
           "%s:\n%s", t->name, r.out);
    if (getenv("SHOW") != NULL) /* for docs/explain.md */
        fprintf(stderr, "## %s\n\n```\n%s```\n", t->name, r.out);
}

static void trouble_and_cure(const struct trouble *t)
{
    struct page pages[] = {{.path = "/p", .fields = t->fields},
                           {.path = "/q", .fields = t->good_fields != NULL ? t->good_fields : t->fields},
                           {0}};
    struct origin *o = origin_start(pages_script, pages);
    const char *pool = pool_lines("app", 1, o), *ini = t->ini != NULL ? t->ini : "";
    struct millpond *m = millpond_start(.rest = textf("%s[route all]\n%s", pool, ini));
    const char *bad = t->path != NULL ? t->path : "/p", *good = t->path != NULL ? "/elsewhere" : "/q";

    ask(m, t, bad, false, 1);
    ask(m, t, bad, false, 2);
    assert_int_equal(origin_requests(o), 2);
    json_t *e = explained(m, t, bad, false, 3);
    expect_text(t, e, "verdict", t->verdict);
    expect_text(t, e, "reason", t->reason);
    expect_text(t, json_object_get(e, "edit"), "text", t->edit);
    expect_text(t, json_object_get(e, "edit"), "in", t->edit_in);
    expect_words(m, t, bad);
    json_decref(e);
    assert_int_equal(origin_requests(o), 2); /* asking for an explanation asks nobody */
    ask(m, t, bad, false, 3);
    expect_logged(m, t, "bad", 3, t->verdict);

    if (t->good_ini != NULL) { /* not by a reload, which workers take up one after the other */
        millpond_stop(m);
        m = millpond_start(.rest = textf("%s[route all]\n%s", pool, t->good_ini));
    }
    ask(m, t, good, true, 1);
    e = explained(m, t, good, true, 2);
    expect_text(t, e, "verdict", "hit");
    json_decref(e);
    ask(m, t, good, true, 2);
    expect_logged(m, t, "good", 2, "hit");
    millpond_stop(m);
    origin_stop(o);
}

static void always_a_miss_is_named_and_the_edit_cures_it(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(troubles); i++)
        trouble_and_cure(&troubles[i]);
}

/* ---- what is stored, and what changes nothing ---- */

static json_t *explain_json(struct millpond *m, const char *target)
{
    struct proc_result r = millpond_cli(m, "explain", url_of(target), "--json", NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    json_t *o = json_loads(r.out, 0, NULL);
    EXPECT(o != NULL, "%s", r.out);
    return o;
}

static void the_stored_response_and_the_lines_of_the_file(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = GOOD "Vary: Accept-Language\r\n", .etag = "\"v1\""}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m =
        millpond_before(o, "[route other]\npath = /other/*\n[route mine]\npath = /p\nttl = 90s\n");
    expect_status(client_get(m->port, "/p", "Accept-Language: de\r\n"), 200);
    expect_status(client_get(m->port, "/p", "Accept-Language: fr\r\n"), 200);
    struct proc_result r =
        millpond_cli(m, "explain", url_of("/p"), "-H", "Accept-Language: fr", "--json", NULL);
    assert_int_equal(r.exit_code, 0);
    json_t *e = json_loads(r.out, 0, NULL), *route = json_object_get(e, "route");
    assert_string_equal(text_in(e, "verdict"), "hit");
    assert_string_equal(text_in(e, "key"), "http://test/p");
    assert_string_equal(text_in(e, "vary_key"), "accept-language: fr\n");
    assert_string_equal(text_in(route, "name"), "mine");
    assert_string_equal(text_in(route, "matches"), "path = /p");
    assert_string_equal(text_in(route, "file"), m->ini);
    assert_string_equal(json_string_value(json_array_get(json_object_get(route, "did_not_match"), 0)),
                        "other");
    json_t *stored = json_object_get(e, "stored");
    assert_int_equal(json_integer_value(json_object_get(stored, "ttl_s")), 90);
    EXPECT(strstr(text_in(stored, "ttl_from"), "ttl") != NULL, "%s", text_in(stored, "ttl_from"));
    assert_string_equal(text_in(stored, "etag"), "\"v1\"");
    assert_int_equal(json_integer_value(json_object_get(stored, "bytes")), strlen("/p#2"));
    assert_int_equal(json_integer_value(json_object_get(e, "variant_count")), 2);
    json_decref(e);

    /* A purged page says so, until it is fetched again. */
    millpond_purge(m, url_of("/p"));
    e = explain_json(m, "/p");
    assert_string_equal(text_in(e, "reason"), "purged");
    assert_true(json_is_true(json_object_get(e, "purged")));
    json_decref(e);
    expect_status(client_get(m->port, "/p", "Accept-Language: fr\r\n"), 200);
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

static void a_stored_part(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = site_start(site_new(TAGGED), &o);
    expect_status(site_ask(m, "bytes=-3", ""), 206);
    json_t *e = explain_json(m, "/p");
    assert_string_equal(text_in(e, "verdict"), "partial");
    assert_string_equal(text_in(e, "reason"), "part");
    EXPECT(strstr(text_in(e, "why"), "of its 10 bytes only 7 to 9 are stored") != NULL, "%s",
           text_in(e, "why"));
    json_decref(e);
    struct proc_result r = millpond_cli(m, "explain", url_of("/p"), "-H", "Range: bytes=8-8", "--json", NULL);
    e = json_loads(r.out, 0, NULL);
    assert_string_equal(text_in(e, "verdict"), "hit");
    json_decref(e);
    millpond_stop(m);
}

static void tags_and_a_soft_purge(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = GOOD "Surrogate-Key: a b\r\n"}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_status(client_get(m->port, "/p", ""), 200);
    json_t *e = explain_json(m, "/p");
    assert_string_equal(text_in(json_object_get(e, "stored"), "tags"), "a b");
    assert_true(json_is_false(json_object_get(e, "purged")));
    json_decref(e);
    assert_int_equal(millpond_cli(m, "purge", "--soft", "--tag", "a", NULL).exit_code, 0);
    e = explain_json(m, "/p");
    assert_string_equal(text_in(e, "verdict"), "expired");
    assert_string_equal(text_in(e, "reason"), "purged");
    assert_true(json_is_true(json_object_get(e, "purged")));
    EXPECT(strstr(text_in(e, "why"), "a soft purge made it stale") != NULL, "%s", text_in(e, "why"));
    json_decref(e);
    millpond_stop(m);
}

static void a_url_never_seen_is_judged_by_the_rules(void **state)
{
    UNUSED(state);
    struct page pages[] = {{0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "[route all]\nttl_404 = 5s\n");
    json_t *e = explain_json(m, "/new");
    assert_string_equal(text_in(e, "verdict"), "miss");
    assert_string_equal(text_in(e, "reason"), "unseen");
    assert_string_equal(text_in(json_object_get(e, "edit"), "text"), "ttl = 1m");
    json_t *tries = json_object_get(e, "would_be_stored");
    assert_string_equal(text_in(json_array_get(tries, 0), "outcome"), "no_freshness");
    assert_string_equal(text_in(json_array_get(tries, 1), "outcome"), "stored");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(tries, 3), "ttl_s")), 5);
    json_decref(e);
    struct proc_result r = millpond_cli(m, "explain", url_of("/new"), "-HAuthorization: x", "--json", NULL);
    e = json_loads(r.out, 0, NULL);
    tries = json_object_get(e, "would_be_stored");
    assert_string_equal(text_in(json_array_get(tries, 1), "outcome"), "authorization");
    assert_string_equal(text_in(json_array_get(tries, 2), "outcome"), "stored");
    json_decref(e);
    assert_int_equal(origin_requests(o), 0);
    millpond_stop(m);
}

static void a_fetch_under_way_is_shown(void **state)
{
    UNUSED(state);
    struct gate *g = gate_new();
    struct page pages[] = {{.path = "/p", .fields = GOOD, .gate = g}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_before(o, "");
    struct client *c = client_open(m->port);
    client_send(c, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n");
    gate_wait_arrived(g, 1);
    json_t *e = explain_json(m, "/p");
    assert_true(json_is_true(json_object_get(e, "fetching")));
    assert_string_equal(text_in(e, "verdict"), "collapsed");
    json_decref(e);
    gate_open(g);
    expect_body(client_read(c), "/p#1");
    millpond_stop(m);
}

static json_t *explain_with(struct millpond *m, const char *target, const char *field)
{
    struct proc_result r = millpond_cli(m, "explain", url_of(target), "-H", field, "--json", NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    return json_loads(r.out, 0, NULL);
}

static void what_a_route_adds_to_the_key_is_no_query(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/p", .fields = GOOD}, {0}};
    struct millpond *m =
        millpond_before(origin_start(pages_script, pages), "[route r]\nkey_headers = X-Key\n");
    expect_status(client_get(m->port, "/p?x=1", "X-Key: a?&SECRET\r\n"), 200);
    json_t *e = explain_with(m, "/p?x=1", "X-Key: b");
    assert_string_equal(text_in(e, "reason"), "unseen");
    json_decref(e);
    e = explain_with(m, "/p?x=2", "X-Key: a?&SECRET");
    assert_string_equal(text_in(e, "reason"), "query");
    EXPECT(strstr(text_in(e, "why"), "SECRET") == NULL, "%s", text_in(e, "why"));
    json_decref(e);
    char *longer = textf("X-Key: %04999d", 0);
    e = explain_with(m, "/p", longer);
    assert_string_equal(text_in(e, "verdict"), "pass");
    assert_string_equal(text_in(e, "reason"), "key_too_large");
    json_decref(e);
    expect_field_in(client_get(m->port, "/p", textf("%s\r\n", longer)), "Cache-Status",
                    "fwd=bypass; detail=key_too_large");
    millpond_stop(m);
}

/* ---- the door ---- */

static void questions_that_make_no_request_are_refused_with_advice(void **state)
{
    UNUSED(state);
    struct page pages[] = {{0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    static const char *const wrong[] = {
        "/api/explain",
        "/api/explain?url=",
        "/api/explain?url=nonsense",
        "/api/explain?url=http%3A%2F%2Fa+b%2F",
        "/api/explain?header=A%3A%201",
        "/api/explain?url=http%3A%2F%2Fa%2F&header=nonsense",
        "/api/explain?url=http%3A%2F%2Fa%2F&header=A%3A%20b%0D%0AC%3A%20d",
        "/api/explain?url=http%3A%2F%2Fa%2F&header=Host%3A%20b",
        "/api/explain?url=http%3A%2F%2Fa%2F&method=G%20T",
        "/api/explain?url=http%3A%2F%2Fa%2F%20HTTP%2F1.1%0D%0AX%3A%20y",
        "/api/explain?url=http%3A%2F%2Fa%2F&method=GET%20%2F%20HTTP%2F1.1%0D%0A",
        "/api/explain?url=http%3A%2F%2Fa%2F&urk=1"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct message *r = millpond_admin(m, "GET", wrong[i]);
        EXPECT(r->status == 400 && strstr(r->body, "\"hint\":\"") != NULL, "%s: %d %s", wrong[i], r->status,
               r->body);
    }
    expect_status(millpond_admin(m, "POST", "/api/explain?url=http%3A%2F%2Fa%2F"), 405);
    expect_status(millpond_admin(m, "GET", "/api/explain?url=http%3A%2F%2Fa%2F"), 200);
    expect_status(client_raw(m->admin_port, textf("GET /api/explain?url=http%%3A%%2F%%2Fa%%2F HTTP/1.1\r\n"
                                                  "Host: 127.0.0.1:%d\r\n\r\n",
                                                  m->admin_port)),
                  401);
    assert_int_equal(millpond_cli(m, "explain", NULL).exit_code, 2);
    assert_int_equal(millpond_cli(m, "explain", "http://a/", "http://b/", NULL).exit_code, 2);
    assert_int_equal(millpond_cli(m, "explain", "http://a/", "-H", NULL).exit_code, 2);
    assert_int_equal(millpond_cli(m, "explain", "nonsense", NULL).exit_code, 1);
    char *socket = textf("%s", m->socket);
    millpond_stop(m);
    struct proc_result r = millpond_run("explain", "http://a/", "-s", socket, NULL);
    EXPECT(r.exit_code != 0 && strstr(r.err, "no millpond is running here") != NULL, "%d: %s", r.exit_code,
           r.err);
}

/* Other clients' cookies, which Vary brought into keys, are not for who may read this page. */
static void credentials_of_others_are_not_shown(void **state)
{
    UNUSED(state);
    struct page pages[] = {
        {.path = "/p", .fields = GOOD "Vary: Cookie\r\n"}, {.path = "/q", .fields = GOOD}, {0}};
    struct millpond *m = millpond_before(origin_start(pages_script, pages), "");
    expect_status(client_get(m->port, "/p", "Cookie: session=SECRET\r\n"), 200);
    expect_status(client_get(m->port, "/q?token=SECRET", ""), 200);
    static const char *const targets[] = {"/p", "/q?x=1"};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        struct proc_result r = millpond_cli(m, "explain", url_of(targets[i]), "--json", NULL);
        EXPECT(r.exit_code == 0 && strstr(r.out, "SECRET") == NULL, "%s", r.out);
        r = millpond_cli(m, "explain", url_of(targets[i]), NULL);
        EXPECT(r.exit_code == 0 && strstr(r.out, "SECRET") == NULL, "%s", r.out);
    }
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(always_a_miss_is_named_and_the_edit_cures_it),
        E2E_TEST(a_stored_part),
        E2E_TEST(tags_and_a_soft_purge),
        E2E_TEST(the_stored_response_and_the_lines_of_the_file),
        E2E_TEST(a_url_never_seen_is_judged_by_the_rules),
        E2E_TEST(a_fetch_under_way_is_shown),
        E2E_TEST(what_a_route_adds_to_the_key_is_no_query),
        E2E_TEST(questions_that_make_no_request_are_refused_with_advice),
        E2E_TEST(credentials_of_others_are_not_shown),
    };
    return E2E_RUN("explain", tests);
}
