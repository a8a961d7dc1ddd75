/* test_redis_tell.c: one line per change, in which words, and no flood. */
#include "fixture.h"

#include "proxy/redis_tell.h"

static char said[4096];
static unsigned lines;
static struct redis_teller teller;
static struct redis_sight sights[2];
static struct redis_report sum;
static mono_ms_t now_ms;

static void say(void *arg, bool is_bad, const char *text)
{
    UNUSED(arg);
    lines++;
    snprintf(said, sizeof said, "%s %s", is_bad ? "bad" : "good", text);
}

static int setup(void **state)
{
    UNUSED(state);
    teller = (struct redis_teller){.mode = CONFIG_REDIS_SENTINEL, .say = say};
    memset(sights, 0, sizeof sights);
    strcpy(sights[0].server, "a:1");
    strcpy(sights[1].server, "s:1");
    sights[1].is_guide = true;
    sum = (struct redis_report){.workers = 3, .totals = {.trouble = ""}, .sights = sights, .count = 1};
    now_ms = 1000000;
    lines = 0;
    said[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    redis_tell_free(&teller);
    return 0;
}

static void round_of(unsigned up, const char *reason)
{
    sights[0].workers_up = up;
    strcpy(sights[0].reason, reason);
    now_ms += 500;
    redis_tell(&teller, &sum, now_ms, now_ms + 7);
}

static void one_line_per_change(void **state)
{
    UNUSED(state);
    round_of(0, ""); /* not connected yet */
    assert_int_equal(lines, 0);
    round_of(1, "Connection refused"); /* the first of three */
    assert_string_equal(said, "good a:1 is up");
    round_of(2, "Connection refused");
    round_of(3, "");
    round_of(1, "gone");
    assert_int_equal(lines, 1);
    mono_ms_t up_ms = sights[0].since_ms;
    round_of(0, "gone");
    assert_string_equal(said, "bad a:1 is down: gone");
    assert_true(sights[0].since_ms > up_ms);
    round_of(0, "gone");
    assert_int_equal(lines, 2);
    round_of(0, "WRONGPASS no");
    assert_string_equal(said, "bad a:1 is down: WRONGPASS no");
    round_of(0, "WRONGPASS no");
    assert_int_equal(lines, 3);
    round_of(3, "");
    assert_string_equal(said, "good a:1 is up");
    assert_int_equal(lines, 4);
}

static void guides_have_their_names(void **state)
{
    UNUSED(state);
    sum.count = 2;
    sights[1].workers_up = 1;
    round_of(0, "");
    assert_string_equal(said, "good Sentinel s:1 is up");
    sights[1].workers_up = 0;
    round_of(0, "");
    assert_string_equal(said, "bad Sentinel s:1 is down: not connected");
    sum.count = 0; /* named no more, then again */
    round_of(0, "");
    assert_int_equal(lines, 2);
    sum.count = 2;
    teller.mode = CONFIG_REDIS_CLUSTER;
    sights[1].workers_up = 1;
    round_of(0, "");
    assert_string_equal(said, "good seed s:1 is up");
}

static void flapping_is_no_flood(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 1200; i++) /* ten minutes */
        round_of(i % 2, "gone");
    assert_in_range(lines, REDIS_TELL_LINES, REDIS_TELL_LINES + 60);
    unsigned before = lines;
    for (int i = 0; i < 40; i++) /* what holds in the end is told in the end */
        round_of(0, "gone");
    for (int i = 0; i < 40; i++)
        round_of(1, "gone");
    assert_true(lines > before);
    assert_string_equal(said, "good a:1 is up");
}

static void trouble_that_lasts_is_told(void **state)
{
    UNUSED(state);
    sum.totals.trouble = "no Sentinel answers";
    round_of(0, "");
    assert_int_equal(lines, 0);
    sum.totals.trouble = "";
    round_of(0, "");
    round_of(0, "");
    assert_int_equal(lines, 0); /* a moment of it is nothing */
    sum.totals.trouble = "no Sentinel answers";
    round_of(0, "");
    round_of(0, "");
    round_of(0, "");
    assert_int_equal(lines, 1);
    assert_string_equal(said, "bad no Sentinel answers");
    sum.totals.trouble = "";
    round_of(0, "");
    round_of(0, "");
    assert_int_equal(lines, 2);
    assert_string_equal(said, "good no longer: no Sentinel answers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_line_per_change, setup, teardown),
        cmocka_unit_test_setup_teardown(guides_have_their_names, setup, teardown),
        cmocka_unit_test_setup_teardown(flapping_is_no_flood, setup, teardown),
        cmocka_unit_test_setup_teardown(trouble_that_lasts_is_told, setup, teardown),
    };
    return cmocka_run_group_tests_name("proxy/redis_tell", tests, NULL, NULL);
}
