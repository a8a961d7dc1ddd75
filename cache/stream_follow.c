/* stream_follow.c: see stream_follow.h. */
#include "cache/stream_follow.h"

#include "core/hash.h"
#include "core/panic.h"
#include "core/text.h"

#define EPOCH_BYTES 16

static void set_state(struct cache_stream_follow *f, enum cache_stream_state to)
{
    static const unsigned may_follow[CACHE_STREAM_STATES] = {
        [CACHE_STREAM_OUTSIDE] =
            1u << CACHE_STREAM_JOINING | 1u << CACHE_STREAM_INSIDE | 1u << CACHE_STREAM_RESUMING,
        [CACHE_STREAM_JOINING] = 1u << CACHE_STREAM_OUTSIDE | 1u << CACHE_STREAM_JOINING |
                                 1u << CACHE_STREAM_INSIDE | 1u << CACHE_STREAM_RESUMING,
        [CACHE_STREAM_INSIDE] = 1u << CACHE_STREAM_JOINING | 1u << CACHE_STREAM_RESUMING,
        [CACHE_STREAM_RESUMING] = 1u << CACHE_STREAM_INSIDE,
    };
    ASSERT((may_follow[to] & 1u << f->state) != 0);
    f->state = to;
    cache_stream_queue_set_epoch(f->s.queue, to == CACHE_STREAM_INSIDE ? f->epoch : 0);
}

void cache_stream_follow_init(struct cache_stream_follow *f, const struct cache_stream_follow_settings *s)
{
    *f = (struct cache_stream_follow){.s = *s, .state = CACHE_STREAM_OUTSIDE};
}

slice_t cache_stream_follow_from(const struct cache_stream_follow *f, char *buf)
{
    return f->state == CACHE_STREAM_OUTSIDE ? SLICE_LIT("-") : cache_stream_id_print(buf, f->cursor);
}

/* ---- entries ---- */

static uint64_t purge_everything(struct cache_stream_follow *f)
{
    const struct cache_purge all = {.kind = CACHE_PURGE_ALL, .text = SLICE_EMPTY};
    return f->s.purge(f->s.arg, &all, 1);
}

/* Of what the entry says. Ids can come again in another stream, if Redis' clock was set back. */
static uint64_t check_of(const struct cache_stream_received *r)
{
    uint64_t check = r->count;
    for (size_t i = 0; i < r->count; i++)
        check = check * 0x9e3779b97f4a7c15u + hash_bytes_unseeded(r->texts[i].ptr, r->texts[i].len).lo;
    return check;
}

static bool is_cursor(const struct cache_stream_follow *f, const struct cache_stream_received *r)
{
    return cache_stream_id_compare(r->id, f->cursor) == 0 && check_of(r) == f->cursor_check;
}

static void set_cursor(struct cache_stream_follow *f, const struct cache_stream_received *r)
{
    f->cursor = r->id;
    f->cursor_check = check_of(r);
}

/* From this entry on; what came before is not known here, or counts no more. What it purges needs not be
 * applied: everything goes. */
static void restart_at(struct cache_stream_follow *f, const struct cache_stream_received *r)
{
    const uint64_t local_id = purge_everything(f);
    cache_stream_queue_restart(f->s.queue, r->id, local_id);
    set_cursor(f, r);
    set_state(f, CACHE_STREAM_JOINING);
}

/* Ids only grow in one stream, so a start behind an entry that is not there was made after that was lost. */
static void note_start(struct cache_stream_follow *f, struct cache_stream_id id,
                       struct cache_stream_origin by)
{
    f->starts++;
    if (cache_stream_id_compare(id, f->owes_since) > 0 || cache_stream_origin_eq(by, f->start_by))
        f->owes_start = false;
}

/* The local id of what was applied; 0: nothing. */
static uint64_t apply(struct cache_stream_follow *f, const struct cache_stream_entry *e)
{
    if (cache_stream_queue_take_back(f->s.queue, e->by)) {
        f->came_back++;
        return 0;
    }
    f->applied++;
    return f->s.purge(f->s.arg, e->items, e->count);
}

/* Who made it must not wait for it for ever, if that can be told. */
static uint64_t refuse(struct cache_stream_follow *f, enum cache_stream_fault fault,
                       struct cache_stream_origin by)
{
    cache_stream_queue_take_back(f->s.queue, by);
    f->refused++;
    f->last_fault = fault;
    return purge_everything(f);
}

/* Follows entries that come right behind the cursor. */
static void follow(struct cache_stream_follow *f, const struct cache_stream_received *entries, size_t count)
{
    struct cache_stream_entry e;
    uint64_t local_id = 0;
    for (size_t i = 0; i < count; i++) {
        enum cache_stream_fault fault = cache_stream_entry_decode(entries[i].texts, entries[i].count, &e);
        if (fault == CACHE_STREAM_FAULT_NONE && e.start) {
            note_start(f, entries[i].id, e.by);
            restart_at(f, &entries[i]);
            local_id = 0;
            continue;
        }
        const uint64_t id = fault == CACHE_STREAM_FAULT_NONE ? apply(f, &e) : refuse(f, fault, e.by);
        local_id = MAX(local_id, id);
        if (i + 1 == count) {
            set_cursor(f, &entries[i]);
            cache_stream_queue_advance(f->s.queue, f->cursor, local_id);
        }
    }
}

/* ---- where we are ---- */

/* 0: it is none of ours. */
static uint64_t epoch_parse(slice_t text)
{
    uint64_t epoch = 0;
    return text.len == EPOCH_BYTES && slice_hex_to_u64(text, &epoch) ? epoch : 0;
}

/* The cursor did not come back. Whether it was trimmed shows when what is left is read from its beginning. */
static enum cache_stream_next leave(struct cache_stream_follow *f)
{
    set_state(f, CACHE_STREAM_OUTSIDE);
    cache_stream_queue_resend(f->s.queue);
    f->has_cursor = true;
    return CACHE_STREAM_READ;
}

static void owe_start(struct cache_stream_follow *f)
{
    f->lost++;
    f->owes_start = true;
    f->owes_since = f->cursor;
    f->start_by = (struct cache_stream_origin){0, 0}; /* an earlier one is not the one that is owed */
}

/* The first entry that is left is where knowledge begins. */
static void join(struct cache_stream_follow *f, const struct cache_stream_received *first)
{
    struct cache_stream_entry e;
    if (f->has_cursor && cache_stream_id_compare(f->cursor, first->id) >= 0)
        owe_start(f);
    else
        f->trimmed += f->has_cursor;
    f->has_cursor = false;
    f->joined++;
    if (cache_stream_entry_decode(first->texts, first->count, &e) == CACHE_STREAM_FAULT_NONE && e.start)
        note_start(f, first->id, e.by);
    restart_at(f, first);
}

/* The epoch that is read together with the end of the stream is that of its last start. */
static enum cache_stream_next arrive(struct cache_stream_follow *f, uint64_t epoch)
{
    if (f->owes_start || epoch == 0 || (f->state != CACHE_STREAM_JOINING && epoch != f->epoch)) {
        if (f->state == CACHE_STREAM_INSIDE)
            set_state(f, CACHE_STREAM_RESUMING);
        return CACHE_STREAM_START;
    }
    f->epoch = epoch;
    if (f->state != CACHE_STREAM_INSIDE)
        set_state(f, CACHE_STREAM_INSIDE);
    return CACHE_STREAM_WAIT;
}

static bool are_in_order(const struct cache_stream_received *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (cache_stream_id_compare(entries[i - 1].id, entries[i].id) >= 0)
            return false;
    }
    return true;
}

enum cache_stream_next cache_stream_follow_take(struct cache_stream_follow *f, slice_t epoch,
                                                const struct cache_stream_received *entries, size_t count,
                                                bool whole)
{
    if (f->state == CACHE_STREAM_OUTSIDE) {
        if (!are_in_order(entries, count)) /* no stream of Redis */
            return CACHE_STREAM_WAIT;
        if (count == 0) {
            if (f->has_cursor)
                owe_start(f);
            f->has_cursor = false;
            return CACHE_STREAM_START;
        }
        join(f, &entries[0]);
    } else if (count == 0 || !is_cursor(f, &entries[0]) || !are_in_order(entries, count)) {
        return leave(f);
    }
    follow(f, entries + 1, count - 1);
    return whole ? arrive(f, epoch_parse(epoch)) : CACHE_STREAM_READ;
}

void cache_stream_follow_disconnected(struct cache_stream_follow *f)
{
    if (f->state == CACHE_STREAM_INSIDE)
        set_state(f, CACHE_STREAM_RESUMING);
    cache_stream_queue_resend(f->s.queue);
}

void cache_stream_follow_start(struct cache_stream_follow *f, struct cache_stream_fields *entry, char *epoch)
{
    struct cache_stream_entry start = {.start = true};
    uint64_t random = 0;
    while (random == 0)
        hash_random(&random, sizeof random);
    text_put_hex16(epoch, random);
    hash_random(&start.by.node, sizeof start.by.node);
    f->start_by = start.by;
    cache_stream_entry_encode(&start, entry);
}
