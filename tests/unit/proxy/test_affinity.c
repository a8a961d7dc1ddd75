/* test_affinity.c: what of a request is hashed, the sticky cookie on its way in, and on its way out. */
#include "proxy/affinity.h"

#include <stdlib.h>
#include <unistd.h>

#include "balancer/sticky.h"

#include "fixture.h"
#include "tests/unit/cache/text_head.h"

#define TWO "[pool app]\nhealth_check = off\nserver = 127.0.0.1:9 name=a\nserver = 127.0.0.1:10 name=b\n"

struct env {
    struct proxy_fix fix;
    struct client_conn *c;
    struct exchange *x;
    int other;
    char text[1024]; /* the request, which the exchange points into */
};
static struct env env;
static char folder[] = "/tmp/millpond-affinity-XXXXXX";

static void start(const char *pool, const char *fields)
{
    char ini[1024];
    snprintf(ini, sizeof ini, "[millpond]\ntrusted_proxies = 192.0.2.0/24\nstate_dir = %s\n" TWO "%s", folder,
             pool);
    snprintf(env.text, sizeof env.text, "GET /p?q=1 HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
    fix_start(&env.fix, ini, false);
    env.c = fix_client(&env.fix, "192.0.2.9:1", &env.other);
    env.x = fix_exchange(&env.fix, env.c, env.text);
    if (env.x->route->has_affinity)
        affinity_read(env.x);
}

static void end(void)
{
    fix_drop(env.x);
    client_conn_close(env.c, CLOSE_CLIENT_CLOSED);
    close(env.other);
    fix_end(&env.fix);
    char key[sizeof folder + sizeof "/sticky-key"];
    snprintf(key, sizeof key, "%s/sticky-key", folder);
    unlink(key);
}

static void expect_hashed(const char *hash_on, const char *fields, const char *want)
{
    char pool[128];
    snprintf(pool, sizeof pool, "balance = hash\nhash_on = %s\n", hash_on);
    start(pool, fields);
    uint64_t key = want != NULL ? hash_bytes_unseeded(want, strlen(want)).lo : 0;
    assert_true(env.x->route->has_affinity);
    assert_true(env.x->affinity->key == key);
    assert_int_equal(env.x->affinity->pin, 0);
    end();
}

static void test_what_is_hashed(void **state)
{
    UNUSED(state);
    expect_hashed("client_ip", "", "192.0.2.9");
    expect_hashed("path", "", "/p");
    expect_hashed("header:X-User", "X-A: 1\r\nx-user: me\r\n", "me");
    expect_hashed("header:X-User", "", NULL);
    expect_hashed("header:Host", "", "h");
    expect_hashed("cookie:sid", "Cookie: asid=1; sid=2; sid=3\r\n", "2");
    expect_hashed("cookie:sid", "Cookie: sid\r\nCookie: x=1; sid = 4\r\n", "4");
    expect_hashed("cookie:sid", "Cookie: Sid=1\r\n", NULL);
    start("", "Cookie: sid=1\r\n");
    assert_false(env.x->route->has_affinity);
    end();
}

/* The pin of a server of the pool, and its value. */
static uint32_t pin_of(const char *name, char value[STICKY_CHARS + 1])
{
    uint32_t pin = 0;
    for (unsigned n = 0; n < 2; n++) { /* they take turns */
        struct instance *i = pool_pick(env.x->route->pool, NULL, NULL, 0);
        if (strcmp(instance_name(i), name) == 0)
            pin = pool_pin_of_instance(env.x->route->pool, i, value);
        instance_release(i, FETCH_CANCELLED);
    }
    assert_int_not_equal(pin, 0);
    return pin;
}

/* The request's Cookie lines after it was read, joined by "|". */
static const char *cookies(char *buf, size_t bytes)
{
    buf[0] = '\0';
    for (unsigned i = 0; i < env.x->req.field_count; i++)
        if (env.x->req.fields[i].id == HTTP_FIELD_COOKIE)
            snprintf(buf + strlen(buf), bytes - strlen(buf), "%s" SLICE_FMT, buf[0] != '\0' ? "|" : "",
                     SLICE_ARG(env.x->req.fields[i].value));
    return buf;
}

static void test_cookie_in(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *left;
        bool pinned;
    } cases[] = {
        {"", "", false},
        {"Cookie: a=1\r\n", "a=1", false},
        {"Cookie: srv=%s\r\n", "", true},
        {"Cookie: a=1; srv=%s; b=2\r\nCookie: c=3\r\n", "a=1; b=2|c=3", true},
        {"Cookie: srv=\"%s\"\r\n", "", false},
        {"Cookie: srv=%sx\r\n", "", false},
        {"Cookie: srv=; a=1\r\n", "a=1", false},
        {"Cookie: Srv=%s\r\n", "Srv=%s", false},
    };
    char value[STICKY_CHARS + 1] = "", fields[256], left[256], buf[512];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start("sticky_cookie = srv\n", "");
        const uint32_t pin = pin_of("b", value);
        fix_drop(env.x);
        snprintf(fields, sizeof fields, cases[i].fields, value);
        snprintf(buf, sizeof buf, "GET /p HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
        env.x = fix_exchange(&env.fix, env.c, buf);
        affinity_read(env.x);
        snprintf(left, sizeof left, cases[i].left, value);
        assert_string_equal(cookies(buf, sizeof buf), left);
        assert_int_equal(http_head_has(&env.x->req, HTTP_FIELD_COOKIE), left[0] != '\0');
        assert_int_equal(env.x->affinity->pin, cases[i].pinned ? pin : 0);
        end();
    }
}

static const struct http_head plain = {.status = 200};

static void expect_head(const char *want)
{
    char text[512];
    snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(env.x->response_head));
    assert_string_equal(text, want);
}

static void test_cookie_out(void **state)
{
    UNUSED(state);
    char want[256], value[STICKY_CHARS + 1] = "";
    start("sticky_cookie = srv\n", "");
    const uint32_t pin = pin_of("a", value);
    struct exchange *x = env.x;
    x->response_head = SLICE_LIT("HTTP/1.1 200 OK\r\n");
    affinity_pin(x, &plain); /* of no instance */
    expect_head("HTTP/1.1 200 OK\r\n");
    x->instance = pool_pick(x->route->pool, x->affinity, NULL, 0);
    assert_string_equal(instance_name(x->instance), "a");
    x->status = 503; /* one does not want to stay there */
    affinity_pin(x, &plain);
    expect_head("HTTP/1.1 200 OK\r\n");
    x->status = 200;
    affinity_pin(x, &plain);
    snprintf(want, sizeof want, "HTTP/1.1 200 OK\r\nSet-Cookie: srv=%.*s; Path=/; HttpOnly; SameSite=Lax\r\n",
             STICKY_CHARS, value);
    expect_head(want);
    x->response_head = SLICE_LIT("HTTP/1.1 200 OK\r\n");
    x->affinity->pin = pin; /* it knows */
    affinity_pin(x, &plain);
    expect_head("HTTP/1.1 200 OK\r\n");
    instance_release(x->instance, FETCH_NONE);
    x->instance = NULL;
    end();
}

/* A cache between us and the client would give everybody the cookie of the first one. */
static void test_no_cookie_in_what_others_may_share(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields;
        bool pinned;
    } cases[] = {
        {"Cache-Control: public", false},
        {"Cache-Control: max-age=10", false},
        {"Cache-Control: s-maxage=10, max-age=0", false},
        {"Expires: Fri, 01 Jan 2100 00:00:00 GMT", false},
        {"Expires: Fri, 01 Jan 1999 00:00:00 GMT", true},
        {"Cache-Control: max-age=0\nExpires: Fri, 01 Jan 2100 00:00:00 GMT", true},
        {"Cache-Control: private, max-age=10", true},
        {"Cache-Control: no-store, max-age=10", true},
        {"Cache-Control: no-cache", true},
        {"X: y", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct text_head came;
        start("sticky_cookie = srv\n", "");
        text_head_response(&came, 200, cases[i].fields);
        env.x->response_head = SLICE_LIT("HTTP/1.1 200 OK\r\n");
        env.x->instance = pool_pick(env.x->route->pool, env.x->affinity, NULL, 0);
        affinity_pin(env.x, &came.head);
        assert_int_equal(slice_ends(env.x->response_head, SLICE_LIT("SameSite=Lax\r\n")), cases[i].pinned);
        instance_release(env.x->instance, FETCH_NONE);
        env.x->instance = NULL;
        text_head_free(&came);
        end();
    }
}

/* TLS ends at a trusted proxy in front of us. */
static void test_secure(void **state)
{
    UNUSED(state);
    start("sticky_cookie = srv\n", "X-Forwarded-Proto: https\r\n");
    env.x->response_head = SLICE_LIT("HTTP/1.1 200 OK\r\n");
    env.x->instance = pool_pick(env.x->route->pool, env.x->affinity, NULL, 0);
    affinity_pin(env.x, &plain);
    assert_true(slice_ends(env.x->response_head, SLICE_LIT("; SameSite=Lax; Secure\r\n")));
    instance_release(env.x->instance, FETCH_NONE);
    env.x->instance = NULL;
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_hashed), cmocka_unit_test(test_cookie_in),
        cmocka_unit_test(test_cookie_out),     cmocka_unit_test(test_no_cookie_in_what_others_may_share),
        cmocka_unit_test(test_secure),
    };
    if (mkdtemp(folder) == NULL)
        return 1;
    int failed = cmocka_run_group_tests_name("proxy/affinity", tests, fix_group_setup, fix_group_teardown);
    rmdir(folder);
    return failed;
}
