/* hsts.c: see hsts.h. The application's own field goes before the listener's, and so does what a route sets
 * or removes: they know more of the site. Two years are what browsers ask of sites for their own lists. */
#include "proxy/hsts.h"

#include "proxy/client.h"
#include "proxy/deliver.h"
#include "proxy/forward.h"

#define NAME "Strict-Transport-Security"
#define LINE NAME ": max-age=63072000"

static const slice_t lines[] = {
    [CONFIG_HSTS_OFF] = {"", 0},
    [CONFIG_HSTS_ON] = {LINE "\r\n", sizeof LINE "\r\n" - 1},
    [CONFIG_HSTS_SUBDOMAINS] = {LINE "; includeSubDomains\r\n", sizeof LINE "; includeSubDomains\r\n" - 1},
    [CONFIG_HSTS_PRELOAD] = {LINE "; includeSubDomains; preload\r\n",
                             sizeof LINE "; includeSubDomains; preload\r\n" - 1},
};

static bool is_said_already(const struct exchange *x, slice_t base)
{
    const struct config_route *r = x->route != NULL ? x->route->config : NULL;
    slice_t name, value;
    if (r != NULL && forward_is_edited(r->response_edits, r->response_edit_count, SLICE_LIT(NAME)))
        return true;
    while (head_text_next(&base, &name, &value)) {
        if (slice_ieq(name, SLICE_LIT(NAME)))
            return true;
    }
    return false;
}

bool hsts_deliver_field(struct exchange *x, slice_t base, size_t *bytes)
{
    slice_t line = lines[x->listen->hsts];
    if (!x->secure || is_said_already(x, base)) /* over plain HTTP it must not be said (section 7.2) */
        return true;
    *bytes += line.len;
    return client_add(x, line.ptr, line.len, NULL);
}
