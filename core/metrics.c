/* metrics.c: see metrics.h.
 *
 * A shard is written by its owner alone, so a counter is a relaxed load and a relaxed store: no locked
 * instruction on the hot path. Series hang in an open-addressing table of atomic pointers per shard; the
 * owner publishes a new one with a release store and never removes it, so readers need no lock to walk it.
 * The shard list, the labels and the figures of freed shards are under LOCK_METRICS; a walk over the series
 * takes the lock per series and never holds it during the callback. Rejected: one shared table of atomics (a
 * contended cache line per request), and summaries with moving windows (they cannot be added up over
 * workers). */
#include "core/metrics.h"

#include <stdlib.h>

#include "core/coding.h"
#include "core/lock.h"
#include "core/panic.h"
#include "core/redis_conn.h"

#define SERIES_MAX   4096u
#define SERIES_SLOTS (2 * SERIES_MAX)
#define LABEL_SLOTS  (2 * METRICS_LABELS_MAX)
#define REASONS_MAX  96u /* of one kind */
#define SHARD_MAGIC  0x4d455452u

#define X(id, name, label, reasons, reason_name, help)                                                       \
    _Static_assert((unsigned)(reasons) <= REASONS_MAX, "room for each reason of " name);
METRICS_REASON_TABLE(X)
#undef X

struct metrics_shard { /* owner thread writes, any thread reads */
    uint32_t magic;
    struct metrics_shard *next; /* under LOCK_METRICS */
    _Alignas(CACHE_LINE) _Atomic int64_t values[METRIC_COUNT];
    _Atomic uint64_t reasons[METRICS_REASON_KINDS][REASONS_MAX];
    _Atomic uint32_t series_count;
    _Atomic(struct metrics_series *) series[SERIES_SLOTS];
};

struct label {
    size_t len;
    char text[];
};

static struct lock metrics_lock = {PTHREAD_MUTEX_INITIALIZER, LOCK_METRICS};
static struct metrics_shard *metrics_shards;                           /* under metrics_lock */
static struct metrics_shard metrics_retired = {.magic = SHARD_MAGIC};  /* written under metrics_lock */
static _Atomic(struct label *) metrics_labels[METRICS_LABELS_MAX];     /* [0] stays empty: "other" */
static uint16_t metrics_label_index[LABEL_SLOTS], metrics_label_count; /* under metrics_lock */

static const struct metric_info metrics_infos[] = {
#define COUNTER(id, name, help) {name, help, false},
#define GAUGE(id, name, help)   {name, help, true},
    METRICS_TABLE(COUNTER, GAUGE)
#undef COUNTER
#undef GAUGE
};

static const struct metrics_reason_info metrics_reason_infos[] = {
#define X(id, name, label, reasons, reason_name, help) {name, label, help, reasons},
    METRICS_REASON_TABLE(X)
#undef X
};

const struct metrics_reason_info *metrics_reason_info(enum metrics_reason_kind kind)
{
    ASSERT((unsigned)kind < METRICS_REASON_KINDS);
    return &metrics_reason_infos[kind];
}

const char *metrics_reason_name(enum metrics_reason_kind kind, unsigned reason)
{
    ASSERT(reason < metrics_reason_info(kind)->count);
    switch (kind) {
#define X(id, name, label, reasons, reason_name, help)                                                       \
    case METRICS_REASON_##id:                                                                                \
        return reason_name;
        METRICS_REASON_TABLE(X)
#undef X
    case METRICS_REASON_KINDS:
        break;
    }
    return "";
}

const struct metric_info *metrics_info(enum metric_id id)
{
    ASSERT((unsigned)id < METRIC_COUNT);
    return &metrics_infos[id];
}

static void add_u64(_Atomic uint64_t *to, uint64_t n)
{
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t get_u64(const _Atomic uint64_t *from)
{
    return atomic_load_explicit(from, memory_order_relaxed);
}

static unsigned bucket_of(uint64_t us)
{
    if (us < HISTOGRAM_STEPS)
        return (unsigned)us;
    if (us > UINT32_MAX)
        us = UINT32_MAX;
    unsigned shift = 63u - (unsigned)__builtin_clzll(us) - 6;
    return HISTOGRAM_STEPS * shift + (unsigned)(us >> shift);
}

/* Values from bucket_low up to and without bucket_low of the next. */
static uint64_t bucket_low(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_STEPS)
        return bucket;
    unsigned shift = bucket / HISTOGRAM_STEPS - 1;
    return (uint64_t)(HISTOGRAM_STEPS + bucket % HISTOGRAM_STEPS) << shift;
}

void histogram_record(struct histogram *h, uint64_t us)
{
    uint32_t us32 = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    add_u64(&h->buckets[bucket_of(us)], 1);
    add_u64(&h->count, 1);
    add_u64(&h->sum_us, us);
    if (us32 > atomic_load_explicit(&h->max_us, memory_order_relaxed))
        atomic_store_explicit(&h->max_us, us32, memory_order_relaxed);
}

/* Buckets are added by fours: most are empty, and the control thread adds up thousands of series. Compilers
 * make nothing of a loop over atomics. Returns how many values they hold. */
#define ADD_BUCKETS 4
_Static_assert(HISTOGRAM_BUCKETS % ADD_BUCKETS == 0, "whole steps");

static uint64_t buckets_add(_Atomic uint64_t *into, const _Atomic uint64_t *from)
{
    const uint64_t a = get_u64(&from[0]), b = get_u64(&from[1]), c = get_u64(&from[2]), d = get_u64(&from[3]);
    if ((a | b | c | d) == 0)
        return 0;
    add_u64(&into[0], a);
    add_u64(&into[1], b);
    add_u64(&into[2], c);
    add_u64(&into[3], d);
    return a + b + c + d;
}

void histogram_add(struct histogram *into, const struct histogram *from)
{
    /* The count is taken from the buckets that were read, so that the sum agrees with itself although the
     * owner goes on writing. Those behind the largest value's are not read: a value that is being recorded
     * beyond it is in the next sum, for sums never shrink. */
    uint64_t count = 0;
    const uint32_t max_us = atomic_load_explicit(&from->max_us, memory_order_relaxed);
    const unsigned last = bucket_of(max_us);
    for (unsigned i = 0; i <= last; i += ADD_BUCKETS)
        count += buckets_add(&into->buckets[i], &from->buckets[i]);
    add_u64(&into->count, count);
    add_u64(&into->sum_us, get_u64(&from->sum_us));
    if (max_us > atomic_load_explicit(&into->max_us, memory_order_relaxed))
        atomic_store_explicit(&into->max_us, max_us, memory_order_relaxed);
}

void histogram_subtract(struct histogram *h, const struct histogram *earlier)
{
    uint64_t count = 0, max_us = 0, sum_us = get_u64(&h->sum_us), before_us = get_u64(&earlier->sum_us);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t n = get_u64(&h->buckets[i]), before = get_u64(&earlier->buckets[i]);
        n = n > before ? n - before : 0;
        atomic_store_explicit(&h->buckets[i], n, memory_order_relaxed);
        count += n;
        if (n > 0)
            max_us = bucket_low(i + 1) - 1;
    }
    atomic_store_explicit(&h->count, count, memory_order_relaxed);
    atomic_store_explicit(&h->sum_us, sum_us > before_us ? sum_us - before_us : 0, memory_order_relaxed);
    if (max_us < atomic_load_explicit(&h->max_us, memory_order_relaxed))
        atomic_store_explicit(&h->max_us, (uint32_t)max_us, memory_order_relaxed);
}

uint64_t histogram_quantile_us(const struct histogram *h, double q)
{
    uint64_t count = get_u64(&h->count), seen = 0;
    if (count == 0)
        return 0;
    uint64_t max_us = atomic_load_explicit(&h->max_us, memory_order_relaxed);
    double exact_rank = q * (double)count;
    uint64_t rank = exact_rank <= 1 ? 1 : (uint64_t)exact_rank;
    if ((double)rank < exact_rank)
        rank++;
    if (rank >= count)
        return max_us;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += get_u64(&h->buckets[i]);
        if (seen >= rank) {
            uint64_t low = bucket_low(i), middle = low + (bucket_low(i + 1) - low) / 2;
            return MIN(middle, max_us);
        }
    }
    return max_us;
}

uint64_t histogram_count_upto(const struct histogram *h, uint64_t us)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS && bucket_low(i + 1) - 1 <= us; i++)
        n += get_u64(&h->buckets[i]);
    return n;
}

struct metrics_shard *metrics_shard_new(void)
{
    struct metrics_shard *m = aligned_alloc(CACHE_LINE, sizeof *m);
    if (m == NULL)
        return NULL;
    memset((void *)m, 0, sizeof *m);
    m->magic = SHARD_MAGIC;
    lock_take(&metrics_lock);
    m->next = metrics_shards;
    metrics_shards = m;
    lock_drop(&metrics_lock);
    return m;
}

static unsigned series_slot(uint16_t route, enum cache_verdict v, uint16_t instance)
{
    uint64_t key = (uint64_t)route << 32 | (uint64_t)instance << 8 | (uint64_t)v;
    return (unsigned)((key * 0x9E3779B97F4A7C15u) >> 51) % SERIES_SLOTS;
}

/* The slot of the series, or the free one where it belongs. The table is at most half full. */
static _Atomic(struct metrics_series *) *series_find(struct metrics_shard *m, uint16_t route,
                                                     enum cache_verdict v, uint16_t instance)
{
    for (unsigned i = series_slot(route, v, instance);; i = (i + 1) % SERIES_SLOTS) {
        struct metrics_series *s = atomic_load_explicit(&m->series[i], memory_order_acquire);
        if (s == NULL || (s->route == route && s->instance == instance && s->verdict == v))
            return &m->series[i];
    }
}

static bool series_publish(struct metrics_shard *m, _Atomic(struct metrics_series *) *slot,
                           struct metrics_series *s)
{
    uint32_t n = atomic_load_explicit(&m->series_count, memory_order_relaxed);
    if (n >= SERIES_MAX)
        return false;
    atomic_store_explicit(slot, s, memory_order_release);
    atomic_store_explicit(&m->series_count, n + 1, memory_order_relaxed);
    return true;
}

struct metrics_series *metrics_series(struct metrics_shard *m, uint16_t route, enum cache_verdict v,
                                      uint16_t instance)
{
    CHECK_MAGIC(m, SHARD_MAGIC);
    ASSERT((unsigned)v < VERDICT_COUNT);
    _Atomic(struct metrics_series *) *slot = series_find(m, route, v, instance);
    struct metrics_series *s = atomic_load_explicit(slot, memory_order_relaxed);
    if (LIKELY(s != NULL))
        return s;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->route = route;
    s->instance = instance;
    s->verdict = (uint8_t)v;
    if (series_publish(m, slot, s))
        return s;
    free(s);
    return NULL;
}

void metrics_series_record(struct metrics_series *s, unsigned status, uint64_t us, uint64_t bytes)
{
    unsigned status_class = status / 100;
    add_u64(&s->by_status[status_class < METRICS_STATUS_CLASSES ? status_class : 0], 1);
    add_u64(&s->response_bytes, bytes);
    histogram_record(&s->latency, us);
}

void metrics_series_count_reason(struct metrics_series *s, enum no_store_reason why)
{
    ASSERT((unsigned)why < NO_STORE_SAID_COUNT);
    add_u64(&s->by_reason[why], 1);
}

static void series_add(struct metrics_series *into, const struct metrics_series *from)
{
    for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
        add_u64(&into->by_status[i], get_u64(&from->by_status[i]));
    add_u64(&into->response_bytes, get_u64(&from->response_bytes));
    for (unsigned i = 0; i < NO_STORE_SAID_COUNT; i++)
        add_u64(&into->by_reason[i], get_u64(&from->by_reason[i]));
    histogram_add(&into->latency, &from->latency);
}

void metrics_add(struct metrics_shard *m, enum metric_id id, int64_t n)
{
    _Atomic int64_t *v = &m->values[id];
    atomic_store_explicit(v, atomic_load_explicit(v, memory_order_relaxed) + n, memory_order_relaxed);
}

void metrics_count_reason(struct metrics_shard *m, enum metrics_reason_kind kind, unsigned reason)
{
    CHECK_MAGIC(m, SHARD_MAGIC);
    ASSERT(reason < metrics_reason_info(kind)->count);
    if (reason != 0)
        add_u64(&m->reasons[kind][reason], 1);
}

/* Hands one series over to metrics_retired; beyond its limit under the labels "other", so that sums stay
 * whole. */
static void series_retire_locked(struct metrics_series *s)
{
    enum cache_verdict v = (enum cache_verdict)s->verdict;
    _Atomic(struct metrics_series *) *slot = series_find(&metrics_retired, s->route, v, s->instance);
    if (atomic_load(slot) == NULL) {
        if (series_publish(&metrics_retired, slot, s))
            return;
        s->route = s->instance = 0;
        slot = series_find(&metrics_retired, 0, v, 0);
    }
    struct metrics_series *kept = atomic_load(slot);
    if (kept == NULL) {
        atomic_store(slot, s);
        return;
    }
    series_add(kept, s);
    free(s);
}

/* Moves the figures of a shard that ends into metrics_retired; needs no memory. */
static void shard_retire_locked(struct metrics_shard *m)
{
    for (unsigned i = 0; i < METRIC_COUNT; i++)
        metrics_add(&metrics_retired, (enum metric_id)i, atomic_load(&m->values[i]));
    for (unsigned kind = 0; kind < METRICS_REASON_KINDS; kind++) {
        for (unsigned i = 0; i < REASONS_MAX; i++)
            add_u64(&metrics_retired.reasons[kind][i], get_u64(&m->reasons[kind][i]));
    }
    for (unsigned i = 0; i < SERIES_SLOTS; i++) {
        struct metrics_series *s = atomic_load(&m->series[i]);
        if (s != NULL)
            series_retire_locked(s);
    }
}

void metrics_shard_free(struct metrics_shard *m)
{
    if (m == NULL)
        return;
    CHECK_MAGIC(m, SHARD_MAGIC);
    lock_take(&metrics_lock);
    struct metrics_shard **link = &metrics_shards;
    while (*link != m)
        link = &(*link)->next;
    *link = m->next;
    shard_retire_locked(m);
    lock_drop(&metrics_lock);
    m->magic = 0;
    free(m);
}

uint64_t metrics_total(enum metric_id id)
{
    ASSERT((unsigned)id < METRIC_COUNT);
    lock_take(&metrics_lock);
    int64_t sum = atomic_load_explicit(&metrics_retired.values[id], memory_order_relaxed);
    for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next)
        sum += atomic_load_explicit(&m->values[id], memory_order_relaxed);
    lock_drop(&metrics_lock);
    /* A gauge that one worker raised and another lowered may be read half-way. */
    return sum < 0 ? 0 : (uint64_t)sum;
}

uint64_t metrics_reason_total(enum metrics_reason_kind kind, unsigned reason)
{
    ASSERT(reason < metrics_reason_info(kind)->count);
    lock_take(&metrics_lock);
    uint64_t sum = get_u64(&metrics_retired.reasons[kind][reason]);
    for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next)
        sum += get_u64(&m->reasons[kind][reason]);
    lock_drop(&metrics_lock);
    return sum;
}

struct series_key {
    uint16_t route, instance;
    uint8_t verdict;
};

static int key_compare(const void *pa, const void *pb)
{
    const struct series_key *a = pa, *b = pb;
    if (a->route != b->route)
        return a->route < b->route ? -1 : 1;
    if (a->instance != b->instance)
        return a->instance < b->instance ? -1 : 1;
    return (int)a->verdict - (int)b->verdict;
}

static size_t keys_of_shard_locked(struct metrics_shard *m, struct series_key *keys, size_t n, size_t max)
{
    for (unsigned i = 0; i < SERIES_SLOTS && n < max; i++) {
        struct metrics_series *s = atomic_load_explicit(&m->series[i], memory_order_acquire);
        if (s != NULL)
            keys[n++] = (struct series_key){s->route, s->instance, s->verdict};
    }
    return n;
}

/* Room for series that owners add while the keys are being collected; what does not fit is in the next
 * reading. */
#define KEYS_SPARE 256

/* Every key once, in an array the caller frees; NULL when out of memory. Repeats are told from the keys
 * themselves: asking the shards would drop a key that one got after it was read and before the next one was.
 */
static struct series_key *keys_collect(size_t *count)
{
    lock_take(&metrics_lock);
    size_t max = atomic_load(&metrics_retired.series_count) + KEYS_SPARE, n = 0, unique = 0;
    for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next)
        max += atomic_load(&m->series_count);
    struct series_key *keys = malloc(max * sizeof *keys);
    if (keys != NULL) {
        n = keys_of_shard_locked(&metrics_retired, keys, n, max);
        for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next)
            n = keys_of_shard_locked(m, keys, n, max);
    }
    lock_drop(&metrics_lock);
    if (n > 0)
        qsort(keys, n, sizeof *keys, key_compare);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || key_compare(&keys[i], &keys[i - 1]) != 0)
            keys[unique++] = keys[i];
    }
    *count = unique;
    return keys;
}

static void series_sum(const struct series_key *k, struct metrics_series *sum)
{
    *sum = (struct metrics_series){.route = k->route, .instance = k->instance, .verdict = k->verdict};
    enum cache_verdict v = (enum cache_verdict)k->verdict;
    lock_take(&metrics_lock);
    struct metrics_series *s = atomic_load(series_find(&metrics_retired, k->route, v, k->instance));
    if (s != NULL)
        series_add(sum, s);
    for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next) {
        s = atomic_load_explicit(series_find(m, k->route, v, k->instance), memory_order_acquire);
        if (s != NULL)
            series_add(sum, s);
    }
    lock_drop(&metrics_lock);
}

static uint64_t requests_in(struct metrics_shard *m, const struct series_key *k)
{
    const struct metrics_series *s = atomic_load_explicit(
        series_find(m, k->route, (enum cache_verdict)k->verdict, k->instance), memory_order_acquire);
    return s != NULL ? get_u64(&s->latency.count) : 0;
}

void metrics_each_count(void (*each)(void *arg, uint16_t route, uint16_t instance, uint64_t requests),
                        void *arg)
{
    size_t count = 0;
    struct series_key *keys = keys_collect(&count);
    for (size_t i = 0; i < count; i++) {
        lock_take(&metrics_lock);
        uint64_t n = requests_in(&metrics_retired, &keys[i]);
        for (struct metrics_shard *m = metrics_shards; m != NULL; m = m->next)
            n += requests_in(m, &keys[i]);
        lock_drop(&metrics_lock);
        each(arg, keys[i].route, keys[i].instance, n);
    }
    free(keys);
}

void metrics_each_series(void (*each)(void *arg, const struct metrics_series *sum), void *arg)
{
    size_t count = 0;
    struct series_key *keys = keys_collect(&count);
    struct metrics_series *sum = keys == NULL ? NULL : malloc(sizeof *sum);
    for (size_t i = 0; sum != NULL && i < count; i++) {
        series_sum(&keys[i], sum);
        each(arg, sum);
    }
    free(sum);
    free(keys);
}

static struct label *label_get(unsigned i)
{
    return atomic_load_explicit(&metrics_labels[i], memory_order_acquire);
}

static uint16_t label_intern_locked(slice_t name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.len; i++)
        hash = (hash ^ (unsigned char)name.ptr[i]) * 16777619u;
    unsigned slot = hash % LABEL_SLOTS;
    for (; metrics_label_index[slot] != 0; slot = (slot + 1) % LABEL_SLOTS) {
        struct label *l = label_get(metrics_label_index[slot]);
        if (slice_eq(slice_make(l->text, l->len), name))
            return metrics_label_index[slot];
    }
    if (metrics_label_count + 1u >= METRICS_LABELS_MAX)
        return 0;
    struct label *l = malloc(sizeof *l + name.len);
    if (l == NULL)
        return 0;
    l->len = name.len;
    if (name.len > 0)
        memcpy(l->text, name.ptr, name.len);
    metrics_label_index[slot] = ++metrics_label_count;
    atomic_store_explicit(&metrics_labels[metrics_label_count], l, memory_order_release);
    return metrics_label_count;
}

uint16_t metrics_label(slice_t name)
{
    lock_take(&metrics_lock);
    uint16_t label = label_intern_locked(name);
    lock_drop(&metrics_lock);
    return label;
}

slice_t metrics_label_name(uint16_t label)
{
    struct label *l = label < METRICS_LABELS_MAX ? label_get(label) : NULL;
    return l != NULL ? slice_make(l->text, l->len) : SLICE_LIT("other");
}
