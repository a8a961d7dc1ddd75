/* fold.c: see fold.h. Worker thread.
 *
 * The language takes the place of Accept-Language too: an application that knows nothing of this server then
 * answers by what is in the key, and cannot answer by what is not. User-Agent stays as it is: applications
 * log it, and nobody could tell the class from an invented one. */
#include "proxy/fold.h"

#include "cache/key_fold.h"
#include "proxy/forward.h"

static void put(struct text *t, const struct exchange *x, slice_t name, slice_t value)
{
    const struct config_route *r = x->route->config;
    if (forward_is_edited(r->request_edits, r->request_edit_count, name))
        return;
    text_put(t, name);
    TEXT_LIT(t, ": ");
    text_put(t, value);
    TEXT_LIT(t, "\r\n");
}

void fold_put_classes(struct text *t, const struct exchange *x)
{
    const struct config_key *key = x->route->rules.key.custom;
    if (key->device)
        put(t, x, SLICE_LIT("Millpond-Device"), cache_key_device(&x->req));
    if (key->languages.count > 0) {
        slice_t language = cache_key_language(&x->req, &key->languages);
        put(t, x, SLICE_LIT("Millpond-Language"), language);
        put(t, x, SLICE_LIT("Accept-Language"), language);
    }
}
