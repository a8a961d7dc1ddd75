/* api_purge.h: POST /api/purge. Control thread. */
#ifndef ADMIN_API_PURGE_H
#define ADMIN_API_PURGE_H

#include "admin/api.h"

/* {"url" | "tags" | "prefix" | "glob" | "host": a text or a list of texts, "all": true, "soft", "any_query":
 * bool}. What one call names is purged together, or nothing of it. */
void api_post_purge(struct api_call *c);

#endif
