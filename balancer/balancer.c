/* balancer.c: sets of pools, and who is probed. See balancer.h.
 *
 * The balancer owns the registry of instances and knows every set that still lives, since a change of state
 * has to reach the views of all pools the instance is in: requests that started before a reload still pick
 * from the old ones. Only the active set's instances are probed and its names looked up again.
 *
 * Lifetime: a set dies on the control thread, once the last request that started with it has ended. Workers
 * drop their reference from anywhere; the last one posts the set itself as mail. Views go through RCU, and
 * the instances they name reach the graveyard of the control worker. balancer_destroy waits for all of that.
 */
#include "balancer/balancer.h"

#include <stdio.h>
#include <stdlib.h>

#include "balancer/order.h"
#include "balancer/pool.h"
#include "core/log.h"
#include "core/panic.h"
#include "core/timeline.h"

#define BALANCER_MAGIC     0x42414c41u
#define BALANCER_SET_MAGIC 0x42534554u

#define BALANCER_LOOKUP_WAIT_MS 2000 /* how long building a set waits for names, all together */
#define BALANCER_REBUILD_MS     1000 /* until a view that memory did not suffice for is tried again */

struct balancer {
    uint32_t magic;
    /* control thread */
    struct worker *control;
    struct instance_registry registry;
    struct list sets;
    struct balancer_set *active; /* a reference */
    uint64_t watch_round;
    struct deadline rebuild_at;
    struct deadline passive_at; /* the next look at failures, end of an ejection, or step of a slow start */
    mono_ms_t look_ms;          /* the next look */
    struct sticky_key sticky;
    struct list orders;
    void (*on_lost)(void *arg, struct instance *i); /* NULL: nobody asked */
    void *on_lost_arg;
    void (*on_retired)(void *arg);
    void *on_retired_arg;
};

struct balancer_set {
    uint32_t magic;
    /* set once */
    struct balancer *balancer;
    struct config *config; /* a reference */
    struct pool **pools;
    size_t pool_count;
    /* control thread */
    struct list node;
    struct mail mail; /* its death notice */
    /* atomic */
    _Atomic uint32_t refs;
};

static void balancer_want_rebuild(struct balancer *b)
{
    worker_refresh_clock(b->control);
    deadline_set(b->control, &b->rebuild_at, worker_now_ms(b->control) + BALANCER_REBUILD_MS);
}

static void balancer_on_rebuild_at(struct deadline *d)
{
    struct balancer *b = CONTAINER_OF(d, struct balancer, rebuild_at);
    CHECK_MAGIC(b, BALANCER_MAGIC);
    bool again = false;
    LIST_FOREACH (n, &b->sets) {
        struct balancer_set *s = CONTAINER_OF(n, struct balancer_set, node);
        for (size_t p = 0; p < s->pool_count; p++)
            again |= s->pools[p]->stale && !pool_rebuild(s->pools[p]);
    }
    if (again)
        balancer_want_rebuild(b);
}

static void balancer_arm(struct balancer *b)
{
    const struct balancer_set *s = b->active;
    mono_ms_t now_ms = worker_now_ms(b->control), next_ms = INT64_MAX;
    for (size_t p = 0; s != NULL && p < s->pool_count; p++) {
        if (s->pools[p]->config->eject_errors > 0)
            next_ms = MIN(next_ms, b->look_ms);
        if (s->pools[p]->ramping)
            next_ms = MIN(next_ms, now_ms + pool_ramp_step_ms(s->pools[p]));
        next_ms = MIN(next_ms, passive_next_ms(s->pools[p]));
    }
    if (next_ms < INT64_MAX)
        deadline_set(b->control, &b->passive_at, next_ms);
    else
        deadline_clear(b->control, &b->passive_at);
}

static void balancer_on_passive_at(struct deadline *d)
{
    struct balancer *b = CONTAINER_OF(d, struct balancer, passive_at);
    CHECK_MAGIC(b, BALANCER_MAGIC);
    mono_ms_t now_ms = worker_now_ms(b->control);
    bool look = now_ms >= b->look_ms;
    for (size_t p = 0; b->active != NULL && p < b->active->pool_count; p++) {
        struct pool *pool = b->active->pools[p];
        passive_on_time(pool, now_ms);
        if (look)
            passive_on_tick(pool);
        if (pool->ramping && !pool_rebuild(pool))
            balancer_want_rebuild(b);
    }
    if (look)
        b->look_ms = now_ms + PASSIVE_TICK_MS;
    balancer_arm(b);
}

static void balancer_rebuild_with(struct balancer *b, const struct instance *i)
{
    LIST_FOREACH (n, &b->sets) {
        struct balancer_set *s = CONTAINER_OF(n, struct balancer_set, node);
        for (size_t p = 0; p < s->pool_count; p++)
            if (pool_member_of(s->pools[p], i) != NULL && !pool_rebuild(s->pools[p]))
                balancer_want_rebuild(b);
    }
}

/* The same server in another set: of the same names and address. */
static struct member *balancer_find_like(const struct balancer_set *s, const struct member *m)
{
    for (size_t p = 0; s != NULL && p < s->pool_count; p++) {
        const struct pool *pool = s->pools[p];
        if (strcmp(pool->config->name, m->pool->config->name) != 0)
            continue;
        for (size_t n = 0; n < pool->member_count; n++)
            if (strcmp(pool->members[n].config->name, m->config->name) == 0 &&
                strcmp(pool->members[n].config->address, m->config->address) == 0)
                return &pool->members[n];
    }
    return NULL;
}

static void balancer_tell_retired(const struct balancer *b)
{
    if (b->on_retired != NULL)
        b->on_retired(b->on_retired_arg);
}

/* A server of the active set stands on other instances: so it does for requests that began with older ones.
 */
static void balancer_on_seated(struct balancer *b, struct member *m)
{
    if (!pool_rebuild(m->pool))
        balancer_want_rebuild(b);
    LIST_FOREACH (n, &b->sets) {
        const struct balancer_set *s = CONTAINER_OF(n, struct balancer_set, node);
        struct member *like = s != b->active ? balancer_find_like(s, m) : NULL;
        if (like == NULL)
            continue;
        member_copy_addresses(like, m);
        if (!pool_rebuild(like->pool))
            balancer_want_rebuild(b);
    }
    passive_on_unusable(m->pool);
    balancer_arm(b);
    balancer_tell_retired(b);
}

static void balancer_on_instance_event(struct instance_registry *r, struct instance *i, enum instance_event e)
{
    struct balancer *b = CONTAINER_OF(r, struct balancer, registry);
    CHECK_MAGIC(b, BALANCER_MAGIC);
    if (e == INSTANCE_EVENT_USABLE)
        balancer_rebuild_with(b, i);
    struct seat *s = NULL;
    for (size_t p = 0; b->active != NULL && s == NULL && p < b->active->pool_count; p++)
        s = pool_seat_of(b->active->pools[p], i);
    if (s == NULL)
        return;
    struct pool *pool = s->member->pool;
    switch (e) {
    case INSTANCE_EVENT_USABLE:
        passive_on_unusable(pool);
        balancer_arm(b);
        break;
    case INSTANCE_EVENT_LOST:
        if (b->on_lost != NULL)
            b->on_lost(b->on_lost_arg, i);
        break;
    case INSTANCE_EVENT_UNREACHABLE:
        member_on_unreachable(s->member);
        break;
    case INSTANCE_EVENT_SEATED:
        balancer_on_seated(b, s->member);
        break;
    case INSTANCE_EVENT_FAILING:
        passive_on_failing(pool, s);
        break;
    }
}

struct balancer *balancer_create(struct worker *control)
{
    struct balancer *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->magic = BALANCER_MAGIC;
    b->control = control;
    list_init(&b->sets);
    list_init(&b->orders);
    deadline_init(&b->rebuild_at, balancer_on_rebuild_at);
    deadline_init(&b->passive_at, balancer_on_passive_at);
    instance_registry_init(&b->registry, control, balancer_on_instance_event);
    return b;
}

void balancer_on_lost(struct balancer *b, void (*on_lost)(void *arg, struct instance *i), void *arg)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    b->on_lost = on_lost;
    b->on_lost_arg = arg;
}

void balancer_on_retired(struct balancer *b, void (*on_retired)(void *arg), void *arg)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    b->on_retired = on_retired;
    b->on_retired_arg = arg;
}

void balancer_destroy(struct balancer *b)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    balancer_set_activate(b, NULL);
    deadline_clear(b->control, &b->rebuild_at);
    deadline_clear(b->control, &b->passive_at);
    worker_drain(b->control); /* sets that died on workers */
    rcu_flush();              /* the views they had replaced */
    worker_drain(b->control); /* the instances those named */
    ASSERT(list_empty(&b->sets) && list_empty(&b->registry.instances));
    orders_free(&b->orders);
    b->magic = 0;
    free(b);
}

/* ---- sets ---- */

static void balancer_set_free(struct balancer_set *s)
{
    for (size_t p = 0; p < s->pool_count; p++)
        pool_destroy(s->pools[p]);
    free(s->pools);
    list_remove(&s->node);
    config_unref(s->config);
    s->magic = 0;
    free(s);
}

static void balancer_set_on_mail(struct worker *w, struct mail *m)
{
    UNUSED(w);
    balancer_set_free(CONTAINER_OF(m, struct balancer_set, mail));
}

static struct balancer_set *balancer_set_create(struct balancer *b, struct config *c)
{
    struct balancer_set *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->magic = BALANCER_SET_MAGIC;
    s->balancer = b;
    s->config = config_ref(c);
    s->mail.on_mail = balancer_set_on_mail;
    list_push_back(&b->sets, &s->node);
    atomic_init(&s->refs, 1);
    s->pools = calloc(c->pool_count + 1, sizeof(struct pool *));
    for (size_t p = 0; s->pools != NULL && p < c->pool_count; p++) {
        if (c->pools[p].sticky_cookie[0] != '\0')
            sticky_key_obtain(&b->sticky, c->main.state_dir);
        s->pools[p] = pool_create(&b->registry, &c->pools[p], &b->sticky);
        if (s->pools[p] == NULL)
            break;
        orders_apply(&b->orders, s->pools[p]);
        s->pool_count++;
    }
    if (s->pools == NULL || s->pool_count < c->pool_count) {
        balancer_set_free(s);
        return NULL;
    }
    return s;
}

/* The addresses may be known already, by the active set. */
static void balancer_start_lookup(const struct balancer *b, struct member *m)
{
    const struct member *known = balancer_find_like(b->active, m);
    if (known != NULL)
        member_copy_addresses(m, known);
    if (m->seat_count == 0)
        member_start_lookup(m);
}

/* All lookups run side by side; only names that were not known before are waited for. */
static bool balancer_set_resolve(struct balancer_set *s)
{
    bool ok = true;
    mono_ms_t until_ms = clock_mono_ms() + BALANCER_LOOKUP_WAIT_MS;
    for (size_t p = 0; p < s->pool_count; p++)
        for (size_t n = 0; n < s->pools[p]->member_count; n++)
            if (s->pools[p]->members[n].seat_count == 0)
                balancer_start_lookup(s->balancer, &s->pools[p]->members[n]);
    for (size_t p = 0; p < s->pool_count; p++)
        for (size_t n = 0; n < s->pools[p]->member_count; n++)
            if (s->pools[p]->members[n].seat_count == 0)
                ok &= member_wait_lookup(&s->pools[p]->members[n], until_ms);
    return ok;
}

struct balancer_set *balancer_set_build(struct balancer *b, struct config *c, char *err, size_t err_bytes)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    worker_refresh_clock(b->control);
    struct balancer_set *s = balancer_set_create(b, c);
    for (size_t p = 0; s != NULL && p < s->pool_count; p++) {
        if (!pool_load_tls(s->pools[p], c, err, err_bytes)) {
            balancer_set_free(s);
            return NULL;
        }
    }
    bool ok = s != NULL && balancer_set_resolve(s);
    for (size_t p = 0; ok && p < s->pool_count; p++)
        ok = pool_rebuild(s->pools[p]);
    if (ok)
        return s;
    snprintf(err, err_bytes, "out of memory for the pools");
    if (s != NULL)
        balancer_set_free(s);
    return NULL;
}

struct balancer_set *balancer_set_ref(struct balancer_set *s)
{
    CHECK_MAGIC(s, BALANCER_SET_MAGIC);
    ASSERT(atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed) != 0);
    return s;
}

void balancer_set_unref(struct balancer_set *s)
{
    CHECK_MAGIC(s, BALANCER_SET_MAGIC);
    uint32_t before = atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before != 1)
        return;
    if (pthread_equal(s->balancer->registry.control_thread, pthread_self()))
        balancer_set_free(s);
    else
        worker_post(s->balancer->control, &s->mail);
}

struct pool *balancer_set_pool(struct balancer_set *s, size_t index)
{
    CHECK_MAGIC(s, BALANCER_SET_MAGIC);
    ASSERT(index < s->pool_count);
    return s->pools[index];
}

static void balancer_watch_set(struct balancer *b, struct balancer_set *s)
{
    for (size_t p = 0; p < s->pool_count; p++) {
        struct pool *pool = s->pools[p];
        for (size_t n = 0; n < pool->seats.count; n++)
            pool->seats.items[n].instance->watch_round = b->watch_round;
        for (size_t n = 0; n < pool->member_count; n++)
            member_activate(&pool->members[n]);
    }
}

static void balancer_unwatch_set(struct balancer *b, struct balancer_set *s)
{
    for (size_t p = 0; p < s->pool_count; p++) {
        struct pool *pool = s->pools[p];
        for (size_t n = 0; n < pool->member_count; n++)
            member_deactivate(&pool->members[n]);
        for (size_t n = 0; n < pool->seats.count; n++)
            if (pool->seats.items[n].instance->watch_round != b->watch_round) {
                instance_retire(pool->seats.items[n].instance);
                queue_unpin(pool->queue, pool->seats.items[n].instance); /* it takes nobody any more */
            }
    }
}

void balancer_set_activate(struct balancer *b, struct balancer_set *s)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    struct balancer_set *old = b->active;
    if (s == old)
        return;
    worker_refresh_clock(b->control);
    b->active = s != NULL ? balancer_set_ref(s) : NULL;
    b->watch_round++;
    if (s != NULL)
        balancer_watch_set(b, s);
    if (s != NULL)
        orders_keep_known(&b->orders, s->pools, s->pool_count);
    if (old != NULL)
        balancer_unwatch_set(b, old);
    for (size_t p = 0; s != NULL && p < s->pool_count; p++)
        pool_open(s->pools[p]);
    if (old != NULL) {
        balancer_set_unref(old);
        balancer_tell_retired(b);
    }
    b->look_ms = worker_now_ms(b->control) + PASSIVE_TICK_MS;
    if (s != NULL) /* of what was ejected some may be over by the new settings */
        deadline_set(b->control, &b->passive_at, worker_now_ms(b->control));
    else
        deadline_clear(b->control, &b->passive_at);
}

bool balancer_look_tls(struct balancer *b)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    bool tried = false;
    worker_refresh_clock(b->control);
    for (size_t p = 0; b->active != NULL && p < b->active->pool_count; p++)
        tried |= pool_look_tls(b->active->pools[p], b->active->config);
    return tried;
}

/* ---- what people order ---- */

static struct member *balancer_find_member(struct balancer_set *s, const struct balancer_order *o,
                                           enum balancer_order_result *why_not)
{
    *why_not = BALANCER_NO_POOL;
    for (size_t p = 0; s != NULL && p < s->pool_count; p++) {
        if (strcmp(s->pools[p]->config->name, o->pool) != 0)
            continue;
        *why_not = BALANCER_NO_SERVER;
        for (size_t n = 0; n < s->pools[p]->member_count; n++)
            if (strcmp(s->pools[p]->members[n].config->name, o->server) == 0)
                return &s->pools[p]->members[n];
    }
    return NULL;
}

static bool balancer_takes_now(const struct member *m)
{
    const struct seats *all = &m->pool->seats;
    for (const struct seat *s = seats_first(all, m); s != NULL; s = seats_next(all, s))
        if (member_is_taking(m) && instance_is_usable(s->instance))
            return true;
    return false;
}

/* Would nobody be left who takes requests, while it does now? Who is ejected would come back. */
static bool member_is_last(const struct member *m)
{
    if (!balancer_takes_now(m))
        return false;
    for (size_t n = 0; n < m->pool->seats.count; n++) {
        const struct seat *other = &m->pool->seats.items[n];
        if (other->member != m && member_is_taking(other->member) &&
            (instance_is_usable(other->instance) || instance_state(other->instance) == INSTANCE_EJECTED))
            return false;
    }
    return true;
}

static void balancer_note_order(struct order *to, const struct balancer_order *o)
{
    char what[64];
    switch (o->kind) {
    case BALANCER_DRAIN:
        if (!to->drained)
            to->drained_ms = clock_wall_ms();
        to->drained = true;
        snprintf(to->who, sizeof to->who, "%s", o->who);
        snprintf(what, sizeof what, "drained");
        break;
    case BALANCER_READY:
        to->drained = false;
        snprintf(what, sizeof what, "taken back into use");
        break;
    case BALANCER_WEIGHT:
        to->weight = o->weight;
        if (o->weight == ORDER_WEIGHT_CONFIGURED)
            snprintf(what, sizeof what, "weight is as configured again,");
        else
            snprintf(what, sizeof what, "weight is %d now,", o->weight);
        break;
    }
    log_info("%s/%s: %s by %s", o->pool, o->server, what, o->who);
    timeline_note(TIMELINE_ORDER, "%s/%s: %s by %s", o->pool, o->server, what, o->who);
}

enum balancer_order_result balancer_order(struct balancer *b, const struct balancer_order *o)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    enum balancer_order_result why_not;
    struct member *m = balancer_find_member(b->active, o, &why_not);
    if (m == NULL)
        return why_not;
    bool takes_away = o->kind == BALANCER_DRAIN || (o->kind == BALANCER_WEIGHT && o->weight == 0);
    if (takes_away && !o->force && member_is_last(m))
        return BALANCER_LAST_ONE;
    struct order *to = order_obtain(&b->orders, o->pool, o->server);
    if (to == NULL)
        return BALANCER_ORDER_NO_MEMORY;
    worker_refresh_clock(b->control);
    balancer_note_order(to, o);
    LIST_FOREACH (n, &b->sets) {
        struct balancer_set *s = CONTAINER_OF(n, struct balancer_set, node);
        for (size_t p = 0; p < s->pool_count; p++) {
            if (strcmp(s->pools[p]->config->name, o->pool) != 0)
                continue;
            orders_apply(&b->orders, s->pools[p]);
            if (!pool_rebuild(s->pools[p]))
                balancer_want_rebuild(b);
        }
    }
    passive_on_unusable(m->pool);
    balancer_arm(b);
    rcu_wait_readers();
    return BALANCER_ORDERED;
}

void balancer_each_order(const struct balancer *b, void (*fn)(void *arg, const struct balancer_order *o),
                         void *arg)
{
    LIST_FOREACH (n, &b->orders) {
        const struct order *o = CONTAINER_OF(n, struct order, node);
        struct balancer_order again = {
            .kind = BALANCER_DRAIN, .pool = o->pool, .server = o->server, .who = o->who, .weight = o->weight};
        if (o->drained)
            fn(arg, &again);
        again.kind = BALANCER_WEIGHT;
        if (o->weight != ORDER_WEIGHT_CONFIGURED)
            fn(arg, &again);
    }
}

bool balancer_is_last(const struct balancer *b, const char *pool, const char *server)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    enum balancer_order_result why_not;
    const struct balancer_order o = {.pool = pool, .server = server};
    const struct member *m = balancer_find_member(b->active, &o, &why_not);
    return m != NULL && member_is_last(m);
}

static void set_retire(struct balancer_set *s, const struct balancer_order *o)
{
    enum balancer_order_result why_not;
    struct member *m = balancer_find_member(s, o, &why_not);
    if (m == NULL || m->retired)
        return;
    m->retired = true;
    if (!pool_rebuild(m->pool))
        balancer_want_rebuild(s->balancer);
}

uint64_t balancer_retire(struct balancer *b, const char *pool, const char *server)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    const struct balancer_order o = {.pool = pool, .server = server};
    uint64_t running = 0;
    LIST_FOREACH (n, &b->sets) {
        struct balancer_set *s = CONTAINER_OF(n, struct balancer_set, node);
        if (s != b->active)
            set_retire(s, &o);
    }
    rcu_wait_readers();
    LIST_FOREACH (n, &b->registry.instances) {
        struct instance *i = CONTAINER_OF(n, struct instance, node);
        if (strcmp(i->pool_name, pool) != 0 || strcmp(i->name, server) != 0)
            continue;
        queue_unpin(i->queue, i);
        running += instance_in_flight(i);
    }
    for (size_t p = 0; b->active != NULL && p < b->active->pool_count; p++)
        if (strcmp(b->active->pools[p]->config->name, pool) == 0)
            pool_open(b->active->pools[p]); /* for who waited for that one alone */
    return running;
}

/* ---- what people see ---- */

void balancer_each_instance(struct balancer *b, void (*each)(void *arg, const struct instance_info *info),
                            void *arg)
{
    CHECK_MAGIC(b, BALANCER_MAGIC);
    for (size_t p = 0; b->active != NULL && p < b->active->pool_count; p++)
        pool_each_instance(b->active->pools[p], each, arg);
}
