/* api_purge.h: POST /api/purge. Control thread. */
#ifndef ADMIN_API_PURGE_H
#define ADMIN_API_PURGE_H

#include "admin/api.h"

/* The body is what cache/purge_json.h reads. */
void api_post_purge(struct api_call *c);

#endif
