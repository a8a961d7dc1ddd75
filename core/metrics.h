/* metrics.h: counters and latency histograms, written by one thread each, summed on read.
 *
 * Every worker has a shard. Its counters and histograms are written by that worker only (relaxed atomic load
 * and store, no read-modify-write) and read by the control thread at any time. A series is one combination of
 * (route, cache verdict, instance); its labels are interned numbers so that the hot path hashes one integer.
 */
#ifndef CORE_METRICS_H
#define CORE_METRICS_H

#include <stdatomic.h>
#include <stdio.h>

#include "core/clock.h"
#include "core/metrics_tbl.h"
#include "core/outcome.h"
#include "core/slice.h"

enum metric_id {
#define X(id, name, help) METRIC_##id,
    METRICS_TABLE(X, X)
#undef X
        METRIC_COUNT
};

/* Counters by reason: one per kind and value of its table in core/outcome.h. */
enum metrics_reason_kind {
#define X(id, name, label, reasons, reason_name, help) METRICS_REASON_##id,
    METRICS_REASON_TABLE(X)
#undef X
        METRICS_REASON_KINDS
};

/* Log-linear histogram of microseconds: 64 steps per power of two, so a quantile is within 1%; 1 us to 2^32
 * us. */
#define HISTOGRAM_STEPS   64
#define HISTOGRAM_OCTAVES 27 /* values below 64 are exact, then 2^6..2^32 */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * HISTOGRAM_OCTAVES)
struct histogram {
    _Atomic uint64_t count, sum_us;
    _Atomic uint32_t max_us;
    _Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* 32 bits would wrap within a day of hits */
};
void histogram_record(struct histogram *h, uint64_t us); /* owner thread */
void histogram_add(struct histogram *into,
                   const struct histogram *from); /* `into` is private to the caller */
/* Leaves in `h` what came since `earlier`, an earlier sum of the same histograms; both are private to the
 * caller. The largest value is then known to within 1%. */
void histogram_subtract(struct histogram *h, const struct histogram *earlier);
uint64_t histogram_quantile_us(const struct histogram *h, double q);   /* 0 when empty */
uint64_t histogram_count_upto(const struct histogram *h, uint64_t us); /* values <= us, within 2% of us */

#define METRICS_STATUS_CLASSES 6 /* index status / 100; 0 = no answer was sent */
struct metrics_series {
    /* set once */
    uint16_t route, instance; /* labels; instance 0 = none */
    uint8_t verdict;          /* enum cache_verdict */
    /* owner thread writes */
    _Atomic uint64_t by_status[METRICS_STATUS_CLASSES];
    _Atomic uint64_t response_bytes;
    _Atomic uint64_t
        by_reason[NO_STORE_SAID_COUNT]; /* of verdicts other than none and hit: one for each request */
    struct histogram latency;           /* request head read to last byte handed to the kernel */
};

struct metrics_shard;

/* Any thread, at start of a worker; registered in a global list until process end or metrics_shard_free. */
struct metrics_shard *metrics_shard_new(void);
void metrics_shard_free(struct metrics_shard *m); /* its figures are kept in a total */

/* Labels live for the process. Control thread (under LOCK_METRICS); at most 4095 of them, then label 0
 * "other". */
#define METRICS_LABELS_MAX 4096u
uint16_t metrics_label(slice_t name);
slice_t metrics_label_name(uint16_t label);

/* Owner thread. */
void metrics_add(struct metrics_shard *m, enum metric_id id, int64_t n);
/* Counts a reason; the one that means nothing happened (stored, open, none) is left out. */
void metrics_count_reason(struct metrics_shard *m, enum metrics_reason_kind kind, unsigned reason);
static inline void metrics_count_no_store(struct metrics_shard *m, enum no_store_reason r)
{
    metrics_count_reason(m, METRICS_REASON_NO_STORE, r);
}
static inline void metrics_count_close(struct metrics_shard *m, enum close_reason r)
{
    metrics_count_reason(m, METRICS_REASON_CLIENT_CLOSES, r);
}
static inline void metrics_count_fetch_error(struct metrics_shard *m, enum fetch_error e)
{
    metrics_count_reason(m, METRICS_REASON_FETCH_ERRORS, e);
}
/* Finds or makes the series; NULL when out of memory or beyond 4096 series (counted elsewhere, never fatal).
 */
struct metrics_series *metrics_series(struct metrics_shard *m, uint16_t route, enum cache_verdict v,
                                      uint16_t instance);
void metrics_series_record(struct metrics_series *s, unsigned status, uint64_t us, uint64_t bytes);
void metrics_series_count_reason(struct metrics_series *s, enum no_store_reason why);

/* Any thread: sums over all shards. */
uint64_t metrics_total(enum metric_id id);
uint64_t metrics_reason_total(enum metrics_reason_kind kind, unsigned reason);
/* Calls `each` with every summed series; the histogram is valid during the call only. */
void metrics_each_series(void (*each)(void *arg, const struct metrics_series *sum), void *arg);
/* The same, of how many requests each had alone, without histograms. */
void metrics_each_count(void (*each)(void *arg, uint16_t route, uint16_t instance, uint64_t requests),
                        void *arg);

struct metric_info {
    const char *name, *help;
    bool is_gauge;
};
const struct metric_info *metrics_info(enum metric_id id);

struct metrics_reason_info {
    const char *name, *label, *help;
    unsigned count; /* reasons 1 .. count - 1 are counted */
};
const struct metrics_reason_info *metrics_reason_info(enum metrics_reason_kind kind);
const char *metrics_reason_name(enum metrics_reason_kind kind, unsigned reason);
/* Is it worth a line where all reasons are listed? Of what is remembered, what came. */
static inline bool metrics_reason_is_listed(enum metrics_reason_kind kind, unsigned reason, uint64_t total)
{
    return total > 0 || kind != METRICS_REASON_NO_STORE || reason < NO_STORE_REMEMBERED;
}

#endif
