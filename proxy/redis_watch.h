/* redis_watch.h: keeps an eye on Redis for people: asks each worker what it sees, twice a second once it
 * runs, logs when a server becomes reachable or stops being so (redis_tell.h), and tells the status. Nobody
 * waits: what is shown is at most a round old. Control thread. */
#ifndef PROXY_REDIS_WATCH_H
#define PROXY_REDIS_WATCH_H

#include <jansson.h>

#include "config/config.h"
#include "core/worker.h"

#define REDIS_WATCH_MS 500

struct redis;
struct redis_watch;

/* Before the workers start. `c` is the configuration the clients are made of; a reference is taken. NULL when
 * out of memory. */
struct redis_watch *redis_watch_new(struct worker *control, size_t workers, struct config *c);
/* `client` is the place of the `i`th worker's client, that worker's own, and may hold NULL. */
void redis_watch_add(struct redis_watch *w, size_t i, struct worker *worker, struct redis *const *client);
/* Once the workers run. */
void redis_watch_start(struct redis_watch *w);
/* While they still do; who was asked already answers before any mail that is posted to him now is delivered.
 * NULL is fine. */
void redis_watch_stop(struct redis_watch *w);
/* Once no worker runs, and all mail is delivered. NULL is fine. */
void redis_watch_free(struct redis_watch *w);

/* The "redis" object of the status; null when `w` is NULL. */
json_t *redis_watch_status(const struct redis_watch *w);

#endif
