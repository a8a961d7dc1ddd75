/* test_lease_wake.c: what is told on the channel, read; who is woken by it, and who comes and goes meanwhile;
 * and what a script answers, read. */
#include "tests/unit/cache/lease_fixture.h"

#define HASH  "0123456789abcdef0123456789abcdef"
#define OTHER "0123456789abcdef0123456789abcdee"

static void wakes_are_read(void **state)
{
    UNUSED(state);
    static const struct {
        const char *payload;
        enum cache_wake wake; /* NONE: not understood */
    } t[] = {
        {HASH " stored", CACHE_WAKE_STORED},
        {HASH " pass", CACHE_WAKE_PASS},
        {HASH " failed", CACHE_WAKE_FAILED},
        {"", CACHE_WAKE_NONE},
        {HASH, CACHE_WAKE_NONE},
        {HASH " ", CACHE_WAKE_NONE},
        {HASH " passe", CACHE_WAKE_NONE},
        {HASH "  pass", CACHE_WAKE_NONE},
        {HASH "0 pass", CACHE_WAKE_NONE},
        {HASH " pas", CACHE_WAKE_NONE},
        {HASH "xpass", CACHE_WAKE_NONE},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        slice_t hash = SLICE_EMPTY;
        enum cache_wake wake = CACHE_WAKE_NONE;
        assert_int_equal(cache_wake_parse(slice_str(t[i].payload), &hash, &wake),
                         t[i].wake != CACHE_WAKE_NONE);
        assert_int_equal(wake, t[i].wake);
        if (wake != CACHE_WAKE_NONE) {
            assert_true(slice_eq(hash, SLICE_LIT(HASH)));
            assert_string_equal(textf("%s %s", HASH, cache_wake_name(wake)), t[i].payload);
        }
    }
}

/* ---- the table ---- */

struct waiting {
    struct cache_waiter waiter;
    int woken;
    enum cache_wake wake;
    struct waiting *takes_off, *enters;
};

static struct cache_wakes *wakes;
static struct waiting waiting[5];

static void on_wake(struct cache_waiter *waiter, enum cache_wake wake)
{
    struct waiting *x = CONTAINER_OF(waiter, struct waiting, waiter);
    x->woken++;
    x->wake = wake;
    if (x->takes_off != NULL)
        cache_wakes_remove(wakes, &x->takes_off->waiter);
    if (x->enters != NULL)
        assert_true(cache_wakes_add(wakes, &x->enters->waiter));
    x->takes_off = x->enters = NULL;
}

static void enter(int i, const char *hash)
{
    waiting[i] = (struct waiting){.waiter = {.hash = slice_str(hash), .on_wake = on_wake}};
    list_init(&waiting[i].waiter.node);
    assert_true(cache_wakes_add(wakes, &waiting[i].waiter));
}

static void tell(struct redis_process *p, const char *payload)
{
    uint64_t heard = cache_wakes_get_figures(wakes).heard;
    redis_do(p, "PUBLISH t:wake %b", payload, strlen(payload));
    UNTIL(cache_wakes_get_figures(wakes).heard > heard);
}

static int woken(void)
{
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++)
        n += waiting[i].woken;
    return n;
}

static int teardown(void **state)
{
    for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
        if (waiting[i].waiter.node.next != NULL)
            cache_wakes_remove(wakes, &waiting[i].waiter);
    }
    memset(waiting, 0, sizeof waiting);
    cache_wakes_close(&wakes);
    return lease_teardown(state);
}

static struct redis_process *open_wakes(size_t waiters_max)
{
    struct redis_process *p = redis_start("one", NULL);
    nodes_open(p, 1, LONG_MS, LONG_MS);
    wakes = cache_wakes_open(w, nodes[0].redis, PREFIX, waiters_max);
    assert_non_null(wakes);
    UNTIL(cache_wakes_is_up(wakes));
    return p;
}

static void who_waits_for_the_key_is_woken(void **state)
{
    UNUSED(state);
    struct redis_process *p = open_wakes(3);
    enter(0, HASH);
    enter(1, OTHER);
    enter(2, HASH);
    list_init(&waiting[3].waiter.node);
    assert_false(cache_wakes_add(wakes, &waiting[3].waiter));
    tell(p, HASH " pass");
    assert_int_equal(waiting[0].wake, CACHE_WAKE_PASS);
    assert_int_equal(waiting[0].woken + waiting[2].woken, 2);
    assert_int_equal(waiting[1].woken, 0);
    tell(p, HASH " nonsense");
    assert_int_equal(woken(), 2);
    tell(p, HASH " stored"); /* they are still there */
    assert_int_equal(woken(), 4);
    redis_do(p, "CLIENT KILL TYPE pubsub");
    UNTIL(!cache_wakes_is_up(wakes));
    assert_int_equal(woken(), 7);
    for (int i = 0; i < 3; i++)
        assert_int_equal(waiting[i].wake, CACHE_WAKE_MISSED);
}

static void who_is_woken_may_change_the_table(void **state)
{
    UNUSED(state);
    struct redis_process *p = open_wakes(5);
    for (int i = 0; i < 3; i++)
        enter(i, HASH);
    enter(3, HASH);
    cache_wakes_remove(wakes, &waiting[3].waiter);
    waiting[0].takes_off = &waiting[1];
    waiting[0].enters = &waiting[3]; /* later than what is told */
    waiting[2].takes_off = &waiting[2];
    tell(p, HASH " stored");
    assert_int_equal(waiting[0].woken, 1);
    assert_int_equal(waiting[1].woken, 0);
    assert_int_equal(waiting[2].woken, 1);
    assert_int_equal(waiting[3].woken, 0);
    assert_int_equal(cache_wakes_get_figures(wakes).waiters, 2);
    tell(p, HASH " stored");
    assert_int_equal(woken(), 4);
}

/* ---- answers ---- */

static redisReply *reply_of(const char *wire)
{
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    redisReaderFeed(reader, wire, strlen(wire));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static void answers_are_read(void **state)
{
    UNUSED(state);
    static const struct {
        const char *wire;
        int kind; /* -1: not understood */
        dur_ms_t left_ms;
    } t[] = {
        {"*1\r\n$4\r\nours\r\n", CACHE_LEASE_IS_OURS, 0},
        {"*3\r\n$6\r\nstored\r\n$3\r\nabc\r\n:77\r\n", CACHE_LEASE_IS_STORED, 77},
        {"*4\r\n$6\r\nothers\r\n$3\r\nabc\r\n:-1\r\n$0\r\n\r\n", CACHE_LEASE_IS_OTHERS, -1},
        {"*4\r\n$6\r\nothers\r\n$3\r\nabc\r\n:9\r\n$8\r\n12345678\r\n", CACHE_LEASE_IS_OTHERS, 9},
        {"*4\r\n$6\r\nothers\r\n$3\r\nabc\r\n:9\r\n$9\r\n123456789\r\n", -1, 0},
        {"*3\r\n$6\r\nothers\r\n$3\r\nabc\r\n:9\r\n", -1, 0},
        {"*2\r\n$4\r\nours\r\n:1\r\n", -1, 0},
        {"*2\r\n$6\r\nstored\r\n$3\r\nabc\r\n", -1, 0},
        {"*3\r\n$6\r\nstored\r\n$3\r\nabc\r\n$2\r\n77\r\n", -1, 0},
        {"*4\r\n$6\r\nothers\r\n$3\r\nabc\r\n$1\r\n9\r\n$0\r\n\r\n", -1, 0},
        {"*0\r\n", -1, 0},
        {"$4\r\nours\r\n", -1, 0},
        {"*1\r\n$4\r\nOURS\r\n", -1, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct cache_lease_answer a;
        redisReply *r = reply_of(t[i].wire);
        assert_int_equal(cache_lease_answer_parse(r, &a), t[i].kind >= 0);
        if (t[i].kind >= 0) {
            assert_int_equal(a.kind, t[i].kind);
            assert_int_equal(a.left_ms, t[i].left_ms);
        }
        freeReplyObject(r);
    }
}

static void names_share_their_hash(void **state)
{
    UNUSED(state);
    struct cache_lease_names n = names_of(SOME_KEY);
    const char *hash = name_of(n.hash);
    assert_int_equal(strlen(hash), CACHE_LEASE_TOKEN);
    assert_string_equal(name_of(n.head), textf("t:{%s}:head", hash));
    assert_string_equal(name_of(n.lease), textf("t:{%s}:lease", hash));
}

#define WAKE_TEST_OF(f) cmocka_unit_test_setup_teardown(f, lease_setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WAKE_TEST_OF(wakes_are_read),
        WAKE_TEST_OF(who_waits_for_the_key_is_woken),
        WAKE_TEST_OF(who_is_woken_may_change_the_table),
        WAKE_TEST_OF(answers_are_read),
        WAKE_TEST_OF(names_share_their_hash),
    };
    return E2E_RUN("lease_wake", tests);
}
