/* test_worker.c: the turn of a worker: mail, deadlines, hooks, graves; on the test's own thread where order
 * matters. */
#include "core/worker.h"

#include <event2/event.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct worker *w;
static char order[64];

static void note(char what)
{
    size_t n = strlen(order);
    assert_true(n + 1 < sizeof order);
    order[n] = what;
    order[n + 1] = '\0';
}

static int setup(void **state)
{
    UNUSED(state);
    order[0] = '\0';
    w = worker_create(3);
    assert_non_null(w);
    return 0;
}

static int teardown(void **state)
{
    UNUSED(state);
    worker_destroy(w);
    return 0;
}

struct letter {
    struct mail mail;
    char name;
};

static void on_letter(struct worker *to, struct mail *m)
{
    UNUSED(to);
    note(CONTAINER_OF(m, struct letter, mail)->name);
}

static void on_stop_mail(struct worker *to, struct mail *m)
{
    UNUSED(m);
    worker_stop(to);
}

/* Posts a last mail that stops the loop, and runs it. */
static void run_out(void)
{
    struct mail stop = {.on_mail = on_stop_mail};
    worker_post(w, &stop);
    worker_run(w);
    w->stopping = false;
}

static void test_mail_comes_in_order(void **state)
{
    UNUSED(state);
    struct letter l[5];
    for (int i = 0; i < 5; i++) {
        l[i] = (struct letter){{NULL, on_letter}, (char)('a' + i)};
        worker_post(w, &l[i].mail);
    }
    run_out();
    assert_string_equal(order, "abcde");
    for (int i = 4; i >= 0; i--) /* delivered mail may be posted again */
        worker_post(w, &l[i].mail);
    run_out();
    assert_string_equal(order, "abcdeedcba");
}

struct busy {
    struct mail mail;
    struct letter answer;
    struct turn_hook hook;
    struct grave grave, inner;
    struct deadline due;
};

static void on_inner_free(void *obj)
{
    UNUSED(obj);
    note('G');
}

static void on_free(void *obj)
{
    struct busy *b = obj;
    note('g');
    worker_bury(w, &b->inner, on_inner_free, b);
}

static void on_hook(struct turn_hook *h)
{
    struct busy *b = CONTAINER_OF(h, struct busy, hook);
    note('h');
    worker_bury(w, &b->grave, on_free, b);
}

static void on_busy_mail(struct worker *to, struct mail *m)
{
    struct busy *b = CONTAINER_OF(m, struct busy, mail);
    note('m');
    worker_at_turn_end(to, &b->hook);
    worker_at_turn_end(to, &b->hook); /* armed twice runs once */
    worker_post(to, &b->answer.mail); /* the next turn's */
}

static void test_turn_order(void **state)
{
    UNUSED(state);
    struct busy b = {.mail = {NULL, on_busy_mail}, .answer = {{NULL, on_letter}, 'a'}};
    list_init(&b.hook.node);
    b.hook.on_turn_end = on_hook;
    worker_post(w, &b.mail);
    run_out();
    assert_string_equal(order, "mhgGa");
}

static void on_second_clock_mail(struct worker *to, struct mail *m)
{
    UNUSED(m);
    note(to->now_us > 0 && to->now_wall_ms > 0 ? 'y' : 'n');
    worker_stop(to);
}

static struct mail second_clock_mail = {.on_mail = on_second_clock_mail};

static void on_first_clock_mail(struct worker *to, struct mail *m)
{
    UNUSED(m);
    to->now_us = 0; /* as old as can be */
    to->now_wall_ms = 0;
    worker_post(to, &second_clock_mail);
}

static void test_mail_finds_a_fresh_clock(void **state)
{
    UNUSED(state);
    struct mail first = {.on_mail = on_first_clock_mail};
    worker_post(w, &first);
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "y");
}

/* ---- deadlines ---- */

struct timed {
    struct deadline d;
    char name;
    mono_ms_t at_ms;
    bool early;
    struct timed *clears, *sets;
    bool last;
};

static void on_deadline(struct deadline *d)
{
    struct timed *t = CONTAINER_OF(d, struct timed, d);
    note(t->name);
    t->early = clock_mono_ms() < t->at_ms;
    assert_false(deadline_is_set(d));
    if (t->clears != NULL)
        deadline_clear(w, &t->clears->d);
    if (t->sets != NULL)
        deadline_set(w, &t->sets->d, worker_now_ms(w) + 1);
    if (t->last)
        worker_stop(w);
}

static void timed_set(struct timed *t, char name, dur_ms_t in_ms)
{
    if (t->name == 0)
        deadline_init(&t->d, on_deadline);
    t->name = name;
    t->at_ms = worker_now_ms(w) + in_ms;
    deadline_set(w, &t->d, t->at_ms);
}

static void test_deadlines_are_never_early(void **state)
{
    UNUSED(state);
    struct timed t[4] = {{.last = false}};
    timed_set(&t[0], 'a', 1);
    timed_set(&t[1], 'c', 150);
    timed_set(&t[2], 'b', 70);
    timed_set(&t[3], 'd', 230);
    t[3].last = true;
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "abcd");
    for (int i = 0; i < 4; i++)
        assert_false(t[i].early);
    assert_int_equal(w->wheel_count, 0);
}

static void test_deadline_moved_and_cleared(void **state)
{
    UNUSED(state);
    struct timed later = {.last = true}, sooner = {.last = false}, gone = {.last = false};
    timed_set(&later, 'l', 40);
    timed_set(&later, 'l', 200); /* stays where it is until its slot comes up */
    timed_set(&sooner, 's', 100000);
    timed_set(&sooner, 's', 40);
    timed_set(&gone, 'g', 40);
    deadline_clear(w, &gone.d);
    assert_false(deadline_is_set(&gone.d));
    deadline_clear(w, &gone.d); /* twice is fine */
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "sl");
    assert_false(later.early || sooner.early);
}

static void test_deadline_beyond_one_round_waits(void **state)
{
    UNUSED(state);
    struct timed far = {.last = false}, end = {.last = true};
    timed_set(&far, 'f', (dur_ms_t)DEADLINE_SLOTS * DEADLINE_TICK_MS + 50); /* the slot of now + 50 */
    timed_set(&end, 'e', 200);
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "e");
    assert_true(deadline_is_set(&far.d));
    assert_int_equal(w->wheel_count, 1);
    deadline_clear(w, &far.d);
}

static void test_deadlines_that_touch_each_other(void **state)
{
    UNUSED(state);
    struct timed a = {.last = false}, b = {.last = false}, again = {.last = true};
    deadline_init(&again.d, on_deadline);
    again.name = 'x';
    timed_set(&a, 'a', 40);
    timed_set(&b, 'b', 40); /* due in the same sweep: the first clears the second */
    a.clears = &b;
    a.sets = &again;
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "ax");
    assert_int_equal(w->wheel_count, 0);
}

static void test_deadline_far_in_the_past_fires(void **state)
{
    UNUSED(state);
    struct timed t = {.last = true};
    timed_set(&t, 'p', 1 - worker_now_ms(w)); /* at 1 ms since boot */
    worker_run(w);
    w->stopping = false;
    assert_string_equal(order, "p");
}

/* ---- threads ---- */

enum { POSTERS = 3, EACH = 20000 };

struct numbered {
    struct mail mail;
    unsigned poster, number;
};

static struct numbered *numbered[POSTERS];
static unsigned next_number[POSTERS], received, wrong;

static void on_numbered(struct worker *to, struct mail *m)
{
    struct numbered *n = CONTAINER_OF(m, struct numbered, mail);
    wrong += worker_current() != to || n->number != next_number[n->poster];
    next_number[n->poster]++;
    if (++received == POSTERS * EACH)
        worker_stop(to);
}

static void *post_many(void *arg)
{
    struct numbered *n = arg;
    for (unsigned i = 0; i < EACH; i++)
        worker_post(w, &n[i].mail);
    return NULL;
}

static _Atomic unsigned started, stopped;

static void on_worker_start(struct worker *to)
{
    UNUSED(to);
    atomic_fetch_add(&started, 1);
}

static void on_worker_stop(struct worker *to)
{
    UNUSED(to);
    atomic_fetch_add(&stopped, 1);
}

static void test_many_posters_lose_nothing(void **state)
{
    UNUSED(state);
    pthread_t t[POSTERS];
    w->on_start = on_worker_start;
    w->on_stop = on_worker_stop;
    assert_null(worker_current());
    assert_true(worker_start(w));
    for (unsigned p = 0; p < POSTERS; p++) {
        numbered[p] = calloc(EACH, sizeof *numbered[p]);
        for (unsigned i = 0; i < EACH; i++)
            numbered[p][i] = (struct numbered){{NULL, on_numbered}, p, i};
        assert_int_equal(pthread_create(&t[p], NULL, post_many, numbered[p]), 0);
    }
    for (unsigned p = 0; p < POSTERS; p++)
        pthread_join(t[p], NULL);
    worker_join(w);
    assert_int_equal(received, POSTERS * EACH);
    assert_int_equal(wrong, 0);
    assert_int_equal(atomic_load(&started), 1);
    assert_int_equal(atomic_load(&stopped), 1);
    assert_null(worker_current());
    for (unsigned p = 0; p < POSTERS; p++)
        free(numbered[p]);
}

struct ball {
    struct mail mail;
    struct worker *sides[2];
    unsigned left;
    bool one_stopped;
};

static void on_pong(struct worker *to, struct mail *m)
{
    struct ball *b = CONTAINER_OF(m, struct ball, mail);
    struct worker *other = to == b->sides[0] ? b->sides[1] : b->sides[0];
    if (b->left > 0) {
        b->left--;
        worker_post(other, &b->mail);
        return;
    }
    worker_stop(to);
    if (!b->one_stopped) {
        b->one_stopped = true;
        worker_post(other, &b->mail);
    }
}

static void test_idle_workers_are_woken_each_time(void **state)
{
    UNUSED(state);
    struct worker *other = worker_create(1);
    struct ball b = {{NULL, on_pong}, {w, other}, 4000, false};
    assert_true(worker_start(w) && worker_start(other));
    worker_post(w, &b.mail);
    worker_join(w);
    worker_join(other);
    assert_int_equal(b.left, 0);
    worker_destroy(other);
}

/* A base has so many queue heads of 16 bytes that the middle one, which events use, has no foreign allocation
 * in its cache line. */
static void test_event_queue_has_its_own_line(void **state)
{
    UNUSED(state);
    assert_true((event_base_get_npriorities(w->base) / 2) * 16 >= CACHE_LINE);
}

struct late {
    struct deadline far, due;
    struct mail mail;
    int fds[2];
};

static void on_far(struct deadline *d)
{
    UNUSED(d);
}

static void on_due(struct deadline *d)
{
    struct late *l = CONTAINER_OF(d, struct late, due);
    note('d');
    deadline_clear(w, &l->far);
    worker_stop(w);
}

static void on_late_bytes(evutil_socket_t fd, short what, void *arg)
{
    char byte;
    UNUSED(what);
    UNUSED(arg);
    assert_int_equal(read(fd, &byte, 1), 1);
    worker_refresh_clock(w);
    note('e');
}

static void on_bytes_to_come(struct worker *to, struct mail *m)
{
    UNUSED(to);
    assert_int_equal(write(CONTAINER_OF(m, struct late, mail)->fds[1], "x", 1), 1);
    note('m');
}

/* After a standstill, events that had their time come before deadlines that are over. */
static void test_events_come_before_deadlines_after_a_standstill(void **state)
{
    UNUSED(state);
    struct late l = {.mail = {.on_mail = on_bytes_to_come}};
    assert_int_equal(pipe(l.fds), 0);
    struct event *e = event_new(w->base, l.fds[0], EV_READ | EV_PERSIST, on_late_bytes, NULL);
    assert_int_equal(event_add(e, NULL), 0);
    deadline_init(&l.far, on_far);
    deadline_init(&l.due, on_due);
    mono_ms_t now_ms = worker_now_ms(w);
    deadline_set(w, &l.far, now_ms + 60000);
    for (int far_s = 1; far_s <= 100; far_s *= 100) { /* less than the wheel has slots for, and more */
        w->wheel_ms -= far_s * 1000 / DEADLINE_TICK_MS * DEADLINE_TICK_MS; /* it is where a slot begins */
        deadline_set(w, &l.due, now_ms - far_s * 500);
        deadline_set(w, &l.far, now_ms + 60000);
        worker_post(w, &l.mail);
        worker_run(w);
        w->stopping = false;
    }
    assert_string_equal(order, "medmed");
    event_free(e);
    close(l.fds[0]);
    close(l.fds[1]);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_mail_comes_in_order),
        T(test_turn_order),
        T(test_mail_finds_a_fresh_clock),
        T(test_deadlines_are_never_early),
        T(test_deadline_moved_and_cleared),
        T(test_deadline_beyond_one_round_waits),
        T(test_deadlines_that_touch_each_other),
        T(test_deadline_far_in_the_past_fires),
        T(test_events_come_before_deadlines_after_a_standstill),
        T(test_many_posters_lose_nothing),
        T(test_idle_workers_are_woken_each_time),
        T(test_event_queue_has_its_own_line),
    };
    return cmocka_run_group_tests_name("core/worker", tests, NULL, NULL);
}
