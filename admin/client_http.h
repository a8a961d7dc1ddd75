/* client_http.h: one HTTP request over a unix socket and its whole answer, blocking, for the command line.
 *
 * It talks to our own evhttp server only: Connection: close, Content-Length or the end of the connection. */
#ifndef ADMIN_CLIENT_HTTP_H
#define ADMIN_CLIENT_HTTP_H

#include "core/clock.h"
#include "core/slice.h"

struct client_answer { /* owned by the caller; client_answer_free */
    unsigned status;
    char *bytes;  /* all of it, NUL-terminated */
    slice_t body; /* lies in bytes */
};

/* `body` empty: GET-like, no Content-Length. false and a sentence with advice in `err` when nobody answers at
 * `socket`, it may not be opened, or there is no whole answer within `timeout_ms`. Any thread without a loop
 * of its own. */
bool client_http_ask(const char *socket, const char *method, const char *target, slice_t body,
                     dur_ms_t timeout_ms, struct client_answer *out, char *err, size_t err_bytes);
void client_answer_free(struct client_answer *a);

#endif
