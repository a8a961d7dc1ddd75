/* fetch_timeout.h: a route's `timeout`: one limit for all tries of a request, and the waits between them. */
#ifndef PROXY_FETCH_TIMEOUT_H
#define PROXY_FETCH_TIMEOUT_H

#include <stdbool.h>

struct exchange;

/* Before the first try: the time runs from now. false: no memory. */
bool fetch_timeout_begin(struct exchange *x);
/* All of the request's body is there: only now it is up to the instances alone, and the time runs anew.
 * x->timeout is not NULL. */
void fetch_timeout_on_body(struct exchange *x);
/* It is over for good: the exchange ends, or its arena is emptied. x->timeout is not NULL, and is afterwards.
 */
void fetch_timeout_end(struct exchange *x);

#endif
