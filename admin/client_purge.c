/* client_purge.c: see client_purge.h. What was purged is printed as the server understood it, which may
 * differ from what was typed, so that a host or a path that is not the one meant is seen. */
#include "admin/client_purge.h"

#include <string.h>

bool client_purge_add(json_t *wish, const char *member, const char *text)
{
    json_t *list = json_object_get(wish, member);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(wish, member, list);
    }
    return json_array_append_new(list, json_string(text)) == 0;
}

static void print_event(const json_t *event, bool soft, FILE *out)
{
    const char *kind = json_string_value(json_object_get(event, "kind"));
    const char *text = json_string_value(json_object_get(event, "text"));
    const char *done = soft ? "purged softly" : "purged";
    if (kind == NULL)
        return;
    if (text == NULL)
        fprintf(out, "%s: everything\n", done);
    else if (strcmp(kind, "url") == 0)
        fprintf(out, "%s: %s\n", done, text);
    else if (strcmp(kind, "url_any_query") == 0)
        fprintf(out, "%s: %s, whatever its query\n", done, text);
    else
        fprintf(out, "%s: %s %s\n", done, kind, text);
}

void client_purge_print(const json_t *answer, FILE *out)
{
    size_t i;
    const json_t *event, *purged = json_object_get(answer, "purged");
    const char *id = json_string_value(json_object_get(answer, "id"));
    bool soft = json_is_true(json_object_get(answer, "soft"));
    json_int_t n = json_integer_value(purged);
    json_array_foreach(json_object_get(answer, "events"), i, event)
    {
        print_event(event, soft, out);
    }
    fprintf(out, "event %s: ", id != NULL ? id : "?");
    if (json_is_integer(purged))
        fprintf(out, "%" JSON_INTEGER_FORMAT " stored response%s %s\n", n, n == 1 ? "" : "s",
                soft ? "made stale" : "removed");
    else
        fprintf(out, "no request from now on gets it%s\n",
                soft ? " as fresh" : "; its memory is freed meanwhile");
    const char *shared = json_string_value(json_object_get(answer, "shared"));
    if (shared != NULL && strcmp(shared, "sent") != 0)
        fprintf(out, "other nodes: not told yet; it is kept %s until Redis is back\n",
                strcmp(shared, "kept") == 0 ? "on disk" : "in memory");
}
