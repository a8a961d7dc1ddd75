/* api_server.h: POST /api/add and /api/remove: servers of a pool while the program runs. */
#ifndef ADMIN_API_SERVER_H
#define ADMIN_API_SERVER_H

#include "admin/api.h"

/* The first answers with the new server as GET /api/pools shows it, the second with "pool", "name" and
 * "in_flight", what still runs there. Refusals are those of orders, and 422 with "problems" when there can be
 * no such configuration. What is asked for already is answered as if it had been done just now. */
void api_post_add(struct api_call *c);
void api_post_remove(struct api_call *c);

#endif
