/* purge_pattern.h: the regular expressions that purgers send, as globs, as far as the two mean the same.
 * Pure.
 */
#ifndef CACHE_PURGE_PATTERN_H
#define CACHE_PURGE_PATTERN_H

#include "core/arena.h"
#include "core/slice.h"

/* A regular expression that is searched in a text, as a glob over the whole text: `glob`, with a `*` in front
 * of it unless `anchored`. */
struct cache_purge_pattern {
    slice_t glob; /* in the arena; `.ptr` is NULL without memory */
    bool anchored;
};

/* Understood: characters that mean themselves, `.`, `.*`, `.+`, a backslash before punctuation, `^` in front
 * and `$` at the end. A literal `*` becomes `?`, so the glob matches at least what the expression did. false
 * when there is anything else in it. */
bool cache_purge_pattern_from_regex(struct arena *arena, slice_t regex, struct cache_purge_pattern *out);

/* The one host that `regex` means ("example\.com", "^example.com$"), or "*" for `.*` and for an empty one.
 * `.ptr` is NULL when it means several, is none, or without memory. */
slice_t cache_purge_host_from_regex(struct arena *arena, slice_t regex);

#endif
