/* api_later.c: answers that come later, when their connection, or all of the admin, may be gone: then they
 * are dropped. While a request waits, evhttp reads no more from its connection, so each has one of these at
 * most. */
#include <event2/http.h>
#include <stdlib.h>

#include "admin/api.h"
#include "core/base.h"

#define REFUSED 422

/* Who waits. Ends with the answer. */
struct api_wait {
    struct api_call call; /* its req is NULL once the connection is gone */
};

static void wait_on_close(struct evhttp_connection *connection, void *arg)
{
    struct api_wait *w = arg;
    UNUSED(connection);
    w->call.req = NULL;
}

static void wait_end(struct api_wait *w)
{
    if (w->call.req != NULL)
        evhttp_connection_set_closecb(evhttp_request_get_connection(w->call.req), NULL, NULL);
    free(w);
}

static void wait_on_answer(void *to, json_t *answer)
{
    struct api_wait *w = to;
    struct api_call call = w->call;
    wait_end(w);
    if (call.req != NULL)
        api_send_json(&call, json_object_get(answer, "error") != NULL ? REFUSED : HTTP_OK, answer);
    else
        json_decref(answer);
}

struct admin_reply api_later(struct api_call *c)
{
    struct api_wait *w = malloc(sizeof *w);
    if (w == NULL) {
        api_fail(c, HTTP_SERVUNAVAIL, "out of memory", "try again");
        return (struct admin_reply){NULL, NULL};
    }
    *w = (struct api_wait){*c};
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->req), wait_on_close, w);
    return (struct admin_reply){wait_on_answer, w};
}

void api_not_later(const struct admin_reply *reply)
{
    wait_end(reply->to);
}
