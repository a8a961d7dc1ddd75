/* grpc.c: see grpc.h; by "gRPC over HTTP2" and "HTTP to gRPC Status Code Mapping" of the gRPC project. */
#include "core/grpc.h"

#define DIGITS_MAX 8

bool grpc_is_content_type(slice_t value)
{
    static const char type[] = "application/grpc";
    const size_t n = sizeof type - 1;
    if (value.len < n || !slice_ieq(slice_make(value.ptr, n), SLICE_LIT("application/grpc")))
        return false;
    return value.len == n || value.ptr[n] == '+' || value.ptr[n] == ';' || value.ptr[n] == ' ';
}

bool grpc_timeout_parse(slice_t value, dur_ms_t *ms)
{
    uint64_t number;
    if (value.len < 2 || value.len > DIGITS_MAX + 1 ||
        !slice_to_u64(slice_make(value.ptr, value.len - 1), &number))
        return false;
    const dur_ms_t n = (dur_ms_t)number;
    switch (value.ptr[value.len - 1]) {
    case 'H':
        *ms = n * 3600 * 1000;
        return true;
    case 'M':
        *ms = n * 60 * 1000;
        return true;
    case 'S':
        *ms = n * 1000;
        return true;
    case 'm':
        *ms = n;
        return true;
    case 'u':
        *ms = (n + 999) / 1000;
        return true;
    case 'n':
        *ms = (n + 999999) / 1000000;
        return true;
    default:
        return false;
    }
}

unsigned grpc_status_of(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return 13; /* INTERNAL */
    case 403:
        return 7; /* PERMISSION_DENIED */
    case 404:
        return 12; /* UNIMPLEMENTED */
    case 408:
        return 1; /* CANCELLED: the client's own body stopped */
    case 413:
        return 8; /* RESOURCE_EXHAUSTED */
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_UNAVAILABLE;
    default:
        return 2; /* UNKNOWN */
    }
}
