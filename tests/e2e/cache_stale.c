/* cache_stale.c: stored responses past their freshness, served while they are renewed or while the
 * application fails (RFC 5861). Pages come older than they may be ("Age: 5" and max-age=0), so nothing waits
 * for time to pass; gates hold the origin where a test must act meanwhile. */
#include "tests/support/millpond.h"

#define ASK     "GET /p HTTP/1.1\r\nHost: test\r\n\r\n"
#define SWR     "Cache-Control: max-age=0, stale-while-revalidate=600\r\nAge: 5\r\n"
#define SIE     "Cache-Control: max-age=0, stale-if-error=600\r\nAge: 5\r\n"
#define FRESH   "Cache-Control: max-age=600\r\n"
#define HERD    1000
#define ONE_TRY "retries = 0\nmax_idle = 0\n" /* nor a second one for a kept connection that broke */

enum trouble { TROUBLE_NONE, TROUBLE_503, TROUBLE_RESET, TROUBLE_CUT_HEAD, TROUBLE_HANG };

/* Answers "page#N"; what it says and does may be changed while it runs. */
struct script {
    const char *_Atomic fields;
    _Atomic int trouble;
    struct gate *gate; /* passed once N is drawn, before the answer */
    _Atomic unsigned served;
};

static void stale_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct script *s = arg;
    UNUSED(request);
    unsigned n = ++s->served;
    const char *fields = s->fields;
    gate_pass(s->gate);
    char body[32];
    snprintf(body, sizeof(body), "page#%u", n);
    switch ((enum trouble)s->trouble) {
    case TROUBLE_NONE:
        origin_respond(c, 200, fields, body);
        break;
    case TROUBLE_503:
        origin_respond(c, 503, "", "trouble");
        break;
    case TROUBLE_RESET:
        origin_reset(c);
        break;
    case TROUBLE_CUT_HEAD:
        origin_send(c, "HTTP/1.1 200 OK\r\nContent-Le");
        origin_close(c);
        break;
    case TROUBLE_HANG:
        origin_wait_peer_close(c);
        break;
    }
}

static struct script *script_new(const char *fields)
{
    struct script *s = calloc(1, sizeof(*s));
    s->fields = fields;
    s->gate = gate_new();
    gate_open(s->gate);
    support_on_end(free, s);
    return s;
}

static void expect_stale(struct message *r, const char *body, const char *why)
{
    expect_status(r, 200);
    expect_body(r, body);
    expect_field_in(r, "Cache-Status", textf("detail=%s", why));
    expect_field_in(r, "Cache-Status", "ttl=-");
    const char *age = message_field(r, "Age");
    EXPECT(age != NULL && atoi(age) >= 5, "Age is %s", age != NULL ? age : "missing");
}

/* ---- while it is renewed ---- */

static void stale_page_is_served_while_it_is_renewed(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, "");
    expect_body(client_get(m->port, "/p", ""), "page#1");
    s->fields = FRESH;
    gate_shut(s->gate);
    struct message *r = client_get(m->port, "/p", "User-Agent: me\r\n"); /* the origin holds its answer */
    expect_stale(r, "page#1", "stale_while_revalidate");
    expect_field_in(r, "Cache-Status", "millpond; hit; ");
    gate_wait_arrived(s->gate, 2);
    assert_int_equal(millpond_figure(m, "refreshes_in_flight"), 1);
    gate_open(s->gate);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    r = client_get(m->port, "/p", "");
    expect_body(r, "page#2");
    expect_field_in(r, "Cache-Status", "millpond; hit; ttl=");
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_figure(m, "cache_stale"), 1);
    assert_int_equal(millpond_figure(m, "requests"),
                     3); /* nobody asked for the fetch in the background ... */
    expect_field(origin_request(o, 1), "X-Forwarded-For", "127.0.0.1"); /* ... but it tells who caused it */
    expect_field(origin_request(o, 1), "User-Agent", "me");
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void stale_page_is_confirmed_in_the_background(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start_fixed("HTTP/1.1 304 Not Modified\r\n" FRESH "ETag: \"a\"\r\n\r\n");
    struct script *s = script_new(SWR "ETag: \"a\"\r\n");
    struct origin *first = origin_start(stale_script, s);
    struct millpond *m =
        millpond_start(.rest = textf("[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d\n"
                                     "health_check = off\n",
                                     origin_port(first), origin_port(o)));
    expect_body(client_get(m->port, "/p", ""), "page#1");
    expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_while_revalidate");
    millpond_wait_figure(m, "cache_revalidations", 1);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    struct message *r = client_get(m->port, "/p", "");
    expect_body(r, "page#1");
    expect_field_in(r, "Cache-Status", "millpond; hit; ttl=5"); /* 599 or less of 600 */
    expect_field(origin_request(o, 0), "If-None-Match", "\"a\"");
    millpond_stop(m);
}

static void thousand_clients_make_one_background_fetch(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, "");
    expect_body(client_get(m->port, "/p", ""), "page#1");
    gate_shut(s->gate);
    s->fields = FRESH;
    static struct client *herd[HERD];
    for (int i = 0; i < HERD; i++) {
        herd[i] = client_open(m->port);
        client_send(herd[i], ASK);
    }
    for (int i = 0; i < HERD; i++)
        expect_stale(client_read(herd[i]), "page#1", "stale_while_revalidate");
    gate_wait_arrived(s->gate, 2);
    assert_int_equal(origin_requests(o), 2);
    assert_int_equal(millpond_figure(m, "cache_refreshes"), 1);
    gate_open(s->gate);
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    for (int i = 0; i < HERD; i++) {
        client_send(herd[i], ASK);
        expect_body(client_read(herd[i]), "page#2");
    }
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void purge_during_a_refresh_is_final(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, "");
    expect_body(client_get(m->port, "/p", ""), "page#1");
    s->fields = FRESH;
    gate_shut(s->gate);
    expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_while_revalidate");
    gate_wait_arrived(s->gate, 2); /* page#2 is drawn: old from the purge on */
    millpond_purge(m, url_of("/p"));
    struct client *c = client_open(m->port);
    client_send(c, ASK);
    gate_wait_arrived(s->gate, 3);
    gate_open(s->gate);
    expect_body(client_read(c), "page#3");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/p", ""), "page#3");
    millpond_stop(m);
}

static void failing_refresh_is_not_repeated_at_once(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, ONE_TRY);
    expect_body(client_get(m->port, "/p", ""), "page#1");
    s->trouble = TROUBLE_RESET;
    mono_ms_t since = clock_mono_ms();
    for (int i = 0; i < 50; i++) {
        expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_while_revalidate");
        millpond_wait_figure(m, "refreshes_in_flight", 0);
    }
    int64_t seconds = (clock_mono_ms() - since) / 1000;
    int64_t refreshes = millpond_figure(m, "cache_refreshes");
    EXPECT(refreshes >= 1 && refreshes <= seconds + 1, "%d refreshes in %d s", (int)refreshes, (int)seconds);
    millpond_stop(m);
}

static void shutdown_does_not_wait_for_a_refresh_for_ever(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_start(.main = "shutdown_timeout = 100ms", .rest = pool_lines("app", 1, o));
    expect_body(client_get(m->port, "/p", ""), "page#1");
    s->trouble = TROUBLE_HANG;
    expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_while_revalidate");
    origin_wait_requests(o, 2);
    millpond_stop(m);
}

/* ---- while the application fails ---- */

static void stale_page_stands_in_for_an_error(void **state)
{
    UNUSED(state);
    static const struct {
        enum trouble trouble;
        const char *cache_status;
    } rows[] = {
        {TROUBLE_503, "millpond; fwd=stale; fwd-status=503; ttl=-"},
        {TROUBLE_RESET, "millpond; fwd=stale; ttl=-"},
        {TROUBLE_CUT_HEAD, "millpond; fwd=stale; ttl=-"},
        {TROUBLE_HANG, "millpond; fwd=stale; ttl=-"},
    };
    struct script *s = script_new(SIE);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, ONE_TRY "response_timeout = 200ms\n");
    expect_body(client_get(m->port, "/p", ""), "page#1");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        s->trouble = (int)rows[i].trouble;
        struct message *r = client_get(m->port, "/p", "");
        expect_stale(r, "page#1", "stale_if_error");
        expect_field_in(r, "Cache-Status", rows[i].cache_status);
    }
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\n\r\n");
    expect_status(client_read_no_body(c), 200);
    client_close(c);
    assert_int_equal(origin_requests(o), 1 + ARRAY_LEN(rows) + 1);
    origin_stop(o); /* connection refused */
    expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_if_error");
    assert_int_equal(millpond_figure(m, "cache_stale"), ARRAY_LEN(rows) + 2);
    json_t *line = millpond_access_line(m, "\"stale\"");
    assert_string_equal(json_string_value(json_find(line, "cache")), "stale");
    millpond_purge(m, url_of("/p")); /* what was purged stands in for nothing */
    expect_status(client_get(m->port, "/p", ""), 502);
    millpond_wait_idle(m);
    millpond_stop(m);
}

static void retries_come_before_the_stale_page(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SIE);
    struct origin *good = origin_start(stale_script, s);
    struct millpond *m =
        millpond_start(.rest = textf("[pool app]\nserver = 127.0.0.1:%d\nserver = 127.0.0.1:%d\n"
                                     "health_check = off\nretries = 1\n",
                                     origin_port(good), origin_refusing_port()));
    for (unsigned i = 1; i <= 4; i++)
        expect_body(client_get(m->port, "/p", ""), textf("page#%u", i));
    assert_true(millpond_figure(m, "upstream_retries") > 0);
    assert_int_equal(millpond_figure(m, "cache_stale"), 0);
    millpond_stop(m);
}

static void failed_fetch_gives_the_whole_herd_the_stale_page(void **state)
{
    UNUSED(state);
    static const enum trouble troubles[] = {TROUBLE_503, TROUBLE_RESET};
    for (size_t t = 0; t < ARRAY_LEN(troubles); t++) {
        struct script *s = script_new(SIE);
        struct origin *o = origin_start(stale_script, s);
        struct millpond *m = millpond_before(o, ONE_TRY);
        expect_body(client_get(m->port, "/p", ""), "page#1");
        gate_shut(s->gate);
        s->trouble = (int)troubles[t];
        struct client *herd[50];
        for (size_t i = 0; i < ARRAY_LEN(herd); i++) {
            herd[i] = client_open(m->port);
            client_send(herd[i], ASK);
        }
        millpond_wait_figure(m, "followers_now", ARRAY_LEN(herd) - 1);
        gate_open(s->gate);
        for (size_t i = 0; i < ARRAY_LEN(herd); i++)
            expect_stale(client_read(herd[i]), "page#1", "stale_if_error");
        assert_int_equal(origin_requests(o), 2);
        millpond_stop(m);
    }
}

static void only_what_may_be_used_stale_is(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *sections;
        bool served;
    } rows[] = {
        {"Cache-Control: public, max-age=0\r\nETag: \"a\"\r\n", "", true}, /* stale_if_error is 1h */
        {"Cache-Control: public, max-age=0\r\nETag: \"a\"\r\n", "[cache]\nstale_if_error = 0\n", false},
        {"Cache-Control: public, max-age=0\r\nETag: \"a\"\r\n", "[route r]\nstale_if_error = 0\n", false},
        /* perhaps made for one client: the option does not count */
        {"Cache-Control: max-age=0\r\nETag: \"a\"\r\n", "", false},
        {"ETag: \"a\"\r\n", "", false},
        {"Cache-Control: max-age=0, stale-if-error=9\r\nETag: \"a\"\r\n", "[route r]\nstale_if_error = 0\n",
         true},
        {"Cache-Control: max-age=0, stale-if-error=0\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: max-age=0, stale-if-error=5\r\nAge: 6\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: max-age=0, must-revalidate, stale-if-error=9\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: max-age=0, proxy-revalidate, stale-if-error=9\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: s-maxage=0, stale-if-error=9\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: no-cache, stale-if-error=9, stale-while-revalidate=9\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: max-age=0, must-revalidate, stale-while-revalidate=9\r\nETag: \"a\"\r\n", "", false},
        {"Cache-Control: no-store, stale-if-error=9\r\nETag: \"a\"\r\n", "", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct script *s = script_new(rows[i].fields);
        struct origin *o = origin_start(stale_script, s);
        struct millpond *m = millpond_before(o, textf(ONE_TRY "%s", rows[i].sections));
        expect_body(client_get(m->port, "/p", ""), "page#1");
        s->trouble = TROUBLE_503;
        struct message *r = client_get(m->port, "/p", "");
        EXPECT(r->status == (rows[i].served ? 200 : 503), "row %zu: %d", i, r->status);
        millpond_stop(m);
        origin_stop(o);
    }
}

static void vary_script(struct origin_conn *c, const struct message *request, void *arg)
{
    _Atomic unsigned *served = arg;
    UNUSED(request);
    switch (++*served) {
    case 1:
        origin_respond(c, 200, SIE, "page");
        break;
    case 2:
        origin_send(c, "HTTP/1.1 200 OK\r\n" FRESH "Vary: X-Lang\r\nContent-Length: 100\r\n\r\nnew");
        origin_reset(c);
        break;
    default:
        origin_respond(c, 503, "", "trouble");
    }
}

static void page_stays_until_its_successor_is_complete(void **state)
{
    UNUSED(state);
    static _Atomic unsigned served;
    struct millpond *m = millpond_before(origin_start(vary_script, &served), ONE_TRY);
    expect_body(client_get(m->port, "/p", ""), "page");
    client_get(m->port, "/p", ""); /* the new one is cut short */
    expect_stale(client_get(m->port, "/p", ""), "page", "stale_if_error");
    millpond_stop(m);
}

/* What came after it may not be shared, which ends the old page, too, and is remembered: the second herd
 * does not queue. */
static void unstorable_successor_ends_the_page(void **state)
{
    UNUSED(state);
    static const char *const old[] = {SIE, SIE "ETag: \"a\"\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        struct script *s = script_new(old[i]);
        struct origin *o = origin_start(stale_script, s);
        struct millpond *m = millpond_before(o, ONE_TRY);
        expect_body(client_get(m->port, "/p", ""), "page#1");
        s->fields = "Cache-Control: private\r\n";
        expect_body(client_get(m->port, "/p", ""), "page#2");
        gate_shut(s->gate);
        struct client *herd[20];
        for (size_t k = 0; k < ARRAY_LEN(herd); k++) {
            herd[k] = client_open(m->port);
            client_send(herd[k], ASK);
        }
        gate_wait_arrived(s->gate, 2 + ARRAY_LEN(herd));
        gate_open(s->gate);
        for (size_t k = 0; k < ARRAY_LEN(herd); k++)
            expect_status(client_read(herd[k]), 200);
        s->trouble = TROUBLE_503;
        expect_status(client_get(m->port, "/p", ""), 503);
        millpond_stop(m);
    }
}

/* What one client, or a failing application, gets does not end it. */
static void page_outlives_other_successors(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *request;
        enum trouble trouble;
    } rows[] = {
        {FRESH "Set-Cookie: id=1\r\n", "", TROUBLE_NONE},
        {"Cache-Control: private\r\n", "Cookie: id=1\r\n", TROUBLE_NONE},
        {"", "", TROUBLE_RESET},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct script *s = script_new(SIE);
        struct origin *o = origin_start(stale_script, s);
        struct millpond *m = millpond_before(o, ONE_TRY);
        expect_body(client_get(m->port, "/p", ""), "page#1");
        s->fields = rows[i].fields;
        s->trouble = (int)rows[i].trouble;
        client_get(m->port, "/p", rows[i].request);
        s->trouble = TROUBLE_503;
        expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_if_error");
        millpond_stop(m);
    }
}

/* That a background fetch failed keeps others from being started, not requests from sharing one. */
static void failed_refresh_does_not_end_sharing(void **state)
{
    UNUSED(state);
    struct script *s = script_new(SWR);
    struct origin *o = origin_start(stale_script, s);
    struct millpond *m = millpond_before(o, ONE_TRY);
    expect_body(client_get(m->port, "/p", ""), "page#1");
    s->trouble = TROUBLE_RESET;
    expect_stale(client_get(m->port, "/p", ""), "page#1", "stale_while_revalidate");
    millpond_wait_figure(m, "refreshes_in_flight", 0);
    s->trouble = TROUBLE_NONE;
    s->fields = FRESH;
    assert_int_equal(millpond_cli(m, "purge", "--prefix", "http://test/", NULL).exit_code, 0);
    gate_shut(s->gate);
    struct client *first = client_open(m->port), *second = client_open(m->port);
    client_send(first, ASK);
    client_send(second, ASK);
    millpond_wait_figure(m, "followers_now", 1);
    gate_open(s->gate);
    expect_body(client_read(first), "page#3");
    expect_body(client_read(second), "page#3");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(stale_page_is_served_while_it_is_renewed),
        E2E_TEST(stale_page_is_confirmed_in_the_background),
        E2E_TEST(thousand_clients_make_one_background_fetch),
        E2E_TEST(purge_during_a_refresh_is_final),
        E2E_TEST(failing_refresh_is_not_repeated_at_once),
        E2E_TEST(shutdown_does_not_wait_for_a_refresh_for_ever),
        E2E_TEST(stale_page_stands_in_for_an_error),
        E2E_TEST(retries_come_before_the_stale_page),
        E2E_TEST(failed_fetch_gives_the_whole_herd_the_stale_page),
        E2E_TEST(only_what_may_be_used_stale_is),
        E2E_TEST(unstorable_successor_ends_the_page),
        E2E_TEST(page_outlives_other_successors),
        E2E_TEST(failed_refresh_does_not_end_sharing),
        E2E_TEST(page_stays_until_its_successor_is_complete),
    };
    return E2E_RUN("cache_stale", tests);
}
