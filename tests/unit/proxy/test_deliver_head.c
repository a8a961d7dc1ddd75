/* test_deliver_head.c: the head a client gets: framing, Connection, Age, Cache-Status, conditions and edits,
 * by source. */
#include "proxy/deliver.h"

#include "core/sf.h"
#include "fixture.h"

#define STORED_HEAD                                                                                          \
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\nServer: app\r\nCache-Control: "          \
    "max-age=60\r\n"

struct head_fix {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    int other;
    char head[16384];
};

static void start(struct head_fix *h, const char *ini, const char *request)
{
    fix_start(&h->f, ini, true);
    h->c = fix_client(&h->f, "192.0.2.7:1", &h->other);
    h->x = fix_exchange(&h->f, h->c, request);
    h->x->keep_alive = true;
    h->x->phase = PHASE_DELIVER;
    h->f.worker->now_wall_ms = clock_wall_ms();
}

static void end(struct head_fix *h)
{
    fix_drop(h->x);
    client_conn_close(h->c, CLOSE_CLIENT_CLOSED);
    close(h->other);
    fix_end(&h->f);
}

/* Sends the head alone; what came of it is h->head. */
static void deliver(struct head_fix *h)
{
    assert_true(deliver_head(h->x));
    assert_true(h->x->head_sent);
    assert_true(client_out_flush(h->c));
    fix_received(h->other, h->head, sizeof h->head);
    size_t n = strlen(h->head);
    assert_true(n > 4 && strcmp(h->head + n - 4, "\r\n\r\n") == 0);
}

static void relay(struct head_fix *h, unsigned status, const char *head, int64_t length)
{
    h->x->source = SOURCE_RELAY;
    h->x->status = (uint16_t)status;
    h->x->response_head = slice_str(head);
    h->x->response_length = length;
    h->x->verdict = VERDICT_PASS;
    h->x->no_store = NO_STORE_METHOD;
}

static void from_object(struct head_fix *h)
{
    char key_text[64];
    struct cache_key key;
    enum no_store_reason pass;
    fix_store(&h->f, "h", "/", STORED_HEAD, "12345");
    cache_key_build(key_text, SLICE_LIT("http"), SLICE_LIT("h"), SLICE_LIT("/"), (slice_t){NULL, 0}, &key);
    rcu_enter();
    struct cache_object *o = cache_find(h->f.cache, &key, &h->x->req, &h->x->arena, &pass);
    assert_non_null(o);
    cache_object_ref(o);
    rcu_leave();
    exchange_set_object(h->x, o, SOURCE_OBJECT);
    h->x->object_held = true;
    h->x->verdict = VERDICT_HIT;
    h->x->no_store = NO_STORE_STORED;
}

static bool has(const struct head_fix *h, const char *part)
{
    return strstr(h->head, part) != NULL;
}

/* ---- framing ---- */

static void test_framing(void **state)
{
    UNUSED(state);
    static const struct {
        const char *request;
        unsigned status;
        int64_t length;
        unsigned framing;
        const char *has, *has_not;
        bool keep_alive;
    } rows[] = {
        {"GET / HTTP/1.1", 200, 5, FRAME_LENGTH, "Content-Length: 5\r\n", "Transfer", true},
        {"GET / HTTP/1.1", 200, 0, FRAME_LENGTH, "Content-Length: 0\r\n", "Transfer", true},
        {"GET / HTTP/1.1", 200, -1, FRAME_CHUNKED, "Transfer-Encoding: chunked\r\n", "Content-Length", true},
        {"GET / HTTP/1.0", 200, 5, FRAME_LENGTH, "Connection: keep-alive\r\n", "Transfer", true},
        {"GET / HTTP/1.0", 200, -1, FRAME_CLOSE, "Connection: close\r\n", "Transfer", false},
        {"HEAD / HTTP/1.1", 200, 5, FRAME_NONE, "Content-Length: 5\r\n", "Transfer", true},
        {"HEAD / HTTP/1.1", 200, -1, FRAME_NONE, NULL, "Transfer", true},
        {"HEAD / HTTP/1.0", 200, -1, FRAME_NONE, "Connection: keep-alive\r\n", "Transfer", true},
        {"GET / HTTP/1.1", 204, 0, FRAME_NONE, NULL, "Content-Length", true},
        {"GET / HTTP/1.1", 204, -1, FRAME_NONE, NULL, "Transfer", true},
        {"GET / HTTP/1.1", 304, 5, FRAME_NONE, "Content-Length: 5\r\n", "Transfer",
         true}, /* RFC 9110 section 8.6 */
        {"GET / HTTP/1.1", 304, -1, FRAME_NONE, NULL, "Content-Length", true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct head_fix h;
        char request[128];
        snprintf(request, sizeof request, "%s\r\nHost: h\r\n\r\n", rows[i].request);
        start(&h, FIX_APP, request);
        relay(&h, rows[i].status, "HTTP/1.1 200 OK\r\nX-A: 1\r\n", rows[i].length);
        deliver(&h);
        if (h.x->out_framing != rows[i].framing || (rows[i].has != NULL && !has(&h, rows[i].has)) ||
            has(&h, rows[i].has_not) || h.x->keep_alive != rows[i].keep_alive)
            fail_msg("row %zu: framing %u in %s", i, h.x->out_framing, h.head);
        assert_true(has(&h, "X-A: 1\r\n"));
        assert_int_equal(h.x->body_suppressed, rows[i].framing == FRAME_NONE);
        end(&h);
    }
}

static void test_connection_close(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, "[listen l]\naddress = 127.0.0.1:0\nmax_requests_per_connection = 3\n" FIX_APP,
          "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    h.c->requests = 1;
    relay(&h, 200, "HTTP/1.1 200 OK\r\n", 0);
    deliver(&h);
    assert_false(has(&h, "Connection:"));
    h.c->requests = 2; /* this is the third */
    deliver(&h);
    assert_true(has(&h, "Connection: close\r\n"));
    end(&h);
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    h.f.pw->draining = true;
    relay(&h, 200, "HTTP/1.1 200 OK\r\n", 0);
    deliver(&h);
    assert_true(has(&h, "Connection: close\r\n"));
    h.f.pw->draining = false;
    end(&h);
}

/* Our own answer to a request whose body nobody will read ends the connection, and says so. */
static void test_unread_body(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, FIX_APP, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    h.x->body_state = BODY_UNREAD;
    h.x->source = SOURCE_LOCAL;
    h.x->status = 403;
    h.x->local_body = SLICE_LIT("no");
    h.x->local_type = SLICE_LIT("text/plain");
    h.x->response_length = 2;
    deliver(&h);
    assert_true(has(&h, "HTTP/1.1 403 Forbidden\r\n") && has(&h, "Connection: close\r\n"));
    assert_int_equal(h.x->close_reason, CLOSE_BODY_UNREAD);
    end(&h);
}

/* ---- our own pages ---- */

static void test_local(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, "[millpond]\nserver_header = ours\n" FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    h.f.worker->now_wall_ms = 784111777000;
    h.x->source = SOURCE_LOCAL;
    h.x->status = 301;
    h.x->location = SLICE_LIT("https://h/");
    h.x->response_length = 0;
    deliver(&h);
    assert_string_equal(
        h.head, "HTTP/1.1 301 Moved Permanently\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: ours\r\n"
                "Location: https://h/\r\nX-Request-Id: 0123456789abcdef0000000000000001\r\n"
                "Content-Length: 0\r\n\r\n");
    h.x->status = 502;
    h.x->location = SLICE_EMPTY;
    h.x->local_type = SLICE_LIT("text/html");
    deliver(&h);
    assert_true(has(&h, "Cache-Control: no-store\r\n") && has(&h, "Content-Type: text/html\r\n"));
    assert_false(has(&h, "Location"));
    end(&h);
    start(&h, "[millpond]\nserver_header = off\n" FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    h.x->source = SOURCE_LOCAL;
    h.x->status = 200;
    h.x->response_length = 0;
    deliver(&h);
    assert_false(has(&h, "Server:"));
    end(&h);
}

/* ---- from the cache ---- */

static void test_object(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    from_object(&h);
    h.f.worker->now_wall_ms = h.x->info.fresh.response_ms + 90000;
    deliver(&h);
    assert_int_equal(strncmp(h.head, STORED_HEAD, strlen(STORED_HEAD)), 0);
    assert_true(has(&h, "Age: 90\r\n") && has(&h, "Cache-Status: millpond; hit; ttl=35"));
    assert_true(has(&h, "Content-Length: 5\r\n"));
    assert_int_equal(h.x->status, 200);
    assert_int_equal(h.x->response_length, 5);
    end(&h);
}

/* Cache-Status is a List; with one member that has no value of its own it reads the same as a Dictionary. */
static void expect_strict(const struct head_fix *h)
{
    const char *line = strstr(h->head, "Cache-Status: ") + strlen("Cache-Status: ");
    slice_t rest = slice_make(line, (size_t)(strstr(line, "\r\n") - line));
    struct sf_member m;
    assert_int_equal(sf_dictionary_next(&rest, &m), SF_MEMBER);
    assert_true(slice_eq(m.key, SLICE_LIT("millpond")) && m.type == SF_BOOLEAN && m.integer == 1);
    assert_int_equal(sf_dictionary_next(&rest, &m), SF_END);
}

static void test_cache_status(void **state)
{
    UNUSED(state);
    static const struct {
        enum cache_verdict verdict;
        enum no_store_reason why;
        const char *want;
    } rows[] = {
        {VERDICT_REVALIDATED, NO_STORE_STORED,
         "Cache-Status: millpond; fwd=stale; fwd-status=304; ttl=3600\r\n"},
        {VERDICT_STALE, NO_STORE_STORED, "Cache-Status: millpond; hit; ttl=3600\r\n"},
        {VERDICT_PASS, NO_STORE_METHOD, "Cache-Status: millpond; fwd=method; detail=method\r\n"},
        {VERDICT_PASS, NO_STORE_CACHE_OFF, "Cache-Status: millpond; fwd=bypass; detail=cache_off\r\n"},
        {VERDICT_MISS, NO_STORE_PRIVATE, "Cache-Status: millpond; fwd=uri-miss; detail=private\r\n"},
        {VERDICT_EXPIRED, NO_STORE_SET_COOKIE, "Cache-Status: millpond; fwd=stale; detail=set_cookie\r\n"},
        {VERDICT_REFRESHED, NO_STORE_REQUEST_RELOAD,
         "Cache-Status: millpond; fwd=request; detail=request_reload\r\n"},
        {VERDICT_MISS, NO_STORE_ONLY_IF_CACHED, "Cache-Status: millpond; detail=only_if_cached\r\n"},
        {VERDICT_COLLAPSED, NO_STORE_STORED, "Cache-Status: millpond; fwd=miss; collapsed\r\n"},
    };
    struct head_fix h;
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    from_object(&h);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        h.x->verdict = (uint8_t)rows[i].verdict;
        h.x->no_store = (uint8_t)rows[i].why;
        h.f.worker->now_wall_ms = h.x->info.fresh.response_ms;
        deliver(&h);
        if (!has(&h, rows[i].want))
            fail_msg("row %zu: %s", i, h.head);
        expect_strict(&h);
    }
    h.x->verdict = VERDICT_REVALIDATED; /* by a HEAD */
    h.x->other_status = 200;
    deliver(&h);
    assert_true(has(&h, "millpond; fwd=stale; fwd-status=200; ttl=3600\r\n"));
    h.x->other_status = 0;
    h.x->verdict = VERDICT_MISS;
    h.x->no_store = NO_STORE_STORED;
    h.x->vary_miss = true;
    deliver(&h);
    assert_true(has(&h, "Cache-Status: millpond; fwd=vary-miss\r\n"));
    h.x->verdict = VERDICT_STALE;
    h.x->stale_renewed = true;
    h.f.worker->now_wall_ms = h.x->info.fresh.response_ms + 3605000;
    deliver(&h);
    assert_true(has(&h, "hit; ttl=-5; detail=stale_while_revalidate\r\n"));
    h.x->stale_on_error = true;
    deliver(&h);
    assert_true(has(&h, "millpond; fwd=stale; ttl=-5; detail=stale_if_error\r\n"));
    h.x->other_status = 503;
    deliver(&h);
    assert_true(has(&h, "millpond; fwd=stale; fwd-status=503; ttl=-5; detail=stale_if_error\r\n"));
    expect_strict(&h);
    h.x->verdict = VERDICT_NONE;
    deliver(&h);
    assert_false(has(&h, "Cache-Status"));
    end(&h);
    start(&h, "[cache]\ncache_status = no\n" FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    from_object(&h);
    deliver(&h);
    assert_false(has(&h, "Cache-Status"));
    end(&h);
}

/* To who asks from where purges are taken; as a String, whatever is in it. */
static void test_cache_status_key(void **state)
{
    static const struct {
        const char *key, *want;
    } rows[] = {
        {"http://h/?a", "; key=\"http://h/?a\"\r\n"},
        {"http://h/\"\\", "; key=\"http://h/\\\"\\\\\"\r\n"},
        {"http://h/\xc3\xa4", "ttl=3600\r\n"},
        {"http://h/\x7f", "ttl=3600\r\n"},
    };
    struct head_fix h;
    UNUSED(state);
    start(&h, "[cache]\npurge_from = 192.0.2.0/24\n" FIX_APP,
          "GET / HTTP/1.1\r\nHost: h\r\nCache-Status: ?1\r\n\r\n");
    from_object(&h);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        h.x->key.text = slice_str(rows[i].key);
        h.f.worker->now_wall_ms = h.x->info.fresh.response_ms;
        deliver(&h);
        if (!has(&h, rows[i].want))
            fail_msg("row %zu: %s", i, h.head);
        expect_strict(&h);
    }
    char longest[4096];
    memset(longest, '"', sizeof longest); /* each takes two */
    h.x->key.text = slice_make(longest, sizeof longest);
    deliver(&h);
    assert_true(has(&h, "\\\"\"\r\n"));
    expect_strict(&h);
    end(&h);
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\nCache-Status: ?1\r\n\r\n");
    from_object(&h);
    h.x->key.text = SLICE_LIT("http://h/");
    deliver(&h);
    assert_false(has(&h, "key="));
    end(&h);
}

static void test_not_modified(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, FIX_APP "[route r]\nset_response_header = X-Via: us $host\n",
          "GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"v0\", W/\"v1\"\r\n\r\n");
    from_object(&h);
    deliver(&h);
    assert_int_equal(strncmp(h.head, "HTTP/1.1 304 Not Modified\r\n", 27), 0);
    assert_true(has(&h, "ETag: \"v1\"\r\n") && has(&h, "Cache-Control: max-age=60\r\n") &&
                has(&h, "X-Via: us h\r\n"));
    assert_false(has(&h, "Content-Length") || has(&h, "Content-Type") || has(&h, "Transfer-Encoding"));
    assert_true(h.x->body_suppressed && h.x->keep_alive);
    end(&h);
}

static void test_condition_failed(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\nIf-Match: \"other\"\r\n\r\n");
    from_object(&h);
    deliver(&h);
    assert_int_equal(strncmp(h.head, "HTTP/1.1 412 ", 13), 0);
    assert_false(has(&h, "ETag") || has(&h, "Age:"));
    assert_int_equal(h.x->source, SOURCE_LOCAL);
    assert_true(h.x->local_body.len > 0 && h.x->response_length == (int64_t)h.x->local_body.len);
    end(&h);
}

/* What the instance answered to the client's own conditions is its business. */
static void test_relayed_conditions(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h, FIX_APP, "GET / HTTP/1.1\r\nHost: h\r\nIf-None-Match: \"v1\"\r\n\r\n");
    relay(&h, 200, STORED_HEAD, 5);
    h.x->validators.etag = SLICE_LIT("\"v1\"");
    deliver(&h);
    assert_true(has(&h, "HTTP/1.1 200 OK\r\n"));
    h.x->conditions_dropped = true; /* it never saw them */
    deliver(&h);
    assert_true(has(&h, "HTTP/1.1 304 Not Modified\r\n"));
    assert_true(h.x->body_suppressed);
    end(&h);
}

static void test_response_edits(void **state)
{
    UNUSED(state);
    struct head_fix h;
    start(&h,
          FIX_APP "[route r]\nset_response_header = Server: edited\nset_response_header = X-Id: $request_id\n"
                  "remove_response_header = X-Powered-By\n",
          "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    relay(&h, 200,
          "HTTP/1.1 200 Fine\r\nserver: app\r\nSERVER: again\r\nx-powered-by: secrets\r\nX-A: a:b: "
          "c\r\nX-Empty: \r\n",
          3);
    deliver(&h);
    assert_string_equal(h.head,
                        "HTTP/1.1 200 Fine\r\nX-A: a:b: c\r\nX-Empty: \r\nServer: edited\r\n"
                        "X-Id: 0123456789abcdef0000000000000001\r\n"
                        "Cache-Status: millpond; fwd=method; detail=method\r\nContent-Length: 3\r\n\r\n");
    end(&h);
}

static void test_head_text(void **state)
{
    UNUSED(state);
    slice_t rest = SLICE_LIT("HTTP/1.1 200 A: b\r\nX: 1\r\nEmpty: \r\nC: d:e\r\n"), name, value;
    static const char *const want[] = {"X", "1", "Empty", "", "C", "d:e"};
    for (size_t i = 0; i < ARRAY_LEN(want); i += 2) {
        assert_true(head_text_next(&rest, &name, &value));
        assert_true(slice_eq(name, slice_str(want[i])) && slice_eq(value, slice_str(want[i + 1])));
    }
    assert_false(head_text_next(&rest, &name, &value));
    rest = SLICE_LIT("HTTP/1.1 204 No Content\r\n");
    assert_false(head_text_next(&rest, &name, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_framing),          cmocka_unit_test(test_connection_close),
        cmocka_unit_test(test_unread_body),      cmocka_unit_test(test_local),
        cmocka_unit_test(test_object),           cmocka_unit_test(test_cache_status),
        cmocka_unit_test(test_cache_status_key), cmocka_unit_test(test_not_modified),
        cmocka_unit_test(test_condition_failed), cmocka_unit_test(test_relayed_conditions),
        cmocka_unit_test(test_response_edits),   cmocka_unit_test(test_head_text),
    };
    return cmocka_run_group_tests_name("proxy/deliver_head", tests, fix_group_setup, fix_group_teardown);
}
