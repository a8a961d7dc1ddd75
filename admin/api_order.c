/* api_order.c: see api_order.h. A mistyped name is answered with the names there are. */
#include "admin/api_order.h"

#include <event2/http.h>
#include <stdlib.h>

#include "admin/status.h"

#define ORDER_ADVICE     "send {\"server\": \"POOL/SERVER\"}, and \"force\": true if it may be the last one"
#define WEIGHT_ADVICE    "send {\"server\": \"POOL/SERVER\", \"weight\": 0 to 1000, or null: as configured}"
#define ORDER_WEIGHT_MAX 1000

/* Servers without a name of their own are called by their address, which may have slashes. */
bool api_split_server(const json_t *name, char pool[API_NAME_BYTES], const char **server)
{
    const char *text = json_string_value(name), *slash = text != NULL ? strchr(text, '/') : NULL;
    if (slash == NULL || slash == text || slash[1] == '\0' || slash - text >= API_NAME_BYTES)
        return false;
    memcpy(pool, text, (size_t)(slash - text));
    pool[slash - text] = '\0';
    *server = slash + 1;
    return true;
}

/* Only what is known, each of its type. */
static bool read_order(const json_t *body, struct balancer_order *o, char *pool)
{
    const json_t *weight = json_object_get(body, "weight"), *force = json_object_get(body, "force");
    const bool weighs = o->kind == BALANCER_WEIGHT;
    if (!api_split_server(json_object_get(body, "server"), pool, &o->server) ||
        (force != NULL && !json_is_boolean(force)) || weighs != (weight != NULL) ||
        json_object_size(body) != 1u + (weight != NULL) + (force != NULL))
        return false;
    o->pool = pool;
    o->force = json_is_true(force);
    if (!weighs || json_is_null(weight))
        return true;
    const json_int_t n = json_integer_value(weight);
    if (!json_is_integer(weight) || n < 0 || n > ORDER_WEIGHT_MAX)
        return false;
    o->weight = (int)n;
    return true;
}

struct order_look { /* lives during one walk over all instances */
    const struct balancer_order *order;
    bool in_pool;              /* only those of its pool are listed */
    struct instance_info last; /* its names; the walk keeps them alive */
    size_t used;
    char names[600];
};

static void list_name(void *arg, const struct instance_info *info)
{
    struct order_look *l = arg;
    const bool same = strcmp(info->pool, l->order->pool) == 0;
    const bool again = l->last.server != NULL && strcmp(l->last.server, info->server) == 0 &&
                       strcmp(l->last.pool, info->pool) == 0; /* another address of it */
    l->last = *info;
    if ((l->in_pool && !same) || again)
        return;
    int n = snprintf(l->names + l->used, sizeof l->names - l->used, "%s%s/%s", l->used > 0 ? ", " : "",
                     info->pool, info->server);
    if (n > 0 && l->used + (size_t)n < sizeof l->names)
        l->used += (size_t)n;
    else
        l->names[l->used] = '\0';
}

void api_fail_unknown(struct api_call *c, const char *pool, bool in_pool)
{
    const struct balancer_order o = {.pool = pool};
    struct order_look l = {.order = &o, .in_pool = in_pool};
    char hint[700];
    balancer_each_instance(c->a->ops.balancer(c->a->ops.arg), list_name, &l);
    snprintf(hint, sizeof hint, "there %s %s", strchr(l.names, ',') != NULL ? "are" : "is",
             l.used > 0 ? l.names : "no server");
    api_fail(c, HTTP_NOTFOUND, in_pool ? "the pool has no such server" : "there is no such pool", hint);
}

void api_fail_last(struct api_call *c)
{
    api_fail(c, 409, "it is the last one of its pool that takes requests",
             "take another one into use first, or insist (--force; in the API \"force\": true)");
}

void api_send_server(struct api_call *c, const char *pool_name, const char *server)
{
    json_t *pools = admin_pools_build(c->a->ops.balancer(c->a->ops.arg));
    json_t *pool, *instance, *found = NULL;
    json_int_t in_flight = 0; /* of all its addresses, and of those that it had */
    size_t i, j;
    json_array_foreach(pools, i, pool)
    {
        if (strcmp(json_string_value(json_object_get(pool, "name")), pool_name) != 0)
            continue;
        json_array_foreach(json_object_get(pool, "instances"), j, instance)
        {
            if (strcmp(json_string_value(json_object_get(instance, "server")), server) != 0)
                continue;
            if (found == NULL)
                in_flight += json_integer_value(json_object_get(instance, "leaving"));
            found = found == NULL ? instance : found;
            in_flight += json_integer_value(json_object_get(instance, "in_flight"));
        }
    }
    json_object_set_new(found, "name", json_string(server));
    json_object_set_new(found, "in_flight", json_integer(in_flight));
    json_object_set_new(found, "pool", json_string(pool_name));
    json_incref(found);
    json_decref(pools);
    api_send_json(c, HTTP_OK, found);
}

static void api_order(struct api_call *c, enum balancer_order_kind kind, const char *advice)
{
    char pool[API_NAME_BYTES], who[128];
    struct balancer_order o = {.kind = kind, .weight = -1};
    json_t *body = api_body(c, advice);
    if (body == NULL)
        return;
    if (!read_order(body, &o, pool)) {
        api_fail(c, HTTP_BADREQUEST, "the body is no such order", advice);
        json_decref(body);
        return;
    }
    o.who = api_who(c, who, sizeof who);
    switch (balancer_order(c->a->ops.balancer(c->a->ops.arg), &o)) {
    case BALANCER_ORDERED:
        api_send_server(c, o.pool, o.server);
        break;
    case BALANCER_NO_POOL:
        api_fail_unknown(c, o.pool, false);
        break;
    case BALANCER_NO_SERVER:
        api_fail_unknown(c, o.pool, true);
        break;
    case BALANCER_LAST_ONE:
        api_fail_last(c);
        break;
    case BALANCER_ORDER_NO_MEMORY:
        api_fail(c, HTTP_SERVUNAVAIL, "out of memory", "try again");
        break;
    }
    json_decref(body);
}

void api_post_drain(struct api_call *c)
{
    api_order(c, BALANCER_DRAIN, ORDER_ADVICE);
}

void api_post_ready(struct api_call *c)
{
    api_order(c, BALANCER_READY, ORDER_ADVICE);
}

void api_post_weight(struct api_call *c)
{
    api_order(c, BALANCER_WEIGHT, WEIGHT_ADVICE);
}

void api_post_resume(struct api_call *c)
{
    static const char advice[] = "send {\"route\": \"NAME\"}";
    char who[128];
    json_t *body = api_body(c, advice);
    if (body == NULL)
        return;
    const char *route = json_string_value(json_object_get(body, "route"));
    if (route == NULL || json_object_size(body) != 1) {
        api_fail(c, HTTP_BADREQUEST, "the body is no such order", advice);
    } else {
        json_t *split = c->a->ops.resume(c->a->ops.arg, route, api_who(c, who, sizeof who));
        if (split != NULL)
            api_send_json(c, HTTP_OK, split);
        else
            api_fail(c, HTTP_NOTFOUND, "no such route is split", "`millpond status` lists those that are");
    }
    json_decref(body);
}
