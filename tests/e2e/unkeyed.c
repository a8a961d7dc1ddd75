/* unkeyed.c: fields that make an application answer differently, but that the cache's key does not have: they
 * do not reach it, or the key has them (core/unkeyed_tbl.h). The application answers with all it was told. */
#include "tests/support/millpond.h"

struct input {
    const char *name, *kind;
};
static const struct input inputs[] = {
#define UNKEYED(name, kind, use) {name, #kind},
#include "core/unkeyed_tbl.h"
#undef UNKEYED
};

/* The request line and all fields are the page. */
static void echo_script(struct origin_conn *c, const struct message *request, void *arg)
{
    char body[4096];
    UNUSED(arg);
    snprintf(body, sizeof body, "%s", request->head);
    origin_respond(c, 200, "Cache-Control: max-age=600\r\n", body);
}

static const char *page(struct millpond *m, const char *target, const char *fields)
{
    struct message *r = client_ask_(m->port, "GET", target, fields, "");
    message_expect_status(r, 200);
    return r->body;
}

static bool is_in(const char *text, const char *part)
{
    return strcasestr(text, part) != NULL;
}

/* "x-http-host" and "x_http_host": CGI makes one variable of both. */
static char *with_underscores(const char *name)
{
    char *copy = textf("%s", name);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '-' ? '_' : *p;
    return copy;
}

static void nothing_of_the_table_reaches_the_application(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_before(o, "");
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        const char *target = textf("/%zu", i), *disguised = with_underscores(inputs[i].name);
        const char *poisoned =
            page(m, target,
                 textf("%s: evil\r\nX-Fine: 1\r\nX_Fine: 2\r\n%s: evil\r\n", inputs[i].name, disguised));
        EXPECT(!is_in(poisoned, "evil"), "%s:\n%s", inputs[i].name, poisoned);
        expect_in(poisoned, "X-Fine: 1");
        expect_in(poisoned, "X_Fine: 2"); /* an underscore alone is no crime */
        EXPECT(strcmp(page(m, target, ""), poisoned) == 0, "%s is keyed", inputs[i].name);
    }
    assert_int_equal(origin_requests(o), ARRAY_LEN(inputs));
    /* Known fields, too, may come in disguise. */
    expect_not_in(page(m, "/known", "X_Forwarded_For: evil\r\nIf_None_Match: evil\r\nX_Request_Id: evil\r\n"),
                  "evil");
    millpond_stop(m);
}

/* What is in the key must be what the application sees, also one that takes an underscore for a dash. */
static void what_is_in_the_key_has_no_double(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m =
        millpond_before(o, "[route r]\nkey_headers = X-Theme, x-a-b\nkey_device = yes\nkey_language = en\n");
    const char *seen = page(m, "/p",
                            "x_theme: evil\r\nX_A-B: evil\r\nX-A_B: evil\r\nMillpond_Device: evil\r\n"
                            "Millpond-Language: evil\r\nMillpond-language_: fine\r\nX_A_B_C: fine\r\n"
                            "MILLPOND_LANGUAGE: evil\r\nX-Theme: dark\r\n");
    expect_not_in(seen, "evil");
    expect_in(seen, "Millpond-language_: fine");
    expect_in(seen, "X_A_B_C: fine");
    expect_in(seen, "X-Theme: dark");
    millpond_stop(m);
}

static void other_methods_keep_their_override(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_before(o, "");
    struct message *r =
        client_ask(m->port, "POST", "/p", "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /evil\r\n", "x");
    expect_in(r->body, "X-HTTP-Method-Override: DELETE");
    expect_not_in(r->body, "evil"); /* rules for paths hold for every method */
    r = client_ask(m->port, "HEAD", "/p", "X-HTTP-Method-Override: DELETE\r\n", "");
    expect_not_in(origin_request(o, 1)->head, "DELETE");
    millpond_stop(m);
}

static void what_a_route_keeps_is_keyed(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    char *keep = textf("[route r]\nkeep_request_header = %s", inputs[0].name);
    for (size_t i = 1; i < ARRAY_LEN(inputs); i++)
        keep = textf("%s, %s", keep, inputs[i].name);
    struct millpond *m = millpond_before(o, textf("%s\n", keep));
    unsigned identities = 0;
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        const char *target = textf("/%zu", i), *name = inputs[i].name;
        const char *value = strcmp(name, "forwarded") == 0 ? "host=one" : "one";
        if (strcmp(inputs[i].kind, "IDENTITY") == 0) { /* of trusted proxies alone: tls_clients.c */
            EXPECT(!is_in(page(m, target, textf("%s: one\r\n", name)), "one"), "%s", name);
            identities++;
            continue;
        }
        const char *other = strcmp(name, "forwarded") == 0 ? "for=a;host=two" : "two";
        const char *one = page(m, target, textf("%s: %s\r\n", name, value));
        EXPECT(is_in(one, value), "%s:\n%s", name, one);
        const char *two = page(m, target, textf("%s: %s\r\n", name, other));
        EXPECT(is_in(two, other) && !is_in(two, value), "%s:\n%s", name, two);
        EXPECT(!is_in(page(m, target, ""), "one"), "%s", name);
        EXPECT(strcmp(page(m, target, textf("%s: %s\r\n", name, value)), one) == 0, "%s is not stored", name);
    }
    assert_int_equal(origin_requests(o), 3 * ARRAY_LEN(inputs) - 2 * identities);
    millpond_stop(m);
}

static void what_a_trusted_proxy_passes_on_is_keyed(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m =
        millpond_start(.main = "trusted_proxies = 127.0.0.1\n", .rest = pool_lines("app", 1, o));
    for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
        const char *target = textf("/%zu", i), *name = inputs[i].name;
        const char *value = strcmp(name, "forwarded") == 0 ? "host=one" : "one";
        bool address = strcmp(inputs[i].kind, "ADDRESS") == 0,
             never = strcmp(inputs[i].kind, "NEVER") == 0 || strcmp(inputs[i].kind, "IDENTITY") == 0;
        const char *first = page(m, target, textf("%s: %s\r\n", name, value));
        EXPECT(is_in(first, "one") == !never, "%s:\n%s", name, first);
        /* Each client's address would make a copy of its own. */
        bool same = strcmp(page(m, target, ""), first) == 0;
        EXPECT(same == (address || never), "%s:\n%s", name, first);
    }
    /* What says the truth, and who the client is, make no difference. */
    const char *plain = page(m, "/same", "");
    EXPECT(page(m, "/same",
                "X-Forwarded-Host: TEST\r\nX-Forwarded-Proto: http\r\nForwarded: "
                "for=1.2.3.4;by=_x\r\nX-Forwarded-For: 1.2.3.4\r\n") != NULL,
           "no page");
    assert_int_equal(origin_requests_for(o, "/same"), 1);
    expect_in(plain, "GET /same");
    millpond_stop(m);
}

static void message_with_two_meanings_is_read_one_way(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(echo_script, NULL);
    struct millpond *m = millpond_before(o, "");
    /* The authority of the target is the host, for the key and for the application. */
    struct message *r = client_raw(m->port, "GET http://test/abs HTTP/1.1\r\nHost: evil\r\n\r\n");
    expect_in(r->body, "Host: test\r\n");
    expect_not_in(r->body, "evil");
    assert_true(strcmp(page(m, "/abs", ""), r->body) == 0);
    /* However a client writes the host, what is shared was asked for with the key's. */
    static const char *const hosts[] = {"TEST", "test.", "test:80", "Test.:0080"};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        r = client_raw(m->port, textf("GET /host%zu HTTP/1.1\r\nHost: %s\r\n\r\n", i, hosts[i]));
        expect_in(r->body, "Host: test\r\n");
        expect_in(r->body, "X-Forwarded-Host: test\r\n");
        expect_in(r->body, ";host=\"test\"");
        assert_true(strcmp(page(m, textf("/host%zu", i), ""), r->body) == 0);
    }
    r = client_raw(m->port, "POST /p HTTP/1.1\r\nHost: TEST:80\r\nContent-Length: 0\r\n\r\n");
    expect_in(r->body, "Host: TEST:80\r\n");
    r = client_raw(m->port, "GET /p HTTP/1.1\r\nHost: test:81\r\n\r\n");
    expect_in(r->body, "Host: test:81\r\n");
    /* A body may change what a GET brings: it is neither stored nor answered from the cache. */
    r = client_ask(m->port, "GET", "/fat", "", "evil=1");
    expect_field_in(r, "Cache-Status", "detail=request_body");
    page(m, "/fat", "");
    r = client_ask(m->port, "GET", "/fat", "", "evil=1");
    expect_field_in(r, "Cache-Status", "detail=request_body");
    assert_int_equal(origin_requests_for(o, "/fat"), 3);
    /* What separates parameters is the application's business: the whole query is the key. */
    page(m, "/q?a=1;b=2", "");
    page(m, "/q?a=1&b=2", "");
    page(m, "/q?a=1", "");
    assert_int_equal(origin_requests(o), 9 + ARRAY_LEN(hosts));
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(nothing_of_the_table_reaches_the_application),
        E2E_TEST(what_is_in_the_key_has_no_double),
        E2E_TEST(other_methods_keep_their_override),
        E2E_TEST(what_a_route_keeps_is_keyed),
        E2E_TEST(what_a_trusted_proxy_passes_on_is_keyed),
        E2E_TEST(message_with_two_meanings_is_read_one_way),
    };
    return E2E_RUN("unkeyed", tests);
}
