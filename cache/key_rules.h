/* key_rules.h: what a route makes of keys, ready for the request path.
 *
 * Equal keys must mean the same under whatever configuration they were made, since objects outlive a reload.
 * So every key that is not made by the default rules carries a tag, a fingerprint of the rules; changed rules
 * find nothing that older ones stored. A route that is chosen by request fields has a tag of its own too:
 * what its pool answers must not be taken for the answer of another route to the same URL. */
#ifndef CACHE_KEY_RULES_H
#define CACHE_KEY_RULES_H

#include "config/config.h"
#include "core/arena.h"
#include "core/http_msg.h"

#define CACHE_KEY_TAG_BYTES 23 /* " rules:" and 16 hexadecimal digits */

/* Part of struct cache_rules. All zero: the default rules. */
struct cache_key_rules {
    const struct config_key *custom; /* NULL: nothing but the whole query, sorted; lives in the snapshot */
    char tag[CACHE_KEY_TAG_BYTES];
};

void cache_key_rules_make(const struct config_route *r, struct cache_key_rules *out);
/* The same for the canary of a route that is split, `pool`: what it answers lies apart. */
void cache_key_rules_make_canary(const struct config_route *r, const char *pool, struct cache_key_rules *out);

static inline slice_t cache_key_rules_tag(const struct cache_key_rules *k)
{
    return slice_make(k->tag, k->custom != NULL ? sizeof k->tag : 0);
}

/* A response's head for the choice of variants: its Vary without the fields that the key tells apart already,
 * themselves or by a class they are folded into. A variant per User-Agent is not wanted where the key holds
 * the device. Returns `head` itself when there is nothing to leave out, or memory is short; else a copy in
 * the arena. */
const struct http_head *cache_key_rules_vary(struct arena *arena, const struct cache_key_rules *k,
                                             const struct http_head *head);

#endif
