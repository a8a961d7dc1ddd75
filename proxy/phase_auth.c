/* phase_auth.c: the phase of routes with basic_auth (RFC 7617): who shows no user and password of the route's
 * file is answered 401. Other routes do not come here.
 *
 * It stands behind the route's allow, deny and rate_limit and before everything that answers, so what is
 * cached is guarded as well. Whoever was right lately passes by a look into the worker's memory
 * (auth_memory.h); else the request is parked while a thread computes the hash (auth_check.h), as long for a
 * name that nobody has.
 *
 * The Authorization field was for us: it is taken out, so neither the instance sees it nor the cache takes
 * the request for one with credentials, and all who may see the route share what is stored. Unless the route
 * tells the instance who it is ($remote_user): what is answered by that is one user's own, so then the field
 * stays, and with it the rules for credentials (RFC 9111 section 3.5). */
#include <openssl/crypto.h>
#include <stdlib.h>

#include "core/basic_auth.h"
#include "core/hash.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/auth_check.h"
#include "proxy/auth_file.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define WAIT_MS       5000
#define RETRY_AFTER_S 1

struct phase_auth_use {
    struct exchange *x;
    struct auth_waiter waiter;
    enum auth_outcome outcome; /* NONE: not known yet */
    slice_t user;
};

static void count(struct exchange *x, enum auth_outcome o)
{
    metrics_count_reason(x->pw->worker->metrics, METRICS_REASON_BASIC_AUTH, o);
}

/* ---- what becomes of it ---- */

static enum phase_result auth_refuse(struct exchange *x)
{
    x->verdict = VERDICT_UNAUTHORIZED;
    x->no_store = NO_STORE_UNAUTHORIZED;
    return phase_answer_error(x, 401, "This page asks for a user and a password.");
}

static enum phase_result auth_end(struct exchange *x, enum auth_outcome o)
{
    count(x, o);
    x->auth->outcome = o;
    switch (o) {
    case AUTH_OUTCOME_REMEMBERED:
    case AUTH_OUTCOME_RIGHT:
        return phase_route_go_on(x);
    case AUTH_OUTCOME_MISSING:
    case AUTH_OUTCOME_WRONG:
        return auth_refuse(x);
    case AUTH_OUTCOME_BUSY:
        return phase_answer_error(x, 503, "Too many passwords wait to be checked. Please try again.");
    case AUTH_OUTCOME_NONE:
    case AUTH_OUTCOME_COUNT:
        break;
    }
    PANIC("a request ends its login undecided");
}

void phase_auth_put_challenge(struct text *t, const struct exchange *x)
{
    const enum auth_outcome o = x->auth->outcome;
    if (o == AUTH_OUTCOME_BUSY) {
        TEXT_LIT(t, "Retry-After: ");
        text_put_u64(t, RETRY_AFTER_S);
        TEXT_LIT(t, "\r\n");
    }
    if (o != AUTH_OUTCOME_MISSING && o != AUTH_OUTCOME_WRONG)
        return;
    TEXT_LIT(t, "WWW-Authenticate: Basic realm=\"");
    for (const char *p = x->route->config->name; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            text_put_char(t, '\\');
        text_put_char(t, *p);
    }
    TEXT_LIT(t, "\", charset=\"UTF-8\"\r\n");
}

slice_t phase_auth_user(const struct exchange *x)
{
    return x->auth != NULL ? x->auth->user : SLICE_EMPTY;
}

bool phase_auth_copy(struct exchange *x, const struct exchange *of)
{
    x->auth = arena_calloc(&x->arena, sizeof *x->auth);
    if (x->auth == NULL)
        return false;
    x->auth->x = x;
    x->auth->outcome = of->auth->outcome;
    x->auth->user = arena_copy(&x->arena, of->auth->user);
    return x->auth->user.ptr != NULL;
}

/* ---- asking ---- */

void phase_auth_cancel(struct exchange *x)
{
    if (x->auth != NULL)
        auth_check_leave(&x->auth->waiter);
}

void phase_auth_timeout(struct exchange *x)
{
    auth_check_leave(&x->auth->waiter);
    x->auth->outcome = AUTH_OUTCOME_BUSY;
    phase_run(x);
}

static void auth_on_answer(struct auth_waiter *w, bool right)
{
    struct phase_auth_use *u = CONTAINER_OF(w, struct phase_auth_use, waiter);
    struct exchange *x = u->x;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_AUTH);
    deadline_clear(x->pw->worker, &x->wait_deadline);
    u->outcome = right ? AUTH_OUTCOME_RIGHT : AUTH_OUTCOME_WRONG;
    phase_run(x);
}

/* Of IPv6 the first 64 bits: one client has as many addresses as it likes below them. */
static uint64_t client_of(const struct exchange *x)
{
    struct net_addr a;
    if (!exchange_client_addr(x, &a) || a.sa.sa_family == AF_UNIX)
        return 0;
    if (a.sa.sa_family == AF_INET)
        return hash_bytes(&a.in4.sin_addr, 4).lo;
    const uint8_t *ip = a.in6.sin6_addr.s6_addr;
    return IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr) ? hash_bytes(ip + 12, 4).lo : hash_bytes(ip, 8).lo;
}

static enum phase_result auth_ask(struct exchange *x, const struct htpasswd *file, slice_t user,
                                  slice_t password)
{
    struct proxy_worker *pw = x->pw;
    uint8_t tag[AUTH_TAG_BYTES];
    const struct htpasswd_user *known = htpasswd_find(file, user),
                               *shown = known != NULL ? known : htpasswd_stand_in(file, user);
    if (shown == NULL)
        return auth_end(x, AUTH_OUTCOME_WRONG);
    if (pw->auth_memory == NULL)
        pw->auth_memory = calloc(1, sizeof *pw->auth_memory);
    if (pw->auth_memory == NULL || !auth_memory_tag(shown->hash, user.ptr, user.len, password.ptr, tag))
        return auth_end(x, AUTH_OUTCOME_BUSY);
    if (known != NULL && auth_memory_has(pw->auth_memory, tag, worker_now_ms(pw->worker)))
        return auth_end(x, AUTH_OUTCOME_REMEMBERED);
    const struct auth_question q = {.tag = tag,
                                    .client = client_of(x),
                                    .hash = shown->hash,
                                    .known = known != NULL,
                                    .password = password.ptr};
    if (!auth_check_ask(pw, &q, &x->auth->waiter))
        return auth_end(x, AUTH_OUTCOME_BUSY);
    deadline_set(pw->worker, &x->wait_deadline, worker_now_ms(pw->worker) + WAIT_MS);
    return PHASE_PARK;
}

static enum phase_result auth_read(struct exchange *x)
{
    char buf[BASIC_AUTH_BYTES];
    slice_t user, password;
    const struct http_field *f = http_head_get(&x->req, HTTP_FIELD_AUTHORIZATION);
    if (f == NULL || http_head_count(&x->req, HTTP_FIELD_AUTHORIZATION) > 1)
        return auth_end(x, AUTH_OUTCOME_MISSING);
    enum phase_result r = PHASE_MORE;
    if (!basic_auth_read(f->value, buf, &user, &password)) {
        r = auth_end(x, AUTH_OUTCOME_MISSING);
    } else {
        x->auth->user = arena_copy(&x->arena, user);
        if (x->auth->user.ptr == NULL)
            r = auth_end(x, AUTH_OUTCOME_BUSY);
        else
            r = auth_ask(x, atomic_load_explicit(&x->route->auth->current, memory_order_acquire), user,
                         password);
    }
    OPENSSL_cleanse(buf, sizeof buf);
    return r;
}

enum phase_result phase_auth(struct exchange *x)
{
    if (x->auth != NULL)
        return x->auth->outcome == AUTH_OUTCOME_NONE ? PHASE_PARK : auth_end(x, x->auth->outcome);
    x->auth = arena_calloc(&x->arena, sizeof *x->auth);
    if (x->auth == NULL)
        return phase_answer_error(x, 503, "out of memory");
    x->auth->x = x;
    x->auth->waiter.on_answer = auth_on_answer;
    list_init(&x->auth->waiter.node);
    return auth_read(x);
}
