/* variants.h: a URL with more variants than anybody can mean is said aloud: which fields of its Vary it owes
 * them to, and how many values of each there are. */
#ifndef CACHE_VARIANTS_H
#define CACHE_VARIANTS_H

#include "cache/shard.h"

/* The marker is full, and its oldest variant is about to go. Counts it; writes a line to the log once per
 * marker, and at most every ten seconds. Under the shard's lock. */
void cache_variants_note_full(struct cache *c, struct cache_marker *m);

#endif
