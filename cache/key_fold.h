/* key_fold.h: many values of a request field folded into few classes, pure: the device that asks, and the
 * language that suits it best. The class is in the key, and what the application is told. */
#ifndef CACHE_KEY_FOLD_H
#define CACHE_KEY_FOLD_H

#include "config/config.h"
#include "core/http_msg.h"

/* "mobile", "tablet" or "desktop": Sec-CH-UA-Mobile: ?1 says mobile; else the first row of the table in
 * key_fold.c (and docs/cache-keys.md) whose word occurs in the first 512 bytes of User-Agent, whatever its
 * case. */
slice_t cache_key_device(const struct http_head *request);

/* The one of `languages` (at least one) that Accept-Language asks for first: its ranges by weight, each
 * looked up by RFC 4647 section 3.4. The first of the list where none fits. Of the field's elements the first
 * 32 count. */
slice_t cache_key_language(const struct http_head *request, const struct config_strings *languages);

#endif
