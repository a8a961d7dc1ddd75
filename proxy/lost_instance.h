/* lost_instance.h: an instance is taken down by its probes while requests wait for its answer: those that may
 * be sent to another one need not wait until response_timeout. */
#ifndef PROXY_LOST_INSTANCE_H
#define PROXY_LOST_INSTANCE_H

struct instance;

/* Control thread; `server` is a struct server. For balancer_on_lost. */
void lost_instance_tell(void *server, struct instance *i);

#endif
