/* test_queue_law.c: what queue_drop_at_ms does to visitors, by simulation with drawn numbers that are the
 * same each time: ten places at an instance, 50 ms each on average, and more or fewer visitors than that
 * serves. The figures of docs/balancing.md are of this kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

#include "balancer/queue.h"

#define PLACES     10
#define SERVICE_MS 50.0
#define TARGET_MS  100
#define TIMEOUT_MS 5000
#define END_MS     120000.0
#define MOST       1000 /* `queue` */
#define VISITORS   100000

struct world {
    uint64_t random;
    double now_ms, free_ms[PLACES];
    struct queue_place waiting[VISITORS]; /* in order; [first, last) */
    size_t first, last;
    double waits_ms[VISITORS];
    size_t served, dropped, visitors;
    bool drops;
};

static double draw_ms(struct world *w, double mean_ms)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return -log(((double)(w->random >> 11) + 1) / 9007199254740993.0) * mean_ms;
}

static void serve(struct world *w, size_t place, double since_ms)
{
    w->waits_ms[w->served++] = w->now_ms - since_ms;
    w->free_ms[place] = w->now_ms + draw_ms(w, SERVICE_MS);
}

/* As fetch_queue.c does it: the last one stays. */
static void drop(struct world *w)
{
    for (; w->first < w->last; w->first++, w->dropped++) {
        const struct queue_place *p = &w->waiting[w->first];
        const mono_ms_t until_ms = p->entered_ms + TIMEOUT_MS;
        const bool alone = w->first + 1 == w->last;
        const mono_ms_t at_ms = w->drops && !alone ? MIN(queue_drop_at_ms(p, TARGET_MS), until_ms) : until_ms;
        if (w->now_ms < (double)at_ms)
            return;
    }
}

static void arrive(struct world *w)
{
    w->visitors++;
    drop(w);
    for (size_t i = 0; i < PLACES; i++) {
        if (w->free_ms[i] <= w->now_ms) {
            serve(w, i, w->now_ms);
            return;
        }
    }
    const mono_ms_t now_ms = (mono_ms_t)w->now_ms;
    const mono_ms_t standing_ms = w->first < w->last ? w->waiting[w->first].standing_ms : now_ms;
    if (w->last - w->first == MOST)
        w->dropped++;
    else
        w->waiting[w->last++] = (struct queue_place){.entered_ms = now_ms, .standing_ms = standing_ms};
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Runs it with so many visitors per place; the waits are sorted. */
static void simulate(struct world *w, double load, bool drops)
{
    *w = (struct world){.random = 1, .drops = drops};
    double next_ms = 0;
    while (w->now_ms < END_MS) {
        size_t soonest = 0;
        for (size_t i = 1; i < PLACES; i++)
            if (w->free_ms[i] < w->free_ms[soonest])
                soonest = i;
        if (w->first < w->last && w->free_ms[soonest] <= next_ms) {
            w->now_ms = MAX(w->now_ms, w->free_ms[soonest]);
            drop(w);
            if (w->first < w->last)
                serve(w, soonest, (double)w->waiting[w->first++].entered_ms);
        } else {
            w->now_ms = next_ms;
            arrive(w);
            next_ms += draw_ms(w, SERVICE_MS / PLACES / load);
        }
    }
    qsort(w->waits_ms, w->served, sizeof w->waits_ms[0], compare);
}

static double wait_ms(const struct world *w, double share)
{
    return w->waits_ms[(size_t)((double)(w->served - 1) * share)];
}

static void test_overload(void **state)
{
    UNUSED(state);
    struct world *with = malloc(sizeof *with), *without = malloc(sizeof *without);
    for (double load = 1.5; load < 2.6; load += 0.5) {
        simulate(with, load, true);
        simulate(without, load, false);
        print_message("load %.1f: %zu served of %zu, wait %.0f ms, p99 %.0f ms; else %zu, %.0f ms\n", load,
                      with->served, with->visitors, wait_ms(with, 0.5), wait_ms(with, 0.99), without->served,
                      wait_ms(without, 0.5));
        assert_true(wait_ms(without, 0.5) > 3000);
        assert_true(wait_ms(with, 0.5) <= 100 && wait_ms(with, 0.99) <= 200);
        assert_true(with->served > without->served / 100 * 99); /* nobody was idle for it */
    }
    free(with);
    free(without);
}

static void test_enough_for_all(void **state)
{
    UNUSED(state);
    struct world *w = malloc(sizeof *w);
    simulate(w, 0.8, true);
    assert_true(w->dropped < w->visitors / 1000);
    simulate(w, 0.98, true);
    print_message("load 0.98: %zu dropped of %zu\n", w->dropped, w->visitors);
    assert_true(w->dropped < w->visitors / 20);
    free(w);
}

/* Visitors for half a second's work at once, again and again: each crowd is served whole. */
static void test_crowds(void **state)
{
    UNUSED(state);
    struct world *w = calloc(1, sizeof *w);
    w->random = 1;
    w->drops = true;
    for (int crowd = 0; crowd < 50; crowd++) {
        w->now_ms = crowd * 5000.0;
        for (int i = 0; i < 100; i++)
            arrive(w);
        while (w->first < w->last) {
            size_t soonest = 0;
            for (size_t i = 1; i < PLACES; i++)
                if (w->free_ms[i] < w->free_ms[soonest])
                    soonest = i;
            w->now_ms = w->free_ms[soonest];
            drop(w);
            if (w->first < w->last)
                serve(w, soonest, (double)w->waiting[w->first++].entered_ms);
        }
    }
    assert_int_equal(w->dropped, 0);
    assert_int_equal(w->served, 5000);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_overload),
        cmocka_unit_test(test_enough_for_all),
        cmocka_unit_test(test_crowds),
    };
    return cmocka_run_group_tests_name("balancer/queue_law", tests, NULL, NULL);
}
