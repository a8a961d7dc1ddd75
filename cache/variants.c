/* variants.c: see variants.h. Any thread. The values are told apart by hash, so that the count costs
 * microseconds under the lock; the log line goes into the thread's ring. */
#include "cache/variants.h"

#include "cache/marker.h"
#include "cache/object.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/text.h"
#include "core/worker.h"

#define WARN_EVERY_MS 10000
#define LIST_BYTES    512

/* Line `n` of the secondary key of a variant. */
static slice_t vary_line(const struct cache_object *o, unsigned n)
{
    slice_t key = cache_object_key(o);
    size_t from = (size_t)o->primary_bytes + 1, end = from;
    for (;;) {
        end = MIN(slice_find(key, '\n', from), key.len);
        if (n-- == 0 || end == key.len)
            return slice_make(key.ptr + from, end - from);
        from = end + 1;
    }
}

static unsigned count_values(const struct cache_marker *m, unsigned line)
{
    uint64_t seen[CACHE_MARKER_VARIANTS];
    unsigned count = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        slice_t value = vary_line(m->variants[i], line);
        uint64_t hash = hash_bytes(value.ptr, value.len).lo;
        unsigned k = 0;
        while (k < count && seen[k] != hash)
            k++;
        seen[k] = hash;
        count += k == count;
    }
    return count;
}

/* "accept-language (61 values), user-agent (3)" */
static void put_fields(struct text *t, const struct cache_marker *m)
{
    slice_t names = cache_marker_names(m);
    for (unsigned line = 0; names.len > 0; line++) {
        size_t end = MIN(slice_find(names, ',', 0), names.len);
        text_put(t, line > 0 ? SLICE_LIT(", ") : SLICE_EMPTY);
        text_put(t, slice_make(names.ptr, end));
        TEXT_LIT(t, " (");
        text_put_u64(t, count_values(m, line));
        text_put(t, line > 0 ? SLICE_LIT(")") : SLICE_LIT(" values)"));
        end = MIN(end + 1, names.len);
        names = slice_make(names.ptr + end, names.len - end);
    }
}

static bool may_warn(struct cache *c, mono_ms_t now_ms)
{
    mono_ms_t last = atomic_load_explicit(&c->variants_warned_ms, memory_order_relaxed);
    return (last == 0 || now_ms - last >= WARN_EVERY_MS) &&
           atomic_compare_exchange_strong_explicit(&c->variants_warned_ms, &last, now_ms,
                                                   memory_order_relaxed, memory_order_relaxed);
}

void cache_variants_note_full(struct cache *c, struct cache_marker *m)
{
    char list[LIST_BYTES];
    struct text t = text_make(list, sizeof list);
    struct worker *w = worker_current();
    lock_assert_held(&cache_shard_of(c, hash_bytes(m->text, m->key_bytes))->lock);
    if (w != NULL && w->metrics != NULL)
        metrics_add(w->metrics, METRIC_CACHE_VARIANTS_DROPPED, 1);
    if (m->warned || !may_warn(c, clock_mono_ms()))
        return;
    m->warned = true;
    put_fields(&t, m);
    log_warn(SLICE_FMT
             " has %u stored variants, which is max_variants; each new one now takes the place of the "
             "oldest. It varies by " SLICE_FMT "; see docs/cache-keys.md",
             SLICE_ARG(cache_marker_key(m)), m->count, SLICE_ARG(text_slice(&t)));
}
