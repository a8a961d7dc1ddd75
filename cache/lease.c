/* lease.c: see lease.h, lease_hold.c for what follows when it is ours, and lease_script.h for what Redis
 * does.
 *
 * One object from the question to the end of the lease, with one call and one deadline, which mean what the
 * state says.
 *
 * Which holders are waited for is counted by their tokens: one who renews his lease, or whose wake came for
 * somebody before him, is one. Whoever has waited for CACHE_LEASE_HOLDERS_MAX of them in vain fetches alone:
 * they failed one after the other, and queueing helps nobody. */
#include "cache/lease_state.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/random.h"

const char *cache_lease_outcome_name(enum cache_lease_outcome o)
{
#define X(id, name, text) name,
    static const char *const names[] = {CACHE_LEASE_OUTCOMES(X)};
#undef X
    ASSERT((unsigned)o < CACHE_LEASE_OUTCOME_COUNT);
    return names[o];
}

/* ---- asking ---- */

static void lease_finish(struct cache_lease *l, const struct cache_lease_result *r)
{
    l->leases->figures.outcomes[r->outcome]++;
    cache_lease_bury(l);
    l->on_result(l->arg, r);
}

static void lease_finish_as(struct cache_lease *l, enum cache_lease_outcome outcome)
{
    lease_finish(l, &(struct cache_lease_result){.outcome = outcome});
}

static void lease_finish_without(struct cache_lease *l, enum redis_outcome o)
{
    lease_finish(l, &(struct cache_lease_result){.outcome = CACHE_LEASE_UNAVAILABLE, .redis = o});
}

static void lease_on_answer(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply);

static bool lease_send_ask(struct cache_lease *l, enum redis_script_form form)
{
    const struct cache_leases *ls = l->leases;
    l->asked_ms = lease_now_ms(l);
    l->call = (struct redis_call){.on_reply = lease_on_answer,
                                  .timeout_ms = MAX(l->call_until_ms - l->asked_ms, 1)};
    return cache_lease_call_ask(ls->settings.redis, &l->call, &ls->scripts, form, &l->names, lease_token(l),
                                ls->settings.ttl_ms, slice_make(l->seen, l->seen_bytes));
}

static bool lease_ask_now(struct cache_lease *l)
{
    l->woken = CACHE_WAKE_NONE;
    l->call_until_ms = lease_now_ms(l) + l->leases->settings.timeout_ms;
    return lease_send_ask(l, REDIS_BY_SHA1);
}

static void lease_ask_again(struct cache_lease *l)
{
    if (l->state == LEASE_WAITING)
        cache_lease_set_state(l, LEASE_ASKING);
    deadline_clear(l->leases->worker, &l->deadline);
    if (!lease_ask_now(l))
        lease_finish_without(l, REDIS_LOST);
}

static dur_ms_t lease_poll_ms(struct cache_leases *ls)
{
    return CACHE_LEASE_POLL_MS + (dur_ms_t)(random_next(&ls->random) % (CACHE_LEASE_POLL_MS / 2));
}

static void lease_wait(struct cache_lease *l, dur_ms_t left_ms)
{
    struct cache_leases *ls = l->leases;
    dur_ms_t wait_ms = left_ms < 0 ? CACHE_LEASE_TTL_MAX_MS : MIN(left_ms, CACHE_LEASE_TTL_MAX_MS);
    if (l->woken == CACHE_WAKE_MISSED || !cache_wakes_is_up(ls->wakes))
        wait_ms = MIN(wait_ms, lease_poll_ms(ls));
    ls->figures.waits++;
    cache_lease_set_state(l, LEASE_WAITING);
    lease_set_deadline(l, MIN(lease_now_ms(l) + MAX(wait_ms, 1), l->wait_until_ms));
}

/* Whether one more holder may be waited for; the same one always. */
static bool lease_meet_holder(struct cache_lease *l, slice_t token)
{
    size_t bytes = MIN(token.len, sizeof l->holder);
    if (l->holders > 0 && bytes == sizeof l->holder && memcmp(l->holder, token.ptr, bytes) == 0)
        return true;
    memset(l->holder, 0, sizeof l->holder);
    memcpy(l->holder, token.ptr, bytes);
    return l->holders++ < CACHE_LEASE_HOLDERS_MAX;
}

static void lease_on_others(struct cache_lease *l, const struct cache_lease_answer *a)
{
    if (slice_eq(slice_make(l->seen, l->seen_bytes), CACHE_LEASE_ANY_TAIL)) { /* what is new from now on */
        memcpy(l->seen, a->tail.ptr, a->tail.len);
        l->seen_bytes = a->tail.len;
    }
    if (l->woken == CACHE_WAKE_PASS)
        lease_finish_as(l, CACHE_LEASE_PASSED);
    else if (!lease_meet_holder(l, a->holder) || list_empty(&l->waiter.node) ||
             lease_now_ms(l) >= l->wait_until_ms)
        lease_finish_as(l, CACHE_LEASE_ALONE);
    else if (l->woken == CACHE_WAKE_STORED || l->woken == CACHE_WAKE_FAILED)
        lease_ask_again(l);
    else
        lease_wait(l, a->left_ms);
}

static void lease_on_wake(struct cache_waiter *waiter, enum cache_wake wake)
{
    struct cache_lease *l = CONTAINER_OF(waiter, struct cache_lease, waiter);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    if (l->state == LEASE_ASKING) {
        if (wake != CACHE_WAKE_MISSED || l->woken == CACHE_WAKE_NONE)
            l->woken = wake;
    } else if (wake == CACHE_WAKE_MISSED) {
        lease_set_deadline(l, MIN(l->deadline.at_ms, lease_now_ms(l) + lease_poll_ms(l->leases)));
    } else if (wake == CACHE_WAKE_PASS) {
        lease_finish_as(l, CACHE_LEASE_PASSED);
    } else {
        lease_ask_again(l);
    }
}

/* ---- events ---- */

static void lease_on_orphan_answer(struct cache_lease *l, enum redis_outcome o, bool ours)
{
    if (ours)
        cache_lease_give_back_now(l);
    else if (lease_is_unanswered(o))
        cache_lease_give_back_later(l);
    else
        cache_lease_bury(l);
}

static void lease_on_silence(struct cache_lease *l, enum redis_outcome o)
{
    cache_lease_become_orphan(l);
    cache_lease_give_back_later(l);
    l->leases->figures.outcomes[CACHE_LEASE_UNAVAILABLE]++;
    l->on_result(l->arg, &(struct cache_lease_result){.outcome = CACHE_LEASE_UNAVAILABLE, .redis = o});
}

static void lease_on_answer(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_lease *l = CONTAINER_OF(call, struct cache_lease, call);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    struct cache_lease_answer a;
    bool understood = o == REDIS_ANSWERED && cache_lease_answer_parse(reply, &a);
    if (l->state == LEASE_ASKING && redis_script_is_unknown(o, reply) && lease_send_ask(l, REDIS_WHOLE))
        return;
    if (l->state == LEASE_ORPHAN)
        lease_on_orphan_answer(l, o, understood && a.kind == CACHE_LEASE_IS_OURS);
    else if (lease_is_unanswered(o))
        lease_on_silence(l, o);
    else if (!understood)
        lease_finish_without(l, o);
    else if (a.kind == CACHE_LEASE_IS_STORED)
        lease_finish(l, &(struct cache_lease_result){CACHE_LEASE_FOUND, a.record, a.left_ms, o});
    else if (a.kind == CACHE_LEASE_IS_OURS)
        cache_lease_hold(l);
    else
        lease_on_others(l, &a);
}

static void lease_on_deadline(struct deadline *d)
{
    struct cache_lease *l = CONTAINER_OF(d, struct cache_lease, deadline);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    if (l->state == LEASE_WAITING) {
        if (lease_now_ms(l) >= l->wait_until_ms)
            lease_finish_as(l, CACHE_LEASE_ALONE);
        else
            lease_ask_again(l);
        return;
    }
    if (l->state == LEASE_ORPHAN) {
        cache_lease_give_back_now(l);
        return;
    }
    ASSERT(l->state == LEASE_HELD);
    cache_lease_renew(l);
}

/* ---- for who asks ---- */

static void lease_make_token(char token[CACHE_LEASE_TOKEN])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char random[CACHE_LEASE_TOKEN / 2];
    hash_random(random, sizeof random);
    for (size_t i = 0; i < CACHE_LEASE_TOKEN; i++)
        token[i] = digits[random[i / 2] >> i % 2 * 4 & 0xf];
}

static void lease_set_seen(struct cache_lease *l, const struct cache_lease_request *rq)
{
    slice_t seen = SLICE_EMPTY;
    if (rq->want == CACHE_LEASE_ANYWAY)
        seen = CACHE_LEASE_ANY_TAIL;
    else if (rq->want == CACHE_LEASE_NEWER)
        seen = cache_lease_tail(rq->refused);
    memcpy(l->seen, seen.ptr, seen.len);
    l->seen_bytes = seen.len;
}

static struct cache_lease *lease_create(struct cache_leases *ls, const struct cache_lease_request *rq)
{
    slice_t prefix = ls->settings.prefix;
    struct cache_lease *l = calloc(1, sizeof *l + 2 * (prefix.len + CACHE_RECORD_NAME_BYTES));
    if (l == NULL)
        return NULL;
    l->magic = CACHE_LEASE_MAGIC;
    l->leases = ls;
    l->on_result = rq->on_result;
    l->arg = rq->arg;
    cache_lease_names_make(&l->names, l->text, prefix, rq->key);
    lease_make_token(l->token);
    lease_set_seen(l, rq);
    l->wait_until_ms = lease_now_ms(l) + rq->wait_ms;
    l->waiter = (struct cache_waiter){.hash = l->names.hash, .on_wake = lease_on_wake};
    list_init(&l->waiter.node);
    list_init(&l->node);
    deadline_init(&l->deadline, lease_on_deadline);
    ls->owned++;
    return l;
}

struct cache_lease *cache_lease_ask(struct cache_leases *ls, const struct cache_lease_request *rq)
{
    CHECK_MAGIC(ls, CACHE_LEASES_MAGIC);
    struct cache_lease *l = lease_create(ls, rq);
    if (l != NULL && rq->wait_ms > 0)
        cache_wakes_add(ls->wakes, &l->waiter); /* before it is asked, so that no wake is missed */
    if (l != NULL && lease_ask_now(l))
        return l;
    ls->figures.outcomes[CACHE_LEASE_UNAVAILABLE]++;
    if (l != NULL)
        cache_lease_bury(l);
    return NULL;
}

void cache_lease_cancel(struct cache_lease **lp)
{
    struct cache_lease *l = *lp;
    *lp = NULL;
    if (l == NULL)
        return;
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    if (l->state == LEASE_ASKING) { /* the answer may be that it is ours */
        cache_lease_become_orphan(l);
        return;
    }
    if (l->state == LEASE_HELD)
        cache_lease_give_back(l, NULL, CACHE_WAKE_FAILED);
    cache_lease_bury(l);
}

bool cache_lease_has_waited(const struct cache_lease *l)
{
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    return l->holders > 0;
}

bool cache_lease_is_of(const struct cache_lease *l, slice_t key)
{
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    char name[CACHE_RECORD_NAME_BYTES];
    const slice_t bare = cache_record_name(name, SLICE_EMPTY, key, CACHE_RECORD_HEAD);
    return slice_eq(slice_make(bare.ptr + 1, CACHE_LEASE_TOKEN), l->names.hash);
}

/* ---- life ---- */

struct cache_leases *cache_leases_open(struct worker *w, const struct cache_lease_settings *s)
{
    ASSERT(s->ttl_ms > 0 && s->ttl_ms <= CACHE_LEASE_TTL_MAX_MS && s->timeout_ms > 0);
    struct cache_leases *ls = calloc(1, sizeof *ls);
    if (ls == NULL)
        return NULL;
    ls->magic = CACHE_LEASES_MAGIC;
    ls->worker = w;
    ls->settings = *s;
    list_init(&ls->orphans);
    hash_random(&ls->random, sizeof ls->random);
    cache_lease_scripts_init(&ls->scripts);
    ls->wakes = cache_wakes_open(w, s->redis, s->prefix, s->waiters_max);
    if (ls->wakes == NULL) {
        free(ls);
        return NULL;
    }
    return ls;
}

void cache_leases_close(struct cache_leases **lsp)
{
    struct cache_leases *ls = *lsp;
    *lsp = NULL;
    if (ls == NULL)
        return;
    CHECK_MAGIC(ls, CACHE_LEASES_MAGIC);
    ASSERT(ls->owned == 0);
    while (!list_empty(&ls->orphans))
        cache_lease_bury(CONTAINER_OF(ls->orphans.next, struct cache_lease, node));
    cache_wakes_close(&ls->wakes);
    ls->magic = 0;
    worker_bury(ls->worker, &ls->grave, free, ls);
}

struct cache_lease_figures cache_leases_get_figures(const struct cache_leases *ls)
{
    struct cache_lease_figures f = ls->figures;
    f.wakes = cache_wakes_get_figures(ls->wakes);
    return f;
}
