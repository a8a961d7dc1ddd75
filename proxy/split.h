/* split.h: the route option split: a share of the requests goes to another pool, the canary, until that does
 * worse. */
#ifndef PROXY_SPLIT_H
#define PROXY_SPLIT_H

#include <jansson.h>

#include "config/config.h"
#include "core/clock.h"

struct exchange;
struct snapshot;

/* Of one route: what its two sides have answered of late, and whether the canary was stopped. Shared by the
 * snapshots in which the line is the same; refcounted. */
struct split;

struct split *split_new(void); /* NULL when out of memory */
struct split *split_ref(struct split *s);
void split_unref(struct split *s); /* NULL is nothing */

/* ROUTE, of a route with `split`: x->route becomes that of the side that the request goes to, and the other
 * side's sticky cookie goes out of the request. Any thread that holds the snapshot; writes nothing else. */
void split_choose(struct exchange *x);
/* The same, pure: is it the canary's? `by` is the value of the cookie or field, else the client's address. */
bool split_picks_canary(const struct config_split *split, const char *canary_name, const char *stable_name,
                        slice_t by, bool may_name);

/* LOG, of a request of such a route that was fetched: counts what came of it, and stops the canary if that
 * makes it worse than it may be. Worker's thread. */
void split_count(struct exchange *x);

/* What a side has come to. */
struct split_figures {
    uint64_t requests, failures;
    uint64_t p95_us; /* 0: nothing is known */
};
enum split_verdict { SPLIT_RUNS, SPLIT_TOO_MANY_ERRORS, SPLIT_TOO_SLOW };
/* Pure. */
enum split_verdict split_judge(const struct split_figures *stable, const struct split_figures *canary,
                               const struct config_route *r);

/* One answer. `us`: how long it took to begin, 0: not to be compared. Any thread. */
enum split_side { SPLIT_STABLE, SPLIT_CANARY };
void split_observe(struct split *s, enum split_side side, bool failed, mono_us_t us);
struct split_figures split_figures(struct split *s, enum split_side side);
/* Since it was made or started it has filled: older answers count less. */
void split_age(struct split *s, uint64_t samples);

/* Control thread. For the status: an array, one object for each route that is split. */
json_t *split_status(const struct snapshot *s);
/* Begins anew: nothing is known, and the canary gets its share. false: no such route is split. `who` is for
 * the log. */
bool split_start(const struct snapshot *s, const char *route, const char *who);

#endif
