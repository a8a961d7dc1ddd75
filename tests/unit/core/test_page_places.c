/* test_page_places.c: places that sleep and wake, and come and go. */
#include "core/page_places.h"

#include <string.h>
#include <sys/mman.h>

#include "tests/support/support.h"

enum { PAGES = 3, COUNT = 1000, WARM = 4 };

static struct page_places places;

static unsigned pages_held(void *at)
{
    unsigned char in[PAGES] = {0};
    assert_int_equal(mincore(at, sizeof in * PAGE_BYTES, in), 0);
    return (in[0] & 1u) + (in[1] & 1u) + (in[2] & 1u);
}

static void *take(void)
{
    void *at = page_places_take(&places);
    assert_non_null(at);
    assert_true(page_places_has(&places, at));
    return at;
}

/* Something in one word of eight. */
static void fill(uint64_t *words, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        words[i] = i % 8 == 3 ? seed + i : 0;
}

static bool is_filled(const uint64_t *words, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        if (words[i] != (i % 8 == 3 ? seed + i : 0))
            return false;
    return true;
}

static void what_is_kept_is_there_again(void **state)
{
    UNUSED(state);
    static const size_t kept[] = {1, 8, 511, 512, 513, 4096, 6000, (size_t)PAGES * PAGE_BYTES};
    uint64_t *at = take();
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const size_t whole = (size_t)PAGES * PAGE_BYTES / 8, words = kept[i] / 8;
        fill(at, whole, i);
        ((char *)at)[kept[i] - 1] = 'z';
        struct page_image *image = page_places_sleep(&places, at, kept[i]);
        assert_non_null(image);
        assert_int_equal(pages_held(at), 0);
        page_places_wake(&places, at, &image);
        assert_null(image);
        assert_int_equal(((char *)at)[kept[i] - 1], 'z');
        ((char *)at)[kept[i] - 1] = 0;
        assert_true(words < 4 || is_filled(at, words - 1, i));
    }
    page_places_give(&places, at);
}

static void what_is_full_stays_awake(void **state)
{
    UNUSED(state);
    const size_t bytes = (size_t)PAGES * PAGE_BYTES;
    char *at = take();
    memset(at, 'x', bytes);
    assert_null(page_places_sleep(&places, at, bytes));
    assert_int_equal(at[bytes - 1], 'x');
    struct page_image *image = page_places_sleep(&places, at, 100); /* the rest is not asked for */
    assert_non_null(image);
    page_places_wake(&places, at, &image);
    assert_int_equal(at[99], 'x');
    page_places_give(&places, at);
}

static void what_is_locked_stays_awake(void **state)
{
    UNUSED(state);
    char *at = take();
    at[0] = 'x';
    if (support_sanitized() || mlock(at, (size_t)PAGES * PAGE_BYTES) != 0) {
        page_places_give(&places, at);
        skip(); /* sanitizers do not let memory be locked, nor may anyone lock much */
    }
    assert_null(page_places_sleep(&places, at, 8));
    assert_int_equal(at[0], 'x');
    munlock(at, (size_t)PAGES * PAGE_BYTES);
    page_places_give(&places, at);
}

static void all_can_be_taken_and_few_keep_their_pages(void **state)
{
    UNUSED(state);
    static char *at[COUNT];
    unsigned held = 0;
    for (size_t i = 0; i < COUNT; i++) {
        at[i] = take();
        memset(at[i], (int)(i % 100), (size_t)PAGES * PAGE_BYTES);
    }
    assert_null(page_places_take(&places));
    for (size_t i = 0; i < COUNT; i++) {
        assert_int_equal(at[i][0], i % 100);
        assert_int_equal(at[i][PAGES * PAGE_BYTES - 1], i % 100);
    }
    for (size_t i = 0; i < COUNT; i++)
        page_places_give(&places, at[i]);
    for (size_t i = 0; i < COUNT; i++)
        held += pages_held(at[i]) > 0;
    assert_int_equal(held, WARM);
    for (size_t i = 0; i < COUNT; i++)
        at[i] = take();
    assert_null(page_places_take(&places));
    for (size_t i = 0; i < COUNT; i++)
        page_places_give(&places, at[i]);
}

static void without_places_there_is_nothing_to_take(void **state)
{
    UNUSED(state);
    struct page_places none = {0};
    assert_null(page_places_take(&none));
    assert_false(page_places_has(&none, state));
    assert_false(page_places_has(&none, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_kept_is_there_again),
        cmocka_unit_test(what_is_full_stays_awake),
        cmocka_unit_test(what_is_locked_stays_awake),
        cmocka_unit_test(all_can_be_taken_and_few_keep_their_pages),
        cmocka_unit_test(without_places_there_is_nothing_to_take),
    };
    if (!page_places_init(&places, PAGES, COUNT, WARM))
        return 1;
    return cmocka_run_group_tests_name("core/page_places", tests, NULL, NULL);
}
