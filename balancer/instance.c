/* instance.c: see instance.h.
 *
 *                 first probe ok
 *      starting ------------------> up <---------------+
 *          \                       ^ |  \              | time
 *           \ `fall` failures rise | |   \ passive     |
 *            v                     | v    v errors     |
 *             ------------------> down <-- ejected ----+
 *
 * Threads: states change on the control thread only. Workers lease and release, which is atomics; what they
 * see go wrong they tell by mail, one at a time per instance, and the control thread decides. A refusal is
 * the one outcome that is proof enough by itself (nothing listens there): `fall` of them in a row mark the
 * instance down without waiting for a probe. Everything else brings the next probe forward; and failures of
 * any kind in a row are an event, of which health_passive makes an ejection or not.
 *
 * Death: the last reference may go on any thread (a worker's idle connection, the RCU reclaimer's old view),
 * but the registry belongs to the control thread, so the end is always a grave there. Until then a lookup
 * passes by an instance without references, never revives it. */
#include "balancer/instance.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"

#define INSTANCE_LEASE (UINT64_C(1) << 32)

#define BIT(id) (1u << INSTANCE_##id)
static const uint8_t instance_next_states[INSTANCE_STATE_COUNT] = {
    [INSTANCE_STARTING] = BIT(UP) | BIT(DOWN),
    [INSTANCE_UP] = BIT(DOWN) | BIT(EJECTED),
    [INSTANCE_EJECTED] = BIT(UP) | BIT(DOWN),
    [INSTANCE_DOWN] = BIT(UP),
};
#undef BIT

const char *instance_state_name(enum instance_state s)
{
    static const char *const names[] = {
#define X(id, name) name,
        INSTANCE_STATES(X)
#undef X
    };
    ASSERT((unsigned)s < INSTANCE_STATE_COUNT);
    return names[s];
}

bool instance_state_may_follow(enum instance_state from, enum instance_state to)
{
    ASSERT((unsigned)from < INSTANCE_STATE_COUNT && (unsigned)to < INSTANCE_STATE_COUNT);
    return (instance_next_states[from] >> to) & 1;
}

static bool state_is_usable(enum instance_state s)
{
    return s == INSTANCE_STARTING || s == INSTANCE_UP;
}

enum instance_state instance_state(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return atomic_load_explicit(&i->state, memory_order_relaxed);
}

bool instance_is_usable(const struct instance *i)
{
    return state_is_usable(instance_state(i));
}

/* The reason is set already. */
static void instance_enter_state(struct instance *i, enum instance_state to, enum log_level level)
{
    enum instance_state from = instance_state(i);
    ASSERT(instance_state_may_follow(from, to));
    i->since_ms = clock_wall_ms();
    i->oks_in_row = i->fails_in_row = 0;
    if (to == INSTANCE_UP)
        passive_begin(i);
    if (to == INSTANCE_UP && from != INSTANCE_STARTING)
        i->back_ms = worker_now_ms(i->registry->control);
    atomic_store_explicit(&i->refusals_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&i->failures_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&i->state, (uint8_t)to, memory_order_relaxed);
    log_at(level, "%s: %s -> %s: %s", i->title, instance_state_name(from), instance_state_name(to),
           i->reason);
    if (level != LOG_LEVEL_DEBUG)
        timeline_note(TIMELINE_STATE, "%s: %s -> %s: %s", i->title, instance_state_name(from),
                      instance_state_name(to), i->reason);
    if (state_is_usable(from) != state_is_usable(to))
        i->registry->on_event(i->registry, i, INSTANCE_EVENT_USABLE);
}

void instance_set_state(struct instance *i, enum instance_state to, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(i->reason, sizeof i->reason, fmt, args);
    va_end(args);
    instance_enter_state(i, to,
                         to == INSTANCE_DOWN || to == INSTANCE_EJECTED ? LOG_LEVEL_WARN : LOG_LEVEL_INFO);
}

void instance_on_probe(struct instance *i, const struct health_result *result)
{
    enum instance_state state = instance_state(i);
    if (result->verdict == HEALTH_SKIPPED) {
        log_warn("%s: no probe was possible: %s", i->title, result->reason);
        return;
    }
    i->unreached = result->verdict == HEALTH_UNREACHABLE;
    if (result->verdict == HEALTH_OK) {
        i->probes_ok++;
        i->oks_in_row++;
        i->fails_in_row = 0;
        if (state == INSTANCE_STARTING)
            instance_set_state(i, INSTANCE_UP, "first probe succeeded (%s)", result->reason);
        else if (state == INSTANCE_DOWN && i->oks_in_row >= (unsigned)i->rise)
            instance_set_state(i, INSTANCE_UP, "%s (%u probes succeeded)", result->reason, i->oks_in_row);
        return;
    }
    i->probes_failed++;
    i->oks_in_row = 0;
    i->fails_in_row++;
    if (state == INSTANCE_DOWN && strncmp(i->reason, result->reason, strlen(result->reason)) != 0)
        snprintf(i->reason, sizeof i->reason, "%s (the last probe)", result->reason);
    if (state != INSTANCE_DOWN && i->fails_in_row >= (unsigned)i->fall) {
        instance_set_state(i, INSTANCE_DOWN, "%s (%u probes failed)", result->reason, i->fails_in_row);
        i->registry->on_event(i->registry, i, INSTANCE_EVENT_LOST);
    }
    state = instance_state(i);
    if (result->verdict == HEALTH_UNREACHABLE && (state == INSTANCE_STARTING || state == INSTANCE_DOWN))
        i->registry->on_event(i->registry, i, INSTANCE_EVENT_UNREACHABLE);
}

static void instance_on_health(struct health_share *p, const struct health_result *result)
{
    struct instance *i = CONTAINER_OF(p, struct instance, probe);
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    instance_on_probe(i, result);
}

void instance_watch(struct instance *i, const struct health_settings *settings)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    if (i->addr.len == 0)
        return;
    idle_limit_reopen(&i->idle_limit);
    i->rise = settings->rise;
    i->fall = settings->fall;
    if (settings->kind != CONFIG_HEALTH_OFF) {
        bool waits = instance_state(i) == INSTANCE_DOWN;
        if (!health_share_start(&i->probe, settings, waits ? settings->interval_ms : 0))
            log_error("%s: out of memory, it is not probed until the next reload", i->title);
        atomic_store_explicit(&i->watch_fall, (uint32_t)MAX(settings->fall, 1), memory_order_relaxed);
        return;
    }
    atomic_store_explicit(&i->watch_fall, 0, memory_order_relaxed);
    health_share_stop(&i->probe);
    if (instance_state(i) == INSTANCE_STARTING || instance_state(i) == INSTANCE_DOWN)
        instance_set_state(i, INSTANCE_UP, "health_check = off");
}

void instance_unwatch(struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    atomic_store_explicit(&i->watch_fall, 0, memory_order_relaxed);
    atomic_store_explicit(&i->eject_after, 0, memory_order_relaxed);
    atomic_store_explicit(&i->takes, 0, memory_order_relaxed); /* until pool_open */
    health_share_stop(&i->probe);
}

void instance_retire(struct instance *i)
{
    instance_unwatch(i);
    idle_limit_end(&i->idle_limit);
}

bool instance_is_retired(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return idle_limit_is_ended(&i->idle_limit);
}

uint64_t instance_leaving(const struct instance_registry *r, const char *pool_name, const char *name)
{
    uint64_t running = 0;
    LIST_FOREACH (n, &r->instances) {
        const struct instance *i = CONTAINER_OF(n, struct instance, node);
        if (instance_in_flight(i) > 0 && instance_is_retired(i) &&
            (pool_name == NULL || (strcmp(i->name, name) == 0 && strcmp(i->pool_name, pool_name) == 0)))
            running += instance_in_flight(i);
    }
    return running;
}

void instance_begin_slowly(struct instance *i)
{
    if (instance_state(i) == INSTANCE_STARTING)
        i->back_ms = worker_now_ms(i->registry->control);
}

void instance_inherit(struct instance *i, const struct instance *from)
{
    i->unreached = false;
    if (instance_state(i) != INSTANCE_STARTING)
        return;
    i->fails_in_row = from->fails_in_row;
    if (instance_state(from) != INSTANCE_DOWN)
        return;
    /* People were told when the server went down; that its name has more addresses is no news. */
    memcpy(i->reason, from->reason, sizeof i->reason);
    instance_enter_state(i, INSTANCE_DOWN, LOG_LEVEL_DEBUG);
    i->since_ms = from->since_ms;
}

/* ---- trouble seen by workers ---- */

static void instance_on_mail(struct worker *w, struct mail *m)
{
    struct instance *i = CONTAINER_OF(m, struct instance, mail);
    UNUSED(w);
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    /* First let the next trouble post again, then look: nothing that comes in between is lost. */
    atomic_store(&i->mail_posted, false);
    uint32_t limit = atomic_load_explicit(&i->watch_fall, memory_order_relaxed);
    uint32_t refusals = atomic_load(&i->refusals_in_row);
    if (limit > 0 && instance_is_usable(i)) {
        if (refusals >= limit)
            instance_set_state(i, INSTANCE_DOWN, "connect refused (%u requests in a row)", refusals);
        health_share_hurry(&i->probe);
    }
    uint32_t eject_after = atomic_load_explicit(&i->eject_after, memory_order_relaxed);
    if (eject_after > 0 && atomic_load(&i->failures_in_row) >= eject_after &&
        instance_state(i) == INSTANCE_UP)
        i->registry->on_event(i->registry, i, INSTANCE_EVENT_FAILING);
    instance_unref(i);
}

static void instance_tell(struct instance *i)
{
    if (!instance_is_usable(i) || atomic_exchange(&i->mail_posted, true))
        return;
    instance_ref(i);
    worker_post(i->registry->control, &i->mail);
}

void instance_lease(struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    atomic_fetch_add_explicit(&i->refs, INSTANCE_LEASE, memory_order_relaxed);
    atomic_fetch_add_explicit(&i->requests, 1, memory_order_relaxed);
}

bool instance_lease_within_limit(struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    uint32_t most = atomic_load_explicit(&i->max_in_flight, memory_order_relaxed);
    uint64_t refs = atomic_load_explicit(&i->refs, memory_order_relaxed);
    do {
        if (most > 0 && refs >> 32 >= most)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&i->refs, &refs, refs + INSTANCE_LEASE,
                                                    memory_order_relaxed, memory_order_relaxed));
    atomic_fetch_add_explicit(&i->requests, 1, memory_order_relaxed);
    return true;
}

static void instance_note_success(struct instance *i)
{
    if (LIKELY(atomic_load_explicit(&i->failures_in_row, memory_order_relaxed) == 0))
        return;
    atomic_store_explicit(&i->failures_in_row, 0, memory_order_relaxed);
    atomic_store_explicit(&i->refusals_in_row, 0, memory_order_relaxed);
}

/* The control thread is told of what its probes, or an ejection, may follow from; of a long row of failures
 * only now and then. */
static void instance_note_failure(struct instance *i, enum fetch_error e)
{
    uint32_t failures = atomic_fetch_add(&i->failures_in_row, 1) + 1;
    uint32_t eject_after = atomic_load_explicit(&i->eject_after, memory_order_relaxed);
    bool no_contact = e == FETCH_CONNECT_REFUSED || e == FETCH_CONNECT_FAILED || e == FETCH_CONNECT_TIMEOUT ||
                      e == FETCH_RESET;
    atomic_fetch_add_explicit(&i->failures, 1, memory_order_relaxed);
    atomic_store_explicit(&i->last_failure, (uint8_t)e, memory_order_relaxed);
    latency_observe(&i->latency, LATENCY_OF_FAILURE_US, worker_current_ms());
    if (e == FETCH_CONNECT_REFUSED)
        atomic_fetch_add(&i->refusals_in_row, 1);
    else if (!no_contact) /* it accepted a connection and talked */
        atomic_store_explicit(&i->refusals_in_row, 0, memory_order_relaxed);
    if ((no_contact && atomic_load_explicit(&i->watch_fall, memory_order_relaxed) > 0) ||
        (eject_after > 0 && failures % eject_after == 0))
        instance_tell(i);
}

const char *instance_failures_text(const struct instance *i, char *buf, size_t bytes)
{
    unsigned failures = atomic_load_explicit(&i->failures_in_row, memory_order_relaxed);
    uint8_t last = atomic_load_explicit(&i->last_failure, memory_order_relaxed);
    snprintf(buf, bytes, "%u failures in a row, the last: %s", failures,
             outcome_fetch_text((enum fetch_error)last));
    return buf;
}

static __attribute__((cold, noinline)) void instance_note_trouble(struct instance *i, enum fetch_error e)
{
    switch (e) {
    case FETCH_CONNECT_REFUSED:
    case FETCH_CONNECT_FAILED:
    case FETCH_CONNECT_TIMEOUT:
    case FETCH_TLS_FAILED:
    case FETCH_REFUSED:
    case FETCH_RESET:
    case FETCH_RESPONSE_TIMEOUT:
    case FETCH_BAD_RESPONSE:
    case FETCH_CUT_SHORT:
    case FETCH_ERROR_STATUS:
        instance_note_failure(i, e);
        break;
    default: /* our own affair; says nothing about the instance */
        break;
    }
}

static void instance_drop(struct instance *i, uint64_t what);

/* Somebody may wait for what is free now. */
static __attribute__((noinline)) void instance_drop_and_feed(struct instance *i)
{
    instance_ref(i);
    instance_drop(i, INSTANCE_LEASE);
    queue_feed(i->queue, i);
    instance_unref(i);
}

void instance_release(struct instance *i, enum fetch_error outcome)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    if (LIKELY(outcome == FETCH_NONE))
        instance_note_success(i);
    else
        instance_note_trouble(i, outcome);
    if (UNLIKELY(atomic_load_explicit(&i->max_in_flight, memory_order_relaxed) > 0)) {
        instance_drop_and_feed(i);
        return;
    }
    instance_drop(i, INSTANCE_LEASE);
}

void instance_observe(struct instance *i, mono_us_t us)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    latency_observe(&i->latency, us, worker_current_ms());
}

/* A request that must not be sent twice takes only connections idle for less, where nothing is known. */
#define INSTANCE_YOUNG_MS 1000

dur_ms_t instance_idle_ms(const struct instance *i, bool repeatable)
{
    if (LIKELY(idle_limit_is_blank(&i->idle_limit)))
        return repeatable ? IDLE_LIMIT_NONE : INSTANCE_YOUNG_MS;
    mono_ms_t now_ms = worker_current_ms();
    return repeatable ? idle_limit_ms(&i->idle_limit, now_ms)
                      : idle_limit_safe_ms(&i->idle_limit, INSTANCE_YOUNG_MS, now_ms);
}

void instance_on_keep_alive(struct instance *i, slice_t value)
{
    idle_limit_tell(&i->idle_limit, value, worker_current_ms());
}

void instance_on_idle_close(struct instance *i, dur_ms_t idle_ms)
{
    dur_ms_t learned = idle_limit_on_close(&i->idle_limit, idle_ms, worker_current_ms());
    if (learned > 0)
        log_info("%s: closes unused connections after %" PRId64 " ms; they are given up before", i->title,
                 learned);
}

/* ---- life and death ---- */

static void instance_free(void *obj)
{
    struct instance *i = obj;
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    ASSERT(i->probe.prober == NULL && atomic_load(&i->refs) == 0);
    list_remove(&i->node);
    i->magic = 0;
    queue_unref(i->queue);
    free(i->title);
    free(i);
}

static void instance_bury(struct worker *w, struct instance *i)
{
    worker_bury(w, &i->grave, instance_free, i);
}

static void instance_on_death_mail(struct worker *w, struct mail *m)
{
    instance_bury(w, CONTAINER_OF(m, struct instance, death_mail));
}

static void instance_drop(struct instance *i, uint64_t what)
{
    uint64_t before = atomic_fetch_sub(&i->refs, what);
    ASSERT(before >= what);
    if (before != what)
        return;
    struct instance_registry *r = i->registry;
    if (pthread_equal(r->control_thread, pthread_self()))
        instance_bury(r->control, i);
    else
        worker_post(r->control, &i->death_mail);
}

struct instance *instance_ref(struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    ASSERT(atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed) != 0);
    return i;
}

void instance_unref(struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    instance_drop(i, 1);
}

/* Other threads may be dropping references at the same time: only a living one may gain another. */
static bool instance_ref_living(struct instance *i)
{
    uint64_t refs = atomic_load_explicit(&i->refs, memory_order_relaxed);
    while (refs != 0)
        if (atomic_compare_exchange_weak_explicit(&i->refs, &refs, refs + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void instance_registry_init(struct instance_registry *r, struct worker *control,
                            void (*on_event)(struct instance_registry *r, struct instance *i,
                                             enum instance_event e))
{
    *r = (struct instance_registry){
        .control = control, .control_thread = pthread_self(), .on_event = on_event};
    list_init(&r->instances);
    health_probers_init(&r->probers, control);
}

void instance_registry_count(const struct instance_registry *r, enum metric_id id)
{
    if (r->control->metrics != NULL)
        metrics_add(r->control->metrics, id, 1);
}

static struct instance *instance_find(struct instance_registry *r, const char *pool_name, const char *name,
                                      const struct net_addr *addr, bool of_several)
{
    LIST_FOREACH (n, &r->instances) {
        struct instance *i = CONTAINER_OF(n, struct instance, node);
        if (net_addr_eq(&i->addr, addr) && i->of_several == of_several && strcmp(i->name, name) == 0 &&
            strcmp(i->pool_name, pool_name) == 0 && instance_ref_living(i))
            return i;
    }
    return NULL;
}

/* That of the pool, with a reference. */
static struct queue *instance_queue(struct instance_registry *r, const char *pool_name)
{
    LIST_FOREACH (n, &r->instances) {
        struct instance *i = CONTAINER_OF(n, struct instance, node);
        if (strcmp(i->pool_name, pool_name) == 0) {
            i->queue->refs++;
            return i->queue;
        }
    }
    return queue_new();
}

/* "pool/name" or "pool/name@address", and behind it the two names by themselves. */
static bool instance_set_names(struct instance *i, const char *pool_name, const char *name)
{
    const size_t pool_bytes = strlen(pool_name) + 1, name_bytes = strlen(name) + 1;
    const bool with_address = i->of_several && i->addr.len > 0;
    const size_t title_bytes = pool_bytes + name_bytes + (with_address ? strlen(i->addr_text) + 1 : 0);
    char *text = malloc(title_bytes + pool_bytes + name_bytes);
    if (text == NULL)
        return false;
    snprintf(text, title_bytes, "%s/%s%s%s", pool_name, name, with_address ? "@" : "",
             with_address ? i->addr_text : "");
    i->title = text;
    i->shown = text + pool_bytes;
    i->pool_name = memcpy(text + title_bytes, pool_name, pool_bytes);
    i->name = memcpy(text + title_bytes + pool_bytes, name, name_bytes);
    /* Of all addresses of a name together: labels are for ever, and addresses come and go. */
    i->label = metrics_label(slice_make(text, pool_bytes + name_bytes - 1));
    return true;
}

struct instance *instance_get(struct instance_registry *r, const char *pool_name, const char *name,
                              const struct net_addr *addr, bool of_several)
{
    static const struct net_addr unresolved;
    struct instance *i = instance_find(r, pool_name, name, addr != NULL ? addr : &unresolved, of_several);
    if (i != NULL)
        return i;
    i = aligned_alloc(CACHE_LINE, (sizeof *i + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (i == NULL)
        return NULL;
    *i = (struct instance){.magic = INSTANCE_MAGIC, .registry = r, .id = ++r->last_id, .refs = 1};
    i->mail.on_mail = instance_on_mail;
    i->death_mail.on_mail = instance_on_death_mail;
    i->since_ms = clock_wall_ms();
    i->of_several = of_several;
    snprintf(i->reason, sizeof i->reason, "not probed yet");
    if (addr != NULL) {
        i->addr = *addr;
        net_addr_format(addr, i->addr_text);
    }
    i->queue = instance_queue(r, pool_name);
    if (i->queue == NULL || !instance_set_names(i, pool_name, name)) {
        if (i->queue != NULL)
            queue_unref(i->queue);
        free(i);
        return NULL;
    }
    list_push_back(&r->instances, &i->node);
    health_share_init(&i->probe, &r->probers, &i->addr, instance_on_health);
    if (addr == NULL)
        instance_set_state(i, INSTANCE_DOWN, "name does not resolve");
    return i;
}

const struct net_addr *instance_addr(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return &i->addr;
}

const char *instance_name(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return i->shown;
}

uint16_t instance_label(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return i->label;
}

uint32_t instance_id(const struct instance *i)
{
    CHECK_MAGIC(i, INSTANCE_MAGIC);
    return i->id;
}
