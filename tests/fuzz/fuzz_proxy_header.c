/* fuzz_proxy_header.c: any bytes as the first of a connection that is to begin with a PROXY header. A verdict
 * never changes by what comes later, and what was understood reads the same when it is written again. */
#include <stdlib.h>

#include "core/panic.h"
#include "core/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(const struct net_addr *source, enum proxy_header_version version)
{
    char text[PROXY_HEADER_WRITE_MAX], said[NET_ADDR_TEXT], again[NET_ADDR_TEXT];
    struct proxy_header h;
    size_t n = proxy_header_write(text, version, source, source);
    ASSERT(proxy_header_parse(text, n, &h) == PROXY_HEADER_DONE && h.bytes == n && h.has_source);
    net_addr_format(source, said);
    net_addr_format(&h.source, again);
    ASSERT(strcmp(said, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size + 1); /* so that reading behind the end is seen */
    struct proxy_header whole, part;
    ASSERT(exact != NULL);
    memcpy(exact, data, size);
    exact = realloc(exact, MAX(size, 1));
    enum proxy_header_status end = proxy_header_parse(exact, size, &whole);
    ASSERT((end == PROXY_HEADER_BAD) == (whole.why != NULL));
    for (size_t n = 0; n < size; n += 1 + n / 64) {
        enum proxy_header_status s = proxy_header_parse(exact, n, &part);
        ASSERT(s == PROXY_HEADER_MORE || s == end);
        ASSERT(s != PROXY_HEADER_DONE || n >= whole.bytes);
    }
    if (end == PROXY_HEADER_DONE) {
        ASSERT(whole.bytes <= size && whole.bytes <= PROXY_HEADER_MAX);
        if (whole.has_source) {
            check_written(&whole.source, PROXY_HEADER_V1);
            check_written(&whole.source, PROXY_HEADER_V2);
        }
    }
    free(exact);
    return 0;
}
