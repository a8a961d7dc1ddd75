/* calm_page.h: what a visitor is shown when nobody is there to answer him, in place of our own words: a file
 * of the operator's, by route.
 *
 * For when no instance could be asked: none is usable or can be connected to, or the request was dropped
 * while it waited for one with room. What instances answer, errors of theirs too, is not replaced. A stale
 * copy comes first, where it is allowed. */
#ifndef PROXY_CALM_PAGE_H
#define PROXY_CALM_PAGE_H

#include "config/config.h"
#include "core/outcome.h"
#include "proxy/phase.h"

#define CALM_PAGE_MAX_BYTES (256 * KB)

struct calm_page;

/* Control thread, or a command. NULL in *out when the route has none. false and "file:line: [route NAME]
 * calm_page: what is wrong; what would be right" when there is one that cannot be read. */
bool calm_page_load(const struct config *c, const struct config_route *r, struct calm_page **out, char *err,
                    size_t err_bytes);
void calm_page_free(struct calm_page *p);

/* Worker: answers what came of a fetch, with the page, or else with `status` and our own words. */
enum phase_result calm_page_or_error(struct exchange *x, enum fetch_error e, unsigned status);

#endif
