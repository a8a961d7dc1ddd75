/* api_order.h: POST /api/drain, /api/ready and /api/weight: orders about one server of a pool; /api/resume
 * about a route. */
#ifndef ADMIN_API_ORDER_H
#define ADMIN_API_ORDER_H

#include "admin/api.h"

/* Each answers with the server as GET /api/pools shows it, or refuses: 400 for a body that says something
 * else, 404 for a server that is not there, 409 when no other one takes requests. */
void api_post_drain(struct api_call *c);
void api_post_ready(struct api_call *c);
void api_post_weight(struct api_call *c);

/* POST /api/resume: the canary of a route gets its share again. Answers with the split as the status shows
 * it; 404 for a route that is not split. */
void api_post_resume(struct api_call *c);

#endif
