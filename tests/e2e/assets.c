/* assets.c: keep_assets: files that one instance has and another has not, in the middle of a deploy. Assets
 * come older than they may be ("Age: 5" and max-age=0), so nothing waits for time to pass. */
#include "tests/support/h2.h"
#include "tests/support/millpond.h"

#define KEEP  "keep_assets = 1h\n"
#define STALE "Cache-Control: public, max-age=0\r\nAge: 5\r\nETag: \"a\"\r\n"
#define FRESH "Cache-Control: public, max-age=600\r\n"

/* An instance with one file, or without it; may be changed while it runs. */
struct files {
    _Atomic bool has_it;
    const char *_Atomic fields;  /* of the file */
    const char *_Atomic missing; /* of the 404 */
    _Atomic int status;          /* instead of 404 */
};

static void files_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct files *f = arg;
    UNUSED(request);
    if (f->has_it)
        origin_respond(c, 200, f->fields, "asset");
    else
        origin_respond(c, f->status != 0 ? f->status : 404, f->missing, "no such file");
}

static struct files *files_new(bool has_it)
{
    struct files *f = calloc(1, sizeof(*f));
    f->has_it = has_it;
    f->fields = STALE;
    f->missing = FRESH;
    support_on_end(free, f);
    return f;
}

struct deploy {
    struct files *files[3];
    struct origin *o[3];
    struct millpond *m;
};

static unsigned asked(const struct deploy *d)
{
    return origin_requests(d->o[0]) + origin_requests(d->o[1]) + origin_requests(d->o[2]);
}

/* Three instances; `which` of them has the file, or all (3), or none (-1). */
static struct deploy deploy_start(int which, const char *pool, const char *route)
{
    struct deploy d;
    for (int i = 0; i < 3; i++) {
        d.files[i] = files_new(which == 3 || which == i);
        d.o[i] = origin_start(files_script, d.files[i]);
    }
    d.m = millpond_start(.main = "workers = 1\n", /* what is missing is remembered by each */
                         .rest = textf("%sretries = 0\n%s[route assets]\n%s",
                                       pool_lines("app", 3, d.o[0], d.o[1], d.o[2]), pool, route));
    return d;
}

/* Of all instances: a 404 is none. */
static int64_t failures(struct deploy *d)
{
    int64_t sum = 0;
    size_t i;
    json_t *instance;
    json_array_foreach(json_find(json_object_get(millpond_status(d->m), "pools"), "instances"), i, instance)
        sum += json_integer_value(json_object_get(instance, "failures"));
    return sum;
}

static void forget(struct deploy *d)
{
    for (int i = 0; i < 3; i++)
        d->files[i]->has_it = false;
}

/* ---- asking another ---- */

static void missing_file_is_asked_for_at_the_others(void **state)
{
    UNUSED(state);
    for (int which = 0; which < 3; which++) {
        struct deploy d = deploy_start(which, "", KEEP "cache = off\n");
        for (int i = 0; i < 9; i++) {
            struct message *r = client_get(d.m->port, "/a.js", "");
            expect_status(r, 200);
            expect_body(r, "asset");
        }
        EXPECT(millpond_figure(d.m, "asset_retries") >= 6, "hardly any retries");
        millpond_wait_idle(d.m);
        millpond_stop(d.m);
    }
}

static void each_instance_is_asked_once(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(-1, "", KEEP "cache = off\n");
    struct message *r = client_get(d.m->port, "/a.js", "");
    expect_status(r, 404);
    expect_body(r, "no such file"); /* the last one's own words */
    for (int i = 0; i < 3; i++)
        assert_int_equal(origin_requests(d.o[i]), 1);
    r = client_ask(d.m->port, "HEAD", "/a.js", "", "");
    expect_status(r, 404);
    for (int i = 0; i < 3; i++)
        assert_int_equal(origin_requests(d.o[i]), 2);
    r = client_ask(d.m->port, "POST", "/a.js", "", "x"); /* not a matter of files */
    expect_status(r, 404);
    assert_int_equal(asked(&d), 7);
    assert_int_equal(failures(&d), 0);
    millpond_stop(d.m);
}

static void limited_pool_is_asked_likewise(void **state)
{
    UNUSED(state);
    struct files *without = files_new(false), *with = files_new(true);
    struct origin *a = origin_start(files_script, without), *b = origin_start(files_script, with);
    struct millpond *m = millpond_start(
            .rest = textf("[pool app]\nserver = 127.0.0.1:%d max_connections=2\nserver = 127.0.0.1:%d "
                          "max_connections=2\nhealth_check = off\nretries = 0\n[route r]\ncache = off\n" KEEP,
                          origin_port(a), origin_port(b)));
    for (int i = 0; i < 6; i++)
        expect_body(client_get(m->port, "/a.js", ""), "asset");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void other_routes_believe_the_first(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(-1, "", "cache = off\n");
    struct message *r = client_get(d.m->port, "/a.js", "");
    expect_status(r, 404);
    expect_field(r, "Cache-Control", "public, max-age=600");
    assert_int_equal(asked(&d), 1);
    millpond_stop(d.m);
}

/* One says 404, another cannot be asked: what is known is the 404. */
static void dead_instance_does_not_turn_404_into_502(void **state)
{
    UNUSED(state);
    struct files *f = files_new(false);
    struct origin *o = origin_start(files_script, f);
    struct millpond *m =
        millpond_start(.rest = textf("[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d backup\n"
                                     "health_check = off\nretries = 0\neject_errors = 0\n[route r]\n" KEEP,
                                     origin_port(o), origin_refusing_port()));
    struct message *r = client_get(m->port, "/a.js", "");
    expect_status(r, 404);
    expect_field(r, "Cache-Control", "no-store");
    millpond_stop(m);
}

/* ---- keeping ---- */

static void known_file_stays_served(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", KEEP "stale_if_error = 0\n");
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    assert_int_equal(asked(&d), 1);
    forget(&d);
    struct message *r = client_get(d.m->port, "/a.js", "");
    expect_status(r, 200);
    expect_body(r, "asset");
    expect_field_in(r, "Cache-Status", "detail=asset_kept");
    expect_field_in(r, "Cache-Status", "fwd-status=404");
    assert_int_equal(asked(&d), 4); /* all of them, and then none for a while */
    r = client_get(d.m->port, "/a.js", "Cache-Control: no-cache\r\n");
    expect_body(r, "asset");
    r = client_ask(d.m->port, "HEAD", "/a.js", "", "");
    expect_status(r, 200);
    assert_int_equal(asked(&d), 4);
    assert_int_equal(millpond_figure(d.m, "assets_kept"), 3);
    assert_int_equal(failures(&d), 0);
    millpond_purge(d.m, url_of("/a.js")); /* who wants it gone says so */
    expect_status(client_get(d.m->port, "/a.js", ""), 404);
    millpond_wait_idle(d.m);
    millpond_stop(d.m);
}

static void kept_file_is_for_clients_that_insist(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", KEEP "ignore_client_cache_control = no\n");
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    forget(&d);
    expect_body(client_get(d.m->port, "/a.js", "Cache-Control: no-cache\r\n"), "asset");
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    millpond_stop(d.m);
}

static void file_is_kept_in_the_background(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", KEEP "stale_while_revalidate = 1h\n");
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    forget(&d);
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    millpond_wait_figure(d.m, "refreshes_in_flight", 0);
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    assert_int_equal(asked(&d), 4);
    millpond_wait_idle(d.m);
    millpond_stop(d.m);
}

static void file_is_not_kept_beyond_its_bound(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", "keep_assets = 4s\nstale_if_error = 0\n"); /* it is 5 s over */
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    forget(&d);
    expect_status(client_get(d.m->port, "/a.js", ""), 404);
    millpond_stop(d.m);
}

static void what_must_be_asked_about_is_not_kept(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", KEEP);
    for (int i = 0; i < 3; i++)
        d.files[i]->fields = "Cache-Control: public, max-age=0, must-revalidate\r\nETag: \"a\"\r\n";
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    forget(&d);
    expect_status(client_get(d.m->port, "/a.js", ""), 404);
    millpond_stop(d.m);
}

static void gone_is_gone(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(3, "", KEEP);
    expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    forget(&d);
    for (int i = 0; i < 3; i++)
        d.files[i]->status = 410;
    expect_status(client_get(d.m->port, "/a.js", ""), 410);
    assert_int_equal(asked(&d), 2);
    millpond_stop(d.m);
}

/* ---- the 404 ---- */

static void missing_file_is_cached_for_seconds(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(-1, "", KEEP "ttl_404 = 1h\nbrowser_ttl = 1h\n");
    for (int i = 0; i < 3; i++)
        d.files[i]->missing =
            FRESH "CDN-Cache-Control: max-age=700\r\nExpires: Fri, 01 Jan 2100 00:00:00 GMT\r\n";
    for (int i = 0; i < 2; i++) {
        struct message *r = client_get(d.m->port, "/a.js", "");
        expect_status(r, 404);
        expect_field(r, "Cache-Control", "max-age=5");
        EXPECT(message_field(r, "CDN-Cache-Control") == NULL && message_field(r, "Expires") == NULL,
               "a cache in front would keep it");
        if (i == 1) {
            const char *ttl = strstr(message_field(r, "Cache-Status"), "hit; ttl=");
            EXPECT(ttl != NULL && atoi(ttl + strlen("hit; ttl=")) <= 5, "%s",
                   message_field(r, "Cache-Status"));
        }
    }
    assert_int_equal(asked(&d), 3);
    millpond_stop(d.m);
}

static void strict_404_stays_as_it_is(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(-1, "", KEEP);
    for (int i = 0; i < 3; i++)
        d.files[i]->missing = "Cache-Control: private, max-age=9\r\n";
    expect_field(client_get(d.m->port, "/a.js", ""), "Cache-Control", "private, max-age=9");
    for (int i = 0; i < 3; i++)
        d.files[i]->missing = "Cache-Control: max-age=2\r\n";
    expect_field(client_get(d.m->port, "/b.js", ""), "Cache-Control", "max-age=2");
    millpond_stop(d.m);
}

static void known_file_comes_back_fresh(void **state)
{
    UNUSED(state);
    struct deploy d = deploy_start(-1, "", KEEP);
    for (int i = 0; i < 3; i++)
        d.files[i]->missing = "Cache-Control: no-store\r\n";
    expect_status(client_get(d.m->port, "/a.js", ""), 404);
    d.files[1]->fields = FRESH;
    d.files[1]->has_it = true;                                /* the first of the new instances */
    mono_ms_t until_ms = clock_mono_ms() + support_wait_ms(); /* a second goes by in which it is not stored */
    while (clock_mono_ms() < until_ms && millpond_figure(d.m, "cache_stored") == 0) {
        expect_body(client_get(d.m->port, "/a.js", ""), "asset");
    }
    expect_field_in(client_get(d.m->port, "/a.js", ""), "Cache-Status", "millpond; hit; ttl=");
    millpond_stop(d.m);
}

static void http2_clients_are_served_alike(void **state)
{
    UNUSED(state);
    struct files *without = files_new(false), *with = files_new(true);
    struct origin *a = origin_start(files_script, without), *b = origin_start(files_script, with);
    struct millpond *m =
        millpond_start(.listen = "protocols = h2c, http/1.1\n", .main = "workers = 1\n",
                       .rest = textf("%sretries = 0\n[route r]\n" KEEP, pool_lines("app", 2, a, b)));
    struct h2_client *c = h2_open(m->port);
    for (unsigned i = 0; i < 4; i++) {
        h2_get(c, 2 * i + 1, "/a.js");
        h2_expect(c, 2 * i + 1, 200, "asset");
        with->has_it = i < 1; /* then it is kept */
    }
    h2_close(c);
    millpond_wait_idle(m);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(missing_file_is_asked_for_at_the_others),
        E2E_TEST(each_instance_is_asked_once),
        E2E_TEST(limited_pool_is_asked_likewise),
        E2E_TEST(other_routes_believe_the_first),
        E2E_TEST(dead_instance_does_not_turn_404_into_502),
        E2E_TEST(known_file_stays_served),
        E2E_TEST(kept_file_is_for_clients_that_insist),
        E2E_TEST(file_is_kept_in_the_background),
        E2E_TEST(file_is_not_kept_beyond_its_bound),
        E2E_TEST(what_must_be_asked_about_is_not_kept),
        E2E_TEST(gone_is_gone),
        E2E_TEST(missing_file_is_cached_for_seconds),
        E2E_TEST(strict_404_stays_as_it_is),
        E2E_TEST(known_file_comes_back_fresh),
        E2E_TEST(http2_clients_are_served_alike),
    };
    return E2E_RUN("assets", tests);
}
