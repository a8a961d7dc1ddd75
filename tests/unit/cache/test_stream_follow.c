/* test_stream_follow.c: what a node makes of what it reads: joins, starts, entries, and a stream that is not
 * what it was. */
#include "tests/unit/cache/stream_redis.h"
#include "tests/unit/cache/stream_fixture.h"

/* A Redis and a node that follows it. */
struct pair {
    struct redis redis;
    struct sf_node *node;
};

static struct pair *open_pair(void)
{
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->redis = (struct redis){.up = true, .clock_ms = 1000, .length = 32};
    p->node = sf_node(NULL);
    return p;
}

static void close_pair(struct pair **p)
{
    sf_end(&(*p)->node);
    free(*p);
    *p = NULL;
}

static enum cache_stream_next read_some(struct pair *p, size_t max)
{
    static struct redis_reply reply;
    char buf[CACHE_STREAM_ID_TEXT];
    redis_range(&p->redis, cache_stream_follow_from(&p->node->follow, buf), max, &reply);
    return cache_stream_follow_take(&p->node->follow, redis_epoch(&p->redis), reply.entries, reply.count,
                                    reply.count < max);
}

/* Reads, and starts the stream where that is called for, until the end is reached. */
static void settle(struct pair *p)
{
    for (unsigned i = 0; i < 20; i++) {
        enum cache_stream_next next = read_some(p, 8);
        if (next == CACHE_STREAM_WAIT)
            return;
        if (next == CACHE_STREAM_START)
            redis_start(&p->redis, &p->node->follow);
    }
    fail();
}

/* Another node purges a tag. */
static struct cache_stream_id add_other(struct pair *p, const char *name, const char *text)
{
    static uint64_t number;
    struct cache_stream_fields f = {.count = 0};
    struct cache_stream_id id;
    char packed[REDIS_ENTRY_BYTES], by[40];
    snprintf(by, sizeof by, "00000000000000ff-%llu", (unsigned long long)++number);
    const char *const texts[] = {"v", "1", "by", by, name, text};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        f.texts[f.count++] = slice_str(texts[i]);
    cache_stream_fields_pack(&f, packed);
    p->redis.clock_ms++;
    assert_true(redis_add(&p->redis, false, slice_make(packed, cache_stream_fields_bytes(&f)), &id));
    return id;
}

static struct cache_stream_id add_tag(struct pair *p, const char *tag)
{
    return add_other(p, "tag", tag);
}

static void send_all(struct pair *p)
{
    size_t bytes;
    struct cache_stream_id id;
    for (char *packed; (packed = cache_stream_queue_take_unsent(p->node->queue, &bytes)) != NULL;
         free(packed))
        assert_true(redis_add(&p->redis, false, slice_make(packed, bytes), &id));
}

static bool is_known(struct pair *p, struct cache_stream_id id)
{
    uint64_t local_id;
    const struct cache_stream_stamp s = {p->node->follow.epoch, id};
    return s.epoch != 0 && cache_stream_map_locate(&p->node->map, &s, &local_id);
}

static void test_the_first_node_starts_the_stream(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START); /* the transaction failed */
    redis_start(&p->redis, &p->node->follow);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    assert_int_equal(p->node->follow.state, CACHE_STREAM_INSIDE);
    assert_int_equal(p->node->follow.starts, 1);
    assert_int_equal(p->node->purges_of_all, 1);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    assert_int_equal(p->node->purges, 1);
    close_pair(&p);
}

static void test_who_joins_reads_what_is_left(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    struct cache_stream_id ids[9];
    settle(p);
    for (unsigned i = 0; i < 9; i++)
        ids[i] = add_tag(p, "t");
    redis_trim(&p->redis, 6);
    sf_close(p->node);
    sf_open(p->node);
    assert_int_equal(read_some(p, 4), CACHE_STREAM_READ);
    assert_int_equal(p->node->purges, 4); /* all, and three tags */
    assert_false(is_known(p, ids[8]));    /* not before the end */
    assert_int_equal(read_some(p, 4), CACHE_STREAM_WAIT);
    assert_int_equal(p->node->purges, 6);
    assert_int_equal(p->node->purges_of_all, 1);
    for (unsigned i = 0; i < 9; i++)
        assert_int_equal(is_known(p, ids[i]), i >= 3);
    close_pair(&p);
}

static void test_own_events_come_back_unapplied(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    sf_make(p->node, "mine");
    add_tag(p, "other");
    send_all(p);
    const unsigned before = p->node->purges;
    settle(p);
    assert_int_equal(p->node->purges, before + 1);
    assert_int_equal(p->node->follow.came_back, 1);
    assert_int_equal(p->node->follow.applied, 1);
    assert_int_equal(sf_stats(p->node).pending, 0);
    close_pair(&p);
}

static void test_what_is_refused_purges_everything(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    add_other(p, "regex", ".*");
    settle(p);
    assert_int_equal(p->node->purges_of_all, 2);
    assert_int_equal(p->node->follow.refused, 1);
    assert_int_equal(p->node->follow.last_fault, CACHE_STREAM_FAULT_NAME);
    assert_int_equal(p->node->follow.state, CACHE_STREAM_INSIDE);
    close_pair(&p);
}

static void test_a_reconnect_that_missed_nothing_keeps_everything(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    const struct cache_stream_id id = add_tag(p, "a");
    settle(p);
    assert_true(is_known(p, id));
    sf_make(p->node, "mine");
    send_all(p);
    cache_stream_follow_disconnected(&p->node->follow);
    assert_false(is_known(p, id)); /* who knows what the next connection leads to */
    add_tag(p, "b");
    settle(p);
    assert_true(is_known(p, id));
    assert_int_equal(p->node->purges_of_all, 1);
    assert_int_equal(p->node->follow.joined, 1);
    close_pair(&p);
}

static void test_trimmed_past_the_cursor(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    const struct cache_stream_id seen = add_tag(p, "a");
    settle(p);
    add_tag(p, "missed");
    const struct cache_stream_id left = add_tag(p, "b");
    redis_trim(&p->redis, 1);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
    assert_false(is_known(p, seen));
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    assert_int_equal(p->node->follow.trimmed, 1);
    assert_int_equal(p->node->follow.starts, 1); /* others did not miss it */
    assert_int_equal(p->node->purges_of_all, 2);
    assert_false(is_known(p, seen));
    assert_true(is_known(p, left));
    close_pair(&p);
}

/* As after a failover to a replica that lagged: entry "lost" was seen here. */
static void lose_entry(struct pair *p)
{
    settle(p);
    p->redis.saved = p->redis.data;
    add_tag(p, "lost");
    settle(p);
    p->redis.data = p->redis.saved;
}

static void test_an_entry_that_was_lost_starts_the_stream_anew(void **state)
{
    UNUSED(state);
    for (unsigned more = 0; more < 2; more++) { /* before the loss is noticed */
        struct pair *p = open_pair();
        settle(p);
        const uint64_t epoch = p->node->follow.epoch;
        lose_entry(p);
        if (more)
            add_tag(p, "more");
        assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
        assert_int_equal(read_some(p, 8), CACHE_STREAM_START); /* an old start in it changes nothing */
        assert_int_equal(read_some(p, 8), CACHE_STREAM_START); /* nor that it failed once */
        redis_start(&p->redis, &p->node->follow);
        assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
        assert_int_equal(p->node->follow.lost, 1);
        assert_true(p->node->follow.epoch != epoch);
        close_pair(&p);
    }
}

/* It was seen to be gone; then it is there again, as it was before what was seen here. */
static void test_what_was_gone_comes_back_older(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    lose_entry(p);
    redis_delete_stream(&p->redis);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START);
    p->redis.data = p->redis.saved;
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START);
    redis_start(&p->redis, &p->node->follow);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    close_pair(&p);
}

static void test_another_has_started_it_anew(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    struct cache_stream_follow other = {.state = CACHE_STREAM_OUTSIDE};
    lose_entry(p);
    p->redis.clock_ms++;
    redis_start(&p->redis, &other);
    const uint64_t starts = p->node->follow.starts;
    assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    assert_int_equal(p->node->follow.lost, 1);
    assert_int_equal(p->node->follow.starts, starts + 2); /* the first, read again, and the other's */
    close_pair(&p);
}

static void test_gone_and_clock_set_back(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    struct cache_stream_follow other = {.state = CACHE_STREAM_OUTSIDE};
    p->redis.clock_ms = 5000;
    settle(p);
    redis_delete_stream(&p->redis);
    p->redis.clock_ms = 100;
    redis_start(&p->redis, &other); /* may have come before the loss, for all the ids say */
    assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START);
    redis_start(&p->redis, &p->node->follow);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
    close_pair(&p);
}

/* The same id again, in another stream. */
static void test_the_cursor_is_more_than_its_id(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    const struct cache_stream_id seen = add_tag(p, "a");
    settle(p);
    redis_delete_stream(&p->redis);
    p->redis.clock_ms = seen.ms;
    struct cache_stream_follow other = {.state = CACHE_STREAM_OUTSIDE};
    assert_int_equal(cache_stream_id_compare(redis_start(&p->redis, &other), seen), 0);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_READ);
    assert_int_equal(p->node->follow.state, CACHE_STREAM_OUTSIDE);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START); /* that one may have been made before */
    assert_int_equal(p->node->follow.lost, 1);
    close_pair(&p);
}

static void test_a_stream_without_its_epoch(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    settle(p);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 0)
            p->redis.data.epoch_bytes = 0;
        else
            p->redis.data.epoch[0] = p->redis.data.epoch[0] == 'a' ? 'b' : 'a';
        assert_int_equal(read_some(p, 8), CACHE_STREAM_START);
        assert_false(is_known(p, p->node->follow.cursor));
        redis_start(&p->redis, &p->node->follow);
        assert_int_equal(read_some(p, 8), CACHE_STREAM_WAIT);
        assert_true(is_known(p, p->node->follow.cursor));
    }
    p->redis.data.epoch_bytes = 0;
    sf_close(p->node);
    sf_open(p->node);
    assert_int_equal(read_some(p, 8), CACHE_STREAM_START); /* for who joins, too */
    close_pair(&p);
}

static void test_entries_out_of_order_are_not_followed(void **state)
{
    UNUSED(state);
    struct pair *p = open_pair();
    static struct redis_reply reply;
    settle(p);
    add_tag(p, "a");
    add_tag(p, "b");
    redis_range(&p->redis, SLICE_LIT("-"), 8, &reply);
    struct cache_stream_received t = reply.entries[1];
    reply.entries[1] = reply.entries[2];
    reply.entries[2] = t;
    const unsigned before = p->node->purges;
    for (unsigned i = 0; i < 2; i++)
        cache_stream_follow_take(&p->node->follow, redis_epoch(&p->redis), reply.entries, 3, true);
    assert_int_equal(p->node->purges, before);
    assert_int_equal(p->node->follow.state, CACHE_STREAM_OUTSIDE);
    settle(p);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_node_starts_the_stream),
        cmocka_unit_test(test_who_joins_reads_what_is_left),
        cmocka_unit_test(test_own_events_come_back_unapplied),
        cmocka_unit_test(test_what_is_refused_purges_everything),
        cmocka_unit_test(test_a_reconnect_that_missed_nothing_keeps_everything),
        cmocka_unit_test(test_trimmed_past_the_cursor),
        cmocka_unit_test(test_an_entry_that_was_lost_starts_the_stream_anew),
        cmocka_unit_test(test_what_was_gone_comes_back_older),
        cmocka_unit_test(test_another_has_started_it_anew),
        cmocka_unit_test(test_gone_and_clock_set_back),
        cmocka_unit_test(test_the_cursor_is_more_than_its_id),
        cmocka_unit_test(test_a_stream_without_its_epoch),
        cmocka_unit_test(test_entries_out_of_order_are_not_followed),
    };
    return cmocka_run_group_tests(tests, sf_setup, sf_teardown);
}
