/* grpc.h: requests of gRPC on their way to a pool with `protocol = h2`, from clients of HTTP/2: their
 * deadline, which is over all tries, and answers of our own in words that their clients read. Everything else
 * of gRPC is HTTP/2 with trailers. Worker thread. */
#ifndef PROXY_GRPC_H
#define PROXY_GRPC_H

#include "core/text.h"
#include "core/worker.h"

struct exchange;

/* In the exchange's arena. */
struct grpc_call {
    struct exchange *exchange;
    struct deadline deadline; /* grpc-timeout, if it has one */
    unsigned status;          /* of our own answer */
    const char *message;
};

/* Before its first try: sets x->grpc if it is one. false: out of memory. */
bool grpc_begin(struct exchange *x);
/* For phase_answer_error: a response without a body, that says so in its head. */
void grpc_answer(struct exchange *x, unsigned http_status, const char *detail);
void grpc_put_fields(struct text *t, const struct exchange *x);
void grpc_free(struct exchange *x);

#endif
