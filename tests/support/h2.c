/* h2.c: see h2.h. Frames by hand; nghttp2 only decodes heads. */
#include "tests/support/h2.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#define FRAME_HEAD 9

static struct h2_client *opened;

static void h2_free(void *arg)
{
    struct h2_client *c = arg;
    for (struct h2_client **at = &opened; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    for (unsigned i = 0; i < H2_STREAMS_MAX; i++) {
        free(c->answer[i].head);
        free(c->answer[i].body);
    }
    nghttp2_hd_inflate_del(c->inflater);
    wire_free(&c->wire);
    free(c);
}

void h2_close(struct h2_client *c)
{
    if (c->wire.fd >= 0)
        close(c->wire.fd);
    c->wire.fd = -1;
}

void h2_close_all(void)
{
    for (struct h2_client *c = opened; c != NULL; c = c->next)
        h2_close(c);
}

static void put32(unsigned char *at, uint32_t v)
{
    at[0] = (unsigned char)(v >> 24);
    at[1] = (unsigned char)(v >> 16);
    at[2] = (unsigned char)(v >> 8);
    at[3] = (unsigned char)v;
}

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

bool h2_frame(struct h2_client *c, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
    unsigned char *frame = malloc(FRAME_HEAD + n);
    put32(frame, (uint32_t)n << 8 | type);
    frame[4] = flags;
    put32(frame + 5, id);
    if (n > 0)
        memcpy(frame + FRAME_HEAD, payload, n);
    bool sent = wire_send(&c->wire, frame, FRAME_HEAD + n);
    free(frame);
    return sent;
}

static struct h2_client *h2_new(int fd)
{
    struct h2_client *c = calloc(1, sizeof *c);
    if (c == NULL)
        support_fail("out of memory");
    wire_init(&c->wire, fd);
    nghttp2_hd_inflate_new(&c->inflater);
    c->goaway = H2_NO_CODE;
    c->acks = true;
    for (unsigned i = 0; i < H2_STREAMS_MAX; i++)
        c->answer[i].reset = H2_NO_CODE;
    support_on_end(h2_free, c);
    return c;
}

/* ---- the other side ---- */

static void listener_free(void *arg)
{
    close((int)(intptr_t)arg);
}

struct h2_listener h2_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof a;
    struct h2_listener l = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (l.fd < 0 || bind(l.fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(l.fd, 64) != 0 ||
        getsockname(l.fd, (struct sockaddr *)&a, &bytes) != 0)
        support_fail("cannot listen");
    l.port = ntohs(a.sin_port);
    support_on_end(listener_free, (void *)(intptr_t)l.fd);
    return l;
}

struct h2_client *h2_accept_(const struct h2_listener *l, uint32_t streams, uint32_t window)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    unsigned char entries[12];
    size_t n = 0;
    if (poll(&p, 1, support_wait_ms()) != 1)
        support_fail("nobody connects");
    struct h2_client *c = h2_new(accept4(l->fd, NULL, NULL, SOCK_CLOEXEC));
    while (c->wire.len < 24) {
        if (!wire_more(&c->wire, support_wait_ms()))
            support_fail("no preface comes");
    }
    if (memcmp(c->wire.buf, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24) != 0)
        support_fail("a connection that does not begin with the preface: %.24s", c->wire.buf);
    wire_take(&c->wire, 24);
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t value = i == 0 ? streams : window;
        if (value == 0)
            continue;
        entries[n] = 0;
        entries[n + 1] =
            i == 0 ? NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS : NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
        put32(entries + n + 2, value);
        n += 6;
    }
    h2_frame(c, NGHTTP2_SETTINGS, 0, 0, entries, n);
    return c;
}

struct h2_answer *h2_wait_asked_(struct h2_client *c, uint32_t id)
{
    struct h2_answer *a = h2_answer(c, id);
    while (a->head == NULL) {
        if (!h2_read(c))
            support_fail("no request comes on stream %u", id);
    }
    return a;
}

struct h2_client *h2_open_(int port, const struct h2_options *o)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    int fd = wire_connect(port, o->rcvbuf_bytes);
    if (fd < 0)
        support_fail("cannot connect to 127.0.0.1:%d", port);
    struct h2_client *c = h2_new(fd);
    c->next = opened;
    opened = c;
    c->acks = !o->no_acks;
    c->no_window_updates = o->no_window_updates;
    if (o->silent)
        return c;
    unsigned char entry[6] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE};
    put32(entry + 2, (uint32_t)o->window);
    wire_send(&c->wire, preface, sizeof preface - 1);
    h2_frame(c, NGHTTP2_SETTINGS, 0, 0, entry, o->window > 0 ? sizeof entry : 0);
    return c;
}

/* ---- sending ---- */

static size_t put_text(unsigned char *at, const char *text)
{
    size_t n = strlen(text), bytes = 1;
    at[0] = (unsigned char)(n < 127 ? n : 127);
    for (size_t rest = n - 127; n >= 127; rest >>= 7) { /* RFC 7541 section 5.1 */
        at[bytes++] = (unsigned char)((rest & 127) | (rest >= 128 ? 128 : 0));
        if (rest < 128)
            break;
    }
    memcpy(at + bytes, text, n);
    return bytes + n;
}

size_t h2_encode(const char *const *fields, unsigned char *buf, size_t room)
{
    size_t n = 0;
    for (; fields[0] != NULL; fields += 2) {
        if (n + strlen(fields[0]) + strlen(fields[1]) + 16 > room)
            support_fail("a head of a test is too large");
        buf[n++] = 0;
        n += put_text(buf + n, fields[0]);
        n += put_text(buf + n, fields[1]);
    }
    return n;
}

bool h2_headers_(struct h2_client *c, uint8_t flags, uint32_t id, const char *const *fields)
{
    unsigned char buf[16384];
    size_t n = h2_encode(fields, buf, sizeof buf);
    return h2_frame(c, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, id, buf, n);
}

bool h2_data(struct h2_client *c, uint8_t flags, uint32_t id, const char *bytes, size_t n)
{
    return h2_frame(c, NGHTTP2_DATA, flags, id, bytes, n);
}

bool h2_reset(struct h2_client *c, uint32_t id, uint32_t code)
{
    unsigned char payload[4];
    put32(payload, code);
    return h2_frame(c, NGHTTP2_RST_STREAM, 0, id, payload, sizeof payload);
}

bool h2_window_update(struct h2_client *c, uint32_t id, uint32_t by)
{
    unsigned char payload[4];
    put32(payload, by);
    return h2_frame(c, NGHTTP2_WINDOW_UPDATE, 0, id, payload, sizeof payload);
}

/* ---- receiving ---- */

struct h2_answer *h2_answer(struct h2_client *c, uint32_t id)
{
    if (id / 2 >= H2_STREAMS_MAX)
        support_fail("stream %u is beyond what a test keeps", id);
    return &c->answer[id / 2];
}

/* What holds `len` bytes and their end, doubling: memory checkers move a text each time it grows. */
static size_t append_room(size_t len)
{
    size_t room = 256;
    while (room <= len)
        room *= 2;
    return room;
}

static void append(char **text, size_t *len, const void *bytes, size_t n)
{
    if (*text == NULL || append_room(*len + n) != append_room(*len))
        *text = realloc(*text, append_room(*len + n));
    memcpy(*text + *len, bytes, n);
    *len += n;
    (*text)[*len] = '\0';
}

static void take_field(struct h2_answer *a, const nghttp2_nv *nv)
{
    size_t len = a->head != NULL ? strlen(a->head) : 0;
    if (nv->namelen == 7 && memcmp(nv->name, ":status", 7) == 0) {
        int status = atoi((const char *)nv->value);
        *(status < 200 ? &a->interim : &a->status) = status;
    }
    append(&a->head, &len, nv->name, nv->namelen);
    append(&a->head, &len, ": ", 2);
    append(&a->head, &len, nv->value, nv->valuelen);
    append(&a->head, &len, "\n", 1);
}

static void take_head(struct h2_client *c, struct h2_answer *a, const unsigned char *in, size_t n)
{
    int flags = 0;
    while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        nghttp2_nv nv;
        flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(c->inflater, &nv, &flags, in, n, 1);
        if (used < 0)
            support_fail("a head that HPACK does not understand");
        in += used;
        n -= (size_t)used;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            take_field(a, &nv);
    }
    nghttp2_hd_inflate_end_headers(c->inflater);
}

static void take_frame(struct h2_client *c, uint8_t type, uint8_t flags, uint32_t id, const unsigned char *p,
                       size_t n)
{
    struct h2_answer *a = h2_answer(c, id);
    switch (type) {
    case NGHTTP2_HEADERS:
        take_head(c, a, p, n);
        a->ended |= (flags & NGHTTP2_FLAG_END_STREAM) != 0;
        break;
    case NGHTTP2_DATA:
        append(&a->body, &a->body_len, p, n);
        a->ended |= (flags & NGHTTP2_FLAG_END_STREAM) != 0;
        if (n > 0 && !c->no_window_updates) {
            h2_window_update(c, 0, (uint32_t)n);
            if (!a->ended)
                h2_window_update(c, id, (uint32_t)n);
        }
        break;
    case NGHTTP2_RST_STREAM:
        a->reset = get32(p);
        break;
    case NGHTTP2_SETTINGS:
        for (size_t at = 0; at + 6 <= n; at += 6)
            c->connects |= p[at + 1] == NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL && get32(p + at + 2) == 1;
        c->settings_acked += (flags & NGHTTP2_FLAG_ACK) != 0;
        if ((flags & NGHTTP2_FLAG_ACK) == 0 && c->acks)
            h2_frame(c, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
        break;
    case NGHTTP2_PING:
        c->pings_acked += (flags & NGHTTP2_FLAG_ACK) != 0;
        break;
    case NGHTTP2_WINDOW_UPDATE:
        c->window_given[id > 0] += get32(p);
        break;
    case NGHTTP2_GOAWAY:
        c->goaways++;
        c->last_stream_id = get32(p) & 0x7fffffff;
        c->goaway = get32(p + 4);
        break;
    default:
        break;
    }
}

bool h2_read(struct h2_client *c)
{
    while (c->wire.len < FRAME_HEAD) {
        if (!wire_more(&c->wire, support_wait_ms()))
            return false;
    }
    const unsigned char *head = (const unsigned char *)c->wire.buf;
    size_t n = get32(head) >> 8;
    uint8_t type = head[3], flags = head[4];
    uint32_t id = get32(head + 5) & 0x7fffffff;
    while (c->wire.len < FRAME_HEAD + n) {
        if (!wire_more(&c->wire, support_wait_ms()))
            return false;
    }
    take_frame(c, type, flags, id, (const unsigned char *)c->wire.buf + FRAME_HEAD, n);
    wire_take(&c->wire, FRAME_HEAD + n);
    return true;
}

struct h2_answer *h2_wait_(struct h2_client *c, uint32_t id)
{
    struct h2_answer *a = h2_answer(c, id);
    while (!a->ended && a->reset == H2_NO_CODE) {
        if (!h2_read(c))
            support_fail("stream %u does not end; GOAWAY %lld", id, (long long)c->goaway);
    }
    return a;
}

struct h2_answer *h2_wait_head_(struct h2_client *c, uint32_t id)
{
    struct h2_answer *a = h2_answer(c, id);
    while (a->status == 0 && a->reset == H2_NO_CODE) {
        if (!h2_read(c))
            support_fail("stream %u gets no head; GOAWAY %lld", id, (long long)c->goaway);
    }
    return a;
}

struct h2_answer *h2_wait_body_(struct h2_client *c, uint32_t id, size_t bytes)
{
    struct h2_answer *a = h2_answer(c, id);
    while (a->body_len < bytes && !a->ended && a->reset == H2_NO_CODE) {
        if (!h2_read(c))
            break;
    }
    if (a->body_len < bytes)
        support_fail("stream %u: %zu bytes of %zu; reset %lld", id, a->body_len, bytes, (long long)a->reset);
    return a;
}

void h2_sync_(struct h2_client *c)
{
    unsigned before = c->pings_acked;
    h2_frame(c, NGHTTP2_PING, 0, 0, "12345678", 8);
    while (c->pings_acked == before) {
        if (!h2_read(c))
            support_fail("PING is not answered; GOAWAY %lld", (long long)c->goaway);
    }
}

int64_t h2_wait_goaway_(struct h2_client *c)
{
    unsigned before = c->goaways;
    while (c->goaways == before) {
        if (!h2_read(c))
            support_fail("no GOAWAY comes");
    }
    return c->goaway;
}

void h2_wait_end_(struct h2_client *c)
{
    while (h2_read(c))
        continue;
    if (!c->wire.closed && !c->wire.reset)
        support_fail("the connection does not end");
}

void h2_expect_(struct h2_client *c, uint32_t id, int status, const char *body)
{
    struct h2_answer *a = h2_wait_(c, id);
    if (a->reset != H2_NO_CODE && !a->ended)
        support_fail("stream %u was reset by %lld", id, (long long)a->reset);
    if (a->status != status)
        support_fail("stream %u: status %d, not %d\n%s", id, a->status, status, a->head);
    if (body != NULL && strcmp(a->body != NULL ? a->body : "", body) != 0)
        support_fail("stream %u: not the body \"%s\" but \"%.200s\"", id, body,
                     a->body != NULL ? a->body : "");
}
