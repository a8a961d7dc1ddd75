/* api_server.c: see api_server.h. */
#include "admin/api_server.h"

#include <event2/http.h>

#include "admin/api_order.h"

#define ADD_ADVICE    "send {\"pool\": \"POOL\", \"server\": \"10.0.0.3:3000 weight=2 name=c\"}"
#define REMOVE_ADVICE "send {\"server\": \"POOL/SERVER\"}, and \"force\": true if it may be the last one"

static void server_fail(struct api_call *c, const struct admin_server_change *what,
                        struct admin_changed *done)
{
    switch (done->result) {
    case ADMIN_CHANGED:
        break;
    case ADMIN_CHANGE_NO_POOL:
        api_fail_unknown(c, what->pool, false);
        break;
    case ADMIN_CHANGE_NO_SERVER:
        api_fail_unknown(c, what->pool, true);
        break;
    case ADMIN_CHANGE_LAST_ONE:
        api_fail_last(c);
        break;
    case ADMIN_CHANGE_REFUSED:
        if (done->problems == NULL)
            api_fail(c, 409, done->error, done->hint);
        else
            api_send_json(c, 422,
                          json_pack("{s:s, s:s, s:o}", "error", done->error, "hint", done->hint, "problems",
                                    done->problems));
        break;
    }
}

/* Whether it was done; else it is answered. */
static bool server_change(struct api_call *c, struct admin_server_change *what, struct admin_changed *done)
{
    char who[128];
    what->who = api_who(c, who, sizeof who);
    if (c->a->ops.change_servers(c->a->ops.arg, what, done))
        return true;
    server_fail(c, what, done);
    return false;
}

void api_post_add(struct api_call *c)
{
    struct admin_changed done;
    json_t *body = api_body(c, ADD_ADVICE);
    if (body == NULL)
        return;
    struct admin_server_change what = {.pool = json_string_value(json_object_get(body, "pool")),
                                       .text = json_string_value(json_object_get(body, "server"))};
    if (what.pool == NULL || what.text == NULL || json_object_size(body) != 2)
        api_fail(c, HTTP_BADREQUEST, "the body says no server to add", ADD_ADVICE);
    else if (server_change(c, &what, &done))
        api_send_server(c, what.pool, done.server);
    json_decref(body);
}

void api_post_remove(struct api_call *c)
{
    char pool[API_NAME_BYTES];
    struct admin_changed done;
    json_t *body = api_body(c, REMOVE_ADVICE);
    if (body == NULL)
        return;
    const json_t *force = json_object_get(body, "force");
    struct admin_server_change what = {.pool = pool, .force = json_is_true(force)};
    if (!api_split_server(json_object_get(body, "server"), pool, &what.server) ||
        (force != NULL && !json_is_boolean(force)) || json_object_size(body) != 1u + (force != NULL))
        api_fail(c, HTTP_BADREQUEST, "the body says no server to remove", REMOVE_ADVICE);
    else if (server_change(c, &what, &done))
        api_send_json(c, HTTP_OK,
                      json_pack("{s:s, s:s, s:b, s:I}", "pool", pool, "name", done.server, "removed", 1,
                                "in_flight", (json_int_t)done.in_flight));
    json_decref(body);
}
