/* explain_json.h: the parts of an explanation as JSON; keys are stable and say their unit. */
#ifndef PROXY_EXPLAIN_JSON_H
#define PROXY_EXPLAIN_JSON_H

#include <jansson.h>

#include "proxy/explain_case.h"

/* Bytes that are no UTF-8 become '?', and long texts are cut. */
void explain_put_text(json_t *o, const char *key, slice_t text);
void explain_add_route(json_t *o, const struct explain_case *e);
void explain_add_key(json_t *o, const struct explain_case *e);
/* Inside the RCU section of the decision, like the next. */
void explain_add_cache(json_t *o, const struct explain_case *e);
void explain_add_verdict(json_t *o, const struct explain_case *e);

#endif
