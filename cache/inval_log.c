/* inval_log.c: see inval_log.h.
 *
 * Why a reader needs no lock while a generation is being emptied: the floor is raised first, each slot is
 * cleared with release, and the reader looks at the floor last. So a reader that misses an entry because it
 * was cleared sees the raised floor. Rejected: a table under a mutex; each purge would send every hit on
 * every key through it once. */
#include "cache/inval_log.h"

#include <stdlib.h>
#include <string.h>

#include "cache/account.h"
#include "core/panic.h"

static uint64_t fingerprint_of(uint64_t fingerprint)
{
    return fingerprint == 0 ? 1 : fingerprint;
}

static size_t generation_bytes(size_t mask)
{
    return (mask + 1) * sizeof(struct cache_inval_entry);
}

bool cache_inval_open(struct cache_inval_log *log, size_t capacity)
{
    ASSERT(capacity > 0);
    size_t slots = 4;
    while (slots < capacity * 2)
        slots *= 2;
    *log = (struct cache_inval_log){.mask = slots - 1, .capacity = capacity};
    for (unsigned g = 0; g < 2; g++) {
        log->gen[g].entries = cache_memory_alloc(generation_bytes(log->mask));
        if (log->gen[g].entries == NULL) {
            free(log->gen[0].entries);
            return false;
        }
        memset(log->gen[g].entries, 0, generation_bytes(log->mask));
    }
    lock_init(&log->lock, LOCK_INVAL);
    return true;
}

void cache_inval_close(struct cache_inval_log *log)
{
    free(log->gen[0].entries);
    free(log->gen[1].entries);
    lock_destroy(&log->lock);
}

size_t cache_inval_bytes(const struct cache_inval_log *log)
{
    return 2 * cache_memory_rounded(generation_bytes(log->mask));
}

/* The key's entry, or the empty one where it belongs. There always is one: a generation is at most half full.
 */
static struct cache_inval_entry *generation_find(const struct cache_inval_log *log, unsigned g, uint64_t fp,
                                                 bool *found)
{
    for (size_t i = (size_t)(fp & log->mask);; i = (i + 1) & log->mask) {
        struct cache_inval_entry *e = &log->gen[g].entries[i];
        uint64_t at = atomic_load_explicit(&e->fingerprint, memory_order_acquire);
        if (at == fp || at == 0) {
            *found = at == fp;
            return e;
        }
    }
}

static void log_empty_locked(struct cache_inval_log *log, unsigned g)
{
    for (size_t i = 0; i <= log->mask; i++) {
        atomic_store_explicit(&log->gen[g].entries[i].fingerprint, 0, memory_order_release);
        atomic_store_explicit(&log->gen[g].entries[i].id, 0, memory_order_release);
    }
    log->gen[g].count = 0;
}

static void log_rotate_locked(struct cache_inval_log *log)
{
    unsigned old = log->young ^ 1;
    if (log->gen[old].last_id > atomic_load_explicit(&log->floor, memory_order_relaxed))
        atomic_store_explicit(&log->floor, log->gen[old].last_id, memory_order_release);
    log_empty_locked(log, old);
    log->young = old;
}

uint64_t cache_inval_purge(struct cache_inval_log *log, uint64_t fingerprint)
{
    uint64_t fp = fingerprint_of(fingerprint);
    lock_take(&log->lock);
    uint64_t id = atomic_load_explicit(&log->head, memory_order_relaxed) + 1;
    bool found;
    struct cache_inval_entry *e = generation_find(log, log->young, fp, &found);
    if (!found && log->gen[log->young].count >= log->capacity) {
        log_rotate_locked(log);
        e = generation_find(log, log->young, fp, &found);
    }
    atomic_store_explicit(&e->id, id, memory_order_release);
    if (!found) {
        atomic_store_explicit(&e->fingerprint, fp, memory_order_release);
        log->gen[log->young].count++;
    }
    log->gen[log->young].last_id = id;
    atomic_store_explicit(&log->head, id, memory_order_seq_cst);
    lock_drop(&log->lock);
    return id;
}

uint64_t cache_inval_purge_all(struct cache_inval_log *log)
{
    lock_take(&log->lock);
    uint64_t id = atomic_load_explicit(&log->head, memory_order_relaxed) + 1;
    atomic_store_explicit(&log->floor, id, memory_order_release);
    atomic_store_explicit(&log->head, id, memory_order_seq_cst);
    log_empty_locked(log, 0);
    log_empty_locked(log, 1);
    lock_drop(&log->lock);
    return id;
}

bool cache_inval_is_purged(const struct cache_inval_log *log, uint64_t fingerprint, uint64_t since_id)
{
    uint64_t fp = fingerprint_of(fingerprint);
    for (unsigned g = 0; g < 2; g++) {
        bool found;
        const struct cache_inval_entry *e = generation_find(log, g, fp, &found);
        if (found && atomic_load_explicit(&e->id, memory_order_acquire) > since_id)
            return true;
    }
    return atomic_load_explicit(&log->floor, memory_order_acquire) > since_id;
}
