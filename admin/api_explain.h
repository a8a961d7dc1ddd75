/* api_explain.h: GET /api/explain?url=URL[&method=M][&header=Name: value]... */
#ifndef ADMIN_API_EXPLAIN_H
#define ADMIN_API_EXPLAIN_H

#include <event2/http.h>

#include "admin/admin.h"

#define ADMIN_EXPLAIN_FIELDS_MAX 64

/* The answer, or an error with a hint; *status is the HTTP status. Control thread. */
json_t *admin_explain_answer(const struct admin_ops *ops, const struct evhttp_uri *uri, int *status);

#endif
