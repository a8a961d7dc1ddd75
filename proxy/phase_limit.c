/* phase_limit.c: the phase of routes with a rate_limit: counts the request for its client, and answers 429 to
 * those over the limit. Other routes do not come here.
 *
 * A request counts once its route is known and open to its address, and before anything is looked up; so hits
 * count too, and so do those that the route answers itself. Fetches in the background are nobody's requests.
 *
 * A client is its address, as trusted proxies give it; of IPv6 the first 64 bits, since one client has as
 * many addresses as it likes below them. Or it is the value of a field; where that is missing, empty or there
 * several times, which would let a client choose which one is looked at, its address, counted apart. What is
 * counted in this process is core/rate.h; with `shared`, Redis has the last word (limit_shared.h), and the
 * request is parked meanwhile. */
#include "core/metrics.h"
#include "core/panic.h"
#include "proxy/limit_shared.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"
#include "proxy/redis_link.h"
#include "proxy/server.h"

#define NS_PER_S 1000000000

struct phase_limit_use {
    struct exchange *x;
    struct redis_call call;
    hash128_t key;
    rate_ns_t asked_ns;
    enum rate_outcome outcome; /* NONE: Redis has not answered */
    bool over;
    rate_ns_t wait_ns; /* when over */
};

/* What tells this client from others. */
struct limit_client {
    slice_t by, who; /* `who` is a field's value or lies in `address` */
    uint8_t address[9];
};

static void client_of_address(const struct exchange *x, struct limit_client *c)
{
    struct net_addr a;
    size_t n = 0;
    if (!exchange_client_addr(x, &a))
        a.sa.sa_family = AF_UNIX;
    if (a.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&a.in6.sin6_addr))
        memcpy(c->address, &a.in6.sin6_addr.s6_addr[12], n = 4);
    else if (a.sa.sa_family == AF_INET6)
        memcpy(c->address, &a.in6.sin6_addr, n = 8);
    else if (a.sa.sa_family == AF_INET)
        memcpy(c->address, &a.in4.sin_addr, n = 4);
    c->by = SLICE_EMPTY;
    c->who = slice_make((const char *)c->address, n);
}

static void client_find(const struct exchange *x, struct limit_client *c)
{
    const slice_t name = slice_str(x->route->config->rate_limit.header);
    const struct http_field *found = NULL;
    unsigned count = 0;
    for (unsigned i = 0; name.len > 0 && i < x->req.field_count; i++) {
        if (slice_ieq(x->req.fields[i].name, name)) {
            found = &x->req.fields[i];
            count++;
        }
    }
    if (count != 1 || found->value.len == 0) {
        client_of_address(x, c);
        return;
    }
    c->by = name;
    c->who = found->value;
}

static hash128_t client_key(const struct exchange *x, const struct limit_client *c)
{
    const hash128_t parts[] = {x->route->limit_id, hash_bytes(c->who.ptr, c->who.len), {c->by.len > 0, 0}};
    return hash_bytes(parts, sizeof parts);
}

/* Not the worker's clock, which may be from before the request came, when that had to wait for a processor:
 * the limit would count against what another worker has let pass since. */
static rate_ns_t now_ns(void)
{
    return clock_mono_us() * 1000;
}

/* ---- what becomes of it ---- */

static void count(struct exchange *x, enum rate_outcome o)
{
    metrics_count_reason(x->pw->worker->metrics, METRICS_REASON_RATE_LIMITS, o);
}

static enum phase_result limit_over(struct exchange *x, rate_ns_t wait_ns)
{
    if (x->limit == NULL && (x->limit = arena_calloc(&x->arena, sizeof *x->limit)) == NULL)
        return phase_answer_error(x, 503, "out of memory");
    x->limit->over = true;
    x->limit->wait_ns = wait_ns;
    x->verdict = VERDICT_LIMITED;
    x->no_store = NO_STORE_RATE_LIMITED;
    return phase_answer_error(x, 429, "There were too many requests. Please try again a little later.");
}

uint64_t phase_limit_retry_after_s(const struct exchange *x)
{
    if (x->limit == NULL || !x->limit->over)
        return 0;
    return (uint64_t)MAX((x->limit->wait_ns + NS_PER_S - 1) / NS_PER_S, 1);
}

/* ---- Redis ---- */

void phase_limit_cancel(struct exchange *x)
{
    if (x->limit != NULL)
        redis_call_cancel(&x->limit->call);
}

static enum rate_outcome take_answer(struct phase_limit_use *u, const struct redisReply *reply)
{
    const struct rate_limit *l = &u->x->route->rate;
    struct limit_shared_answer a;
    if (!limit_shared_read(reply, &a))
        return RATE_OUTCOME_REFUSED;
    rate_learn(u->x->pw->server->limits, u->key, l, u->asked_ns, a.used_ns, !a.passed);
    u->over = !a.passed;
    u->wait_ns = a.used_ns + l->step_ns - l->room_ns;
    return a.passed ? RATE_OUTCOME_SHARED_PASSED : RATE_OUTCOME_SHARED_OVER;
}

static void limit_on_reply(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct phase_limit_use *u = CONTAINER_OF(call, struct phase_limit_use, call);
    struct exchange *x = u->x;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_LIMIT);
    u->outcome = o == REDIS_ANSWERED  ? take_answer(u, reply)
                 : o == REDIS_TIMEOUT ? RATE_OUTCOME_TIMEOUT
                 : o == REDIS_REFUSED ? RATE_OUTCOME_REFUSED
                                      : RATE_OUTCOME_UNAVAILABLE;
    phase_run(x);
}

/* false: this node's own count stands. */
static bool limit_ask(struct exchange *x, const struct limit_client *c, hash128_t key)
{
    char buf[LIMIT_SHARED_NAME_BYTES];
    struct proxy_worker *pw = x->pw;
    if (pw->redis == NULL || (x->limit = arena_calloc(&x->arena, sizeof *x->limit)) == NULL)
        return false;
    x->limit->x = x;
    x->limit->key = key;
    x->limit->asked_ns = now_ns();
    x->limit->call.on_reply = limit_on_reply;
    const slice_t name = limit_shared_name(
        buf, redis_link_prefix(pw->server->redis_link),
        &(struct limit_shared_key){slice_str(x->route->config->name), c->by, c->who, x->route->rate});
    return name.len > 0 && limit_shared_ask(pw->redis, &x->limit->call, name, &x->route->rate);
}

/* ---- the phase ---- */

static enum phase_result limit_pass(struct exchange *x, enum rate_outcome o)
{
    count(x, o);
    return phase_route_go_on(x);
}

static enum phase_result limit_begin(struct exchange *x)
{
    struct limit_client c;
    rate_ns_t wait_ns;
    client_find(x, &c);
    const hash128_t key = client_key(x, &c);
    const enum rate_verdict v = rate_take(x->pw->server->limits, key, &x->route->rate, now_ns(), &wait_ns);
    if (v == RATE_OVER) {
        count(x, RATE_OUTCOME_OVER);
        return limit_over(x, wait_ns);
    }
    if (v == RATE_PASSED_FORGOT)
        proxy_count(x->pw, METRIC_RATE_FORGOTTEN, 1);
    if (!x->route->config->rate_limit.shared)
        return limit_pass(x, v == RATE_UNCOUNTED ? RATE_OUTCOME_UNCOUNTED : RATE_OUTCOME_PASSED);
    return limit_ask(x, &c, key) ? PHASE_PARK : limit_pass(x, RATE_OUTCOME_UNAVAILABLE);
}

enum phase_result phase_limit(struct exchange *x)
{
    struct phase_limit_use *u = x->limit;
    if (u == NULL)
        return limit_begin(x);
    if (u->outcome == RATE_OUTCOME_NONE)
        return PHASE_PARK;
    if (!u->over)
        return limit_pass(x, u->outcome);
    count(x, u->outcome);
    return limit_over(x, u->wait_ns);
}
