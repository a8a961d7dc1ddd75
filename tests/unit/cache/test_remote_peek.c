/* test_remote_peek.c: what a real Redis holds is described, whether it may be used or not, and nothing shows
 * afterwards that anybody looked. */
#include "cache/remote_peek.h"
#include "tests/unit/cache/remote_fixture.h"

/* Static: a test that fails leaves its frame. */
static struct seen {
    struct cache_key key;
    unsigned ended;
    struct cache_remote_seen got;
    char tags[64], vary[64];
} seen[1];

static void on_end(void *arg, const struct cache_remote_seen *s)
{
    struct seen *it = arg;
    it->ended++;
    it->got = *s;
    snprintf(it->tags, sizeof it->tags, SLICE_FMT, SLICE_ARG(s->tags));
    snprintf(it->vary, sizeof it->vary, SLICE_FMT, SLICE_ARG(s->vary_names));
}

static bool peek_begin(struct seen *it, struct node *n, const char *url, const struct http_head *request)
{
    *it = (struct seen){.key = fix_key(url)};
    worker_refresh_clock(w);
    it->got.outcome =
        cache_remote_peek(n->remote, &it->key, request != NULL ? request : fix_plain(), on_end, it);
    return it->got.outcome == REMOTE_LOAD_NONE;
}

static enum remote_load peek_as(struct node *n, const char *url, const struct http_head *request)
{
    if (peek_begin(&seen[0], n, url, request))
        AWAIT(seen[0].ended);
    assert_true(seen[0].ended <= 1);
    assert_true(list_empty(&n->remote->peeks));
    for (unsigned i = 0; i < REMOTE_LOAD_COUNT; i++) /* no request looked */
        assert_int_equal(loads(i), 0);
    return seen[0].got.outcome;
}

static enum remote_load peek(struct node *n, const char *url)
{
    return peek_as(n, url, NULL);
}

static void what_is_there_is_described(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    const struct cache_remote_seen *s = &seen[0].got;
    node_save(a, URL, 5);
    assert_int_equal(peek(b, URL), REMOTE_LOAD_FOUND);
    assert_true(s->is_there);
    assert_int_equal(s->status, 200);
    assert_int_equal(s->body_bytes, 5);
    assert_int_equal(s->chunks, 0);
    assert_true(s->record_bytes > 5);
    assert_true(cache_freshness_is_fresh(&s->fresh, clock_wall_ms()));
    const dur_ms_t left_ms = atoll(redis_do(p, "PTTL %s", head_name(URL)));
    assert_true(s->left_ms >= left_ms && left_ms > 0);
    assert_string_equal(seen[0].tags, "news");
    assert_string_equal(seen[0].vary, "");
    assert_null(fix_find(b->cache, URL));
}

static void absence_is_told_and_no_lease_is_taken(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    assert_int_equal(peek(a, URL), REMOTE_LOAD_ABSENT);
    assert_false(seen[0].got.is_there);
    assert_string_equal(redis_do(p, "DBSIZE"), "0");
    look_wait_ms = 0;
    static struct looked l;
    assert_true(look_begin(&l, b, URL, NULL)); /* who fetches is not waited for */
    l.keeps = true;
    AWAIT(l.ended);
    assert_non_null(l.lease);
    assert_true(peek_begin(&seen[0], a, URL, NULL));
    AWAIT(seen[0].ended);
    assert_int_equal(seen[0].got.outcome, REMOTE_LOAD_ABSENT);
    cache_lease_cancel(&l.lease);
}

static void parts_that_are_missing_are_noticed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    const unsigned chunks = 60; /* more than are asked for at once */
    node_save(a, URL, (uint64_t)chunks * CACHE_RECORD_CHUNK);
    assert_int_equal(peek(a, URL), REMOTE_LOAD_FOUND);
    assert_int_equal(seen[0].got.chunks, chunks);
    assert_int_equal(seen[0].got.body_bytes, chunks * CACHE_RECORD_CHUNK);
    redis_do(p, "DEL %s", part_name(slice_str(URL), chunks - 1));
    assert_int_equal(peek(a, URL), REMOTE_LOAD_INCOMPLETE);
    assert_true(seen[0].got.is_there);
}

static void variants_are_those_of_the_request(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    struct text_head de, en, response;
    text_head_request(&de, HTTP_GET, "Accept-Language: de");
    text_head_request(&en, HTTP_GET, "Accept-Language: en");
    text_head_response(&response, 200, "Vary: Accept-Language");
    struct cache_fill fill = node_fill(3);
    fill.response = &response.head;
    fill.request = &de.head;
    node_save_as(a, URL, &fill, 3);
    assert_int_equal(peek_as(b, URL, &de.head), REMOTE_LOAD_FOUND);
    assert_string_equal(seen[0].vary, "accept-language");
    assert_true(seen[0].got.is_there);
    assert_int_equal(peek_as(b, URL, &en.head), REMOTE_LOAD_ABSENT);
    assert_string_equal(seen[0].vary, "accept-language");
    assert_false(seen[0].got.is_there);
    text_head_free(&de);
    text_head_free(&en);
    text_head_free(&response);
}

static void what_may_not_be_used_is_described_too(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    node_save(a, URL, 5);
    purge_tag(b, "news", true);
    assert_int_equal(peek(b, URL), REMOTE_LOAD_PURGED);
    assert_true(seen[0].got.is_there);
    assert_string_equal(seen[0].tags, "news");
    assert_true(seen[0].got.fresh.lifetime_ms > 0);
    a->remote->settings.max_object_bytes = 4;
    assert_int_equal(peek(a, URL), REMOTE_LOAD_TOO_LARGE);
    assert_int_equal(seen[0].got.body_bytes, 5);
    redis_do(p, "SETRANGE %s 130 xxx", head_name(URL));
    assert_int_equal(peek(a, URL), REMOTE_LOAD_DAMAGED);
    redis_do(p, "SET %s hello", head_name(URL));
    assert_int_equal(peek(a, URL), REMOTE_LOAD_FOREIGN);
    assert_false(seen[0].got.is_there);
}

static void what_is_stale_is_said_to_be_and_for_how_long_it_may_be_used(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS), *b = node_open(p->address, NEVER_MS);
    struct cache_fill fill = node_fill(3 * CACHE_RECORD_CHUNK);
    fill.head = SLICE_LIT("HTTP/1.1 200 OK\r\nCache-Control: max-age=60, stale-while-revalidate=7\r\n");
    fill.etag = fill.last_modified = SLICE_EMPTY; /* they lie in the head */
    fill.fresh.keep_code = 12;                    /* stale windows */
    node_save_as(a, URL, &fill, 3 * CACHE_RECORD_CHUNK);
    assert_int_equal(peek(b, URL), REMOTE_LOAD_FOUND);
    assert_true(seen[0].got.has_control);
    assert_int_equal(seen[0].got.control.stale_while_revalidate_s, 7);
    redis_do(p, "PEXPIRE %s 1000000", head_name(URL)); /* by which its age is told */
    assert_int_equal(peek(b, URL), REMOTE_LOAD_STALE);
    assert_true(seen[0].got.is_there && !cache_freshness_is_fresh(&seen[0].got.fresh, clock_wall_ms()));
    redis_do(p, "DEL %s", part_name(slice_str(URL), 0));
    assert_int_equal(peek(b, URL), REMOTE_LOAD_INCOMPLETE);
}

static void nothing_is_asked_while_purges_are_not_followed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    cache_stream_map_set_epoch(a->map, 0);
    assert_int_equal(peek(a, URL), REMOTE_LOAD_UNFOLLOWED);
}

static void a_silent_redis_is_waited_for_as_long_as_a_look_up_would(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, 50);
    redis_freeze(p);
    assert_int_equal(peek(a, URL), REMOTE_LOAD_TIMEOUT);
    redis_thaw(p);
}

static void it_ends_with_its_store(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("r", NULL);
    struct node *a = node_open(p->address, NEVER_MS);
    redis_freeze(p);
    assert_true(peek_begin(&seen[0], a, URL, NULL));
    cache_remote_close(&a->remote);
    assert_int_equal(seen[0].ended, 1);
    assert_int_equal(seen[0].got.outcome, REMOTE_LOAD_UNAVAILABLE);
    redis_thaw(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        REMOTE_TEST(what_is_there_is_described),
        REMOTE_TEST(absence_is_told_and_no_lease_is_taken),
        REMOTE_TEST(parts_that_are_missing_are_noticed),
        REMOTE_TEST(variants_are_those_of_the_request),
        REMOTE_TEST(what_may_not_be_used_is_described_too),
        REMOTE_TEST(what_is_stale_is_said_to_be_and_for_how_long_it_may_be_used),
        REMOTE_TEST(nothing_is_asked_while_purges_are_not_followed),
        REMOTE_TEST(a_silent_redis_is_waited_for_as_long_as_a_look_up_would),
        REMOTE_TEST(it_ends_with_its_store),
    };
    return cmocka_run_group_tests_name("cache/remote_peek", tests, NULL, NULL);
}
