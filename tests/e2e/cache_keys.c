/* cache_keys.c: what tells stored responses apart: the query, fields, cookies, devices and languages, as
 * routes say; that purging and writing reach all of it; that a reload serves nothing under a meaning it did
 * not have. */
#include "tests/support/millpond.h"

#define LONG "Cache-Control: max-age=600\r\n"

/* Every answer has a number of its own, and says what the instance was told. */
static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    static _Atomic unsigned served;
    const char *vary = arg != NULL ? arg : "";
    const char *device = message_field(request, "Millpond-Device");
    const char *language = message_field(request, "Millpond-Language");
    const char *accept = message_field(request, "Accept-Language");
    char fields[512], body[512];
    snprintf(fields, sizeof fields, LONG "%s", vary);
    snprintf(body, sizeof body, "%s %s %s %s #%u", request->target, device != NULL ? device : "-",
             language != NULL ? language : "-", accept != NULL ? accept : "-", ++served);
    origin_respond(c, 200, fields, body);
}

static struct millpond *start(const char *sections)
{
    return millpond_before(origin_start(echo_script, NULL), sections);
}

static const char *get(struct millpond *m, const char *target, const char *fields)
{
    struct message *r = client_get(m->port, target, fields);
    expect_status(r, 200);
    return r->body;
}

/* Whether the two requests share one stored response. Each row uses a page of its own. */
struct pair {
    const char *one, *one_fields, *other, *other_fields;
    bool same;
};

static void expect_pairs(struct millpond *m, const struct pair *pairs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct pair *p = &pairs[i];
        const char *first = get(m, textf("/%zu%s", i, p->one), p->one_fields);
        const char *second = get(m, textf("/%zu%s", i, p->other), p->other_fields);
        EXPECT((strcmp(first, second) == 0) == p->same, "pair %zu: %s and %s: %s, %s", i, p->one, p->other,
               first, second);
    }
}

static void order_and_spelling_of_a_query_do_not_count(void **state)
{
    UNUSED(state);
    static const struct pair pairs[] = {
        {"?a=1&b=2", "", "?b=2&a=1", "", true},
        {"?a=1&b=%7e", "", "?b=~&%61=1", "", true},
        {"?a=%c3", "", "?a=%C3", "", true},
        {"?a=1&a=2", "", "?a=2&a=1", "", false},
        {"?a=+", "", "?a=%20", "", false},
        {"?a=%26b", "", "?a=&b", "", false},
        {"?a", "", "?a=", "", false},
        {"", "", "?", "", false},
        {"?a=1&b=2", "", "?a=2&b=1", "", false},
        {"?utm_source=x", "", "", "", false},
    };
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_before(o, "");
    expect_pairs(m, pairs, ARRAY_LEN(pairs));
    get(m, "/as/sent?b=%7e&a=1", "");
    assert_int_equal(origin_requests_for(o, "/as/sent?b=%7e&a=1"),
                     1); /* the application gets its own query */
    millpond_stop(m);
}

static void hosts_are_one_in_any_spelling(void **state)
{
    UNUSED(state);
    static const char *const hosts[] = {"test", "TEST", "test:80", "Test.", "test.:80", "test:080"};
    struct millpond *m = start("");
    const char *first = get(m, "/p", "");
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct message *r = client_raw(m->port, textf("GET /p HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]));
        expect_body(r, first);
    }
    static const char *const others[] = {"test:81", "test:443", "tes", "test.x"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct message *r = client_raw(m->port, textf("GET /p HTTP/1.1\r\nHost: %s\r\n\r\n", others[i]));
        EXPECT(strcmp(r->body, first) != 0, "%s shares the page of test", others[i]);
    }
    struct message *r = client_raw(m->port, "GET http://TEST:80/p HTTP/1.1\r\nHost: other\r\n\r\n");
    expect_body(r, first);
    millpond_stop(m);
}

static void parameters_are_left_out_as_the_route_says(void **state)
{
    UNUSED(state);
    static const struct pair except[] = {
        {"?utm_source=x&utm_medium=y", "", "", "", true},
        {"?id=1&fbclid=abc", "", "?gclid=d&id=1", "", true},
        {"?id=1&mine=3", "", "?id=1", "", true},
        {"?id=1&mines=3", "", "?id=1", "", false},
        {"?id=1&utm_source=x;id=2", "", "?id=1", "", false},
        {"?campaign=1", "", "", "", false},
    };
    static const struct pair only[] = {
        {"?id=1&junk=2", "", "?other=3&id=1", "", true},
        {"?junk", "", "", "", true},
        {"?id=1", "", "?id=2", "", false},
        {"?id=1", "", "?id[]=1&id=1", "", false},
        {"?id=1", "", "", "", false},
    };
    static const struct pair none[] = {{"?a=1", "", "", "", true}, {"?a=1;b", "", "?c", "", true}};
    static const struct pair unsorted[] = {{"?a=1&b=2", "", "?b=2&a=1", "", false},
                                           {"?%61=1", "", "?a=1", "", true}};
    static const struct {
        const char *route;
        const struct pair *pairs;
        size_t count;
    } all[] = {{"key_query = except: campaign, mine", except, ARRAY_LEN(except)},
               {"key_query = only: id", only, ARRAY_LEN(only)},
               {"key_query = none", none, ARRAY_LEN(none)},
               {"key_sort = no", unsorted, ARRAY_LEN(unsorted)}};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        struct millpond *m = start(textf("[route r]\n%s\n", all[i].route));
        expect_pairs(m, all[i].pairs, all[i].count);
        millpond_stop(m);
    }
}

static void fields_and_cookies_are_in_the_key(void **state)
{
    UNUSED(state);
    static const struct pair pairs[] = {
        {"", "X-A: 1\r\n", "", "x-a:  1 \r\n", true},
        {"", "X-A: 1\r\n", "", "X-A: 2\r\n", false},
        {"", "", "", "X-A:\r\n", false},
        {"", "X-A: 1,2\r\n", "", "X-A: 1\r\nX-A: 2\r\n", true},
        {"", "X-Other: 1\r\n", "", "X-Other: 2\r\n", true},
        {"", "Cookie: theme=a; x=1\r\n", "", "Cookie: x=2; theme=a\r\n", true},
        {"", "Cookie: theme=a\r\n", "", "Cookie: theme=b\r\n", false},
        {"", "Cookie: theme=\r\n", "", "", false},
        {"", "Cookie: x=1\r\n", "", "", true},
    };
    struct millpond *m = start("[route r]\nkey_headers = X-A\nkey_cookies = theme\n");
    expect_pairs(m, pairs, ARRAY_LEN(pairs));
    millpond_stop(m);
}

static void a_key_too_long_passes_by(void **state)
{
    UNUSED(state);
    char cookie[6000] = "Cookie: theme=";
    struct millpond *m = start("[route r]\nkey_cookies = theme\n");
    memset(cookie + strlen(cookie), 'x', 5000);
    strcat(cookie, "\r\n");
    struct message *r = client_get(m->port, "/p", cookie);
    expect_status(r, 200);
    expect_field_in(r, "Cache-Status", "detail=key_too_large");
    assert_string_not_equal(get(m, "/p", cookie), r->body);
    millpond_stop(m);
}

#define PHONE  "User-Agent: X (iPhone) Mobile/1\r\n"
#define PHONE2 "User-Agent: Y (Android 10) Mobile\r\n"

static void devices_and_languages_are_folded(void **state)
{
    UNUSED(state);
    char vary[] = "Vary: User-Agent, Accept-Language\r\n";
    struct millpond *m = millpond_before(origin_start(echo_script, vary),
                                         "[route r]\nkey_device = yes\nkey_language = en, de\n");
    const char *phone = get(m, "/p", PHONE "Accept-Language: de-AT, fr\r\n");
    expect_in(phone, "/p mobile de de #");
    assert_string_equal(get(m, "/p", PHONE2 "Accept-Language: it, de;q=0.2\r\n"), phone);
    const char *desk = get(m, "/p", "Accept-Language: it\r\nMillpond-Device: forged\r\n");
    expect_in(desk, "/p desktop en en #");
    assert_string_equal(get(m, "/p", "User-Agent: Z\r\n"), desk);
    expect_in(get(m, "/p", PHONE), "/p mobile en en #");
    expect_in(get(m, "/p", "Accept-Language: de\r\n"), "/p desktop de de #");
    assert_int_equal(millpond_figure(m, "objects"), 4);
    millpond_stop(m);
}

/* A route chosen by a field answers from its own pool only. */
static void routes_chosen_by_fields_do_not_share(void **state)
{
    UNUSED(state);
    struct origin *beta = origin_start(echo_script, NULL), *rest = origin_start(echo_script, NULL);
    struct millpond *m =
        millpond_start(.rest = textf("%s%s[route beta]\nheader = X-Beta: 1\npool = beta\n"
                                     "[route rest]\npool = rest\n",
                                     pool_lines("beta", 1, beta), pool_lines("rest", 1, rest)));
    const char *b = get(m, "/p", "X-Beta: 1\r\n"), *r = get(m, "/p", "");
    assert_string_not_equal(b, r);
    assert_string_equal(get(m, "/p", "X-Beta: 1\r\n"), b);
    assert_string_equal(get(m, "/p", "X-Beta: 2\r\n"), r);
    millpond_purge(m, url_of("/p"));
    assert_string_not_equal(get(m, "/p", "X-Beta: 1\r\n"), b);
    assert_string_not_equal(get(m, "/p", ""), r);
    millpond_stop(m);
}

/* Any spelling of the URL will do, and what lies under longer keys goes too. */
static void purging_and_writing_reach_every_spelling(void **state)
{
    UNUSED(state);
    static const char sections[] =
        "[route post]\nmethod = POST\ncache = off\n"
        "[route device]\npath = /d\nkey_device = yes\nkey_query = except: campaign\n"
        "[route rest]\nkey_query = except: campaign\n";
    static const char *const pages[] = {"/d", "/r"};
    static const char *const spellings[] = {"%s?b=2&a=1", "%s?a=1&b=2&utm_source=x",
                                            "%s?fbclid=1&%%61=1&b=2"};
    struct millpond *m = start(sections);
    for (size_t p = 0; p < ARRAY_LEN(pages); p++) {
        for (size_t i = 0; i < ARRAY_LEN(spellings); i++) {
            char target[128];
            snprintf(target, sizeof target, spellings[i], pages[p]);
            for (int how = 0; how < 4; how++) {
                const char *stored = textf("%s?a=1&b=2", pages[p]);
                const char *desk = get(m, stored, ""), *phone = get(m, stored, PHONE);
                assert_string_equal(get(m, stored, ""), desk);
                if (how == 0)
                    millpond_purge(m, url_of(target));
                else if (how == 1)
                    expect_status(client_ask(m->port, "PURGE", target, "", ""), 200);
                else if (how == 2)
                    expect_status(client_ask(m->port, "POST", target, "", "x"), 200);
                else
                    expect_status(client_ask(m->port, "DELETE", target, PHONE, ""), 200);
                EXPECT(strcmp(get(m, stored, ""), desk) != 0, "%s is kept (%d)", target, how);
                EXPECT(strcmp(get(m, stored, PHONE), phone) != 0, "%s is kept for phones (%d)", target, how);
            }
        }
    }
    millpond_stop(m);
}

static struct message *ask_on(struct client *c, const char *target)
{
    client_send(c, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", target);
    struct message *r = client_read(c);
    expect_status(r, 200);
    return r;
}

/* What the leak guard puts into keys goes with the URL, too. */
static void writing_reaches_what_clients_were_believed_to_say(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_before(o, "[route r]\nkeep_request_header = X-Forwarded-Prefix\n");
    const char *a = get(m, "/p", "X-Forwarded-Prefix: /a\r\n"), *plain = get(m, "/p", "");
    assert_string_not_equal(a, plain);
    assert_string_equal(get(m, "/p", "X-Forwarded-Prefix: /a\r\n"), a);
    expect_status(client_ask(m->port, "POST", "/p", "X-Forwarded-Prefix: /b\r\n", "x"), 200);
    assert_string_not_equal(get(m, "/p", "X-Forwarded-Prefix: /a\r\n"), a);
    assert_string_not_equal(get(m, "/p", ""), plain);
    millpond_stop(m);
    m = millpond_start(.main = "trusted_proxies = 127.0.0.1", .rest = pool_lines("app", 1, o));
    a = get(m, "/p", "X-Forwarded-Proto: https\r\n");
    assert_string_equal(get(m, "/p", "X-Forwarded-Proto: https\r\n"), a);
    expect_status(client_ask(m->port, "POST", "/p", "X-Forwarded-Proto: https\r\n", "x"), 200);
    assert_string_not_equal(get(m, "/p", "X-Forwarded-Proto: https\r\n"), a);
    millpond_stop(m);
}

/* Workers take a new configuration over one by one: until this connection's has. */
static void reload_to(struct millpond *m, struct client *c, struct origin *o, const char *rules)
{
    static unsigned generation;
    char *mark = textf("%u", ++generation);
    millpond_write_ini(m, .rest = textf("%s[route r]\nset_response_header = X-Generation: %s\n%s",
                                        pool_lines("app", 1, o), mark, rules));
    struct proc_result r = millpond_cli(m, "reload", NULL);
    EXPECT(r.exit_code == 0, "reload: %d\n%s%s", r.exit_code, r.out, r.err);
    const char *seen;
    do
        seen = message_field(ask_on(c, "/mark"), "X-Generation");
    while (seen == NULL || strcmp(seen, mark) != 0);
}

/* Stored while `/p` stood for every query; asked for when it stands for none. */
static void reload_serves_nothing_under_another_meaning(void **state)
{
    UNUSED(state);
    static const char *const rules[] = {"key_query = none\n",      "key_sort = no\n",
                                        "key_query = only: b\n",   "",
                                        "key_query = except: a\n", "key_query = except: a, b\n"};
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_start(.rest = pool_lines("app", 1, o));
    struct client *c = client_open(m->port);
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        reload_to(m, c, o, rules[i]);
        const char *tagged = ask_on(c, "/p?b=1&a=2")->body;
        expect_in(tagged, "/p?b=1&a=2");
        expect_body(ask_on(c, "/p?b=1&a=2"), tagged);
    }
    reload_to(m, c, o, "");
    expect_in(ask_on(c, "/p?b=1")->body, "/p?b=1 ");
    expect_in(ask_on(c, "/p")->body, "/p ");
    reload_to(m, c, o, "key_query = none\n"); /* the same rules find what they stored */
    expect_in(ask_on(c, "/p?x")->body, "/p?b=1&a=2 ");
    millpond_stop(m);
}

static void many_variants_are_said_aloud(void **state)
{
    UNUSED(state);
    char vary[] = "Vary: X-Many, X-Few\r\n";
    struct origin *o = origin_start(echo_script, vary);
    struct millpond *m = millpond_start(.cache = "max_variants = 4", .rest = pool_lines("app", 1, o));
    for (int i = 0; i < 8; i++)
        get(m, "/p", textf("X-Many: %d\r\nX-Few: %d\r\n", i, i % 2));
    millpond_wait_log(m, "http://test/p has 4 stored variants, which is max_variants", 1);
    millpond_wait_log(m, "It varies by x-few (2 values), x-many (4)", 1);
    millpond_wait_figure(m, "objects", 4);
    assert_int_equal(millpond_figure(m, "cache_variants_dropped"), 4);
    millpond_stop(m);
    const char *said = strstr(capture_all(&m->proc->err), "max_variants");
    EXPECT(said != NULL && strstr(said + 1, "max_variants") == NULL, "said twice");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(order_and_spelling_of_a_query_do_not_count),
        E2E_TEST(hosts_are_one_in_any_spelling),
        E2E_TEST(parameters_are_left_out_as_the_route_says),
        E2E_TEST(fields_and_cookies_are_in_the_key),
        E2E_TEST(a_key_too_long_passes_by),
        E2E_TEST(devices_and_languages_are_folded),
        E2E_TEST(routes_chosen_by_fields_do_not_share),
        E2E_TEST(purging_and_writing_reach_every_spelling),
        E2E_TEST(writing_reaches_what_clients_were_believed_to_say),
        E2E_TEST(reload_serves_nothing_under_another_meaning),
        E2E_TEST(many_variants_are_said_aloud),
    };
    return E2E_RUN("cache_keys", tests);
}
