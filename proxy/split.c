/* split.c: see split.h.
 *
 * A route that is split is there twice in its snapshot: as it is listed, with the stable pool, and for the
 * canary, with the other pool and keys of its own. Choosing a side is choosing one of the two, so nothing
 * behind it knows of sides, and what the canary answered is never found by who is on the stable side; a purge
 * of the URL reaches both.
 *
 * The side follows from a hash that is the same on all nodes and after restarts. The canary has the upper end
 * of its range, so a client that is there stays there when the share grows.
 *
 * What was answered is counted by all workers in atomics of the split. Of either side that is requests,
 * failures, and a histogram with four steps to an octave, from which the 95th percentile comes. When the
 * canary has four times the samples that are asked for, all figures are halved: so what is compared are the
 * last few hundred requests, however long they took to come. A clock would forget what a small share has
 * learned, or remember the morning of a busy one. Whoever counts an answer of the canary compares; there is
 * no timer.
 *
 * A stop is kept until the line is changed or somebody starts it again: a reload for another reason must not
 * give a canary that was found bad to visitors once more. */
#include "proxy/split.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "cache/cookies.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/timeline.h"
#include "proxy/affinity.h"
#include "proxy/exchange.h"
#include "proxy/proxy_worker.h"

#define SPLIT_STEPS            128
#define SPLIT_KEEP             4     /* times the samples, before they are halved */
#define SPLIT_LATENCY_LEAST_US 20000 /* less of a difference is noise */

/* All atomic; a cache line and more for each side. */
struct split_count {
    _Alignas(CACHE_LINE) _Atomic uint64_t requests;
    _Atomic uint64_t failures;
    _Atomic uint32_t steps[SPLIT_STEPS];
};

struct split {
    struct split_count sides[2];
    _Alignas(CACHE_LINE) _Atomic uint32_t refs;
    _Atomic int stopped; /* enum split_verdict */
    _Atomic wall_ms_t stopped_ms;
    atomic_flag aging;
};

struct split *split_new(void)
{
    struct split *s = aligned_alloc(CACHE_LINE, sizeof *s);
    if (s == NULL)
        return NULL;
    memset(s, 0, sizeof *s);
    atomic_init(&s->refs, 1);
    atomic_flag_clear(&s->aging);
    return s;
}

struct split *split_ref(struct split *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void split_unref(struct split *s)
{
    if (s != NULL && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        free(s);
}

/* ---- choosing ---- */

bool split_picks_canary(const struct config_split *split, const char *canary_name, const char *stable_name,
                        slice_t by, bool may_name)
{
    const uint64_t total = (uint64_t)split->weights[0] + (uint64_t)split->weights[1];
    if (may_name && slice_eq(by, slice_str(canary_name)))
        return true;
    if (by.len == 0 || (may_name && slice_eq(by, slice_str(stable_name))))
        return false;
    /* The other half is what `balance = hash` goes by. */
    return hash_bytes_unseeded(by.ptr, by.len).hi % total >= (uint64_t)split->weights[0];
}

static slice_t named_value(const struct exchange *x, const struct config_split *split)
{
    if (split->by == CONFIG_SPLIT_COOKIE)
        return affinity_find_cookie(&x->req, slice_str(split->name));
    if (split->by == CONFIG_SPLIT_HEADER) {
        const struct http_field *f = http_head_find(&x->req, slice_str(split->name));
        return f != NULL ? f->value : SLICE_EMPTY;
    }
    return SLICE_EMPTY;
}

static const struct route *side_of(const struct exchange *x)
{
    const struct route *r = x->route;
    const struct config_split *split = &r->config->split;
    if (atomic_load_explicit(&r->split->stopped, memory_order_relaxed) != SPLIT_RUNS)
        return r;
    const slice_t value = named_value(x, split), by = value.len > 0 ? value : x->client_ip;
    return split_picks_canary(split, pool_config(r->canary->pool)->name, pool_config(r->pool)->name, by,
                              value.len > 0) &&
                   pool_has_untried(r->canary->pool, NULL, 0)
               ? r->canary
               : r;
}

void split_choose(struct exchange *x)
{
    x->route = side_of(x);
    const char *foreign = x->route->other_cookie;
    if (foreign != NULL)
        cookies_remove_named(&x->req, &(struct config_strings){&foreign, 1});
}

/* ---- counting ---- */

/* Four steps to an octave of microseconds. */
static unsigned step_of(uint64_t us)
{
    const unsigned octave = us < 4 ? 0 : 61 - (unsigned)__builtin_clzll(us); /* us >> octave is 4 to 7 */
    return us < 4 ? (unsigned)us : MIN(octave * 4 + (unsigned)(us >> octave), SPLIT_STEPS - 1);
}

/* The longest that falls into it. */
static uint64_t step_us(unsigned step)
{
    return step < 4 ? step : (UINT64_C(1) + (step % 4 + 4)) << (step / 4 - 1);
}

void split_observe(struct split *s, enum split_side side, bool failed, mono_us_t us)
{
    struct split_count *c = &s->sides[side];
    atomic_fetch_add_explicit(&c->requests, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&c->failures, 1, memory_order_relaxed);
    else if (us > 0)
        atomic_fetch_add_explicit(&c->steps[step_of((uint64_t)us)], 1, memory_order_relaxed);
}

struct split_figures split_figures(struct split *s, enum split_side side)
{
    struct split_count *c = &s->sides[side];
    struct split_figures f = {.requests = atomic_load_explicit(&c->requests, memory_order_relaxed),
                              .failures = atomic_load_explicit(&c->failures, memory_order_relaxed)};
    uint32_t steps[SPLIT_STEPS];
    uint64_t timed = 0, below = 0;
    for (unsigned i = 0; i < SPLIT_STEPS; i++)
        timed += steps[i] = atomic_load_explicit(&c->steps[i], memory_order_relaxed);
    for (unsigned i = 0; i < SPLIT_STEPS && timed > 0; i++) {
        below += steps[i];
        if (below * 100 >= timed * 95) {
            f.p95_us = step_us(i);
            break;
        }
    }
    return f;
}

void split_age(struct split *s, uint64_t samples)
{
    if (atomic_load_explicit(&s->sides[SPLIT_CANARY].requests, memory_order_relaxed) < SPLIT_KEEP * samples ||
        atomic_flag_test_and_set(&s->aging))
        return;
    for (int side = 0; side < 2; side++) { /* alone, so that nothing is halved below 0 */
        struct split_count *c = &s->sides[side];
        atomic_fetch_sub(&c->requests, atomic_load(&c->requests) / 2);
        atomic_fetch_sub(&c->failures, atomic_load(&c->failures) / 2);
        for (unsigned i = 0; i < SPLIT_STEPS; i++)
            atomic_fetch_sub(&c->steps[i], atomic_load(&c->steps[i]) / 2);
    }
    atomic_flag_clear(&s->aging);
}

/* ---- judging ---- */

enum split_verdict split_judge(const struct split_figures *stable, const struct split_figures *canary,
                               const struct config_route *r)
{
    const uint64_t least = (uint64_t)r->split_samples;
    if (stable->requests < least || canary->requests < least)
        return SPLIT_RUNS;
    /* failures / requests of the canary > those of stable + percent / 100 */
    const uint64_t product = stable->requests * canary->requests;
    if (canary->failures * stable->requests * 100 >
        stable->failures * canary->requests * 100 + product * (uint64_t)r->split_max_errors_percent)
        return SPLIT_TOO_MANY_ERRORS;
    if (stable->p95_us > 0 && canary->p95_us > stable->p95_us + SPLIT_LATENCY_LEAST_US &&
        canary->p95_us * 100 > stable->p95_us * (100 + (uint64_t)r->split_max_latency_percent))
        return SPLIT_TOO_SLOW;
    return SPLIT_RUNS;
}

static double percent_of(const struct split_figures *f)
{
    return f->requests > 0 ? 100.0 * (double)f->failures / (double)f->requests : 0;
}

static void stop(const struct route *canary, enum split_verdict why, const struct split_figures figures[2],
                 struct proxy_worker *pw)
{
    struct split *s = canary->split;
    const char *route = canary->config->name, *pool = pool_config(canary->pool)->name;
    const struct split_figures *a = &figures[SPLIT_STABLE], *b = &figures[SPLIT_CANARY];
    int runs = SPLIT_RUNS;
    char text[160];
    if (!atomic_compare_exchange_strong(&s->stopped, &runs, (int)why))
        return;
    atomic_store(&s->stopped_ms, pw->worker->now_wall_ms);
    proxy_count(pw, METRIC_SPLIT_STOPS, 1);
    if (why == SPLIT_TOO_MANY_ERRORS)
        snprintf(text, sizeof text, "%.1f%% of its last %llu requests failed, %.1f%% on the other side",
                 percent_of(b), (unsigned long long)b->requests, percent_of(a));
    else
        snprintf(text, sizeof text, "95%% of its answers began within %llu ms, %llu ms on the other side",
                 (unsigned long long)b->p95_us / 1000, (unsigned long long)a->p95_us / 1000);
    log_error("route %s: canary %s gets no more requests: %s", route, pool, text);
    timeline_note(TIMELINE_SPLIT, "route %s: canary %s gets no more requests: %s", route, pool, text);
}

static bool has_failed(const struct exchange *x)
{
    if (x->status == 0)
        return true; /* nobody was there to get an answer: a fetch in the background */
    return x->status >= 500 || (x->stale_on_error && !x->asset_kept) ||
           (x->body_cut && x->fetch_error != FETCH_NONE);
}

/* It says nothing of the application: its client left, or it began as another's. */
static bool is_no_sample(const struct exchange *x)
{
    return x->inherited || (x->status == 0 && (x->fetch_error == FETCH_NONE || !x->background));
}

void split_count(struct exchange *x)
{
    const struct route *r = x->route;
    const uint64_t samples = (uint64_t)r->config->split_samples;
    const enum split_side side = r->stable != NULL ? SPLIT_CANARY : SPLIT_STABLE;
    const bool timed = x->body_state == BODY_ABSENT && x->fetch_us > 0 && x->first_byte_us > x->fetch_us;
    if (is_no_sample(x))
        return;
    split_observe(r->split, side, has_failed(x), timed ? x->first_byte_us - x->fetch_us : 0);
    if (side == SPLIT_STABLE || atomic_load_explicit(&r->split->stopped, memory_order_relaxed) != SPLIT_RUNS)
        return;
    const struct split_figures figures[2] = {split_figures(r->split, SPLIT_STABLE),
                                             split_figures(r->split, SPLIT_CANARY)};
    const enum split_verdict v = split_judge(&figures[SPLIT_STABLE], &figures[SPLIT_CANARY], r->config);
    if (v != SPLIT_RUNS)
        stop(r, v, figures, x->pw);
    split_age(r->split, samples);
}

/* ---- for people ---- */

static json_t *side_json(const struct route *r, enum split_side side)
{
    const struct split_figures f = split_figures(r->split, side);
    return json_pack("{s:s, s:i, s:I, s:I, s:f}", "pool", pool_config(r->pool)->name, "weight",
                     r->config->split.weights[side], "requests", (json_int_t)f.requests, "failures",
                     (json_int_t)f.failures, "p95_ms", (double)f.p95_us / 1000);
}

json_t *split_status(const struct snapshot *s)
{
    static const char *const states[] = {[SPLIT_RUNS] = "running",
                                         [SPLIT_TOO_MANY_ERRORS] = "stopped_for_errors",
                                         [SPLIT_TOO_SLOW] = "stopped_for_latency"};
    json_t *list = json_array();
    for (size_t i = 0; i < s->canary_count; i++) {
        const struct route *canary = &s->canaries[i];
        const int stopped = atomic_load(&canary->split->stopped);
        json_t *o = json_pack("{s:s, s:s}", "route", canary->config->name, "state", states[stopped]);
        json_object_set_new(o, "stopped_at_ms",
                            stopped != SPLIT_RUNS ? json_integer(atomic_load(&canary->split->stopped_ms))
                                                  : json_null());
        json_object_set_new(o, "stable", side_json(canary->stable, SPLIT_STABLE));
        json_object_set_new(o, "canary", side_json(canary, SPLIT_CANARY));
        json_array_append_new(list, o);
    }
    return list;
}

static void forget(struct split *s)
{
    for (int side = 0; side < 2; side++) {
        struct split_count *c = &s->sides[side];
        atomic_store(&c->requests, 0);
        atomic_store(&c->failures, 0);
        for (unsigned i = 0; i < SPLIT_STEPS; i++)
            atomic_store(&c->steps[i], 0);
    }
}

bool split_start(const struct snapshot *s, const char *route, const char *who)
{
    for (size_t i = 0; i < s->canary_count; i++) {
        const struct route *canary = &s->canaries[i];
        if (strcmp(canary->config->name, route) != 0)
            continue;
        const char *pool = pool_config(canary->pool)->name;
        while (atomic_flag_test_and_set(&canary->split->aging))
            continue; /* a moment */
        forget(canary->split);
        atomic_flag_clear(&canary->split->aging);
        atomic_store(&canary->split->stopped, SPLIT_RUNS);
        log_info("route %s: canary %s gets its share again, by %s", route, pool, who);
        timeline_note(TIMELINE_SPLIT, "route %s: canary %s gets its share again, by %s", route, pool, who);
        return true;
    }
    return false;
}
