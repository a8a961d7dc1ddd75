/* chaos_ill.c: an instance that is there and does harm: slow by bytes, RST in the middle of a body or in
 * place of an answer, silence, garbage. Three instances, one of them falls ill under steady load and gets
 * well again, with every policy.
 *
 *     illness    GET                                  POST
 *     slow       none fails                           none fails
 *     RST        those that it cut fail, visibly      those that it cut fail, visibly
 *     dies       none fails                           those that it took fail, 502
 *     silent     none fails                           those that it took fail, 504, after response_timeout
 *     garbage    none fails                           those that it took fail, 502
 *
 * and no POST ever comes to two instances. */
#include "tests/support/chaos.h"

#define LASTS 12 /* answers of each client, ill or not */

static struct chaos_patient a, b, c;

static struct chaos *start(bool probes_are_well)
{
    struct chaos_patient *all[] = {&a, &b, &c};
    for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
        *all[i] = (struct chaos_patient){.probes_are_well = probes_are_well};
        chaos_patient_start(all[i], 0);
    }
    struct chaos *ch =
        chaos_start(.ports = {origin_port(a.origin), origin_port(b.origin), origin_port(c.origin)},
                    .lines = chaos_quick_lines());
    a.book = b.book = c.book = ch;
    chaos_wait(ch, 1); /* those under way were not told to the book */
    chaos_forget(ch);
    return ch;
}

/* `a` falls ill and gets well. */
static void fall_ill(struct chaos *ch, enum chaos_illness illness)
{
    a.illness = (int)illness;
    chaos_wait(ch, LASTS);
    a.illness = CHAOS_WELL;
    chaos_wait_state(ch, "a", "up");
    chaos_wait(ch, LASTS);
    chaos_stop(ch);
    chaos_expect_once(ch);
    assert_true(a.ill_answers >= CHAOS_POLICIES - 1); /* two_choices may have found it too slow before */
}

static void slow_by_bytes(void **state)
{
    UNUSED(state);
    struct chaos *ch = start(false);
    fall_ill(ch, CHAOS_SLOW);
    chaos_expect_gets_well(ch);
    chaos_expect_posts_well(ch);
    millpond_stop(chaos_millpond(ch));
}

static void reset_in_the_middle(void **state)
{
    UNUSED(state);
    struct chaos *ch = start(true);
    fall_ill(ch, CHAOS_RESETS);
    chaos_expect_failed_is_ill(ch, true, true);
    chaos_expect_cut(ch);
    millpond_stop(chaos_millpond(ch));
}

static void dies_of_each_request(void **state)
{
    UNUSED(state);
    struct chaos *ch = start(true);
    fall_ill(ch, CHAOS_DIES);
    chaos_expect_gets_well(ch);
    chaos_expect_failed_is_ill(ch, false, true);
    chaos_expect_posts(ch, "a", " reset ");
    millpond_stop(chaos_millpond(ch));
}

static void accepts_and_never_answers(void **state)
{
    UNUSED(state);
    struct chaos *ch = start(false);
    fall_ill(ch, CHAOS_SILENT);
    chaos_expect_gets_well(ch);
    chaos_expect_failed_is_ill(ch, false, true);
    chaos_expect_posts(ch, "a", " response_timeout ");
    millpond_stop(chaos_millpond(ch));
}

static void answers_garbage(void **state)
{
    UNUSED(state);
    struct chaos *ch = start(true);
    fall_ill(ch, CHAOS_GARBAGE);
    chaos_expect_gets_well(ch);
    chaos_expect_failed_is_ill(ch, false, true);
    chaos_expect_posts(ch, "a", " bad_response ");
    millpond_stop(chaos_millpond(ch));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        E2E_TEST(slow_by_bytes),        E2E_TEST(reset_in_the_middle),
        E2E_TEST(dies_of_each_request), E2E_TEST(accepts_and_never_answers),
        E2E_TEST(answers_garbage),
    };
    return E2E_RUN("chaos_ill", tests);
}
