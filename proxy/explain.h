/* explain.h: what would happen to a request now, and why, in words (`millpond explain`, GET /api/explain).
 *
 * Nothing is asked of an instance and nothing in the cache changes. The store that nodes share is looked into
 * by one worker, so the answer may come later. */
#ifndef PROXY_EXPLAIN_H
#define PROXY_EXPLAIN_H

#include "admin/admin.h"
#include "proxy/snapshot.h"

#define EXPLAIN_URL_MAX    8192  /* bytes */
#define EXPLAIN_FIELDS_MAX 64    /* request fields */
#define EXPLAIN_HEAD_MAX   32768 /* bytes, URL and fields */

/* Where the question is asked; all of it outlives the answer, but for snapshot and text. */
struct explain_place {
    const struct snapshot *snapshot;
    struct cache *cache;         /* NULL when store = off */
    bool has_redis, is_shared;   /* there is a [redis] section; nodes share a store by it */
    bool is_alone;               /* and memory keeps nothing (store = redis) */
    struct worker *control;      /* the calling thread */
    struct proxy_worker *worker; /* who looks into that store; NULL: nobody, the server stops */
    const char *trouble;         /* why the stream of purges is not followed, "" = not known */
};

/* Control thread (registered for RCU). true: the answer, a new object, goes to `reply` once, before this
 * returns or later; false: what is wrong with the question is in *error and what would be right in *hint
 * (static texts). */
bool explain_question(const struct explain_place *p, const struct admin_question *q,
                      const struct admin_reply *reply, const char **error, const char **hint);

#endif
