/* test_resolve.c: answers by mail, by waiting, late and cancelled ones. The name service is the test's own.
 */
#include "tests/unit/balancer/fixture.h"

#include "core/resolve.h"
#include "tests/unit/core/fake_dns.h"

struct env {
    struct worker *w;
    struct net_addr addresses[8];
    size_t count;
    bool failed;
    unsigned answers;
};
static struct env env;

static void on_done(void *arg, const struct resolve_answer *answer)
{
    assert_ptr_equal(arg, &env);
    env.answers++;
    env.count = answer->count;
    env.failed = answer->error != NULL;
    for (size_t i = 0; i < answer->count && i < ARRAY_LEN(env.addresses); i++)
        env.addresses[i] = answer->addresses[i];
}

static int setup(void **state)
{
    UNUSED(state);
    fake_dns_clear();
    env = (struct env){.w = worker_create(-1)};
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    worker_drain(env.w);
    worker_destroy(env.w);
    return 0;
}

static bool answered(void *arg)
{
    UNUSED(arg);
    return env.answers > 0;
}

static void expect_address(const struct net_addr *a, const char *want)
{
    char text[NET_ADDR_TEXT];
    net_addr_format(a, text);
    assert_string_equal(text, want);
}

static struct resolve_job *start(const char *host, uint16_t port)
{
    struct resolve_job *job = resolve_start(env.w, slice_str(host), port, on_done, &env);
    assert_non_null(job);
    return job;
}

static void test_by_mail(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "[2001:db8::1]", "10.0.0.1", "10.0.0.2");
    start("app.test", 3000);
    fixture_run_until(env.w, answered, NULL);
    assert_false(env.failed);
    assert_int_equal(env.count, 3);
    expect_address(&env.addresses[0], "10.0.0.1:3000");
    expect_address(&env.addresses[1], "10.0.0.2:3000");
    expect_address(&env.addresses[2], "[2001:db8::1]:3000");
}

/* The host is a slice: what lies behind it is not looked at. */
static void test_host_is_a_slice(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    resolve_start(env.w, slice_make("app.test:3000", 8), 65535, on_done, &env);
    fixture_run_until(env.w, answered, NULL);
    expect_address(&env.addresses[0], "10.0.0.1:65535");
}

static void test_unknown(void **state)
{
    UNUSED(state);
    start("nowhere.test", 1);
    fixture_run_until(env.w, answered, NULL);
    assert_true(env.failed);
    assert_int_equal(env.count, 0);
}

static void test_waiting(void **state)
{
    UNUSED(state);
    struct resolve_answer answer;
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    struct resolve_job *job = start("app.test", 80);
    assert_true(resolve_wait(&job, clock_mono_ms() + FIXTURE_GIVE_UP_MS, &answer));
    assert_null(job);
    assert_int_equal(answer.count, 1);
    assert_null(answer.error);
    expect_address(&answer.addresses[0], "10.0.0.1:80");
    free(answer.addresses);
    job = start("nowhere.test", 80);
    assert_true(resolve_wait(&job, clock_mono_ms() + FIXTURE_GIVE_UP_MS, &answer));
    assert_non_null(answer.error);
    free(answer.addresses);
    worker_drain(env.w);
    assert_int_equal(env.answers, 0);
}

static void test_waiting_in_vain(void **state)
{
    UNUSED(state);
    struct resolve_answer answer;
    fake_dns_set("slow.test", "10.0.0.1", NULL, NULL);
    fake_dns_hold("slow.test", true);
    struct resolve_job *job = start("slow.test", 80);
    assert_false(resolve_wait(&job, clock_mono_ms(), &answer));
    assert_non_null(job);
    fake_dns_hold("slow.test", false);
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.count, 1);
}

static void test_cancel_before_the_answer(void **state)
{
    UNUSED(state);
    fake_dns_set("slow.test", "10.0.0.1", NULL, NULL);
    fake_dns_hold("slow.test", true);
    struct resolve_job *job = start("slow.test", 80);
    fake_dns_wait_for_lookup("slow.test", 1);
    resolve_cancel(&job);
    assert_null(job);
    resolve_cancel(&job);
    /* The worker may go before the thread comes back. */
    worker_destroy(env.w);
    fake_dns_hold("slow.test", false);
    env.w = worker_create(-1);
    start("nowhere.test", 80);
    fixture_run_until(env.w, answered, NULL);
    assert_int_equal(env.answers, 1);
    assert_true(env.failed);
}

static bool mail_waits(void *arg)
{
    struct worker *w = arg;
    return atomic_load(&w->mailbox) != NULL;
}

static void test_cancel_after_the_answer(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    struct resolve_job *job = start("app.test", 80);
    while (!mail_waits(env.w))
        sched_yield();
    resolve_cancel(&job);
    worker_drain(env.w);
    assert_int_equal(env.answers, 0);
}

static bool all_answered(void *arg)
{
    UNUSED(arg);
    return env.answers == 20;
}

static void test_many_at_once(void **state)
{
    UNUSED(state);
    fake_dns_set("app.test", "10.0.0.1", NULL, NULL);
    fake_dns_set("slow.test", "10.0.0.2", NULL, NULL);
    fake_dns_hold("slow.test", true);
    struct resolve_job *slow = start("slow.test", 80);
    for (unsigned i = 0; i < 20; i++)
        start("app.test", 80);
    fixture_run_until(env.w, all_answered, NULL); /* none of them behind the slow one */
    fake_dns_hold("slow.test", false);
    struct resolve_answer answer;
    assert_true(resolve_wait(&slow, clock_mono_ms() + FIXTURE_GIVE_UP_MS, &answer));
    free(answer.addresses);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_by_mail),
        T(test_host_is_a_slice),
        T(test_unknown),
        T(test_waiting),
        T(test_waiting_in_vain),
        T(test_cancel_before_the_answer),
        T(test_cancel_after_the_answer),
        T(test_many_at_once),
    };
    return cmocka_run_group_tests_name("core/resolve", tests, NULL, NULL);
}
