/* recent.h: what requests came to lately: how many, with which status, how fast; over all, by route and by
 * instance. Quantiles since the start say little about an instance that is slow now: these are of the last
 * half to whole minute. Control thread. */
#ifndef ADMIN_RECENT_H
#define ADMIN_RECENT_H

#include <jansson.h>

#include "core/worker.h"

#define RECENT_MARK_EVERY_MS 30000

struct admin_recent;
struct recent_sum;
struct metrics_series;

/* `control` outlives it. NULL when out of memory. */
struct admin_recent *admin_recent_new(struct worker *control);
void admin_recent_free(struct admin_recent *r); /* may be NULL */

/* Remembers the figures as they are; admin_recent_build counts from the mark before the last one. Called
 * every RECENT_MARK_EVERY_MS by a deadline of its own, and by tests. */
void admin_recent_mark(struct admin_recent *r, mono_ms_t now_ms);

/* {"window_ms", the figures of admin_figures_build, "routes": [{"route", figures}], "instances":
 * [{"instance", figures}]}, without rows that had no request. A new reference, NULL when out of memory. */
json_t *admin_recent_build(const struct admin_recent *r, mono_ms_t now_ms);

/* The same for who walks over all series anyway (metrics_each_series), which costs most: begin, add each,
 * end. What begin returns may be NULL, and is consumed by end. */
struct recent_sum *admin_recent_begin(const struct admin_recent *r, mono_ms_t now_ms);
void admin_recent_add(struct recent_sum *s, const struct metrics_series *series);
json_t *admin_recent_end(const struct admin_recent *r, struct recent_sum **s);

#endif
