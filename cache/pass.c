/* pass.c: see pass.h. Rejected: pass entries in the index; they would need memory, eviction and expiry of
 * their own. */
#include "cache/pass.h"

static struct cache_pass_entry *pass_set(const struct cache_pass *p, uint64_t fingerprint)
{
    const struct cache_pass_entry *set = p->sets[(fingerprint >> 20) % CACHE_PASS_SETS];
    return (struct cache_pass_entry *)(uintptr_t)set;
}

void cache_pass_remember(struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms, dur_ms_t pass_ms)
{
    struct cache_pass_entry *set = pass_set(p, fingerprint), *best = &set[0];
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_relaxed) == fingerprint) {
            best = &set[i];
            break;
        }
        if (atomic_load_explicit(&set[i].until_ms, memory_order_relaxed) <
            atomic_load_explicit(&best->until_ms, memory_order_relaxed))
            best = &set[i]; /* the one that expires first */
    }
    atomic_store_explicit(&best->until_ms, now_ms + pass_ms, memory_order_relaxed);
    atomic_store_explicit(&best->fingerprint, fingerprint, memory_order_release);
}

void cache_pass_forget(struct cache_pass *p, uint64_t fingerprint)
{
    struct cache_pass_entry *set = pass_set(p, fingerprint);
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_relaxed) == fingerprint)
            atomic_store_explicit(&set[i].until_ms, 0, memory_order_relaxed);
    }
}

bool cache_pass_has(const struct cache_pass *p, uint64_t fingerprint, mono_ms_t now_ms)
{
    const struct cache_pass_entry *set = pass_set(p, fingerprint);
    for (unsigned i = 0; i < CACHE_PASS_WAYS; i++) {
        if (atomic_load_explicit(&set[i].fingerprint, memory_order_acquire) == fingerprint)
            return atomic_load_explicit(&set[i].until_ms, memory_order_relaxed) > now_ms;
    }
    return false;
}
