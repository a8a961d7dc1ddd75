/* api_explain.c: see api_explain.h. An unknown parameter is refused: a misspelt one would get an explanation
 * of another request. The size of it all is bounded by what the door reads of a request head.
 *
 * The answer may come later, when its connection, or all of the admin, is gone: then it is dropped. While a
 * request waits, evhttp reads no more from its connection, so each has one of these at most. */
#include "admin/api_explain.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define USAGE_HINT "GET /api/explain?url=http%3A%2F%2Fexample.com%2Fpage&header=Cookie%3A%20a%3D1&method=GET"

/* Who waits. Ends with the answer. */
struct explain_wait {
    struct api_call call; /* its req is NULL once the connection is gone */
};

static void wait_on_close(struct evhttp_connection *connection, void *arg)
{
    struct explain_wait *w = arg;
    UNUSED(connection);
    w->call.req = NULL;
}

static void wait_end(struct explain_wait *w)
{
    if (w->call.req != NULL)
        evhttp_connection_set_closecb(evhttp_request_get_connection(w->call.req), NULL, NULL);
    free(w);
}

static void wait_on_answer(void *to, json_t *answer)
{
    struct explain_wait *w = to;
    struct api_call call = w->call;
    wait_end(w);
    if (call.req != NULL)
        api_send_json(&call, HTTP_OK, answer);
    else
        json_decref(answer);
}

/* NULL, or what is wrong. */
static const char *read_parameters(const struct evkeyvalq *given, struct admin_question *q,
                                   const char *fields[ADMIN_EXPLAIN_FIELDS_MAX])
{
    for (const struct evkeyval *p = given->tqh_first; p != NULL; p = p->next.tqe_next) {
        if (strcmp(p->key, "header") == 0) {
            if (q->field_count == ADMIN_EXPLAIN_FIELDS_MAX)
                return "there are more than 64 parameters 'header'";
            fields[q->field_count++] = p->value;
        } else if (strcmp(p->key, "url") == 0 && q->url == NULL) {
            q->url = p->value;
        } else if (strcmp(p->key, "method") == 0 && q->method == NULL) {
            q->method = p->value;
        } else {
            return "a parameter is unknown or repeated; there are url, method and header";
        }
    }
    return q->url == NULL ? "the parameter 'url' is missing" : NULL;
}

static void ask(struct api_call *c, const struct admin_question *q)
{
    const char *error = "out of memory", *hint = "try again";
    struct explain_wait *w = malloc(sizeof *w);
    if (w == NULL) {
        api_fail(c, HTTP_SERVUNAVAIL, error, hint);
        return;
    }
    *w = (struct explain_wait){*c};
    evhttp_connection_set_closecb(evhttp_request_get_connection(c->req), wait_on_close, w);
    const struct admin_reply reply = {wait_on_answer, w};
    if (c->a->ops.explain(c->a->ops.arg, q, &reply, &error, &hint))
        return;
    wait_end(w);
    api_fail(c, HTTP_BADREQUEST, error, hint);
}

void api_get_explain(struct api_call *c)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(c->req)),
               *fields[ADMIN_EXPLAIN_FIELDS_MAX];
    struct admin_question q = {.fields = fields};
    struct evkeyvalq given = {NULL, NULL};
    if (query == NULL || evhttp_parse_query_str(query, &given) != 0) {
        api_fail(c, HTTP_BADREQUEST, "say which URL to explain", USAGE_HINT);
        return;
    }
    const char *error = read_parameters(&given, &q, fields);
    if (error == NULL)
        ask(c, &q);
    else
        api_fail(c, HTTP_BADREQUEST, error, USAGE_HINT);
    evhttp_clear_headers(&given);
}
