/* fuzz_ini.c: any bytes as a configuration file: no crash, no leak, errors and snapshot exclude each other,
 * every message names the file. From memory only, so no include is followed and no file is touched. */
#include <stdlib.h>

#include "config/config.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config_problems p;
    struct config *c = config_load_text("fuzz.ini", (const char *)data, size, &p);
    ASSERT((c == NULL) == (p.errors > 0));
    for (size_t i = 0; i < p.count; i++)
        ASSERT(strncmp(p.items[i].text, "fuzz.ini:", 9) == 0);
    config_problems_free(&p);
    if (c == NULL)
        return 0;
    ASSERT(c->route_count > 0 && c->listen_count > 0);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out != NULL) {
        config_print(c, out);
        fclose(out);
        free(text);
    }
    config_unref(c);
    return 0;
}
