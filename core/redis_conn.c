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

#include <arpa/inet.h>
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
#include "core/redis_reply.h"

#define REDIS_CONN_MAGIC 0x72646373u
#define LOGIN_CALLS      4 /* AUTH, SELECT, ROLE, PING */
/* A reply that claims to be longer than it is swallows those behind it, which must not look like its rest. */
#define PROGRESS_BYTES (4 * KB)

struct redis_command {
    unsigned refs;
    size_t bytes;
    char *text; /* hiredis' */
};

enum conn_state { CONN_CONNECTING, CONN_LOGIN, CONN_READY, CONN_DOWN };

/* Owned by who opened it; one worker's thread. */
struct redis_conn {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    const struct redis_login *login;
    bool is_tcp;
    struct redis_conn_settings settings;
    struct bufferevent *bev;
    redisReader *reader;
    /* worker's thread */
    enum conn_state state;
    bool closed;         /* by its owner: no callback of his runs any more */
    unsigned first, end; /* places in the ring: first <= oldest call < end, modulo 2^32 */
    unsigned login_left;
    size_t reply_bytes;                        /* of the reply that is not complete yet */
    size_t moved_bytes;                        /* of those, when the deadline was moved */
    struct redis_call *calls[REDIS_CALLS_MAX]; /* NULL: nobody waits for this reply */
    struct redis_call login_calls[LOGIN_CALLS];
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

/* ---- calls ---- */

static void command_unref(struct redis_command *command)
{
    if (command == NULL || --command->refs > 0)
        return;
    redisFreeSdsCommand(command->text);
    free(command);
}

static struct redis_command *command_new(const slice_t *argv, size_t argc)
{
    ASSERT(argc > 0 && argc <= REDIS_ARGC_MAX);
    const char *words[REDIS_ARGC_MAX];
    size_t bytes[REDIS_ARGC_MAX];
    for (size_t i = 0; i < argc; i++) {
        words[i] = argv[i].ptr != NULL ? argv[i].ptr : "";
        bytes[i] = argv[i].len;
    }
    struct redis_command *command = malloc(sizeof *command);
    if (command == NULL)
        return NULL;
    *command = (struct redis_command){.refs = 1};
    int n = redisFormatSdsCommandArgv(&command->text, (int)argc, words, bytes);
    if (n < 0) {
        free(command);
        return NULL;
    }
    command->bytes = (size_t)n;
    return command;
}

static void call_forget(struct redis_call *call)
{
    struct redis_conn *c = call->conn;
    c->calls[call->slot % REDIS_CALLS_MAX] = NULL;
    deadline_clear(c->worker, &call->deadline);
    call->conn = NULL;
}

static void call_drop_command(struct redis_call *call)
{
    command_unref(call->command);
    call->command = NULL;
}

static void call_end(struct redis_call *call, enum redis_outcome o, const redisReply *reply)
{
    struct redis_conn *c = call->conn;
    bool of_login = call >= c->login_calls && call < c->login_calls + LOGIN_CALLS;
    call_forget(call);
    if (c->settings.on_outcome != NULL && !of_login &&
        c->settings.on_outcome(c->settings.arg, call, o, reply))
        return;
    call_drop_command(call);
    call->on_reply(call, o, reply);
}

static void call_on_deadline(struct deadline *d)
{
    call_end(CONTAINER_OF(d, struct redis_call, deadline), REDIS_TIMEOUT, NULL);
}

void redis_call_cancel(struct redis_call *call)
{
    if (call->conn == NULL)
        return;
    call_forget(call);
    call_drop_command(call);
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

static void sent_command_cleanup(const void *data, size_t len, void *command)
{
    UNUSED(data);
    UNUSED(len);
    command_unref(command);
}

/* `places`: how many replies will come. */
static bool conn_has_room(const struct redis_conn *c, unsigned places)
{
    return c->end - c->first + places <= REDIS_CALLS_MAX &&
           evbuffer_get_length(bufferevent_get_output(c->bev)) <= REDIS_UNSENT_MAX;
}

static bool conn_send(struct redis_conn *c, struct redis_command *command)
{
    struct evbuffer *out = bufferevent_get_output(c->bev);
    if (evbuffer_add_reference(out, command->text, command->bytes, sent_command_cleanup, command) != 0)
        return false;
    command->refs++;
    return true;
}

/* A reply for `call` (NULL: nobody) will come. */
static void conn_expect(struct redis_conn *c, struct redis_call *call, mono_ms_t until_ms)
{
    if (c->first == c->end && c->state == CONN_READY)
        deadline_set(c->worker, &c->deadline, worker_now_ms(c->worker) + c->settings.stall_timeout_ms);
    c->calls[c->end % REDIS_CALLS_MAX] = call;
    if (call != NULL) {
        ASSERT(call->conn == NULL);
        call->conn = c;
        call->slot = c->end;
        call->until_ms = until_ms;
        deadline_init(&call->deadline, call_on_deadline);
        deadline_set(c->worker, &call->deadline, until_ms);
    }
    c->end++;
}

static bool conn_put(struct redis_conn *c, struct redis_call *call, dur_ms_t timeout_ms, const slice_t *argv,
                     size_t argc)
{
    struct redis_command *command = conn_has_room(c, 1) ? command_new(argv, argc) : NULL;
    if (command == NULL)
        return false;
    bool sent = conn_send(c, command);
    if (sent)
        conn_expect(c, call, worker_now_ms(c->worker) + timeout_ms);
    if (sent && call != NULL && c->settings.keep_commands) {
        call->hops = 0;
        call->command = command;
    } else {
        command_unref(command);
    }
    return sent;
}

bool redis_conn_call(struct redis_conn *c, struct redis_call *call, dur_ms_t timeout_ms, const slice_t *argv,
                     size_t argc)
{
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    return c->state == CONN_READY && conn_put(c, call, timeout_ms, argv, argc);
}

bool redis_conn_call_again(struct redis_conn *c, struct redis_call *call, bool asking)
{
    static const char asking_text[] = "*1\r\n$6\r\nASKING\r\n";
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    ASSERT(call->command != NULL);
    if (c->state != CONN_READY || !conn_has_room(c, 1 + asking))
        return false;
    /* ASKING is good for whatever comes next on this connection, so the two go out together or not at all. */
    if (asking && evbuffer_add(bufferevent_get_output(c->bev), asking_text, sizeof asking_text - 1) != 0)
        return false;
    if (!conn_send(c, call->command)) {
        conn_fail(c, REDIS_LOST, "out of memory");
        return false;
    }
    if (asking)
        conn_expect(c, NULL, 0);
    conn_expect(c, call, call->until_ms);
    return true;
}

/* ---- logging in ---- */

static struct redis_conn *login_conn(struct redis_call *call)
{
    return CONTAINER_OF(call - call->slot, struct redis_conn, login_calls[0]);
}

static void login_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_conn *c = login_conn(call);
    if (c->state != CONN_LOGIN)
        return; /* it ended otherwise, and was told so */
    if (o != REDIS_ANSWERED) {
        conn_fail(c, REDIS_LOST, reply != NULL ? reply->str : redis_outcome_name(o));
        return;
    }
    if (--c->login_left > 0)
        return;
    conn_set_state(c, CONN_READY);
    deadline_clear(c->worker, &c->deadline);
    c->settings.on_ready(c->settings.arg);
}

/* A server without AUTH quotes the words that it did not understand. */
static void auth_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_conn *c = login_conn(call);
    slice_t text = redis_reply_text(reply), password = c->login->password;
    if (c->state == CONN_LOGIN && o == REDIS_REFUSED &&
        (slice_starts(text, SLICE_LIT("ERR unknown command")) ||
         memmem(text.ptr, text.len, password.ptr, password.len) != NULL))
        conn_fail(c, REDIS_LOST, "the server does not know AUTH as we say it");
    else
        login_on_reply(call, o, reply);
}

static void role_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct redis_conn *c = login_conn(call);
    if (c->state == CONN_LOGIN && o == REDIS_ANSWERED && !redis_role_is_master(reply))
        conn_fail(c, REDIS_LOST, "the server is not a master");
    else
        login_on_reply(call, o, reply);
}

static void conn_login(struct redis_conn *c)
{
    const struct redis_login *l = c->login;
    char database[16];
    slice_t auth[3] = {SLICE_LIT("AUTH"), l->username, l->password};
    if (l->username.len == 0)
        auth[1] = l->password;
    slice_t choose[2] = {SLICE_LIT("SELECT"),
                         {database, (size_t)snprintf(database, sizeof database, "%u", l->database)}};
    slice_t role[1] = {SLICE_LIT("ROLE")};
    slice_t ping[1] = {SLICE_LIT("PING")};
    const struct {
        bool wanted;
        const slice_t *argv;
        size_t argc;
        void (*on_reply)(struct redis_call *, enum redis_outcome, const struct redisReply *);
    } steps[LOGIN_CALLS] = {{l->password.len > 0, auth, l->username.len > 0 ? 3 : 2, auth_on_reply},
                            {l->database > 0, choose, 2, login_on_reply},
                            {c->settings.master_only, role, 1, role_on_reply},
                            {true, ping, 1, login_on_reply}};
    conn_set_state(c, CONN_LOGIN);
    for (unsigned i = 0; i < LOGIN_CALLS; i++) {
        if (!steps[i].wanted)
            continue;
        struct redis_call *call = &c->login_calls[c->end];
        call->on_reply = steps[i].on_reply;
        c->login_left++;
        if (!conn_put(c, call, c->settings.connect_timeout_ms, steps[i].argv, steps[i].argc)) {
            conn_fail(c, REDIS_LOST, "out of memory");
            return;
        }
    }
}

/* ---- events ---- */

/* ["message", channel, payload], which no command that goes over a subscribed connection is answered with. */
static bool conn_take_message(struct redis_conn *c, const redisReply *reply)
{
    if (c->settings.on_message == NULL || redis_reply_count(reply) != 3 ||
        !slice_eq(redis_reply_text(reply->element[0]), SLICE_LIT("message")))
        return false;
    c->settings.on_message(c->settings.arg, redis_reply_text(reply->element[1]),
                           redis_reply_text(reply->element[2]));
    return true;
}

static void conn_take(struct redis_conn *c, const redisReply *reply)
{
    if (conn_take_message(c, reply))
        return;
    if (c->first == c->end) {
        conn_fail(c, REDIS_PROTOCOL, "a reply that nobody asked for");
        return;
    }
    struct redis_call *call = c->calls[c->first++ % REDIS_CALLS_MAX];
    if (call != NULL)
        call_end(call, reply->type == REDIS_REPLY_ERROR ? REDIS_REFUSED : REDIS_ANSWERED, reply);
}

static void conn_take_all(struct redis_conn *c)
{
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(c->reader, &reply) != 0)
            conn_fail(c, REDIS_PROTOCOL, c->reader->errstr);
        if (reply == NULL)
            return;
        if (c->state != CONN_DOWN)
            conn_take(c, reply);
        freeReplyObject(reply);
        c->reply_bytes = c->reader->len - c->reader->pos;
        c->moved_bytes = SIZE_MAX;
    }
}

/* Whether enough came since the deadline was moved: a whole reply, or a piece of one. */
static bool conn_is_progress(const struct redis_conn *c)
{
    return c->moved_bytes == SIZE_MAX || c->reply_bytes - c->moved_bytes >= PROGRESS_BYTES;
}

static void conn_on_read(struct bufferevent *bev, void *arg)
{
    struct redis_conn *c = arg;
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    worker_refresh_clock(c->worker);
    struct evbuffer *in = bufferevent_get_input(bev);
    struct evbuffer_iovec piece;
    while (c->state != CONN_DOWN && evbuffer_peek(in, -1, NULL, &piece, 1) > 0 && piece.iov_len > 0) {
        if (redisReaderFeed(c->reader, piece.iov_base, piece.iov_len) != 0) {
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
    else if (conn_is_progress(c))
        deadline_set(c->worker, &c->deadline, worker_now_ms(c->worker) + c->settings.stall_timeout_ms);
    else
        return;
    c->moved_bytes = c->reply_bytes;
}

/* Whether it was the certificate, and then what of it: another host, say. */
static void conn_tls_reason(struct redis_conn *c, unsigned long error, char text[REDIS_REASON_TEXT])
{
    long verdict = SSL_get_verify_result(bufferevent_openssl_get_ssl(c->bev));
    const char *what = ERR_reason_error_string(error);
    snprintf(text, REDIS_REASON_TEXT, "TLS: %s%s%s", what != NULL ? what : "failed",
             verdict != X509_V_OK ? ": " : "",
             verdict != X509_V_OK ? X509_verify_cert_error_string(verdict) : "");
}

static void conn_on_event(struct bufferevent *bev, short what, void *arg)
{
    struct redis_conn *c = arg;
    CHECK_MAGIC(c, REDIS_CONN_MAGIC);
    int e = EVUTIL_SOCKET_ERROR();
    worker_refresh_clock(c->worker);
    if (what & BEV_EVENT_CONNECTED) {
        int on = 1;
        if (c->is_tcp)
            setsockopt(bufferevent_getfd(bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conn_login(c);
        return;
    }
    char text[REDIS_REASON_TEXT] = "the server closed the connection";
    unsigned long tls = c->login->tls != NULL ? bufferevent_get_openssl_error(bev) : 0;
    if (tls != 0)
        conn_tls_reason(c, tls, text);
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

/* ---- life ---- */

/* RFC 6066 section 3: no literal addresses in SNI. */
static bool conn_set_tls_name(SSL *ssl, const char *name)
{
    unsigned char ip[sizeof(struct in6_addr)];
    bool literal = inet_pton(AF_INET, name, ip) == 1 || inet_pton(AF_INET6, name, ip) == 1;
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return SSL_set1_host(ssl, name) && (literal || SSL_set_tlsext_host_name(ssl, name));
}

static struct bufferevent *conn_new_bufferevent(struct worker *w, const struct redis_endpoint *e)
{
    if (e->login->tls == NULL)
        return bufferevent_socket_new(w->base, -1, BEV_OPT_CLOSE_ON_FREE);
    char host[REDIS_SERVER_TEXT];
    snprintf(host, sizeof host, SLICE_FMT, SLICE_ARG(e->host));
    SSL *ssl = SSL_new(e->login->tls);
    if (ssl == NULL)
        return NULL;
    if (!conn_set_tls_name(ssl, e->login->tls_name != NULL ? e->login->tls_name : host)) {
        SSL_free(ssl);
        return NULL;
    }
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
    c->login = e->login;
    c->is_tcp = e->addr.sa.sa_family != AF_UNIX;
    c->settings = *s;
    c->reader = redis_reader_create();
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
