/* h2_scratch.h: what HTTP/2 towards clients and towards instances share: the memory of a worker that its
 * sessions use one after the other, and header blocks that have not come whole. Worker thread. */
#ifndef PROXY_H2_SCRATCH_H
#define PROXY_H2_SCRATCH_H

#include "core/h2_head.h"
#include "proxy/h2_nv.h"
#include "proxy/h2_pack.h"
#include "proxy/h2_sleep.h"
#include "proxy/proxy_worker.h"

#define H2_HEAD_PARTS 6

/* Made with the first session. */
struct h2_scratch {
    nghttp2_session_callbacks *callbacks, *client_callbacks; /* as a server; as the client of an instance */
    nghttp2_option *option, *client_option;
    struct h2_mem mem;           /* of clients' sessions and streams */
    struct h2_head head;         /* the header block under way of the connection that is being fed */
    struct h2_nv nv;             /* the head that is being handed to nghttp2 */
    struct h2_pack pack;         /* what clients' heads have in common */
    slice_t part[H2_HEAD_PARTS]; /* of a head, or trailers, that are being put together */
    unsigned part_count;
    bool part_stored; /* the first lies in a stored object */
    unsigned spent_count;
    struct cache_object *spent[OUT_MAX_IOV];
};
struct h2_scratch *h2_scratch_of(struct proxy_worker *pw); /* NULL: no memory */
void h2_scratch_free(struct h2_scratch *s);                /* NULL is fine */

/* ---- a header block that is not all there when a session has been fed ---- */

/* Before the next feeding: `*cut`, if there is one, is the block under way again. */
void h2_scratch_restore(struct h2_scratch *s, struct h2_head **cut);
/* Afterwards, when a block is under way. false: no memory. */
bool h2_scratch_put_aside(struct h2_scratch *s, struct h2_head **cut);
void h2_scratch_drop(struct h2_head **cut); /* NULL is fine */

#endif
