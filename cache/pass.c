/* pass.c: see pass.h. Expiry, reason and status are one word, so that a reader never sees the reason of one
 * response with the time of another. Rejected: pass entries in the index; they would need memory, eviction
 * and expiry of their own. */
#include "cache/pass.h"

#include "core/panic.h"

#define REASON_BITS  6
#define STATUS_BITS  10
#define SECONDS_BITS 8
#define UNTIL_SHIFT  (REASON_BITS + STATUS_BITS + SECONDS_BITS) /* 40 bits of milliseconds: 34 years */
_Static_assert(NO_STORE_COUNT <= 1u << REASON_BITS, "a reason fits");

static unsigned bits(uint64_t word, unsigned shift, unsigned count)
{
    return (unsigned)(word >> shift) & ((1u << count) - 1);
}

static struct cache_pass_entry *pass_set(const struct cache_pass *p, uint64_t fingerprint)
{
    const struct cache_pass_entry *set = p->sets[(fingerprint >> 20) % CACHE_PASS_SETS];
    return (struct cache_pass_entry *)(uintptr_t)set;
}

void cache_pass_remember_why(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms,
                             enum no_store_reason why, unsigned status)
{
    struct cache_pass_entry *set = pass_set(p, fingerprint), *best = &set[0];
    ASSERT((unsigned)why < NO_STORE_COUNT);
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_relaxed) == fingerprint) {
            best = &set[i];
            break;
        }
        if (atomic_load_explicit(&set[i].word, memory_order_relaxed) <
            atomic_load_explicit(&best->word, memory_order_relaxed))
            best = &set[i]; /* the one that expires first */
    }
    uint64_t seconds = MIN((uint64_t)(pass_ms + 999) / 1000, (1u << SECONDS_BITS) - 1);
    uint64_t word = (uint64_t)(now_ms + pass_ms) << UNTIL_SHIFT | seconds << (REASON_BITS + STATUS_BITS) |
                    (uint64_t)MIN(status, (1u << STATUS_BITS) - 1) << REASON_BITS | (uint64_t)why;
    atomic_store_explicit(&best->word, word, memory_order_relaxed);
    atomic_store_explicit(&best->fingerprint, fingerprint, memory_order_release);
}

void cache_pass_remember(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms)
{
    cache_pass_remember_why(p, fingerprint, now_ms, pass_ms, NO_STORE_STORED, 0);
}

void cache_pass_forget(struct cache_pass *p, uint64_t fingerprint)
{
    struct cache_pass_entry *set = pass_set(p, fingerprint);
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_relaxed) == fingerprint)
            atomic_store_explicit(&set[i].word, 0, memory_order_relaxed);
    }
}

void cache_pass_clear(struct cache_pass *p)
{
    for (unsigned s = 0; s < CACHE_PASS_SETS; s++) {
        for (unsigned i = 0; i < CACHE_PASS_WAYS; i++)
            atomic_store_explicit(&p->sets[s][i].word, 0, memory_order_relaxed);
    }
}

/* The word of the key's entry; 0 when there is none or it has expired. */
static uint64_t pass_word(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms)
{
    const struct cache_pass_entry *set = pass_set(p, fingerprint);
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_acquire) != fingerprint)
            continue;
        uint64_t word = atomic_load_explicit(&set[i].word, memory_order_relaxed);
        return (mono_ms_t)(word >> UNTIL_SHIFT) > now_ms ? word : 0;
    }
    return 0;
}

bool cache_pass_has(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms)
{
    return pass_word(p, fingerprint, now_ms) != 0;
}

enum no_store_reason cache_pass_says(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms)
{
    const uint64_t word = pass_word(p, fingerprint, now_ms);
    return word == 0 ? NO_STORE_STORED
                     : no_store_remembered((enum no_store_reason)bits(word, 0, REASON_BITS));
}

bool cache_pass_get(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms,
                    struct cache_pass_memory *out)
{
    uint64_t word = pass_word(p, fingerprint, now_ms);
    if (word == 0)
        return false;
    dur_ms_t left_ms = (mono_ms_t)(word >> UNTIL_SHIFT) - now_ms;
    dur_ms_t for_ms = (dur_ms_t)bits(word, REASON_BITS + STATUS_BITS, SECONDS_BITS) * 1000;
    *out = (struct cache_pass_memory){.why = (enum no_store_reason)bits(word, 0, REASON_BITS),
                                      .status = bits(word, REASON_BITS, STATUS_BITS),
                                      .ago_ms = MAX(0, for_ms - left_ms),
                                      .left_ms = left_ms};
    return true;
}
