/* explain.h: what would happen to a request now, and why, in words (`millpond explain`, GET /api/explain).
 *
 * Nothing is asked of an instance and nothing in the cache changes. */
#ifndef PROXY_EXPLAIN_H
#define PROXY_EXPLAIN_H

#include "admin/admin.h"
#include "proxy/snapshot.h"

#define EXPLAIN_URL_MAX    8192  /* bytes */
#define EXPLAIN_FIELDS_MAX 64    /* request fields */
#define EXPLAIN_HEAD_MAX   32768 /* bytes, URL and fields */

/* `c` is NULL when store = off. Control thread (registered for RCU). A new object, or NULL with what is wrong
 * with the question in *error and what would be right in *hint (static texts). */
json_t *explain_question(const struct snapshot *s, struct cache *c, const struct admin_question *q,
                         const char **error, const char **hint);

#endif
