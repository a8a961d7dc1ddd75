/* scaling.c: what workers share is not touched by a hit. Nothing is timed: the program counts each lock it
 * takes, so the count must not depend on how many hits there were. */
#include "tests/support/load.h"
#include "tests/support/millpond.h"
#include "tests/support/pages.h"

#define CLIENTS 32 /* that the kernel gave all of them to one worker happens once in 2^31 runs */
#define HITS    4000

/* The locks that requests take; the others belong to logs, counters and the control thread. */
static const char *const request_locks[] = {"pool",        "cache_shard", "cache_fill",
                                            "cache_evict", "inval",       "spill"};

struct lock_counts {
    json_int_t takes[ARRAY_LEN(request_locks)], waits[ARRAY_LEN(request_locks)];
};

static struct lock_counts lock_counts(struct millpond *m)
{
    struct lock_counts n;
    json_t *locks = json_object_get(millpond_status(m), "locks");
    for (size_t i = 0; i < ARRAY_LEN(request_locks); i++) {
        json_t *lock = json_object_get(locks, request_locks[i]);
        assert_non_null(lock);
        n.takes[i] = json_integer_value(json_object_get(lock, "takes"));
        n.waits[i] = json_integer_value(json_object_get(lock, "waits"));
    }
    return n;
}

static void a_hot_key_takes_no_lock(void **state)
{
    UNUSED(state);
    struct page pages[] = {{.path = "/hot", .fields = "Cache-Control: max-age=600\r\n"}, {0}};
    struct origin *o = origin_start(pages_script, pages);
    struct millpond *m = millpond_start(.main = "workers = 2", .rest = pool_lines("app", 1, o));
    assert_int_equal(client_get(m->port, "/hot", "")->status, 200);
    /* Each reading takes some locks itself, after it read them: as many each time. */
    struct lock_counts first = lock_counts(m), second = lock_counts(m);
    struct load *l = load_start(m->port, CLIENTS, "GET /hot HTTP/1.1\r\nHost: test\r\n\r\n");
    load_wait(l, HITS);
    struct lock_counts third = lock_counts(m);
    struct load_result r = load_stop(l);
    EXPECT(r.by_class[2] == r.answered && r.broken + r.refused == 0, "%s", r.first_problem);
    assert_int_equal(pages[0].served, 1);
    for (size_t i = 0; i < ARRAY_LEN(request_locks); i++) {
        json_int_t reading = second.takes[i] - first.takes[i],
                   hits = third.takes[i] - second.takes[i] - reading;
        EXPECT(hits == 0, "%d hits took the lock %s %lld times", HITS, request_locks[i], (long long)hits);
        EXPECT(third.waits[i] == first.waits[i], "hits waited for the lock %s", request_locks[i]);
    }
    /* That misses are counted shows that the counters count. */
    assert_int_equal(client_get(m->port, "/hot?other", "")->status, 200);
    struct lock_counts fourth = lock_counts(m);
    for (size_t i = 1; i <= 3; i++)
        EXPECT(fourth.takes[i] - third.takes[i] > third.takes[i] - second.takes[i], "a miss took no %s lock",
               request_locks[i]);
    millpond_stop(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(a_hot_key_takes_no_lock),
    };
    return E2E_RUN("scaling", tests);
}
