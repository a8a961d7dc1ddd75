/* purge_request.h: what one request to purge asks for, from what people and programs write to events of the
 * invalidation log, and doing it: one call, one event id, one line in the log.
 *
 * The ways in (command line and API, PURGE and BAN, messages) fill a request each in its own syntax; what a
 * URL, a prefix, a pattern, a host and a tag look like is decided here for all of them. Any thread, one at a
 * time.
 */
#ifndef CACHE_PURGE_REQUEST_H
#define CACHE_PURGE_REQUEST_H

#include "cache/cache.h"
#include "cache/purge.h"
#include "core/metrics.h"

#define CACHE_PURGE_ITEMS_MAX 256

/* Lives in the frame of who fills it; texts are in the arena. */
struct cache_purge_request {
    struct arena *arena;
    bool soft;      /* stale from now on, rather than gone */
    bool any_query; /* URLs: whatever their query */
    /* The key texts of a URL by the routes' rules, in the arena; 0: out of memory. NULL: by the default
     * rules. */
    size_t (*url_keys)(void *arg, const struct cache_url *url, struct arena *arena, slice_t **texts);
    void *url_keys_arg;
    /* Why it failed: a sentence, and what to do about it; both static, or in the arena. */
    const char *problem, *hint;
    size_t count;
    struct cache_purge items[CACHE_PURGE_ITEMS_MAX];
};

/* The fields before `items`. */
void cache_purge_request_init(struct cache_purge_request *r, struct arena *arena);

/* Adds one item as it was written. The scheme makes no difference and may be left out; the host is in any
 * case. false with `problem` and `hint` when it is not one of that kind. */
bool cache_purge_request_add(struct cache_purge_request *r, enum cache_purge_kind kind, slice_t text);
/* Adds a URL by its key text (borrowed). */
bool cache_purge_request_add_key(struct cache_purge_request *r, slice_t key);
/* Adds each tag of a list, in which white space and, if `commas`, commas separate. A list without any is a
 * problem. */
bool cache_purge_request_add_tags(struct cache_purge_request *r, slice_t list, bool commas);

/* Does it, whole or not at all; logs it and counts it. `who` asked, as it is to stand in the log. false with
 * `problem` and `hint`. */
bool cache_purge_request_run(struct cache *c, struct cache_purge_request *r, enum purge_source source,
                             slice_t who, struct metrics_shard *metrics, struct cache_purge_result *out);

/* Counts events that are made without a request (unsafe methods, groups). */
void cache_purge_count(struct metrics_shard *metrics, enum cache_purge_kind kind, enum purge_source source);

/* As in answers, the log and the metrics. */
enum purge_kind cache_purge_kind_of(enum cache_purge_kind kind);

/* True when `removed` of the result is all there was, rather than what could be counted at once. */
bool cache_purge_request_is_counted(const struct cache_purge_request *r);

#endif
