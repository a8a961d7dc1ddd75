/* test_admission.c: limits in all and per address, and the table against a plain model under random use. */
#include "proxy/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/hash.h"

static void make_ip(uint8_t ip[16], unsigned n)
{
    memset(ip, 0, 16);
    memcpy(ip, &n, sizeof n);
}

/* As a listener with a limit does it. */
static bool enter(struct admission *a, const uint8_t ip[16], uint32_t max_per_ip)
{
    bool by_ip;
    bool admitted = admission_enter(a, ip, max_per_ip, &by_ip);
    assert_int_equal(by_ip, admitted && max_per_ip > 0);
    return admitted;
}

static void leave(struct admission *a, const uint8_t ip[16])
{
    admission_leave(a, ip, true);
}

static void test_total(void **state)
{
    UNUSED(state);
    struct admission a;
    uint8_t ip[16];
    admission_init(&a, 2);
    make_ip(ip, 1);
    assert_true(enter(&a, ip, 0));
    assert_true(enter(&a, ip, 0));
    assert_false(enter(&a, ip, 0));
    assert_int_equal(atomic_load(&a.total), 2);
    assert_null(a.slots); /* nobody asked for counts per address */
    admission_leave(&a, ip, false);
    assert_true(enter(&a, ip, 0));
    atomic_store(&a.max_total, 0);
    admission_leave(&a, ip, false);
    assert_false(enter(&a, ip, 0));
    admission_destroy(&a);
}

static void test_per_address(void **state)
{
    UNUSED(state);
    struct admission a;
    uint8_t one[16], two[16];
    admission_init(&a, 100);
    make_ip(one, 1);
    make_ip(two, 2);
    for (int i = 0; i < 3; i++)
        assert_true(enter(&a, one, 3));
    assert_false(enter(&a, one, 3));
    assert_int_equal(atomic_load(&a.total), 3); /* the refused one is not counted */
    assert_true(enter(&a, two, 3));
    assert_true(enter(&a, one, 4)); /* another listener may allow more */
    assert_false(enter(&a, one, 4));
    for (int i = 0; i < 4; i++)
        leave(&a, one);
    assert_int_equal(a.used, 1);
    assert_true(enter(&a, one, 1));
    assert_false(enter(&a, one, 1));
    admission_destroy(&a);
}

/* Two listeners, one without a limit: what leaves by that one takes nothing from the other's count. */
static void test_uncounted_connections(void **state)
{
    UNUSED(state);
    struct admission a;
    uint8_t ip[16];
    bool by_ip;
    admission_init(&a, 100);
    make_ip(ip, 1);
    assert_true(admission_enter(&a, ip, 0, &by_ip));
    assert_false(by_ip);
    assert_true(enter(&a, ip, 1));
    admission_leave(&a, ip, by_ip);
    assert_false(enter(&a, ip, 1));
    assert_int_equal(atomic_load(&a.total), 1);
    leave(&a, ip);
    assert_true(enter(&a, ip, 1));
    admission_destroy(&a);
}

/* A connection whose address becomes known later. */
static void test_counted_later(void **state)
{
    UNUSED(state);
    struct admission a;
    uint8_t one[16], two[16];
    bool by_ip, other;
    admission_init(&a, 100);
    make_ip(one, 1);
    make_ip(two, 2);
    assert_true(admission_enter(&a, one, 0, &by_ip));
    assert_true(admission_enter_ip(&a, two, 1, &by_ip));
    assert_true(by_ip);
    assert_true(admission_enter(&a, one, 0, &other));
    assert_false(admission_enter_ip(&a, two, 1, &other));
    assert_false(other);
    admission_leave(&a, two, other);
    assert_false(enter(&a, two, 1));
    admission_leave(&a, two, by_ip);
    assert_true(enter(&a, two, 1));
    assert_true(admission_enter_ip(&a, one, 0, &other)); /* no limit */
    assert_false(other);
    assert_int_equal(atomic_load(&a.total), 1);
    leave(&a, two);
    admission_destroy(&a);
}

/* A flood of addresses cannot fill the table up, which would make looking in it endless. */
static void test_full_table_admits(void **state)
{
    UNUSED(state);
    struct admission a;
    uint8_t ip[16];
    static bool by_ip[ADMISSION_SLOTS + 10];
    unsigned counted = 0;
    admission_init(&a, UINT32_MAX);
    for (unsigned i = 0; i < ARRAY_LEN(by_ip); i++) {
        make_ip(ip, i + 1);
        assert_true(admission_enter(&a, ip, 1, &by_ip[i]));
        counted += by_ip[i];
    }
    assert_true(a.used < ADMISSION_SLOTS);
    assert_int_equal(a.used, counted);
    make_ip(ip, 1);
    assert_false(enter(&a, ip, 1)); /* one of the first is still counted */
    for (unsigned i = 0; i < ARRAY_LEN(by_ip); i++) {
        make_ip(ip, i + 1);
        admission_leave(&a, ip, by_ip[i]);
    }
    assert_int_equal(a.used, 0);
    assert_int_equal(atomic_load(&a.total), 0);
    admission_destroy(&a);
}

#define MODEL_IPS 96
#define OPS       200000

/* Addresses whose home slots are neighbours, across the wrap-around too, so that runs form and deletions
 * shift. */
static unsigned crowded_ips(uint8_t ips[][16], unsigned count)
{
    unsigned found = 0;
    for (unsigned n = 1; found < count && n < 50000000; n++) {
        make_ip(ips[found], n);
        unsigned home = (unsigned)((uint32_t)hash_bytes(ips[found], 16).lo % ADMISSION_SLOTS);
        found += (home + 16) % ADMISSION_SLOTS < 32;
    }
    return found;
}

static void test_model(void **state)
{
    UNUSED(state);
    static uint8_t ips[MODEL_IPS + 1][16];
    unsigned counts[MODEL_IPS] = {0}, used = 0, total = 0, random = 12345;
    struct admission a;
    assert_int_equal(crowded_ips(ips, MODEL_IPS), MODEL_IPS);
    admission_init(&a, UINT32_MAX);
    for (unsigned op = 0; op < OPS; op++) {
        random = random * 1664525u + 1013904223u;
        unsigned k = (random >> 8) % MODEL_IPS, limit = 1 + (random >> 20) % 4;
        /* Phases of growing and of shrinking, so that the runs become long and short. */
        bool grow = (random >> 28) < (op / 4096 % 2 == 0 ? 12u : 4u);
        if (grow) {
            bool want = counts[k] < limit;
            assert_int_equal(enter(&a, ips[k], limit), want);
            used += want && counts[k] == 0;
            counts[k] += want;
            total += want;
        } else if (counts[k] > 0) {
            leave(&a, ips[k]);
            used -= --counts[k] == 0;
            total--;
        }
        assert_int_equal(a.used, used);
        assert_int_equal(atomic_load(&a.total), total);
    }
    for (unsigned k = 0; k < MODEL_IPS; k++) { /* every count can still be found */
        while (counts[k]-- > 0)
            leave(&a, ips[k]);
    }
    assert_int_equal(a.used, 0);
    for (unsigned i = 0; i < ADMISSION_SLOTS; i++)
        assert_int_equal(a.slots[i].count, 0);
    admission_destroy(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_total),
        cmocka_unit_test(test_per_address),
        cmocka_unit_test(test_uncounted_connections),
        cmocka_unit_test(test_counted_later),
        cmocka_unit_test(test_full_table_admits),
        cmocka_unit_test(test_model),
    };
    hash_seed_fixed(7);
    return cmocka_run_group_tests_name("proxy/admission", tests, NULL, NULL);
}
