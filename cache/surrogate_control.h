/* surrogate_control.h: Surrogate-Control (W3C Edge Architecture Specification 1.0, section 2), pure. */
#ifndef CACHE_SURROGATE_CONTROL_H
#define CACHE_SURROGATE_CONTROL_H

#include "cache/cache_control.h"

/* All lines of a response's Surrogate-Control, read as Cache-Control; `max-age=N+M` also says that it may be
 * used for M seconds once it is stale. false when the field is absent or says nothing about caching
 * (content="ESI/1.0"). What Cache-Control calls private stays so: the note does not say that it must not. */
bool cache_surrogate_control_parse(const struct http_head *response, struct cache_control *out);

#endif
