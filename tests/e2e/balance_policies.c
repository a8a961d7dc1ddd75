/* balance_policies.c: which of several real instances answers: by load, by hash, by latency, and with a
 * cookie that keeps a visitor where he was: across a reload, a restart and the end of the instance. */
#include <signal.h>

#include "tests/support/app.h"
#include "tests/support/load.h"
#include "tests/support/millpond.h"

#define NO_STORE  "store = off"
#define INSTANCES 3

static char *server(struct origin *o, const char *attributes)
{
    return textf("server = 127.0.0.1:%d %s\n", origin_port(o), attributes);
}

static struct origin *origins[INSTANCES];

/* Three that answer "a", "b" and "c", as lines of a pool. */
static char *three(const char *lines)
{
    char *text = textf("[pool app]\nhealth_check = off\n%s", lines);
    for (int i = 0; i < INSTANCES; i++) {
        const char name[] = {(char)('a' + i), '\0'};
        origins[i] = origin_start_named(name);
        text = textf("%s%s", text, server(origins[i], textf("name=%s", name)));
    }
    return text;
}

static const char *seen(struct millpond *m, int count, const char *target, const char *fields)
{
    const char *all = "";
    for (int i = 0; i < count; i++)
        all = textf("%s%s", all, client_get(m->port, target, fields)->body);
    return all;
}

/* ---- least_connections ---- */

struct holder {
    const char *name;
    struct gate *gate;
};

static void holder_script(struct origin_conn *c, const struct message *request, void *arg)
{
    struct holder *h = arg;
    if (strcmp(request->target, "/held") == 0)
        gate_pass(h->gate);
    origin_respond(c, 200, "Cache-Control: no-store\r\n", h->name);
}

/* Two requests each are held; then one has answered its own. Two, since the one that was answered last may
 * still count for a moment when its client has the answer already. */
static void the_busy_one_gets_nothing_more(void **state)
{
    UNUSED(state);
    struct holder hold[2] = {{"busy", gate_new()}, {"idle", gate_new()}};
    struct origin *busy = origin_start(holder_script, &hold[0]),
                  *idle = origin_start(holder_script, &hold[1]);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = off\nbalance = least_connections\n%s%s",
                                     server(busy, ""), server(idle, "")));
    struct client *held[4];
    for (unsigned i = 0; i < ARRAY_LEN(held); i++) {
        held[i] = client_open(m->port);
        client_send(held[i], "GET /held HTTP/1.1\r\nHost: test\r\n\r\n");
        mono_ms_t until = clock_mono_ms() + support_wait_ms();
        while (origin_requests(busy) + origin_requests(idle) <= i)
            if (clock_mono_ms() > until)
                support_fail("request %u went nowhere", i);
    }
    assert_int_equal(origin_requests(busy), 2);
    gate_open(hold[1].gate);
    for (unsigned i = 1; i < ARRAY_LEN(held); i += 2)
        expect_body(client_read(held[i]), "idle");
    for (int i = 0; i < 10; i++)
        expect_body(client_get(m->port, "/", ""), "idle");
    assert_int_equal(origin_requests(busy), 2);
    gate_open(hold[0].gate);
    for (unsigned i = 0; i < ARRAY_LEN(held); i += 2)
        expect_body(client_read(held[i]), "busy");
    millpond_stop(m);
    origin_stop(busy);
    origin_stop(idle);
}

/* ---- two_choices ---- */

static void the_slow_one_is_avoided(void **state)
{
    UNUSED(state);
    struct app slow = app_node("setTimeout(() => res.end('s'), 1000);");
    struct origin *fast = origin_start_named("f");
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = textf("[pool app]\nhealth_check = off\nbalance = two_choices\n"
                                     "server = 127.0.0.1:%d\n%s",
                                     slow.port, server(fast, "")));
    unsigned slow_ones = support_count(seen(m, 60, "/", ""), "s");
    EXPECT(slow_ones >= 1 && slow_ones <= 15, "the slow one got %u of 60", slow_ones);
    millpond_stop(m);
}

/* ---- hash ---- */

static void hash_goes_by_what_it_is_told(void **state)
{
    UNUSED(state);
    static const struct {
        const char *hash_on, *target, *fields;
    } cases[] = {{"header:X-User", "/", "X-User: user%d\r\n"},
                 {"cookie:sid", "/", "Cookie: other=1; sid=s%d\r\n"},
                 {"path", "/p%d?q=1", ""}};
    for (size_t n = 0; n < ARRAY_LEN(cases); n++) {
        struct millpond *m =
            millpond_start(.name = textf("m%zu", n), .cache = NO_STORE,
                           .rest = three(textf("balance = hash\nhash_on = %s\n", cases[n].hash_on)));
        const char *owners = "";
        for (int k = 0; k < 30; k++) {
            const char *all = seen(m, 4, textf(cases[n].target, k), textf(cases[n].fields, k));
            EXPECT(support_count(all, textf("%c", all[0])) == 4, "%s %d went to %s", cases[n].hash_on, k,
                   all);
            owners = textf("%s%c", owners, all[0]);
        }
        for (int i = 0; i < INSTANCES; i++) /* about ten each */
            EXPECT(support_count(owners, textf("%c", 'a' + i)) >= 3, "%s: %s", cases[n].hash_on, owners);
        millpond_stop(m);
        for (int i = 0; i < INSTANCES; i++)
            origin_stop(origins[i]);
    }
}

static void hash_moves_only_what_it_must(void **state)
{
    UNUSED(state);
    struct millpond *m =
        millpond_start(.cache = NO_STORE,
                       .rest = three("balance = hash\nhash_on = path\nretry_budget = 100%\n"));
    char before[41] = "";
    for (int k = 0; k < 40; k++)
        before[k] = client_get(m->port, textf("/%d", k), "")->body[0];
    origin_stop(origins[1]);
    for (int k = 0; k < 40; k++) {
        char now = client_get(m->port, textf("/%d", k), "")->body[0];
        EXPECT(before[k] == 'b' ? now == 'a' || now == 'c' : now == before[k], "/%d went from %c to %c", k,
               before[k], now);
    }
    millpond_stop(m);
}

/* ---- sticky_cookie ---- */

/* "srv=VALUE" of the response, to be sent back; checks what else is said. */
static const char *cookie_of(struct message *r)
{
    const char *field = message_field(r, "Set-Cookie");
    EXPECT(field != NULL, "no cookie was set");
    EXPECT(strncmp(field, "srv=", 4) == 0, "the cookie is %s", field);
    expect_in(field, "; Path=/; HttpOnly; SameSite=Lax");
    EXPECT(strchr(field, ';') == field + 4 + 32, "the value is not 32 characters: %s", field);
    return textf("%.*s", 36, field);
}

static void expect_stays(struct millpond *m, const char *cookie, const char *where)
{
    for (int i = 0; i < 6; i++) {
        struct message *r = client_get(m->port, "/", textf("Cookie: x=1; %s; y=2\r\n", cookie));
        expect_body(r, where);
        expect_no_field(r, "Set-Cookie");
    }
}

static void visitors_stay_where_they_are(void **state)
{
    UNUSED(state);
    char *pool = three("sticky_cookie = srv\n");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool);
    const char *cookies[INSTANCES] = {NULL};
    for (int i = 0; i < INSTANCES; i++) {
        struct message *r = client_get(m->port, "/", "");
        cookies[r->body[0] - 'a'] = cookie_of(r);
    }
    for (int i = 0; i < INSTANCES; i++) { /* each newcomer went elsewhere, and stays there */
        assert_non_null(cookies[i]);
        expect_stays(m, cookies[i], textf("%c", 'a' + i));
    }
    /* The application does not see it, and what is made up is like none. */
    const struct message *last = origin_request(origins[2], origin_requests(origins[2]) - 1);
    expect_field(last, "Cookie", "x=1; y=2");
    struct message *forged = client_get(m->port, "/", "Cookie: srv=0123456789abcdef0123456789abcdef\r\n");
    cookie_of(forged);
    char *weights = textf("%s", pool);
    char *b = strstr(weights, "name=b");
    memcpy(b, "name=B", 6); /* another server now, so for its visitors the old one is gone */
    millpond_write_ini(m, .cache = NO_STORE, .rest = weights);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_stays(m, cookies[0], "a");
    expect_stays(m, cookies[2], "c");
    struct message *moved = client_get(m->port, "/", textf("Cookie: %s\r\n", cookies[1]));
    expect_stays(m, cookie_of(moved), textf("%s", moved->body));
    millpond_stop(m);
}

static void visitors_stay_across_a_restart(void **state)
{
    UNUSED(state);
    char *pool = three("sticky_cookie = srv\n");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool);
    struct message *r = client_get(m->port, "/", "");
    const char *cookie = cookie_of(r);
    millpond_stop(m);
    m = millpond_start(.cache = NO_STORE, .rest = pool);
    expect_stays(m, cookie, r->body);
    millpond_stop(m);
    m = millpond_start(.name = "other", .cache = NO_STORE, .rest = pool); /* with a key of its own */
    expect_stays(m, cookie_of(client_get(m->port, "/", textf("Cookie: %s\r\n", cookie))), "a");
    millpond_stop(m);
}

static void a_killed_instance_lets_its_visitors_go(void **state)
{
    UNUSED(state);
    struct app a = app_node("res.end('a');"), b = app_node("res.end('b');");
    struct millpond *m = millpond_start(.cache = NO_STORE,
                                        .rest = textf("[pool app]\nhealth_check = off\nsticky_cookie = srv\n"
                                                      "retry_budget = 100%%\nserver = 127.0.0.1:%d name=a\n"
                                                      "server = 127.0.0.1:%d name=b\n",
                                                      a.port, b.port));
    struct message *r = client_get(m->port, "/", "");
    if (r->body[0] != 'a')
        r = client_get(m->port, "/", "");
    const char *cookie = cookie_of(r);
    expect_stays(m, cookie, "a");
    proc_signal(a.proc, SIGKILL);
    struct message *moved = client_get(m->port, "/", textf("Cookie: %s\r\n", cookie));
    expect_body(moved, "b");
    expect_stays(m, cookie_of(moved), "b");
    for (int i = 0; i < 10; i++) /* those who kept the old one are as well off */
        expect_body(client_get(m->port, "/", textf("Cookie: %s\r\n", cookie)), "b");
    millpond_stop(m);
}

static void a_drained_server_keeps_its_visitors(void **state)
{
    UNUSED(state);
    char *pool = three("sticky_cookie = srv\n");
    struct millpond *m = millpond_start(.cache = NO_STORE, .rest = pool);
    struct message *r = client_get(m->port, "/", "");
    const char *cookie = cookie_of(r), *name = textf("name=%s", r->body);
    char *at = strstr(pool, name), *drained = textf("%.*s weight=0%s", (int)(at + 6 - pool), pool, at + 6);
    millpond_write_ini(m, .cache = NO_STORE, .rest = drained);
    assert_int_equal(millpond_cli(m, "reload", NULL).exit_code, 0);
    expect_stays(m, cookie, r->body);
    expect_not_in(seen(m, 9, "/", ""), r->body); /* and gets no new ones */
    millpond_stop(m);
}

/* What is shared has no cookie of anybody; what cannot be shared has. */
static void cacheable_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    bool shared = strcmp(request->target, "/shared") == 0;
    origin_respond(c, 200, shared ? "Cache-Control: max-age=60\r\n" : "Cache-Control: no-store\r\n", "x");
}

static void nothing_that_is_stored_has_the_cookie(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(cacheable_script, NULL);
    struct millpond *m =
        millpond_start(.rest =
                           textf("[pool app]\nhealth_check = off\nsticky_cookie = srv\n%s", server(o, "")));
    const char *cookie = cookie_of(client_get(m->port, "/own", ""));
    expect_no_field(client_get(m->port, "/shared", ""), "Set-Cookie"); /* fetched and stored */
    expect_no_field(client_get(m->port, "/shared", ""), "Set-Cookie");
    /* To have been here before makes nobody less anonymous: the cache is used all the same. */
    struct message *r = client_get(m->port, "/shared", textf("Cookie: %s\r\n", cookie));
    expect_field_in(r, "Cache-Status", "hit");
    expect_no_field(r, "Set-Cookie");
    assert_int_equal(origin_requests_for(o, "/shared"), 1);
    millpond_stop(m);
    origin_stop(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(the_busy_one_gets_nothing_more),         E2E_TEST(the_slow_one_is_avoided),
        E2E_TEST(hash_goes_by_what_it_is_told),           E2E_TEST(hash_moves_only_what_it_must),
        E2E_TEST(visitors_stay_where_they_are),           E2E_TEST(visitors_stay_across_a_restart),
        E2E_TEST(a_killed_instance_lets_its_visitors_go), E2E_TEST(a_drained_server_keeps_its_visitors),
        E2E_TEST(nothing_that_is_stored_has_the_cookie),
    };
    return E2E_RUN("balance_policies", tests);
}
