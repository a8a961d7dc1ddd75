/* mirror.h: the route option mirror: another pool gets a copy of each request that an instance is asked;
 * nobody waits for it, and what it answers is thrown away. Worker's thread. */
#ifndef PROXY_MIRROR_H
#define PROXY_MIRROR_H

#include "core/http_msg.h"

struct exchange;

/* At once, per worker: copies on their way, and requests whose body is still coming. */
#define MIRROR_MAX        256
#define MIRROR_BODY_MAX   (64 * KB)
#define MIRROR_ANSWER_MAX (1 * MB) /* then the connection is closed */

/* ---- of the request ---- */

/* Its head for the instance is ready: makes x->mirror, unless there are too many, its body is known to be too
 * long, or it was thought of before. */
void mirror_begin(struct exchange *x);
/* With x->mirror: a piece of its body was read. It is dropped when it is too long. */
void mirror_record(struct exchange *x, slice_t piece);
/* With x->mirror: all of it was read. The copy leaves. */
void mirror_send(struct exchange *x);
/* With x->mirror: there will be no copy. */
void mirror_drop(struct exchange *x);

/* ---- of the copy ---- */

/* The head of the answer. Runs the exchange on. */
void mirror_on_head(struct exchange *x, const struct http_head *head);
/* A piece of the answer's body; may end the exchange. */
void mirror_discard(struct exchange *x, size_t bytes);
/* LOG: figures. */
void mirror_end(struct exchange *x);

#endif
