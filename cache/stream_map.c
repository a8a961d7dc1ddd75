/* stream_map.c: see stream_map.h.
 *
 * The sequence lock has no fences, which ThreadSanitizer does not know: everything a reader looks at is
 * atomic, stored with release after the sequence became odd and loaded with acquire before it is looked at
 * again. A reader that saw anything new sees that the sequence is another. Writes are a few stores, or at
 * most one for each step, and rare, so readers just try again. */
#include "cache/stream_map.h"

#include <stdlib.h>

#include "cache/account.h"
#include "core/panic.h"

#define THIN_SHARE 1024 /* steps lie closer together than this part of their age, where there is room */

static uint64_t get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_acquire);
}

static void set(_Atomic uint64_t *v, uint64_t to)
{
    atomic_store_explicit(v, to, memory_order_release);
}

bool cache_stream_map_open(struct cache_stream_map *m, size_t steps)
{
    size_t room = 4;
    while (room < steps)
        room *= 2;
    *m = (struct cache_stream_map){.mask = room - 1, .pending_before = CACHE_STREAM_NOTHING_PENDING};
    m->steps = cache_memory_alloc(room * sizeof m->steps[0]);
    if (m->steps != NULL)
        memset(m->steps, 0, room * sizeof m->steps[0]);
    return m->steps != NULL;
}

void cache_stream_map_close(struct cache_stream_map *m)
{
    free(m->steps);
    m->steps = NULL;
}

static struct cache_stream_step *step_at(const struct cache_stream_map *m, uint64_t number)
{
    return &m->steps[number & m->mask];
}

/* ---- reading ---- */

static struct cache_stream_id step_id(const struct cache_stream_step *s)
{
    return (struct cache_stream_id){get(&s->ms), get(&s->seq)};
}

/* The last step that is not after the stamp, or that was stored not after the local id (`stamp` NULL); NULL
 * when all are. While the map changes, any. */
static const struct cache_stream_step *last_step(const struct cache_stream_map *m,
                                                 const struct cache_stream_id *id, uint64_t local_id)
{
    const uint64_t first = get(&m->first);
    uint64_t low = first, high = get(&m->next);
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        const struct cache_stream_step *s = step_at(m, middle);
        const bool after =
            id != NULL ? cache_stream_id_compare(step_id(s), *id) > 0 : get(&s->stored) > local_id;
        if (after)
            high = middle;
        else
            low = middle + 1;
    }
    return low > first ? step_at(m, low - 1) : NULL;
}

static bool stamp_try(const struct cache_stream_map *m, uint64_t checked_id, struct cache_stream_stamp *out)
{
    out->epoch = get(&m->epoch);
    const struct cache_stream_step *s = out->epoch != 0 ? last_step(m, NULL, checked_id) : NULL;
    if (s != NULL)
        out->id = step_id(s);
    return s != NULL;
}

static bool locate_try(const struct cache_stream_map *m, const struct cache_stream_stamp *stamp,
                       uint64_t *checked_id)
{
    const uint64_t epoch = get(&m->epoch);
    const struct cache_stream_step *s =
        epoch != 0 && epoch == stamp->epoch ? last_step(m, &stamp->id, 0) : NULL;
    if (s != NULL) {
        const uint64_t loaded = get(&s->loaded), pending_before = get(&m->pending_before);
        *checked_id = MIN(loaded, pending_before);
    }
    return s != NULL;
}

/* False when what was read meanwhile means nothing. */
static bool unchanged(const struct cache_stream_map *m, uint64_t sequence)
{
    return (sequence & 1) == 0 && get(&m->sequence) == sequence;
}

bool cache_stream_map_stamp(const struct cache_stream_map *m, uint64_t checked_id,
                            struct cache_stream_stamp *out)
{
    for (;;) {
        const uint64_t sequence = get(&m->sequence);
        const bool known = stamp_try(m, checked_id, out);
        if (LIKELY(unchanged(m, sequence)))
            return known;
    }
}

bool cache_stream_map_locate(const struct cache_stream_map *m, const struct cache_stream_stamp *stamp,
                             uint64_t *checked_id)
{
    for (;;) {
        const uint64_t sequence = get(&m->sequence);
        const bool known = locate_try(m, stamp, checked_id);
        if (LIKELY(unchanged(m, sequence)))
            return known;
    }
}

/* ---- writing ---- */

static void change_begin(struct cache_stream_map *m)
{
    const uint64_t sequence = get(&m->sequence);
    ASSERT((sequence & 1) == 0);
    set(&m->sequence, sequence + 1);
}

static void change_end(struct cache_stream_map *m)
{
    set(&m->sequence, get(&m->sequence) + 1);
}

static void copy_step(struct cache_stream_step *to, const struct cache_stream_step *from)
{
    set(&to->ms, get(&from->ms));
    set(&to->seq, get(&from->seq));
    set(&to->stored, get(&from->stored));
    set(&to->loaded, get(&from->loaded));
}

/* Drops steps between neighbours that lie closer together, by Redis' clock, than the `share`th part of their
 * age. The first and the last one stay. */
static void thin_steps(struct cache_stream_map *m, uint64_t share)
{
    const uint64_t next = get(&m->next), last_ms = get(&step_at(m, next - 1)->ms);
    uint64_t to = get(&m->first) + 1;
    for (uint64_t n = to; n < next; n++) {
        const uint64_t before_ms = get(&step_at(m, to - 1)->ms);
        const uint64_t after_ms = n + 1 < next ? get(&step_at(m, n + 1)->ms) : last_ms;
        if (n + 1 < next && (after_ms - before_ms) * share < last_ms - after_ms)
            continue;
        if (n != to)
            copy_step(step_at(m, to), step_at(m, n));
        to++;
    }
    set(&m->next, to);
}

/* Room for one more. A quarter is made free at a time, so that it is rare; only when Redis' clock stands
 * still does the oldest step go. */
static void make_room(struct cache_stream_map *m)
{
    if (get(&m->next) - get(&m->first) <= m->mask)
        return;
    for (uint64_t share = THIN_SHARE; share > 0; share /= 2) {
        if (get(&m->next) - get(&m->first) <= m->mask - m->mask / 4)
            return;
        thin_steps(m, share);
    }
    if (get(&m->next) - get(&m->first) > m->mask)
        set(&m->first, get(&m->first) + 1);
}

static void put_step(struct cache_stream_map *m, struct cache_stream_id id, uint64_t local_id)
{
    make_room(m);
    const uint64_t next = get(&m->next);
    struct cache_stream_step *s = step_at(m, next);
    set(&s->ms, id.ms);
    set(&s->seq, id.seq);
    set(&s->stored, local_id);
    set(&s->loaded, local_id);
    set(&m->next, next + 1);
}

void cache_stream_map_restart(struct cache_stream_map *m, struct cache_stream_id id, uint64_t local_id,
                              uint64_t pending_before)
{
    change_begin(m);
    set(&m->epoch, 0);
    set(&m->first, 0);
    set(&m->next, 0);
    put_step(m, id, local_id);
    set(&m->pending_before, pending_before);
    change_end(m);
}

void cache_stream_map_set_epoch(struct cache_stream_map *m, uint64_t epoch)
{
    change_begin(m);
    set(&m->epoch, epoch);
    change_end(m);
}

/* `loaded` grows from step to step, so those to be lowered are the last ones. */
static void lower_steps(struct cache_stream_map *m, uint64_t to)
{
    const uint64_t first = get(&m->first);
    for (uint64_t n = get(&m->next); n > first; n--) {
        struct cache_stream_step *s = step_at(m, n - 1);
        if (get(&s->loaded) <= to)
            break;
        set(&s->loaded, to);
    }
}

void cache_stream_map_advance(struct cache_stream_map *m, struct cache_stream_id id, uint64_t local_id,
                              uint64_t ended_before, uint64_t pending_before)
{
    const uint64_t next = get(&m->next);
    ASSERT(next > get(&m->first));
    const struct cache_stream_step *last = step_at(m, next - 1);
    ASSERT(cache_stream_id_compare(step_id(last), id) < 0);
    const uint64_t stored = MAX(get(&last->stored), local_id);
    change_begin(m);
    lower_steps(m, ended_before);
    put_step(m, id, stored);
    set(&m->pending_before, pending_before);
    change_end(m);
}
