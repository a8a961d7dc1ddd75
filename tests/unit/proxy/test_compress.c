/* test_compress.c: what a request says after compress_request, which responses are compressed and with what
 * head, that workers' turns are shared, and what is left when memory is short. */
#include "no_memory.h"
#include "fixture.h"

#include "core/text.h"
#include "proxy/compress.h"

#define ROUTE FIX_APP "[route all]\ncompress = br, gzip\n"
#define HEAD  "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"

struct fix {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    int other;
    struct http_field fields[16];
};

static void start(struct fix *t, const char *request)
{
    fix_start(&t->f, ROUTE, false);
    t->c = fix_client(&t->f, "192.0.2.7:1", &t->other);
    t->x = fix_exchange(&t->f, t->c, request);
}

static void end(struct fix *t)
{
    if (t->x->compress != NULL)
        compress_free(t->x);
    fix_drop(t->x);
    client_conn_close(t->c, CLOSE_CLIENT_CLOSED);
    close(t->other);
    fix_end(&t->f);
}

/* "name: value" of each field, lower case. */
static const char *text_of(const struct http_head *h)
{
    static char buf[4096];
    struct text t = text_make(buf, sizeof buf - 1);
    for (unsigned i = 0; i < h->field_count; i++) {
        text_put(&t, h->fields[i].name);
        TEXT_LIT(&t, ": ");
        text_put(&t, h->fields[i].value);
        TEXT_LIT(&t, "\n");
        assert_true(h->fields[i].id == HTTP_FIELD_OTHER || http_head_has(h, h->fields[i].id));
    }
    *t.at = '\0';
    return buf;
}

static void test_requests(void **state)
{
    static const struct {
        const char *line, *fields, *after;
    } rows[] = {
        {"GET / HTTP/1.1", "Accept-Encoding: gzip, deflate, br", "Accept-Encoding: br\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: GZip;q=0.5", "Accept-Encoding: GZip\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: *", "Accept-Encoding: br\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: a\r\nAccept-Encoding: gzip\r\nA: b",
         "Accept-Encoding: gzip\nA: b\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: zstd\r\nA: b", "A: b\n"},
        {"GET / HTTP/1.1", "A: b", "A: b\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: br\r\nRange: bytes=0-", "Range: bytes=0-\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: br\r\nRange: bytes=0-\r\nIf-Range: \"a\"",
         "Range: bytes=0-\nIf-Range: \"a\"\n"},
        {"GET / HTTP/1.1", "Accept-Encoding: br\r\nRange: bytes=0-\r\nIf-Range: W/\"a\"",
         "Accept-Encoding: br\nRange: bytes=0-\nIf-Range: W/\"a\"\n"},
        {"GET / HTTP/1.1", "If-Match: W/\"a\"", "If-Match: W/\"a\"\n"},
        {"PUT / HTTP/1.1", "If-Match: W/\"a\",\"W/\\\",W/\"b\"", "If-Match: \"a\",\"W/\\\",\"b\"\n"},
        {"PUT / HTTP/1.1", "If-Match: *\r\nIf-Match: W/\"", "If-Match: *\nIf-Match: \"\n"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fix t;
        char *request = malloc(512);
        snprintf(request, 512, "%s\r\nHost: h\r\n%s\r\n\r\n", rows[i].line, rows[i].fields);
        start(&t, request);
        for (unsigned again = 0; again < 2; again++) {
            compress_request(t.x);
            assert_string_equal(text_of(&t.x->req) + strlen("Host: h\n"), rows[i].after);
        }
        assert_true(exchange_own_head(t.x)); /* and the connection's buffer may go */
        memset(request, 'x', 511);
        free(request);
        assert_string_equal(text_of(&t.x->req) + strlen("Host: h\n"), rows[i].after);
        end(&t);
    }
}

static const struct http_head *respond(struct fix *t, const char *text, struct http_head *head)
{
    *head = (struct http_head){.fields = t->fields};
    fix_parse_response(text, head);
    assert_int_equal(h1_response_framing(head, (enum http_method)t->x->req.method, &t->x->response_framing),
                     H1_OK);
    return compress_response(t->x, head);
}

static void test_heads(void **state)
{
    static const struct {
        const char *accept, *response;
        bool coded;
        const char *fields; /* NULL: as it came */
    } rows[] = {
        {"br", HEAD "Content-Length: 256\r\nETag: \"a\"\r\nDigest: d\r\nAccept-Ranges: bytes\r\n\r\n", true,
         "Content-Type: text/html\nETag: W/\"a\"\nVary: Accept-Encoding\nContent-Encoding: "
         "br\nAccept-Ranges: none\n"},
        {"a", HEAD "Content-Length: 256\r\nETag: \"a\"\r\nDigest: d\r\nAccept-Ranges: bytes\r\n\r\n", false,
         "Content-Type: text/html\nContent-Length: 256\nETag: \"a\"\nDigest: d\nAccept-Ranges: bytes\n"
         "Vary: Accept-Encoding\n"},
        {"gzip", HEAD "ETag: W/\"a\"\r\nVary: A, accept-encoding\r\n\r\n", true,
         "Content-Type: text/html\nETag: W/\"a\"\nVary: A, accept-encoding\nContent-Encoding: gzip\n"
         "Accept-Ranges: none\n"},
        {"gzip", HEAD "ETag: broken\r\nVary: *\r\n\r\n", true,
         "Content-Type: text/html\nETag: broken\nVary: *\nContent-Encoding: gzip\nAccept-Ranges: none\n"},
        {"gzip", HEAD "Content-Length: 255\r\n\r\n", false, NULL},
        {"gzip", HEAD "Content-Encoding: identity\r\n\r\n", false, NULL},
        {"gzip", HEAD "Cache-Control: a\r\nCache-Control: No-Transform\r\n\r\n", false, NULL},
        {"gzip", "HTTP/1.1 204 No\r\nContent-Type: text/html\r\n\r\n", false, NULL},
        {"gzip", "HTTP/1.1 304 No\r\nContent-Type: text/html\r\n\r\n", false, NULL},
        {"gzip", "HTTP/1.1 302 No\r\nContent-Type: text/html\r\n\r\n", false, NULL},
        {"gzip", "HTTP/1.1 416 No\r\nContent-Type: text/html\r\nContent-Range: bytes */9\r\n\r\n", false,
         NULL},
        {"gzip", "HTTP/1.1 206 Part\r\nContent-Type: text/html\r\nContent-Range: bytes 0-8/9\r\n\r\n", false,
         "Content-Type: text/html\nContent-Range: bytes 0-8/9\nVary: Accept-Encoding\n"},
        {"gzip", "HTTP/1.1 410 Gone\r\nContent-Type: text/html\r\n\r\n", true,
         "Content-Type: text/html\nVary: Accept-Encoding\nContent-Encoding: gzip\nAccept-Ranges: none\n"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fix t;
        struct http_head head;
        char request[128];
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: %s\r\n\r\n",
                 rows[i].accept);
        start(&t, request);
        const struct http_head *to = respond(&t, rows[i].response, &head);
        assert_int_equal(t.x->compress != NULL, rows[i].coded);
        assert_int_equal(to == &head, rows[i].fields == NULL);
        if (rows[i].fields != NULL)
            assert_string_equal(text_of(to), rows[i].fields);
        if (rows[i].coded)
            assert_false(t.x->response_framing.has_length);
        end(&t);
    }
}

/* After each allocation that fails it goes out as it came; and nothing is lost of what there was. */
static void test_no_memory(void **state)
{
    UNUSED(state);
    struct fix t;
    struct http_head head;
    start(&t, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    for (unsigned n = 1;; n++) {
        no_memory_at(n);
        const struct http_head *to = respond(&t, HEAD "Content-Length: 256\r\n\r\n", &head);
        if (!no_memory.failed)
            break;
        no_memory_at(0);
        assert_null(t.x->compress);
        assert_true(t.x->response_framing.has_length);
        assert_false(http_head_has(to, HTTP_FIELD_CONTENT_ENCODING));
    }
    assert_non_null(t.x->compress);
    no_memory_at(1); /* for what waits for the client */
    assert_false(compress_end(t.x));
    assert_true(no_memory.failed);
    no_memory_at(0);
    while (arena_alloc(&t.x->arena, 16) != NULL)
        continue;
    assert_ptr_equal(respond(&t, HEAD "Content-Length: 256\r\n\r\n", &head), &head);
    assert_null(t.x->compress);
    end(&t);
}

/* A step is fed, the next waits for another turn, and so does who comes after it. */
static void test_turns(void **state)
{
    UNUSED(state);
    static const char zeros[ENCODER_STEP_BYTES];
    struct fix t;
    struct http_head head;
    const char *data = zeros;
    size_t n = sizeof zeros;
    start(&t, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    struct exchange *second =
                        fix_exchange(&t.f, t.c, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"),
                    *first = t.x;
    respond(&t, HEAD "\r\n", &head);
    t.x = second;
    respond(&t, HEAD "\r\n", &head);
    assert_false(compress_wants_pause(first) || compress_wants_pause(second));
    assert_true(compress_body(first, &data, &n));
    assert_true(compress_wants_pause(first));
    assert_true(compress_wants_pause(second));
    worker_drain(t.f.worker); /* turns pass: both are let go on */
    assert_false(compress_wants_pause(first));
    n = sizeof zeros;
    data = zeros;
    assert_true(compress_body(first, &data, &n));
    assert_true(compress_wants_pause(second)); /* but not in the same turn */
    assert_true(compress_wants_pause(first));
    worker_drain(t.f.worker);
    assert_false(compress_wants_pause(second));
    compress_free(first);
    fix_drop(first);
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_turns),
    };
    return cmocka_run_group_tests_name("proxy/compress", tests, fix_group_setup, fix_group_teardown);
}
