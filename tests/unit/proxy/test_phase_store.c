/* test_phase_store.c: what becomes of a 304 to our own condition: the stored response, whatever memory there
 * is. */
#include "fixture.h"

struct store_fix {
    struct proxy_fix f;
    struct client_conn *c;
    struct exchange *x;
    int other;
};

/* An exchange that leads the flight of a stored response which it revalidates. */
static void start(struct store_fix *s)
{
    char *key_text;
    enum no_store_reason pass;
    fix_start(&s->f, FIX_APP, true);
    fix_store(&s->f, "h", "/", "HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nX-Old: 1\r\n", "body");
    s->c = fix_client(&s->f, "192.0.2.7:1", &s->other);
    s->x = fix_exchange(&s->f, s->c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct exchange *x = s->x;
    x->phase = PHASE_FETCH;
    x->verdict = VERDICT_EXPIRED;
    x->sent_wall_ms = s->f.worker->now_wall_ms;
    key_text = arena_alloc(&x->arena, 256);
    cache_key_build(key_text, SLICE_LIT("http"), x->host, x->target.path, x->target.query, &x->key);
    rcu_enter();
    struct cache_object *o = cache_find(s->f.cache, &x->key, &x->req, &x->arena, &pass);
    assert_non_null(o);
    x->stale = cache_object_ref(o);
    rcu_leave();
    struct cache_join_result j =
        cache_join(s->f.cache, &x->key, &x->req, &x->arena, x->stale, s->f.worker, phase_wait_on_event, x);
    assert_int_equal(j.what, CACHE_LEAD);
    x->flight = j.flight;
}

static void end(struct store_fix *s)
{
    fix_drop(s->x);
    client_conn_close(s->c, CLOSE_CLIENT_CLOSED);
    close(s->other);
    fix_end(&s->f);
}

static void not_modified(struct store_fix *s, const char *response)
{
    struct http_field fields[16];
    struct http_head head = {.fields = fields};
    fix_parse_response(response, &head);
    s->x->response_framing = (struct h1_framing){.kind = H1_BODY_NONE};
    phase_store_response(s->x, &head);
    assert_null(s->x->flight);
    assert_int_equal(s->x->source, SOURCE_OBJECT);
    assert_int_equal(s->x->verdict, VERDICT_REVALIDATED);
    assert_true(s->x->object_held);
    assert_int_equal(cache_object_filled(s->x->object), 4);
}

static void test_refreshed(void **state)
{
    UNUSED(state);
    struct store_fix s;
    start(&s);
    not_modified(&s,
                 "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=9\r\nX-New: 2\r\n\r\n");
    assert_ptr_not_equal(s.x->object, s.x->stale);
    assert_int_equal(s.x->no_store, NO_STORE_STORED);
    slice_t head = s.x->info.head;
    char text[512];
    snprintf(text, sizeof text, SLICE_FMT, SLICE_ARG(head));
    assert_non_null(strstr(text, "X-Old: 1\r\n"));
    assert_non_null(strstr(text, "X-New: 2\r\n"));
    assert_int_equal(fix_count(text, "ETag"), 1);
    end(&s);
}

static void test_confirmed_but_not_storable(void **state)
{
    UNUSED(state);
    struct store_fix s;
    start(&s);
    not_modified(&s, "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: no-store\r\n\r\n");
    assert_ptr_equal(s.x->object, s.x->stale);
    assert_int_equal(s.x->no_store, NO_STORE_NO_STORE);
    end(&s);
}

/* A client that asked without a condition must not get the 304 that we asked for. */
static void test_no_memory(void **state)
{
    UNUSED(state);
    struct store_fix s;
    start(&s);
    while (arena_alloc(&s.x->arena, 16) != NULL)
        continue;
    not_modified(&s, "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=9\r\n\r\n");
    assert_ptr_equal(s.x->object, s.x->stale);
    assert_int_equal(s.x->no_store, NO_STORE_NO_MEMORY);
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refreshed),
        cmocka_unit_test(test_confirmed_but_not_storable),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests_name("proxy/phase_store", tests, fix_group_setup, fix_group_teardown);
}
