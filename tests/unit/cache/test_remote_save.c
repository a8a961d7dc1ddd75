/* test_remote_save.c: what is put into a real Redis, when, for how long, and what is dropped. */
#include "tests/unit/cache/remote_fixture.h"

static struct looked looked;

static dur_ms_t left_ms(struct redis_process *p, const char *name)
{
    return atoll(redis_do(p, "PTTL %s", name));
}

/* A spare, for another URL of the same node. */
static struct cache_object *stored(struct node *n, const char *url, uint64_t bytes)
{
    const struct cache_fill fill = node_fill(bytes);
    return node_store_as(n, url, &fill, bytes);
}

static void parts_lie_there_as_long_as_the_response_is_of_use(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    struct cache_fill fill = node_fill(2 * CACHE_RECORD_CHUNK + 1);
    fill.fresh.keep_code = 12; /* 2048 s */
    node_save_as(a, URL, &fill, 2 * CACHE_RECORD_CHUNK + 1);
    assert_string_equal(redis_do(p, "DBSIZE"), "4");
    const slice_t key = SLICE_LIT(URL);
    const char *names[] = {part_name(key, CACHE_RECORD_HEAD), part_name(key, 0), part_name(key, 1),
                           part_name(key, 2)};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const dur_ms_t left = left_ms(p, names[i]);
        assert_true(left <= 3600000 + 2048000 && left > 3600000 + 2048000 - support_wait_ms());
    }
    node_save(a, "http://h/small", CACHE_RECORD_CHUNK);
    assert_string_equal(redis_do(p, "DBSIZE"), "5");
}

/* And names what the URL varies by now. */
static void a_marker_lives_as_long_as_the_longest_variant(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    struct text_head de, en, response;
    text_head_request(&de, HTTP_GET, "Accept-Language: de");
    text_head_request(&en, HTTP_GET, "Accept-Language: en");
    text_head_response(&response, 200, "Vary: Accept-Language");
    struct cache_fill fill = node_fill(3);
    fill.response = &response.head;
    fill.request = &de.head;
    node_save_as(a, URL, &fill, 3);
    assert_string_equal(redis_do(p, "DBSIZE"), "2");
    assert_true(left_ms(p, head_name(URL)) > 3000000);
    fill.request = &en.head;
    fill.fresh.lifetime_ms = 60000;
    node_save_as(a, URL, &fill, 3);
    assert_string_equal(redis_do(p, "DBSIZE"), "3");
    assert_true(left_ms(p, head_name(URL)) > 3000000);
    fill.request = &de.head;
    fill.fresh.lifetime_ms = 7200000;
    node_save_as(a, URL, &fill, 3);
    assert_true(left_ms(p, head_name(URL)) > 6000000);
    node_save(a, URL, 5); /* it does not vary any more */
    node_forget(a, URL, fix_plain());
    assert_int_equal(look_as(a, URL, &de.head), REMOTE_LOAD_FOUND);
    text_head_free(&de);
    text_head_free(&en);
    text_head_free(&response);
}

static void nothing_goes_out_before_the_turn_is_over(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    struct redis_node_figures before, after;
    assert_true(redis_get_server_figures(a->redis, 0, &before));
    struct cache_object *o = stored(a, URL, 5);
    node_put(a, o);
    assert_true(redis_get_server_figures(a->redis, 0, &after));
    assert_int_equal(after.calls, before.calls);
    cache_forget(a->cache, o); /* evicted meanwhile: it is kept there all the same */
    cache_object_unref(&o);
    AWAIT(saves(REMOTE_SAVE_SAVED) == 1);
    rcu_flush();
    assert_int_equal(fix_stats(a->cache).live_objects, 0);
    assert_int_equal(look(a, URL), REMOTE_LOAD_FOUND);
}

static void what_nobody_would_find_of_use_is_not_written(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    struct cache_fill part = node_fill(5), asks = node_fill(5), stale = node_fill(5);
    part.status = 206;
    stale.fresh.lifetime_ms = 0;
    stale.fresh.keep_code = 12;
    asks.fresh.revalidate_always = true;
    struct cache_object *objects[] = {node_store_as(a, "http://h/part", &part, 5),
                                      node_store_as(a, "http://h/asks", &asks, 5),
                                      node_store_as(a, "http://h/stale", &stale, 5),
                                      stored(a, "http://h/soft", 5), stored(a, "http://h/large", 5 * MB)};
    node_put(a, objects[0]);
    node_put(a, objects[1]);
    node_put(a, objects[2]);
    assert_int_equal(saves(REMOTE_SAVE_UNFIT), 3);
    node_put(a, objects[4]);
    assert_int_equal(saves(REMOTE_SAVE_TOO_LARGE), 1);
    node_put(a, objects[3]);
    purge_tag(a, "news", true);
    assert_true(fix_has(a->cache, "http://h/soft")); /* which marks it, while it is queued */
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_UNFIT), 4);
    cache_stream_map_set_epoch(a->map, 0);
    struct cache_object *o = stored(a, URL, 5);
    node_put(a, o);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_UNFIT), 5);
    assert_string_equal(redis_do(p, "DBSIZE"), "0");
    cache_object_unref(&o);
    for (size_t i = 0; i < ARRAY_LEN(objects); i++)
        cache_object_unref(&objects[i]);
}

/* Redis stands still, so nothing gets away. */
static void what_is_too_much_is_dropped(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    struct cache_object *small = stored(a, URL, 5), *large[CACHE_REMOTE_SAVE_BYTES_MAX / (4 * MB)];
    redis_freeze(p);
    for (unsigned i = 0; i < ARRAY_LEN(large); i++) {
        large[i] = stored(a, textf("http://h/%u", i), 4 * MB);
        node_put(a, large[i]);
    }
    assert_int_equal(saves(REMOTE_SAVE_BUSY), 0);
    node_put(a, large[0]);
    node_put(a, small);
    assert_int_equal(saves(REMOTE_SAVE_BUSY), 2);
    rcu_thread_stop();
    for (unsigned i = 0; i < 5; i++)
        turn();
    rcu_thread_start();
    assert_int_equal(a->remote->active_saves, CACHE_REMOTE_SAVES_ACTIVE);
    struct redis_node_figures f;
    assert_true(redis_get_server_figures(a->redis, 0, &f));
    assert_true(f.calls <= CACHE_REMOTE_SAVES_ACTIVE * CACHE_REMOTE_SAVE_WINDOW);
    redis_thaw(p);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_SAVED), ARRAY_LEN(large));
    assert_int_equal(a->remote->save_bytes, 0);
    for (unsigned i = 0; i < CACHE_REMOTE_SAVES_MAX; i++)
        node_put(a, small);
    assert_int_equal(saves(REMOTE_SAVE_BUSY), 2);
    node_put(a, small);
    assert_int_equal(saves(REMOTE_SAVE_BUSY), 3);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_SAVED) + saves(REMOTE_SAVE_OVERTAKEN),
                     ARRAY_LEN(large) + CACHE_REMOTE_SAVES_MAX);
    cache_object_unref(&small);
    for (unsigned i = 0; i < ARRAY_LEN(large); i++)
        cache_object_unref(&large[i]);
}

/* Whatever it is that goes wrong, the record is not there, or not whole; memory is given back. */
static void what_goes_wrong_costs_the_record(void **state)
{
    UNUSED(state);
    static const char *const full[] = {"maxmemory 1mb", "maxmemory-policy noeviction", NULL};
    struct redis_process *p = redis_start("r", &(struct redis_server_options){.lines = full});
    struct node *a = node_open(p->address, 100);
    struct cache_object *o = stored(a, URL, 4 * MB);
    node_put(a, o);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_REFUSED), 1);
    redis_freeze(p);
    node_put(a, o);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_TIMEOUT), 1);
    redis_kill(p);
    AWAIT(!redis_is_up(a->redis, SLICE_EMPTY));
    node_put(a, o);
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_UNAVAILABLE), 1);
    assert_int_equal(saves(REMOTE_SAVE_SAVED), 0);
    cache_forget(a->cache, o);
    cache_object_unref(&o);
    rcu_flush();
    assert_int_equal(fix_stats(a->cache).live_objects, 0);
}

/* A reader never sees a body of two writes, whenever it looks: he waits for the second. */
static void a_write_over_another_is_seen_whole(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 30 * CACHE_RECORD_CHUNK);
    for (unsigned round = 0; round < 40; round++) {
        const uint64_t bytes = (20 + round % 20) * CACHE_RECORD_CHUNK;
        struct cache_object *o = stored(a, URL, bytes);
        node_put(a, o);
        cache_object_unref(&o);
        rcu_thread_stop();
        for (unsigned i = 0; i < round; i++)
            turn();
        rcu_thread_start();
        assert_true(look_begin(&looked, b, URL, NULL));
        AWAIT(looked.ended && a->remote->save_count == 0);
        assert_int_equal(looked.outcome, REMOTE_LOAD_FOUND);
        o = fix_find(b->cache, URL);
        assert_non_null(o);
        assert_true(fix_body_is_right(o, 0, cache_object_filled(o)));
        cache_object_unref(&o);
        node_forget(b, URL, fix_plain());
    }
}

static void closing_gives_up_what_is_on_its_way(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    redis_freeze(p);
    struct cache_object *o = stored(a, URL, 4 * MB);
    for (unsigned i = 0; i < CACHE_REMOTE_SAVES_ACTIVE; i++)
        node_put(a, o);
    rcu_thread_stop();
    turn();
    rcu_thread_start();
    assert_true(a->remote->active_saves > 0);
    node_put(a, o); /* BUSY, or queued: both end */
    cache_remote_close(&a->remote);
    assert_int_equal(saves(REMOTE_SAVE_CANCELLED) + saves(REMOTE_SAVE_BUSY), CACHE_REMOTE_SAVES_ACTIVE + 1);
    cache_object_unref(&o);
}

/* ---- packed ---- */

static void what_is_text_is_packed_and_comes_back(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {CACHE_PACK_LEAST, CACHE_RECORD_CHUNK, 5 * CACHE_RECORD_CHUNK + 4000};
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    a->remote->settings.pack = true; /* b reads it as well */
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct cache_fill fill = node_fill(sizes[i]);
        fill.head = SLICE_LIT("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n");
        fill.etag = fill.last_modified = SLICE_EMPTY;
        fill.status_line_bytes = 17;
        node_save_as(a, URL, &fill, sizes[i]);
        const int64_t part = sizes[i] > CACHE_RECORD_CHUNK ? 0 : CACHE_RECORD_HEAD;
        const long long stored = atoll(redis_do(p, "STRLEN %s", part_name(SLICE_LIT(URL), part)));
        assert_true(stored > 100 && stored < (long long)MIN(sizes[i], CACHE_RECORD_CHUNK));
        assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
        struct cache_object *o = fix_find(b->cache, URL);
        assert_true(cache_object_filled(o) == sizes[i] && fix_body_is_right(o, 0, sizes[i]));
        cache_object_unref(&o);
        node_forget(b, URL, fix_plain());
    }
    struct cache_fill image = node_fill(5000);
    image.head = SLICE_LIT("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n");
    image.etag = image.last_modified = SLICE_EMPTY;
    image.status_line_bytes = 17;
    node_save_as(a, URL, &image, 5000);
    assert_true(atoll(redis_do(p, "STRLEN %s", head_name(URL))) > 5000);
}

/* ---- Redis alone ---- */

/* Queues it; true when it is found in memory from then on. */
static bool is_kept_when_queued(struct node *n, const char *url, uint64_t bytes)
{
    struct cache_object *o = stored(n, url, bytes);
    node_put(n, o);
    cache_object_unref(&o);
    return fix_has(n->cache, url);
}

static void memory_lets_go_of_what_is_saved(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    a->remote->settings.alone = true;
    assert_true(is_kept_when_queued(a, URL, 2 * CACHE_RECORD_CHUNK + 1));
    assert_true(is_kept_when_queued(a, "http://h/q", 5));
    AWAIT(saves(REMOTE_SAVE_SAVED) == 2);
    assert_false(fix_has(a->cache, URL) || fix_has(a->cache, "http://h/q"));
    rcu_flush();
    assert_int_equal(fix_stats(a->cache).live_objects, 0);
    assert_int_equal(look(a, URL), REMOTE_LOAD_FOUND);
    struct cache_object *o = fix_find(a->cache, URL);
    cache_remote_let_go(a->remote, o); /* as who has loaded it does */
    assert_false(fix_has(a->cache, URL));
    cache_object_unref(&o);
}

/* What has taken its place meanwhile has a way of its own. */
static void memory_lets_go_of_nothing_else(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    a->remote->settings.alone = true;
    assert_true(is_kept_when_queued(a, URL, 5));
    struct cache_object *newer = stored(a, URL, 6);
    AWAIT(saves(REMOTE_SAVE_SAVED) == 1);
    assert_true(fix_has(a->cache, URL));
    cache_object_unref(&newer);
    a->remote->settings.alone = false;
    assert_true(is_kept_when_queued(a, URL, 5));
    AWAIT(saves(REMOTE_SAVE_SAVED) == 2);
    assert_true(fix_has(a->cache, URL));
}

static void memory_lets_go_of_what_cannot_be_saved(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, 100);
    a->remote->settings.alone = true;
    assert_false(is_kept_when_queued(a, "http://h/large", 5 * MB));
    assert_int_equal(saves(REMOTE_SAVE_TOO_LARGE), 1);
    redis_freeze(p);
    assert_true(is_kept_when_queued(a, URL, 4 * MB));
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_TIMEOUT), 1);
    assert_false(fix_has(a->cache, URL));
    redis_kill(p);
    AWAIT(!redis_is_up(a->redis, SLICE_EMPTY));
    assert_true(is_kept_when_queued(a, URL, 5));
    AWAIT(a->remote->save_count == 0);
    assert_int_equal(saves(REMOTE_SAVE_UNAVAILABLE), 1);
    assert_false(fix_has(a->cache, URL));
    assert_true(is_kept_when_queued(a, URL, 5));
    cache_remote_close(&a->remote);
    assert_false(fix_has(a->cache, URL));
    rcu_flush();
    assert_int_equal(fix_stats(a->cache).live_objects, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REMOTE_TEST(parts_lie_there_as_long_as_the_response_is_of_use),
        REMOTE_TEST(a_marker_lives_as_long_as_the_longest_variant),
        REMOTE_TEST(nothing_goes_out_before_the_turn_is_over),
        REMOTE_TEST(what_nobody_would_find_of_use_is_not_written),
        REMOTE_TEST(what_is_too_much_is_dropped),
        REMOTE_TEST(what_goes_wrong_costs_the_record),
        REMOTE_TEST(a_write_over_another_is_seen_whole),
        REMOTE_TEST(closing_gives_up_what_is_on_its_way),
        REMOTE_TEST(what_is_text_is_packed_and_comes_back),
        REMOTE_TEST(memory_lets_go_of_what_is_saved),
        REMOTE_TEST(memory_lets_go_of_nothing_else),
        REMOTE_TEST(memory_lets_go_of_what_cannot_be_saved),
    };
    return E2E_RUN("remote save", tests);
}
