/* fuzz_redis_url.c: a url of a Redis server from any bytes.
 *
 * Beside memory errors it looks for broken promises of redis_url.h: what is taken can be opened; nothing that
 * is shown holds the password; decoded texts are no longer than encoded ones and have no NUL. */
#include <stdio.h>
#include <stdlib.h>

#include "config/redis_url.h"
#include "core/panic.h"
#include "core/redis_node.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_decoded(slice_t encoded)
{
    char *out = malloc(encoded.len + 1);
    ASSERT(out != NULL);
    size_t n = redis_url_decode(encoded, out);
    ASSERT(n <= encoded.len && memchr(out, '\0', n) == NULL);
    free(out);
}

static void check_server(const struct redis_url *url)
{
    char server[REDIS_SERVER_TEXT];
    int n = url->scheme == REDIS_URL_UNIX
                ? snprintf(server, sizeof server, "unix:" SLICE_FMT, SLICE_ARG(url->host))
                : snprintf(server, sizeof server, SLICE_FMT ":%u", SLICE_ARG(url->host),
                           url->port > 0 ? url->port : 6379);
    ASSERT(n < (int)sizeof server && redis_server_is_valid(slice_str(server)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_url url;
    char shown[REDIS_URL_SHOWN];
    char *copy = malloc(size + 1);
    ASSERT(copy != NULL);
    memcpy(copy, data, size);
    slice_t text = slice_make(copy, size);
    const char *wrong = redis_url_parse(text, &url);
    bool hidden = redis_url_hide(text, shown);
    ASSERT(wrong == NULL || strchr(wrong, ';') != NULL);
    ASSERT(hidden == (wrong != NULL || url.password.len > 0));
    if (wrong == NULL) {
        check_server(&url);
        check_decoded(url.username);
        check_decoded(url.password);
    }
    if (hidden && wrong == NULL && strlen(shown) < sizeof shown - 1)
        ASSERT(strlen(shown) == size - url.password.len + 3);
    free(copy);
    return 0;
}
