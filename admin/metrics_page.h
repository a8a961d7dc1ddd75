/* metrics_page.h: the page for Prometheus: what core knows (admin/prometheus.h), then what only the admin
 * sees: the configuration, the cache and the instances. Control thread. */
#ifndef ADMIN_METRICS_PAGE_H
#define ADMIN_METRICS_PAGE_H

#include "admin/api.h"
#include "admin/prometheus.h"

/* Appends the page; false when out of memory, and then it must not be sent. */
bool admin_metrics_write(struct admin *a, struct evbuffer *out);

#endif
