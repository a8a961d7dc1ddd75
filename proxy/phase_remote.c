/* phase_remote.c: the store that nodes share, on the way of a request: the leader of a flight looks there
 * before it asks an instance, and what was fetched is put there.
 *
 * What is found fills the flight as a fetched response would, so that whoever waits gets it too, memory has
 * it from then on, and nothing is loaded twice. Anything else is a miss: the fetch goes on as if there were
 * no such store, with the conditions of what is stored here. What is stale there is not used yet, not even to
 * be revalidated. Rejected: asking the instance at the same time. It saves the few hundred microseconds of a
 * miss, and costs a request to the application for each page that another node has.
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

struct phase_remote_use {
    struct cache_remote_load *load;           /* under way */
    const struct cache_remote_loaded *loaded; /* during its callback */
};

bool phase_remote_may_ask(const struct exchange *x)
{
    return x->no_vary == NULL;
}

void phase_remote_cancel(struct exchange *x)
{
    if (x->remote != NULL)
        cache_remote_load_cancel(&x->remote->load);
    x->remote = NULL;
}

static void remote_on_end(void *arg, const struct cache_remote_loaded *loaded)
{
    struct exchange *x = arg;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    ASSERT(x->phase == PHASE_REMOTE);
    x->remote->load = NULL;
    x->remote->loaded = loaded;
    phase_run(x);
}

/* What is renewed before its end is fresh still: only something fresher ends that. */
static bool remote_is_fresher(struct exchange *x, const struct cache_freshness *found)
{
    const wall_ms_t now_ms = x->pw->worker->now_wall_ms;
    const struct cache_object *o = cache_look(x->pw->cache, &x->key, &x->req, &x->arena);
    if (o == NULL)
        return true;
    const struct cache_freshness ours = cache_object_info(o).fresh;
    return cache_freshness_left_ms(found, now_ms) > cache_freshness_left_ms(&ours, now_ms) + FRESHER_MS;
}

static enum phase_result remote_miss(struct exchange *x)
{
    x->remote = NULL;
    phase_set(x, PHASE_FETCH);
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
    if (loaded->outcome != REMOTE_LOAD_FOUND)
        return remote_miss(x);
    if (!guard_allows((enum no_store_reason)x->credentials, &loaded->fill->fresh) ||
        !remote_is_fresher(x, &loaded->fill->fresh))
        return remote_miss(x);
    loaded->fill->max_object_bytes = x->route->rules.max_object_bytes;
    x->object = cache_fill_begin(x->flight, loaded->fill, &why);
    if (x->object == NULL)
        return remote_miss(x);
    x->remote = NULL;
    if (x->client != NULL)
        x->follower = cache_flight_follow(x->flight, x->pw->worker, phase_wait_on_event, x);
    if ((x->client != NULL && x->follower == NULL) || !phase_store_put(x, loaded->body.ptr, loaded->body.len))
        return remote_no_memory(x);
    exchange_set_object(x, x->object, SOURCE_FOLLOW);
    cache_fill_finish(&x->flight);
    x->partial = NULL;
    x->verdict = VERDICT_REDIS;
    phase_set(x, PHASE_DELIVER);
    return PHASE_MORE;
}

enum phase_result phase_remote(struct exchange *x)
{
    if (x->remote != NULL)
        return x->remote->loaded != NULL ? remote_take(x, x->remote->loaded) : PHASE_PARK;
    x->remote = arena_calloc(&x->arena, sizeof *x->remote);
    if (x->remote == NULL || x->pw->remote == NULL)
        return remote_miss(x);
    const enum remote_load outcome =
        cache_remote_load(x->pw->remote, &x->key, &x->req, remote_on_end, x, &x->remote->load);
    return outcome == REMOTE_LOAD_NONE ? PHASE_PARK : remote_miss(x);
}

void phase_remote_save(struct exchange *x)
{
    rcu_enter();
    struct cache_object *o = cache_look(x->pw->cache, &x->key, &x->req, &x->arena);
    if (o != NULL && head_text_field(cache_object_info(o).head, HTTP_FIELD_NO_VARY_SEARCH).len == 0)
        cache_remote_save(x->pw->remote, o);
    rcu_leave();
}
