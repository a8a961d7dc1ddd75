/* cache_no_vary.c: No-Vary-Search: pages shared by what they say of their query, rules that change or end,
 * and that no purge misses what lies under a rule. */
#include "tests/support/millpond.h"

#define LONG   "Cache-Control: max-age=600\r\n"
#define ETAG   "ETag: \"e\"\r\n"
#define IGNORE "No-Vary-Search: params=(\"x\")\r\n"

/* What the instance answers; the test changes it between requests. */
struct answer {
    int status; /* 304: 200 to a request without condition */
    const char *fields;
    struct gate *gate; /* for paths with "held" in them; NULL: at once */
};
static pthread_mutex_t answer_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct answer answer_now; /* under the mutex */

static void holds(struct answer a)
{
    pthread_mutex_lock(&answer_mutex);
    answer_now = a;
    pthread_mutex_unlock(&answer_mutex);
}

static void says(const char *fields)
{
    holds((struct answer){200, fields, NULL});
}

static void answers(int status, const char *fields)
{
    holds((struct answer){status, fields, NULL});
}

/* Every answer has a number of its own. */
static void number_script(struct origin_conn *c, const struct message *request, void *arg)
{
    UNUSED(arg);
    static _Atomic unsigned served;
    pthread_mutex_lock(&answer_mutex);
    const struct answer a = answer_now;
    pthread_mutex_unlock(&answer_mutex);
    char body[512];
    snprintf(body, sizeof body, "%s #%u", request->target, ++served);
    int status = a.status == 304 && message_field(request, "If-None-Match") == NULL ? 200 : a.status;
    if (a.gate != NULL && strstr(request->target, "held") != NULL)
        gate_pass(a.gate);
    origin_respond(c, status, a.fields, body);
}

static const char *get(struct millpond *m, const char *target)
{
    return client_get(m->port, target, "")->body;
}

/* Rules are heeded from the second on that a process is told: the first only says that there are some. */
static struct millpond *start_with(struct origin *o, const char *sections)
{
    struct millpond *m = millpond_before(o, sections);
    says(LONG IGNORE);
    get(m, "/first");
    return m;
}

static struct millpond *start(const char *sections)
{
    return start_with(origin_start(number_script, NULL), sections);
}

static void expect_same(const char *a, const char *b)
{
    EXPECT(strcmp(a, b) == 0, "'%s' and '%s'", a, b);
}

static void expect_other(const char *a, const char *b)
{
    EXPECT(strcmp(a, b) != 0, "both are '%s'", a);
}

static void first_rule_is_learned(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start(number_script, NULL), "");
    says(LONG IGNORE);
    const char *first = get(m, "/p?x=1"), *shared = get(m, "/p?x=2");
    expect_other(shared, first);
    expect_same(get(m, "/p?x=3"), shared);
    expect_same(get(m, "/p"), shared);
    expect_same(get(m, "/p?x=1"), shared);
    millpond_purge(m, url_of("/p?x=9"));
    expect_other(get(m, "/p?x=1"), shared); /* and not the first again, which is older */
    millpond_stop(m);
}

/* What is stored for one query turns out to be for many: it is fetched anew, for all of them. */
static void a_confirmation_may_bring_a_rule(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(number_script, NULL);
    struct millpond *m = start_with(o, "");
    says("Cache-Control: max-age=0\r\n" ETAG);
    const char *one = get(m, "/p?x=1");
    answers(304, LONG ETAG IGNORE);
    expect_same(get(m, "/p?x=1"), one);
    says(LONG ETAG IGNORE);
    const char *shared = get(m, "/p?x=1");
    expect_other(shared, one);
    expect_same(get(m, "/p?x=2"), shared);
    millpond_purge(m, url_of("/p?x=2"));
    expect_other(get(m, "/p?x=1"), shared);
    millpond_stop(m);
}

static void pages_are_shared_as_they_say(void **state)
{
    UNUSED(state);
    static const struct {
        const char *field, *one, *other;
        bool same;
    } rows[] = {
        {IGNORE, "?x=1", "?x=2", true},
        {IGNORE, "?x=1", "", true},
        {IGNORE, "", "?%78=1", true},
        {IGNORE, "?a=1&x=1", "?x=2&a=1", true},
        {IGNORE, "?a=+", "?a=%20&x", true},
        {IGNORE, "?a", "?a=&&", true},
        {IGNORE, "?a=1", "?a=2", false},
        {IGNORE, "?x=1;a=2", "?x=2", false},
        {"No-Vary-Search: params\r\n", "?a=1", "?b=2", true},
        {"No-Vary-Search: params, except=(\"id\")\r\n", "?id=1&b", "?c&id=1", true},
        {"No-Vary-Search: params, except=(\"id\")\r\n", "?id=1", "?id=2", false},
        {"No-Vary-Search: params\r\nNo-Vary-Search: except=(\"id\")\r\n", "?id=1&b", "?c&id=1", true},
        {"No-Vary-Search: key-order\r\n", "?a=%31&b=2", "?b=2&a=1", true},
        {"No-Vary-Search: params=(\"x\"), except=(\"y\")\r\n", "?x=1", "?x=2", false},
        {"No-Vary-Search: params=(x)\r\n", "?x=1", "?x=2", false},
        {"", "?x=1", "?x=2", false},
    };
    struct millpond *m = start("");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        says(textf(LONG "%s", rows[i].field));
        const char *one = get(m, textf("/%zu%s", i, rows[i].one));
        const char *other = get(m, textf("/%zu%s", i, rows[i].other));
        EXPECT((strcmp(one, other) == 0) == rows[i].same, "row %zu: %s %s", i, one, other);
        expect_same(get(m, textf("/%zu%s", i, rows[i].one)), one);
    }
    millpond_stop(m);
}

static void order_counts_where_the_route_says_so(void **state)
{
    UNUSED(state);
    struct millpond *m = start("[route r]\nkey_sort = no\n");
    says(LONG IGNORE);
    const char *one = get(m, "/p?a=1&b=2");
    expect_other(get(m, "/p?b=2&a=1"), one);
    expect_same(get(m, "/p?a=1&x&b=2"), one);
    says(LONG "No-Vary-Search: key-order\r\n");
    one = get(m, "/q?a=1&b=2");
    expect_same(get(m, "/q?b=2&a=1"), one);
    millpond_stop(m);
}

static void routes_may_not_heed_it(void **state)
{
    UNUSED(state);
    static const char *const routes[] = {"[route r]\nno_vary_search = no\n",
                                         "[route r]\nkey_query = except: y\n"};
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        struct millpond *m = start(routes[i]);
        expect_other(get(m, "/p?x=1"), get(m, "/p?x=2"));
        millpond_stop(m);
    }
    struct millpond *m = start("[route r]\nkey_device = yes\n");
    const char *one = get(m, "/p?x=1");
    expect_same(get(m, "/p?x=2"), one);
    expect_other(client_get(m->port, "/p?x=2", "User-Agent: iPhone\r\n")->body, one);
    millpond_stop(m);
}

static void head_and_vary_go_by_it(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(number_script, NULL);
    struct millpond *m = start_with(o, "");
    says(LONG IGNORE "Vary: X-A\r\n");
    const char *one = client_get(m->port, "/p?x=1", "X-A: 1\r\n")->body;
    const char *two = client_get(m->port, "/p?x=2", "X-A: 2\r\n")->body;
    expect_other(one, two);
    expect_same(client_get(m->port, "/p?x=3", "X-A: 1\r\n")->body, one);
    expect_same(client_get(m->port, "/p?x=3", "X-A: 2\r\n")->body, two);
    unsigned before = origin_requests(o);
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /p?x=4 HTTP/1.1\r\nHost: test\r\nX-A: 1\r\n\r\n");
    struct message *r = client_read_no_body(c);
    expect_status(r, 200);
    assert_int_equal(origin_requests(o), before);
    millpond_stop(m);
}

static void what_is_personal_is_not_shared(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    get(m, "/p?x=1");
    says("Cache-Control: private, max-age=600\r\n" IGNORE);
    expect_other(get(m, "/q?x=1"), get(m, "/q?x=2"));
    says(LONG IGNORE "Set-Cookie: a=1\r\n");
    expect_other(get(m, "/r?x=1"), get(m, "/r?x=2"));
    millpond_stop(m);
    m = start("[route r]\nttl = 600s\n");
    says(IGNORE);
    const char *one = get(m, "/p?x=1");
    expect_same(get(m, "/p?x=2"), one);
    expect_other(client_get(m->port, "/p?x=3", "Cookie: a=1\r\n")->body, one);
    millpond_stop(m);
}

/* ---- rules that change ---- */

static void another_rule_takes_over(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    const char *one = get(m, "/p?x=1&y=1");
    expect_same(get(m, "/p?x=2&y=1"), one);
    says(LONG "No-Vary-Search: params=(\"y\")\r\n");
    const char *two = get(m, "/p?x=1&y=2"); /* under the old rule another page */
    expect_other(two, one);
    expect_same(get(m, "/p?x=1&y=3"), two);
    expect_same(get(m, "/p?x=1&y=1"), two);
    expect_other(get(m, "/p?x=2&y=1"), two);
    millpond_stop(m);
}

static void rule_ends_with_a_success_without_it(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    const char *one = get(m, "/p?x=1&y=1");
    says(LONG);
    const char *two = get(m, "/p?x=1&y=2");
    expect_same(get(m, "/p?x=1&y=2"), two);
    expect_other(get(m, "/p?x=2&y=2"), two);
    expect_other(get(m, "/p?x=2&y=1"), one);
    millpond_stop(m);
}

/* A bad link does not have everybody miss, and is stored for itself. */
static void errors_without_it_leave_the_rule(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    const char *one = get(m, "/p?x=1&id=1");
    answers(404, LONG);
    const char *bad = get(m, "/p?x=1&id=2");
    expect_same(get(m, "/p?x=1&id=2"), bad);
    expect_same(get(m, "/p?x=5&id=1"), one);
    expect_other(get(m, "/p?x=2&id=2"), bad);
    millpond_stop(m);
}

/* What may not be stored is remembered for nobody else's query. */
static void unstored_errors_hold_up_nobody(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    get(m, "/p?x=1&id=1");
    answers(403, "Cache-Control: no-store\r\n");
    get(m, "/p?x=1&id=2");
    says(LONG IGNORE);
    const char *one = get(m, "/p?x=2&id=2");
    expect_same(get(m, "/p?x=3&id=2"), one);
    millpond_stop(m);
}

static void stored_before_the_rule_is_still_found(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    says(LONG);
    const char *old = get(m, "/p?x=1");
    says(LONG IGNORE);
    const char *shared = get(m, "/p?x=2");
    expect_same(get(m, "/p?x=3"), shared);
    millpond_purge(m, url_of("/p?x=7")); /* what is shared goes; the other one was not it */
    expect_same(get(m, "/p?x=1"), old);
    expect_other(get(m, "/p?x=3"), shared);
    millpond_stop(m);
}

#define SHORT "Cache-Control: max-age=0, must-revalidate\r\n"

static void confirmations_may_change_the_rule(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(number_script, NULL);
    struct millpond *m = start_with(o, "");
    says(SHORT ETAG IGNORE);
    const char *one = get(m, "/p?x=1&y=1");
    answers(304, SHORT ETAG);
    expect_same(get(m, "/p?x=2&y=1"), one); /* says nothing, so it stays */
    answers(304, LONG ETAG "No-Vary-Search: params=(\"y\")\r\n");
    expect_same(get(m, "/p?x=1&y=1"), one); /* its own client gets what was confirmed */
    const char *other = get(m, "/p?x=2&y=1");
    expect_other(other, one); /* nobody else does, who is told apart now */
    expect_same(get(m, "/p?x=2&y=2"), other);
    millpond_stop(m);
}

/* ---- waiting ---- */

static struct client *ask(struct millpond *m, const char *target)
{
    struct client *c = client_open(m->port);
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
    return c;
}

/* Two requests that are one by the rule, the second while the first waits for its response. */
static void ask_both(struct answer says_first, const char *other_target, const char **one, const char **other,
                     bool *shared)
{
    struct origin *o = origin_start(number_script, NULL);
    struct millpond *m = start_with(o, "");
    get(m, "/held?x=1");
    millpond_purge(m, url_of("/held"));
    says_first.gate = gate_new();
    holds(says_first);
    unsigned before = origin_requests(o);
    struct client *a = ask(m, "/held?x=2");
    gate_wait_arrived(says_first.gate, 1);
    struct client *b = ask(m, other_target);
    millpond_wait_figure(m, "followers_now", 1);
    gate_open(says_first.gate);
    *one = client_read(a)->body;
    *other = client_read(b)->body;
    *shared = origin_requests(o) == before + 1;
    millpond_stop(m);
}

static void waiting_requests_share_under_the_rule(void **state)
{
    UNUSED(state);
    const char *one, *other;
    bool shared;
    ask_both((struct answer){200, LONG IGNORE, NULL}, "/held?x=3", &one, &other, &shared);
    expect_same(one, other);
    assert_true(shared);
    /* also when the rule turns out to be another, by which they are one as well */
    ask_both((struct answer){200, LONG "No-Vary-Search: params=(\"y\")\r\n", NULL}, "/held?x=2", &one, &other,
             &shared);
    expect_same(one, other);
    assert_true(shared);
}

/* Whose response says something else is its client's alone; who waited for it asks for himself. */
static void waiting_requests_get_nothing_of_another_rule(void **state)
{
    UNUSED(state);
    static const struct answer all[] = {
        {200, LONG "No-Vary-Search: params=(\"y\")\r\n", NULL},
        {200, LONG, NULL},
        {404, LONG, NULL},
        {200, "Cache-Control: private\r\n", NULL},
        {500, "", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const char *one, *other;
        bool shared;
        ask_both(all[i], "/held?x=3", &one, &other, &shared);
        expect_in(one, "x=2");
        expect_in(other, "x=3");
        assert_false(shared);
    }
}

/* ---- purges ---- */

static void purge(struct millpond *m, size_t how)
{
    const char *const args[][2] = {
        {"--url", url_of("/held?x=9")},
        {"--prefix", url_of("/held?x=9")},
        {"--prefix", url_of("/hel")},
        {"--prefix", url_of("/held?")},
        {"--glob", url_of("/held?x=9")},
        {"--glob", url_of("/*ld?x=?")},
        {"--glob", url_of("/held*=9")},
        {"--glob", "*x=9"},
        {"--host", "test"},
        {"--tag", "t"},
        {"--all", NULL},
        {"--any-query", url_of("/held?z")},
    };
    if (how < ARRAY_LEN(args)) {
        struct proc_result r = strcmp(args[how][0], "--url") == 0
                                   ? millpond_cli(m, "purge", args[how][1], NULL)
                                   : millpond_cli(m, "purge", args[how][0], args[how][1], NULL);
        EXPECT(r.exit_code == 0, "purge %s: %s%s", args[how][0], r.out, r.err);
        return;
    }
    static const char *const methods[] = {"PURGE", "POST", "DELETE"};
    how -= ARRAY_LEN(args);
    expect_status(client_ask(m->port, methods[how], "/held?x=9", "", ""), 200);
}

#define PURGES 15

/* Each names another URL than what is stored was asked for by, but one that would be answered by it. */
static void every_purge_reaches_it(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    for (size_t how = 0; how < PURGES; how++) {
        says(LONG IGNORE "Surrogate-Key: t\r\n");
        const char *one = get(m, "/held?x=1");
        expect_same(get(m, "/held?x=2"), one);
        purge(m, how);
        EXPECT(strcmp(get(m, "/held?x=2"), one) != 0, "purge %zu misses it", how);
    }
    millpond_stop(m);
}

/* Also one that began while no rule was known, whose response is moved to where it belongs. */
static void a_purge_reaches_a_fetch_under_way(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    for (size_t i = 0; i < 2 * PURGES; i++) {
        const size_t how = i / 2, known = i % 2;
        says(known != 0 ? LONG IGNORE : LONG);
        get(m, textf("/held?y=%zu", i));
        struct proc_result r = millpond_cli(m, "purge", "--any-query", url_of("/held"), NULL);
        EXPECT(r.exit_code == 0, "%s", r.err);
        struct gate *gate = gate_new();
        holds((struct answer){200, LONG IGNORE "Surrogate-Key: t\r\n", gate});
        struct client *a = ask(m, "/held?x=1");
        gate_wait_arrived(gate, 1);
        says(LONG IGNORE);
        purge(m, how);
        gate_open(gate);
        const char *one = client_read(a)->body;
        EXPECT(strcmp(get(m, "/held?x=1"), one) != 0, "purge %zu misses it (%zu)", how, known);
        EXPECT(strcmp(get(m, "/held?x=2"), one) != 0, "purge %zu misses it for others (%zu)", how, known);
    }
    millpond_stop(m);
}

/* Purges reach what lies under rules from the first rule on; what was asked for before does not lie there. */
static void first_rule_outruns_no_purge(void **state)
{
    UNUSED(state);
    struct millpond *m = millpond_before(origin_start(number_script, NULL), "");
    struct gate *gate = gate_new();
    holds((struct answer){200, LONG IGNORE, gate});
    struct client *a = ask(m, "/held?x=1");
    gate_wait_arrived(gate, 1);
    says(LONG IGNORE);
    millpond_purge(m, url_of("/held?x=9"));
    gate_open(gate);
    const char *one = client_read(a)->body;
    expect_other(get(m, "/held?x=9"), one);
    millpond_stop(m);
}

/* The rule is forgotten, the page is purged, the rule is known again. */
static void forgotten_rules_do_not_save_from_purges(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    for (size_t how = 0; how < PURGES; how++) {
        says(LONG IGNORE "Surrogate-Key: t\r\n");
        const char *one = get(m, "/held?x=1");
        expect_same(get(m, "/held?x=2"), one);
        says(LONG);
        get(m, textf("/held?x=2&gone=%zu", how));
        expect_other(get(m, textf("/held?x=%zu", 100 + how)), one); /* it is forgotten */
        says(LONG IGNORE "Surrogate-Key: t\r\n");
        purge(m, how);
        get(m, textf("/held?x=2&back=%zu", how));
        EXPECT(strcmp(get(m, "/held?x=1"), one) != 0, "purge %zu misses it", how);
    }
    millpond_stop(m);
}

static void soft_purges_make_it_stale(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(number_script, NULL);
    struct millpond *m = start_with(o, "");
    says(LONG ETAG IGNORE);
    const char *one = get(m, "/p?x=1");
    struct proc_result r = millpond_cli(m, "purge", "--soft", url_of("/p?x=9"), NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    answers(304, LONG ETAG);
    unsigned before = origin_requests(o);
    expect_same(get(m, "/p?x=2"), one);
    assert_int_equal(origin_requests(o), before + 1);
    expect_same(get(m, "/p?x=3"), one);
    assert_int_equal(origin_requests(o), before + 1);
    millpond_stop(m);
}

static void explain_shows_the_key(void **state)
{
    UNUSED(state);
    struct millpond *m = start("");
    get(m, "/p?x=1&a=2");
    struct proc_result r = millpond_cli(m, "explain", "--json", url_of("/p?a=2&x=7"), NULL);
    EXPECT(r.exit_code == 0, "%s", r.err);
    expect_in(r.out, "http://test/p?a=2 no-vary:except:x");
    expect_in(r.out, "\"hit\"");
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(first_rule_is_learned),
        E2E_TEST(a_confirmation_may_bring_a_rule),
        E2E_TEST(pages_are_shared_as_they_say),
        E2E_TEST(order_counts_where_the_route_says_so),
        E2E_TEST(routes_may_not_heed_it),
        E2E_TEST(head_and_vary_go_by_it),
        E2E_TEST(what_is_personal_is_not_shared),
        E2E_TEST(another_rule_takes_over),
        E2E_TEST(rule_ends_with_a_success_without_it),
        E2E_TEST(errors_without_it_leave_the_rule),
        E2E_TEST(unstored_errors_hold_up_nobody),
        E2E_TEST(stored_before_the_rule_is_still_found),
        E2E_TEST(confirmations_may_change_the_rule),
        E2E_TEST(waiting_requests_share_under_the_rule),
        E2E_TEST(waiting_requests_get_nothing_of_another_rule),
        E2E_TEST(every_purge_reaches_it),
        E2E_TEST(a_purge_reaches_a_fetch_under_way),
        E2E_TEST(first_rule_outruns_no_purge),
        E2E_TEST(forgotten_rules_do_not_save_from_purges),
        E2E_TEST(soft_purges_make_it_stale),
        E2E_TEST(explain_shows_the_key),
    };
    return E2E_RUN("cache_no_vary", tests);
}
