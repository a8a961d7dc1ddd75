/* member.c: see member.h.
 *
 * A server is one instance however many addresses its name has: weights, limits and what people see in
 * `status` stay as written in the file. It stands on one address and stays there while the name still has it.
 * It moves on
 *   - when a lookup no longer has that address (every MEMBER_RESOLVE_MS);
 *   - when probes cannot connect: at once while it is starting (so "localhost" finds the family the
 * application listens on before anybody notices), once per probe while it is down. Changing address means
 * another instance object, since idle connections, load and health belong to an address.
 *
 * A failing lookup never takes an address away: DNS gone is no reason to stop a site that works.
 *
 * Rejected: one instance per address. With "localhost" or a dual-stack name half of them are down for ever.
 */
#include "balancer/member.h"

#include <stdlib.h>

#include "balancer/pool.h"
#include "core/log.h"
#include "core/panic.h"

static void member_on_resolve_at(struct deadline *d);

static struct instance *member_get_instance(struct member *m, const struct net_addr *addr)
{
    return instance_get(m->pool->registry, m->pool->config->name, m->config->name, addr);
}

bool member_init(struct member *m, struct pool *p, const struct config_server *config)
{
    *m = (struct member){.pool = p, .config = config};
    deadline_init(&m->resolve_at, member_on_resolve_at);
    struct net_addr literal;
    slice_t text = slice_str(config->address);
    if (net_addr_parse(text, &literal)) {
        m->instance = member_get_instance(m, &literal);
    } else {
        m->is_name = true;
        if (!net_host_port_split(text, &m->host, &m->port))
            m->host = text;
    }
    return m->is_name || m->instance != NULL;
}

void member_clear(struct member *m)
{
    ASSERT(!m->active);
    resolve_cancel(&m->job);
    if (m->instance != NULL)
        instance_unref(m->instance);
    free(m->addresses);
}

static void member_watch(struct member *m)
{
    const struct config_pool *pool = m->pool->config;
    uint16_t port = net_addr_port(&m->instance->addr);
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
    instance_watch(m->instance, &s);
    atomic_store_explicit(&m->instance->max_in_flight, (uint32_t)m->config->max_connections,
                          memory_order_relaxed);
    atomic_store_explicit(&m->instance->eject_after, (uint32_t)pool->eject_errors, memory_order_relaxed);
}

void member_renew_probe(struct member *m)
{
    if (m->active)
        member_watch(m);
}

/* Stands on `instance` (a reference, consumed) from now on. */
static void member_move_to(struct member *m, struct instance **instance)
{
    struct instance *old = m->instance;
    m->instance = *instance;
    *instance = NULL;
    if (old == NULL)
        return;
    if (m->active) {
        instance_unwatch(old);
        member_watch(m);
        pool_rebuild(m->pool);
    }
    instance_unref(old);
}

static void member_take_address(struct member *m, size_t at, bool inherit)
{
    struct instance *fresh = member_get_instance(m, &m->addresses[at]);
    if (fresh == NULL) {
        log_error("%s/%s: out of memory, address not changed", m->pool->config->name, m->config->name);
        return;
    }
    m->address_at = at;
    if (fresh == m->instance) {
        instance_unref(fresh);
        return;
    }
    if (inherit)
        instance_inherit(fresh, m->instance);
    if (m->instance != NULL && instance_is_usable(fresh))
        log_info("%s: address is now %s%s%s", fresh->title, fresh->addr_text,
                 m->instance->addr.len > 0 ? ", was " : "", m->instance->addr_text);
    member_move_to(m, &fresh);
}

static size_t member_find_address(const struct member *m, const struct net_addr *addr)
{
    for (size_t i = 0; i < m->address_count; i++)
        if (net_addr_eq(&m->addresses[i], addr))
            return i;
    return SIZE_MAX;
}

static void member_take_answer(struct member *m, const struct resolve_answer *answer)
{
    if (answer->count == 0) {
        if (!m->lookup_failed)
            log_warn("%s/%s: name does not resolve: %s", m->pool->config->name, m->config->name,
                     answer->error);
        m->lookup_failed = true;
        return;
    }
    struct net_addr *copy = calloc(answer->count, sizeof *copy);
    if (copy == NULL)
        return;
    memcpy(copy, answer->addresses, answer->count * sizeof *copy);
    if (m->lookup_failed && m->instance != NULL && m->instance->addr.len > 0)
        log_info("%s: name resolves again", m->instance->title);
    free(m->addresses);
    m->lookup_failed = false;
    m->addresses = copy;
    m->address_count = answer->count;
    m->address_at = m->instance != NULL ? member_find_address(m, &m->instance->addr) : SIZE_MAX;
    if (m->address_at != SIZE_MAX)
        return;
    m->untried = m->address_count - 1;
    member_take_address(m, 0, false);
}

/* --- while a set is being built --- */

void member_copy_addresses(struct member *m, const struct member *from)
{
    if (from->address_count == 0)
        return;
    m->addresses = calloc(from->address_count, sizeof *m->addresses);
    if (m->addresses == NULL)
        return;
    memcpy(m->addresses, from->addresses, from->address_count * sizeof *m->addresses);
    m->address_count = from->address_count;
    m->address_at = from->address_at;
    m->untried = from->untried;
    m->instance = instance_ref(from->instance);
}

static void member_on_answer(void *arg, const struct resolve_answer *answer)
{
    struct member *m = arg;
    struct worker *control = m->pool->registry->control;
    m->job = NULL;
    member_take_answer(m, answer);
    bool again = m->lookup_failed || (m->instance != NULL && instance_state(m->instance) == INSTANCE_DOWN);
    deadline_set(control, &m->resolve_at,
                 worker_now_ms(control) + (again ? MEMBER_RESOLVE_AGAIN_MS : MEMBER_RESOLVE_MS));
}

void member_start_lookup(struct member *m)
{
    ASSERT(m->is_name && m->job == NULL);
    m->job = resolve_start(m->pool->registry->control, m->host, m->port, member_on_answer, m);
}

bool member_wait_lookup(struct member *m, mono_ms_t until_ms)
{
    struct resolve_answer answer = {.error = "no thread for the lookup"};
    if (m->job != NULL && !resolve_wait(&m->job, until_ms, &answer)) {
        resolve_cancel(&m->job);
        answer.error = "no answer yet";
    }
    member_take_answer(m, &answer);
    free(answer.addresses);
    if (m->instance == NULL)
        m->instance = member_get_instance(m, NULL);
    return m->instance != NULL;
}

/* --- while its set is the active one --- */

static void member_on_resolve_at(struct deadline *d)
{
    struct member *m = CONTAINER_OF(d, struct member, resolve_at);
    struct worker *control = m->pool->registry->control;
    ASSERT(m->active);
    member_start_lookup(m);
    if (m->job == NULL)
        deadline_set(control, &m->resolve_at, worker_now_ms(control) + MEMBER_RESOLVE_AGAIN_MS);
}

void member_activate(struct member *m)
{
    struct worker *control = m->pool->registry->control;
    m->active = true;
    member_watch(m);
    if (m->is_name)
        deadline_set(control, &m->resolve_at,
                     worker_now_ms(control) +
                         (m->lookup_failed ? MEMBER_RESOLVE_AGAIN_MS : MEMBER_RESOLVE_MS));
}

void member_deactivate(struct member *m)
{
    m->active = false;
    deadline_clear(m->pool->registry->control, &m->resolve_at);
    resolve_cancel(&m->job);
}

/* The name may have a new address by now: lookups follow each other as for a name that does not resolve. */
static void member_hurry_lookup(struct member *m)
{
    struct worker *control = m->pool->registry->control;
    if (m->is_name && m->job == NULL &&
        m->resolve_at.at_ms > worker_now_ms(control) + MEMBER_RESOLVE_AGAIN_MS)
        deadline_set(control, &m->resolve_at, worker_now_ms(control));
}

void member_on_unreachable(struct member *m)
{
    bool down = instance_state(m->instance) == INSTANCE_DOWN;
    if (!m->active)
        return;
    if (down)
        member_hurry_lookup(m);
    if (m->address_count < 2 || (!down && m->untried == 0))
        return;
    if (!down)
        m->untried--;
    member_take_address(m, (m->address_at + 1) % m->address_count, true);
}
