/* test_retry.c: the retry rules case by case, and the budget with a clock of the test's own. */
#include "tests/unit/balancer/fixture.h"

#include <pthread.h>

#include "balancer/pool.h"
#include "balancer/retry.h"

#define ALL                                                                                                  \
    (CONFIG_RETRY_CONNECT | CONFIG_RETRY_RESET | CONFIG_RETRY_502 | CONFIG_RETRY_503 | CONFIG_RETRY_504)

static const struct retry_context get = {
    .tries_done = 1, .idempotent = true, .body_replayable = true, .request_sent = true};
static const struct retry_context post = {.tries_done = 1, .body_replayable = true, .request_sent = true};

static void expect(enum retry_verdict want, enum fetch_error e, struct retry_context ctx, unsigned retry_on)
{
    assert_int_equal(retry_judge(e, &ctx, retry_on, 2), want);
}

static void test_connect_errors_for_any_method(void **state)
{
    UNUSED(state);
    static const enum fetch_error errors[] = {FETCH_REFUSED, FETCH_CONNECT_REFUSED, FETCH_CONNECT_FAILED,
                                              FETCH_CONNECT_TIMEOUT};
    for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
        expect(RETRY_COUNTED, errors[i], get, CONFIG_RETRY_CONNECT);
        expect(RETRY_COUNTED, errors[i], post, CONFIG_RETRY_CONNECT);
        expect(RETRY_NO, errors[i], get, ALL & ~CONFIG_RETRY_CONNECT);
        struct retry_context lost = post;
        lost.body_replayable = false;
        expect(RETRY_NO, errors[i], lost, ALL);
    }
}

static void test_reset(void **state)
{
    UNUSED(state);
    struct retry_context lost = get;
    lost.body_replayable = false;
    expect(RETRY_COUNTED, FETCH_RESET, get, CONFIG_RETRY_RESET);
    expect(RETRY_NO, FETCH_RESET, post, ALL);
    expect(RETRY_NO, FETCH_RESET, lost, ALL);
    expect(RETRY_NO, FETCH_RESET, get, ALL & ~CONFIG_RETRY_RESET);
    struct retry_context unsent = post; /* the connection broke before the head was out */
    unsent.request_sent = false;
    expect(RETRY_COUNTED, FETCH_RESET, unsent, CONFIG_RETRY_RESET);
    expect(RETRY_NO, FETCH_RESET, unsent, CONFIG_RETRY_CONNECT);
}

static void test_reused_connection_is_free(void **state)
{
    UNUSED(state);
    struct retry_context reused = get, unsent = post, sent = post;
    reused.reused_connection = unsent.reused_connection = sent.reused_connection = true;
    unsent.request_sent = false;
    reused.tries_done = 100;
    expect(RETRY_FREE, FETCH_RESET, reused, 0);
    expect(RETRY_FREE, FETCH_RESET, unsent, 0);
    expect(RETRY_NO, FETCH_RESET, sent, ALL);
    reused.body_replayable = false;
    expect(RETRY_NO, FETCH_RESET, reused, ALL);
    reused = get;
    reused.reused_connection = true;
    expect(RETRY_NO, FETCH_RESPONSE_TIMEOUT, reused, CONFIG_RETRY_RESET);
    reused.response_started = true;
    expect(RETRY_NO, FETCH_RESET, reused, ALL);
}

static void test_never_after_the_client_saw_a_byte(void **state)
{
    UNUSED(state);
    struct retry_context seen = get;
    seen.response_started = true;
    for (int e = 0; e < FETCH_ERROR_COUNT; e++)
        for (unsigned status = 500; status < 506; status++) {
            seen.status = status;
            expect(RETRY_NO, (enum fetch_error)e, seen, ALL);
        }
}

static void test_statuses(void **state)
{
    UNUSED(state);
    static const struct {
        unsigned status, flag;
    } rows[] = {{502, CONFIG_RETRY_502}, {503, CONFIG_RETRY_503}, {504, CONFIG_RETRY_504}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct retry_context g = get, p = post;
        g.status = p.status = rows[i].status;
        expect(RETRY_COUNTED, FETCH_NONE, g, rows[i].flag);
        expect(RETRY_NO, FETCH_NONE, g, ALL & ~rows[i].flag);
        expect(RETRY_NO, FETCH_NONE, p, ALL);
    }
    static const unsigned others[] = {0, 200, 404, 500, 501, 505, 599};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        struct retry_context g = get;
        g.status = others[i];
        expect(RETRY_NO, FETCH_NONE, g, ALL);
    }
}

static void test_late_and_broken_responses(void **state)
{
    UNUSED(state);
    expect(RETRY_COUNTED, FETCH_RESPONSE_TIMEOUT, get, CONFIG_RETRY_504);
    expect(RETRY_NO, FETCH_RESPONSE_TIMEOUT, get, ALL & ~CONFIG_RETRY_504);
    expect(RETRY_NO, FETCH_RESPONSE_TIMEOUT, post, ALL);
    expect(RETRY_COUNTED, FETCH_BAD_RESPONSE, get, CONFIG_RETRY_502);
    expect(RETRY_NO, FETCH_BAD_RESPONSE, get, ALL & ~CONFIG_RETRY_502);
    expect(RETRY_NO, FETCH_BAD_RESPONSE, post, ALL);
    expect(RETRY_COUNTED, FETCH_CUT_SHORT, get, CONFIG_RETRY_502);
}

static void test_our_own_troubles_are_not_retried(void **state)
{
    UNUSED(state);
    expect(RETRY_NO, FETCH_NO_INSTANCE, get, ALL);
    expect(RETRY_NO, FETCH_NO_MEMORY, get, ALL);
    expect(RETRY_NO, FETCH_CANCELLED, get, ALL);
}

static void test_number_of_retries(void **state)
{
    UNUSED(state);
    struct retry_context ctx = get;
    for (ctx.tries_done = 1; ctx.tries_done < 6; ctx.tries_done++)
        for (int retries = 0; retries < 5; retries++)
            assert_int_equal(retry_judge(FETCH_CONNECT_REFUSED, &ctx, ALL, retries),
                             (int)ctx.tries_done <= retries ? RETRY_COUNTED : RETRY_NO);
}

static unsigned take_all(struct retry_budget *b, mono_ms_t now_ms, int percent)
{
    unsigned taken = 0;
    while (taken < 1000000 && retry_budget_take(b, now_ms, percent))
        taken++;
    return taken;
}

static void test_budget_floor_and_share(void **state)
{
    UNUSED(state);
    struct retry_budget b = {0};
    const mono_ms_t now_ms = 1 << 20;
    assert_int_equal(take_all(&b, now_ms, 20), RETRY_FLOOR);
    for (unsigned i = 0; i < 1000; i++)
        retry_budget_count_request(&b, now_ms);
    assert_int_equal(take_all(&b, now_ms, 20), 200);
    assert_int_equal(take_all(&b, now_ms, 50), 300);
    assert_int_equal(take_all(&b, now_ms, 0), 0);
}

static void test_budget_slides(void **state)
{
    UNUSED(state);
    struct retry_budget b = {0};
    const mono_ms_t tick_ms = 1 << RETRY_TICK_SHIFT;
    mono_ms_t now_ms = 1000 * tick_ms;
    for (unsigned i = 0; i < 100; i++)
        retry_budget_count_request(&b, now_ms);
    assert_int_equal(take_all(&b, now_ms + 3 * tick_ms, 50), 50 + RETRY_FLOOR);
    /* The requests are still in the window in its last tick and so are the retries. */
    assert_int_equal(take_all(&b, now_ms + 9 * tick_ms, 50), 0);
    /* The requests have left it, the retries have not. */
    assert_int_equal(take_all(&b, now_ms + 10 * tick_ms, 50), 0);
    assert_int_equal(take_all(&b, now_ms + 12 * tick_ms, 50), 0);
    assert_int_equal(take_all(&b, now_ms + 13 * tick_ms, 50), RETRY_FLOOR);
    /* The ring has gone round: old ticks are overwritten, not added to. */
    assert_int_equal(take_all(&b, now_ms + 29 * tick_ms, 50), RETRY_FLOOR);
}

static void test_budget_after_a_long_silence(void **state)
{
    UNUSED(state);
    struct retry_budget b = {0};
    const mono_ms_t tick_ms = 1 << RETRY_TICK_SHIFT;
    assert_int_equal(take_all(&b, 5, 0), RETRY_FLOOR);
    assert_int_equal(take_all(&b, 5 + (INT64_C(1) << 19) * tick_ms, 0), RETRY_FLOOR);
}

static struct retry_budget shared;
static _Atomic unsigned shared_taken;

static void *take_and_count(void *arg)
{
    const mono_ms_t *now_ms = arg;
    for (unsigned i = 0; i < 5000; i++) {
        retry_budget_count_request(&shared, *now_ms + i);
        if (retry_budget_take(&shared, *now_ms + i, 10))
            atomic_fetch_add(&shared_taken, 1);
    }
    return NULL;
}

static void test_budget_from_many_threads(void **state)
{
    UNUSED(state);
    static mono_ms_t now_ms = 7 << 20;
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_count, &now_ms), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
    unsigned allowed = 4 * 5000 / 10 + RETRY_FLOOR;
    assert_in_range(atomic_load(&shared_taken), allowed / 2, allowed + ARRAY_LEN(threads));
    uint64_t requests = 0;
    for (size_t i = 0; i < ARRAY_LEN(shared.ticks); i++)
        requests += (atomic_load(&shared.ticks[i]) >> 20) & 0xffffff;
    assert_int_equal(requests, 4 * 5000);
}

static void ignore_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    UNUSED(r);
    UNUSED(i);
    UNUSED(e);
}

static void test_pool_asks_rules_and_budget(void **state)
{
    UNUSED(state);
    struct worker *w = worker_create(-1);
    struct instance_registry r;
    instance_registry_init(&r, w, ignore_event);
    struct config_pool config = {
        .name = "app", .sticky_cookie = "", .retries = 1, .retry_budget_percent = 0, .retry_on = ALL};
    struct pool *p = pool_create(&r, &config, NULL);
    struct retry_context reused = get, twice = get;
    reused.reused_connection = true;
    twice.tries_done = 2;
    assert_false(pool_may_retry(p, FETCH_RESET, &twice));
    for (unsigned i = 0; i < RETRY_FLOOR; i++) {
        pool_count_request(p);
        assert_true(pool_may_retry(p, FETCH_RESET, &reused));
        assert_true(pool_may_retry(p, FETCH_RESET, &get));
    }
    assert_false(pool_may_retry(p, FETCH_RESET, &get));
    assert_true(pool_may_retry(p, FETCH_RESET, &reused));
    assert_true(pool_may_retry(p, FETCH_CONNECT_REFUSED, &get)); /* which cost nobody anything */
    assert_false(pool_may_retry(p, FETCH_CONNECT_REFUSED, &twice));
    assert_false(pool_may_retry(p, FETCH_CONNECT_TIMEOUT, &get));
    pool_destroy(p);
    worker_destroy(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connect_errors_for_any_method),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_reused_connection_is_free),
        cmocka_unit_test(test_never_after_the_client_saw_a_byte),
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_late_and_broken_responses),
        cmocka_unit_test(test_our_own_troubles_are_not_retried),
        cmocka_unit_test(test_number_of_retries),
        cmocka_unit_test(test_budget_floor_and_share),
        cmocka_unit_test(test_budget_slides),
        cmocka_unit_test(test_budget_after_a_long_silence),
        cmocka_unit_test(test_budget_from_many_threads),
        cmocka_unit_test(test_pool_asks_rules_and_budget),
    };
    return cmocka_run_group_tests_name("balancer/retry", tests, NULL, NULL);
}
