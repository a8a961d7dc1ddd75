/* fuzz_health_h2.c: any bytes as the answer to a probe by HTTP/2, in pieces of the first byte's length: a
 * status or none, the body whole, broken or still to come; once decided it stays so. */
#include <stdint.h>

#include "balancer/health_h2.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const size_t step = data[0] > 0 ? data[0] : size;
    struct health_h2 *h = health_h2_new("http", "a", "/", "is up");
    const char *why;
    int status = 0;
    enum health_body_verdict v = HEALTH_BODY_MORE;
    for (size_t at = 1; at < size && status >= 0; at += step) {
        const int next = health_h2_read(h, (const char *)data + at, MIN(step, size - at), &why);
        ASSERT(next == status || status == 0);
        ASSERT(next >= 0 ? next == 0 || (next >= 200 && next < 1000) : why != NULL);
        ASSERT(health_h2_body(h) == v || v == HEALTH_BODY_MORE);
        status = next;
        v = health_h2_body(h);
    }
    health_h2_free(h);
    return 0;
}
