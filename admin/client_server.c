/* client_server.c: see client_server.h. A server is written on the command line as in the ini file; a number
 * by itself is its weight. */
#include "admin/client_server.h"

#include <string.h>

#include "config/change.h"

static const char *read_added(json_t *wish, int count, char *const *words)
{
    char text[CONFIG_CHANGE_MAX_BYTES];
    size_t used = 0;
    if (count < 2)
        return "write the pool and the address, such as: add app 10.0.0.3:3000";
    for (int i = 1; i < count; i++) {
        const bool number = i > 1 && words[i][strspn(words[i], "0123456789")] == '\0';
        int n = snprintf(text + used, sizeof text - used, "%s%s%s", i > 1 ? " " : "", number ? "weight=" : "",
                         words[i]);
        if (n < 0 || used + (size_t)n >= sizeof text)
            return "a server takes at most 1023 bytes";
        used += (size_t)n;
    }
    if (json_object_set_new(wish, "pool", json_string(words[0])) != 0 ||
        json_object_set_new(wish, "server", json_string(text)) != 0)
        return "write it in UTF-8";
    return NULL;
}

const char *client_server_read(json_t *wish, const char *command, int count, char *const *words)
{
    if (strcmp(command, "add") == 0)
        return read_added(wish, count, words);
    const char *slash = count == 1 ? strchr(words[0], '/') : NULL;
    if (slash == NULL || slash == words[0] || slash[1] == '\0' ||
        json_object_set_new(wish, "server", json_string(words[0])) != 0)
        return "write one server as POOL/SERVER, as `millpond pools` shows them";
    return NULL;
}

bool client_server_edit(struct config_edit *e, const char *path, const json_t *wish,
                        char pool[CLIENT_POOL_BYTES], char why[CONFIG_EDIT_WHY])
{
    const char *added_to = json_string_value(json_object_get(wish, "pool"));
    const char *server = json_string_value(json_object_get(wish, "server"));
    if (added_to != NULL)
        return config_edit_add(e, path, added_to, server, why);
    const char *slash = strchr(server, '/');
    snprintf(pool, CLIENT_POOL_BYTES, "%.*s", (int)(slash - server), server);
    return config_edit_remove(e, path, pool, slash + 1, why);
}

void client_server_print_removed(const char *name, const json_t *answer, FILE *out)
{
    const json_int_t running = json_integer_value(json_object_get(answer, "in_flight"));
    fprintf(out, "%s: removed; no new requests, %" JSON_INTEGER_FORMAT " still run\n", name, running);
}
