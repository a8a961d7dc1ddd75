/* phase_remote.c: the store that nodes share, on the way of a request: the leader of a flight looks there
 * before it asks an instance, and what was fetched is put there.
 *
 * What is found fills the flight as a fetched response would, so that whoever waits gets it too, memory has
 * it from then on, and nothing is loaded twice. Anything else is a miss: the fetch goes on as if there were
 * no such store, with the conditions of what is stored here. What is stale there, where memory has nothing,
 * is brought back into memory, as stale as it is, and then everybody looks again: it is used, renewed or
 * confirmed as if it had been there. Rejected: asking the instance at the same time. It saves the few hundred
 * microseconds of a miss, and costs a request to the application for each page that another node has.
 *
 * A flight of one node is a flight of all: its leader waits while that of another node fetches, at most for
 * lock_timeout, and then takes what that brought. Who finds nothing holds the lease of the key from then on,
 * as `lease` of the exchange, until the response is on its way to the store, or it is clear that it will not
 * be: either nobody's would be (they all fetch for themselves), or the next one's may. Who looked and got
 * neither response nor lease fetches for his own node, and puts nothing there, since it may be older than
 * what another has put there by then.
 *
 * Not for what a client wants from the instance, nor for keys by a No-Vary-Search, which other nodes may not
 * know yet. A client that leaves cancels the look-up; who waits behind it looks again. */
#include "cache/guard.h"
#include "cache/remote_load.h"
#include "cache/remote_save.h"
#include "core/panic.h"
#include "core/rcu.h"
#include "proxy/deliver.h"
#include "proxy/phase.h"
#include "proxy/proxy_worker.h"

#define FRESHER_MS 1000 /* by how much another's response must outlive ours to take its place early */

/* It was asked, or is: what is fetched goes there under `lease` only. */
struct phase_remote_use {
    struct cache_remote_load *load;           /* under way */
    const struct cache_remote_loaded *loaded; /* during its callback */
    struct cache_lease *lease;                /* held; ends with the flight, or before */
    mono_ms_t wait_until_ms;                  /* for other nodes, however often it looks */
    bool restored;                            /* a stale response was brought back */
};

/* What has to be confirmed each time is not kept there. */
bool phase_remote_may_ask(const struct exchange *x, const struct cache_object *old)
{
    return x->no_vary == NULL && (old == NULL || !cache_object_info(old).fresh.revalidate_always);
}

void phase_remote_cancel(struct exchange *x)
{
    if (x->remote == NULL)
        return;
    cache_remote_load_cancel(&x->remote->load);
    cache_lease_cancel(&x->remote->lease);
}

void phase_remote_give_back(struct exchange *x)
{
    if (x->remote != NULL)
        cache_lease_cancel(&x->remote->lease);
}

static struct phase_remote_use *remote_use_new(struct exchange *x)
{
    x->remote = arena_calloc(&x->arena, sizeof *x->remote);
    if (x->remote != NULL)
        x->remote->wait_until_ms =
            worker_now_ms(x->pw->worker) + x->view->shared->config->cache.lock_timeout_ms;
    return x->remote;
}

bool phase_remote_inherit(struct exchange *x, struct exchange *of)
{
    if (of->remote == NULL)
        return true;
    if (remote_use_new(x) == NULL)
        return false;
    x->remote->lease = of->remote->lease;
    of->remote->lease = NULL;
    return true;
}

static void remote_on_end(void *arg, const struct cache_remote_loaded *loaded)
{
    struct exchange *x = arg;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_REMOTE);
    x->remote->load = NULL;
    x->remote->loaded = loaded;
    x->remote->lease = loaded->lease;
    phase_run(x);
}

static enum phase_result remote_miss(struct exchange *x)
{
    phase_set(x, PHASE_FETCH);
    return PHASE_MORE;
}

/* What is renewed before its end is fresh still: only something fresher ends that. */
dur_ms_t phase_remote_fresher_than_ms(dur_ms_t ours_left_ms)
{
    return ours_left_ms > 0 ? ours_left_ms + FRESHER_MS : 0;
}

static dur_ms_t remote_fresher_than_ms(const struct exchange *x, const struct cache_object *o)
{
    if (o == NULL)
        return 0;
    const struct cache_freshness ours = cache_object_info(o).fresh;
    return phase_remote_fresher_than_ms(cache_freshness_left_ms(&ours, x->pw->worker->now_wall_ms));
}

/* A stale response into memory; the flight ends, and who follows looks again, as this request does. */
static enum phase_result remote_restore(struct exchange *x, const struct cache_remote_loaded *loaded)
{
    enum no_store_reason why;
    loaded->fill->look_again = true;
    if (cache_fill_begin(x->flight, loaded->fill, &why) == NULL)
        return remote_miss(x);
    if (phase_store_put(x, loaded->body.ptr, loaded->body.len))
        cache_fill_finish(&x->flight);
    else
        cache_flight_fail(&x->flight, FETCH_CANCELLED);
    x->remote->restored = true;
    phase_set(x, PHASE_LOOKUP);
    return PHASE_MORE;
}

/* The flight has an object that cannot be filled. */
static enum phase_result remote_no_memory(struct exchange *x)
{
    cache_fill_abort(&x->flight);
    if (x->follower != NULL)
        cache_follower_close(&x->follower);
    x->object = NULL;
    x->source = SOURCE_NONE;
    x->no_store = NO_STORE_NO_MEMORY;
    if (x->client != NULL)
        return phase_answer_error(x, 503, "out of memory");
    phase_set(x, PHASE_LOG);
    return PHASE_MORE;
}

static enum phase_result remote_take(struct exchange *x, const struct cache_remote_loaded *loaded)
{
    enum no_store_reason why;
    x->remote->loaded = NULL;
    if (loaded->fill == NULL)
        return remote_miss(x);
    loaded->fill->max_object_bytes = x->route->rules.max_object_bytes;
    if (loaded->outcome == REMOTE_LOAD_STALE)
        return remote_restore(x, loaded);
    if (!guard_allows((enum no_store_reason)x->credentials, &loaded->fill->fresh))
        return remote_miss(x);
    x->object = cache_fill_begin(x->flight, loaded->fill, &why);
    if (x->object == NULL)
        return remote_miss(x);
    if (x->client != NULL)
        x->follower = cache_flight_follow(x->flight, x->pw->worker, phase_wait_on_event, x);
    if ((x->client != NULL && x->follower == NULL) || !phase_store_put(x, loaded->body.ptr, loaded->body.len))
        return remote_no_memory(x);
    exchange_set_object(x, x->object, SOURCE_FOLLOW);
    if (cache_fill_finish(&x->flight) == NO_STORE_STORED)
        cache_remote_let_go(x->pw->remote, x->object);
    x->partial = NULL;
    x->verdict = VERDICT_REDIS;
    phase_set(x, PHASE_DELIVER);
    return PHASE_MORE;
}

enum phase_result phase_remote(struct exchange *x)
{
    struct phase_remote_use *use = x->remote;
    if (use != NULL && use->loaded != NULL)
        return remote_take(x, use->loaded);
    if (use != NULL && use->load != NULL)
        return PHASE_PARK;
    if (use == NULL)
        use = remote_use_new(x);
    if (use == NULL || x->pw->remote == NULL)
        return remote_miss(x);
    const struct cache_object *ours = cache_look(x->pw->cache, &x->key, &x->req, &x->arena);
    const struct cache_remote_want want = {
        .key = &x->key,
        .request = &x->req,
        .fresher_than_ms = remote_fresher_than_ms(x, ours),
        .or_stale = !x->pw->remote->settings.alone && ours == NULL && x->stale == NULL &&
                    x->partial == NULL && !x->background && !use->restored,
        .wait_ms = MAX(use->wait_until_ms - worker_now_ms(x->pw->worker), 0),
        .on_end = remote_on_end,
        .arg = x,
    };
    const enum remote_load outcome = cache_remote_load(x->pw->remote, &want, &use->load);
    return outcome == REMOTE_LOAD_NONE ? PHASE_PARK : remote_miss(x);
}

/* ---- what was fetched ---- */

/* Without the lease it had to have: what is unfit in any case is only counted as such. */
static bool may_save(const struct exchange *x, const struct cache_object_info *i)
{
    return x->remote == NULL || x->remote->lease != NULL || cache_remote_is_unfit(x->pw->remote, i);
}

void phase_remote_save(struct exchange *x)
{
    struct cache_lease *none = NULL, **lease = x->remote != NULL ? &x->remote->lease : &none;
    rcu_enter();
    struct cache_object *o = cache_look(x->pw->cache, &x->key, &x->req, &x->arena);
    if (o != NULL) {
        const struct cache_object_info i = cache_object_info(o);
        if (may_save(x, &i) && head_text_field(i.head, HTTP_FIELD_NO_VARY_SEARCH).len == 0)
            cache_remote_save(x->pw->remote, o, lease);
        else
            cache_remote_let_go(x->pw->remote, o);
    }
    rcu_leave();
}

/* It will not be kept: would that of another request? */
static bool settle_as_pass(const struct exchange *x)
{
    if (x->status >= 500 || x->partial != NULL ||
        (x->credentials != NO_STORE_STORED && x->no_store == x->credentials))
        return false;
    switch ((enum no_store_reason)x->no_store) {
    case NO_STORE_NO_MEMORY:
    case NO_STORE_INCOMPLETE:
    case NO_STORE_PURGED:
    case NO_STORE_SUPERSEDED:
        return false;
    default:
        return true;
    }
}

void phase_remote_settle(struct exchange *x)
{
    struct cache_lease **lease = &x->remote->lease;
    if (*lease == NULL)
        return;
    if (x->flight != NULL && !cache_remote_is_unfit(x->pw->remote, &x->info))
        return; /* it is being stored */
    cache_lease_end(lease, settle_as_pass(x) ? CACHE_WAKE_PASS : CACHE_WAKE_FAILED);
}

void phase_remote_on_body(struct exchange *x)
{
    struct cache_lease **lease = &x->remote->lease;
    if (*lease != NULL && x->object != NULL &&
        cache_object_filled(x->object) > x->pw->remote->settings.max_object_bytes)
        cache_lease_end(lease, CACHE_WAKE_PASS);
}
