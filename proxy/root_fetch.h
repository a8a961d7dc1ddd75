/* root_fetch.h: the fetch of a route with `root`: an origin server of files, where others have a connection
 * to an instance. See root_fetch.c. */
#ifndef PROXY_ROOT_FETCH_H
#define PROXY_ROOT_FETCH_H

#include "proxy/phase.h"

/* Phase FETCH of such a route, whose request is prepared: begins to read. */
enum phase_result root_fetch(struct exchange *x);

#endif
