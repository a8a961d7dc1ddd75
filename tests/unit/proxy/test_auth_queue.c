/* test_auth_queue.c: whose turn it is, and how much room there is. */
#include "proxy/auth_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct auth_queue q;
static struct auth_place places[AUTH_QUEUE_MAX + 1];

static void expect_next(size_t i)
{
    assert_ptr_equal(auth_queue_next(&q), &places[i]);
}

static void test_clients_take_turns(void **state)
{
    (void)state;
    auth_queue_init(&q);
    assert_null(auth_queue_next(&q));
    for (size_t i = 0; i < 3; i++)
        assert_true(auth_queue_enter(&q, &places[i], 7));
    expect_next(0);
    assert_true(auth_queue_enter(&q, &places[3], 8)); /* before the guesser's third */
    assert_true(auth_queue_enter(&q, &places[4], 9));
    assert_true(auth_queue_enter(&q, &places[5], 9));
    expect_next(1);
    expect_next(3);
    expect_next(4);
    expect_next(2);
    expect_next(5);
    assert_null(auth_queue_next(&q));
    assert_true(auth_queue_enter(&q, &places[0], 7)); /* who was busy long ago is like anybody */
    assert_true(auth_queue_enter(&q, &places[1], 8));
    expect_next(0);
    expect_next(1);
}

static void test_room(void **state)
{
    (void)state;
    auth_queue_init(&q);
    for (size_t i = 0; i < AUTH_CLIENT_MAX; i++)
        assert_true(auth_queue_enter(&q, &places[i], 1));
    assert_false(auth_queue_enter(&q, &places[AUTH_CLIENT_MAX], 1));
    auth_queue_leave(&q, &places[3]);
    assert_true(auth_queue_enter(&q, &places[3], 1));
    for (size_t i = AUTH_CLIENT_MAX; i < AUTH_QUEUE_MAX; i++)
        assert_true(auth_queue_enter(&q, &places[i], 100 + i));
    assert_false(auth_queue_enter(&q, &places[AUTH_QUEUE_MAX], 2));
    for (size_t i = 0; i < AUTH_QUEUE_MAX; i++)
        assert_non_null(auth_queue_next(&q));
    assert_null(auth_queue_next(&q));
    assert_int_equal(q.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clients_take_turns),
        cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests_name("auth_queue", tests, NULL, NULL);
}
