/* lease_hold.c: see lease.h. A lease while it is held, how it ends, and what becomes of one that nobody may
 * know of.
 *
 * A command without an answer may still be carried out, and leave a lease behind. An orphan gives it back, a
 * timeout later, since what goes over another connection may overtake; and again, until the lease must have
 * expired anyway. A put that is carried out late finds the lease ours, or writes nothing. */
#include "cache/lease_state.h"

#include <stdlib.h>

void cache_lease_set_state(struct cache_lease *l, enum lease_state to)
{
#define TO(s) (1u << LEASE_##s)
    static const unsigned next[LEASE_STATES] = {
        [LEASE_ASKING] = TO(WAITING) | TO(HELD) | TO(ORPHAN) | TO(OVER),
        [LEASE_WAITING] = TO(ASKING) | TO(OVER),
        [LEASE_HELD] = TO(LOST) | TO(PUTTING) | TO(OVER),
        [LEASE_LOST] = TO(OVER),
        [LEASE_PUTTING] = TO(ORPHAN) | TO(OVER),
        [LEASE_ORPHAN] = TO(OVER),
    };
#undef TO
    ASSERT(next[l->state] & 1u << to);
    l->state = to;
}

static void lease_free(void *arg)
{
    struct cache_lease *l = arg;
    l->magic = 0;
    free(l);
}

void cache_lease_bury(struct cache_lease *l)
{
    struct cache_leases *ls = l->leases;
    ls->owned -= l->state != LEASE_ORPHAN;
    cache_lease_set_state(l, LEASE_OVER);
    cache_wakes_remove(ls->wakes, &l->waiter);
    list_remove(&l->node);
    redis_call_cancel(&l->call);
    deadline_clear(ls->worker, &l->deadline);
    worker_bury(ls->worker, &l->grave, lease_free, l);
}

/* ---- giving back ---- */

bool cache_lease_give_back(const struct cache_lease *l, struct redis_call *call, enum cache_wake outcome)
{
    const struct cache_leases *ls = l->leases;
    return cache_lease_call_end(ls->settings.redis, call, &ls->scripts, &l->names, lease_token(l),
                                cache_wakes_channel(ls->wakes), slice_str(cache_wake_name(outcome)),
                                SLICE_EMPTY, 0);
}

void cache_lease_become_orphan(struct cache_lease *l)
{
    cache_wakes_remove(l->leases->wakes, &l->waiter);
    cache_lease_set_state(l, LEASE_ORPHAN);
    l->leases->owned--;
    list_push_back(&l->leases->orphans, &l->node);
}

void cache_lease_give_back_later(struct cache_lease *l)
{
    const struct cache_lease_settings *s = &l->leases->settings;
    if (lease_now_ms(l) < l->call_until_ms + s->ttl_ms)
        lease_set_deadline(l, lease_now_ms(l) + s->timeout_ms);
    else
        cache_lease_bury(l);
}

static void lease_on_given_back(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_lease *l = CONTAINER_OF(call, struct cache_lease, call);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    UNUSED(reply);
    if (o == REDIS_ANSWERED)
        cache_lease_bury(l);
    else
        cache_lease_give_back_later(l);
}

void cache_lease_give_back_now(struct cache_lease *l)
{
    l->call =
        (struct redis_call){.on_reply = lease_on_given_back, .timeout_ms = l->leases->settings.timeout_ms};
    if (!cache_lease_give_back(l, &l->call, CACHE_WAKE_FAILED))
        cache_lease_give_back_later(l);
}

/* ---- holding ---- */

static void lease_on_renewed(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply);

static dur_ms_t lease_renew_ms(const struct cache_lease *l)
{
    return MAX(l->leases->settings.ttl_ms / 3, 1);
}

static bool lease_send_renewal(struct cache_lease *l, enum redis_script_form form)
{
    const struct cache_leases *ls = l->leases;
    l->asked_ms = lease_now_ms(l);
    l->call = (struct redis_call){.on_reply = lease_on_renewed,
                                  .timeout_ms = MIN(ls->settings.timeout_ms, lease_renew_ms(l))};
    return cache_lease_call_renew(ls->settings.redis, &l->call, &ls->scripts, form, &l->names, lease_token(l),
                                  ls->settings.ttl_ms);
}

static void lease_on_renewed(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_lease *l = CONTAINER_OF(call, struct cache_lease, call);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    int64_t ours;
    if (redis_script_is_unknown(o, reply))
        lease_send_renewal(l, REDIS_WHOLE);
    if (o != REDIS_ANSWERED || !redis_reply_integer(reply, &ours))
        return; /* the next one may get through in time */
    if (ours == 1) {
        l->held_until_ms = l->asked_ms + l->leases->settings.ttl_ms;
        return;
    }
    l->leases->figures.lost++;
    cache_lease_set_state(l, LEASE_LOST);
    deadline_clear(l->leases->worker, &l->deadline);
}

void cache_lease_hold(struct cache_lease *l)
{
    struct cache_leases *ls = l->leases;
    cache_lease_set_state(l, LEASE_HELD);
    cache_wakes_remove(ls->wakes, &l->waiter);
    l->held_until_ms = l->asked_ms + ls->settings.ttl_ms;
    lease_set_deadline(l, l->asked_ms + lease_renew_ms(l));
    ls->figures.outcomes[CACHE_LEASE_HELD]++;
    l->on_result(l->arg, &(struct cache_lease_result){.outcome = CACHE_LEASE_HELD});
}

void cache_lease_renew(struct cache_lease *l)
{
    lease_set_deadline(l, lease_now_ms(l) + lease_renew_ms(l));
    if (l->call.conn == NULL)
        lease_send_renewal(l, REDIS_BY_SHA1);
}

/* ---- the end ---- */

bool cache_lease_is_held(const struct cache_lease *l)
{
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    return l->state == LEASE_HELD && lease_now_ms(l) < l->held_until_ms;
}

static void lease_on_put(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_lease *l = CONTAINER_OF(call, struct cache_lease, call);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    enum cache_lease_put put = o == REDIS_REFUSED ? CACHE_LEASE_REJECTED : CACHE_LEASE_UNKNOWN;
    int64_t ours;
    if (o == REDIS_ANSWERED && redis_reply_integer(reply, &ours))
        put = ours == 1 ? CACHE_LEASE_WRITTEN : CACHE_LEASE_FENCED;
    l->leases->figures.puts[put]++;
    if (put == CACHE_LEASE_WRITTEN || put == CACHE_LEASE_FENCED) {
        cache_lease_bury(l);
    } else { /* it may still be there */
        cache_lease_become_orphan(l);
        if (put == CACHE_LEASE_REJECTED)
            cache_lease_give_back_now(l);
        else
            cache_lease_give_back_later(l);
    }
    l->on_put(l->put_arg, put);
}

bool cache_lease_put(struct cache_lease **lp, slice_t record, dur_ms_t expire_ms,
                     void (*on_put)(void *arg, enum cache_lease_put put), void *arg)
{
    struct cache_lease *l = *lp;
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    struct cache_leases *ls = l->leases;
    ASSERT((l->state == LEASE_HELD || l->state == LEASE_LOST) && expire_ms > 0);
    redis_call_cancel(&l->call);
    l->call = (struct redis_call){.on_reply = lease_on_put, .timeout_ms = ls->settings.timeout_ms};
    l->call_until_ms = lease_now_ms(l) + ls->settings.timeout_ms;
    if (l->state == LEASE_LOST ||
        !cache_lease_call_end(ls->settings.redis, &l->call, &ls->scripts, &l->names, lease_token(l),
                              cache_wakes_channel(ls->wakes), slice_str(cache_wake_name(CACHE_WAKE_STORED)),
                              record, expire_ms)) {
        ls->figures.not_put++;
        cache_lease_cancel(lp);
        return false;
    }
    cache_lease_set_state(l, LEASE_PUTTING);
    deadline_clear(ls->worker, &l->deadline);
    l->on_put = on_put;
    l->put_arg = arg;
    return true;
}

void cache_lease_end(struct cache_lease **lp, enum cache_wake outcome)
{
    struct cache_lease *l = *lp;
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    ASSERT(l->state == LEASE_HELD || l->state == LEASE_LOST);
    ASSERT(outcome == CACHE_WAKE_PASS || outcome == CACHE_WAKE_FAILED);
    *lp = NULL;
    if (l->state == LEASE_HELD)
        cache_lease_give_back(l, NULL, outcome);
    cache_lease_bury(l);
}
