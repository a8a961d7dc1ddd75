/* api_explain.c: see api_explain.h. An unknown parameter is refused: a misspelt one would get an explanation
 * of another request. The size of it all is bounded by what the door reads of a request head.
 *
 * The answer may come later (api_later.c). */
#include "admin/api_explain.h"

#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"

#define USAGE_HINT "GET /api/explain?url=http%3A%2F%2Fexample.com%2Fpage&header=Cookie%3A%20a%3D1&method=GET"

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
    const char *error = NULL, *hint = NULL;
    const struct admin_reply reply = api_later(c);
    if (reply.on_answer == NULL || c->a->ops.explain(c->a->ops.arg, q, &reply, &error, &hint))
        return;
    api_not_later(&reply);
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
