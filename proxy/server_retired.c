/* server_retired.c: connections to instances that are no longer used, closed as soon as that is known: their
 * addresses may be somebody else's by now, and an application that ends waits for its last connection.
 *
 * The workers are told without saying which instances, so nothing has to be kept alive for them; they look at
 * what is idle with them. What is in use is not put back when it is done: the instance says so to
 * upstream_pool_put. Control thread. */
#include <stdlib.h>

#include "balancer/balancer.h"
#include "proxy/proxy_worker.h"
#include "proxy/server.h"
#include "proxy/upstream_pool.h"

static void worker_on_retired(struct worker *w, struct mail *m)
{
    worker_refresh_clock(w);
    upstream_pool_close_retired(w->owner);
    free(m);
}

static void server_on_retired(void *arg)
{
    struct server *s = arg;
    for (size_t i = 0; s->state == SERVER_RUNNING && i < s->worker_count; i++) {
        struct mail *m = malloc(sizeof *m);
        if (m == NULL) /* they end by idle_timeout */
            return;
        *m = (struct mail){.on_mail = worker_on_retired};
        worker_post(s->workers[i].worker, m);
    }
}

void server_watch_retired(struct server *s)
{
    balancer_on_retired(s->balancer, server_on_retired, s);
}
