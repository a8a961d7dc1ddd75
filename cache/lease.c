/* lease.c: see lease.h, and lease_script.h for what Redis does.
 *
 * One object from the question to the end of the lease, with one call and one deadline, which mean what the
 * state says. A question without an answer may still be carried out, and leave a lease that nobody knows of:
 * an orphan gives it back a timeout later, since what goes over another connection may overtake, and until it
 * has expired anyway.
 *
 * Which holders are waited for is counted by their tokens: one who renews his lease, or whose wake came for
 * somebody before him, is one. Whoever has waited for CACHE_LEASE_HOLDERS_MAX of them in vain fetches alone:
 * they failed one after the other, and queueing helps nobody. */
#include "cache/lease.h"

#include <stdlib.h>

#include "core/hash.h"
#include "core/panic.h"
#include "core/random.h"

#define CACHE_LEASES_MAGIC 0x6c656173u
#define CACHE_LEASE_MAGIC  0x6c656165u

enum lease_state {
    LEASE_ASKING,
    LEASE_WAITING,
    LEASE_HELD,
    LEASE_LOST,
    LEASE_PUTTING,
    LEASE_ORPHAN,
    LEASE_OVER,
    LEASE_STATES
};

/* Owned by who opened it; one worker's thread. */
struct cache_leases {
    uint32_t magic;
    /* set once */
    struct worker *worker;
    struct cache_lease_settings settings;
    struct cache_lease_scripts scripts;
    struct cache_wakes *wakes;
    /* worker's thread */
    struct list orphans;
    size_t owned; /* leases that are somebody's */
    uint64_t random;
    struct cache_lease_figures figures;
    struct grave grave;
};

/* Owned by who asked, until its result, end or cancel says that it is gone; an orphan by its leases. Freed at
 * the end of the turn. */
struct cache_lease {
    uint32_t magic;
    /* set once */
    struct cache_leases *leases;
    void (*on_result)(void *arg, const struct cache_lease_result *r);
    void *arg;
    struct cache_lease_names names;
    char token[CACHE_LEASE_TOKEN];
    mono_ms_t wait_until_ms;
    /* worker's thread */
    enum lease_state state;
    struct redis_call call; /* the question, a renewal, or the end */
    struct deadline deadline;
    mono_ms_t call_until_ms;
    struct cache_waiter waiter;  /* ASKING and WAITING, if there was room */
    enum cache_wake woken;       /* ASKING: what was heard since it was asked */
    char seen[CACHE_LEASE_TAIL]; /* what tells the record that is no use */
    size_t seen_bytes;
    char holder[CACHE_LEASE_TOKEN]; /* who was waited for last */
    unsigned holders;
    mono_ms_t asked_ms, held_until_ms; /* HELD: when the call under way was sent; known to be ours */
    void (*on_put)(void *arg, enum cache_lease_put put);
    void *put_arg;
    struct list node; /* ORPHAN */
    struct grave grave;
    char text[]; /* of the names */
};

const char *cache_lease_outcome_name(enum cache_lease_outcome o)
{
#define X(id, name, text) name,
    static const char *const names[] = {CACHE_LEASE_OUTCOMES(X)};
#undef X
    ASSERT((unsigned)o < CACHE_LEASE_OUTCOME_COUNT);
    return names[o];
}

static void lease_set_state(struct cache_lease *l, enum lease_state to)
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

static mono_ms_t lease_now_ms(const struct cache_lease *l)
{
    return worker_now_ms(l->leases->worker);
}

static void lease_set_deadline(struct cache_lease *l, mono_ms_t at_ms)
{
    deadline_set(l->leases->worker, &l->deadline, at_ms);
}

static slice_t lease_token(const struct cache_lease *l)
{
    return slice_make(l->token, sizeof l->token);
}

static void lease_free(void *arg)
{
    struct cache_lease *l = arg;
    l->magic = 0;
    free(l);
}

/* No callback runs any more. */
static void lease_bury(struct cache_lease *l)
{
    struct cache_leases *ls = l->leases;
    ls->owned -= l->state != LEASE_ORPHAN;
    lease_set_state(l, LEASE_OVER);
    cache_wakes_remove(ls->wakes, &l->waiter);
    list_remove(&l->node);
    redis_call_cancel(&l->call);
    deadline_clear(ls->worker, &l->deadline);
    worker_bury(ls->worker, &l->grave, lease_free, l);
}

/* ---- giving back -----------------------------------------------------------------------------------------
 */

/* Without effect when it is not ours. `call` may be NULL. */
static bool lease_give_back(const struct cache_lease *l, struct redis_call *call, enum cache_wake outcome)
{
    const struct cache_leases *ls = l->leases;
    return cache_lease_call_end(ls->settings.redis, call, &ls->scripts, &l->names, lease_token(l),
                                cache_wakes_channel(ls->wakes), slice_str(cache_wake_name(outcome)),
                                SLICE_EMPTY, 0);
}

static void lease_become_orphan(struct cache_lease *l)
{
    cache_wakes_remove(l->leases->wakes, &l->waiter);
    lease_set_state(l, LEASE_ORPHAN);
    l->leases->owned--;
    list_push_back(&l->leases->orphans, &l->node);
}

static void lease_give_back_later(struct cache_lease *l)
{
    const struct cache_lease_settings *s = &l->leases->settings;
    if (lease_now_ms(l) < l->call_until_ms + s->ttl_ms)
        lease_set_deadline(l, lease_now_ms(l) + s->timeout_ms);
    else
        lease_bury(l);
}

static void lease_on_given_back(struct redis_call *call, enum redis_outcome o, const struct redisReply *reply)
{
    struct cache_lease *l = CONTAINER_OF(call, struct cache_lease, call);
    CHECK_MAGIC(l, CACHE_LEASE_MAGIC);
    UNUSED(reply);
    if (o == REDIS_ANSWERED)
        lease_bury(l);
    else
        lease_give_back_later(l);
}

static void lease_give_back_now(struct cache_lease *l)
{
    l->call =
        (struct redis_call){.on_reply = lease_on_given_back, .timeout_ms = l->leases->settings.timeout_ms};
    if (!lease_give_back(l, &l->call, CACHE_WAKE_FAILED))
        lease_give_back_later(l);
}

/* The answer to the call never came. */
static bool lease_is_unanswered(enum redis_outcome o)
{
    return o != REDIS_ANSWERED && o != REDIS_REFUSED;
}

/* ---- asking ----------------------------------------------------------------------------------------------
 */

static void lease_finish(struct cache_lease *l, const struct cache_lease_result *r)
{
    l->leases->figures.outcomes[r->outcome]++;
    lease_bury(l);
    l->on_result(l->arg, r);
}

static void lease_finish_as(struct cache_lease *l, enum cache_lease_outcome outcome)
{
    lease_finish(l, &(struct cache_lease_result){.outcome = outcome});
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
        lease_set_state(l, LEASE_ASKING);
    deadline_clear(l->leases->worker, &l->deadline);
    if (!lease_ask_now(l))
        lease_finish_as(l, CACHE_LEASE_UNAVAILABLE);
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
    lease_set_state(l, LEASE_WAITING);
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

/* ---- holding ---------------------------------------------------------------------------------------------
 */

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
    lease_set_state(l, LEASE_LOST);
    deadline_clear(l->leases->worker, &l->deadline);
}

static void lease_hold(struct cache_lease *l)
{
    struct cache_leases *ls = l->leases;
    lease_set_state(l, LEASE_HELD);
    cache_wakes_remove(ls->wakes, &l->waiter);
    l->held_until_ms = l->asked_ms + ls->settings.ttl_ms;
    lease_set_deadline(l, l->asked_ms + lease_renew_ms(l));
    ls->figures.outcomes[CACHE_LEASE_HELD]++;
    l->on_result(l->arg, &(struct cache_lease_result){.outcome = CACHE_LEASE_HELD});
}

/* ---- events ----------------------------------------------------------------------------------------------
 */

static void lease_on_orphan_answer(struct cache_lease *l, enum redis_outcome o, bool ours)
{
    if (ours)
        lease_give_back_now(l);
    else if (lease_is_unanswered(o))
        lease_give_back_later(l);
    else
        lease_bury(l);
}

static void lease_on_silence(struct cache_lease *l)
{
    lease_become_orphan(l);
    lease_give_back_later(l);
    l->leases->figures.outcomes[CACHE_LEASE_UNAVAILABLE]++;
    l->on_result(l->arg, &(struct cache_lease_result){.outcome = CACHE_LEASE_UNAVAILABLE});
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
        lease_on_silence(l);
    else if (!understood)
        lease_finish_as(l, CACHE_LEASE_UNAVAILABLE);
    else if (a.kind == CACHE_LEASE_IS_STORED)
        lease_finish(l, &(struct cache_lease_result){CACHE_LEASE_FOUND, a.record, a.left_ms});
    else if (a.kind == CACHE_LEASE_IS_OURS)
        lease_hold(l);
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
        lease_give_back_now(l);
        return;
    }
    ASSERT(l->state == LEASE_HELD);
    lease_set_deadline(l, lease_now_ms(l) + lease_renew_ms(l));
    if (l->call.conn == NULL)
        lease_send_renewal(l, REDIS_BY_SHA1);
}

/* ---- for who asks ----------------------------------------------------------------------------------------
 */

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
        lease_bury(l);
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
        lease_become_orphan(l);
        return;
    }
    if (l->state == LEASE_HELD)
        lease_give_back(l, NULL, CACHE_WAKE_FAILED);
    lease_bury(l);
}

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
        lease_bury(l);
    } else { /* it may still be there */
        lease_become_orphan(l);
        if (put == CACHE_LEASE_REJECTED)
            lease_give_back_now(l);
        else
            lease_give_back_later(l);
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
    lease_set_state(l, LEASE_PUTTING);
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
        lease_give_back(l, NULL, outcome);
    lease_bury(l);
}

/* ---- life -------------------------------------------------------------------------------------------------
 */

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
        lease_bury(CONTAINER_OF(ls->orphans.next, struct cache_lease, node));
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
