/* test_redis_sub.c: messages come, also after the server was killed or the link stalled, and gaps are told.
 */
#include "core/redis_sub.h"

#include "tests/unit/core/redis_fixture.h"

static const struct redis_login login;
static const slice_t channels[] = {SLICE_LIT("one"), SLICE_LIT("two")};
static struct redis_sub *sub;
static int ups, downs, messages;
static char last[64];

static void on_message(void *arg, slice_t channel, slice_t payload)
{
    UNUSED(arg);
    messages++;
    snprintf(last, sizeof last, SLICE_FMT ":" SLICE_FMT, SLICE_ARG(channel), SLICE_ARG(payload));
}

static void on_up(void *arg)
{
    UNUSED(arg);
    ups++;
}

static void on_down(void *arg, const char *reason)
{
    UNUSED(arg);
    assert_true(reason[0] != '\0');
    downs++;
}

static int setup(void **state)
{
    ups = downs = messages = 0;
    worker_setup();
    return support_setup(state);
}

static int teardown(void **state)
{
    redis_sub_close(&sub);
    worker_teardown();
    return support_teardown(state);
}

static void open_sub(const char *server)
{
    const struct redis_sub_settings s = {
        .login = &login,
        .channels = channels,
        .channel_count = ARRAY_LEN(channels),
        .timeout_ms = 500,
        .connect_timeout_ms = 60000,
        .on_message = on_message,
        .on_up = on_up,
        .on_down = on_down,
    };
    sub = redis_sub_open(w, slice_str(server), &s);
    assert_non_null(sub);
    UNTIL(redis_sub_is_up(sub));
}

static void publish(struct redis_process *p, const char *channel, const char *payload)
{
    int before = messages;
    assert_string_equal(redis_do(p, "PUBLISH %s %s", channel, payload), "1");
    UNTIL(messages > before);
    assert_string_equal(last, textf("%s:%s", channel, payload));
}

static void messages_of_all_channels_come(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    open_sub(p->address);
    publish(p, "one", "a");
    publish(p, "two", "b");
    assert_string_equal(redis_do(p, "PUBLISH three c"), "0");
    assert_int_equal(ups, 1);
}

static void quiet_subscription_stays_up(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    open_sub(p->address);
    UNTIL(strstr(redis_do(p, "INFO commandstats"), "cmdstat_ping:calls=5") !=
          NULL); /* two logins, three checks */
    assert_int_equal(downs, 0);
    publish(p, "one", "a");
}

static void killed_server_is_subscribed_to_again(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    open_sub(p->address);
    redis_kill(p);
    UNTIL(downs == 1);
    assert_false(redis_sub_is_up(sub));
    redis_restart(p, true);
    UNTIL(ups == 2);
    publish(p, "one", "a");
}

static void silence_is_noticed(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    struct relay *link = relay_start(p->port);
    open_sub(relay_address(link));
    relay_stall(link);
    UNTIL(downs == 1);
    relay_heal(link);
    UNTIL(ups == 2);
    publish(p, "two", "b");
}

static void refused_subscription_is_asked_for_again(void **state)
{
    UNUSED(state);
    struct redis_process *p = redis_start("one", NULL);
    redis_do(p, "ACL SETUSER default resetchannels");
    const struct redis_sub_settings s = {.login = &login,
                                         .channels = channels,
                                         .channel_count = ARRAY_LEN(channels),
                                         .timeout_ms = 500,
                                         .connect_timeout_ms = 60000,
                                         .on_message = on_message,
                                         .on_up = on_up};
    sub = redis_sub_open(w, slice_str(p->address), &s);
    UNTIL(strstr(redis_do(p, "INFO errorstats"), "NOPERM") != NULL);
    assert_false(redis_sub_is_up(sub));
    redis_do(p, "ACL SETUSER default allchannels");
    UNTIL(redis_sub_is_up(sub));
    publish(p, "one", "a");
}

#define TEST_OF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(messages_of_all_channels_come),           TEST_OF(quiet_subscription_stays_up),
        TEST_OF(killed_server_is_subscribed_to_again),    TEST_OF(silence_is_noticed),
        TEST_OF(refused_subscription_is_asked_for_again),
    };
    return E2E_RUN("redis_sub", tests);
}
