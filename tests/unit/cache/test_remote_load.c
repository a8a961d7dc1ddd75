/* test_remote_load.c: look-ups in a real Redis: what was put there comes back whole, and whatever else may
 * lie there, or happen to Redis or on the way, is a miss within the time limit. */
#include "tests/unit/cache/remote_fixture.h"

static struct looked looked[2];

static void what_one_node_keeps_another_finds(void **state)
{
    UNUSED(state);
    static const uint64_t sizes[] = {0, 5, CACHE_RECORD_CHUNK, CACHE_RECORD_CHUNK + 1,
                                     9 * CACHE_RECORD_CHUNK + 77};
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const char *url = textf("http://h/%zu", i);
        node_save(a, url, sizes[i]);
        assert_int_equal(look(b, url), REMOTE_LOAD_FOUND);
        struct cache_object *o = fix_find(b->cache, url);
        assert_non_null(o);
        const struct cache_object_info info = cache_object_info(o);
        assert_true(slice_eq(info.head, SLICE_LIT(FIX_HEAD)));
        assert_true(slice_eq(cache_object_tags(o), SLICE_LIT("news")));
        assert_int_equal(cache_object_filled(o), sizes[i]);
        assert_true(fix_body_is_right(o, 0, sizes[i]));
        assert_true(cache_freshness_is_fresh(&info.fresh, clock_wall_ms()));
        cache_object_unref(&o);
    }
}

/* Whose values differ gets his own variant, or learns that there is none. */
static void variants_are_found_by_their_marker(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    struct text_head de, en, fr, response;
    text_head_request(&de, HTTP_GET, "Accept-Language: de");
    text_head_request(&en, HTTP_GET, "Accept-Language: en");
    text_head_request(&fr, HTTP_GET, "Accept-Language: fr");
    text_head_response(&response, 200, "Vary: Accept-Language");
    struct cache_fill fill = node_fill(3);
    fill.response = &response.head;
    fill.request = &de.head;
    node_save_as(a, URL, &fill, 3);
    fill = node_fill(CACHE_RECORD_CHUNK * 2);
    fill.response = &response.head;
    fill.request = &en.head;
    node_save_as(a, URL, &fill, CACHE_RECORD_CHUNK * 2);
    assert_int_equal(look_as(b, URL, &fr.head), REMOTE_LOAD_ABSENT);
    assert_int_equal(look_as(b, URL, &de.head), REMOTE_LOAD_FOUND);
    assert_int_equal(look_as(b, URL, &en.head), REMOTE_LOAD_FOUND);
    struct cache_object *o = fix_find_as(b->cache, URL, &de.head), *k = fix_find_as(b->cache, URL, &en.head);
    assert_true(o != NULL && k != NULL && o != k);
    assert_int_equal(cache_object_filled(o), 3);
    assert_int_equal(cache_object_filled(k), CACHE_RECORD_CHUNK * 2);
    cache_object_unref(&o);
    cache_object_unref(&k);
    text_head_free(&de);
    text_head_free(&en);
    text_head_free(&fr);
    text_head_free(&response);
}

/* All parts of an object in one slot, objects in all of them; a slot that moves is followed. */
static void a_cluster_is_as_good(void **state)
{
    UNUSED(state);
    struct redis_cluster_group g;
    redis_cluster_group_start(&g, false, NEVER_MS, NULL);
    node_mode = REDIS_CLUSTER;
    struct node *a = node_open(g.masters[0]->address, NEVER_MS),
                *b = node_open(g.masters[1]->address, NEVER_MS);
    for (unsigned i = 0; i < 12; i++) {
        const char *url = textf("http://h/%u", i);
        node_save(a, url, 3 * CACHE_RECORD_CHUNK);
        assert_int_equal(look(b, url), REMOTE_LOAD_FOUND);
        node_forget(b, url, fix_plain());
    }
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        assert_int_not_equal(atoi(redis_do(g.masters[i], "DBSIZE")), 0);
    const char *url = "http://h/0", *name = head_name(url);
    const unsigned slot = (unsigned)atoi(redis_do(g.masters[0], "CLUSTER KEYSLOT %s", name));
    unsigned from_index = 0;
    while (strcmp(redis_do(g.masters[from_index], "EXISTS %s", name), "1") != 0)
        assert_true(++from_index < REDIS_MASTERS);
    struct redis_process *from = g.masters[from_index], *to = g.masters[(from_index + 1) % REDIS_MASTERS];
    redis_slot_begin_move(from, to, slot);
    redis_slot_move_keys(from, to, slot);
    redis_slot_finish_move(from, to, slot);
    assert_int_equal(look(b, url), REMOTE_LOAD_FOUND);
    node_forget(b, url, fix_plain());
    node_save(a, url, 5);
    assert_int_equal(look(b, url), REMOTE_LOAD_FOUND);
}

static unsigned asked_of(struct redis_process *p)
{
    const char *stats = redis_do(p, "INFO commandstats"), *at = strstr(stats, "cmdstat_get:calls=");
    return at != NULL ? (unsigned)atoi(at + strlen("cmdstat_get:calls=")) : 0;
}

/* ---- what may lie there ---- */

static void what_is_not_a_record_of_this_key_is_refused(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    const char *head = head_name(URL);
    node_save(a, URL, 100);
    node_save(a, "http://h/q", 100);
    redis_do(p, "SETRANGE %s 130 x", head);
    assert_int_equal(look(b, URL), REMOTE_LOAD_DAMAGED);
    redis_do(p, "SETRANGE %s 4 %b", head, "\x01", (size_t)1);
    assert_int_equal(look(b, URL), REMOTE_LOAD_VERSION);
    redis_do(p, "SET %s hello", head);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOREIGN);
    redis_do(p, "SET %s %b", head, "", (size_t)0);
    assert_int_equal(look(b, URL), REMOTE_LOAD_ABSENT);
    redis_do(p, "COPY %s %s REPLACE", head_name("http://h/q"), head);
    assert_int_equal(look(b, URL), REMOTE_LOAD_WRONG_KEY);
    redis_do(p, "DEL %s", head);
    redis_do(p, "LPUSH %s x", head);
    assert_int_equal(look(b, URL), REMOTE_LOAD_REFUSED);
    assert_false(fix_has(b->cache, URL));
    assert_int_equal(loads(REMOTE_LOAD_FOUND), 0);
    assert_int_equal(loads(REMOTE_LOAD_FOREIGN), 1);
}

static void what_is_not_whole_is_refused(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    const slice_t key = SLICE_LIT(URL);
    const uint64_t bytes = 8 * CACHE_RECORD_CHUNK;
    const char *third = part_name(key, 2), *last = part_name(key, 7);
    node_save(a, URL, bytes);
    redis_do(p, "COPY %s spare", third);
    redis_do(p, "SETRANGE %s 1000 x", third);
    assert_int_equal(look(b, URL), REMOTE_LOAD_DAMAGED);
    redis_do(p, "COPY %s %s REPLACE", last, third);
    assert_int_equal(look(b, URL), REMOTE_LOAD_TORN);
    node_save(a, URL, bytes);
    redis_do(p, "COPY spare %s REPLACE", third); /* of the write before, the same bytes */
    assert_int_equal(look(b, URL), REMOTE_LOAD_TORN);
    redis_do(p, "COPY %s %s REPLACE", head_name(URL), third);
    assert_int_equal(look(b, URL), REMOTE_LOAD_MALFORMED);
    redis_do(p, "DEL %s", third);
    assert_int_equal(look(b, URL), REMOTE_LOAD_INCOMPLETE);
    assert_false(fix_has(b->cache, URL));
    node_save(a, URL, bytes);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
}

static void what_is_too_large_or_too_much_at_once_is_left(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 3 * CACHE_RECORD_CHUNK);
    b->remote->settings.max_object_bytes = 3 * CACHE_RECORD_CHUNK - 1;
    assert_int_equal(look(b, URL), REMOTE_LOAD_TOO_LARGE);
    b->remote->settings.max_object_bytes++;
    b->remote->load_bytes = CACHE_REMOTE_LOAD_BYTES_MAX; /* others are under way */
    assert_int_equal(look(b, URL), REMOTE_LOAD_BUSY);
    b->remote->load_bytes = 0;
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
    assert_int_equal(b->remote->load_bytes, 0);
}

/* ---- time, purges ---- */

static dur_ms_t age_ms_of(struct node *n)
{
    struct cache_object *o = fix_find(n->cache, URL);
    assert_non_null(o);
    const struct cache_freshness f = cache_object_freshness(o);
    cache_object_unref(&o);
    return cache_freshness_age_ms(&f, clock_wall_ms());
}

/* The record has lost half an hour of its expiry: so long it lay there. */
static void age_is_what_the_expiry_has_lost(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 5);
    redis_do(p, "PEXPIRE %s 1800000", head_name(URL));
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
    assert_true(age_ms_of(b) >= 1799000 && age_ms_of(b) < 1800000 + support_wait_ms());
    node_save(a, URL, 5);
    redis_do(p, "PERSIST %s", head_name(URL)); /* by the clocks, then */
    cache_purge_all(b->cache);
    cache_stream_map_restart(b->map, (struct cache_stream_id){100, 0}, cache_inval_head(&b->cache->inval),
                             CACHE_STREAM_NOTHING_PENDING);
    cache_stream_map_set_epoch(b->map, 7);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
    assert_true(age_ms_of(b) < 1700000);
}

static void what_is_stale_or_gone_is_a_miss(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    struct cache_fill fill = node_fill(5);
    fill.fresh.keep_code = 12; /* stale windows */
    node_save_as(a, URL, &fill, 5);
    redis_do(p, "PEXPIRE %s 1000000", head_name(URL)); /* the windows, of which no use is made */
    assert_int_equal(look(b, URL), REMOTE_LOAD_STALE);
    redis_do(p, "PEXPIRE %s 0", head_name(URL));
    assert_int_equal(look(b, URL), REMOTE_LOAD_ABSENT);
}

static void what_was_purged_since_is_refused(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 5);
    purge_tag(b, "sport", false);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
    node_save(a, "http://h/q", 5);
    purge_tag(b, "news", true);
    assert_int_equal(look(b, "http://h/q"), REMOTE_LOAD_PURGED);
    /* node a has seen that purge through the stream, and fetched anew since */
    purge_tag(a, "news", true);
    cache_stream_map_advance(a->map, (struct cache_stream_id){200, 0}, cache_inval_head(&a->cache->inval),
                             UINT64_MAX, CACHE_STREAM_NOTHING_PENDING);
    cache_stream_map_advance(b->map, (struct cache_stream_id){200, 0}, cache_inval_head(&b->cache->inval),
                             UINT64_MAX, CACHE_STREAM_NOTHING_PENDING);
    assert_int_equal(look(b, "http://h/q"), REMOTE_LOAD_PURGED);
    node_save(a, "http://h/q", 5);
    assert_int_equal(look(b, "http://h/q"), REMOTE_LOAD_FOUND);
}

/* Whatever has come of it until then. */
static void a_purge_during_the_look_up_counts(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    for (unsigned turns = 0;; turns++) {
        node_save(a, URL, 30 * CACHE_RECORD_CHUNK);
        cache_stream_map_restart(b->map, (struct cache_stream_id){100, 0}, cache_inval_head(&b->cache->inval),
                                 CACHE_STREAM_NOTHING_PENDING);
        cache_stream_map_set_epoch(b->map, 7);
        assert_true(look_begin(&looked[0], b, URL, NULL));
        rcu_thread_stop();
        for (unsigned i = 0; i < turns && looked[0].load != NULL; i++)
            turn();
        rcu_thread_start();
        if (looked[0].ended)
            break;
        purge_tag(b, "news", false);
        AWAIT(looked[0].ended);
        assert_true(looked[0].outcome == REMOTE_LOAD_PURGED ||
                    (looked[0].outcome == REMOTE_LOAD_FOUND && looked[0].stored == NO_STORE_PURGED));
        assert_false(fix_has(b->cache, URL));
    }
    assert_int_equal(looked[0].outcome, REMOTE_LOAD_FOUND);
    assert_true(loads(REMOTE_LOAD_PURGED) > 0 && loads(REMOTE_LOAD_FOUND) > 1);
}

static void nothing_is_believed_of_another_epoch_or_without_one(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 5);
    cache_stream_map_set_epoch(b->map, 8);
    assert_int_equal(look(b, URL), REMOTE_LOAD_PURGED);
    cache_stream_map_set_epoch(b->map, 0);
    const unsigned asked = asked_of(p);
    assert_int_equal(look(b, URL), REMOTE_LOAD_UNFOLLOWED);
    assert_int_equal(asked_of(p), asked);
    cache_stream_map_set_epoch(b->map, 7);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
}

/* ---- what may happen to Redis ---- */

static void a_redis_that_hangs_costs_no_more_than_the_limit(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, 50);
    redis_freeze(p);
    unsigned timeouts = 0;
    enum remote_load outcome;
    while ((outcome = look(a, URL)) == REMOTE_LOAD_TIMEOUT)
        assert_true(++timeouts <= REDIS_FAILURES_MAX);
    assert_true(timeouts > 0);
    assert_int_equal(outcome, REMOTE_LOAD_UNAVAILABLE); /* the breaker is open: nobody waits any more */
    redis_thaw(p);
    AWAIT(redis_is_up(a->redis, SLICE_EMPTY));
    assert_int_equal(look(a, URL), REMOTE_LOAD_ABSENT);
}

static void a_redis_that_dies_ends_what_is_under_way(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    redis_freeze(p);
    assert_true(look_begin(&looked[0], a, URL, NULL));
    redis_kill(p);
    AWAIT(looked[0].ended);
    assert_int_equal(looked[0].outcome, REMOTE_LOAD_UNAVAILABLE);
    AWAIT(!redis_is_up(a->redis, SLICE_EMPTY));
    assert_int_equal(look(a, URL), REMOTE_LOAD_UNAVAILABLE);
}

/* A slow link is no reason to give Redis up. */
static void a_large_body_that_comes_slowly_is_left(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct relay *link = relay_start(p->port);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(relay_address(link), 300);
    node_save(a, URL, 60 * CACHE_RECORD_CHUNK);
    node_save(a, "http://h/small", 5);
    relay_slow(link, 20000); /* no chunk takes so long, but all do */
    assert_int_equal(look(b, URL), REMOTE_LOAD_TIMEOUT);
    assert_int_equal(b->remote->load_bytes, 0);
    assert_true(redis_is_up(b->redis, SLICE_EMPTY));
    relay_heal(link);
    b->remote->settings.timeout_ms = NEVER_MS;
    assert_int_equal(look(b, "http://h/small"), REMOTE_LOAD_FOUND);
    assert_int_equal(look(b, URL), REMOTE_LOAD_FOUND);
}

/* At each point, by those who leave; the other one gets his. */
static void a_look_up_can_be_cancelled_at_any_time(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 40 * CACHE_RECORD_CHUNK);
    for (unsigned turns = 0;; turns++) {
        assert_true(look_begin(&looked[0], b, URL, NULL));
        rcu_thread_stop();
        for (unsigned i = 0; i < turns && looked[0].load != NULL; i++)
            turn();
        rcu_thread_start();
        if (looked[0].load == NULL)
            break;
        cache_remote_load_cancel(&looked[0].load);
        assert_null(looked[0].load);
        assert_true(list_empty(&b->remote->loads));
        assert_int_equal(b->remote->load_bytes, 0);
        assert_int_equal(loads(REMOTE_LOAD_CANCELLED), turns + 1);
    }
    assert_int_equal(looked[0].outcome, REMOTE_LOAD_FOUND);
    assert_true(loads(REMOTE_LOAD_CANCELLED) > 1);
    assert_true(look_begin(&looked[0], b, URL, NULL) && look_begin(&looked[1], b, "http://h/q", NULL));
    cache_remote_load_cancel(&looked[0].load);
    AWAIT(looked[1].ended);
    assert_int_equal(looked[1].outcome, REMOTE_LOAD_ABSENT);
    assert_int_equal(looked[0].ended, 0);
}

static void closing_ends_look_ups(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    assert_true(look_begin(&looked[0], a, URL, NULL) && look_begin(&looked[1], a, "http://h/q", NULL));
    cache_remote_close(&a->remote);
    assert_true(looked[0].ended == 1 && looked[1].ended == 1);
    assert_int_equal(looked[0].outcome, REMOTE_LOAD_UNAVAILABLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REMOTE_TEST(what_one_node_keeps_another_finds),
        REMOTE_TEST(variants_are_found_by_their_marker),
        REMOTE_TEST(a_cluster_is_as_good),
        REMOTE_TEST(what_is_not_a_record_of_this_key_is_refused),
        REMOTE_TEST(what_is_not_whole_is_refused),
        REMOTE_TEST(what_is_too_large_or_too_much_at_once_is_left),
        REMOTE_TEST(age_is_what_the_expiry_has_lost),
        REMOTE_TEST(what_is_stale_or_gone_is_a_miss),
        REMOTE_TEST(what_was_purged_since_is_refused),
        REMOTE_TEST(a_purge_during_the_look_up_counts),
        REMOTE_TEST(nothing_is_believed_of_another_epoch_or_without_one),
        REMOTE_TEST(a_redis_that_hangs_costs_no_more_than_the_limit),
        REMOTE_TEST(a_redis_that_dies_ends_what_is_under_way),
        REMOTE_TEST(a_large_body_that_comes_slowly_is_left),
        REMOTE_TEST(a_look_up_can_be_cancelled_at_any_time),
        REMOTE_TEST(closing_ends_look_ups),
    };
    return E2E_RUN("remote load", tests);
}
