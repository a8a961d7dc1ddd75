/* test_auth_memory.c: what is remembered, for how long, and what makes another tag. */
#include "proxy/auth_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void tag_of(const char *hash, const char *user, const char *password, uint8_t tag[AUTH_TAG_BYTES])
{
    assert_true(auth_memory_tag(hash, user, strlen(user), password, tag));
}

static void test_tags(void **state)
{
    uint8_t a[AUTH_TAG_BYTES], b[AUTH_TAG_BYTES];
    (void)state;
    tag_of("h", "user", "pass", a);
    tag_of("h", "user", "pass", b);
    assert_memory_equal(a, b, sizeof a);
    static const char *const others[][3] = {{"i", "user", "pass"},
                                            {"h", "use", "rpass"},
                                            {"h", "user", "Pass"},
                                            {"hu", "ser", "pass"},
                                            {"h", "user", ""}};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        tag_of(others[i][0], others[i][1], others[i][2], b);
        assert_memory_not_equal(a, b, sizeof a);
    }
}

static void test_time(void **state)
{
    struct auth_memory *m = calloc(1, sizeof *m);
    uint8_t a[AUTH_TAG_BYTES], b[AUTH_TAG_BYTES];
    (void)state;
    tag_of("h", "a", "x", a);
    tag_of("h", "b", "x", b);
    assert_false(auth_memory_has(m, a, 1000));
    auth_memory_keep(m, a, 1000);
    assert_true(auth_memory_has(m, a, 1000));
    assert_false(auth_memory_has(m, b, 1000));
    assert_true(auth_memory_has(m, a, 999 + AUTH_MEMORY_MS)); /* and stays, being used */
    assert_true(auth_memory_has(m, a, 1998 + AUTH_MEMORY_MS));
    assert_false(auth_memory_has(m, a, 1998 + 2 * AUTH_MEMORY_MS));
    free(m);
}

static void test_room(void **state)
{
    struct auth_memory *m = calloc(1, sizeof *m);
    uint8_t tags[AUTH_MEMORY_PLACES + 2][AUTH_TAG_BYTES];
    (void)state;
    memset(tags, 0, sizeof tags); /* of one set */
    for (size_t i = 0; i < AUTH_MEMORY_PLACES + 2; i++)
        tags[i][9] = (uint8_t)(i + 1);
    for (size_t i = 0; i < AUTH_MEMORY_PLACES; i++)
        auth_memory_keep(m, tags[i], (mono_ms_t)(1000 + i));
    auth_memory_keep(m, tags[0], 2000); /* twice is once */
    assert_true(auth_memory_has(m, tags[0], 2000));
    auth_memory_keep(m, tags[AUTH_MEMORY_PLACES], 2001);
    assert_true(auth_memory_has(m, tags[0], 2002));
    assert_false(auth_memory_has(m, tags[1], 2002)); /* unused for longest */
    assert_true(auth_memory_has(m, tags[2], 2002));
    assert_true(auth_memory_has(m, tags[AUTH_MEMORY_PLACES], 2002));
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests_name("auth_memory", tests, NULL, NULL);
}
