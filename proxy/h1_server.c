/* h1_server.c: HTTP/1.x towards the client: heads in order, request bodies on demand, errors that cannot be
 * exchanges. Pipelined requests that are answered at once go out in one writev at the end of a run. */
#include "core/metrics.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/client_conn.h"
#include "proxy/client_out.h"
#include "proxy/exchange.h"
#include "proxy/h2_conn.h"
#include "proxy/listener.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"

#define REQUESTS_PER_TURN 256 /* pipelined ones; then other connections get their turn */

static void h1_server_begin(struct client_conn *c, const struct http_head *head)
{
    struct proxy_worker *pw = c->pw;
    size_t head_bytes = c->parser.head_bytes;
    struct exchange *x = exchange_new(pw, c);
    if (x == NULL) {
        client_conn_close(c, CLOSE_NO_MEMORY);
        return;
    }
    client_conn_set_state(c, CLIENT_EXCHANGE);
    c->exchange = x;
    x->req = *head;
    x->head_bytes = (uint32_t)head_bytes;
    client_conn_consume(c, head_bytes);
    c->parser = (struct h1_parser){0};
    phase_run(x);
}

void h1_server_refuse(struct client_conn *c, unsigned status, const char *detail, enum close_reason why)
{
    struct exchange *x = exchange_new(c->pw, c);
    proxy_count(c->pw, METRIC_BAD_REQUESTS, 1);
    if (x == NULL) {
        client_conn_close(c, CLOSE_NO_MEMORY);
        return;
    }
    client_conn_set_state(c, CLIENT_EXCHANGE);
    c->exchange = x;
    c->in_len = 0;
    x->req = (struct http_head){.method_text = SLICE_LIT("-"), .target = SLICE_LIT("-"), .version_minor = 1};
    x->head_owned = true;
    x->keep_alive = false;
    x->close_reason = (uint8_t)why;
    phase_answer_error(x, status, detail);
    phase_run(x);
}

/* Of HTTP/2, by who knows that it is spoken here (RFC 9113 section 3.3). */
static bool h1_server_is_preface(const struct client_conn *c)
{
    return c->requests == 0 && c->tls == NULL &&
           slice_starts(slice_make(c->in_ptr, c->in_len), SLICE_LIT("PRI * HTTP/2.0\r\n"));
}

static void h1_server_refuse_parse(struct client_conn *c)
{
    enum h1_error e = c->parser.error;
    if ((c->listener->config->protocols & CONFIG_PROTOCOL_H2C) != 0 && h1_server_is_preface(c)) {
        h2_server_begin(c);
        return;
    }
    h1_server_refuse(c, h1_error_status(e), h1_error_text(e), CLOSE_BAD_REQUEST);
}

/* Takes the next request from the input, reading more as needed. false: nothing more can be done now. */
static bool h1_server_next_request(struct client_conn *c)
{
    struct proxy_worker *pw = c->pw;
    const struct config_listen *cfg = c->listener->config;
    const struct h1_limits limits = {.max_head_bytes = (size_t)cfg->max_header_bytes,
                                     .max_target_bytes = (size_t)cfg->max_target_bytes,
                                     .max_fields = MIN((unsigned)cfg->max_headers, pw->field_capacity)};
    if (c->rest != NULL)
        client_conn_claim_buffer(c);
    for (;;) {
        if (c->in_len > 0) {
            struct http_head head = {.fields = pw->fields};
            enum h1_status st = h1_parse_request(&c->parser, c->in_ptr, c->in_len, &head, &limits);
            if (st == H1_DONE) {
                h1_server_begin(c, &head);
                return c->state == CLIENT_IDLE;
            }
            if (st == H1_FAIL) {
                h1_server_refuse_parse(c);
                return false;
            }
        }
        switch (client_conn_read(c)) {
        case CLIENT_READ_DATA:
            continue;
        case CLIENT_READ_FULL:
            h1_server_refuse(c, 431, h1_error_text(H1_ERR_HEAD_TOO_LARGE), CLOSE_BAD_REQUEST);
            return false;
        case CLIENT_READ_NOTHING:
            if (c->in_len > 0 && c->state == CLIENT_IDLE) {
                client_conn_set_state(c, CLIENT_HEAD);
                client_conn_arm(c);
            }
            c->broken |= c->in_len > 0 && net_is_gone(c->fd);
            return false;
        case CLIENT_READ_END:
            return false;
        }
    }
}

/* Has the client left? A reset says so at any time, and one is what a client that is gone answers our bytes
 * with. The end of its sending side is a word of one that closed all of it as well as of one that wants the
 * answer (RFC 9112 section 9.6), and before we write nothing tells them apart: h1_server_has_waited. Only a
 * place in the queue goes to somebody who is there for certain. */
static bool h1_server_client_left(const struct client_conn *c)
{
    return (c->hup && c->exchange->queued != NULL) || net_is_gone(c->fd);
}

bool h1_server_has_waited(struct client_conn *c)
{
    const struct exchange *x = c->exchange;
    const bool silent = c->bytes_out == c->rate_bytes;
    c->rate_bytes = c->bytes_out;
    return silent && (x->upstream != NULL || x->queued != NULL || x->phase == PHASE_WAIT ||
                      x->source == SOURCE_FOLLOW || (x->slices != NULL && slices_await_instance(x)));
}

/* Something happened while an exchange is under way. */
static void h1_server_poke_exchange(struct client_conn *c)
{
    struct exchange *x = c->exchange;
    if (x->body_state == BODY_READING || x->awaits_continue) {
        if (c->readable || c->hup)
            exchange_on_client_readable(x);
    } else if (c->broken || ((c->readable || c->hup) && h1_server_client_left(c))) {
        client_conn_close(c, CLOSE_CLIENT_ABORTED);
    } else if (c->hup && c->left == NULL) {
        c->rate_bytes = c->bytes_out;
    }
}

/* The deadline stands already, and what comes by drips does not put it off: between requests (TLS may come
 * without data), or of a rate that is looked at now and then. */
static bool is_waited_for(struct client_conn *c)
{
    const bool body = c->exchange != NULL && c->exchange->body_state == BODY_READING;
    const enum client_wait what = c->left != NULL           ? CLIENT_WAIT_TAKE
                                  : c->state == CLIENT_IDLE ? CLIENT_WAIT_REQUEST
                                  : body                    ? CLIENT_WAIT_BODY
                                                            : CLIENT_WAIT_NOTHING;
    const bool same = what == c->waited_for;
    c->waited_for = (uint8_t)what;
    return same && (what == CLIENT_WAIT_REQUEST || what == CLIENT_WAIT_TAKE ||
                    (what != CLIENT_WAIT_NOTHING && c->listener->config->min_rate_bytes_s > 0));
}

/* What follows when nothing more can be done: close, or wait with the right deadline. */
static void h1_server_settle(struct client_conn *c)
{
    if (UNLIKELY(c->state > CLIENT_EXCHANGE)) {
        if (c->state == CLIENT_H2)
            h2_server_run(c);
        return;
    }
    if (c->broken) {
        client_conn_close(c, c->state == CLIENT_EXCHANGE ? CLOSE_CLIENT_ABORTED : CLOSE_CLIENT_RESET);
        return;
    }
    bool idle = c->exchange == NULL && c->left == NULL;
    if (idle && c->close_after) {
        client_conn_close_gracefully(c, c->close_reason);
        return;
    }
    if (idle && c->eof) {
        client_conn_close(c, c->in_len > 0 ? CLOSE_CLIENT_ABORTED : CLOSE_CLIENT_CLOSED);
        return;
    }
    if (idle && c->pw->draining && !c->pw->is_patient && c->state == CLIENT_IDLE && c->requests > 0) {
        client_conn_close(c, CLOSE_SHUTDOWN);
        return;
    }
    client_conn_save_input(c);
    if ((c->state != CLIENT_HEAD || c->left != NULL) && !is_waited_for(c))
        client_conn_arm(c);
}

void h1_server_run(struct client_conn *c)
{
    CHECK_MAGIC(c, CLIENT_CONN_MAGIC);
    if (c->running || c->state > CLIENT_EXCHANGE)
        return;
    c->running = true;
    rcu_enter();
    if (c->left != NULL && c->writable && client_out_resume(c) && c->exchange != NULL)
        exchange_on_client_writable(c->exchange);
    if (c->state == CLIENT_EXCHANGE && c->exchange != NULL)
        h1_server_poke_exchange(c);
    unsigned served = 0;
    while ((c->state == CLIENT_IDLE || c->state == CLIENT_HEAD) && c->left == NULL && !c->broken &&
           !c->close_after && h1_server_next_request(c)) {
        if (++served == REQUESTS_PER_TURN) {
            worker_at_turn_end(c->pw->worker, &c->again);
            break;
        }
    }
    if (c->state != CLIENT_CLOSED)
        client_out_flush(c);
    rcu_leave();
    c->running = false;
    h1_server_settle(c);
}

void client_conn_exchange_done(struct client_conn *c, bool keep_alive)
{
    const struct config_listen *cfg = c->listener->config;
    c->exchange = NULL;
    c->requests++;
    if (!keep_alive) {
        c->close_after = true;
        if (c->close_reason == CLOSE_OPEN)
            c->close_reason = CLOSE_NO_KEEP_ALIVE;
    } else if (cfg->max_requests_per_connection > 0 &&
               c->requests >= (unsigned)cfg->max_requests_per_connection) {
        c->close_after = true;
        c->close_reason = CLOSE_MAX_REQUESTS;
    } else if (c->pw->draining && !c->pw->is_patient) {
        c->close_after = true;
        c->close_reason = CLOSE_SHUTDOWN;
    }
    client_conn_set_state(c, CLIENT_IDLE);
    c->parser = (struct h1_parser){0};
    if (!c->running)
        h1_server_run(c);
}

/* ---- request bodies ---- */

static enum h1_body_read h1_server_more_body(struct client_conn *c)
{
    switch (client_conn_read(c)) {
    case CLIENT_READ_DATA:
        return H1_BODY_PIECE;
    case CLIENT_READ_NOTHING:
        return H1_BODY_WAIT;
    case CLIENT_READ_END:
    case CLIENT_READ_FULL:
        break;
    }
    return H1_BODY_BROKEN;
}

static void h1_server_continue(struct client_conn *c, struct exchange *x)
{
    x->expects_continue = false;
    if (c->in_len > 0 || x->head_sent || c->left != NULL)
        return;
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (client_out_add(c, text, sizeof text - 1, NULL))
        client_out_flush(c);
}

static enum h1_body_read h1_server_read_trailers(struct client_conn *c, struct exchange *x)
{
    const struct config_listen *cfg = c->listener->config;
    const struct h1_limits limits = {.max_head_bytes = (size_t)cfg->max_header_bytes,
                                     .max_target_bytes = 0,
                                     .max_fields = MIN((unsigned)cfg->max_headers, c->pw->field_capacity)};
    for (;;) {
        struct http_head head = {.fields = c->pw->fields};
        enum h1_status st =
            c->in_len == 0 ? H1_MORE : h1_parse_fields(&c->parser, c->in_ptr, c->in_len, &head, &limits);
        if (st == H1_FAIL)
            return H1_BODY_BROKEN;
        if (st == H1_DONE) {
            x->trailers = arena_copy(&x->arena, slice_make(c->in_ptr, c->parser.head_bytes));
            client_conn_consume(c, c->parser.head_bytes);
            c->parser = (struct h1_parser){0};
            x->body_state = BODY_DONE;
            return H1_BODY_END;
        }
        enum h1_body_read more = h1_server_more_body(c);
        if (more != H1_BODY_PIECE)
            return more;
    }
}

static enum h1_body_read h1_server_read_chunked(struct client_conn *c, struct exchange *x, slice_t *piece)
{
    for (;;) {
        if (x->trailers_end)
            return h1_server_read_trailers(c, x);
        size_t consumed = 0;
        enum h1_chunk ev = h1_chunked_next(&x->chunked, c->in_ptr, c->in_len, &consumed, piece);
        c->in_ptr += consumed;
        c->in_len -= consumed;
        if (ev == H1_CHUNK_FAIL)
            return H1_BODY_BROKEN;
        if (ev == H1_CHUNK_DATA) {
            x->body_read += piece->len;
            return x->body_read > (uint64_t)c->listener->config->max_body_bytes ? H1_BODY_TOO_BIG
                                                                                : H1_BODY_PIECE;
        }
        if (ev == H1_CHUNK_TRAILERS) {
            x->trailers_end = true;
            continue;
        }
        enum h1_body_read more = h1_server_more_body(c);
        if (more != H1_BODY_PIECE)
            return more;
    }
}

enum h1_body_read h1_server_read_body(struct client_conn *c, struct exchange *x, slice_t *piece)
{
    if (x->body_state == BODY_ABSENT || x->body_state == BODY_DONE)
        return H1_BODY_END;
    if (x->body_state == BODY_UNREAD) {
        x->body_state = BODY_READING;
        c->rate_since_ms = worker_now_ms(c->pw->worker);
        c->rate_bytes = 0;
    }
    if (x->expects_continue)
        h1_server_continue(c, x);
    if (c->rest != NULL)
        client_conn_claim_buffer(c);
    if (x->framing.kind == H1_BODY_CHUNKED)
        return h1_server_read_chunked(c, x, piece);
    if (x->body_left == 0) {
        x->body_state = BODY_DONE;
        return H1_BODY_END;
    }
    if (c->in_len == 0) {
        enum h1_body_read more = h1_server_more_body(c);
        if (more != H1_BODY_PIECE)
            return more;
    }
    *piece = slice_make(c->in_ptr, (size_t)MIN((uint64_t)c->in_len, x->body_left));
    c->in_ptr += piece->len;
    c->in_len -= piece->len;
    x->body_left -= piece->len;
    x->body_read += piece->len;
    return H1_BODY_PIECE;
}

void h1_server_body_too_slow(struct client_conn *c, enum close_reason why)
{
    struct exchange *x = c->exchange;
    if (x->head_sent) {
        client_conn_close(c, why);
        return;
    }
    x->close_reason = (uint8_t)why;
    x->keep_alive = false;
    phase_fetch_release(x, FETCH_CANCELLED);
    phase_answer_error(x, 408, "the request body stopped coming");
    phase_run(x);
}
