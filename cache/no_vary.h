/* no_vary.h: No-Vary-Search (draft-ietf-httpbis-no-vary-search): which differences of the query a response
 * says mean nothing. Pure.
 *
 * What a response says is a rule, and has one text, which begins with a space and is part of the keys made by
 * it, directly behind the URL:
 *
 *   http://h/p?id=1 no-vary:only:id          params, except=("id")
 *   http://h/p?id=1 no-vary:except:a&b       params=("b" "a")
 *   http://h/p no-vary:none                  params
 *   http://h/p?a=1&b=2 no-vary:order         key-order
 *
 * So whatever lies under such a key was stored by a response that said just this about a URL that is the same
 * by it; who knows a wrong rule finds nothing, never something wrong.
 *
 * Names and values are read as application/x-www-form-urlencoded: '+' is a space, "a" is "a=", empty pairs
 * are nothing. More is told apart than need be where that is safer: bytes that are no UTF-8, parameters with
 * a bare ';' (key_query.h), and for `except` what an application might read as a listed name. */
#ifndef CACHE_NO_VARY_H
#define CACHE_NO_VARY_H

#include "cache/key.h"
#include "config/config.h"
#include "core/arena.h"
#include "core/http_msg.h"

#define NO_VARY_TEXT_MAX  255
#define NO_VARY_NAMES_MAX 32
#define NO_VARY_PART      SLICE_LIT(" no-vary:")

/* Made once from its text; points into itself, so it is not copied. */
struct no_vary_rule {
    struct config_key key; /* as a route would say it; `sort` is key-order */
    slice_t text;
    struct config_key_param names[NO_VARY_NAMES_MAX];
    char bytes[NO_VARY_TEXT_MAX], decoded[NO_VARY_TEXT_MAX];
};

/* The text of the rule that a response's head states, in the arena. Empty when it states none: the field is
 * absent, invalid by the draft, says nothing, or is too large to be heeded. */
slice_t cache_no_vary_parse(struct arena *arena, const struct http_head *response);

/* The rule of a text that cache_no_vary_parse made. */
void cache_no_vary_read(slice_t text, struct no_vary_rule *out);

/* Makes the key by this rule of one that was made without, in the arena. false without memory. */
bool cache_no_vary_key(struct arena *arena, const struct no_vary_rule *rule, slice_t plain,
                       struct cache_key *out);

/* Whether a primary key, whose URL is `url`, was made by a rule. */
static inline bool cache_no_vary_is_part_of(slice_t primary, slice_t url)
{
    return slice_starts(slice_make(primary.ptr + url.len, primary.len - url.len), NO_VARY_PART);
}

#endif
