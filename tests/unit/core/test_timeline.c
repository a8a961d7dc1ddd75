/* test_timeline.c: order, the limit, purges that are merged, and several threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "core/timeline.h"

static struct timeline_event seen[TIMELINE_EVENTS + 1];

static int setup(void **state)
{
    UNUSED(state);
    timeline_clear();
    return 0;
}

static void test_newest_first(void **state)
{
    UNUSED(state);
    wall_ms_t before = clock_wall_ms();
    assert_int_equal(timeline_read(seen, 5), 0);
    timeline_note(TIMELINE_START, "here %d", 1);
    timeline_note(TIMELINE_STATE, "app/a: up -> down");
    timeline_note(TIMELINE_STATE, "app/a: down -> up");
    assert_int_equal(timeline_read(seen, 5), 3);
    assert_string_equal(seen[0].text, "app/a: down -> up");
    assert_string_equal(seen[2].text, "here 1");
    assert_int_equal(seen[2].kind, TIMELINE_START);
    assert_int_equal(seen[2].count, 1);
    assert_true(seen[2].at_ms >= before && seen[0].at_ms >= seen[2].at_ms);
    assert_int_equal(timeline_read(seen, 1), 1);
    assert_string_equal(seen[0].text, "app/a: down -> up");
}

static void test_the_oldest_goes(void **state)
{
    UNUSED(state);
    char text[32];
    for (int i = 0; i < TIMELINE_EVENTS + 7; i++)
        timeline_note(TIMELINE_STATE, "%d", i);
    assert_int_equal(timeline_read(seen, ARRAY_LEN(seen)), TIMELINE_EVENTS);
    snprintf(text, sizeof text, "%d", TIMELINE_EVENTS + 6);
    assert_string_equal(seen[0].text, text);
    assert_string_equal(seen[TIMELINE_EVENTS - 1].text, "7");
}

static void test_purges_are_merged(void **state)
{
    UNUSED(state);
    for (int i = 0; i < 2 * TIMELINE_EVENTS; i++)
        timeline_note(TIMELINE_PURGE, "tag %d", i);
    timeline_note(TIMELINE_RELOAD, "generation 2");
    timeline_note(TIMELINE_PURGE, "tag x");
    timeline_note(TIMELINE_RELOAD, "generation 3");
    timeline_note(TIMELINE_RELOAD, "generation 4"); /* is not */
    assert_int_equal(timeline_read(seen, ARRAY_LEN(seen)), 5);
    assert_string_equal(seen[0].text, "generation 4");
    assert_string_equal(seen[2].text, "tag x");
    assert_int_equal(seen[2].count, 1);
    assert_string_equal(seen[4].text, "tag 1999");
    assert_int_equal(seen[4].count, 2 * TIMELINE_EVENTS);
}

static void test_long_texts_are_cut(void **state)
{
    UNUSED(state);
    char text[2 * TIMELINE_TEXT_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    timeline_note(TIMELINE_REFUSED, "%s", text);
    assert_int_equal(timeline_read(seen, 5), 1);
    assert_int_equal(strlen(seen[0].text), TIMELINE_TEXT_BYTES - 1);
}

static void test_names(void **state)
{
    UNUSED(state);
    assert_string_equal(timeline_kind_name(TIMELINE_START), "start");
    assert_string_equal(timeline_kind_name(TIMELINE_PURGE), "purge");
}

static void *note_many(void *arg)
{
    for (int i = 0; i < 200; i++)
        timeline_note(TIMELINE_STATE, "%s", (const char *)arg);
    return NULL;
}

static void test_threads(void **state)
{
    UNUSED(state);
    pthread_t threads[4];
    static const char *const texts[4] = {"a", "b", "c", "d"};
    unsigned count[4] = {0};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, note_many, (void *)(uintptr_t)texts[i]), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(timeline_read(seen, ARRAY_LEN(seen)), 800);
    for (size_t i = 0; i < 800; i++)
        count[seen[i].text[0] - 'a']++;
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(count[i], 200);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_newest_first),       T(test_the_oldest_goes), T(test_purges_are_merged),
        T(test_long_texts_are_cut), T(test_names),           T(test_threads),
    };
    return cmocka_run_group_tests_name("core/timeline", tests, NULL, NULL);
}
