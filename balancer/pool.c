/* pool.c: see pool.h.
 *
 * Picking is the hot path: enter RCU, load the view, raise the turn by one (the one write shared by all
 * workers, on a cache line of its own), index, raise the instance's in-flight count. States are not looked
 * at: an instance that stops being usable is left out of the next view, and the pick that still sees the old
 * one is the pick that came a moment earlier.
 *
 * Rejected: a mutex and per-instance current weights (a lock per request), and a private schedule per worker
 * (workers in step send the same instance bursts, and two instances do not visibly take turns). */
#include "balancer/pool.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "core/panic.h"

static void pool_view_free(void *obj)
{
    struct pool_view *v = obj;
    if (v->normal != NULL)
        v->normal->policy->destroy(v->normal);
    if (v->backup != NULL)
        v->backup->policy->destroy(v->backup);
    for (size_t i = 0; i < v->count; i++)
        instance_unref(v->instances[i]);
    free(v->pins);
    free(v);
}

/* What an instance gets at first, and by how much its share grows at a time. */
#define POOL_RAMP_PERCENT 5

unsigned pool_share_percent(const struct pool *p, const struct instance *i)
{
    dur_ms_t whole_ms = p->config->slow_start_ms;
    dur_ms_t ms = worker_now_ms(p->registry->control) - i->back_ms;
    if (whole_ms == 0 || i->back_ms == 0 || ms >= whole_ms)
        return 100;
    return MAX(POOL_RAMP_PERCENT, (unsigned)(MAX(ms, 0) * 100 / whole_ms));
}

dur_ms_t pool_ramp_step_ms(const struct pool *p)
{
    return MIN(MAX(p->config->slow_start_ms * POOL_RAMP_PERCENT / 100, 100), 1000);
}

static bool pool_is_sticky(const struct pool *p)
{
    return p->config->sticky_cookie[0] != '\0';
}

static struct policy_view *pool_build_half(struct pool *p, bool backup, struct policy_candidate *candidates)
{
    size_t count = 0;
    for (size_t s = 0; s < p->seats.count; s++) {
        const struct member *member = p->seats.items[s].member;
        struct instance *i = p->seats.items[s].instance;
        if (member->config->backup != backup || !member_is_taking(member) || !instance_is_usable(i))
            continue;
        unsigned percent = pool_share_percent(p, i);
        p->ramping |= percent < 100;
        candidates[count++] = (struct policy_candidate){i, (unsigned)member_weight(member) * percent};
    }
    return p->policy->build(candidates, count);
}

static bool pool_uses_backups(const struct pool *p)
{
    for (size_t s = 0; s < p->seats.count; s++)
        if (!p->seats.items[s].member->config->backup && member_is_taking(p->seats.items[s].member) &&
            instance_is_usable(p->seats.items[s].instance))
            return false;
    return true;
}

/* Who still takes the visitors that are pinned to it: those in use, and those with weight 0, which take no
 * others. Backups only while they are in use. */
static bool pool_build_pins(const struct pool *p, struct pool_view *v)
{
    bool backups = pool_uses_backups(p);
    v->pins = calloc(p->seats.count + 1, sizeof *v->pins);
    for (size_t s = 0; v->pins != NULL && s < p->seats.count; s++) {
        const struct seat *seat = &p->seats.items[s];
        v->pins[s].id = seat->instance->id;
        memcpy(v->pins[s].value, seat->pin, STICKY_CHARS);
        if (instance_is_usable(seat->instance) && !member_is_drained(seat->member) &&
            (backups || !seat->member->config->backup))
            v->pins[s].instance = seat->instance;
    }
    return v->pins != NULL;
}

static struct pool_view *pool_build_view(struct pool *p)
{
    struct policy_candidate *candidates = calloc(p->seats.count + 1, sizeof *candidates);
    struct pool_view *v = calloc(1, sizeof *v + p->seats.count * sizeof v->instances[0]);
    p->ramping = false;
    if (candidates != NULL && v != NULL && (!pool_is_sticky(p) || pool_build_pins(p, v))) {
        for (size_t s = 0; s < p->seats.count; s++)
            v->instances[v->count++] = instance_ref(p->seats.items[s].instance);
        v->normal = pool_build_half(p, false, candidates);
        v->backup = pool_build_half(p, true, candidates);
    }
    free(candidates);
    if (v != NULL && (v->normal == NULL || v->backup == NULL)) {
        pool_view_free(v);
        return NULL;
    }
    return v;
}

void pool_open(struct pool *p)
{
    bool backups = pool_uses_backups(p);
    for (size_t s = 0; s < p->seats.count; s++) {
        const struct member *member = p->seats.items[s].member;
        struct instance *i = p->seats.items[s].instance;
        unsigned takes = 0;
        if (member_is_drained(member) || (member->config->backup && !backups))
            takes = 0;
        else
            takes = INSTANCE_TAKES_PINNED | (member_weight(member) > 0 ? INSTANCE_TAKES_ANY : 0);
        atomic_store_explicit(&i->takes, (uint8_t)takes, memory_order_relaxed);
        if (takes == 0)
            queue_unpin(p->queue, i);
    }
    for (size_t s = 0; s < p->seats.count; s++)
        queue_feed(p->queue, p->seats.items[s].instance);
}

bool pool_rebuild(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    if (p->queue == NULL && p->seats.count > 0) /* workers read it from the first view on */
        p->queue = p->seats.items[0].instance->queue;
    struct pool_view *v = pool_build_view(p);
    p->stale = v == NULL;
    if (v == NULL) {
        log_error("pool %s: out of memory, still using the old list of instances", p->config->name);
        return false;
    }
    struct pool_view *old = atomic_exchange(&p->view, v);
    if (old != NULL)
        rcu_free_later(&old->grave, pool_view_free, old);
    if (p->member_count > 0 && p->members[0].active)
        pool_open(p);
    return true;
}

struct pool *pool_create(struct instance_registry *r, const struct config_pool *config,
                         const struct sticky_key *key)
{
    struct pool *p = aligned_alloc(CACHE_LINE, sizeof *p);
    if (p == NULL)
        return NULL;
    *p = (struct pool){.magic = POOL_MAGIC, .config = config, .registry = r, .sticky_key = key};
    p->policy = policy_of_balance(config->balance);
    p->timed = p->policy->timed;
    for (size_t s = 0; s < config->server_count; s++)
        p->limited |= config->servers[s].max_connections > 0;
    p->members = calloc(config->server_count + 1, sizeof *p->members);
    for (size_t m = 0; p->members != NULL && m < config->server_count; m++) {
        if (!member_init(&p->members[m], p, &config->servers[m]))
            break;
        p->member_count++;
    }
    if (p->member_count < config->server_count || p->members == NULL) {
        pool_destroy(p);
        return NULL;
    }
    return p;
}

void pool_destroy(struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    if (v != NULL)
        pool_view_free(v);
    for (size_t m = 0; m < p->member_count; m++)
        member_clear(&p->members[m]);
    seats_clear(&p->seats);
    free(p->members);
    pool_tls_clear(&p->tls);
    p->magic = 0;
    free(p);
}

struct seat *pool_seat_of(struct pool *p, const struct instance *i)
{
    for (size_t s = 0; s < p->seats.count; s++)
        if (p->seats.items[s].instance == i)
            return &p->seats.items[s];
    return NULL;
}

struct member *pool_member_of(struct pool *p, const struct instance *i)
{
    const struct seat *s = pool_seat_of(p, i);
    return s != NULL ? s->member : NULL;
}

const struct config_pool *pool_config(const struct pool *p)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    return p->config;
}

static struct instance *pool_pinned(const struct pool_view *v, const struct policy_turn *t)
{
    const uint32_t pin = t->affinity->pin;
    for (size_t n = 0; pin > 0 && n < v->count; n++) {
        struct instance *i = v->pins[n].instance;
        if (v->pins[n].id == pin)
            return i != NULL && !policy_was_tried(i, t) ? i : NULL;
    }
    return NULL;
}

static struct instance *pool_choose(const struct pool_view *v, struct policy_turn *t)
{
    const struct policy_view *halves[2] = {v->normal, v->backup};
    struct instance *pinned = UNLIKELY(t->affinity != NULL) ? pool_pinned(v, t) : NULL;
    if (UNLIKELY(pinned != NULL))
        return pinned;
    for (unsigned rounds = t->tried_count > 0 ? 2 : 1; rounds > 0; rounds--) {
        for (unsigned h = 0; h < 2; h++) {
            struct instance *i = halves[h]->policy->pick(halves[h], t);
            if (i != NULL)
                return i;
        }
        t->tried_count = 0;
    }
    return NULL;
}

struct instance *pool_pick(struct pool *p, const struct pool_affinity *a, struct instance *const *tried,
                           size_t tried_count)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    struct policy_turn t = {
        .number = atomic_fetch_add_explicit(&p->turn, 1, memory_order_relaxed),
        .affinity = a,
        .now_ms = UNLIKELY(p->timed) ? worker_current_ms() : 0,
        .tried = tried,
        .tried_count = tried_count,
    };
    rcu_enter();
    const struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    struct instance *i = v != NULL ? pool_choose(v, &t) : NULL;
    if (i != NULL)
        instance_lease(i);
    rcu_leave();
    return i;
}

bool pool_has_untried(struct pool *p, struct instance *const *tried, size_t tried_count)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    const struct policy_turn t = {
        .now_ms = p->timed ? worker_current_ms() : 0, .tried = tried, .tried_count = tried_count};
    rcu_enter();
    const struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    bool is_left = v != NULL && (v->normal->policy->pick(v->normal, &t) != NULL ||
                                 v->backup->policy->pick(v->backup, &t) != NULL);
    rcu_leave();
    return is_left;
}

/* ---- with max_connections ---- */

/* Policies know nothing of limits: who is full is to them like one that was tried. */
static enum pool_pick_result pool_choose_limited(const struct pool_view *v, struct policy_turn *t,
                                                 struct instance **left_out, struct instance **out)
{
    struct instance *const *tried = t->tried;
    struct policy_view *const halves[2] = {v->normal, v->backup};
    *out = t->affinity != NULL ? pool_pinned(v, t) : NULL;
    if (*out != NULL)
        return instance_is_full(*out) ? POOL_FULL : POOL_PICKED;
    for (size_t tried_count = t->tried_count;; tried_count = 0) {
        size_t count = tried_count;
        if (count > 0)
            memcpy(left_out, tried, count * sizeof *left_out);
        for (size_t i = 0; i < v->count; i++)
            if (instance_is_full(v->instances[i]))
                left_out[count++] = v->instances[i];
        for (unsigned h = 0; h < 2; h++) {
            t->tried = left_out;
            t->tried_count = count;
            if ((*out = halves[h]->policy->pick(halves[h], t)) != NULL)
                return POOL_PICKED;
            t->tried_count = tried_count; /* those come first in left_out */
            if (halves[h]->policy->pick(halves[h], t) != NULL)
                return POOL_FULL;
        }
        if (tried_count == 0)
            return POOL_EMPTY;
    }
}

#define POOL_RACES_MAX 16 /* lost to others who took the same last place; then it waits like them */

enum pool_pick_result pool_pick_limited(struct pool *p, const struct pool_affinity *a,
                                        struct instance *const *tried, size_t tried_count,
                                        struct instance **out)
{
    CHECK_MAGIC(p, POOL_MAGIC);
    enum pool_pick_result r = POOL_EMPTY;
    *out = NULL;
    rcu_enter();
    const struct pool_view *v = atomic_load(&p->view); /* in one order with queue_enter */
    struct instance **left_out = v != NULL ? malloc((tried_count + v->count) * sizeof *left_out + 1) : NULL;
    for (unsigned races = 0; left_out != NULL && races < POOL_RACES_MAX; races++) {
        struct policy_turn t = {
            .number = atomic_fetch_add_explicit(&p->turn, 1, memory_order_relaxed),
            .affinity = a,
            .now_ms = p->timed ? worker_current_ms() : 0,
            .tried = tried,
            .tried_count = tried_count,
        };
        r = pool_choose_limited(v, &t, left_out, out);
        if (r != POOL_PICKED || instance_lease_within_limit(*out))
            break;
        r = POOL_FULL;
        *out = a != NULL && (*out)->id == a->pin ? *out : NULL;
    }
    rcu_leave();
    free(left_out);
    return r;
}

bool pool_is_limited(const struct pool *p)
{
    return p->limited;
}

struct queue *pool_queue(struct pool *p)
{
    return p->queue;
}

const char *pool_balance_name(const struct pool *p)
{
    return p->policy->name;
}

bool pool_is_timed(const struct pool *p)
{
    return p->timed;
}

uint32_t pool_pin_of_value(const struct pool *p, slice_t value)
{
    uint32_t pin = 0;
    if (value.len != STICKY_CHARS)
        return 0;
    rcu_enter();
    const struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    for (size_t n = 0; v != NULL && v->pins != NULL && pin == 0 && n < v->count; n++)
        if (sticky_values_equal(v->pins[n].value, value.ptr))
            pin = v->pins[n].id;
    rcu_leave();
    return pin;
}

uint32_t pool_pin_of_instance(const struct pool *p, const struct instance *i, char value[STICKY_CHARS])
{
    uint32_t pin = 0;
    rcu_enter();
    const struct pool_view *v = atomic_load_explicit(&p->view, memory_order_acquire);
    for (size_t n = 0; v != NULL && v->pins != NULL && n < v->count; n++) {
        if (v->pins[n].id != i->id)
            continue;
        pin = i->id;
        memcpy(value, v->pins[n].value, STICKY_CHARS);
    }
    rcu_leave();
    return pin;
}
