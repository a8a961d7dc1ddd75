/* api_explain.h: GET /api/explain?url=URL[&method=M][&header=Name: value]... */
#ifndef ADMIN_API_EXPLAIN_H
#define ADMIN_API_EXPLAIN_H

#include "admin/api.h"

#define ADMIN_EXPLAIN_FIELDS_MAX 64

/* Answers the call, now or when the answer is there. Control thread. */
void api_get_explain(struct api_call *c);

#endif
