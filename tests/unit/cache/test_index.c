/* test_index.c: whole-key comparison under forced collisions, growth, tombstones, and readers while the table
 * grows. */
#include "cache/index.h"

#include "tests/unit/cache/fixture.h"

static struct cache_account account;

static int open_account(void **state)
{
    UNUSED(state);
    assert_true(cache_account_open(&account, 1000 * MB));
    return 0;
}

static int close_account(void **state)
{
    UNUSED(state);
    rcu_flush();
    cache_account_close(&account);
    return 0;
}

static struct cache_object *make(const char *key, uint64_t hash)
{
    struct cache_fill fill = fix_fill(0);
    struct cache_object_parts parts = {.hash = hash,
                                       .key = slice_str(key),
                                       .primary_bytes = strlen(key),
                                       .vary_names = SLICE_EMPTY,
                                       .fill = &fill};
    assert_true(cache_account_try(&account, cache_object_cost(&parts, false)));
    struct cache_object *o = cache_object_create(&account, &parts, NULL);
    assert_non_null(o);
    cache_object_end(o, CACHE_COMPLETE);
    return o;
}

static void put(struct cache_index *ix, struct cache_object *o)
{
    cache_entry_t old;
    assert_true(cache_index_put(ix, cache_entry_of_object(o), &old));
    assert_int_equal(old, 0);
}

static void drop(struct cache_index *ix, struct cache_object *o)
{
    assert_true(cache_index_remove(ix, cache_entry_of_object(o)));
    cache_object_retire(o);
}

static struct cache_object *find(struct cache_index *ix, const char *key, uint64_t hash)
{
    rcu_enter();
    struct cache_object *o = cache_entry_object(cache_index_find(ix, hash, slice_str(key)));
    rcu_leave();
    return o;
}

static void test_same_hash_different_keys(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    struct cache_object *o[100];
    char keys[100][8];
    for (int i = 0; i < 100; i++) { /* one hash for all: every probe goes through foreign entries */
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        o[i] = make(keys[i], 0xabcd000000000005u);
        put(&ix, o[i]);
    }
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(find(&ix, keys[i], 0xabcd000000000005u), o[i]);
    assert_null(find(&ix, "k100", 0xabcd000000000005u));
    assert_null(find(&ix, "k1", 0xabcd000000000105u)); /* same tag and slot, other hash */
    for (int i = 0; i < 100; i += 2)
        drop(&ix, o[i]);
    for (int i = 0; i < 100; i++)
        assert_ptr_equal(find(&ix, keys[i], 0xabcd000000000005u), i % 2 == 0 ? NULL : o[i]);
    for (int i = 1; i < 100; i += 2)
        drop(&ix, o[i]);
    cache_index_close(&ix);
}

static void test_replace_and_exact_removal(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    struct cache_object *a = make("k", 1), *b = make("k", 1);
    put(&ix, a);
    cache_entry_t old;
    assert_true(cache_index_put(&ix, cache_entry_of_object(b), &old));
    assert_ptr_equal(cache_entry_object(old), a);
    assert_int_equal(ix.live, 1);
    assert_false(cache_index_remove(&ix, cache_entry_of_object(a))); /* another one lies there now */
    assert_ptr_equal(find(&ix, "k", 1), b);
    cache_object_retire(a);
    cache_object_ref(b);
    drop(&ix, b);
    assert_false(cache_index_remove(&ix, cache_entry_of_object(b)));
    cache_object_unref(&b);
    cache_index_close(&ix);
}

static void test_markers_and_objects_are_told_apart(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    struct cache_marker *m = cache_marker_create(&account, 9, SLICE_LIT("url"), SLICE_LIT("accept"));
    cache_entry_t old;
    assert_true(cache_index_put(&ix, cache_entry_of_marker(m), &old));
    cache_entry_t e = cache_index_find(&ix, 9, SLICE_LIT("url"));
    assert_ptr_equal(cache_entry_marker(e), m);
    assert_null(cache_entry_object(e));
    assert_null(cache_entry_marker(0));
    assert_true(slice_eq(cache_marker_names(m), SLICE_LIT("accept")));
    assert_true(cache_index_remove(&ix, e));
    cache_marker_retire(m);
    cache_index_close(&ix);
}

static void test_grows_shrinks_and_gives_memory_back(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    size_t empty = atomic_load(&account.used);
    enum { N = 5000 };
    static struct cache_object *o[N];
    static char keys[N][12];
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "key%d", i);
        o[i] = make(keys[i], fix_key(keys[i]).hash.lo);
        put(&ix, o[i]);
    }
    for (int i = 0; i < N; i++)
        assert_ptr_equal(find(&ix, keys[i], fix_key(keys[i]).hash.lo), o[i]);
    size_t cursor = 0, seen = 0;
    do {
        cache_entry_t found[64];
        seen += cache_index_scan(&ix, &cursor, found, 64);
    } while (cursor != 0);
    assert_int_equal(seen, N);
    for (int i = 0; i < N; i++)
        drop(&ix, o[i]);
    assert_int_equal(ix.live, 0);
    rcu_flush();
    assert_in_range(atomic_load(&account.used), empty, empty + 1024);
    cache_index_close(&ix);
}

static void test_tombstones_do_not_fill_the_table(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    for (int i = 0; i < 20000; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        struct cache_object *o = make(key, fix_key(key).hash.lo);
        put(&ix, o);
        drop(&ix, o);
    }
    assert_true(atomic_load(&ix.table) >> 48 <= 6);
    assert_null(find(&ix, "none", 3));
    cache_index_close(&ix);
}

static void test_without_memory_the_old_table_is_used_up(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    assert_true(cache_index_open(&ix, &account));
    struct cache_object *o[40];
    char keys[40][8];
    size_t stored = 0;
    for (int i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        o[i] = make(keys[i], fix_key(keys[i]).hash.lo);
    }
    cache_memory_fail_after(0);
    cache_entry_t old;
    while (stored < 40 && cache_index_put(&ix, cache_entry_of_object(o[stored]), &old))
        stored++;
    cache_memory_fail_after(-1);
    assert_int_equal(stored, 15); /* of 16 slots, one ends the probes */
    assert_null(find(&ix, "none", 3));
    for (size_t i = 0; i < 40; i++) {
        assert_ptr_equal(find(&ix, keys[i], fix_key(keys[i]).hash.lo), i < stored ? o[i] : NULL);
        if (i < stored)
            drop(&ix, o[i]);
        else
            cache_object_unref(&o[i]);
    }
    cache_index_close(&ix);
}

/* Some thousand keys and what the index should hold of them. */
enum { MODEL_KEYS = 6000 };
struct model {
    struct cache_index ix;
    struct cache_object *o[MODEL_KEYS];
    char keys[MODEL_KEYS][12];
    size_t live, refused, changes_in_moves;
};

static void assert_model(struct model *m)
{
    for (size_t i = 0; i < MODEL_KEYS; i++)
        assert_ptr_equal(find(&m->ix, m->keys[i], fix_key(m->keys[i]).hash.lo), m->o[i]);
}

static void model_put(struct model *m, size_t i, bool memory_is_short)
{
    struct cache_object *mine = make(m->keys[i], fix_key(m->keys[i]).hash.lo);
    cache_entry_t old;
    cache_memory_fail_after(memory_is_short ? 0 : -1);
    bool done = cache_index_put(&m->ix, cache_entry_of_object(mine), &old);
    cache_memory_fail_after(-1);
    if (!done) {
        assert_true(memory_is_short && m->o[i] == NULL);
        m->refused++;
        cache_object_unref(&mine);
        return;
    }
    assert_ptr_equal(cache_entry_object(old), m->o[i]);
    m->live += old == 0;
    if (old != 0)
        cache_object_retire(m->o[i]);
    m->o[i] = mine;
}

static void model_drop(struct model *m, size_t i, bool memory_is_short)
{
    if (m->o[i] == NULL)
        return;
    cache_memory_fail_after(memory_is_short ? 0 : -1);
    drop(&m->ix, m->o[i]);
    cache_memory_fail_after(-1);
    m->o[i] = NULL;
    m->live--;
}

/* The work of a move that one change does is bounded, however large the table is. */
static void assert_small_step(const struct cache_index *before, const struct cache_index *now)
{
    size_t slots = (size_t)1 << (atomic_load(&before->table) >> 48);
    size_t cleared = before->next != 0 ? before->cleared : 0, moved = before->next != 0 ? before->moved : 0;
    if (now->next != 0) {
        assert_in_range(now->cleared, cleared, cleared + 512);
        assert_in_range(now->moved, moved, moved + 32);
    } else if (atomic_load(&now->table) != atomic_load(&before->table)) {
        assert_in_range(slots, moved, moved + 32);
    }
    assert_int_equal(cache_index_moves(now) - cache_index_moves(before),
                     atomic_load(&now->table) != atomic_load(&before->table));
}

/* Grows and shrinks in turn, and empties at last. `short_for` of each 12000 changes find no memory. */
static void model_run(struct model *m, unsigned short_for)
{
    enum { TURN = 12000, CHANGES = 10 * TURN };
    uint64_t random = 12345;
    assert_true(cache_index_open(&m->ix, &account));
    for (size_t i = 0; i < MODEL_KEYS; i++)
        snprintf(m->keys[i], sizeof m->keys[i], "key%zu", i);
    for (unsigned change = 0; change < CHANGES || m->live > 0; change++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t i = (size_t)(random >> 33) % MODEL_KEYS;
        bool puts = change < CHANGES && (random >> 20) % 8 < (change / TURN % 2 == 0 ? 7 : 1);
        bool is_short = change % TURN < short_for && change < CHANGES;
        struct cache_index before = m->ix;
        (puts ? model_put : model_drop)(m, i, is_short);
        if (short_for == 0)
            assert_small_step(&before, &m->ix);
        assert_int_equal(m->ix.live, m->live);
        m->changes_in_moves += m->ix.next != 0;
        if (change % 997 == 0)
            assert_model(m);
    }
    assert_true(m->changes_in_moves > 500);
    assert_true(atomic_load(&m->ix.table) >> 48 <= 6);
    cache_index_close(&m->ix);
}

/* Each change does a little, and what it changes is right in the old array and in the new one, wherever the
 * move has come to. */
static void test_a_move_goes_on_with_each_change(void **state)
{
    UNUSED(state);
    static struct model m;
    model_run(&m, 0);
    assert_int_equal(m.refused, 0);
}

/* Arrays that could not grow are full when memory comes back, and those that could not shrink nearly empty.
 */
static void test_memory_is_short_for_a_while(void **state)
{
    UNUSED(state);
    static struct model once, longer;
    model_run(&once, 5000);
    model_run(&longer, 11000);
    assert_true(longer.refused > 0);
}

static void test_an_index_is_closed_in_the_middle_of_a_move(void **state)
{
    UNUSED(state);
    struct cache_index ix;
    size_t none = atomic_load(&account.used), n = 0;
    static struct cache_object *o[1000];
    assert_true(cache_index_open(&ix, &account));
    while (ix.next == 0) {
        char key[12];
        snprintf(key, sizeof key, "key%zu", n);
        o[n] = make(key, fix_key(key).hash.lo);
        put(&ix, o[n++]);
    }
    for (size_t i = 0; i < n; i++)
        cache_object_retire(o[i]);
    ix.live = 0; /* as if they had been removed without a change */
    cache_index_close(&ix);
    rcu_flush();
    assert_int_equal(atomic_load(&account.used), none);
}

/* Readers look for a fixed set while a writer lets the table grow and shrink under them. */
struct race {
    struct cache_index ix;
    struct cache_object *fixed[64];
    char keys[64][16];
    _Atomic bool stop;
    _Atomic unsigned wrong;
    _Atomic uint64_t finds;
};

static void *race_reader(void *arg)
{
    struct race *r = arg;
    rcu_thread_start();
    for (unsigned i = 0; !atomic_load_explicit(&r->stop, memory_order_relaxed); i = (i + 1) % 64) {
        rcu_enter();
        struct cache_object *o =
            cache_entry_object(cache_index_find(&r->ix, fix_key(r->keys[i]).hash.lo, slice_str(r->keys[i])));
        if (o != r->fixed[i] || cache_object_info(o).key.len != strlen(r->keys[i]))
            atomic_fetch_add(&r->wrong, 1);
        rcu_leave();
        atomic_fetch_add_explicit(&r->finds, 1, memory_order_relaxed);
    }
    rcu_thread_stop();
    return NULL;
}

static void test_readers_while_the_table_changes(void **state)
{
    UNUSED(state);
    static struct race r;
    assert_true(cache_index_open(&r.ix, &account));
    for (int i = 0; i < 64; i++) {
        snprintf(r.keys[i], sizeof r.keys[i], "fixed%d", i);
        r.fixed[i] = make(r.keys[i], fix_key(r.keys[i]).hash.lo);
        put(&r.ix, r.fixed[i]);
    }
    pthread_t readers[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, race_reader, &r), 0);
    static struct cache_object *o[2000];
    static char keys[2000][16];
    for (int round = 0; round < 5 || atomic_load(&r.finds) < 10000; round++) {
        for (int i = 0; i < 2000; i++) {
            snprintf(keys[i], sizeof keys[i], "moving%d", i);
            o[i] = make(keys[i], fix_key(keys[i]).hash.lo);
            put(&r.ix, o[i]);
        }
        for (int i = 0; i < 2000; i++)
            drop(&r.ix, o[i]);
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&r.wrong), 0);
    for (int i = 0; i < 64; i++)
        drop(&r.ix, r.fixed[i]);
    cache_index_close(&r.ix);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, open_account, close_account)
    const struct CMUnitTest tests[] = {
        T(test_same_hash_different_keys),           T(test_replace_and_exact_removal),
        T(test_markers_and_objects_are_told_apart), T(test_grows_shrinks_and_gives_memory_back),
        T(test_tombstones_do_not_fill_the_table),   T(test_without_memory_the_old_table_is_used_up),
        T(test_a_move_goes_on_with_each_change),    T(test_an_index_is_closed_in_the_middle_of_a_move),
        T(test_memory_is_short_for_a_while),        T(test_readers_while_the_table_changes),
    };
    return cmocka_run_group_tests_name("cache/index", tests, fix_group_setup, fix_group_teardown);
}
