/* test_redis_cluster_move.c: slots of a real Cluster move while keys of theirs are asked for. */
#include "tests/unit/core/redis_cluster_fixture.h"

static void moved_slot_is_followed(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    set(key, "v");
    redis_slot_begin_move(group.masters[0], group.masters[2], slot);
    redis_slot_move_keys(group.masters[0], group.masters[2], slot);
    redis_slot_finish_move(group.masters[0], group.masters[2], slot);
    uint64_t refreshes = figures().refreshes;
    const struct asked *a = answer("GET", key, NULL);
    assert_int_equal(a->outcome, REDIS_ANSWERED);
    assert_string_equal(a->text, "v");
    assert_int_equal(figures().redirects, 1);
    assert_true(is_owner(group.masters[2], key)); /* by the redirection alone */
    assert_int_equal(moves, 2);
    assert_string_equal(answer("GET", key, NULL)->text, "v");
    assert_int_equal(figures().redirects, 1);
    UNTIL(figures().refreshes > refreshes);
    assert_true(is_owner(group.masters[2], key));
}

static void moving_slot_is_asked_for_at_both(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *here = textf("{%s}-here", key_of(1, 0)), *there = textf("{%s}-there", key_of(1, 0));
    unsigned slot = redis_key_slot(slice_str(here));
    set(here, "old");
    redis_slot_begin_move(group.masters[1], group.masters[0], slot);
    assert_string_equal(answer("GET", here, NULL)->text, "old");
    assert_int_equal(figures().redirects, 0);
    set(there, "new"); /* not here, so that it is to be asked for there */
    assert_int_equal(figures().redirects, 1);
    assert_true(is_owner(group.masters[1], there)); /* still */
    assert_string_equal(redis_do(group.masters[0], "CLUSTER COUNTKEYSINSLOT %u", slot), "1");
    static struct asked a;
    const slice_t both[] = {SLICE_LIT("MGET"), slice_str(here), slice_str(there)};
    a = (struct asked){.call.on_reply = asked_on_reply};
    assert_true(redis_node_call(redis_cluster_node(cluster, both[1]), &a.call, both, 3));
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_REFUSED);
    expect_in(a.text, "TRYAGAIN");
}

/* MOVED to a master that asks elsewhere: two hops, and no more. */
static void two_redirections_are_followed(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    redis_slot_begin_move(group.masters[0], group.masters[1], slot);
    redis_slot_finish_move(group.masters[0], group.masters[1], slot);
    redis_slot_begin_move(group.masters[1], group.masters[2], slot);
    set(key, "v");
    assert_int_equal(figures().redirects, 2);
    assert_string_equal(redis_do(group.masters[2], "CLUSTER COUNTKEYSINSLOT %u", slot), "1");
}

/* Two that each say the other has it. */
static void circle_of_redirections_is_left(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    redis_freeze(group.masters[2]); /* which would have them agree */
    redis_do(group.masters[0], "CLUSTER SETSLOT %u NODE %s", slot,
             redis_do(group.masters[1], "CLUSTER MYID"));
    const struct asked *a = answer("GET", key, NULL);
    assert_int_equal(a->outcome, REDIS_REFUSED);
    expect_in(a->text, "MOVED");
    assert_int_equal(figures().redirects, REDIS_HOPS_MAX);
    redis_thaw(group.masters[2]);
}

/* Who is asked for the map may not have heard yet; each MOVED has it asked for again. */
static bool is_owner_by_now(struct redis_process *p, char *key)
{
    static struct asked again;
    if (!is_owner(p, key) && ask(&again, "SET", key, "v"))
        UNTIL(again.ended);
    return is_owner(p, key);
}

static void new_master_joins(void **state)
{
    UNUSED(state);
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    open_cluster();
    char *key = key_of(0, 0);
    unsigned slot = redis_key_slot(slice_str(key));
    struct redis_process *fourth = redis_cluster_group_join(&group, "fourth");
    redis_slot_begin_move(group.masters[0], fourth, slot);
    redis_slot_finish_move(group.masters[0], fourth, slot);
    const struct asked *a = answer("SET", key, "v");
    assert_int_equal(a->outcome, REDIS_REFUSED); /* not connected to it yet */
    expect_in(a->text, "MOVED");
    UNTIL(is_owner_by_now(fourth, key));
    set(key, "v");
    assert_int_equal(figures().redirects, 0);
    redis_slot_begin_move(fourth, group.masters[0], slot);
    redis_slot_move_keys(fourth, group.masters[0], slot);
    redis_slot_finish_move(fourth, group.masters[0], slot);
    assert_string_equal(answer("GET", key, NULL)->text, "v");
    UNTIL(downs == 1); /* it has no slots, and is left */
    assert_null(redis_cluster_server(cluster, REDIS_MASTERS));
    assert_string_equal(answer("GET", key, NULL)->text, "v");
}

/* The others agree that it has no slot any more, while it is frozen with a call. */
static void server_that_goes_ends_its_calls_first(void **state)
{
    UNUSED(state);
    static struct asked a;
    redis_cluster_group_start(&group, false, NEVER_MS, NULL);
    struct redis_process *fourth = redis_cluster_group_join(&group, "fourth");
    char *key = key_of(0, 0), *other = key_of(1, 0);
    unsigned slot = redis_key_slot(slice_str(key)), other_slot = redis_key_slot(slice_str(other));
    redis_slot_begin_move(group.masters[0], fourth, slot);
    redis_slot_finish_move(group.masters[0], fourth, slot);
    open_at((const char *[]){fourth->address}, 1);
    UNTIL(servers_up() == REDIS_MASTERS + 1);
    redis_freeze(fourth);
    assert_true(ask(&a, "SET", key, "v"));
    for (unsigned i = 0; i < REDIS_MASTERS; i++)
        redis_do(group.masters[i], "CLUSTER SETSLOT %u NODE %s", slot,
                 redis_do(group.masters[0], "CLUSTER MYID"));
    redis_slot_begin_move(group.masters[1], group.masters[0], other_slot);
    redis_slot_finish_move(group.masters[1], group.masters[0], other_slot);
    UNTIL(answer("GET", other, NULL)->outcome == REDIS_ANSWERED && is_owner(group.masters[0], key));
    mono_ms_t later_ms = clock_mono_ms() + REDIS_LINGER_MS + 2 * REDIS_REFRESH_MS;
    UNTIL(clock_mono_ms() > later_ms);
    assert_non_null(redis_cluster_server(cluster, REDIS_MASTERS));
    assert_int_equal(a.ended, 0);
    redis_thaw(fourth);
    UNTIL(a.ended);
    assert_int_equal(a.outcome, REDIS_ANSWERED);
    UNTIL(redis_cluster_server(cluster, REDIS_MASTERS) == NULL);
    assert_int_equal(downs, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_OF(moved_slot_is_followed),
        TEST_OF(moving_slot_is_asked_for_at_both),
        TEST_OF(two_redirections_are_followed),
        TEST_OF(circle_of_redirections_is_left),
        TEST_OF(new_master_joins),
        TEST_OF(server_that_goes_ends_its_calls_first),
    };
    return E2E_RUN("redis_cluster_move", tests);
}
