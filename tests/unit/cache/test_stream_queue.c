/* test_stream_queue.c: pending events: sent, sent again, back, on the disk, too many. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/stat.h>

#include "tests/unit/cache/stream_fixture.h"

static char folder[64], path[96];

/* Counts the calls, and fails them on demand. */
static _Atomic unsigned syncs;
static _Atomic bool syncs_fail;
int fdatasync(int fd)
{
    UNUSED(fd);
    atomic_fetch_add(&syncs, 1);
    errno = EIO;
    return atomic_load(&syncs_fail) ? -1 : 0;
}

static void expect_taken(struct sf_node *n, const char *text)
{
    const char *taken = sf_take(n, NULL);
    if (text == NULL)
        assert_null(taken);
    else
        assert_string_equal(taken, text);
}

static void test_sent_once_and_again(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(NULL);
    struct cache_stream_origin a, b;
    sf_make(n, "a");
    sf_make(n, "b");
    assert_string_equal(sf_take(n, &a), "2 a");
    assert_string_equal(sf_take(n, &b), "2 b");
    expect_taken(n, NULL);
    assert_true(a.node == b.node && a.node == cache_stream_queue_node(n->queue) && a.number < b.number);
    assert_false(cache_stream_queue_take_back(n->queue, (struct cache_stream_origin){a.node + 1, a.number}));
    assert_true(cache_stream_queue_take_back(n->queue, a));
    assert_false(cache_stream_queue_take_back(n->queue, a));
    cache_stream_queue_resend(n->queue);
    expect_taken(n, "2 b");
    assert_int_equal(sf_stats(n).pending, 1);
    assert_false(cache_stream_queue_sync(n->queue));
    sf_end(&n);
}

static void test_not_sent_before_it_is_put(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(NULL);
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = SLICE_LIT("late")};
    const uint64_t number = cache_stream_queue_begin(n->queue);
    sf_make(n, "early");
    cache_stream_queue_resend(n->queue);
    expect_taken(n, "2 early");
    expect_taken(n, NULL);
    cache_stream_queue_put(n->queue, number, 0, &p, 1);
    expect_taken(n, "2 late");
    sf_end(&n);
}

/* What was never sent stands for what is made now; what was sent may be in the stream already. */
static void test_equal_ones_are_merged_until_sent(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    const struct cache_stream_stamp stamp = {5, {20, 0}};
    struct cache_stream_origin a, again;
    uint64_t local_id;
    cache_stream_queue_restart(n->queue, (struct cache_stream_id){10, 0}, cache_inval_head(&n->log));
    cache_stream_queue_set_epoch(n->queue, 5);
    const uint64_t before = cache_inval_head(&n->log);
    sf_make(n, "a");
    sf_make(n, "b");
    const uint64_t ticket = sf_make(n, "a"), last_id = cache_inval_head(&n->log);
    assert_true(ticket > 0);
    assert_int_equal(sf_stats(n).pending, 2);
    assert_int_equal(sf_stats(n).merged, 1);
    assert_string_equal(sf_take(n, &a), "2 a");
    sf_make(n, "a");
    assert_int_equal(sf_stats(n).merged, 1);
    expect_taken(n, "2 b");
    assert_string_equal(sf_take(n, &again), "2 a");
    assert_false(cache_stream_origin_eq(a, again));
    cache_stream_queue_resend(n->queue); /* as likely to be there as before */
    sf_make(n, "a");
    assert_int_equal(sf_stats(n).pending, 4);
    assert_int_equal(sf_stats(n).merged, 1);
    /* the third one ends with the first, and what it purged here is part of the step */
    assert_true(cache_stream_queue_pending_from(n->queue) <= 3);
    assert_true(cache_stream_queue_take_back(n->queue, a));
    cache_stream_queue_advance(n->queue, stamp.id, 0);
    struct cache_stream_stamp made;
    assert_true(cache_stream_map_stamp(&n->map, last_id, &made));
    assert_int_equal(made.id.ms, 20);
    assert_true(cache_stream_map_stamp(&n->map, last_id - 1, &made));
    assert_int_equal(made.id.ms, 10);
    assert_true(cache_stream_map_locate(&n->map, &(struct cache_stream_stamp){5, {10, 0}}, &local_id));
    assert_int_equal(local_id, before);
    sf_close(n); /* nothing was written */
    sf_open(n);
    assert_int_equal(sf_stats(n).pending, 0);
    sf_make(n, "a");
    cache_stream_queue_write(n->queue);
    sf_make(n, "a");
    sf_close(n);
    sf_open(n);
    expect_taken(n, "2 a");
    expect_taken(n, NULL);
    sf_end(&n);
}

/* Nodes read a megabyte at a time: what is longer would never come back. */
static void test_what_is_too_long_purges_everything(void **state)
{
    UNUSED(state);
    static char text[CACHE_STREAM_ITEMS_MAX][8000];
    struct cache_purge items[CACHE_STREAM_ITEMS_MAX];
    struct sf_node *n = sf_node(NULL);
    sf_close(n);
    n->settings.bytes_max = 16 * MB;
    sf_open(n);
    for (unsigned i = 0; i < CACHE_STREAM_ITEMS_MAX; i++) {
        memset(text[i], 'x', sizeof text[i]);
        items[i] = (struct cache_purge){.kind = CACHE_PURGE_TAG, .text = slice_make(text[i], sizeof text[i])};
    }
    cache_stream_queue_put(n->queue, cache_stream_queue_begin(n->queue), 0, items, 64);
    assert_int_equal(sf_stats(n).collapses, 0);
    cache_stream_queue_put(n->queue, cache_stream_queue_begin(n->queue), 0, items, ARRAY_LEN(items));
    assert_int_equal(sf_stats(n).collapses, 1);
    expect_taken(n, "6 ");
    sf_end(&n);
}

static void test_from_where_it_is_pending(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    struct cache_stream_origin a, b;
    assert_true(cache_stream_queue_pending_from(n->queue) == UINT64_MAX);
    sf_make(n, "a");
    sf_make(n, "b");
    sf_take(n, &a);
    sf_take(n, &b);
    assert_int_equal(cache_stream_queue_pending_from(n->queue), a.number);
    assert_true(cache_stream_queue_take_back(n->queue, a));
    assert_int_equal(cache_stream_queue_pending_from(n->queue), b.number);
    cache_stream_queue_write(n->queue);
    sf_close(n);
    sf_open(n);
    sf_make(n, "c"); /* who asks cannot know that there was another process meanwhile */
    assert_int_equal(cache_stream_queue_pending_from(n->queue), 0);
    assert_true(cache_stream_queue_take_back(n->queue, b));
    assert_true(cache_stream_queue_pending_from(n->queue) > 0);
    sf_make_some(n, 20); /* part of what purges everything */
    assert_int_equal(sf_stats(n).collapses, 1);
    assert_int_equal(cache_stream_queue_pending_from(n->queue), 0);
    sf_end(&n);
}

static void count_left(void *arg)
{
    ++*(unsigned *)arg;
}

/* Another process has it, and then ends with or without something pending. */
static void test_a_file_is_taken_when_it_is_free(void **state)
{
    UNUSED(state);
    struct sf_node *old = sf_node(path), *n;
    unsigned left = 0;
    sf_make(old, "a");
    cache_stream_queue_write(old->queue);
    n = sf_node(path);
    assert_true(cache_stream_queue_awaits_file(n->queue));
    assert_false(cache_stream_queue_take_file(n->queue, count_left, &left));
    sf_make(n, "b");
    assert_false(cache_stream_queue_sync(n->queue));
    sf_end(&old);
    assert_true(cache_stream_queue_take_file(n->queue, count_left, &left));
    assert_false(cache_stream_queue_awaits_file(n->queue));
    assert_int_equal(left, 1);
    assert_true(cache_stream_queue_sync(n->queue));
    cache_stream_queue_write(n->queue);
    sf_close(n);
    sf_open(n); /* what it had pending is there now; what the other left is stood for by who was told */
    assert_int_equal(sf_stats(n).pending, 1);
    sf_end(&n);
}

static void count_put(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_put_is_told(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(NULL);
    unsigned puts = 0;
    sf_close(n);
    n->settings.on_put = count_put;
    n->settings.arg = &puts;
    sf_open(n);
    sf_make(n, "a");
    sf_make(n, "b");
    assert_int_equal(puts, 2);
    sf_end(&n);
}

/* The map is told of what was begun, whether it is put or not. */
static void test_what_is_begun_holds_back_what_is_loaded(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(NULL);
    struct cache_stream_stamp stamp = {5, {20, 0}};
    uint64_t local_id;
    cache_stream_queue_restart(n->queue, (struct cache_stream_id){10, 0}, cache_inval_head(&n->log));
    cache_stream_queue_set_epoch(n->queue, 5);
    const uint64_t before = cache_inval_head(&n->log), number = cache_stream_queue_begin(n->queue);
    const struct cache_purge mine = {.kind = CACHE_PURGE_TAG, .text = SLICE_LIT("mine")};
    const uint64_t mine_id = sf_purge(n, &mine, 1), others_id = sf_purge(n, &mine, 1);
    cache_stream_queue_advance(n->queue, stamp.id, others_id);
    assert_true(cache_stream_map_locate(&n->map, &stamp, &local_id));
    assert_int_equal(local_id, before);
    cache_stream_queue_put(n->queue, number, mine_id, &mine, 1);
    struct cache_stream_origin by;
    assert_non_null(sf_take(n, &by));
    assert_true(cache_stream_queue_take_back(n->queue, by));
    assert_true(cache_stream_map_locate(&n->map, &stamp, &local_id));
    assert_int_equal(local_id, before);
    cache_stream_queue_advance(n->queue, (struct cache_stream_id){30, 0}, 0);
    assert_true(cache_stream_map_locate(&n->map, &stamp, &local_id));
    assert_int_equal(local_id, before);
    stamp.id.ms = 30;
    assert_true(cache_stream_map_locate(&n->map, &stamp, &local_id));
    assert_int_equal(local_id, others_id);
    sf_end(&n);
}

/* What came back before the stream was joined anew concerns what was loaded before, which is gone. */
static void test_a_restart_ends_what_came_back(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(NULL);
    const struct cache_stream_stamp stamp = {5, {20, 0}};
    struct cache_stream_origin by;
    uint64_t local_id;
    cache_stream_queue_restart(n->queue, (struct cache_stream_id){10, 0}, cache_inval_head(&n->log));
    sf_make(n, "mine");
    assert_non_null(sf_take(n, &by));
    assert_true(cache_stream_queue_take_back(n->queue, by));
    const struct cache_purge all = {.kind = CACHE_PURGE_ALL, .text = SLICE_EMPTY};
    const uint64_t joined_id = sf_purge(n, &all, 1);
    cache_stream_queue_restart(n->queue, stamp.id, joined_id);
    cache_stream_queue_advance(n->queue, (struct cache_stream_id){30, 0}, 0);
    cache_stream_queue_set_epoch(n->queue, 5);
    assert_true(cache_stream_map_locate(&n->map, &stamp, &local_id));
    assert_int_equal(local_id, joined_id);
    sf_end(&n);
}

static void test_too_many_become_one(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    const struct cache_purge p = {.kind = CACHE_PURGE_TAG, .text = SLICE_LIT("announced")};
    const uint64_t announced = cache_stream_queue_begin(n->queue);
    sf_make(n, "a");
    sf_make_some(n, 19);
    assert_int_equal(sf_stats(n).collapses, 0);
    expect_taken(n, "2 a");
    sf_make(n, "b");
    assert_int_equal(sf_stats(n).collapses, 1);
    assert_int_equal(sf_stats(n).pending, 1);
    cache_stream_queue_put(n->queue, announced, 0, &p, 1);
    cache_stream_queue_write(n->queue);
    expect_taken(n, "6 ");
    expect_taken(n, "2 announced");
    expect_taken(n, NULL);
    sf_close(n);
    sf_open(n); /* the file says the same */
    expect_taken(n, "6 ");
    expect_taken(n, "2 announced");
    expect_taken(n, NULL);
    sf_end(&n);
}

static void test_too_many_bytes_become_one(void **state)
{
    UNUSED(state);
    static char tag[3000];
    struct sf_node *n = sf_node(NULL);
    memset(tag, 'x', sizeof tag - 1);
    sf_make(n, tag);
    assert_int_equal(sf_stats(n).collapses, 0);
    tag[0] = 'y';
    sf_make(n, tag);
    assert_int_equal(sf_stats(n).collapses, 1);
    sf_end(&n);
}

static void test_without_memory_it_purges_everything(void **state)
{
    UNUSED(state);
    for (long calls = 0; calls < 2; calls++) {
        struct sf_node *n = sf_node(NULL);
        cache_memory_fail_after(calls);
        sf_make(n, "a");
        cache_memory_fail_after(-1);
        assert_int_equal(sf_stats(n).collapses, 1);
        expect_taken(n, "6 ");
        expect_taken(n, NULL);
        sf_end(&n);
    }
}

static void test_killed_and_started_again(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    struct cache_stream_origin a, again;
    sf_make(n, "a");
    sf_make(n, "b");
    assert_string_equal(sf_take(n, &a), "2 a");
    const unsigned before = atomic_load(&syncs);
    cache_stream_queue_write(n->queue);
    assert_int_equal(atomic_load(&syncs), before + 1);
    sf_make(n, "c"); /* was not written */
    sf_close(n);
    sf_open(n);
    assert_string_equal(sf_take(n, &again), "2 a");
    assert_true(cache_stream_origin_eq(a, again));
    expect_taken(n, "2 b");
    expect_taken(n, NULL);
    cache_stream_queue_write(n->queue);
    assert_true(cache_stream_queue_take_back(n->queue, a)); /* of the process before */
    cache_stream_queue_write(n->queue);
    sf_close(n);
    sf_open(n);
    struct cache_stream_origin b;
    assert_string_equal(sf_take(n, &b), "2 b");
    expect_taken(n, NULL);
    cache_stream_queue_write(n->queue);
    assert_true(cache_stream_queue_take_back(n->queue, b));
    cache_stream_queue_write(n->queue);
    assert_int_equal(sf_stats(n).file_bytes, 16);
    sf_end(&n);
}

static void test_what_came_back_in_time_is_not_written(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    struct cache_stream_origin by;
    cache_stream_queue_write(n->queue);
    const unsigned before = atomic_load(&syncs);
    const uint64_t writes = sf_stats(n).writes;
    for (unsigned i = 0; i < 100; i++) {
        sf_make(n, "a");
        sf_take(n, &by);
        assert_true(cache_stream_queue_take_back(n->queue, by));
        cache_stream_queue_write(n->queue);
    }
    assert_int_equal(atomic_load(&syncs), before);
    assert_int_equal(sf_stats(n).writes, writes);
    sf_end(&n);
}

static void test_the_file_stays_small(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    struct cache_stream_origin by;
    sf_make(n, "stays");
    sf_take(n, NULL);
    for (unsigned i = 0; i < 3000; i++) {
        sf_make(n, "goes");
        sf_take(n, &by);
        cache_stream_queue_write(n->queue);
        assert_true(cache_stream_queue_take_back(n->queue, by));
        assert_true(sf_stats(n).file_bytes <= 2 * 4096 + 64 * KB);
    }
    cache_stream_queue_write(n->queue);
    sf_close(n);
    sf_open(n);
    expect_taken(n, "2 stays");
    expect_taken(n, NULL);
    sf_end(&n);
}

static void test_a_damaged_file_purges_everything(void **state)
{
    UNUSED(state);
    struct sf_node *n = sf_node(path);
    sf_make(n, "a");
    sf_make(n, "b");
    cache_stream_queue_write(n->queue);
    sf_close(n);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    fseek(f, 70, SEEK_SET);
    fputc('!', f);
    fclose(f);
    sf_open(n);
    assert_int_equal(sf_stats(n).collapses, 1);
    expect_taken(n, "6 ");
    expect_taken(n, NULL);
    sf_end(&n);
}

/* ---- promises ---- */

struct promises {
    sem_t told;
    _Atomic uint64_t ticket, failed;
};

static void on_durable(void *arg, uint64_t ticket, bool ok)
{
    struct promises *p = arg;
    if (ok)
        atomic_store(&p->ticket, ticket);
    else
        atomic_fetch_add(&p->failed, 1);
    sem_post(&p->told);
}

static void await(struct promises *p)
{
    while (sem_wait(&p->told) != 0)
        assert_int_equal(errno, EINTR);
}

static void test_a_failed_write_is_told_and_made_good(void **state)
{
    UNUSED(state);
    struct promises p = {.ticket = 0};
    assert_int_equal(sem_init(&p.told, 0, 0), 0);
    struct sf_node *n = sf_node(path);
    sf_close(n);
    n->settings.on_durable = on_durable;
    n->settings.arg = &p;
    sf_open(n);
    cache_stream_queue_write(n->queue);
    sf_make(n, "a");
    atomic_store(&syncs_fail, true);
    cache_stream_queue_write(n->queue);
    cache_stream_queue_write(n->queue);
    atomic_store(&syncs_fail, false);
    assert_int_equal(atomic_load(&p.failed), 2);
    assert_int_equal(atomic_load(&p.ticket), 0);
    const uint64_t ticket = sf_make(n, "b");
    cache_stream_queue_write(n->queue);
    assert_int_equal(atomic_load(&p.ticket), ticket);
    sf_close(n);
    sf_open(n);
    expect_taken(n, "2 a");
    expect_taken(n, "2 b");
    sf_end(&n);
    sem_destroy(&p.told);
}

enum { MAKERS = 4, EACH = 200 };

static void *maker_main(void *arg)
{
    rcu_thread_start();
    sf_make_some(arg, EACH);
    rcu_thread_stop();
    return NULL;
}

/* The queue's own thread writes while others make events and this one sends them and takes some back. */
static void test_many_threads(void **state)
{
    UNUSED(state);
    struct promises p = {.ticket = 0};
    assert_int_equal(sem_init(&p.told, 0, 0), 0);
    struct sf_node *n = sf_node(path);
    pthread_t makers[MAKERS];
    sf_close(n);
    n->settings.on_durable = on_durable;
    n->settings.arg = &p;
    n->settings.no_thread = false;
    n->settings.events_max = MAKERS * EACH + 10;
    n->settings.bytes_max = MB;
    sf_open(n);
    cache_stream_queue_restart(n->queue, (struct cache_stream_id){1, 0}, 1);
    for (unsigned i = 0; i < MAKERS; i++)
        assert_int_equal(pthread_create(&makers[i], NULL, maker_main, n), 0);
    unsigned sent = 0, back = 0;
    struct cache_stream_origin by;
    while (sent < MAKERS * EACH) {
        if (sf_take(n, &by) == NULL)
            continue;
        if (sent++ % 3 == 0) {
            assert_true(cache_stream_queue_take_back(n->queue, by));
            cache_stream_queue_advance(n->queue, (struct cache_stream_id){2 + back++, 0}, 0);
        }
    }
    for (unsigned i = 0; i < MAKERS; i++)
        assert_int_equal(pthread_join(makers[i], NULL), 0);
    const uint64_t last = sf_make(n, "last");
    assert_true(cache_stream_queue_sync(n->queue));
    while (atomic_load(&p.ticket) < last)
        await(&p);
    n->settings.no_thread = true;
    sf_close(n);
    sf_open(n);
    assert_int_equal(sf_stats(n).pending, MAKERS * EACH - back + 1);
    sf_end(&n);
    sem_destroy(&p.told);
}

static int make_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/millpond-queue-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/queue", folder);
    return sf_setup(state);
}

static int remove_folder(void **state)
{
    sf_teardown(state);
    return rmdir(folder);
}

static int remove_file(void **state)
{
    UNUSED(state);
    unlink(path);
    return 0;
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, remove_file)
    const struct CMUnitTest tests[] = {
        TEST(test_sent_once_and_again),
        TEST(test_not_sent_before_it_is_put),
        TEST(test_equal_ones_are_merged_until_sent),
        TEST(test_what_is_too_long_purges_everything),
        TEST(test_from_where_it_is_pending),
        TEST(test_put_is_told),
        TEST(test_a_file_is_taken_when_it_is_free),
        TEST(test_what_is_begun_holds_back_what_is_loaded),
        TEST(test_a_restart_ends_what_came_back),
        TEST(test_too_many_become_one),
        TEST(test_too_many_bytes_become_one),
        TEST(test_without_memory_it_purges_everything),
        TEST(test_killed_and_started_again),
        TEST(test_what_came_back_in_time_is_not_written),
        TEST(test_the_file_stays_small),
        TEST(test_a_damaged_file_purges_everything),
        TEST(test_a_failed_write_is_told_and_made_good),
        TEST(test_many_threads),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
