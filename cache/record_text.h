/* record_text.h: whether texts out of a store that others can write to have the form in which this program
 * writes them, pure. What is not canonical is refused, never mended: a head that this program did not write
 * could smuggle a line to a client. */
#ifndef CACHE_RECORD_TEXT_H
#define CACHE_RECORD_TEXT_H

#include "cache/tags.h"

/* A stored head with its hidden lines: status line of `status`, `status_line_bytes` long, then "Name: value"
 * lines ended by CRLF, none of them a field that is never stored. */
bool cache_record_head_is_ok(slice_t head, unsigned status, size_t status_line_bytes);
/* A whole key: a primary key alone when there are no names; else NUL and a line of the secondary key for each
 * of the names, which are as cache_vary_names has them. */
bool cache_record_key_is_ok(slice_t key, size_t primary_bytes, slice_t vary_names);
bool cache_record_tags_are_ok(const struct cache_tags *tags);

/* The value of the first such field of a head that is known to be canonical; empty: none. */
slice_t cache_record_head_field(slice_t head, enum http_field_id id);

#endif
