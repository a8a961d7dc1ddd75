/* member.c: see member.h.
 *
 * A name stands for as many instances as it has addresses (`resolve = all`), or for one of them. Weights and
 * limits are the line's, for each of them; health, load and idle connections belong to an address.
 *
 * Addresses are used in groups, one at a time: those of one family, or with `resolve = one` one address. The
 * first group is taken, and kept while the name still has any of it (with `one`: has it). The member moves on
 * to the next group when probes can connect to none of this one: at once while it is starting (so "localhost"
 * finds the family the application listens on before anybody notices), once per probe while it is down.
 *
 * A failing lookup never takes an address away: DNS gone is no reason to stop a site that works. An answer
 * does: an instance whose address is no longer in it gets nothing new, ends what it is doing, and is
 * forgotten. New ones may be picked at once, like those of a program that starts: when all addresses change
 * together there is nobody else.
 *
 * Rejected: both families at a time. A host that has an IPv4 and an IPv6 address would count twice, and with
 * "localhost" half of the instances would be down for ever. */
#include "balancer/member.h"

#include <stdlib.h>

#include "balancer/pool.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/text.h"
#include "core/timeline.h"

static void member_on_resolve_at(struct deadline *d);

bool member_init(struct member *m, struct pool *p, const struct config_server *config)
{
    *m = (struct member){.pool = p, .config = config, .ttl_ms = DNS_TTL_UNKNOWN};
    deadline_init(&m->resolve_at, member_on_resolve_at);
    struct net_addr literal;
    struct seats none;
    slice_t text = slice_str(config->address);
    if (!net_addr_parse(text, &literal)) {
        m->is_name = true;
        if (!net_host_port_split(text, &m->host, &m->port))
            m->host = text;
        return true;
    }
    if (!seats_change(p, m, &literal, 1, &none))
        return false;
    seats_clear(&none);
    return true;
}

void member_clear(struct member *m)
{
    ASSERT(!m->active);
    dns_cancel(&m->lookup);
    free(m->addresses);
}

static void member_watch(struct member *m, struct instance *i)
{
    const struct config_pool *pool = m->pool->config;
    uint16_t port = net_addr_port(&i->addr);
    bool own_host = pool->health_host[0] == '\0';
    struct health_settings s = {
        .kind = pool->health,
        .path = pool->health_path,
        .host = own_host ? m->config->host : pool->health_host,
        .port = own_host && port != (pool->tls ? 443 : 80)
                    ? port
                    : 0, /* RFC 9110 section 7.2: unless it is the default one */
        .proxy_header = pool->send_proxy_protocol,
        .http2 = pool->protocol == CONFIG_UPSTREAM_H2,
        .tls = pool_tls(m->pool),
        .tls_name = pool->tls ? pool_server_tls_name(m->pool, m->config) : NULL,
        .body = pool->health_body,
        .ranges = pool->health_status,
        .range_count = pool->health_status_count,
        .interval_ms = pool->health_interval_ms,
        .timeout_ms = pool->health_timeout_ms,
        .rise = pool->health_rise,
        .fall = pool->health_fall,
    };
    instance_watch(i, &s);
    atomic_store_explicit(&i->max_in_flight, (uint32_t)m->config->max_connections, memory_order_relaxed);
    atomic_store_explicit(&i->eject_after, (uint32_t)pool->eject_errors, memory_order_relaxed);
}

#define FOREACH_SEAT(s, m)                                                                                   \
    for (struct seat *s = seats_first(&(m)->pool->seats, m); s != NULL; s = seats_next(&(m)->pool->seats, s))

void member_renew_probe(struct member *m)
{
    if (!m->active)
        return;
    FOREACH_SEAT(s, m)
    member_watch(m, s->instance);
}

static struct instance *member_first(const struct member *m)
{
    struct seat *s = seats_first(&m->pool->seats, m);
    return s != NULL ? s->instance : NULL;
}

/* ---- groups of addresses ---- */

/* How many addresses the group has that begins there. */
static size_t group_size(const struct member *m, size_t at)
{
    size_t n = 1;
    while (!m->config->resolve_one && at + n < m->address_count &&
           m->addresses[at + n].sa.sa_family == m->addresses[at].sa.sa_family)
        n++;
    return n;
}

static size_t group_count(const struct member *m)
{
    size_t groups = 0;
    for (size_t at = 0; at < m->address_count; at += group_size(m, at))
        groups++;
    return groups;
}

/* Where the group begins that an address of an instance in use belongs to; SIZE_MAX: there is none. */
static size_t group_find(const struct member *m, const struct net_addr *addr)
{
    for (size_t at = 0; at < m->address_count; at += group_size(m, at))
        if (m->config->resolve_one ? net_addr_eq(&m->addresses[at], addr)
                                   : m->addresses[at].sa.sa_family == addr->sa.sa_family)
            return at;
    return SIZE_MAX;
}

/* ---- standing on them ---- */

#define MEMBER_LIST_BYTES 400 /* of addresses, for people */

static void member_list(struct text *t, const char *what, const struct net_addr *addr, unsigned *count)
{
    char buf[NET_ADDR_TEXT];
    if ((*count)++ == 0)
        text_put(t, slice_str(what));
    else
        TEXT_LIT(t, ", ");
    text_put(t, net_addr_format(addr, buf));
}

/* What people are told of a change. */
static void member_tell(const struct member *m, const struct seats *left)
{
    char buf[MEMBER_LIST_BYTES];
    struct text t = text_make(buf, sizeof buf - 4);
    unsigned fresh = 0, gone = 0, addresses = 0;
    FOREACH_SEAT(s, m)
    {
        addresses += s->instance->addr.len > 0;
        if (s->fresh && s->instance->addr.len > 0)
            member_list(&t, "; new: ", &s->instance->addr, &fresh);
    }
    for (size_t n = 0; n < left->count; n++)
        if (left->items[n].instance->addr.len > 0)
            member_list(&t, "; gone: ", &left->items[n].instance->addr, &gone);
    if (fresh + gone == 0)
        return;
    if (t.overflow) { /* there is room for this */
        memcpy(t.at, "...", 3);
        t.at += 3;
    }
    const char *pool = m->pool->config->name, *server = m->config->name;
    log_info("%s/%s: stands for %u address%s%.*s", pool, server, addresses, addresses == 1 ? "" : "es",
             (int)(t.at - buf), buf);
    timeline_note(TIMELINE_NAMES, "%s/%s: stands for %u address%s%.*s", pool, server, addresses,
                  addresses == 1 ? "" : "es", (int)(t.at - buf), buf);
}

/* The pool that is in use has other instances now. */
static void member_put_to_use(struct member *m, const struct seats *left, bool slowly)
{
    FOREACH_SEAT(s, m)
    if (s->fresh) {
        if (slowly && m->pool->config->slow_start_ms > 0)
            instance_begin_slowly(s->instance);
        member_watch(m, s->instance);
    }
    for (size_t n = 0; n < left->count; n++)
        instance_retire(left->items[n].instance);
    struct instance *first = member_first(m);
    m->pool->registry->on_event(m->pool->registry, first, INSTANCE_EVENT_SEATED);
    /* Behind the new view: who still goes by the old one looks again once it waits. */
    for (size_t n = 0; n < left->count; n++)
        queue_unpin(left->items[n].instance->queue, left->items[n].instance);
    pool_open(m->pool);
}

enum member_why { MEMBER_ANSWER, MEMBER_UNREACHABLE };

/* On the group that begins there, or, without addresses, on none. False: out of memory. */
static bool member_stand_on(struct member *m, size_t at, enum member_why why)
{
    struct seats left;
    struct instance *before = member_first(m);
    const bool had_some = before != NULL && before->addr.len > 0;
    const size_t count = m->address_count > 0 ? group_size(m, at) : 0;
    if (!seats_change(m->pool, m, m->addresses != NULL ? m->addresses + at : NULL, count, &left)) {
        log_error("%s/%s: out of memory, its addresses are not changed", m->pool->config->name,
                  m->config->name);
        return false;
    }
    m->group_at = at;
    bool fresh = false;
    FOREACH_SEAT(s, m)
    {
        fresh |= s->fresh;
        if (s->fresh && why == MEMBER_UNREACHABLE)
            instance_inherit(s->instance, before); /* which is among `left` */
    }
    /* While all are down, going from one group to the next is no news. */
    if (m->active && (why == MEMBER_ANSWER || instance_is_usable(member_first(m))))
        member_tell(m, &left);
    if (m->active && (fresh || left.count > 0))
        member_put_to_use(m, &left, had_some && why == MEMBER_ANSWER);
    seats_clear(&left);
    return true;
}

/* ---- answers ---- */

static int member_compare(const void *a, const void *b)
{
    const struct net_addr *x = a, *y = b;
    return x->sa.sa_family != y->sa.sa_family ? (x->sa.sa_family == AF_INET ? -1 : 1)
                                              : memcmp(&x->sa, &y->sa, x->len);
}

/* Each once, and all of a name in an order of their own, so that servers which turn their answers round do
 * not turn ours. False: out of memory. */
static bool member_keep_addresses(struct member *m, const struct dns_answer *answer)
{
    struct net_addr *copy = calloc(answer->count, sizeof *copy);
    size_t count = 0;
    if (copy == NULL)
        return false;
    for (size_t a = 0; a < answer->count; a++) {
        size_t known = 0;
        while (known < count && !net_addr_eq(&copy[known], &answer->addresses[a]))
            known++;
        if (known == count)
            copy[count++] = answer->addresses[a];
    }
    if (!m->config->resolve_one)
        qsort(copy, count, sizeof *copy, member_compare);
    free(m->addresses);
    m->addresses = copy;
    m->address_count = count;
    return true;
}

static void member_take_answer(struct member *m, const struct dns_answer *answer)
{
    const struct instance *now = member_first(m);
    const bool has_some = now != NULL && now->addr.len > 0;
    if (answer->count == 0) {
        instance_registry_count(m->pool->registry, METRIC_NAME_FAILURES);
        if (!m->lookup_failed)
            log_warn("%s/%s: name does not resolve: %s%s", m->pool->config->name, m->config->name,
                     answer->error, has_some ? "; the addresses known stay in use" : "");
        m->lookup_failed = true;
        return;
    }
    if (!member_keep_addresses(m, answer))
        return;
    if (m->lookup_failed && has_some)
        log_info("%s/%s: name resolves again", m->pool->config->name, m->config->name);
    m->lookup_failed = false;
    m->ttl_ms = answer->ttl_ms;
    size_t at = has_some ? group_find(m, &now->addr) : SIZE_MAX;
    const size_t others = group_count(m) - 1;
    m->untried = at == SIZE_MAX ? others : MIN(m->untried, others);
    member_stand_on(m, at == SIZE_MAX ? 0 : at, MEMBER_ANSWER);
}

/* ---- while a set is being built, or is not the active one ---- */

void member_copy_addresses(struct member *m, const struct member *from)
{
    if (from->address_count == 0)
        return;
    const struct dns_answer answer = {
        .addresses = from->addresses, .count = from->address_count, .ttl_ms = from->ttl_ms};
    if (!member_keep_addresses(m, &answer))
        return;
    const struct instance *now = member_first(from);
    const size_t at = now != NULL && now->addr.len > 0 ? group_find(m, &now->addr) : SIZE_MAX;
    m->untried = MIN(from->untried, group_count(m) - 1);
    m->ttl_ms = from->ttl_ms;
    m->lookup_failed = from->lookup_failed;
    m->due_ms = from->lookup != NULL ? 1 : from->resolve_at.at_ms;
    member_stand_on(m, at == SIZE_MAX ? 0 : at, MEMBER_ANSWER);
}

static bool member_all_are_down(const struct member *m)
{
    FOREACH_SEAT(s, m)
    if (instance_state(s->instance) != INSTANCE_DOWN)
        return false;
    return true;
}

static dur_ms_t member_next_lookup_ms(const struct member *m)
{
    dur_ms_t ms = m->ttl_ms == DNS_TTL_UNKNOWN ? MEMBER_RESOLVE_MAX_MS : m->ttl_ms;
    ms = MIN(MAX(ms, MEMBER_RESOLVE_MIN_MS), MEMBER_RESOLVE_MAX_MS);
    return m->lookup_failed || member_all_are_down(m) ? MIN(ms, MEMBER_RESOLVE_AGAIN_MS) : ms;
}

static void member_on_answer(void *arg, const struct dns_answer *answer)
{
    struct member *m = arg;
    struct worker *control = m->pool->registry->control;
    m->lookup = NULL;
    member_take_answer(m, answer);
    deadline_set(control, &m->resolve_at, worker_now_ms(control) + member_next_lookup_ms(m));
}

void member_start_lookup(struct member *m)
{
    ASSERT(m->is_name && m->lookup == NULL);
    m->lookup = dns_start(m->pool->registry->control, m->host, m->port, &m->pool->config->resolvers,
                          member_on_answer, m);
}

bool member_wait_lookup(struct member *m, mono_ms_t until_ms)
{
    struct dns_answer answer = {.error = "out of memory"};
    if (m->lookup != NULL && !dns_wait(&m->lookup, until_ms, &answer)) {
        dns_cancel(&m->lookup);
        answer.error = "no answer yet";
    }
    member_take_answer(m, &answer);
    free(answer.addresses);
    return m->seat_count > 0 || member_stand_on(m, 0, MEMBER_ANSWER);
}

/* ---- while its set is the active one ---- */

static void member_on_resolve_at(struct deadline *d)
{
    struct member *m = CONTAINER_OF(d, struct member, resolve_at);
    struct worker *control = m->pool->registry->control;
    ASSERT(m->active);
    member_start_lookup(m);
    if (m->lookup == NULL)
        deadline_set(control, &m->resolve_at, worker_now_ms(control) + MEMBER_RESOLVE_AGAIN_MS);
}

void member_activate(struct member *m)
{
    struct worker *control = m->pool->registry->control;
    m->active = true;
    FOREACH_SEAT(s, m)
    member_watch(m, s->instance);
    const mono_ms_t now_ms = worker_now_ms(control);
    if (m->is_name)
        deadline_set(control, &m->resolve_at,
                     m->due_ms > 0 ? MAX(m->due_ms, now_ms) : now_ms + member_next_lookup_ms(m));
}

void member_deactivate(struct member *m)
{
    m->active = false;
    deadline_clear(m->pool->registry->control, &m->resolve_at);
    dns_cancel(&m->lookup);
}

/* The name may have a new address by now: lookups follow each other as for a name that does not resolve. */
static void member_hurry_lookup(struct member *m)
{
    struct worker *control = m->pool->registry->control;
    if (m->is_name && m->lookup == NULL &&
        m->resolve_at.at_ms > worker_now_ms(control) + MEMBER_RESOLVE_AGAIN_MS)
        deadline_set(control, &m->resolve_at, worker_now_ms(control));
}

void member_on_unreachable(struct member *m)
{
    if (!m->active)
        return;
    const bool down = member_all_are_down(m);
    if (down)
        member_hurry_lookup(m);
    FOREACH_SEAT(s, m)
    {
        const enum instance_state state = instance_state(s->instance);
        if (!s->instance->unreached || (state != INSTANCE_STARTING && state != INSTANCE_DOWN))
            return;
    }
    if (m->address_count == 0 || group_count(m) < 2 || (!down && m->untried == 0))
        return;
    if (!down)
        m->untried--;
    member_stand_on(m, (m->group_at + group_size(m, m->group_at)) % m->address_count, MEMBER_UNREACHABLE);
}
