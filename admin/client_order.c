/* client_order.c: see client_order.h. */
#include "admin/client_order.h"

#include <stdlib.h>
#include <string.h>

#include "admin/json_get.h"

static bool read_weight(json_t *wish, const char *word)
{
    char *end;
    if (strcmp(word, "configured") == 0)
        return json_object_set_new(wish, "weight", json_null()) == 0;
    long n = strtol(word, &end, 10);
    return word[0] >= '0' && word[0] <= '9' && *end == '\0' && n <= 1000 &&
           json_object_set_new(wish, "weight", json_integer(n)) == 0;
}

const char *client_order_read(json_t *wish, const char *command, int count, char *const *words)
{
    const bool weighs = strcmp(command, "weight") == 0;
    if (strcmp(command, "resume") == 0)
        return count == 1 && json_object_set_new(wish, "route", json_string(words[0])) == 0
                   ? NULL
                   : "write the name of one route";
    if (count != (weighs ? 2 : 1))
        return weighs ? "write POOL/SERVER and a weight" : "write one POOL/SERVER";
    const char *slash = strchr(words[0], '/');
    if (slash == NULL || slash == words[0] || slash[1] == '\0' ||
        json_object_set_new(wish, "server", json_string(words[0])) != 0)
        return "write the server as POOL/SERVER, as `millpond pools` shows them";
    return !weighs || read_weight(wish, words[1]) ? NULL : "a weight is 0 to 1000, or `configured`";
}

json_t *client_order_find(const json_t *answer, const char *name, json_int_t *running)
{
    size_t i, j;
    json_t *pool, *instance, *found = NULL;
    *running = 0;
    json_array_foreach(json_object_get(answer, "pools"), i, pool)
    {
        const char *pool_name = text_of(pool, "name");
        size_t len = strlen(pool_name);
        if (strncmp(name, pool_name, len) != 0 || name[len] != '/')
            continue;
        json_array_foreach(json_object_get(pool, "instances"), j, instance)
        {
            if (strcmp(name + len + 1, text_of(instance, "server")) != 0)
                continue;
            *running += int_of(instance, "in_flight") + (found == NULL ? int_of(instance, "leaving") : 0);
            found = instance;
        }
    }
    return found;
}

void client_order_print(const json_t *server, FILE *out)
{
    const json_t *canary = json_object_get(server, "canary");
    if (canary != NULL) {
        fprintf(out, "route %s: %s gets its share again\n", text_of(server, "route"),
                text_of(canary, "pool"));
        return;
    }
    const json_int_t weight = int_of(server, "weight"), configured = int_of(server, "configured_weight");
    const json_int_t in_flight = int_of(server, "in_flight");
    const char *state = text_of(server, "state");
    fprintf(out, "%s/%s: ", text_of(server, "pool"), text_of(server, "name"));
    if (strcmp(state, "draining") == 0)
        fprintf(out, "draining; no new requests, %" JSON_INTEGER_FORMAT " still run", in_flight);
    else if (weight == 0)
        fprintf(out, "%s, with weight 0: only visitors who are pinned to it", state);
    else
        fprintf(out, "%s, with weight %" JSON_INTEGER_FORMAT, state, weight);
    if (weight != configured)
        fprintf(out, " (configured: %" JSON_INTEGER_FORMAT ")", configured);
    fputc('\n', out);
}
