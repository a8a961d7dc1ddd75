/* health_h2.h: the question and the answer of a probe by HTTP/2: one request on a connection of its own.
 *
 * Bytes in, a verdict out: no socket, no clock. Control thread. */
#ifndef BALANCER_HEALTH_H2_H
#define BALANCER_HEALTH_H2_H

#include "balancer/health_body.h"

struct health_h2;

/* As much of a body as is looked at. The windows have room for more, that is for padding, and are told at
 * once and not moved later. */
#define HEALTH_H2_BODY   (256 * KB)
#define HEALTH_H2_WINDOW (HEALTH_H2_BODY + 64 * KB)

/* A GET, or NULL when out of memory. `wanted`: what the body must hold, copied; NULL or "": anything. */
struct health_h2 *health_h2_new(const char *scheme, const char *authority, const char *path,
                                const char *wanted);
void health_h2_free(struct health_h2 *h); /* NULL is fine */

/* All that is to be sent, preface and settings included; it lasts as long as `h`. */
const char *health_h2_request(const struct health_h2 *h, size_t *bytes);

/* What came next. The status of the response, 0: not there yet, -1: there will be none, and *why. */
int health_h2_read(struct health_h2 *h, const char *bytes, size_t n, const char **why);
bool health_h2_looks(const struct health_h2 *h); /* something is wanted of the body */
/* Of one that looks, once there is a status: what the body is as far as it was read. BROKEN: it will not be
 * whole. */
enum health_body_verdict health_h2_body(const struct health_h2 *h);

#endif
