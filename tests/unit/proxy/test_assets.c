/* test_assets.c: a file that one instance has and the other has not, or none any more: who is asked, what is
 * served, for how long nobody is asked again, and memory that is not there. */
#include "proxy/assets.h"

#include "instance_fixture.h"
#include "cache/cache_control.h"

#define ASK(method, path) method " " path " HTTP/1.1\r\nHost: h\r\n\r\n"
#define GET               ASK("GET", "/a")
#define POOL              "server = 127.0.0.1:SECOND\nretries = 0\n[route r]\nkeep_assets = 1h\n"
#define NOT_FOUND         "HTTP/1.1 404 No\r\nCache-Control: public, max-age=600\r\nContent-Length: 4\r\n\r\nnone"
#define FOUND             "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile"
#define OLD                                                                                                  \
    "HTTP/1.1 200 OK\r\nCache-Control: public, max-age=0\r\nAge: 5\r\nETag: \"a\"\r\n"                       \
    "Content-Length: 4\r\n\r\nkept"

static unsigned asked(const struct inst_fix *o)
{
    unsigned n = 0;
    for (unsigned i = 0; i < o->conn_count; i++)
        n += fix_count(o->conn[i]->in, "\r\n\r\n");
    return n;
}

/* Whoever is asked says this, until nobody waits any more. */
static void answer_all(struct inst_fix *o, const char *text)
{
    unsigned said[INST_CONNS] = {0};
    for (unsigned i = 0; i < o->conn_count; i++)
        said[i] = fix_count(o->conn[i]->in, "\r\n\r\n");
    inst_turn(o);
    for (unsigned round = 0; round < INST_ROUNDS && o->f.pw->exchange_count > 0; round++) {
        inst_turn(o);
        for (unsigned i = 0; i < o->conn_count; i++) {
            for (; said[i] < fix_count(o->conn[i]->in, "\r\n\r\n"); said[i]++)
                inst_say(o, i, text);
        }
    }
    assert_int_equal(o->f.pw->exchange_count, 0);
}

static void begin(struct inst_fix *o)
{
    inst_start_with(o, false, true, POOL);
}

/* The one who is asked first does not have it; the other is asked now. */
static void start_missing(struct inst_fix *o)
{
    begin(o);
    inst_ask(o, 0, GET);
    INST_UNTIL(o, inst_is_asked(o, 0));
    inst_say(o, 0, NOT_FOUND);
    INST_UNTIL(o, inst_is_asked(o, 1));
    assert_int_not_equal(o->conn_of[0], o->conn_of[1]);
    assert_int_equal(o->client[0].got_bytes, 0);
}

/* It is stored, out of date, and by now no instance has it. */
static void start_stored(struct inst_fix *o)
{
    begin(o);
    inst_ask(o, 0, GET);
    answer_all(o, OLD);
    assert_true(inst_has(o, 0, "kept"));
    assert_int_equal(asked(o), 1);
}

static void test_other_has_it(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const uint64_t retries = metrics_total(METRIC_ASSET_RETRIES);
    start_missing(&o);
    inst_say(&o, 1, FOUND);
    INST_UNTIL(&o, inst_has(&o, 0, "file"));
    assert_false(inst_has(&o, 0, "404"));
    assert_int_equal(metrics_total(METRIC_ASSET_RETRIES) - retries, 1);
    inst_end(&o);
}

static void test_head_is_asked_of_both(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    begin(&o);
    inst_ask(&o, 0, ASK("HEAD", "/a"));
    answer_all(&o, "HTTP/1.1 404 No\r\nContent-Length: 4\r\n\r\n");
    assert_true(inst_has(&o, 0, "HTTP/1.1 404"));
    assert_int_equal(asked(&o), 2);
    inst_end(&o);
}

static void test_none_has_it(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    char age[64];
    snprintf(age, sizeof age, "\r\nCache-Control: max-age=%d\r\n", (int)(CACHE_MISSING_ASSET_MS / 1000));
    start_missing(&o);
    inst_say(&o, 1, NOT_FOUND);
    INST_UNTIL(&o, inst_has(&o, 0, "none"));
    assert_true(inst_has(&o, 0, "HTTP/1.1 404") && inst_has(&o, 0, age));
    assert_false(inst_has(&o, 0, "600"));
    assert_int_equal(asked(&o), 2);
    inst_end(&o);
}

static void test_other_breaks(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start_missing(&o);
    inst_break(&o, 1);
    INST_UNTIL(&o, o.f.pw->exchange_count == 0 && inst_has(&o, 0, "\r\n\r\n"));
    assert_true(inst_has(&o, 0, "HTTP/1.1 404"));
    inst_end(&o);
}

static void test_client_leaves_in_between(void **state)
{
    UNUSED(state);
    for (unsigned first = 0; first < 2; first++) { /* it, or the answer of the second */
        struct inst_fix o;
        start_missing(&o);
        if (first == 1)
            inst_say(&o, 1, NOT_FOUND);
        inst_leave(&o, 0);
        inst_turn(&o);
        if (first == 0)
            inst_say(&o, 1, FOUND);
        INST_UNTIL(&o, o.f.pw->exchange_count == 0);
        inst_end(&o);
    }
}

/* Methods that are no matter of files, and a GET that has a body. */
static void test_others_believe_the_first(void **state)
{
    UNUSED(state);
    static const char *const asks[] = {ASK("DELETE", "/a"),
                                       "GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"};
    for (unsigned i = 0; i < ARRAY_LEN(asks); i++) {
        struct inst_fix o;
        begin(&o);
        inst_ask(&o, 0, asks[i]);
        answer_all(&o, NOT_FOUND);
        assert_true(inst_has(&o, 0, "HTTP/1.1 404"));
        assert_int_equal(asked(&o), 1);
        inst_end(&o);
    }
}

/* ---- what is stored ---- */

static void let_time_pass(struct inst_fix *o)
{
    for (unsigned i = 0; i < PROXY_KEPT_ASSETS; i++) {
        if (o->f.pw->kept_assets[i].until_ms != 0)
            o->f.pw->kept_assets[i].until_ms = worker_now_ms(o->f.worker);
    }
}

static void test_stored_stays(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    const uint64_t kept = metrics_total(METRIC_ASSETS_KEPT);
    start_stored(&o);
    inst_ask(&o, 1, GET);
    answer_all(&o, NOT_FOUND);
    assert_true(inst_has(&o, 1, "HTTP/1.1 200") && inst_has(&o, 1, "kept"));
    assert_int_equal(asked(&o), 3); /* both */
    inst_ask(&o, 2, GET);
    assert_int_equal(o.f.pw->exchange_count, 0); /* at once */
    assert_int_equal(metrics_total(METRIC_ASSETS_KEPT) - kept, 2);
    let_time_pass(&o);
    inst_ask(&o, 3, GET);
    answer_all(&o, NOT_FOUND);
    assert_true(inst_has(&o, 2, "kept") && inst_has(&o, 3, "kept"));
    assert_int_equal(asked(&o), 5);
    inst_end(&o);
}

/* The memory of what is missing is small: another file of the same place is another file. */
static void test_place_is_shared(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start_stored(&o);
    inst_ask(&o, 1, GET);
    answer_all(&o, NOT_FOUND);
    for (unsigned i = 0; i < PROXY_KEPT_ASSETS; i++)
        o.f.pw->kept_assets[i].key.hi ^= 1;
    inst_ask(&o, 2, GET);
    assert_int_equal(o.f.pw->exchange_count, 1);
    answer_all(&o, FOUND);
    assert_true(inst_has(&o, 2, "file"));
    inst_end(&o);
}

/* Nor does the memory of a file keep the error that came in its place. */
static void test_errors_are_not_kept(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    begin(&o);
    struct client_conn *c = fix_client(&o.f, "192.0.2.7:1", &o.client[0].fd);
    struct exchange *x = fix_exchange(&o.f, c, GET);
    x->key.hash = (hash128_t){7, 7};
    x->info.status = 200;
    assert_false(assets_is_kept(x));
    assets_keep(x);
    assert_true(assets_is_kept(x));
    x->info.status = 404;
    assert_false(assets_is_kept(x));
    fix_drop(x);
    inst_end(&o);
}

/* Who asks meanwhile waits for the same two answers. */
static void test_two_at_once(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    start_stored(&o);
    inst_ask(&o, 1, GET);
    INST_UNTIL(&o, asked(&o) == 2);
    inst_ask(&o, 2, GET);
    assert_int_equal(o.f.pw->exchange_count, 2);
    for (unsigned i = 0; i < o.conn_count; i++) {
        if (o.conn_count == 1 || i == 1)
            inst_say(&o, i, NOT_FOUND);
    }
    answer_all(&o, NOT_FOUND);
    assert_true(inst_has(&o, 1, "kept") && inst_has(&o, 2, "kept"));
    assert_int_equal(asked(&o), 3);
    inst_end(&o);
}

/* ---- heads ---- */

static void test_lifetimes(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *put; /* put: "" if the instance's own stays */
    } rows[] = {
        {"", "max-age=5"},
        {"Cache-Control: max-age=600\r\n", "max-age=5"},
        {"Cache-Control: max-age=5\r\n", "max-age=5"},
        {"Cache-Control: max-age=4\r\n", "max-age=4"},
        {"Cache-Control: max-age=0\r\n", "max-age=0"},
        {"Cache-Control: public\r\nCache-Control: max-age=1\r\n", "max-age=1"},
        {"Expires: Thu, 01 Jan 2099 00:00:00 GMT\r\n", "max-age=0"},
        {"Expires: 0\r\nCache-Control: max-age=3\r\n", "max-age=3"},
        {"Cache-Control: no-store\r\n", ""},
        {"Cache-Control: no-cache\r\nExpires: 0\r\n", ""},
        {"Cache-Control: private, max-age=60\r\n", ""},
    };
    const uint64_t lifetimes = HTTP_BIT(CACHE_CONTROL) | HTTP_BIT(EXPIRES) | HTTP_BIT(PRAGMA);
    struct inst_fix o;
    begin(&o);
    assert_int_equal(CACHE_MISSING_ASSET_MS, 5000);
    struct client_conn *c = fix_client(&o.f, "192.0.2.7:1", &o.client[0].fd);
    struct exchange *x = fix_exchange(&o.f, c, GET);
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256], out[128], want[128];
        struct http_head head = {.fields = o.f.pw->response_fields};
        snprintf(text, sizeof text, "HTTP/1.1 404 No\r\n%s\r\n", rows[i].fields);
        fix_parse_response(text, &head);
        const uint64_t drops = assets_missing_drops(x, &head);
        assert_true(drops == (HTTP_BIT(CDN_CACHE_CONTROL) | (*rows[i].put != '\0' ? lifetimes : 0)));
        if (*rows[i].put == '\0')
            continue;
        struct text t = text_make(out, sizeof out);
        assets_put_missing(&t, &head);
        snprintf(want, sizeof want, "Cache-Control: %s\r\n", rows[i].put);
        assert_true(slice_eq(text_slice(&t), slice_str(want)));
    }
    fix_drop(x);
    inst_end(&o);
}

static void test_other_routes_say_what_they_are_told(void **state)
{
    UNUSED(state);
    struct inst_fix o;
    inst_start(&o, false, "server = 127.0.0.1:SECOND\n");
    inst_ask(&o, 0, GET);
    answer_all(&o, NOT_FOUND);
    assert_true(inst_has(&o, 0, "max-age=600"));
    assert_int_equal(asked(&o), 1);
    inst_end(&o);
}

/* ---- no memory ---- */

static void begin_stored(struct inst_fix *o)
{
    start_stored(o);
}

static void play(struct inst_fix *o)
{
    inst_ask(o, 1, GET);
    answer_all(o, NOT_FOUND);
}

/* With memory it is served still. */
static void after(struct inst_fix *o)
{
    if (!no_memory.failed)
        assert_true(inst_has(o, 1, "kept"));
    inst_ask(o, 2, GET);
    answer_all(o, NOT_FOUND);
    assert_true(inst_has(o, 2, "kept"));
}

static void test_each_allocation_fails(void **state)
{
    UNUSED(state);
    inst_fail_each(begin_stored, play, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_other_has_it),
        cmocka_unit_test(test_head_is_asked_of_both),
        cmocka_unit_test(test_none_has_it),
        cmocka_unit_test(test_other_breaks),
        cmocka_unit_test(test_client_leaves_in_between),
        cmocka_unit_test(test_others_believe_the_first),
        cmocka_unit_test(test_stored_stays),
        cmocka_unit_test(test_place_is_shared),
        cmocka_unit_test(test_errors_are_not_kept),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_lifetimes),
        cmocka_unit_test(test_other_routes_say_what_they_are_told),
        cmocka_unit_test(test_each_allocation_fails),
    };
    return cmocka_run_group_tests_name("proxy/assets", tests, fix_group_setup, fix_group_teardown);
}
