/* idle_limit.c: see idle_limit.h.
 *
 * One close says little: a restart, a crash or a limit on requests per connection look the same. Two closes
 * after about the same time of idleness, but not at the same time, are a timeout. What was learned keeps
 * itself from being confirmed, since connections are then given up earlier; so after a while it is doubted:
 * it grows until connections are closed by the instance again (and it is learned again), or until it says
 * nothing any more. What the instance says is confirmed by each response.
 *
 * Between two loads another worker may write: then one observation is lost. */
#include "balancer/idle_limit.h"

#include "core/base.h"
#include "core/http_field.h"

#define MARGIN_MS 1000 /* kept from the instance's own limit, or a quarter of that where it is less */

static uint64_t word_make(dur_ms_t ms, mono_ms_t now_ms)
{
    return (uint64_t)ms << 32 | (uint32_t)now_ms;
}

static dur_ms_t word_ms(uint64_t word)
{
    return (dur_ms_t)(word >> 32);
}

static dur_ms_t word_age_ms(uint64_t word, mono_ms_t now_ms)
{
    return (uint32_t)now_ms - (uint32_t)word;
}

static bool word_is_firm(uint64_t word, mono_ms_t now_ms)
{
    return word != 0 && word_age_ms(word, now_ms) <= IDLE_LIMIT_KEEP_MS;
}

/* What is left of the time for use. */
static dur_ms_t word_limit_ms(uint64_t word, mono_ms_t now_ms)
{
    if (word == 0)
        return IDLE_LIMIT_NONE;
    if (word == IDLE_LIMIT_ENDED)
        return 0;
    dur_ms_t limit = word_ms(word) - MIN(word_ms(word) / 4, MARGIN_MS);
    if (word_is_firm(word, now_ms))
        return limit;
    dur_ms_t doublings = (word_age_ms(word, now_ms) - IDLE_LIMIT_KEEP_MS) / IDLE_LIMIT_DOUBT_MS;
    return doublings < 12 ? limit << doublings : IDLE_LIMIT_NONE;
}

bool idle_limit_parse(slice_t keep_alive, uint64_t *seconds)
{
    slice_t element, name, value;
    while (http_list_next(&keep_alive, &element)) {
        if (!http_param_split(element, &name, &value) || !slice_ieq(slice_trim(name), SLICE_LIT("timeout")))
            continue;
        return value.ptr != NULL && slice_to_u64(slice_trim(value), seconds) && *seconds > 0 &&
               *seconds <= IDLE_LIMIT_LARGEST_S;
    }
    return false;
}

void idle_limit_tell(struct idle_limit *l, slice_t keep_alive, mono_ms_t now_ms)
{
    uint64_t seconds, word = atomic_load_explicit(&l->told, memory_order_relaxed);
    if (!idle_limit_parse(keep_alive, &seconds))
        return;
    dur_ms_t ms = (dur_ms_t)seconds * 1000;
    if (word_ms(word) != ms || word_age_ms(word, now_ms) > IDLE_LIMIT_APART_MS) /* few writes: all read it */
        atomic_store_explicit(&l->told, word_make(ms, now_ms), memory_order_relaxed);
}

dur_ms_t idle_limit_on_close(struct idle_limit *l, dur_ms_t idle_ms, mono_ms_t now_ms)
{
    uint64_t last = atomic_load_explicit(&l->closed, memory_order_relaxed);
    if (idle_ms < IDLE_LIMIT_LEAST_MS || idle_ms > IDLE_LIMIT_LARGEST_S * INT64_C(1000) ||
        (last != 0 && word_age_ms(last, now_ms) < IDLE_LIMIT_APART_MS))
        return 0;
    atomic_store_explicit(&l->closed, word_make(idle_ms, now_ms), memory_order_relaxed);
    dur_ms_t least = MIN(idle_ms, word_ms(last)), most = MAX(idle_ms, word_ms(last));
    if (!word_is_firm(last, now_ms) || most - least > most / 8 + 100)
        return 0;
    uint64_t before = atomic_load_explicit(&l->seen, memory_order_relaxed);
    if (before == IDLE_LIMIT_ENDED ||
        !atomic_compare_exchange_strong_explicit(&l->seen, &before, word_make(least, now_ms),
                                                 memory_order_relaxed, memory_order_relaxed))
        return 0;
    return word_limit_ms(before, now_ms) > least ? least : 0;
}

void idle_limit_end(struct idle_limit *l)
{
    atomic_store_explicit(&l->seen, IDLE_LIMIT_ENDED, memory_order_relaxed);
}

void idle_limit_reopen(struct idle_limit *l)
{
    uint64_t ended = IDLE_LIMIT_ENDED;
    atomic_compare_exchange_strong_explicit(&l->seen, &ended, 0, memory_order_relaxed, memory_order_relaxed);
}

bool idle_limit_is_ended(const struct idle_limit *l)
{
    return atomic_load_explicit(&l->seen, memory_order_relaxed) == IDLE_LIMIT_ENDED;
}

dur_ms_t idle_limit_ms(const struct idle_limit *l, mono_ms_t now_ms)
{
    uint64_t told = atomic_load_explicit(&l->told, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(&l->seen, memory_order_relaxed);
    return MIN(word_limit_ms(told, now_ms), word_limit_ms(seen, now_ms));
}

dur_ms_t idle_limit_safe_ms(const struct idle_limit *l, dur_ms_t young_ms, mono_ms_t now_ms)
{
    bool firm = word_is_firm(atomic_load_explicit(&l->told, memory_order_relaxed), now_ms) ||
                word_is_firm(atomic_load_explicit(&l->seen, memory_order_relaxed), now_ms);
    dur_ms_t limit = idle_limit_ms(l, now_ms);
    return firm ? limit : MIN(limit, young_ms);
}

enum idle_limit_from idle_limit_from(const struct idle_limit *l, mono_ms_t now_ms)
{
    dur_ms_t told = word_limit_ms(atomic_load_explicit(&l->told, memory_order_relaxed), now_ms);
    dur_ms_t seen = word_limit_ms(atomic_load_explicit(&l->seen, memory_order_relaxed), now_ms);
    if (MIN(told, seen) == IDLE_LIMIT_NONE)
        return IDLE_LIMIT_UNKNOWN;
    return seen < told ? IDLE_LIMIT_SEEN : IDLE_LIMIT_TOLD;
}
