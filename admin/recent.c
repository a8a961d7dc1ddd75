/* recent.c: see recent.h.
 *
 * Workers count from the start of the process, and go on doing only that: what came lately is the difference
 * of two sums. Two marks are kept, and each takes the place of the older one, so the window is between one
 * and two times RECENT_MARK_EVERY_MS, and as long as the process where that is younger. A row (a route, an
 * instance, all) costs 14 KB in each mark, so there are RECENT_ROWS_MAX at most. Labels live as long as the
 * process, also those of instances that are long gone: where there are more than rows, only those have one
 * that had requests since the mark before. Who then is asked again after a rest has no row to compare with,
 * and is in the sum of all alone until the next mark but one; so is what comes after the last row.
 *
 * Rejected: histograms that forget, in the workers (each request would pay for what somebody looks at now and
 * then), and marking when the status is asked for (the window would be whoever asked last). */
#include "admin/recent.h"

#include <stdlib.h>

#include "admin/status.h"
#include "core/metrics.h"
#include "core/panic.h"

#define RECENT_ROWS_MAX 256

enum recent_kind { RECENT_ROUTE, RECENT_INSTANCE, RECENT_ALL, RECENT_KINDS };

struct recent_row {
    enum recent_kind kind;
    uint16_t label; /* of the route or instance */
    uint64_t by_status[METRICS_STATUS_CLASSES];
    struct histogram latency;
};

struct recent_sum { /* on the heap, with its rows */
    mono_ms_t at_ms;
    const struct recent_sum *since; /* while it is made; NULL: the start */
    uint64_t requests[RECENT_KINDS][METRICS_LABELS_MAX];
    size_t known; /* of these, how many are not 0 */
    size_t count;
    struct recent_row *rows[RECENT_ROWS_MAX];          /* the first is that of all */
    uint16_t row_at[RECENT_KINDS][METRICS_LABELS_MAX]; /* 1 + the place in `rows`; 0: none */
};

struct admin_recent { /* owned by the admin; control thread */
    struct worker *control;
    struct deadline next_mark;
    mono_ms_t started_ms;
    struct recent_sum *older, *newer; /* NULL: not yet, so since started_ms */
};

/* ---- sums ---- */

static struct recent_row *row_find(const struct recent_sum *s, enum recent_kind kind, uint16_t label)
{
    const uint16_t at = s != NULL ? s->row_at[kind][label] : 0;
    return at > 0 ? s->rows[at - 1] : NULL;
}

/* NULL: there are too many, or out of memory. */
static struct recent_row *row_obtain(struct recent_sum *s, enum recent_kind kind, uint16_t label)
{
    struct recent_row *row = row_find(s, kind, label);
    if (row != NULL || s->count == RECENT_ROWS_MAX || (row = calloc(1, sizeof *row)) == NULL)
        return row;
    row->kind = kind;
    row->label = label;
    s->rows[s->count++] = row;
    s->row_at[kind][label] = (uint16_t)s->count;
    return row;
}

static void row_add(struct recent_row *row, const struct metrics_series *series)
{
    for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
        row->by_status[i] += atomic_load_explicit(&series->by_status[i], memory_order_relaxed);
    histogram_add(&row->latency, &series->latency);
}

static uint64_t requests_of(const struct recent_sum *s, enum recent_kind kind, uint16_t label)
{
    return s != NULL ? s->requests[kind][label] : 0;
}

static void requests_add(struct recent_sum *s, enum recent_kind kind, uint16_t label, uint64_t n)
{
    s->known += s->requests[kind][label] == 0 && n > 0;
    s->requests[kind][label] += n;
}

static void sum_on_count(void *arg, uint16_t route, uint16_t instance, uint64_t n)
{
    requests_add(arg, RECENT_ALL, 0, n);
    requests_add(arg, RECENT_ROUTE, route, n);
    if (instance != 0)
        requests_add(arg, RECENT_INSTANCE, instance, n);
}

static bool has_row(const struct recent_sum *s, enum recent_kind kind, uint16_t label)
{
    return s->known <= RECENT_ROWS_MAX || requests_of(s, kind, label) != requests_of(s->since, kind, label);
}

/* A series has one route: those whose route has no row are added to the row of all here, the others with the
 * row of their route. */
void admin_recent_add(struct recent_sum *s, const struct metrics_series *series)
{
    if (s == NULL)
        return;
    struct recent_row *route = NULL, *instance = NULL;
    if (has_row(s, RECENT_ROUTE, series->route))
        route = row_obtain(s, RECENT_ROUTE, series->route);
    if (series->instance != 0 && has_row(s, RECENT_INSTANCE, series->instance))
        instance = row_obtain(s, RECENT_INSTANCE, series->instance);
    row_add(route != NULL ? route : s->rows[0], series);
    if (instance != NULL)
        row_add(instance, series);
}

static void sum_add_routes(struct recent_sum *s)
{
    struct recent_row *all = s->rows[0];
    for (size_t i = 1; i < s->count; i++) {
        const struct recent_row *row = s->rows[i];
        for (unsigned c = 0; row->kind == RECENT_ROUTE && c < METRICS_STATUS_CLASSES; c++)
            all->by_status[c] += row->by_status[c];
        if (row->kind == RECENT_ROUTE)
            histogram_add(&all->latency, &row->latency);
    }
}

static struct recent_sum *sum_begin(const struct recent_sum *since, mono_ms_t now_ms)
{
    struct recent_sum *s = calloc(1, sizeof *s);
    if (s == NULL || row_obtain(s, RECENT_ALL, 0) == NULL) {
        free(s);
        return NULL;
    }
    s->at_ms = now_ms;
    s->since = since;
    metrics_each_count(sum_on_count, s);
    return s;
}

static void sum_end(struct recent_sum *s)
{
    sum_add_routes(s);
    s->since = NULL;
}

static void sum_on_series(void *arg, const struct metrics_series *series)
{
    admin_recent_add(arg, series);
}

static void sum_free(struct recent_sum *s)
{
    for (size_t i = 0; s != NULL && i < s->count; i++)
        free(s->rows[i]);
    free(s);
}

/* ---- marks ---- */

void admin_recent_mark(struct admin_recent *r, mono_ms_t now_ms)
{
    struct recent_sum *s = sum_begin(r->newer, now_ms);
    if (s == NULL)
        return; /* the window grows until there is memory again */
    metrics_each_series(sum_on_series, s);
    sum_end(s);
    sum_free(r->older);
    r->older = r->newer;
    r->newer = s;
}

static void recent_on_deadline(struct deadline *d)
{
    struct admin_recent *r = CONTAINER_OF(d, struct admin_recent, next_mark);
    const mono_ms_t now_ms = worker_now_ms(r->control);
    admin_recent_mark(r, now_ms);
    deadline_set(r->control, &r->next_mark, now_ms + RECENT_MARK_EVERY_MS);
}

struct admin_recent *admin_recent_new(struct worker *control)
{
    struct admin_recent *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->control = control;
    r->started_ms = clock_mono_ms();
    deadline_init(&r->next_mark, recent_on_deadline);
    deadline_set(control, &r->next_mark, r->started_ms + RECENT_MARK_EVERY_MS);
    return r;
}

void admin_recent_free(struct admin_recent *r)
{
    if (r == NULL)
        return;
    deadline_clear(r->control, &r->next_mark);
    sum_free(r->older);
    sum_free(r->newer);
    free(r);
}

/* ---- as JSON ---- */

/* What `row` has beyond `before` (NULL: all of it); `row` is changed. NULL: no request. */
static json_t *row_build(struct recent_row *row, const struct recent_row *before)
{
    if (before != NULL) {
        for (unsigned i = 0; i < METRICS_STATUS_CLASSES; i++)
            row->by_status[i] -= MIN(row->by_status[i], before->by_status[i]);
        histogram_subtract(&row->latency, &before->latency);
    }
    return row->latency.count > 0 || row->kind == RECENT_ALL
               ? admin_figures_build(&row->latency, row->by_status)
               : NULL;
}

static void row_append(json_t *list, const char *key, const struct recent_row *row, json_t *figures)
{
    slice_t name = metrics_label_name(row->label);
    json_object_set_new(figures, key, json_stringn(name.ptr, name.len));
    json_array_append_new(list, figures);
}

struct recent_sum *admin_recent_begin(const struct admin_recent *r, mono_ms_t now_ms)
{
    return sum_begin(r->older, now_ms);
}

json_t *admin_recent_build(const struct admin_recent *r, mono_ms_t now_ms)
{
    struct recent_sum *s = admin_recent_begin(r, now_ms);
    metrics_each_series(sum_on_series, s);
    return admin_recent_end(r, &s);
}

static json_t *sum_build(const struct admin_recent *r, const struct recent_sum *s)
{
    json_t *o = json_object(), *routes = json_array(), *instances = json_array();
    for (size_t i = 0; i < s->count; i++) {
        struct recent_row *row = s->rows[i];
        const struct recent_row *before = row_find(r->older, row->kind, row->label);
        const bool unknown = before == NULL && requests_of(r->older, row->kind, row->label) > 0;
        json_t *figures = unknown ? NULL : row_build(row, before);
        if (figures == NULL)
            continue;
        if (row->kind == RECENT_ROUTE) {
            row_append(routes, "route", row, figures);
        } else if (row->kind == RECENT_INSTANCE) {
            row_append(instances, "instance", row, figures);
        } else {
            json_object_update(o, figures);
            json_decref(figures);
        }
    }
    const mono_ms_t since_ms = r->older != NULL ? r->older->at_ms : r->started_ms;
    json_object_set_new(o, "window_ms", json_integer((json_int_t)(s->at_ms - since_ms)));
    json_object_set_new(o, "routes", routes);
    json_object_set_new(o, "instances", instances);
    return o;
}

json_t *admin_recent_end(const struct admin_recent *r, struct recent_sum **s)
{
    if (*s == NULL)
        return json_object();
    sum_end(*s);
    json_t *o = sum_build(r, *s);
    sum_free(*s);
    *s = NULL;
    return o;
}
