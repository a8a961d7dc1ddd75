/* fuzz_grpc.c: grpc-timeout, and Content-Type, of any bytes. What is taken for a timeout is one, is not
 * negative, and is the same however often it is read. */
#include "core/grpc.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const slice_t value = slice_make((const char *)data, size);
    dur_ms_t ms = -1, again = -1;
    if (grpc_timeout_parse(value, &ms)) {
        ASSERT(ms >= 0 && size >= 2 && size <= 9);
        ASSERT(grpc_timeout_parse(value, &again) && again == ms);
    }
    if (grpc_is_content_type(value))
        ASSERT(size >= sizeof "application/grpc" - 1);
    return 0;
}
