/* redis_link.h: the [redis] section at work: what the connections of all workers have in common.
 *
 * Made by the control thread before the workers start, and freed after they have ended; in between nothing of
 * it changes, and each worker opens and closes a struct redis of its own with it. It holds the configuration
 * it was made of, since connections borrow from that: a reload changes nothing here (OPTION_RESTART). Nothing
 * waits for Redis. */
#ifndef PROXY_REDIS_LINK_H
#define PROXY_REDIS_LINK_H

#include "config/config.h"
#include "core/redis.h"

struct redis_link;

/* Of a configuration whose redis.given is true; takes a reference. NULL, and a message with the line of the
 * file in `err`, when the authorities cannot be loaded or memory is short. */
struct redis_link *redis_link_new(struct config *c, char *err, size_t err_bytes);
/* NULL is fine. */
void redis_link_free(struct redis_link *l);

/* For one worker, on its thread, which closes it there (redis_close). `l` is kept until then. NULL when out
 * of memory. Any worker. */
struct redis *redis_link_open(const struct redis_link *l, struct worker *w);
/* The beginning of every name there. Any worker. */
slice_t redis_link_prefix(const struct redis_link *l);
/* What it is opened with. */
const struct redis_settings *redis_link_settings(const struct redis_link *l);

#endif
