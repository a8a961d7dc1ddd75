/* lost_instance.c: see lost_instance.h.
 *
 * An instance that was drained, or ejected for its errors, is left to answer what it has: it does answer. One
 * whose probes fail has probably hung or gone without a word, and whoever it owes an answer may wait for
 * nothing. What may not be sent twice waits on all the same, since the answer may come.
 *
 * Each worker is told by mail, and looks through its exchanges; so nothing is kept per request, and a request
 * pays nothing. Rejected: a list of its requests in each instance, two stores on the way of each. */
#include "proxy/lost_instance.h"

#include <stdlib.h>

#include "core/log.h"
#include "proxy/exchange.h"
#include "proxy/hedge.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/server.h"

struct lost_mail {
    struct mail mail;
    struct instance *instance; /* a reference */
};

/* A try that is sent elsewhere may end others: those that are still to be looked at stand in a list of their
 * own, and come back one by one. */
static void worker_on_lost(struct worker *w, struct mail *m)
{
    struct lost_mail *lost = CONTAINER_OF(m, struct lost_mail, mail);
    struct proxy_worker *pw = w->owner;
    struct list all;
    worker_refresh_clock(w);
    list_init(&all);
    list_splice(&all, &pw->exchanges);
    while (!list_empty(&all)) {
        struct exchange *x = CONTAINER_OF(all.next, struct exchange, node);
        list_remove(&x->node);
        list_push_back(&pw->exchanges, &x->node);
        struct exchange *second = UNLIKELY(x->hedge != NULL) ? hedge_second(x) : NULL; /* is in no list */
        if (x->instance == lost->instance)
            phase_fetch_lost(x);
        else if (second != NULL && second->instance == lost->instance)
            phase_fetch_lost(second);
    }
    instance_unref(lost->instance);
    free(lost);
}

void lost_instance_tell(void *server, struct instance *i)
{
    struct server *s = server;
    for (size_t k = 0; s->state != SERVER_STOPPED && k < s->worker_count; k++) {
        struct lost_mail *m = malloc(sizeof *m);
        if (m == NULL) {
            log_warn("out of memory: requests that wait for %s wait on", instance_name(i));
            return;
        }
        *m = (struct lost_mail){{NULL, worker_on_lost}, instance_ref(i)};
        worker_post(s->workers[k].worker, &m->mail);
    }
}
