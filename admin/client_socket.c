/* client_socket.c: see client_socket.h. */
#include "admin/client_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "admin/client.h"

#define CONFIG_MAX_BYTES (1 * MB)

static slice_t next_line(slice_t *rest)
{
    size_t end = MIN(slice_find(*rest, '\n', 0), rest->len);
    slice_t line = slice_trim(slice_make(rest->ptr, end));
    if (slice_ends(line, SLICE_LIT("\r")))
        line = slice_trim(slice_make(line.ptr, line.len - 1));
    size_t skip = MIN(end + 1, rest->len);
    *rest = slice_make(rest->ptr + skip, rest->len - skip);
    return line;
}

/* "key = value ; comment" of that key, else empty. */
static slice_t value_of(slice_t line, slice_t key)
{
    size_t eq = slice_find(line, '=', 0);
    if (eq == SIZE_MAX || !slice_eq(slice_trim(slice_make(line.ptr, eq)), key))
        return SLICE_EMPTY;
    slice_t value = slice_trim(slice_make(line.ptr + eq + 1, line.len - eq - 1));
    for (size_t i = 1; i < value.len; i++) {
        if (value.ptr[i] == ';' && (value.ptr[i - 1] == ' ' || value.ptr[i - 1] == '\t'))
            return slice_trim(slice_make(value.ptr, i));
    }
    return value;
}

bool admin_client_scan_socket(slice_t text, char *out, size_t out_bytes)
{
    slice_t section = SLICE_EMPTY, socket = SLICE_EMPTY, folder = SLICE_EMPTY;
    while (text.len > 0) {
        slice_t line = next_line(&text), value;
        if (slice_starts(line, SLICE_LIT("[")))
            section = line;
        else if (slice_eq(section, SLICE_LIT("[admin]")) &&
                 (value = value_of(line, SLICE_LIT("socket"))).len > 0)
            socket = value;
        else if (slice_eq(section, SLICE_LIT("[millpond]")) &&
                 (value = value_of(line, SLICE_LIT("runtime_dir"))).len > 0)
            folder = value;
    }
    slice_t source = socket.len > 0 ? socket : folder;
    if (source.len == 0 || slice_find(source, '$', 0) != SIZE_MAX)
        return false;
    return snprintf(out, out_bytes, SLICE_FMT "%s", SLICE_ARG(source), socket.len > 0 ? "" : "/admin.sock") <
           (int)out_bytes;
}

static bool scan_file(const char *path, char *out, size_t out_bytes)
{
    FILE *f = fopen(path, "re");
    char *text = f != NULL ? malloc(CONFIG_MAX_BYTES) : NULL;
    bool ok = text != NULL &&
              admin_client_scan_socket(slice_make(text, fread(text, 1, CONFIG_MAX_BYTES, f)), out, out_bytes);
    free(text);
    if (f != NULL)
        fclose(f);
    return ok;
}

/* Where a millpond without any setting of its own would have its socket. */
static bool default_socket(char *out, size_t out_bytes)
{
    static const char smallest[] = "[pool app]\nserver = 127.0.0.1:1\n";
    struct config_problems problems = {0};
    struct config *config = config_load_text("default", smallest, sizeof smallest - 1, &problems);
    bool ok = config != NULL && snprintf(out, out_bytes, "%s", config->admin.socket) < (int)out_bytes;
    config_problems_free(&problems);
    if (config != NULL)
        config_unref(config);
    return ok;
}

bool client_socket_find(const char *command, const char *config_path, char *out, size_t out_bytes, FILE *err)
{
    const char *path = config_path != NULL ? config_path : ADMIN_DEFAULT_CONFIG;
    if (access(path, R_OK) != 0) {
        if (config_path == NULL)
            return default_socket(out, out_bytes);
        fprintf(err, "millpond %s: cannot read %s: %s\n", command, path, strerror(errno));
        return false;
    }
    struct config_problems problems = {0};
    struct config *config = config_load(path, &problems);
    bool ok = false;
    if (config != NULL) {
        ok = snprintf(out, out_bytes, "%s", config->admin.socket) < (int)out_bytes;
        config_unref(config);
    } else {
        fprintf(err, "millpond %s: note: %s has %zu error%s ('millpond check' lists them)\n", command, path,
                problems.errors, problems.errors == 1 ? "" : "s");
        ok = scan_file(path, out, out_bytes) || default_socket(out, out_bytes);
    }
    config_problems_free(&problems);
    return ok;
}
