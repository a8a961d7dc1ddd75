/* health_probe.c: see health_probe.h.
 *
 * One probe is one connection: connect, and for http send a GET and read up to the end of the head. The
 * verdict falls there, or in the body when that must hold something; the rest is read and thrown away within
 * bounds, because an instance whose answer is cut off by a reset fills its own log with broken pipes every
 * two seconds. GET and not HEAD: small frameworks answer HEAD with 404 or 405.
 *
 * Everything read is bounded (HEALTH_BUFFER_BYTES of head, HEALTH_DRAIN_BYTES of body) and the whole probe by
 * health_timeout. The interval is drawn anew within +-10% each time so that the probes of many proxies,
 * started by one deployment, do not stay in step.
 *
 * Rejected: libevent's evhttp client. It follows its own timeouts, hides the connect error and accepts
 * framing that the data path refuses; a probe should fail where a request would. */
#include "balancer/health_probe.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/health_body.h"
#include "balancer/health_h2.h"
#include "core/h1_parse.h"
#include "core/hash.h"
#include "core/panic.h"
#include "core/tls_conn.h"

#define HEALTH_MAGIC        0x48504242u
#define HEALTH_BUFFER_BYTES (8 * KB)
#define HEALTH_DRAIN_BYTES  (256 * KB)
#define HEALTH_MAX_FIELDS   100
#define HEALTH_MAX_INTERIM  8

/* While one is spoken. */
struct health_tls {
    struct tls_conn conn;
    struct tls_out out;
};

struct health_exchange {
    struct health_tls *tls; /* NULL: plain */
    struct health_h2 *h2;   /* NULL: HTTP/1.1 */
    struct h1_parser parser;
    struct health_body body;
    unsigned interim; /* 1xx responses skipped */
    size_t filled;    /* bytes in `buffer` */
    size_t drained;
    const char *request; /* behind `buffer`, or of h2 */
    size_t request_bytes, sent;
    char buffer[HEALTH_BUFFER_BYTES];
    char text[];
};

static void health_on_event(evutil_socket_t fd, short what, void *arg);
static void health_on_next(struct deadline *d);
static void health_on_limit(struct deadline *d);

static void health_set_phase(struct health_probe *p, enum health_phase to)
{
    ASSERT(to == HEALTH_IDLE || to == p->phase + 1 ||
           (to == HEALTH_SENDING && p->phase == HEALTH_CONNECTING) ||
           (to == HEALTH_DRAINING && p->phase == HEALTH_READING));
    p->phase = to;
}

void health_probe_init(struct health_probe *p, struct worker *control, const struct net_addr *addr,
                       void (*on_result)(struct health_probe *p, const struct health_result *result))
{
    *p = (struct health_probe){.magic = HEALTH_MAGIC, .control = control, .addr = addr, .fd = -1};
    p->on_result = on_result;
    deadline_init(&p->next, health_on_next);
    deadline_init(&p->limit, health_on_limit);
}

static void health_close(struct health_probe *p)
{
    deadline_clear(p->control, &p->limit);
    if (p->fd >= 0) {
        event_del(&p->event);
        close(p->fd);
        p->fd = -1;
    }
    if (p->exchange != NULL && p->exchange->tls != NULL) {
        tls_conn_free(&p->exchange->tls->conn);
        free(p->exchange->tls);
    }
    if (p->exchange != NULL)
        health_h2_free(p->exchange->h2);
    free(p->exchange);
    p->exchange = NULL;
    health_set_phase(p, HEALTH_IDLE);
}

static void health_schedule(struct health_probe *p, mono_ms_t at_ms)
{
    deadline_set(p->control, &p->next, MAX(at_ms, worker_now_ms(p->control)));
}

static dur_ms_t health_jittered(dur_ms_t interval_ms)
{
    uint32_t random;
    hash_random(&random, sizeof random);
    dur_ms_t spread_ms = interval_ms / 5;
    return interval_ms - spread_ms / 2 + (dur_ms_t)(random % (uint64_t)(spread_ms + 1));
}

void health_probe_start(struct health_probe *p, const struct health_settings *settings, dur_ms_t delay_ms)
{
    CHECK_MAGIC(p, HEALTH_MAGIC);
    ASSERT(settings->kind != CONFIG_HEALTH_OFF);
    worker_refresh_clock(p->control);
    mono_ms_t now_ms = worker_now_ms(p->control);
    bool waits_longer = p->next.at_ms > now_ms + settings->interval_ms;
    p->settings = *settings;
    if (!p->started || waits_longer)
        health_schedule(p, now_ms + (p->started ? settings->interval_ms : delay_ms));
    p->started = true;
}

void health_probe_stop(struct health_probe *p)
{
    CHECK_MAGIC(p, HEALTH_MAGIC);
    if (!p->started)
        return;
    p->started = false;
    deadline_clear(p->control, &p->next);
    health_close(p);
}

void health_probe_hurry(struct health_probe *p)
{
    CHECK_MAGIC(p, HEALTH_MAGIC);
    if (!p->started || !deadline_is_set(&p->next))
        return;
    worker_refresh_clock(p->control);
    mono_ms_t at_ms = MAX(worker_now_ms(p->control), p->begun_ms + p->settings.interval_ms / 10);
    if (at_ms < p->next.at_ms)
        deadline_set(p->control, &p->next, at_ms);
}

/* Ends the questioning: schedules the next probe and reports. The caller returns at once. */
static void health_finish(struct health_probe *p, enum health_verdict verdict, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void health_finish(struct health_probe *p, enum health_verdict verdict, const char *fmt, ...)
{
    struct health_result result = {.verdict = verdict};
    va_list args;
    va_start(args, fmt);
    vsnprintf(result.reason, sizeof result.reason, fmt, args);
    va_end(args);
    if (p->phase != HEALTH_DRAINING)
        health_close(p);
    health_schedule(p, p->begun_ms + health_jittered(p->settings.interval_ms));
    p->on_result(p, &result);
}

static bool health_is_own_lack(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS ||
           error == EADDRNOTAVAIL;
}

/* With TLS 1.3 an instance says that it does not like our certificate when the handshake seems done. */
static const char *health_refusal(const struct health_probe *p)
{
    struct health_tls *tls = p->exchange != NULL ? p->exchange->tls : NULL;
    return tls != NULL && tls_conn_is_refused(&tls->conn) ? tls->conn.why : NULL;
}

static void health_fail_errno(struct health_probe *p, int error)
{
    const char *refusal = health_refusal(p);
    enum health_verdict verdict = p->phase <= HEALTH_CONNECTING ? HEALTH_UNREACHABLE : HEALTH_UNHEALTHY;
    if (refusal != NULL)
        health_finish(p, HEALTH_UNHEALTHY, "TLS: %s", refusal);
    else if (health_is_own_lack(error))
        health_finish(p, HEALTH_SKIPPED, "%s", strerror(error));
    else if (error == ECONNREFUSED)
        health_finish(p, verdict, "connect refused");
    else if (error == ECONNRESET || error == EPIPE) /* it was connected, if only for a moment */
        health_finish(p, HEALTH_UNHEALTHY, "connection reset");
    else
        health_finish(p, verdict, "%s failed: %s", p->phase <= HEALTH_CONNECTING ? "connect" : "exchange",
                      strerror(error));
}

static bool health_watch(struct health_probe *p, short what)
{
    if (event_initialized(&p->event))
        event_del(&p->event);
    return event_assign(&p->event, p->control->base, p->fd, (short)(what | EV_PERSIST), health_on_event, p) ==
               0 &&
           event_add(&p->event, NULL) == 0;
}

#define HEALTH_REQUEST                                                                                       \
    "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: millpond/" MILLPOND_VERSION                                \
    " (health check)\r\nAccept: */*\r\nConnection: close\r\n\r\n"

static bool health_make_h2(struct health_probe *p, const char *path, const char *host, const char *port)
{
    struct health_exchange *x = malloc(sizeof *x + strlen(host) + strlen(port) + 1);
    if (x == NULL)
        return false;
    memset(x, 0, offsetof(struct health_exchange, buffer));
    p->exchange = x;
    strcpy(stpcpy(x->text, host), port);
    x->h2 = health_h2_new(p->settings.tls != NULL ? "https" : "http", x->text, path, p->settings.body);
    if (x->h2 == NULL)
        return false;
    x->request = health_h2_request(x->h2, &x->request_bytes);
    return true;
}

static bool health_make_exchange(struct health_probe *p)
{
    const char *path = "", *host = "";
    char port[8] = "";
    if (p->settings.kind == CONFIG_HEALTH_HTTP) {
        path = p->settings.path;
        host = p->settings.host;
        if (p->settings.port != 0)
            snprintf(port, sizeof port, ":%u", p->settings.port);
    }
    if (p->settings.http2 && p->settings.kind == CONFIG_HEALTH_HTTP)
        return health_make_h2(p, path, host, port);
    int bytes = snprintf(NULL, 0, HEALTH_REQUEST, path, host, port);
    struct health_exchange *x = malloc(sizeof *x + (size_t)bytes + 1);
    if (x == NULL)
        return false;
    memset(x, 0, offsetof(struct health_exchange, buffer));
    snprintf(x->text, (size_t)bytes + 1, HEALTH_REQUEST, path, host, port);
    x->request = x->text;
    x->request_bytes = (size_t)bytes;
    p->exchange = x;
    return true;
}

static void health_begin(struct health_probe *p)
{
    p->begun_ms = worker_now_ms(p->control);
    if (!health_make_exchange(p)) {
        health_finish(p, HEALTH_SKIPPED, "out of memory");
        return;
    }
    health_set_phase(p, HEALTH_CONNECTING);
    deadline_set(p->control, &p->limit, p->begun_ms + p->settings.timeout_ms);
    int fd = net_connect(p->addr);
    if (fd < 0) {
        health_fail_errno(p, errno);
        return;
    }
    p->event = (struct event){0};
    p->fd = fd;
    if (!health_watch(p, EV_WRITE))
        health_finish(p, HEALTH_SKIPPED, "out of memory");
}

static void health_on_next(struct deadline *d)
{
    struct health_probe *p = CONTAINER_OF(d, struct health_probe, next);
    CHECK_MAGIC(p, HEALTH_MAGIC);
    health_close(p); /* a body that was still being thrown away */
    health_begin(p);
}

static void health_on_limit(struct deadline *d)
{
    struct health_probe *p = CONTAINER_OF(d, struct health_probe, limit);
    CHECK_MAGIC(p, HEALTH_MAGIC);
    long timeout_ms = (long)p->settings.timeout_ms;
    if (p->phase == HEALTH_DRAINING)
        health_close(p);
    else if (p->phase == HEALTH_CONNECTING)
        health_finish(p, HEALTH_UNREACHABLE, "connect timed out after %ld ms", timeout_ms);
    else if (p->phase == HEALTH_SEARCHING)
        health_finish(p, HEALTH_UNHEALTHY, "no \"%.40s\" in the body within %ld ms", p->settings.body,
                      timeout_ms);
    else
        health_finish(p, HEALTH_UNHEALTHY, "no response within %ld ms", timeout_ms);
}

/* As send(2) and recv(2). */
static ssize_t health_write(struct health_probe *p, const char *bytes, size_t n)
{
    struct health_tls *tls = p->exchange->tls;
    if (tls == NULL)
        return send(p->fd, bytes, n, MSG_NOSIGNAL);
    ssize_t sent = tls_conn_write(&tls->conn, &(struct iovec){(void *)(uintptr_t)bytes, n}, 1,
                                  worker_now_ms(p->control));
    errno = sent < 0 ? ECONNRESET : EAGAIN;
    return sent == 0 ? -1 : sent;
}

/* What TLS has taken from the socket and not given out would make no event. */
static ssize_t health_receive(struct health_probe *p, char *to, size_t room)
{
    struct health_tls *tls = p->exchange->tls;
    if (tls == NULL)
        return recv(p->fd, to, room, 0);
    ssize_t n = tls_conn_read(&tls->conn, to, room);
    if (n > 0 && !tls_conn_is_dry(&tls->conn))
        event_active(&p->event, EV_READ, 0);
    if (n < 0 && errno == EPROTO && tls->conn.ended)
        return 0;
    return n;
}

static void health_send(struct health_probe *p)
{
    struct health_exchange *x = p->exchange;
    ssize_t n = health_write(p, x->request + x->sent, x->request_bytes - x->sent);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            health_fail_errno(p, errno);
        return;
    }
    x->sent += (size_t)n;
    if (x->sent < x->request_bytes)
        return;
    health_set_phase(p, HEALTH_READING);
    if (!health_watch(p, EV_READ))
        health_finish(p, HEALTH_SKIPPED, "out of memory");
}

/* A probe is for no client. The first bytes on a connection find room. */
static bool health_introduce(const struct health_probe *p)
{
    char header[PROXY_HEADER_WRITE_MAX];
    size_t n = proxy_header_write(header, p->settings.proxy_header, NULL, NULL);
    return net_send(p->fd, &(struct iovec){header, n}, 1, 0) == (ssize_t)n;
}

static void health_begin_sending(struct health_probe *p)
{
    if (p->settings.kind == CONFIG_HEALTH_TCP) {
        health_finish(p, HEALTH_OK, "connected");
        return;
    }
    health_set_phase(p, HEALTH_SENDING);
    if (p->settings.tls != NULL && !health_watch(p, EV_WRITE))
        health_finish(p, HEALTH_SKIPPED, "out of memory");
    else
        health_send(p);
}

static void health_shake_hands(struct health_probe *p)
{
    struct tls_conn *t = &p->exchange->tls->conn;
    switch (tls_conn_handshake(t)) {
    case TLS_STEP_DONE:
        health_begin_sending(p);
        return;
    case TLS_STEP_WAIT:
        return;
    default:
        health_finish(p, HEALTH_UNHEALTHY, "TLS: %s", t->why);
    }
}

static void health_begin_tls(struct health_probe *p)
{
    struct health_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL ||
        !tls_conn_open_to(&tls->conn, p->settings.tls, p->settings.tls_name, 0, p->fd, &tls->out)) {
        free(tls);
        health_finish(p, HEALTH_SKIPPED, "out of memory");
        return;
    }
    p->exchange->tls = tls;
    health_set_phase(p, HEALTH_HANDSHAKE);
    if (health_watch(p, EV_READ))
        health_shake_hands(p);
    else
        health_finish(p, HEALTH_SKIPPED, "out of memory");
}

static void health_on_connected(struct health_probe *p)
{
    int error = net_socket_error(p->fd);
    if (error == 0 && p->settings.proxy_header != PROXY_HEADER_OFF && !health_introduce(p))
        error = ECONNRESET;
    if (error != 0) {
        health_fail_errno(p, error);
        return;
    }
    if (p->settings.tls != NULL)
        health_begin_tls(p);
    else
        health_begin_sending(p);
}

static void health_judge_body(struct health_probe *p, enum health_body_verdict verdict)
{
    struct health_exchange *x = p->exchange;
    if (verdict == HEALTH_BODY_MORE && x->drained <= (x->h2 != NULL ? 2 : 1) * HEALTH_DRAIN_BYTES)
        return; /* HTTP/2 counts what is body by itself; frames may not go on for ever either */
    if (x->h2 == NULL)
        health_set_phase(p, HEALTH_DRAINING);
    if (verdict == HEALTH_BODY_FOUND)
        health_finish(p, HEALTH_OK, "status and body are right");
    else if (verdict == HEALTH_BODY_BROKEN)
        health_finish(p, HEALTH_UNHEALTHY, "bad response: its body is cut off or not framed as it says");
    else
        health_finish(p, HEALTH_UNHEALTHY, "the body does not hold \"%.50s\"", p->settings.body);
}

static void health_begin_searching(struct health_probe *p, const struct http_head *head)
{
    struct health_exchange *x = p->exchange;
    const size_t head_bytes = x->parser.head_bytes;
    const bool ok = health_body_begin(&x->body, head, p->settings.body);
    health_set_phase(p, HEALTH_SEARCHING);
    health_judge_body(p, ok ? health_body_take(&x->body, x->buffer + head_bytes, x->filled - head_bytes)
                            : HEALTH_BODY_BROKEN);
}

static bool health_is_expected(const struct health_probe *p, unsigned status)
{
    for (size_t i = 0; i < p->settings.range_count; i++)
        if (status >= p->settings.ranges[i].from && status <= p->settings.ranges[i].to)
            return true;
    return false;
}

static void health_judge_status(struct health_probe *p, unsigned status)
{
    if (p->exchange->h2 == NULL) /* else the connection need not end as HTTP/1.1's does */
        health_set_phase(p, HEALTH_DRAINING);
    health_finish(p, health_is_expected(p, status) ? HEALTH_OK : HEALTH_UNHEALTHY, "status %u", status);
}

static void health_judge_head(struct health_probe *p, const struct http_head *head)
{
    if (health_is_expected(p, head->status) && p->settings.body != NULL && p->settings.body[0] != '\0')
        health_begin_searching(p, head);
    else
        health_judge_status(p, head->status);
}

/* An interim response (RFC 9110 section 15.2) is not the answer; 101 ends HTTP on this connection and is. */
static bool health_skip_interim(struct health_exchange *x, unsigned status)
{
    if (status >= 200 || status == 101)
        return false;
    x->filled -= x->parser.head_bytes;
    memmove(x->buffer, x->buffer + x->parser.head_bytes, x->filled);
    x->parser = (struct h1_parser){0};
    x->interim++;
    return true;
}

static void health_parse(struct health_probe *p)
{
    static const struct h1_limits limits = {.max_head_bytes = HEALTH_BUFFER_BYTES,
                                            .max_target_bytes = HEALTH_BUFFER_BYTES,
                                            .max_fields = HEALTH_MAX_FIELDS};
    struct health_exchange *x = p->exchange;
    struct http_field fields[HEALTH_MAX_FIELDS];
    struct http_head head;
    enum h1_status status;
    do {
        head = (struct http_head){.fields = fields};
        status = h1_parse_response(&x->parser, x->buffer, x->filled, &head, &limits);
    } while (status == H1_DONE && health_skip_interim(x, head.status) && x->interim <= HEALTH_MAX_INTERIM);
    if (status == H1_FAIL)
        health_finish(p, HEALTH_UNHEALTHY, "bad response: %s", h1_error_text(x->parser.error));
    else if (x->interim > HEALTH_MAX_INTERIM)
        health_finish(p, HEALTH_UNHEALTHY, "bad response: too many interim responses");
    else if (status == H1_DONE)
        health_judge_head(p, &head);
    else if (x->filled == sizeof x->buffer)
        health_finish(p, HEALTH_UNHEALTHY, "bad response: %s", h1_error_text(H1_ERR_HEAD_TOO_LARGE));
}

static void health_parse_h2(struct health_probe *p, size_t n)
{
    const char *why = NULL;
    const int status = health_h2_read(p->exchange->h2, p->exchange->buffer, n, &why);
    if (status < 0) {
        health_finish(p, HEALTH_UNHEALTHY, "bad response: %s", why);
    } else if (status > 0 && health_h2_looks(p->exchange->h2) && health_is_expected(p, (unsigned)status)) {
        health_set_phase(p, HEALTH_SEARCHING);
        health_judge_body(p, health_h2_body(p->exchange->h2));
    } else if (status > 0) {
        health_judge_status(p, (unsigned)status);
    }
}

/* `n` is 0 at the end of the connection, before that of the body. */
static enum health_body_verdict health_search_h2(struct health_exchange *x, size_t n)
{
    const char *why;
    if (n == 0)
        return HEALTH_BODY_BROKEN;
    health_h2_read(x->h2, x->buffer, n, &why);
    return health_h2_body(x->h2);
}

static void health_read(struct health_probe *p)
{
    struct health_exchange *x = p->exchange;
    ssize_t n = health_receive(p, x->buffer + x->filled, sizeof x->buffer - x->filled);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            health_fail_errno(p, errno);
    } else if (n == 0) {
        health_finish(p, HEALTH_UNHEALTHY, "closed before the response was complete");
    } else if (x->h2 != NULL) {
        health_parse_h2(p, (size_t)n);
    } else {
        x->filled += (size_t)n;
        health_parse(p);
    }
}

static void health_search(struct health_probe *p)
{
    struct health_exchange *x = p->exchange;
    ssize_t n = health_receive(p, x->buffer, sizeof x->buffer);
    if (n < 0) {
        if (errno != EAGAIN && errno != EINTR)
            health_fail_errno(p, errno);
        return;
    }
    x->drained += (size_t)n;
    if (x->h2 != NULL)
        health_judge_body(p, health_search_h2(x, (size_t)n));
    else
        health_judge_body(p, n == 0 ? health_body_close(&x->body)
                                    : health_body_take(&x->body, x->buffer, (size_t)n));
}

static void health_drain(struct health_probe *p)
{
    struct health_exchange *x = p->exchange;
    ssize_t n = health_receive(p, x->buffer, sizeof x->buffer);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    x->drained += n > 0 ? (size_t)n : 0;
    if (n <= 0 || x->drained > HEALTH_DRAIN_BYTES)
        health_close(p);
}

static void health_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct health_probe *p = arg;
    UNUSED(what);
    CHECK_MAGIC(p, HEALTH_MAGIC);
    ASSERT(fd == p->fd);
    worker_refresh_clock(p->control);
    if (p->exchange != NULL && p->exchange->tls != NULL)
        tls_conn_on_event(&p->exchange->tls->conn, false);
    switch (p->phase) {
    case HEALTH_CONNECTING:
        health_on_connected(p);
        break;
    case HEALTH_HANDSHAKE:
        health_shake_hands(p);
        break;
    case HEALTH_SENDING:
        health_send(p);
        break;
    case HEALTH_READING:
        health_read(p);
        break;
    case HEALTH_SEARCHING:
        health_search(p);
        break;
    case HEALTH_DRAINING:
        health_drain(p);
        break;
    case HEALTH_IDLE:
        PANIC("event of a closed probe");
    }
}
