/* redis_cluster.h: the masters of a Redis Cluster, and which of them a key belongs to.
 *
 * The map of slots comes from CLUSTER SLOTS of any server that is up, first of the seeds. A server that
 * answers MOVED corrects it at once, and the command goes to the server it names; ASK sends only that command
 * there. Each command follows at most REDIS_HOPS_MAX redirections; a server that they name for the first time
 * is not connected yet, so that such calls end as REFUSED, with the redirection as the reply. The map is
 * asked for anew after MOVED and CLUSTERDOWN and while a master is down, at most once in REDIS_REFRESH_MS. A
 * server that is not in the map any more is closed once its calls are over. TRYAGAIN and CLUSTERDOWN are
 * answers like others: REFUSED. Replicas are not read from. One worker's thread. */
#ifndef CORE_REDIS_CLUSTER_H
#define CORE_REDIS_CLUSTER_H

#include "core/redis_node.h"

#define REDIS_HOPS_MAX           2 /* MOVED, and ASK behind it */
#define REDIS_REFRESH_MS         1000
#define REDIS_REFRESH_TIMEOUT_MS 1000
#define REDIS_LINGER_MS          3000 /* a server that is not in the map, since it was last named */

struct redis_cluster;

/* All that is pointed to is borrowed until redis_cluster_close. */
struct redis_cluster_settings {
    const slice_t *seeds; /* as redis_node_open takes them */
    size_t seed_count;
    const struct redis_login *login; /* the same everywhere; database 0 */
    struct redis_limits limits;      /* of each master */
    /* A master takes calls; it takes none any more; slots belong to other servers than before.
     * None of these may close the object. */
    void (*on_up)(void *arg, const char *server);
    void (*on_down)(void *arg, const char *server, const char *reason);
    void (*on_moved)(void *arg);
    void *arg;
};

struct redis_cluster_figures {
    uint64_t refreshes;  /* answered */
    uint64_t redirects;  /* followed */
    unsigned covered;    /* slots whose master is known */
    const char *trouble; /* why there is no map yet, or no newer one; "" = all is well; static */
};

/* NULL when out of memory. */
struct redis_cluster *redis_cluster_open(struct worker *w, const struct redis_cluster_settings *s);
/* Calls under way end as LOST before this returns; no callback runs any more. Nulls; NULL is fine. */
void redis_cluster_close(struct redis_cluster **c);
/* The master of the key's slot; NULL = not known. Good until control returns to the event loop. */
struct redis_node *redis_cluster_node(const struct redis_cluster *c, slice_t key);
/* The `i`th of all servers, NULL behind the last; in no order. */
struct redis_node *redis_cluster_server(const struct redis_cluster *c, size_t i);
/* The `i`th seed; NULL behind the last, and while a master is up. */
const struct redis_node *redis_cluster_seed(const struct redis_cluster *c, size_t i);
struct redis_cluster_figures redis_cluster_get_figures(const struct redis_cluster *c);

#endif
