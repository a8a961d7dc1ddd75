/* client_out.h: bytes on their way to a client: a batch per worker, and what the kernel did not take.
 *
 * Producers add pieces for one connection, then flush: one write (see net_send), and sendfile(2) for large
 * pieces of stored bodies. Pieces of a cached object are sent from where they lie (inside the caller's RCU
 * section, or under his reference); only an unfinished write takes a reference. Everything else is copied
 * only if it has to wait. While something waits (client_out_is_blocked) nothing may be added: the producer is
 * called again when it has gone out. */
#ifndef PROXY_CLIENT_OUT_H
#define PROXY_CLIENT_OUT_H

#include "proxy/client_conn.h"

struct cache_object;

/* Room for `bytes` of text in the batch, to be followed by client_out_commit with what was used. Flushes when
 * the batch is full; NULL when that left the connection blocked or broken, or `bytes` exceeds
 * OUT_SCRATCH_BYTES. */
char *client_out_reserve(struct client_conn *c, size_t bytes);
void client_out_commit(struct client_conn *c, size_t bytes);
/* A piece that stays valid until the flush; `owner` is the object it lies in or NULL. false as above. */
bool client_out_add(struct client_conn *c, const void *ptr, size_t bytes, struct cache_object *owner);
/* Makes sure that `pieces` pieces and `scratch` bytes of text can be added without a flush between them;
 * flushes first when that is needed. false: the connection is blocked or broken. */
bool client_out_ready(struct client_conn *c, unsigned pieces, size_t scratch);
#define TEXT_LIT_OUT(c, s) client_out_add((c), "" s, sizeof(s) - 1, NULL)
/* Writes what was gathered. true when the kernel took all of it; false when some waits or the connection
 * broke. */
bool client_out_flush(struct client_conn *c);
/* Goes on with what waits; true when nothing does any more. */
bool client_out_resume(struct client_conn *c);
static inline bool client_out_is_blocked(const struct client_conn *c)
{
    return c->left != NULL;
}
/* What waits no longer lies in stored objects: it was copied. false: no memory. */
bool client_out_own(struct client_conn *c);
/* Drops everything: the connection is closed. */
void client_out_discard(struct client_conn *c);

#endif
