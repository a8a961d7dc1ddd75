/* pool_tls.h: what a pool keeps for TLS towards its instances. See also balancer.h. */
#ifndef BALANCER_POOL_TLS_H
#define BALANCER_POOL_TLS_H

#include "balancer/balancer.h"
#include "core/tls_target.h"

/* Embedded in its pool. */
struct pool_tls {
    /* atomic, written by the control thread; a reference that goes by RCU. NULL, for good: plain */
    _Atomic(struct tls_target *) current;
    /* control thread */
    char *problem;                            /* NULL, or why the files as they are now are not in use */
    struct tls_stamp tried[TLS_TARGET_FILES]; /* as they were when they were read last, whatever came of it */
    struct tls_stamp found[TLS_TARGET_FILES]; /* at the last look */
};

/* Before anybody else has it: what TLS needs from files. false and "file:line: [pool NAME] key: ..." in
 * `err`. */
bool pool_load_tls(struct pool *p, const struct config *c, char *err, size_t err_bytes);
/* No worker uses it any more. */
void pool_tls_clear(struct pool_tls *t);
/* Control thread, now and then, of a pool of the active set: if files have changed, and do no longer change,
 * what they hold takes the place of what they held, or pool_tls_problem says why it cannot. Both are logged.
 * true when either happened. */
bool pool_look_tls(struct pool *p, const struct config *c);
/* The name that instances which stand for this server are asked for. */
const char *pool_server_tls_name(const struct pool *p, const struct config_server *server);

#endif
