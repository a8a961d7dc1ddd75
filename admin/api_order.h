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

/* ---- for other calls about servers ---- */

#define API_NAME_BYTES 1024

/* "POOL/SERVER". */
bool api_split_server(const json_t *name, char pool[API_NAME_BYTES], const char **server);
/* Answers with the server as GET /api/pools shows it. */
void api_send_server(struct api_call *c, const char *pool, const char *server);
/* Refuses with the names there are: those of the pool's servers, or of all. */
void api_fail_unknown(struct api_call *c, const char *pool, bool in_pool);
void api_fail_last(struct api_call *c);

/* POST /api/resume: the canary of a route gets its share again. Answers with the split as the status shows
 * it; 404 for a route that is not split. */
void api_post_resume(struct api_call *c);

#endif
