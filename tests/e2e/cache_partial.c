/* cache_partial.c: responses of which a part is stored, reused and completed (RFC 9111 sections 3.3 and 3.4).
 * What goes wrong or changes meanwhile is in cache_partial_odd.c. */
#include "tests/support/site.h"

#define BIG (10 * 1024 * 1024)

/* ---- reuse ---- */

static void a_far_range_travels_and_is_stored(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = site_start(site_new(TAGGED), &o);
    struct message *r = site_ask(m, "bytes=-3", "");
    EXPECT_PART(r, "bytes 7-9/10", "789");
    expect_field_in(r, "Cache-Status", "fwd=uri-miss; stored");
    EXPECT_ASKED(o, 0, "bytes=-3", NULL);
    r = site_ask(m, "bytes=-3", "");
    EXPECT_PART(r, "bytes 7-9/10", "789");
    expect_field_in(r, "Cache-Status", "hit");
    expect_field(r, "Content-Type", "text/plain");
    assert_non_null(message_field(r, "Age"));
    EXPECT_PART(site_ask(m, "bytes=8-8", ""), "bytes 8-8/10", "8");
    EXPECT_PART(site_ask(m, "bytes=8-", ""), "bytes 8-9/10", "89");
    EXPECT_PART(site_ask(m, "bytes=-1", ""), "bytes 9-9/10", "9");
    EXPECT_PART(site_ask(m, "bytes=7-7,8-99", ""), "bytes 7-9/10", "789");
    EXPECT_PART(site_ask(m, "bytes=-2", "If-Range: \"v1\"\r\n"), "bytes 8-9/10", "89");
    expect_field(site_ask(m, "bytes=10-", ""), "Content-Range", "bytes */10");
    r = client_raw(m->port, "GET /p HTTP/1.1\r\nHost: test\r\nConnection: close\r\nRange: bytes=8-\r\n"
                            "If-None-Match: \"v1\"\r\n\r\n");
    expect_status(r, 304);
    expect_no_field(r, "Content-Range");
    expect_status(site_ask(m, "bytes=8-", "If-Match: \"v2\"\r\n"), 412);
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void pipelined_parts_are_right(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = site_start(site_new(TAGGED), &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    struct client *c = client_open(m->port);
    const char *get = "GET /p HTTP/1.1\r\nHost: test\r\nRange: bytes=%d-\r\n\r\n";
    client_send(c, "%s%s%s", textf(get, 7), textf(get, 8), textf(get, 9));
    EXPECT_PART(client_read(c), "bytes 7-9/10", "789");
    EXPECT_PART(client_read(c), "bytes 8-9/10", "89");
    EXPECT_PART(client_read(c), "bytes 9-9/10", "9");
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void all_of_it_in_a_206_is_the_whole(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = site_start(site_new(TAGGED), &o);
    EXPECT_PART(site_ask(m, "bytes=-100", ""), "bytes 0-9/10", DIGITS);
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    EXPECT_PART(site_ask(m, "bytes=1-2", ""), "bytes 1-2/10", "12");
    assert_int_equal(origin_requests(o), 1);
    millpond_stop(m);
}

static void conditions_keep_a_range_at_home(void **state)
{
    UNUSED(state);
    static const char *const conditions[] = {"If-Range: \"v1\"\r\n", "If-None-Match: \"v0\"\r\n",
                                             "If-Match: \"v1\"\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(conditions); i++) {
        struct origin *o;
        struct millpond *m = site_start(site_new(TAGGED), &o);
        EXPECT_PART(site_ask(m, "bytes=-3", conditions[i]), "bytes 7-9/10", "789");
        EXPECT_ASKED(o, 0, NULL, NULL);
        millpond_stop(m);
    }
}

static void a_stale_part_is_revalidated(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new("Cache-Control: no-cache\r\n" V1);
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    for (unsigned i = 1; i < 3; i++) {
        struct message *r = site_ask(m, "bytes=8-", "");
        EXPECT_PART(r, "bytes 8-9/10", "89");
        expect_field_in(r, "Cache-Status", "fwd-status=304");
        expect_field(origin_request(o, i), "If-None-Match", "\"v1\"");
        EXPECT_ASKED(o, i, NULL, NULL);
    }
    EXPECT_WHOLE(client_get(m->port, "/p", "")); /* a 304 would not help */
    expect_no_field(origin_request(o, 3), "If-None-Match");
    EXPECT_ASKED(o, 3, "bytes=0-6", "\"v1\"");
    millpond_stop(m);
}

static void head_and_only_if_cached_know_it_is_a_part(void **state)
{
    UNUSED(state);
    struct origin *o = origin_start(site_script, site_new(TAGGED));
    struct millpond *m =
        millpond_start(.rest = textf("%s[route all]\npool = app\nignore_client_cache_control = no\n",
                                     pool_lines("app", 1, o)));
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    EXPECT_PART(site_ask(m, "bytes=8-", "Cache-Control: only-if-cached\r\n"), "bytes 8-9/10", "89");
    expect_status(site_ask(m, "bytes=6-", "Cache-Control: only-if-cached\r\n"), 504);
    expect_status(client_get(m->port, "/p", "Cache-Control: only-if-cached\r\n"), 504);
    assert_int_equal(origin_requests(o), 1);
    struct client *c = client_open(m->port);
    client_send(c, "HEAD /p HTTP/1.1\r\nHost: test\r\nRange: bytes=8-\r\n\r\n");
    origin_wait_requests(o, 2);
    millpond_stop(m);
}

/* ---- completion ---- */

static void the_missing_beginning_is_fetched(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->part_fields = LONG V1 "X-New: 1\r\nContent-Digest: x\r\n"; /* need not say the type again */
    s->raw[0] = "HTTP/1.1 206 Partial Content\r\n" TAGGED "X-Old: 1\r\nContent-Digest: y\r\n"
                "Content-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\n789";
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
    for (int i = 0; i < 2; i++) {
        struct message *r = client_get(m->port, "/p", "");
        EXPECT_WHOLE(r);
        assert_string_equal(r->start_line, "HTTP/1.1 200 OK");
        expect_field(r, "Content-Type", "text/plain");
        expect_field(r, "X-Old", "1");
        expect_field(r, "X-New", "1");
        expect_field_in(r, "Cache-Status", i == 0 ? "fwd=partial; stored" : "hit");
    }
    EXPECT_ASKED(o, 1, "bytes=0-6", "\"v1\"");
    EXPECT_PART(site_ask(m, "bytes=6-7", ""), "bytes 6-7/10", "67");
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void the_missing_end_is_fetched(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = "HTTP/1.1 206 Partial Content\r\n" TAGGED /* another range than the one asked for */
                "Content-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\n01234";
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-5", ""), "bytes 0-4/10", "01234");
    EXPECT_PART(site_ask(m, "bytes=1-2", ""), "bytes 1-2/10", "12");
    EXPECT_PART(site_ask(m, "bytes=4-5", ""), "bytes 4-5/10", "45");
    EXPECT_ASKED(o, 1, "bytes=5-", "\"v1\"");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    assert_int_equal(origin_requests(o), 2);
    millpond_stop(m);
}

static void a_date_completes_when_it_is_strong(void **state)
{
    UNUSED(state);
    static const struct {
        const char *fields, *range, *if_range;
    } rows[] = {
        {LONG "Date: Thu, 01 Jan 2015 00:00:01 GMT\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n",
         "bytes=0-6", "Thu, 01 Jan 2015 00:00:00 GMT"},
        {LONG "Date: Thu, 01 Jan 2015 00:00:00 GMT\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", NULL,
         NULL},
        {LONG "Last-Modified: yesterday\r\n", NULL, NULL},
        {LONG "ETag: W/\"v1\"\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n", NULL, NULL},
        {LONG, NULL, NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        /* What is ten years old by Date is fresh by the route. */
        struct origin *o = origin_start(site_script, site_new(rows[i].fields));
        struct millpond *m =
            millpond_start(.rest = textf("%s[route all]\npool = app\nttl = 1h\n", pool_lines("app", 1, o)));
        EXPECT_PART(site_ask(m, "bytes=-3", ""), "bytes 7-9/10", "789");
        EXPECT_PART(site_ask(m, "bytes=-2", ""), "bytes 8-9/10", "89");
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        EXPECT_WHOLE(client_get(m->port, "/p", ""));
        EXPECT_ASKED(o, 1, rows[i].range, rows[i].if_range);
        assert_int_equal(origin_requests(o), 2);
        millpond_stop(m);
    }
}

static void a_part_in_the_middle_is_not_completed(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct site *s = site_new(TAGGED);
    s->raw[0] = "HTTP/1.1 206 Partial Content\r\n" TAGGED
                "Content-Range: bytes 4-6/10\r\nContent-Length: 3\r\n\r\n456";
    struct millpond *m = site_start(s, &o);
    EXPECT_PART(site_ask(m, "bytes=-5", ""), "bytes 4-6/10", "456");
    EXPECT_PART(site_ask(m, "bytes=5-6", ""), "bytes 5-6/10", "56");
    EXPECT_WHOLE(client_get(m->port, "/p", ""));
    EXPECT_ASKED(o, 1, NULL, NULL);
    millpond_stop(m);
}

static void variants_have_parts_of_their_own(void **state)
{
    UNUSED(state);
    struct origin *o;
    struct millpond *m = site_start(site_new(TAGGED "Vary: X-Lang\r\n"), &o);
    EXPECT_PART(site_ask(m, "bytes=-3", "X-Lang: a\r\n"), "bytes 7-9/10", "789");
    EXPECT_PART(site_ask(m, "bytes=-4", "X-Lang: b\r\n"), "bytes 6-9/10", "6789");
    EXPECT_PART(site_ask(m, "bytes=-2", "X-Lang: a\r\n"), "bytes 8-9/10", "89");
    assert_int_equal(origin_requests(o), 2);
    EXPECT_WHOLE(client_get(m->port, "/p", "X-Lang: a\r\n"));
    EXPECT_ASKED(o, 2, "bytes=0-6", "\"v1\"");
    EXPECT_WHOLE(client_get(m->port, "/p", "X-Lang: b\r\n"));
    EXPECT_ASKED(o, 3, "bytes=0-5", "\"v1\"");
    EXPECT_WHOLE(client_get(m->port, "/p", "X-Lang: b\r\n"));
    assert_int_equal(origin_requests(o), 4);
    millpond_stop(m);
}

static struct site *big_site(void)
{
    struct site *s = site_new(TAGGED);
    char *body = calloc(1, BIG + 1);
    for (size_t i = 0; i < BIG; i++)
        body[i] = (char)('a' + i % 23 + (i >> 16) % 3);
    support_on_end(free, body);
    s->body = body;
    s->bytes = BIG;
    return s;
}

static void large_parts_are_the_right_bytes(void **state)
{
    UNUSED(state);
    static const size_t firsts[] = {BIG - 1,       BIG - 100,     BIG - 20000,
                                    BIG - 5000000, BIG - 9000000, 1024 * 1024};
    struct site *s = big_site();
    struct origin *o = origin_start(site_script, s);
    struct millpond *m = millpond_before(o, "");
    for (unsigned i = 0; i < ARRAY_LEN(firsts); i++) {
        const size_t first = firsts[i], bytes = BIG - first;
        const char *target = textf("/%u", i);
        for (int n = 0; n < 2; n++) {
            struct message *r = client_get(m->port, target, textf("Range: bytes=%zu-\r\n", first));
            expect_status(r, 206);
            assert_int_equal(r->body_len, bytes);
            assert_memory_equal(r->body, s->body + first, bytes);
        }
        for (int n = 0; n < 2; n++) {
            struct message *r = client_get(m->port, target, "");
            expect_status(r, 200);
            assert_int_equal(r->body_len, BIG);
            assert_memory_equal(r->body, s->body, BIG);
        }
        EXPECT_ASKED(o, 2 * i, textf("bytes=%zu-", first), NULL);
        bool small = bytes <= 8 * 1024 * 1024; /* what is larger is not copied */
        EXPECT_ASKED(o, 2 * i + 1, small ? textf("bytes=0-%zu", first - 1) : NULL, small ? "\"v1\"" : NULL);
    }
    assert_int_equal(origin_requests(o), 2 * ARRAY_LEN(firsts));
    struct message *r = client_get(m->port, "/near", "Range: bytes=1048575-1048575\r\n");
    expect_status(r, 206);
    EXPECT_ASKED(o, 2 * ARRAY_LEN(firsts), NULL, NULL);
    millpond_stop(m);
}

static void too_large_for_a_whole_is_served_in_part(void **state)
{
    UNUSED(state);
    struct site *s = big_site();
    struct origin *o = origin_start(site_script, s);
    struct millpond *m = millpond_start(.cache = "max_object_size = 1M\n", .rest = pool_lines("app", 1, o));
    for (int i = 0; i < 2; i++)
        EXPECT_PART(site_ask(m, "bytes=-3", ""), textf("bytes %d-%d/%d", BIG - 3, BIG - 1, BIG),
                    s->body + BIG - 3);
    EXPECT_PART(site_ask(m, "bytes=0-1", ""), textf("bytes 0-1/%d", BIG), textf("%.2s", s->body));
    EXPECT_ASKED(o, 1, "bytes=0-1", NULL);
    assert_int_equal(client_get(m->port, "/p", "")->body_len, BIG);
    EXPECT_ASKED(o, 2, NULL, NULL);
    assert_int_equal(origin_requests(o), 3);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_far_range_travels_and_is_stored),
        E2E_TEST(pipelined_parts_are_right),
        E2E_TEST(all_of_it_in_a_206_is_the_whole),
        E2E_TEST(conditions_keep_a_range_at_home),
        E2E_TEST(a_stale_part_is_revalidated),
        E2E_TEST(head_and_only_if_cached_know_it_is_a_part),
        E2E_TEST(the_missing_beginning_is_fetched),
        E2E_TEST(the_missing_end_is_fetched),
        E2E_TEST(a_date_completes_when_it_is_strong),
        E2E_TEST(a_part_in_the_middle_is_not_completed),
        E2E_TEST(variants_have_parts_of_their_own),
        E2E_TEST(large_parts_are_the_right_bytes),
        E2E_TEST(too_large_for_a_whole_is_served_in_part),
    };
    return E2E_RUN("cache_partial", tests);
}
