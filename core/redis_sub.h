/* redis_sub.h: a subscription to channels of one server, kept up over a connection of its own.
 *
 * A broken connection is noticed within about two checks, since a PING goes out with each; what is published
 * while it is down is lost, which is what on_down and on_up tell. One worker's thread. */
#ifndef CORE_REDIS_SUB_H
#define CORE_REDIS_SUB_H

#include "core/redis_node.h"

#define REDIS_SUB_CHECK_MS 1000

struct redis_sub;

struct redis_sub_settings {
    const struct redis_login *login; /* borrowed until redis_sub_close, as the channels are */
    const slice_t *channels;
    size_t channel_count; /* at least one */
    dur_ms_t timeout_ms;  /* a server that is silent for longer, when asked, is given up */
    dur_ms_t connect_timeout_ms;
    /* None of these may close the object. */
    void (*on_message)(void *arg, slice_t channel, slice_t payload);
    void (*on_up)(void *arg);                       /* what is published from now on comes; may be NULL */
    void (*on_down)(void *arg, const char *reason); /* something may have been missed; may be NULL */
    void (*on_refused)(void *arg, slice_t reason);  /* by Redis; it is asked again; may be NULL */
    void *arg;
};

/* `server` as redis_node_open. NULL when out of memory. */
struct redis_sub *redis_sub_open(struct worker *w, slice_t server, const struct redis_sub_settings *s);
/* No callback runs any more. Nulls; NULL is fine. */
void redis_sub_close(struct redis_sub **sub);
bool redis_sub_is_up(const struct redis_sub *sub);

#endif
