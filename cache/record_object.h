/* record_object.h: from a stored object to its record (record.h) and back, pure.
 *
 * Back means: what a flight is given to fill, so that a loaded response passes through the same hands as a
 * fetched one. Its age goes on counting while it lies in the store. Clocks of nodes may differ, so the time
 * it lay there is what its expiry has lost since, by the store's own clock, where that is known. Where it is
 * not, it is the difference between two nodes' clocks, and a record that seems to come from the future (by
 * more than CACHE_RECORD_SKEW_MS) counts as if it had lain there to the end of its expiry: at worst too old.
 *
 * What is stale by a soft purge is not written: who loads an older record of it finds the purge in his own
 * log. */
#ifndef CACHE_RECORD_OBJECT_H
#define CACHE_RECORD_OBJECT_H

#include "cache/record.h"

#define CACHE_RECORD_SKEW_MS         1000
#define CACHE_RECORD_EXPIRE_LEAST_MS 100

/* For how long a response with this freshness is worth keeping in the store: what is left of the lifetime and
 * the stale windows, at most CACHE_RECORD_EXPIRE_MAX_MS; 0: not worth writing. */
dur_ms_t cache_record_expire_ms(const struct cache_freshness *f, wall_ms_t now_ms);

/* The record of a complete object, to be encoded right before it is sent, so that its expiry counts from
 * then; it borrows the object. `write_id` is random. false when it is not complete, softly purged, not worth
 * writing, or has no stamp. */
bool cache_record_of_object(const struct cache_object *o, const struct cache_stream_map *map,
                            uint64_t write_id, wall_ms_t now_ms, struct cache_record *out);
/* The record that tells by what the responses for a URL vary; borrows. It is to live as long as the longest
 * of its variants. */
struct cache_record cache_record_of_marker(slice_t primary, slice_t vary_names);

/* What a flight is filled with; borrows the record. Not to be copied: it points into itself. */
struct cache_record_fill {
    struct cache_fill fill;
    struct http_head response; /* nothing but Vary */
    struct http_field vary;
};

/* Of a decoded object. `checked_id` is the local id of its stamp (stream_map.h), `request` the one whose
 * whole key the record was found under. `left_ms` is what is left of the record's expiry (PTTL), -1 unknown;
 * it must be asked for before the record is, or a new write in between makes an old record young. The flight
 * may turn the result down: purged since (cache.h). */
void cache_record_to_fill(const struct cache_record *r, uint64_t checked_id, const struct http_head *request,
                          int64_t max_object_bytes, wall_ms_t now_ms, dur_ms_t left_ms,
                          struct cache_record_fill *out);

#endif
