/* test_exchange.c: making, ending and reusing exchanges; a head that moves into the arena takes every slice
 * along. */
#include "fixture.h"

struct flat { /* all slices of an exchange's head, as text */
    char text[4096];
    size_t len;
};

static void flat_put(struct flat *f, slice_t s)
{
    assert_true(f->len + s.len + 2 < sizeof f->text);
    if (s.ptr == NULL)
        f->text[f->len++] = '0';
    else
        memcpy(f->text + f->len, s.ptr, s.len);
    f->len += s.ptr == NULL ? 0 : s.len;
    f->text[f->len++] = '|';
}

static void flatten(const struct exchange *x, struct flat *f)
{
    memset(f, 0, sizeof *f);
    flat_put(f, x->req.method_text);
    flat_put(f, x->req.target);
    flat_put(f, x->target.scheme);
    flat_put(f, x->target.authority);
    flat_put(f, x->target.path);
    flat_put(f, x->target.query);
    flat_put(f, x->host);
    flat_put(f, x->client_ip);
    for (unsigned i = 0; i < x->req.field_count; i++) {
        flat_put(f, x->req.fields[i].name);
        flat_put(f, x->req.fields[i].value);
        f->text[f->len++] = (char)('A' + x->req.fields[i].id % 26);
    }
}

static bool outside(slice_t s, const char *from, size_t len)
{
    return s.ptr < from || s.ptr > from + len;
}

static void expect_outside(const struct exchange *x, const char *from, size_t len)
{
    assert_true(outside(x->req.method_text, from, len) && outside(x->req.target, from, len));
    assert_true(outside(x->target.path, from, len) && outside(x->target.query, from, len));
    assert_true(outside(x->target.authority, from, len) && outside(x->target.scheme, from, len));
    assert_true(outside(x->host, from, len) && outside(x->client_ip, from, len));
    for (unsigned i = 0; i < x->req.field_count; i++)
        assert_true(outside(x->req.fields[i].name, from, len) && outside(x->req.fields[i].value, from, len));
}

static void own(const char *request, bool trusted_ip)
{
    struct proxy_fix f;
    struct flat before, after;
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "192.0.2.7:1", &other);
    size_t len = strlen(request);
    char *buffer = malloc(len + 1);
    assert_non_null(buffer);
    memcpy(buffer, request, len + 1);
    struct exchange *x = fix_exchange(&f, c, buffer);
    if (trusted_ip) /* as phase ACCEPT does it for trusted peers */
        x->client_ip = http_head_get(&x->req, HTTP_FIELD_X_FORWARDED_FOR)->value;
    flatten(x, &before);
    struct http_field *scratch = x->req.fields;
    assert_true(exchange_own_head(x));
    assert_true(x->head_owned && x->req.fields != scratch);
    expect_outside(x, buffer, len);
    memset(buffer, '#', len); /* the read buffer and the field scratch are used for others now */
    memset(scratch, 0x5a, sizeof *scratch * 16);
    free(buffer);
    flatten(x, &after);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.text, after.text, before.len);
    const struct http_field *kept = x->req.fields;
    assert_true(exchange_own_head(x)); /* once is enough */
    assert_ptr_equal(x->req.fields, kept);
    memset(f.pw->fields, 0, sizeof *scratch * 16);
    fix_drop(x);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

static void test_own_head(void **state)
{
    UNUSED(state);
    own("GET /path?query=1 HTTP/1.1\r\nHost: h.example:8080\r\nX-A:   padded  \r\nAccept: */*\r\n\r\n",
        false);
    own("GET / HTTP/1.1\r\nHost: h\r\nX-Empty:\r\n\r\n", false);
    own("GET / HTTP/1.1\r\nX-Empty:\r\nHost: h\r\n\r\n", false);
    own("GET http://auth.example/p? HTTP/1.1\r\nHost: h\r\n\r\n", false);
    own("GET http://auth.example?q HTTP/1.1\r\nHost: h\r\n\r\n", false);
    own("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", false);
    own("GET / HTTP/1.0\r\n\r\n", false);
    own("\r\nMYMETHOD /x HTTP/1.1\r\nHost: h\r\n\r\n", false);
    own("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n", true);
    own("GET / HTTP/1.1\r\nX-Forwarded-For: 203.0.113.5\r\nHost: h\r\n\r\n", true);
}

static void test_free_list(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    struct exchange *x[100];
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "192.0.2.7:1", &other);
    for (size_t i = 0; i < ARRAY_LEN(x); i++) {
        x[i] = exchange_new(f.pw, c);
        assert_non_null(x[i]);
        assert_non_null(
            arena_alloc(&x[i]->arena, 3 * EXCHANGE_ARENA_BYTES)); /* from the heap: must be freed */
    }
    assert_int_equal(f.pw->exchange_count, ARRAY_LEN(x));
    assert_int_equal(f.pw->view->refs, ARRAY_LEN(x) + 2);
    for (size_t i = 0; i < ARRAY_LEN(x); i++)
        exchange_free(x[i]);
    assert_int_equal(f.pw->exchange_count, 0);
    assert_int_equal(f.pw->view->refs, 2);
    assert_int_equal(f.pw->free_exchange_count, 64); /* bounded */
    struct exchange *again = exchange_new(f.pw, c);
    assert_int_equal(f.pw->free_exchange_count, 63);
    assert_int_equal(again->phase, PHASE_ACCEPT);
    assert_int_equal(again->response_length, -1);
    assert_true(again->request_id.len == 0 && again->key.text.ptr == NULL && again->route == NULL);
    exchange_free(again);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

static void free_twice(void *x)
{
    exchange_free(x);
    exchange_free(x);
}

static void test_double_free_aborts(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "192.0.2.7:1", &other);
    struct exchange *x = exchange_new(f.pw, c);
    assert_true(fix_aborts(free_twice, x));
    exchange_free(x);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

/* Without its client the exchange still knows the address, for the log. */
static void test_detach(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "[2001:db8::9]:1", &other);
    struct exchange *x = fix_exchange(&f, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    c->exchange = NULL;
    exchange_detach_client(x);
    memset(c->ip_text, '#', sizeof c->ip_text);
    assert_null(x->client);
    assert_true(slice_eq(x->client_ip, SLICE_LIT("2001:db8::9")));
    fix_drop(x);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

static void test_request_ids_differ(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "192.0.2.7:1", &other);
    struct exchange *a = exchange_new(f.pw, c), *b = exchange_new(f.pw, c);
    slice_t id = exchange_request_id(a);
    assert_int_equal(id.len, 32);
    assert_true(slice_eq(id, exchange_request_id(a)));
    assert_false(slice_eq(id, exchange_request_id(b)));
    exchange_free(a);
    exchange_free(b);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_head),           cmocka_unit_test(test_free_list),
        cmocka_unit_test(test_double_free_aborts), cmocka_unit_test(test_detach),
        cmocka_unit_test(test_request_ids_differ),
    };
    return cmocka_run_group_tests_name("proxy/exchange", tests, fix_group_setup, fix_group_teardown);
}
