/* test_record_object.c: from an object to a record and back through a flight: ages, expiry, purges. */
#include "tests/unit/cache/record_fixture.h"

#include "cache/herd.h"
#include "cache/shard.h"
#include "tests/unit/cache/text_head.h"

#define T0   INT64_C(1700000000000)
#define HOUR INT64_C(3600000)
#define URL  "http://h/p"

static void test_expiry_is_what_is_left(void **state)
{
    UNUSED(state);
    struct cache_freshness f = {.response_ms = T0, .corrected_initial_ms = 2000, .lifetime_ms = 60000};
    assert_int_equal(cache_record_expire_ms(&f, T0), 58000);
    assert_int_equal(cache_record_expire_ms(&f, T0 + 10000), 48000);
    assert_int_equal(cache_record_expire_ms(&f, T0 - 10000), 58000); /* the clock stepped back */
    assert_int_equal(cache_record_expire_ms(&f, T0 + 57900), CACHE_RECORD_EXPIRE_LEAST_MS);
    assert_int_equal(cache_record_expire_ms(&f, T0 + 57901), 0);
    assert_int_equal(cache_record_expire_ms(&f, T0 + 1000 * HOUR), 0);
    f.keep_code = 4; /* 8 s of stale windows */
    assert_int_equal(cache_record_expire_ms(&f, T0), 66000);
    assert_int_equal(cache_record_expire_ms(&f, T0 + 60000), 6000);
    f.lifetime_ms = CACHE_AGE_UNKNOWN_MS;
    f.keep_code = CACHE_KEEP_CODE_MAX;
    assert_true(cache_record_expire_ms(&f, T0) == CACHE_RECORD_EXPIRE_MAX_MS);
    f.corrected_initial_ms = CACHE_AGE_UNKNOWN_MS;
    f.keep_code = 0;
    assert_int_equal(cache_record_expire_ms(&f, T0), 0);
}

static slice_t part_of(slice_t head, const char *text)
{
    return slice_make(strstr(head.ptr, text), strlen(text));
}

/* A fill with something in each field. */
static struct cache_fill rich_fill(const struct http_head *request, const struct http_head *response,
                                   uint64_t bytes)
{
    static const slice_t head = SLICE_LIT("HTTP/1.1 203 Well\r\nETag: \"v7\"\r\nLast-Modified: yesterday\r\n"
                                          "Surrogate-Control: x\r\n\x16\0\0");
    return (struct cache_fill){.request = request,
                               .response = response,
                               .head = head,
                               .status = 203,
                               .status_line_bytes = 19,
                               .body_bytes = (int64_t)bytes,
                               .max_object_bytes = 64 * 1024 * 1024,
                               .fresh = {.response_ms = T0,
                                         .corrected_initial_ms = 5000,
                                         .lifetime_ms = HOUR,
                                         .source = FRESHNESS_S_MAXAGE,
                                         .never_stale = true,
                                         .keep_code = 3},
                               .early_code = 9,
                               .etag = part_of(head, "\"v7\""),
                               .last_modified = part_of(head, "yesterday"),
                               .last_modified_s = 1600000000,
                               .tags = {SLICE_LIT("news sport "), {5, 6, 0}}};
}

/* What another node does with it: leads a flight and fills it. */
static enum no_store_reason load(struct cache *c, const struct cache_fill *fill, slice_t body)
{
    struct cache_join_result j = fix_join(c, URL, fill->request, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    enum no_store_reason why;
    if (cache_fill_begin(j.flight, fill, &why) == NULL) {
        cache_flight_release(&j.flight, why, 0);
        return why;
    }
    while (body.len > 0) {
        size_t room;
        char *p = cache_fill_buffer(j.flight, &room);
        assert_non_null(p);
        room = MIN(room, body.len);
        memcpy(p, body.ptr, room);
        cache_fill_commit(j.flight, room);
        body = slice_make(body.ptr + room, body.len - room);
    }
    return cache_fill_finish(&j.flight);
}

static void assert_same_object(const struct cache_object *a, const struct cache_object *b)
{
    const struct cache_object_info i = cache_object_info(a), k = cache_object_info(b);
    const struct cache_tags t = cache_object_tag_fields(a), u = cache_object_tag_fields(b);
    assert_true(slice_eq(cache_object_key(a), cache_object_key(b)));
    assert_true(slice_eq(i.key, k.key) && slice_eq(i.vary_names, k.vary_names));
    assert_true(slice_eq(cache_object_whole_head(a), cache_object_whole_head(b)));
    assert_true(slice_eq(i.head, k.head) && i.hidden_bytes == k.hidden_bytes && i.hidden_bytes == 22);
    assert_true(i.status == k.status && i.status_line_bytes == k.status_line_bytes);
    assert_true(slice_eq(i.validators.etag, k.validators.etag) && i.validators.etag.len == 4);
    assert_true(slice_eq(i.validators.last_modified, k.validators.last_modified));
    assert_int_equal(i.validators.last_modified.len, 9);
    assert_true(i.validators.last_modified_s == k.validators.last_modified_s);
    assert_true(i.fresh.lifetime_ms == k.fresh.lifetime_ms && i.fresh.source == k.fresh.source);
    assert_true(i.fresh.corrected_initial_ms == k.fresh.corrected_initial_ms);
    assert_true(i.fresh.revalidate_always == k.fresh.revalidate_always);
    assert_true(i.fresh.never_stale == k.fresh.never_stale && i.fresh.keep_code == k.fresh.keep_code);
    assert_int_equal(cache_object_early_code(a), cache_object_early_code(b));
    assert_true(slice_eq(t.text, u.text) && memcmp(t.bytes, u.bytes, sizeof t.bytes) == 0);
    assert_int_equal(i.body_bytes, k.body_bytes);
    assert_true(fix_body_is_right(a, 0, (uint64_t)i.body_bytes));
    assert_true(fix_body_is_right(b, 0, (uint64_t)i.body_bytes));
}

/* From one node's cache into another's, with and without Vary, with bodies of every kind. */
static void test_an_object_moves_to_another_node(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {0, 5, 1000, CACHE_RECORD_CHUNK, 5 * CACHE_RECORD_CHUNK + 77};
    for (unsigned varies = 0; varies < 2; varies++) {
        struct text_head request, response;
        text_head_request(&request, HTTP_GET, "Accept: text/html");
        text_head_response(&response, 203, varies ? "Vary: Cookie, accept" : "");
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct cache *from = fix_cache(64 * MB), *to = fix_cache(64 * MB);
            struct cache_stream_map *map = fix_map(0);
            const struct cache_fill fill = rich_fill(&request.head, &response.head, sizes[i]);
            assert_int_equal(fix_store_fill(from, URL, &fill, sizes[i]), NO_STORE_STORED);
            struct cache_object *a = fix_find_as(from, URL, &request.head);
            assert_non_null(a);
            struct cache_record r, out;
            assert_true(cache_record_of_object(a, map, 99, T0 + 1000, &r));
            slice_t bytes = fix_encode(&r);
            assert_int_equal(cache_record_decode(bytes, cache_object_key(a), &out), CACHE_RECORD_NONE);
            char *body = malloc(sizes[i] + 1);
            assert_non_null(body);
            if (out.body.len > 0)
                memcpy(body, out.body.ptr, out.body.len);
            for (uint32_t n = 0; n < cache_record_chunks(&out); n++) {
                slice_t chunk = fix_encode_chunk(&r, n), part = SLICE_EMPTY;
                assert_int_equal(cache_record_decode_chunk(chunk, &out, n, &part), CACHE_RECORD_NONE);
                memcpy(body + n * CACHE_RECORD_CHUNK, part.ptr, part.len);
                fix_free(chunk);
            }
            struct cache_record_fill load_fill;
            cache_record_to_fill(&out, 0, &request.head, 64 * 1024 * 1024, T0 + 2000, -1, &load_fill);
            assert_int_equal(load(to, &load_fill.fill, slice_make(body, sizes[i])), NO_STORE_STORED);
            struct cache_object *b = fix_find_as(to, URL, &request.head);
            assert_non_null(b);
            assert_ptr_not_equal(a, b);
            assert_same_object(a, b);
            assert_int_equal(cache_object_info(b).fresh.response_ms, T0);
            free(body);
            fix_free(bytes);
            fix_map_free(map);
            cache_object_unref(&a);
            cache_object_unref(&b);
            fix_end(&from);
            fix_end(&to);
        }
        text_head_free(&request);
        text_head_free(&response);
    }
}

static void test_what_is_unfinished_or_spent_is_not_written(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct cache_stream_map *map = fix_map(0);
    struct cache_record r;
    struct cache_fill fill = rich_fill(fix_plain(), fix_plain(), 5);
    struct cache_flight *fl = fix_lead(c, URL);
    enum no_store_reason why;
    struct cache_object *o = cache_fill_begin(fl, &fill, &why);
    assert_non_null(o);
    assert_false(cache_record_of_object(o, map, 1, T0, &r));
    cache_fill_abort(&fl);
    assert_int_equal(fix_store_fill(c, URL, &fill, 5), NO_STORE_STORED);
    o = fix_find(c, URL);
    assert_true(
        cache_record_of_object(o, map, 1, T0 + HOUR - 6000, &r)); /* 1 s of lifetime and 4 s of windows */
    assert_int_equal(r.expire_ms, 5000);
    assert_int_equal(r.written_ms, T0 + HOUR - 6000);
    assert_false(cache_record_of_object(o, map, 1, T0 + HOUR, &r));
    fix_map_free(map);
    cache_object_unref(&o);
    fix_end(&c);
}

static dur_ms_t age_when_loaded(const struct cache_record *r, wall_ms_t now_ms, dur_ms_t left_ms)
{
    struct cache_record_fill f;
    cache_record_to_fill(r, 1, fix_plain(), 1000, now_ms, left_ms, &f);
    assert_true(f.fill.loaded && f.fill.max_object_bytes == 1000);
    assert_true(f.fill.fresh.lifetime_ms == r->fresh.lifetime_ms);
    return cache_freshness_age_ms(&f.fill.fresh, now_ms);
}

static void test_age_goes_on_counting_in_the_store(void **state)
{
    UNUSED(state);
    struct cache_record r = fix_record();
    r.fresh.response_ms = T0;
    r.fresh.corrected_initial_ms = 500;
    r.written_ms = T0 + 1000;
    r.expire_ms = 60000;
    /* by what is left of the expiry, whatever the reader's clock says */
    assert_int_equal(age_when_loaded(&r, T0 + 1000, 60000), 1500);
    assert_int_equal(age_when_loaded(&r, T0 + 21000, 40000), 21500);
    assert_int_equal(age_when_loaded(&r, T0 + HOUR, 40000), 21500);
    assert_int_equal(age_when_loaded(&r, T0 - HOUR, 40000), 21500);
    assert_int_equal(age_when_loaded(&r, T0 - HOUR, 0), 61500);
    /* by the clocks, when that is not known, or not what the record was written with */
    assert_int_equal(age_when_loaded(&r, T0 + 21000, -1), 21500);
    assert_int_equal(age_when_loaded(&r, T0 + 21000, -2), 21500);
    assert_int_equal(age_when_loaded(&r, T0 + 21000, 60001), 21500);
    assert_int_equal(age_when_loaded(&r, T0 + HOUR, -1), HOUR + 500);
    /* a clock that is a little behind, and one that is far */
    assert_int_equal(age_when_loaded(&r, T0 + 1000 - CACHE_RECORD_SKEW_MS, -1), 1500);
    assert_int_equal(age_when_loaded(&r, T0 + 999 - CACHE_RECORD_SKEW_MS, -1), 61500);
    /* the writer's clock stepped back between response and write */
    r.written_ms = T0 - 1000;
    assert_int_equal(age_when_loaded(&r, T0, 50000), 10500);
}

/* ---- purges ---- */

static uint64_t purge(struct cache *c, const char *tag, bool soft)
{
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = slice_str(tag), .soft = soft};
    struct cache_purge_result result;
    assert_true(cache_purge(c, &p, 1, &result));
    return result.id;
}

/* A fill of what was checked at `checked_id`, fresh. */
static struct cache_fill loaded_fill(uint64_t checked_id)
{
    struct cache_fill fill = rich_fill(fix_plain(), fix_plain(), 5);
    fill.fresh.response_ms = clock_wall_ms();
    fill.loaded = true;
    fill.checked_id = checked_id;
    return fill;
}

static bool is_fresh(const struct cache_object *o)
{
    const struct cache_freshness f = cache_object_freshness(o);
    return cache_freshness_is_fresh(&f, clock_wall_ms());
}

static void test_a_purge_since_the_record_was_checked_concerns_it(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    const uint64_t before = purge(c, "other", false), at = purge(c, "news", false);
    struct cache_fill fill = loaded_fill(before);
    enum no_store_reason why;
    struct cache_flight *fl = fix_lead(c, URL);
    assert_null(cache_fill_begin(fl, &fill, &why));
    assert_int_equal(why, NO_STORE_PURGED);
    fill.loaded = false; /* the leader fetches instead, in the same flight */
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    uint64_t offset = 0;
    assert_true(fix_pour(fl, &offset, 5));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    const struct cache_key key = fix_key(URL);
    assert_int_equal(cache_purge_url(c, &key), 1);
    fill = loaded_fill(cache_inval_head(&c->inval)); /* checked after the purges */
    assert_int_equal(load(c, &fill, SLICE_LIT("hello")), NO_STORE_STORED);
    assert_true(at > before && fix_has(c, URL));
    purge(c, "sport", false);
    assert_false(fix_has(c, URL));
    fix_end(&c);
}

/* Of another node that is ahead: what comes between does count, once it arrives here. */
static void test_an_id_from_the_future_makes_nothing_immune(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    static const uint64_t ids[] = {CACHE_INVAL_ID_MAX, (CACHE_INVAL_ID_MAX - 1) | CACHE_STALE_BIT};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        const struct cache_fill fill = loaded_fill(ids[i]);
        assert_int_equal(load(c, &fill, SLICE_LIT("hello")), NO_STORE_STORED);
        assert_true(fix_has(c, URL));
        purge(c, "news", false);
        assert_false(fix_has(c, URL));
    }
    fix_end(&c);
}

static void test_a_purge_while_it_is_loaded_keeps_it_out(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    const struct cache_fill fill = loaded_fill(purge(c, "other", false));
    enum no_store_reason why;
    uint64_t offset = 0;
    struct cache_flight *fl = fix_lead(c, URL);
    assert_non_null(cache_fill_begin(fl, &fill, &why));
    purge(c, "news", false);
    assert_true(fix_pour(fl, &offset, 5));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_PURGED);
    fix_end(&c);
}

static void test_a_soft_purge_since_then_makes_it_stale_for_all(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    const struct cache_fill fill = loaded_fill(purge(c, "other", false));
    const uint64_t at = purge(c, "news", true);
    enum no_store_reason why;
    uint64_t offset = 0;
    struct cache_flight *fl = fix_lead(c, URL);
    struct cache_object *o = cache_fill_begin(fl, &fill, &why);
    assert_non_null(o);
    assert_false(is_fresh(o)); /* for who follows, too */
    assert_true(fix_pour(fl, &offset, 5));
    assert_int_equal(cache_fill_finish(&fl), NO_STORE_STORED);
    o = fix_find(c, URL);
    assert_non_null(o);
    assert_false(is_fresh(o));
    assert_true(atomic_load(&o->checked_id) == (at | CACHE_STALE_BIT));
    cache_object_unref(&o);
    purge(c, "sport", false);
    assert_false(fix_has(c, URL));
    fix_end(&c);
}

static void test_what_is_stale_by_a_soft_purge_is_not_written(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct cache_fill fill = rich_fill(fix_plain(), fix_plain(), 5);
    const wall_ms_t now_ms = fill.fresh.response_ms = clock_wall_ms();
    struct cache_stream_map *map = fix_map(cache_inval_head(&c->inval));
    struct cache_record r;
    assert_int_equal(fix_store_fill(c, URL, &fill, 5), NO_STORE_STORED);
    struct cache_object *o = fix_find(c, URL);
    assert_non_null(o);
    assert_true(cache_record_of_object(o, map, 1, now_ms, &r));
    purge(c, "news", true);
    assert_true(fix_has(c, URL)); /* which marks it */
    assert_false(cache_record_of_object(o, map, 1, now_ms, &r));
    cache_object_unref(&o);
    fix_map_free(map);
    fix_end(&c);
}

/* What has come here from the stream is in the stamp, and nothing else; without an epoch there is none. */
static void test_the_stamp_is_that_of_what_was_checked(void **state)
{
    UNUSED(state);
    struct cache *c = fix_cache(16 * MB);
    struct cache_fill fill = rich_fill(fix_plain(), fix_plain(), 5);
    fill.fresh.response_ms = T0;
    struct cache_stream_map *map = fix_map(purge(c, "other", false));
    struct cache_record r;
    assert_int_equal(fix_store_fill(c, URL, &fill, 5), NO_STORE_STORED);
    struct cache_object *o = fix_find(c, URL);
    assert_non_null(o);
    const uint64_t later = purge(c, "more", false);
    cache_stream_map_advance(map, (struct cache_stream_id){200, 3}, later, UINT64_MAX,
                             CACHE_STREAM_NOTHING_PENDING);
    assert_true(cache_record_of_object(o, map, 1, T0, &r));
    assert_true(r.stamp.epoch == 7 && r.stamp.id.ms == 100);
    assert_true(fix_has(c, URL)); /* which checks it */
    assert_true(cache_record_of_object(o, map, 1, T0, &r));
    assert_true(r.stamp.id.ms == 200 && r.stamp.id.seq == 3);
    cache_stream_map_set_epoch(map, 0);
    assert_false(cache_record_of_object(o, map, 1, T0, &r));
    cache_object_unref(&o);
    fix_map_free(map);
    fix_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry_is_what_is_left),
        cmocka_unit_test(test_an_object_moves_to_another_node),
        cmocka_unit_test(test_what_is_unfinished_or_spent_is_not_written),
        cmocka_unit_test(test_age_goes_on_counting_in_the_store),
        cmocka_unit_test(test_a_purge_since_the_record_was_checked_concerns_it),
        cmocka_unit_test(test_an_id_from_the_future_makes_nothing_immune),
        cmocka_unit_test(test_a_purge_while_it_is_loaded_keeps_it_out),
        cmocka_unit_test(test_a_soft_purge_since_then_makes_it_stale_for_all),
        cmocka_unit_test(test_what_is_stale_by_a_soft_purge_is_not_written),
        cmocka_unit_test(test_the_stamp_is_that_of_what_was_checked),
    };
    return cmocka_run_group_tests(tests, fix_group_setup, fix_group_teardown);
}
