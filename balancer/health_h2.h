/* health_h2.h: the question and the answer of a probe by HTTP/2: one request on a connection of its own.
 *
 * Bytes in, a verdict out: no socket, no clock. Control thread. */
#ifndef BALANCER_HEALTH_H2_H
#define BALANCER_HEALTH_H2_H

#include "core/base.h"

struct health_h2;

/* A GET, or NULL when out of memory. */
struct health_h2 *health_h2_new(const char *scheme, const char *authority, const char *path);
void health_h2_free(struct health_h2 *h); /* NULL is fine */

/* All that is to be sent, preface and settings included; it lasts as long as `h`. */
const char *health_h2_request(const struct health_h2 *h, size_t *bytes);

/* What came next. The status of the response, 0: not there yet, -1: there will be none, and *why. */
int health_h2_read(struct health_h2 *h, const char *bytes, size_t n, const char **why);

#endif
