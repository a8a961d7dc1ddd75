/* no_vary_table.c: see no_vary_table.h.
 *
 * A slot is one word: 48 bits of the path's hash and the number of a rule; eight are a cache line and a set.
 * Rules are few, are kept once each and never given up, so no reader needs to know when one goes. Rejected: a
 * rule per host or route in place of paths. Applications state it in some of their handlers. */
#include "cache/no_vary_table.h"

#include <stdlib.h>
#include <string.h>

#include "cache/flight.h"

#define RULES_MAX      256
#define WAYS           8
#define SETS_MIN       128
#define SETS_MAX       65536
#define BYTES_PER_SLOT (4 * KB) /* of memory_size */

struct cache_no_vary_table {
    size_t bytes; /* charged */
    uint64_t mask;
    _Atomic(struct no_vary_rule *) rules[RULES_MAX]; /* from the front */
    _Alignas(CACHE_LINE) _Atomic uint64_t slots[];
};

_Atomic bool cache_no_vary_stated;

static struct cache_no_vary_table *table_of(const struct cache *c)
{
    return atomic_load_explicit(&c->no_vary, memory_order_acquire);
}

static struct cache_no_vary_table *table_make(struct cache *c)
{
    size_t limit = atomic_load_explicit(&c->account.limit, memory_order_relaxed), sets = SETS_MIN;
    while (sets < SETS_MAX && sets * WAYS * BYTES_PER_SLOT < limit)
        sets *= 2;
    size_t bytes = sizeof(struct cache_no_vary_table) + sets * WAYS * sizeof(uint64_t);
    struct cache_no_vary_table *t = cache_memory_should_fail() ? NULL : aligned_alloc(CACHE_LINE, bytes);
    if (t == NULL)
        return NULL;
    memset(t, 0, bytes);
    t->bytes = cache_memory_rounded(bytes);
    t->mask = sets - 1;
    /* Before anybody can make a key by a rule: purges reach such keys, whoever made them. */
    atomic_store(&c->keys_have_parts, true);
    cache_inval_keep_paths(&c->inval, clock_wall_ms());
    struct cache_no_vary_table *there = NULL;
    if (!atomic_compare_exchange_strong(&c->no_vary, &there, t)) {
        free(t);
        return there;
    }
    cache_account_charge(&c->account, t->bytes);
    atomic_store_explicit(&cache_no_vary_stated, true, memory_order_release);
    return t;
}

/* ---- rules ---- */

static struct no_vary_rule *rule_make(struct cache *c, slice_t text)
{
    struct no_vary_rule *r = cache_memory_alloc(sizeof *r);
    if (r == NULL)
        return NULL;
    cache_no_vary_read(text, r);
    cache_account_charge(&c->account, cache_memory_rounded(sizeof *r));
    return r;
}

static void rule_free(struct cache *c, struct no_vary_rule *r)
{
    if (r != NULL)
        cache_account_release(&c->account, cache_memory_rounded(sizeof *r));
    free(r);
}

/* Its number, from 1 on; 0 when there is no room. */
static uint64_t rule_number(struct cache *c, struct cache_no_vary_table *t, slice_t text)
{
    struct no_vary_rule *made = NULL;
    for (size_t i = 0; i < RULES_MAX; i++) {
        struct no_vary_rule *r = atomic_load_explicit(&t->rules[i], memory_order_acquire);
        if (r == NULL && made == NULL && (made = rule_make(c, text)) == NULL)
            return 0;
        if (r == NULL && atomic_compare_exchange_strong(&t->rules[i], &r, made))
            return i + 1;
        if (slice_eq(r->text, text)) {
            rule_free(c, made);
            return i + 1;
        }
    }
    rule_free(c, made);
    return 0;
}

/* ---- paths ---- */

struct place {
    _Atomic uint64_t *set;
    uint64_t mark; /* in the upper 48 bits; not 0 */
};

static struct place place_of(struct cache_no_vary_table *t, slice_t key)
{
    slice_t url = cache_key_url(key);
    hash128_t h = hash_bytes(url.ptr, MIN(slice_find(url, '?', 0), url.len));
    uint64_t mark = h.lo & ~(uint64_t)UINT16_MAX;
    return (struct place){&t->slots[(h.hi & t->mask) * WAYS], mark != 0 ? mark : (uint64_t)UINT16_MAX + 1};
}

static _Atomic uint64_t *slot_find(struct place at, uint64_t *word)
{
    for (size_t i = 0; i < WAYS; i++) {
        *word = atomic_load_explicit(&at.set[i], memory_order_acquire);
        if ((*word & ~(uint64_t)UINT16_MAX) == at.mark)
            return &at.set[i];
    }
    return NULL;
}

const struct no_vary_rule *cache_no_vary_find(struct cache *c, slice_t key)
{
    struct cache_no_vary_table *t = table_of(c);
    uint64_t word;
    if (t == NULL || slot_find(place_of(t, key), &word) == NULL)
        return NULL;
    return atomic_load_explicit(&t->rules[(word & UINT16_MAX) - 1], memory_order_acquire);
}

/* In a full set the first goes, and the others move up: who is learned anew often stays. */
static void slot_push(struct place at, uint64_t word)
{
    size_t i = 0;
    while (i < WAYS - 1 && atomic_load_explicit(&at.set[i], memory_order_relaxed) != 0)
        i++;
    if (atomic_load_explicit(&at.set[i], memory_order_relaxed) != 0) {
        for (i = 0; i < WAYS - 1; i++)
            atomic_store_explicit(&at.set[i], atomic_load_explicit(&at.set[i + 1], memory_order_relaxed),
                                  memory_order_release);
    }
    atomic_store_explicit(&at.set[i], word, memory_order_release);
}

const struct no_vary_rule *cache_no_vary_learn(struct cache *c, slice_t key, slice_t text)
{
    struct cache_no_vary_table *t = table_of(c);
    uint64_t word, number;
    if ((t == NULL && (t = table_make(c)) == NULL) || (number = rule_number(c, t, text)) == 0)
        return NULL;
    const struct place at = place_of(t, key);
    _Atomic uint64_t *slot = slot_find(at, &word);
    if (slot == NULL)
        slot_push(at, at.mark | number);
    else if (word != (at.mark | number))
        atomic_store_explicit(slot, at.mark | number, memory_order_release);
    return atomic_load_explicit(&t->rules[number - 1], memory_order_acquire);
}

void cache_no_vary_forget(struct cache *c, slice_t key)
{
    struct cache_no_vary_table *t = table_of(c);
    uint64_t word;
    _Atomic uint64_t *slot = t != NULL ? slot_find(place_of(t, key), &word) : NULL;
    if (slot != NULL)
        atomic_store_explicit(slot, 0, memory_order_release);
}

bool cache_no_vary_may_move(const struct cache_flight *fl)
{
    uint64_t since_id = cache_inval_paths_id(&fl->cache->inval);
    return since_id != 0 && fl->start_id >= since_id;
}

void cache_no_vary_close(struct cache *c)
{
    struct cache_no_vary_table *t = table_of(c);
    if (t == NULL)
        return;
    for (size_t i = 0; i < RULES_MAX; i++)
        rule_free(c, atomic_load_explicit(&t->rules[i], memory_order_relaxed));
    cache_account_release(&c->account, t->bytes);
    free(t);
    atomic_store_explicit(&c->no_vary, NULL, memory_order_relaxed);
}
