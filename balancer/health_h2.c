/* health_h2.c: see health_h2.h. nghttp2 frames the request and reads the answer; what it would say after that
 * (an acknowledgement of settings, windows) is not sent, since the connection ends with the answer's head, or
 * with as much of its body as the windows allow that were opened at the beginning. */
#include "balancer/health_h2.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "core/byte_queue.h"

#define AGENT "millpond/" MILLPOND_VERSION " (health check)"

struct health_h2 {
    nghttp2_session *session;
    struct byte_queue request;
    int status; /* as health_h2_read returns it */
    unsigned heading;
    const char *why;
    bool looks; /* for something in the body */
    struct health_body body;
    size_t body_bytes; /* looked at */
    enum health_body_verdict verdict;
};

static void body_ends(struct health_h2 *h, enum health_body_verdict v)
{
    if (h->verdict == HEALTH_BODY_MORE)
        h->verdict = v;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags, void *arg)
{
    struct health_h2 *h = arg;
    uint64_t status;
    UNUSED(session);
    UNUSED(frame);
    UNUSED(flags);
    if (name_bytes == 7 && memcmp(name, ":status", 7) == 0 &&
        slice_to_u64(slice_make((const char *)value, value_bytes), &status) && status < 1000)
        h->heading = (unsigned)status;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct health_h2 *h = arg;
    UNUSED(session);
    if (frame->hd.type == NGHTTP2_HEADERS && h->status == 0 && h->heading >= 200)
        h->status = (int)h->heading;
    return 0;
}

/* Without the padding (RFC 9113 section 6.1). */
static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n,
                   void *arg)
{
    struct health_h2 *h = arg;
    UNUSED(session);
    UNUSED(flags);
    UNUSED(id);
    if (!h->looks || h->verdict != HEALTH_BODY_MORE)
        return 0;
    n = MIN(n, HEALTH_H2_BODY - h->body_bytes);
    h->body_bytes += n;
    if (health_body_search(&h->body, slice_make((const char *)data, n)))
        h->verdict = HEALTH_BODY_FOUND;
    else if (h->body_bytes == HEALTH_H2_BODY)
        h->verdict = HEALTH_BODY_MISSING;
    return 0;
}

/* With an error also what is not as long as it said (section 8.1.1). */
static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct health_h2 *h = arg;
    UNUSED(session);
    UNUSED(id);
    body_ends(h, code == NGHTTP2_NO_ERROR ? HEALTH_BODY_MISSING : HEALTH_BODY_BROKEN);
    if (h->status == 0) {
        h->status = -1;
        h->why = nghttp2_http2_strerror(code);
    }
    return 0;
}

static nghttp2_nv pair(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static bool session_new(struct health_h2 *h)
{
    nghttp2_session_callbacks *cb;
    if (nghttp2_session_callbacks_new(&cb) != 0)
        return false;
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    const bool ok = nghttp2_session_client_new(&h->session, cb, h) == 0;
    nghttp2_session_callbacks_del(cb);
    return ok;
}

static bool write_request(struct health_h2 *h, const char *scheme, const char *authority, const char *path)
{
    const nghttp2_nv nv[] = {pair(":method", "GET"), pair(":scheme", scheme),   pair(":authority", authority),
                             pair(":path", path),    pair("user-agent", AGENT), pair("accept", "*/*")};
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, HEALTH_H2_WINDOW}};
    const uint8_t *data;
    ssize_t n;
    if (nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings, h->looks ? 2 : 1) != 0 ||
        (h->looks &&
         nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, HEALTH_H2_WINDOW) != 0) ||
        nghttp2_submit_request(h->session, NULL, nv, ARRAY_LEN(nv), NULL, NULL) < 0)
        return false;
    while ((n = nghttp2_session_mem_send(h->session, &data)) > 0) {
        if (!byte_queue_put(&h->request, data, (size_t)n))
            return false;
    }
    return n == 0;
}

struct health_h2 *health_h2_new(const char *scheme, const char *authority, const char *path,
                                const char *wanted)
{
    struct health_h2 *h = calloc(1, sizeof *h);
    if (h != NULL && wanted != NULL && wanted[0] != '\0') {
        h->looks = true;
        health_body_look_for(&h->body, wanted);
    }
    if (h == NULL || !session_new(h) || !write_request(h, scheme, authority, path)) {
        health_h2_free(h);
        return NULL;
    }
    return h;
}

void health_h2_free(struct health_h2 *h)
{
    if (h == NULL)
        return;
    nghttp2_session_del(h->session);
    byte_queue_free(&h->request);
    free(h);
}

const char *health_h2_request(const struct health_h2 *h, size_t *bytes)
{
    *bytes = byte_queue_bytes(&h->request);
    return h->request.ptr;
}

int health_h2_read(struct health_h2 *h, const char *bytes, size_t n, const char **why)
{
    const ssize_t read = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes, n);
    const uint8_t *unsent; /* a goodbye among it has the session end */
    while (nghttp2_session_mem_send(h->session, &unsent) > 0)
        continue;
    const bool over = read < 0 || nghttp2_session_want_read(h->session) == 0;
    if (over)
        body_ends(h, HEALTH_BODY_BROKEN);
    if (over && h->status == 0) {
        h->status = -1;
        h->why = "no HTTP/2";
    }
    *why = h->why;
    return h->status;
}

bool health_h2_looks(const struct health_h2 *h)
{
    return h->looks;
}

enum health_body_verdict health_h2_body(const struct health_h2 *h)
{
    return h->verdict;
}
