/* fold.h: what the instance learns of the classes that requests are folded into (cache/key_fold.h). */
#ifndef PROXY_FOLD_H
#define PROXY_FOLD_H

#include "core/text.h"
#include "proxy/exchange.h"

#define FOLD_FIELDS_MAX 160 /* bytes that fold_put_fields writes at most */

/* Millpond-Device, Millpond-Language and Millpond-Mirror come from us or from nobody. */
static inline bool fold_is_ours(const struct http_field *f)
{
    if (LIKELY(f->id != HTTP_FIELD_OTHER || (f->name.len != 15 && f->name.len != 17)))
        return false;
    return slice_ieq(f->name, SLICE_LIT("Millpond-Device")) ||
           slice_ieq(f->name, SLICE_LIT("Millpond-Mirror")) ||
           slice_ieq(f->name, SLICE_LIT("Millpond-Language"));
}

/* The set of fields of the client's (HTTP_BIT) that the classes take the place of. */
static inline uint64_t fold_replaces(const struct exchange *x)
{
    const struct config_key *key = x->route->rules.key.custom;
    return key != NULL && key->languages.count > 0 ? HTTP_BIT(ACCEPT_LANGUAGE) : 0;
}

/* The fields of the request to the instance, on routes that fold. */
void fold_put_classes(struct text *t, const struct exchange *x);
static inline void fold_put_fields(struct text *t, const struct exchange *x)
{
    if (UNLIKELY(x->route->rules.key.custom != NULL))
        fold_put_classes(t, x);
}

#endif
