/* glob.h: patterns with `*` (any text, empty too) and `?` (any one byte), pure. Nothing escapes them; a `*`
 * in the text is matched by either. */
#ifndef CACHE_GLOB_H
#define CACHE_GLOB_H

#include "core/slice.h"

/* True when the pattern fits the whole text. Time grows with the text; only a piece between two stars that
 * contains `?` costs its own length at each byte. */
bool cache_glob_matches(slice_t pattern, slice_t text);

#endif
