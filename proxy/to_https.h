/* to_https.h: what a listener answers before any route is looked at: the challenges of ACME (RFC 8555 section
 * 8.3) from a folder, and 308 to the https address. */
#ifndef PROXY_TO_HTTPS_H
#define PROXY_TO_HTTPS_H

#include "proxy/phase.h"

/* For a listener that `diverts`; part of phase ROUTE. false: the request goes its usual way. */
bool to_https_answers(struct exchange *x, enum phase_result *result);

#endif
