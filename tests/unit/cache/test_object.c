/* test_object.c: the packed object, its body kinds, references and charge. */
#include "tests/unit/cache/fixture.h"

static struct cache_account account;

static int open_account(void **state)
{
    UNUSED(state);
    assert_true(cache_account_open(&account, 100 * MB));
    return 0;
}

static int close_account(void **state)
{
    UNUSED(state);
    rcu_flush();
    cache_account_close(&account); /* asserts that nothing is charged or alive */
    return 0;
}

static struct cache_object *make(const char *key, size_t primary_bytes, const char *names,
                                 struct cache_fill *fill, int64_t body_bytes, struct cache_body *body)
{
    struct cache_object_parts parts = {.hash = 42,
                                       .shard = 63,
                                       .key = slice_str(key),
                                       .primary_bytes = primary_bytes,
                                       .vary_names = slice_str(names),
                                       .fill = fill,
                                       .body_bytes = body_bytes};
    size_t cost = cache_object_cost(&parts, body != NULL);
    assert_true(cache_account_try(&account, cost));
    struct cache_object *o = cache_object_create(&account, &parts, body);
    assert_non_null(o);
    assert_int_equal(cost, cache_object_charge(o, body == NULL));
    return o;
}

static void test_info_survives_packing(void **state)
{
    UNUSED(state);
    static const char head[] = "HTTP/1.1 404 Not Found\r\nETag: W/\"x\"\r\nLast-Modified: yesterday\r\n";
    struct cache_fill fill = {.head = {head, sizeof head - 1},
                              .status = 404,
                              .status_line_bytes = 24,
                              .etag = {head + 30, 5},
                              .last_modified = {head + 52, 9},
                              .last_modified_s = 1700000000,
                              .fresh = {.response_ms = 1700000000123,
                                        .corrected_initial_ms = 4567,
                                        .lifetime_ms = (int64_t)2147483648 * 1000,
                                        .source = FRESHNESS_HEURISTIC,
                                        .revalidate_always = true,
                                        .never_stale = true,
                                        .keep_code = 31},
                              .early_code = 12};
    struct cache_object *o = make("http://h/p|sec", 10, "accept,cookie", &fill, 5, NULL);
    struct cache_object_info i = cache_object_info(o);
    assert_true(slice_eq(i.head, fill.head));
    assert_int_equal(i.status, 404);
    assert_int_equal(i.status_line_bytes, 24);
    assert_int_equal(i.body_bytes, 5);
    assert_true(slice_eq(i.validators.etag, SLICE_LIT("W/\"x\"")));
    assert_true(slice_eq(i.validators.last_modified, SLICE_LIT("yesterday")));
    assert_true(i.validators.last_modified_s == 1700000000);
    assert_true(i.fresh.response_ms == 1700000000123 && i.fresh.corrected_initial_ms == 4567);
    assert_true(i.fresh.lifetime_ms == (int64_t)2147483648 * 1000);
    assert_int_equal(i.fresh.source, FRESHNESS_HEURISTIC);
    assert_true(i.fresh.revalidate_always && i.fresh.never_stale);
    assert_int_equal(i.fresh.keep_code, 31);
    assert_int_equal(cache_object_early_code(o), 12);
    assert_true(slice_eq(i.key, SLICE_LIT("http://h/p")));
    assert_true(slice_eq(i.vary_names, SLICE_LIT("accept,cookie")));
    assert_true(cache_object_is_variant(o));
    assert_int_equal(o->shard, 63);
    cache_object_unref(&o);
    assert_null(o);
}

static void test_values_out_of_range_are_clamped(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(0);
    fill.fresh.response_ms = -5;
    fill.fresh.lifetime_ms = INT64_MAX;
    fill.last_modified_s = -1000;
    fill.etag = SLICE_EMPTY;
    struct cache_object *o = make("k", 1, "", &fill, 0, NULL);
    struct cache_object_info i = cache_object_info(o);
    assert_int_equal(i.fresh.response_ms, 0);
    assert_true(i.fresh.lifetime_ms == ((int64_t)1 << 42) - 1);
    assert_int_equal(i.validators.last_modified_s, 0);
    assert_int_equal(i.validators.etag.len, 0);
    cache_object_unref(&o);
}

static void test_too_large_parts_are_refused(void **state)
{
    UNUSED(state);
    char *big = calloc(1, 65536);
    struct cache_fill fill = fix_fill(0);
    struct cache_object_parts parts = {.key = slice_make(big, 65535), .fill = &fill};
    assert_true(cache_object_parts_fit(&parts));
    parts.key.len = 65536;
    assert_false(cache_object_parts_fit(&parts));
    parts.key.len = 1;
    fill.head = slice_make(big, 65536);
    assert_false(cache_object_parts_fit(&parts));
    free(big);
}

static void fill_small(struct cache_object *o, size_t from, size_t n)
{
    char *p = cache_object_small_body(o) + from;
    for (size_t i = 0; i < n; i++)
        p[i] = (char)((from + i) * 31 % 251);
    cache_object_commit_small(o, n);
}

static void test_small_bodies_fill_byte_by_byte(void **state)
{
    UNUSED(state);
    static const int64_t sizes[] = {0, 1, 100, 1000, 1024, 1500, 4096, 16384};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct cache_fill fill = fix_fill(sizes[i]);
        struct cache_object *o = make("http://h/p", 10, "", &fill, sizes[i], NULL);
        assert_int_not_equal(o->kind, CACHE_BODY_SHARED);
        assert_false(cache_object_is_complete(o));
        struct iovec iov[2];
        assert_int_equal(cache_object_iov(o, 0, iov, 2), 0);
        if (sizes[i] > 1) {
            fill_small(o, 0, 1);
            assert_int_equal(cache_object_filled(o), 1);
            assert_int_equal(cache_object_iov(o, 0, iov, 2), 1);
            fill_small(o, 1, (size_t)sizes[i] - 1);
        } else if (sizes[i] == 1) {
            fill_small(o, 0, 1);
        }
        cache_object_end(o, CACHE_COMPLETE);
        assert_true(cache_object_is_complete(o));
        assert_int_equal(cache_object_filled(o), sizes[i]);
        assert_true(fix_body_is_right(o, 0, (uint64_t)sizes[i]));
        assert_int_equal(cache_object_iov(o, (uint64_t)sizes[i], iov, 2), 0);
        cache_object_unref(&o);
    }
}

static void test_split_when_it_saves_memory(void **state)
{
    UNUSED(state);
    for (int64_t body = 0; body <= 16384; body += 61) {
        struct cache_fill fill = fix_fill(body);
        struct cache_object *o = make("http://h/p", 10, "", &fill, body, NULL);
        size_t text = sizeof *o + 10 + fill.head.len;
        size_t split = cache_memory_rounded(text) + cache_memory_rounded((size_t)body);
        assert_int_equal(cache_object_charge(o, true), MIN(split, cache_memory_rounded(text + (size_t)body)));
        cache_object_unref(&o);
    }
}

static void body_pour(struct cache_body *b, uint64_t n)
{
    uint64_t at = atomic_load(&b->filled), end = at + n;
    while (at < end) {
        size_t room, charge;
        char *p = cache_body_room(b, &room);
        if (p == NULL) {
            size_t bytes = cache_body_next_chunk(b, &charge);
            assert_true(cache_account_try(&account, charge));
            assert_true(cache_body_add_chunk(b, bytes, charge));
            continue;
        }
        room = (size_t)MIN(room, end - at);
        for (size_t i = 0; i < room; i++)
            p[i] = (char)((at + i) * 31 % 251);
        cache_body_commit(b, room);
        at += room;
    }
}

static void test_large_body_is_few_pieces(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill((int64_t)MB);
    struct cache_object *o = make("k", 1, "", &fill, (int64_t)MB, NULL);
    body_pour(o->body, MB);
    cache_object_end(o, CACHE_COMPLETE);
    struct iovec iov[16];
    size_t n = cache_object_iov(o, 0, iov, 16);
    assert_in_range(n, 1, 5);
    assert_true(fix_body_is_right(o, 0, MB));
    assert_true(fix_body_is_right(o, 65535, MB - 65535));
    assert_int_equal(cache_object_iov(o, MB - 1, iov, 16), 1);
    assert_int_equal(iov[0].iov_len, 1);
    assert_int_equal(cache_object_iov(o, 0, iov, 2), 2);             /* no more than asked for */
    assert_in_range(cache_object_charge(o, true), MB, MB + 32 * KB); /* glibc rounds to pages */
    cache_object_unref(&o);
}

static void test_unknown_length_gives_back_the_slack(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(-1);
    struct cache_object *o = make("k", 1, "", &fill, -1, NULL);
    assert_int_equal(cache_object_info(o).body_bytes, -1);
    body_pour(o->body, 600 * KB);
    size_t before = atomic_load(&o->body->charge), room;
    assert_non_null(cache_body_room(o->body, &room)); /* the last byte is there, but not shown yet */
    *cache_body_room(o->body, &room) = (char)(600 * KB * 31 % 251);
    cache_object_seal(o, 1);
    assert_false(cache_object_is_complete(o));
    assert_int_equal(cache_object_filled(o), 600 * KB);
    cache_object_show(o, 1);
    assert_true(cache_object_is_complete(o));
    assert_int_equal(cache_object_info(o).body_bytes, 600 * KB + 1);
    assert_true(atomic_load(&o->body->charge) <= before);
#ifdef MILLPOND_JEMALLOC
    assert_true(atomic_load(&o->body->charge) < 600 * KB + 600 * KB / 8);
#endif
    assert_true(fix_body_is_right(o, 0, 600 * KB + 1));
    cache_object_unref(&o);
}

static void test_body_outlives_the_object_it_came_with(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(-1);
    struct cache_object *a = make("k", 1, "", &fill, -1, NULL);
    body_pour(a->body, 100 * KB);
    cache_object_end(a, CACHE_COMPLETE);
    struct cache_object *b = make("k", 1, "", &fill, (int64_t)(100 * KB), a->body);
    cache_object_unref(&a);
    assert_true(cache_object_is_complete(b));
    assert_true(fix_body_is_right(b, 0, 100 * KB));
    cache_object_unref(&b);
}

static void test_trim_keeps_offsets(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(-1);
    struct cache_object *o = make("k", 1, "", &fill, -1, NULL);
    body_pour(o->body, 500 * KB);
    size_t before = atomic_load(&account.used);
    cache_body_trim(o->body, 300 * KB);
    assert_true(atomic_load(&account.used) < before - 100 * KB);
    assert_true(fix_body_is_right(o, 300 * KB, 200 * KB));
    body_pour(o->body, 100 * KB);
    cache_body_trim(o->body, 600 * KB); /* the chunk being filled stays */
    body_pour(o->body, 100 * KB);
    assert_true(fix_body_is_right(o, 600 * KB, 100 * KB));
    cache_object_end(o, CACHE_CUT);
    assert_int_equal(cache_object_state(o), CACHE_CUT);
    cache_object_unref(&o);
}

static void test_retired_object_is_charged_while_pinned(void **state)
{
    UNUSED(state);
    struct cache_fill fill = fix_fill(10);
    struct cache_object *o = make("k", 1, "", &fill, 10, NULL);
    size_t charge = cache_object_charge(o, true);
    struct cache_object *reader = cache_object_ref(o);
    cache_object_retire(o); /* takes the first reference, as the index's */
    rcu_flush();
    assert_int_equal(atomic_load(&account.used), charge);
    assert_int_equal(atomic_load(&account.doomed), 0);
    cache_object_unref(&reader);
    assert_int_equal(atomic_load(&account.used), 0);
}

static void test_no_memory_leaves_nothing(void **state)
{
    UNUSED(state);
    static const int64_t sizes[] = {10, 1024, -1};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        for (long n = 0; n < 2; n++) {
            struct cache_fill fill = fix_fill(sizes[i]);
            struct cache_object_parts parts = {.key = SLICE_LIT("k"),
                                               .primary_bytes = 1,
                                               .vary_names = SLICE_EMPTY,
                                               .fill = &fill,
                                               .body_bytes = sizes[i]};
            size_t cost = cache_object_cost(&parts, false);
            assert_true(cache_account_try(&account, cost));
            cache_memory_fail_after(n);
            struct cache_object *o = cache_object_create(&account, &parts, NULL);
            cache_memory_fail_after(-1);
            if (o != NULL)
                cache_object_unref(&o); /* one allocation was all it took */
            else
                cache_account_release(&account, cost);
            assert_int_equal(atomic_load(&account.used), 0);
        }
    }
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_account, close_account)
    const struct CMUnitTest tests[] = {
        T(test_info_survives_packing),
        T(test_values_out_of_range_are_clamped),
        T(test_too_large_parts_are_refused),
        T(test_small_bodies_fill_byte_by_byte),
        T(test_split_when_it_saves_memory),
        T(test_large_body_is_few_pieces),
        T(test_unknown_length_gives_back_the_slack),
        T(test_body_outlives_the_object_it_came_with),
        T(test_trim_keeps_offsets),
        T(test_retired_object_is_charged_while_pinned),
        T(test_no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests_name("cache/object", tests, fix_group_setup, fix_group_teardown);
}
