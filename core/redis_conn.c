/* redis_conn.c: see redis_conn.h.
 *
 *   CONNECTING --connected--> LOGIN --PING answered--> READY
 *        `--------- anything goes wrong ---------------> DOWN
 *
 * Calls under way stand in a ring in the order of their commands; a reply belongs to the oldest. A call that
 * is given up leaves its place in the ring empty, because its reply still comes. Rejected: hiredis' own
 * asynchronous context, which in this version has no TLS, no deadlines, and frees itself inside its
 * callbacks. */
#include "core/redis_conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/panic.h"

#define REDIS_CONN_MAGIC 0x72646373u
#define LOGIN_CALLS      3 /* AUTH, SELECT, PING */
#define ARGC_MAX         64

enum conn_state { CONN_CONNECTING, CONN_LOGIN, CONN_READY, CONN_DOWN };

/* Owned by who opened it; one worker's thread. */
struct redis_conn {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    const struct redis_endpoint *endpoint;
    struct redis_conn_settings settings;
    struct bufferevent *bev;
    redisReader *reader;
    /* worker's thread */
    enum conn_state state;
    bool closed;         /* by its owner: no callback of his runs any more */
    unsigned first, end; /* places in the ring: first <= oldest call < end, modulo 2^32 */
    unsigned login_left;
    size_t reply_bytes;                        /* of the reply that is not complete yet */
    struct redis_call *calls[REDIS_CALLS_MAX]; /* NULL: nobody waits for this reply */
    struct redis_call login[LOGIN_CALLS];
    struct deadline deadline; /* connect_timeout, then stall_timeout */
    struct grave grave;
};

const char *redis_outcome_name(enum redis_outcome o)
{
    static const char *const names[] = {
#define X(id, name, text) name,
        REDIS_OUTCOMES(X)
#undef X
    };
    return names[o];
}

static void conn_set_state(struct redis_conn *c, enum conn_state to)
{
    ASSERT(to == CONN_DOWN ? c->state != CONN_DOWN : to == c->state + 1);
    c->state = to;
}

/* ---- calls ------------------------------------------------------------------------------------------------
 */

static void call_forget(struct redis_call *call)
{
    struct redis_conn *c = call->conn;
    c->calls[call->slot % REDIS_CALLS_MAX] = NULL;
    deadline_clear(c->worker, &call->deadline);
    call->conn = NULL;
}

static void call_end(struct redis_call *call, enum redis_outcome o, const redisReply *reply)
{
    struct redis_conn *c = call->conn;
    call_forget(call);
    if (c->settings.on_outcome != NULL && c->state != CONN_LOGIN)
        c->settings.on_outcome(c->settings.arg, o);
    call->on_reply(call, o, reply);
}

static void call_on_deadline(struct deadline *d)
{
    call_end(CONTAINER_OF(d, struct redis_call, deadline), REDIS_TIMEOUT, NULL);
}

void redis_call_cancel(struct redis_call *call)
{
    if (call->conn != NULL)
        call_forget(call);
}

static void conn_end_calls(struct redis_conn *c, enum redis_outcome o)
{
    while (c->first != c->end) {
        struct redis_call *call = c->calls[c->first++ % REDIS_CALLS_MAX];
        if (call != NULL)
            call_end(call, o, NULL);
    }
}

/* The end of the connection, whatever the cause. */
static void conn_fail(struct redis_conn *c, enum redis_outcome o, const char *reason)
{
    if (c->state == CONN_DOWN)
        return;
    char text[REDIS_REASON_TEXT];
    snprintf(text, sizeof text, "%s", reason);
    conn_set_state(c, CONN_DOWN);
    deadline_clear(c->worker, &c->deadline);
    bufferevent_disable(c->bev, EV_READ | EV_WRITE);
    conn_end_calls(c, o);
    if (!c->closed)
        c->settings.on_down(c->settings.arg, text);
}

static void sds_cleanup(const void *data, size_t len, void *sds)
{
    UNUSED(data);
    UNUSED(len);
    redisFreeSdsCommand(sds);
}

static bool conn_send(struct redis_conn *c, const slice_t *argv, size_t argc)
{
    ASSERT(argc > 0 && argc <= ARGC_MAX);
    const char *words[ARGC_MAX];
    size_t bytes[ARGC_MAX];
    for (size_t i = 0; i < argc; i++) {
        words[i] = argv[i].ptr != NULL ? argv[i].ptr : "";
        bytes[i] = argv[i].len;
    }
    char *command = NULL;
    int n = redisFormatSdsCommandArgv(&command, (int)argc, words, bytes);
    if (n < 0)
        return false;
    struct evbuffer *out = bufferevent_get_output(c->bev);
    if (evbuffer_add_reference(out, command, (size_t)n, sds_cleanup, command) == 0)
        return true;
    redisFreeSdsCommand(command);
    return false;
}

static bool conn_put(struct redis_conn *c, struct redis_call *call, dur_ms_t timeout_ms, const slice_t *argv,
                     size_t argc)
{
    if (c->end - c->first >= REDIS_CALLS_MAX ||
        evbuffer_get_length(bufferevent_get_output(c->bev)) > REDIS_UNSENT_MAX || !conn_send(c, argv, argc))
        return false;
    mono_ms_t now_ms = worker_now_ms(c->worker);
    if (c->first == c->end && c->state == CONN_READY)
        deadline_set(c->worker, &c->deadline, now_ms + c->settings.stall_timeout_ms);
    c->calls[c->end % REDIS_CALLS_MAX] = call;
    if (call != NULL) {
        ASSERT(call->conn == NULL);
        call->conn = c;
        call->slot = c->end;
        deadline_init(&call->deadline, call_on_deadline);
        deadline_set(c->worker, &call->deadline, now_ms + timeout_ms);
    }
    c->end++;
    return true;
}

bool redis_conn_call(struct redis_conn *c, struct redis_call *call, dur_ms_t timeout_ms, const slice_t *argv,
                     size_t argc)
{
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    return c->state == CONN_READY && conn_put(c, call, timeout_ms, argv, argc);
}

/* ---- logging in -------------------------------------------------------------------------------------------
 */

static void login_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    unsigned step = (unsigned)(call->slot % LOGIN_CALLS);
    struct redis_conn *c = CONTAINER_OF(call - step, struct redis_conn, login[0]);
    if (c->state != CONN_LOGIN)
        return; /* it ended otherwise, and was told so */
    if (o != REDIS_OK) {
        conn_fail(c, REDIS_LOST, reply != NULL ? reply->str : redis_outcome_name(o));
        return;
    }
    if (--c->login_left > 0)
        return;
    conn_set_state(c, CONN_READY);
    deadline_clear(c->worker, &c->deadline);
    c->settings.on_ready(c->settings.arg);
}

static void conn_login(struct redis_conn *c)
{
    const struct redis_endpoint *e = c->endpoint;
    char database[16];
    slice_t auth[3] = {SLICE_LIT("AUTH"), e->username, e->password};
    if (e->username.len == 0)
        auth[1] = e->password;
    slice_t choose[2] = {SLICE_LIT("SELECT"),
                         {database, (size_t)snprintf(database, sizeof database, "%u", e->database)}};
    slice_t ping[1] = {SLICE_LIT("PING")};
    const struct {
        bool wanted;
        const slice_t *argv;
        size_t argc;
    } steps[LOGIN_CALLS] = {{e->password.len > 0, auth, e->username.len > 0 ? 3 : 2},
                            {e->database > 0, choose, 2},
                            {true, ping, 1}};
    conn_set_state(c, CONN_LOGIN);
    for (unsigned i = 0; i < LOGIN_CALLS; i++) {
        if (!steps[i].wanted)
            continue;
        struct redis_call *call = &c->login[c->end % LOGIN_CALLS];
        call->on_reply = login_on_reply;
        c->login_left++;
        if (!conn_put(c, call, c->settings.connect_timeout_ms, steps[i].argv, steps[i].argc)) {
            conn_fail(c, REDIS_LOST, "out of memory");
            return;
        }
    }
}

/* ---- events -----------------------------------------------------------------------------------------------
 */

static void conn_take(struct redis_conn *c, redisReply *reply)
{
    if (c->first == c->end) {
        if (c->settings.on_push != NULL && c->state == CONN_READY)
            c->settings.on_push(c->settings.arg, reply);
        else
            conn_fail(c, REDIS_PROTOCOL, "a reply that nobody asked for");
        return;
    }
    struct redis_call *call = c->calls[c->first++ % REDIS_CALLS_MAX];
    if (call != NULL)
        call_end(call, reply->type == REDIS_REPLY_ERROR ? REDIS_REFUSED : REDIS_OK, reply);
}

static void conn_take_all(struct redis_conn *c)
{
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(c->reader, &reply) != REDIS_OK)
            conn_fail(c, REDIS_PROTOCOL, c->reader->errstr);
        if (reply == NULL)
            return;
        if (c->state != CONN_DOWN)
            conn_take(c, reply);
        freeReplyObject(reply);
        c->reply_bytes = c->reader->len - c->reader->pos;
    }
}

static void conn_on_read(struct bufferevent *bev, void *arg)
{
    struct redis_conn *c = arg;
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    worker_refresh_clock(c->worker);
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_iovec piece;
    while (c->state != CONN_DOWN && evbuffer_peek(in, -1, NULL, &piece, 1) > 0 && piece.iov_len > 0) {
        if (redisReaderFeed(c->reader, piece.iov_base, piece.iov_len) != REDIS_OK) {
            conn_fail(c, REDIS_PROTOCOL, c->reader->errstr);
            return;
        }
        c->reply_bytes += piece.iov_len;
        evbuffer_drain(in, piece.iov_len);
        conn_take_all(c);
        if (c->reply_bytes > REDIS_REPLY_MAX)
            conn_fail(c, REDIS_PROTOCOL, "a reply is too large");
    }
    if (c->state != CONN_READY)
        return;
    if (c->first == c->end)
        deadline_clear(c->worker, &c->deadline);
    else
        deadline_set(c->worker, &c->deadline, worker_now_ms(c->worker) + c->settings.stall_timeout_ms);
}

static void conn_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct redis_conn *c = arg;
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    int e = EVUTIL_SOCKET_ERROR();
    worker_refresh_clock(c->worker);
    if (what & BEV_EVENT_CONNECTED) {
        int on = 1;
        if (c->endpoint->addr.sa.sa_family != AF_UNIX)
            setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn_login(c);
        return;
    }
    char text[REDIS_REASON_TEXT] = "the server closed the connection";
    unsigned long tls = c->endpoint->tls != NULL ? bufferevent_get_openssl_error(bev) : 0;
    if (tls != 0)
        ERR_error_string_n(tls, text, sizeof text);
    else if ((what & BEV_EVENT_ERROR) && e != 0)
        snprintf(text, sizeof text, "%s", strerror(e));
    conn_fail(c, REDIS_LOST, text);
}

static void conn_on_deadline(struct deadline *d)
{
    struct redis_conn *c = CONTAINER_OF(d, struct redis_conn, deadline);
    conn_fail(c, REDIS_TIMEOUT,
              c->state == CONN_READY ? "the server does not answer" : "connecting took too long");
}

/* ---- life -------------------------------------------------------------------------------------------------
 */

static struct bufferevent *conn_new_bufferevent(struct worker *w, const struct redis_endpoint *e)
{
    if (e->tls == NULL)
        return bufferevent_socket_new(w->base, -1, BEV_OPT_CLOSE_ON_FREE);
    SSL *ssl = SSL_new(e->tls);
    if (ssl == NULL)
        return NULL;
    if (!SSL_set1_host(ssl, e->tls_name) || !SSL_set_tlsext_host_name(ssl, e->tls_name)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    struct bufferevent *bev =
        bufferevent_openssl_socket_new(w->base, -1, ssl, BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev != NULL)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

static void conn_free(void *arg)
{
    struct redis_conn *c = arg;
    if (c->bev != NULL)
        bufferevent_free(c->bev);
    if (c->reader != NULL)
        redisReaderFree(c->reader);
    c->magic = 0;
    free(c);
}

struct redis_conn *redis_conn_open(struct worker *w, const struct redis_endpoint *e,
                                   const struct redis_conn_settings *s)
{
    struct redis_conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->magic = REDIS_CONN_MAGIC;
    c->worker = w;
    c->endpoint = e;
    c->settings = *s;
    c->reader = redisReaderCreate();
    c->bev = conn_new_bufferevent(w, e);
    if (c->reader == NULL || c->bev == NULL) {
        conn_free(c);
        errno = ENOMEM;
        return NULL;
    }
    bufferevent_setcb(c->bev, conn_on_read, NULL, conn_on_event, c);
    bufferevent_enable(c->bev, EV_READ | EV_WRITE);
    deadline_init(&c->deadline, conn_on_deadline);
    deadline_set(w, &c->deadline, worker_now_ms(w) + s->connect_timeout_ms);
    if (bufferevent_socket_connect(c->bev, &e->addr.sa, (int)e->addr.len) == 0)
        return c;
    int error = errno;
    deadline_clear(w, &c->deadline);
    bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
    worker_bury(w, &c->grave, conn_free, c);
    errno = error;
    return NULL;
}

void redis_conn_close(struct redis_conn **cp)
{
    struct redis_conn *c = *cp;
    *cp = NULL;
    if (c == NULL)
        return;
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    ASSERT(!c->closed);
    c->closed = true;
    conn_fail(c, REDIS_LOST, "closed");
    bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
    worker_bury(c->worker, &c->grave, conn_free, c);
}

bool redis_conn_is_ready(const struct redis_conn *c)
{
    return c->state == CONN_READY;
}

size_t redis_conn_load(const struct redis_conn *c)
{
    return c->end - c->first;
}
