/* percent.h: percent-encoding in keys, pure: RFC 3986 section 6.2.2 equivalents become the same bytes. */
#ifndef CACHE_PERCENT_H
#define CACHE_PERCENT_H

#include "core/slice.h"

/* Writes `s` with unreserved characters decoded and hex digits in upper case; returns the end. Never longer
 * than `s`. From a '%' that begins no escape on, all is left as it is: decoding behind it could form a new
 * escape ("%%34%31"), and normalising twice would not be the same as once. */
char *cache_percent_put(char *out, slice_t s);

/* The byte at `*at`, decoded when an escape is there; moves `*at` behind it. */
unsigned char cache_percent_byte(slice_t s, size_t *at);

#endif
