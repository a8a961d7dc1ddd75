/* grpc.c: see grpc.h.
 *
 * The deadline ends what the client waits for: before the response's head by an answer of our own, behind it
 * by trailers. The instance is told too (grpc-timeout is passed on, the stream is reset), and is not blamed.
 */
#include "proxy/grpc.h"

#include "core/grpc.h"
#include "core/panic.h"
#include "proxy/exchange.h"
#include "proxy/fetch_queue.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define LATE "the deadline was exceeded"

/* The head may be out; its trailers are not. */
static void end_response(struct exchange *x)
{
    phase_fetch_release(x, FETCH_CANCELLED);
    if (x->response_framing.has_length) { /* less than that cannot end in order */
        x->body_cut = true;
    } else {
        x->trailers = SLICE_LIT("grpc-status: 4\r\ngrpc-message: " LATE "\r\n");
        x->upstream_done = true;
    }
    phase_run(x);
}

static void grpc_on_deadline(struct deadline *d)
{
    struct grpc_call *g = CONTAINER_OF(d, struct grpc_call, deadline);
    struct exchange *x = g->exchange;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    if (x->client == NULL)
        return;
    if (x->phase == PHASE_DELIVER && x->source == SOURCE_RELAY && x->upstream != NULL) {
        end_response(x);
    } else if (x->phase == PHASE_FETCH) {
        phase_fetch_release(x, FETCH_CANCELLED);
        fetch_queue_leave(x);
        grpc_answer(x, 504, LATE);
        g->status = GRPC_DEADLINE_EXCEEDED;
        phase_run(x);
    }
}

bool grpc_begin(struct exchange *x)
{
    const struct http_field *type = http_head_get(&x->req, HTTP_FIELD_CONTENT_TYPE);
    if (x->stream == NULL || x->grpc != NULL || x->req.method != HTTP_POST || type == NULL ||
        !grpc_is_content_type(type->value))
        return true;
    struct grpc_call *g = arena_alloc(&x->arena, sizeof *g);
    if (g == NULL)
        return false;
    *g = (struct grpc_call){.exchange = x};
    deadline_init(&g->deadline, grpc_on_deadline);
    x->grpc = g;
    const struct http_field *timeout = http_head_find(&x->req, SLICE_LIT("grpc-timeout"));
    dur_ms_t ms;
    if (timeout != NULL && grpc_timeout_parse(timeout->value, &ms))
        deadline_set(x->pw->worker, &g->deadline, worker_now_ms(x->pw->worker) + ms);
    return true;
}

void grpc_answer(struct exchange *x, unsigned http_status, const char *detail)
{
    x->grpc->status = grpc_status_of(http_status);
    x->grpc->message = detail;
    phase_answer(x, 200, SLICE_LIT("application/grpc"), SLICE_EMPTY);
}

/* Texts of ours hold nothing that would have to be percent-encoded. */
void grpc_put_fields(struct text *t, const struct exchange *x)
{
    if (x->grpc->message == NULL)
        return;
    TEXT_LIT(t, "Grpc-Status: ");
    text_put_u64(t, x->grpc->status);
    TEXT_LIT(t, "\r\nGrpc-Message: ");
    text_put(t, slice_str(x->grpc->message));
    TEXT_LIT(t, "\r\n");
}

void grpc_free(struct exchange *x)
{
    deadline_clear(x->pw->worker, &x->grpc->deadline);
    x->grpc = NULL;
}
