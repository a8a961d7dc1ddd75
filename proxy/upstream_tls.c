/* upstream_tls.c: see upstream_tls.h. */
#include "proxy/upstream_tls.h"

#include <event2/event.h>
#include <stdlib.h>

#include "balancer/balancer.h"
#include "core/log.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/exchange.h"
#include "proxy/h1_client.h"
#include "proxy/h2_client.h"
#include "proxy/proxy_worker.h"

bool upstream_tls_open(struct upstream_conn *u)
{
    struct proxy_worker *pw = u->pw;
    const char *name = pool_tls_name(upstream_conn_pool(u), u->instance);
    struct tls_conn *t = malloc(sizeof *t);
    if (pw->tls_out == NULL)
        pw->tls_out = calloc(1, sizeof *pw->tls_out);
    if (name == NULL || t == NULL || pw->tls_out == NULL ||
        !tls_conn_open_to(t, u->target, name, instance_id(u->instance), u->fd, pw->tls_out)) {
        free(t);
        return false;
    }
    u->tls = t;
    tls_conn_on_event(t, u->hup);
    return true;
}

void upstream_tls_free(struct upstream_conn *u)
{
    tls_target_unref(u->target);
    if (u->tls == NULL)
        return;
    tls_conn_free(u->tls);
    free(u->tls);
    u->tls = NULL;
}

void upstream_tls_step(struct upstream_conn *u)
{
    const struct pool *pool = upstream_conn_pool(u);
    if (UNLIKELY(pool == NULL)) {
        upstream_conn_close(&u);
        return;
    }
    switch (tls_conn_handshake(u->tls)) {
    case TLS_STEP_DONE:
        if (u->h2 != NULL && tls_conn_protocol(u->tls) != TLS_PROTOCOL_HTTP_2) {
            log_warn("%s/%s: TLS: it does not offer HTTP/2 by ALPN; set protocol = http/1.1",
                     pool_config(pool)->name, instance_name(u->instance));
            upstream_conn_failed(u, FETCH_TLS_FAILED);
            return;
        }
        proxy_count(u->pw, METRIC_UPSTREAM_TLS_HANDSHAKES, 1);
        proxy_count(u->pw, METRIC_UPSTREAM_TLS_RESUMED, tls_conn_is_resumed(u->tls));
        u->readable = true;
        upstream_conn_ready(u);
        return;
    case TLS_STEP_WAIT:
        return;
    default:
        log_warn("%s/%s: TLS: %s", pool_config(pool)->name, instance_name(u->instance), u->tls->why);
        upstream_conn_failed(u, FETCH_TLS_FAILED);
    }
}

enum fetch_error upstream_tls_judge(struct upstream_conn *u)
{
    const struct pool *pool = upstream_conn_pool(u);
    if (u->tls == NULL || u->reused || !tls_conn_is_refused(u->tls))
        return FETCH_RESET;
    if (pool != NULL)
        log_warn("%s/%s: TLS: %s", pool_config(pool)->name, instance_name(u->instance), u->tls->why);
    return FETCH_TLS_FAILED;
}

/* The socket may hold what is no data, such as tickets on an idle connection, so whoever waits for some looks
 * again at each event. */
void upstream_tls_on_event(evutil_socket_t fd, short what, void *arg)
{
    struct upstream_conn *u = arg;
    CHECK_MAGIC(u, UPSTREAM_CONN_MAGIC);
    if (u->tls != NULL) {
        tls_conn_on_event(u->tls, (what & EV_CLOSED) != 0);
        if (what & EV_WRITE)
            tls_conn_resume(u->tls);
        what |= EV_READ;
    }
    if (u->state == UPSTREAM_HANDSHAKE) {
        worker_refresh_clock(u->pw->worker);
        u->hup |= (what & EV_CLOSED) != 0;
        u->writable |= (what & EV_WRITE) != 0;
        upstream_tls_step(u);
        if (u->state == UPSTREAM_ACTIVE && u->exchange != NULL)
            h1_client_run(u);
    } else if (u->state != UPSTREAM_IDLE || !upstream_conn_is_quiet(u)) {
        upstream_conn_on_event(fd, what, arg);
    }
}

ssize_t upstream_tls_write(struct upstream_conn *u, const struct iovec *iov, int count)
{
    ssize_t n = tls_conn_write(u->tls, iov, (size_t)count, worker_now_ms(u->pw->worker));
    proxy_count(u->pw, METRIC_UPSTREAM_BYTES_OUT, MAX(n, 0));
    return n;
}
