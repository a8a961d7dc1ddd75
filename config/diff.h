/* diff.h: what a reload keeps: lookups of one snapshot's things in another. Pure; any thread that holds both.
 * What is in both is kept, what only the new one has is added, what only the old one has is dropped. */
#ifndef CONFIG_DIFF_H
#define CONFIG_DIFF_H

#include "config/config.h"

/* The listen section of `c` that has this address, NULL when none. Addresses with port 0 (the kernel picks)
 * are the same only in sections of the same `name`. */
const struct config_listen *config_find_listen(const struct config *c, const struct net_addr *address,
                                               const char *name);
const struct config_pool *config_find_pool(const struct config *c, const char *name);
/* The same requests take both routes, where they stand in the same place. */
bool config_route_conditions_equal(const struct config_route *a, const struct config_route *b);
/* Calls `fn` for each option that differs but only takes effect at the next start, with both values as text
 * ("" = not set; of a list the first that differ; secrets hidden). Returns how many. */
size_t config_diff_restart(const struct config *before, const struct config *after,
                           void (*fn)(void *user, const char *section, const char *key, const char *old_text,
                                      const char *new_text),
                           void *user);

#endif
