/* record_pack.h: bodies packed by zstd on their way into records, part by part, and back.
 *
 * A part is the body of a head record or of a chunk, so at most CACHE_RECORD_CHUNK bytes, and each is a frame
 * of its own: what packing takes at a time is bounded, and chunks are read in any order. What is read may be
 * anything: it has to give exactly the bytes that the record announces, and never writes more. Packed is what
 * looks like text and is not encoded already, if that makes it shorter by an eighth. Level 1: the next levels
 * take twice the time for a few percent. Rejected: a dictionary. It would have to be shared by all nodes, and
 * outlive what was packed with it. */
#ifndef CACHE_RECORD_PACK_H
#define CACHE_RECORD_PACK_H

#include "cache/record.h"

#define CACHE_PACK_LEAST 1024 /* bytes of a body; less is not packed */

/* Owned by who opened it, one thread; half a MB once both directions were used. */
struct cache_packer;

/* NULL when out of memory. */
struct cache_packer *cache_packer_open(void);
/* Nulls; NULL is fine. */
void cache_packer_close(struct cache_packer **p);

/* Is a response with this stored head and body worth the try? */
bool cache_pack_wants(slice_t head, uint64_t body_bytes);
/* For r->part: CACHE_RECORD_HEAD or a chunk of what is to be encoded; borrowed until the next call. Empty: it
 * is to stay as it is. */
slice_t cache_packer_pack(struct cache_packer *p, const struct cache_record *r, int64_t part);
/* Into `out`, exactly `bytes`; false when it is anything else. */
bool cache_packer_unpack(struct cache_packer *p, slice_t packed, char *out, size_t bytes);

#endif
