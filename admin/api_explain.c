/* api_explain.c: see api_explain.h. An unknown parameter is refused: a misspelt one would get an explanation
 * of another request. The size of it all is bounded by what the door reads of a request head. */
#include "admin/api_explain.h"

#include <event2/keyvalq_struct.h>
#include <string.h>

#include "core/base.h"

#define USAGE_HINT "GET /api/explain?url=http%3A%2F%2Fexample.com%2Fpage&header=Cookie%3A%20a%3D1&method=GET"

static json_t *refuse(int *status, const char *error, const char *hint)
{
    *status = HTTP_BADREQUEST;
    return json_pack("{s:s, s:s}", "error", error, "hint", hint);
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

json_t *admin_explain_answer(const struct admin_ops *ops, const struct evhttp_uri *uri, int *status)
{
    const char *query = evhttp_uri_get_query(uri), *fields[ADMIN_EXPLAIN_FIELDS_MAX];
    struct admin_question q = {.fields = fields};
    struct evkeyvalq given = {NULL, NULL};
    if (query == NULL || evhttp_parse_query_str(query, &given) != 0)
        return refuse(status, "say which URL to explain", USAGE_HINT);
    const char *hint = USAGE_HINT, *error = read_parameters(&given, &q, fields);
    json_t *answer = error == NULL ? ops->explain(ops->arg, &q, &error, &hint) : NULL;
    if (answer == NULL)
        answer = refuse(status, error, hint);
    evhttp_clear_headers(&given);
    return answer;
}
