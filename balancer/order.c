/* order.c: see order.h. The list is as long as people have typed names, and is walked when they type or the
 * configuration changes. */
#include "balancer/order.h"

#include <stdlib.h>
#include <string.h>

#include "balancer/pool.h"
#include "core/log.h"

static struct order *order_find(const struct list *orders, const char *pool, const char *server)
{
    LIST_FOREACH (n, orders) {
        struct order *o = CONTAINER_OF(n, struct order, node);
        if (strcmp(o->pool, pool) == 0 && strcmp(o->server, server) == 0)
            return o;
    }
    return NULL;
}

struct order *order_obtain(struct list *orders, const char *pool, const char *server)
{
    struct order *o = order_find(orders, pool, server);
    if (o != NULL)
        return o;
    size_t pool_bytes = strlen(pool) + 1, server_bytes = strlen(server) + 1;
    o = calloc(1, sizeof *o + pool_bytes + server_bytes);
    if (o == NULL)
        return NULL;
    o->weight = ORDER_WEIGHT_CONFIGURED;
    memcpy(o->pool, pool, pool_bytes);
    memcpy(o->pool + pool_bytes, server, server_bytes);
    o->server = o->pool + pool_bytes;
    list_push_back(orders, &o->node);
    return o;
}

void orders_apply(const struct list *orders, struct pool *p)
{
    for (size_t m = 0; m < p->member_count; m++)
        p->members[m].order = order_find(orders, p->config->name, p->members[m].config->name);
}

static bool order_is_known(const struct order *o, struct pool *const *pools, size_t count)
{
    for (size_t p = 0; p < count; p++)
        for (size_t m = 0; m < pools[p]->member_count; m++)
            if (pools[p]->members[m].order == o)
                return true;
    return false;
}

void orders_keep_known(struct list *orders, struct pool *const *pools, size_t count)
{
    LIST_FOREACH (n, orders) {
        struct order *o = CONTAINER_OF(n, struct order, node);
        if (order_is_known(o, pools, count) || (!o->drained && o->weight == ORDER_WEIGHT_CONFIGURED))
            continue;
        log_info("%s/%s: no server any more; what was ordered about it is forgotten", o->pool, o->server);
        o->drained = false;
        o->weight = ORDER_WEIGHT_CONFIGURED;
    }
}

void orders_free(struct list *orders)
{
    while (!list_empty(orders)) {
        struct order *o = CONTAINER_OF(list_pop_front(orders), struct order, node);
        free(o);
    }
}
