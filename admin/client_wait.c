/* client_wait.c: see client_wait.h. It is the command that waits, not the server: a status costs the server
 * little, and nobody is left waiting when one of the two goes away. */
#include "admin/client_wait.h"

static bool id_parse(const json_t *text, unsigned long long *ms, unsigned long long *seq)
{
    return json_is_string(text) && sscanf(json_string_value(text), "%llu-%llu", ms, seq) == 2;
}

static bool is_known(const struct client_wait *w)
{
    return w->ms != 0 || w->seq != 0;
}

static bool is_pending(const struct client_wait *w, const json_t *purges)
{
    const json_t *from = json_object_get(purges, "pending_from");
    return json_is_integer(from) && json_integer_value(from) <= w->number;
}

static bool has_applied(const struct client_wait *w, const json_t *node)
{
    unsigned long long ms, seq;
    return json_is_true(json_object_get(node, "follows")) &&
           id_parse(json_object_get(node, "applied"), &ms, &seq) &&
           (ms > w->ms || (ms == w->ms && seq >= w->seq));
}

enum client_wait_state client_wait_look(struct client_wait *w, const json_t *purges)
{
    size_t i;
    const json_t *node;
    bool missed = false, self = false; /* without a report of its own, there are none of others */
    if (!json_is_object(purges))
        return CLIENT_WAIT_REACHED;
    if (!is_known(w) && json_is_true(json_object_get(purges, "follows")) && !is_pending(w, purges))
        id_parse(json_object_get(purges, "cursor"), &w->ms, &w->seq);
    if (!is_known(w))
        return CLIENT_WAIT_GO_ON;
    json_array_foreach(json_object_get(purges, "nodes"), i, node)
    {
        if (has_applied(w, node)) {
            self = self || json_equal(json_object_get(node, "name"), json_object_get(purges, "node"));
            continue;
        }
        if (json_is_true(json_object_get(node, "reachable")))
            return CLIENT_WAIT_GO_ON;
        missed = true;
    }
    if (!self)
        return CLIENT_WAIT_GO_ON;
    return missed ? CLIENT_WAIT_MISSED : CLIENT_WAIT_REACHED;
}

void client_wait_print(const struct client_wait *w, const json_t *purges, FILE *out)
{
    size_t i;
    const json_t *node;
    if (!json_is_object(purges))
        return;
    if (!is_known(w)) {
        const char *trouble = json_string_value(json_object_get(purges, "trouble"));
        fprintf(out, "other nodes: not told yet%s%s; they will be when Redis is back\n",
                trouble != NULL && trouble[0] != '\0' ? ", " : "", trouble != NULL ? trouble : "");
        return;
    }
    if (json_array_size(json_object_get(purges, "nodes")) == 0)
        fprintf(out, "other nodes: how far they are is not known; the log of this one may say why\n");
    json_array_foreach(json_object_get(purges, "nodes"), i, node)
    {
        const char *name = json_string_value(json_object_get(node, "name"));
        const json_int_t lag = json_integer_value(json_object_get(node, "lag"));
        const json_int_t seen_ms = json_integer_value(json_object_get(node, "seen_ms_ago"));
        fprintf(out, "node %s: ", name != NULL ? name : "?");
        if (has_applied(w, node))
            fprintf(out, "applied\n");
        else if (json_is_true(json_object_get(node, "reachable")))
            fprintf(out, "behind by %" JSON_INTEGER_FORMAT " event%s\n", lag, lag == 1 ? "" : "s");
        else
            fprintf(out, "not heard of for %" JSON_INTEGER_FORMAT " s; it catches up when it is back\n",
                    seen_ms / 1000);
    }
}
