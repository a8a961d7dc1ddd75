/* status.h: the running server's figures as JSON, for the API, the page and `millpond status`. Control
 * thread; every function returns a new reference, NULL when out of memory. */
#ifndef ADMIN_STATUS_H
#define ADMIN_STATUS_H

#include "admin/api.h"
#include "core/metrics.h"

json_t *admin_status_build(struct admin *a);
/* [{"name", "instances": [...]}] in the order of the configuration. `b` may be NULL. */
json_t *admin_pools_build(struct balancer *b);
/* {"count", "statuses" {"5xx": 3, ...; "0xx": no answer was sent}, "p50_ms", ..., "max_ms"}; classes of
 * status that did not come are left out. */
json_t *admin_figures_build(const struct histogram *latency,
                            const uint64_t by_status[METRICS_STATUS_CLASSES]);

#endif
