/* test_snapshot.c: a configuration made ready: routes with pools and labels, and who holds it how long. */
#include "fixture.h"

static void test_routes(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    fix_start(
        &f,
        "[log]\naccess = off\nslow_request = 2s\n" FIX_APP
        "[pool other]\nserver = 127.0.0.1:10\nhealth_check = off\n"
        "[route a]\nhost = a\npool = other\n[route r]\npath = /r\nrespond = 200 x\n[route m]\nmethod = GET\n"
        "[route h]\nheader = X\n[route rest]\n",
        false);
    const struct snapshot *s = f.snapshot;
    assert_int_equal(s->route_count, 5);
    for (size_t i = 0; i < s->route_count; i++) {
        assert_ptr_equal(s->routes[i].config, &s->config->routes[i]);
        assert_int_equal(s->routes[i].always_matches, i == 4);
        assert_true(slice_eq(metrics_label_name(s->routes[i].label), slice_str(s->config->routes[i].name)));
    }
    assert_string_equal(pool_config(s->routes[0].pool)->name, "other");
    assert_null(s->routes[1].pool);
    assert_string_equal(pool_config(s->routes[4].pool)->name, "app");
    assert_null(s->access_format);
    assert_int_equal(s->slow_request_us, 2000000);
    fix_end(&f);
}

static void test_limits(void **state)
{
    UNUSED(state);
    static const char *const limits[] = {"50/s burst=100", "3/m", "7/h burst=0", "50/s burst=99",
                                         "50/s burst=100 by=header:X"};
    static const struct rate_limit rates[] = {{20000000, 2000000000},
                                              {20000000000, 60000000000},
                                              {514285714286, 514285714286},
                                              {20000000, 1980000000},
                                              {20000000, 2000000000}};
    struct hash128 ids[ARRAY_LEN(limits)];
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
            struct proxy_fix f;
            char ini[256];
            snprintf(ini, sizeof ini, FIX_APP "[route r]\nrate_limit = %s\n[route s]\n", limits[i]);
            fix_start(&f, ini, false);
            const struct route *r = f.snapshot->routes;
            assert_true(r[0].rate.step_ns == rates[i].step_ns && r[0].rate.room_ns == rates[i].room_ns);
            assert_true(!r[0].is_plain && r[1].is_plain && r[1].rate.step_ns == 0);
            if (round == 0)
                ids[i] = r[0].limit_id;
            assert_true(hash_eq(ids[i], r[0].limit_id)); /* also of another snapshot */
            for (size_t k = 0; k < i; k++)
                assert_false(hash_eq(ids[k], r[0].limit_id));
            fix_end(&f);
        }
    }
}

/* How long the one side takes says nothing about when the other one is slow. */
static void test_sides_of_a_split(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    fix_start(&f,
              FIX_APP "sticky_cookie = a\n[pool other]\nserver = 127.0.0.1:10\nhealth_check = off\n"
                      "sticky_cookie = b\n[route r]\nhedge = p95\nsplit = app=95 other=5 by=client_ip\n",
              false);
    const struct route *r = &f.snapshot->routes[0];
    assert_non_null(r->heads);
    assert_non_null(r->canary->heads);
    assert_ptr_not_equal(r->heads, r->canary->heads);
    assert_string_equal(r->other_cookie, "b");
    assert_string_equal(r->canary->other_cookie, "a");
    fix_end(&f);
}

/* Without any route there is one, for the first pool. */
static void test_default_route(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    fix_start(&f, FIX_APP, false);
    assert_int_equal(f.snapshot->route_count, 1);
    assert_true(f.snapshot->routes[0].always_matches);
    assert_string_equal(pool_config(f.snapshot->routes[0].pool)->name, "app");
    fix_end(&f);
}

static void test_access_format(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    fix_start(&f, "[log]\naccess = stdout\naccess_format = %{status} %{target}\n" FIX_APP, false);
    assert_non_null(f.snapshot->access_format);
    fix_end(&f);
}

/* A view that one worker still holds keeps the snapshot, its configuration and its pools. */
static void test_references(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    fix_start(&f, FIX_APP, false);
    struct snapshot *s = fix_snapshot(f.balancer, FIX_APP "[route only]\n");
    struct snapshot_view *v = snapshot_view_new(snapshot_ref(s));
    assert_non_null(v);
    assert_int_equal((uintptr_t)v % CACHE_LINE, 0); /* no other worker's beside it */
    assert_int_equal(atomic_load(&s->refs), 2);
    snapshot_unref(s);
    struct snapshot_view *again = snapshot_view_ref(v);
    snapshot_view_unref(v);
    assert_string_equal(again->shared->routes[0].config->name, "only");
    assert_int_equal(atomic_load(&again->shared->config->refs) > 0, 1);
    snapshot_view_unref(again);
    snapshot_unref(NULL);
    fix_end(&f);
}

/* A worker that changes over lets the old snapshot go once its last request has ended. */
static void test_change_over(void **state)
{
    UNUSED(state);
    struct proxy_fix f;
    int other;
    fix_start(&f, FIX_APP, false);
    struct client_conn *c = fix_client(&f, "192.0.2.7:1", &other);
    struct exchange *x = fix_exchange(&f, c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    struct snapshot *next = fix_snapshot(f.balancer, FIX_APP "[route next]\n");
    proxy_worker_use(f.pw, snapshot_ref(next));
    assert_ptr_equal(f.pw->view->shared, next);
    assert_ptr_equal(x->view->shared, f.snapshot);
    struct exchange *y = exchange_new(f.pw, c);
    assert_ptr_equal(y->view->shared, next);
    exchange_free(y);
    listener_use(f.listener, f.pw->view, &next->config->listens[0]);
    assert_int_equal(atomic_load(&f.snapshot->refs), 2); /* the fixture's and the old view's */
    fix_drop(x);
    assert_int_equal(atomic_load(&f.snapshot->refs), 1);
    snapshot_unref(next);
    client_conn_close(c, CLOSE_CLIENT_CLOSED);
    close(other);
    fix_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),           cmocka_unit_test(test_limits),
        cmocka_unit_test(test_sides_of_a_split), cmocka_unit_test(test_default_route),
        cmocka_unit_test(test_access_format),    cmocka_unit_test(test_references),
        cmocka_unit_test(test_change_over),
    };
    return cmocka_run_group_tests_name("proxy/snapshot", tests, fix_group_setup, fix_group_teardown);
}
