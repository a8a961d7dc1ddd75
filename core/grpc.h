/* grpc.h: what a proxy has to know of gRPC over HTTP/2: how its requests are told from others, the time they
 * have, and which of its codes an HTTP status stands for. Pure; any thread. */
#ifndef CORE_GRPC_H
#define CORE_GRPC_H

#include "core/clock.h"
#include "core/slice.h"

enum grpc_status { GRPC_DEADLINE_EXCEEDED = 4, GRPC_UNAVAILABLE = 14 };

/* Of a Content-Type: application/grpc, alone, with "+FORMAT" or with parameters; not gRPC-Web. */
bool grpc_is_content_type(slice_t value);
/* Of a grpc-timeout: at most eight digits and a unit. Rounded up; false: it is none. */
bool grpc_timeout_parse(slice_t value, dur_ms_t *ms);
/* The code for an answer of our own. */
unsigned grpc_status_of(unsigned http_status);

#endif
