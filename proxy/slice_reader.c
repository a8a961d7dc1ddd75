/* slice_reader.c: one who reads a slice (slices.h): looks it up, waits for its fetch, begins that where there
 * is none. Worker's thread.
 *
 * A reader is a follower like any other, also of the fetch that was begun for it, which is another
 * exchange's. What it has found it holds by a reference, so that eviction does not take a slice away under a
 * response. Its callback is the follower's: it notes what came, and has the exchange run on only if that
 * waits for this slice, not the one ahead. */
#include "cache/guard.h"
#include "cache/stale.h"
#include "core/panic.h"
#include "proxy/client.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"

static void reader_set_state(struct slice_reader *r, enum slice_state state)
{
#define TO(s) (1u << SLICE_##s)
    static const uint8_t legal[SLICE_STATES] = {
        [SLICE_CLOSED] = TO(READY) | TO(WAITS) | TO(FAILED) | TO(CLOSED),
        [SLICE_WAITS] = TO(READY) | TO(FAILED) | TO(CLOSED),
        [SLICE_READY] = TO(CLOSED),
        [SLICE_FAILED] = TO(READY) | TO(CLOSED),
    };
#undef TO
    ASSERT((legal[r->state] >> state) & 1);
    r->state = (uint8_t)state;
}

void slice_reader_close(struct slice_reader *r)
{
    struct exchange *fetch = r->fetch;
    r->fetch = NULL;
    if (r->follower != NULL)
        cache_follower_close(&r->follower);
    if (r->x->object == r->object)
        r->x->object = NULL;
    cache_object_unref(&r->object);
    cache_object_unref(&r->stale);
    reader_set_state(r, SLICE_CLOSED);
    if (fetch != NULL)
        slice_fetch_leave(fetch, r->x);
}

static void reader_fail(struct slice_reader *r, enum slice_failure failure, enum no_store_reason why)
{
    r->failure = (uint8_t)failure;
    r->why = (uint8_t)why;
    reader_set_state(r, SLICE_FAILED);
}

void slice_reader_tell(struct slice_reader *r, enum slice_failure failure, enum no_store_reason why,
                       enum fetch_error error, unsigned status)
{
    if (r->told || r->state != SLICE_WAITS)
        return;
    r->told = true;
    r->failure = (uint8_t)failure;
    r->why = (uint8_t)why;
    r->error = (uint8_t)error;
    r->status = (uint16_t)status;
}

static void reader_take(struct slice_reader *r, struct cache_object *o, bool aged)
{
    r->object = cache_object_ref(o);
    r->aged = aged;
    reader_set_state(r, SLICE_READY);
}

/* What the fetch has brought, perhaps not yet to its end. To be used without asking it must be fresh, unless
 * it was asked for on behalf of this request. */
static void reader_accept(struct slice_reader *r)
{
    struct exchange *x = r->x;
    struct cache_object *o = cache_follower_object(r->follower);
    const struct cache_freshness fresh = cache_object_info(o).fresh;
    r->fetched = true;
    if (!guard_allows((enum no_store_reason)x->credentials, &fresh))
        reader_fail(r, SLICE_ALONE, (enum no_store_reason)x->credentials);
    else if (!r->led && !cache_freshness_is_fresh(&fresh, x->pw->worker->now_wall_ms))
        reader_fail(r, SLICE_AGAIN, NO_STORE_NOT_FRESH);
    else
        reader_take(r, o, false);
    if (r->state == SLICE_READY && r == slices_ahead(x->slices))
        cache_follower_set_stalled(
            r->follower); /* who reads what memory was short for does not wait for it */
}

/* The fetch has ended without an object. */
static void reader_failed(struct slice_reader *r)
{
    if (r->told) {
        reader_set_state(r, SLICE_FAILED);
        return;
    }
    r->error = (uint8_t)cache_follower_error(r->follower);
    r->status = (uint16_t)cache_follower_status(r->follower);
    const bool again = r->error == FETCH_CANCELLED || r->error == FETCH_NONE;
    reader_fail(r, again ? SLICE_AGAIN : SLICE_ERROR, NO_STORE_FETCH_FAILED);
}

/* It reads what could not be kept, for want of memory, and holds up others: it looks again, and goes on where
 * it was. */
static bool reader_leave(struct slice_reader *r)
{
    if (r == slices_current(r->x->slices) && (!client_is_blocked(r->x) || r->x->client == NULL))
        return true;
    if (r == slices_current(r->x->slices) && !client_own(r->x)) {
        client_abort(r->x, CLOSE_NO_MEMORY);
        return false;
    }
    slice_reader_close(r);
    return true;
}

static void reader_on_event(void *arg, enum cache_event event)
{
    struct slice_reader *r = arg;
    struct exchange *x = r->x;
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    worker_refresh_clock(x->pw->worker);
    switch (event) {
    case CACHE_EVENT_OBJECT:
        reader_accept(r);
        break;
    case CACHE_EVENT_PASS:
        if (r->told)
            reader_set_state(r, SLICE_FAILED);
        else if (r->led)
            reader_fail(r, SLICE_ALONE, NO_STORE_PASS_REMEMBERED);
        else
            reader_fail(r, SLICE_UNSLICED, NO_STORE_NOT_SLICEABLE);
        break;
    case CACHE_EVENT_RETRY:
        reader_fail(r, SLICE_AGAIN, NO_STORE_NOT_SLICEABLE);
        break;
    case CACHE_EVENT_FAILED:
        if (r->state == SLICE_WAITS)
            reader_failed(r); /* else what there is goes out first */
        break;
    case CACHE_EVENT_PROGRESS:
        break;
    case CACHE_EVENT_BEHIND:
        if (!reader_leave(r))
            return;
        break;
    }
    if (r == slices_current(x->slices) && (x->phase == PHASE_SLICES || x->phase == PHASE_DELIVER))
        phase_run(x);
}

/* Follows the fetch of the slice, which it begins where there is none. `needed`: even when there are many. */
static void reader_join(struct slice_reader *r, const struct cache_key *key, struct cache_object *stale,
                        bool needed)
{
    struct exchange *x = r->x;
    struct cache_flight *lead = NULL;
    struct cache_join_result j = {.what = CACHE_LEAD};
    for (int i = 0; i < 2 && j.what == CACHE_LEAD; i++) { /* twice: to lead, and then to follow that */
        const bool surely = needed || lead != NULL; /* else a response would be cut, or nobody could lead */
        j = (surely ? cache_join_surely : cache_join)(x->pw->cache, key, &x->req, &x->slices->scratch, stale,
                                                      x->pw->worker, reader_on_event, r);
        if (j.what == CACHE_LEAD && lead != NULL) /* purged in between */
            cache_flight_fail(&lead, FETCH_CANCELLED);
        if (j.what == CACHE_LEAD)
            lead = j.flight;
    }
    if (j.what == CACHE_FOLLOW && (lead == NULL || needed || !slice_fetch_is_crowded(x))) {
        r->follower = j.follower;
        r->stale = stale != NULL ? cache_object_ref(stale) : NULL;
        r->led = lead != NULL;
        reader_set_state(r, SLICE_WAITS);
        if (lead != NULL)
            slice_fetch_begin(x, &lead, key, r->index, stale, r);
        return;
    }
    if (j.what == CACHE_FOLLOW)
        cache_follower_close(&j.follower);
    if (lead != NULL)
        cache_flight_fail(&lead, FETCH_CANCELLED);
    reader_fail(r, j.what == CACHE_LEAD ? SLICE_AGAIN : SLICE_ALONE,
                j.what == CACHE_PASS ? j.why : NO_STORE_WAIT_LIMIT);
}

/* While what is past its freshness is served. */
static void renew_behind(struct slice_reader *r, const struct cache_key *key, struct cache_object *o)
{
    struct exchange *x = r->x;
    struct cache_flight *fl = NULL;
    if (!slice_fetch_is_crowded(x))
        fl = cache_lead(x->pw->cache, key, &x->req, &x->slices->scratch, o);
    if (fl != NULL)
        slice_fetch_begin(x, &fl, key, r->index, o, NULL);
}

static dur_ms_t past_ms(const struct exchange *x, const struct cache_object_info *i)
{
    return -cache_freshness_left_ms(&i->fresh, x->pw->worker->now_wall_ms);
}

/* Inside the RCU section of phase_run. */
void slice_reader_open(struct slice_reader *r, uint64_t index, bool needed)
{
    struct exchange *x = r->x;
    struct slices *s = x->slices;
    struct cache_key key;
    enum no_store_reason pass;
    ASSERT(r->state == SLICE_CLOSED);
    *r = (struct slice_reader){.x = x, .index = index};
    arena_reset(&s->scratch);
    slicing_key(&x->key, s->slice_bytes, index, s->key_buffer, &key);
    struct cache_object *o = cache_find(x->pw->cache, &key, &x->req, &s->scratch, &pass);
    if (o == NULL) {
        reader_join(r, &key, NULL, needed);
        return;
    }
    const struct cache_object_info info = cache_object_info(o);
    if (!guard_allows((enum no_store_reason)x->credentials, &info.fresh)) {
        reader_fail(r, SLICE_ALONE, (enum no_store_reason)x->credentials);
    } else if (cache_freshness_is_fresh(&info.fresh, x->pw->worker->now_wall_ms)) {
        reader_take(r, o, false);
    } else if (past_ms(x, &info) < cache_stale_of_stored(&info, &x->route->rules).while_revalidate_ms) {
        reader_take(r, o, true);
        renew_behind(r, &key, o);
    } else {
        reader_join(r, &key, o, needed);
    }
}

bool slice_reader_may_stand_in(const struct slice_reader *r)
{
    if (r->stale == NULL)
        return false;
    const struct cache_object_info info = cache_object_info(r->stale);
    return past_ms(r->x, &info) < cache_stale_of_stored(&info, &r->x->route->rules).if_error_ms;
}

bool slice_reader_stand_in(struct slice_reader *r)
{
    if (r->failure != SLICE_ERROR || r->status == 416 || !slice_reader_may_stand_in(r))
        return false;
    cache_follower_close(&r->follower);
    r->fetched = false;
    reader_take(r, r->stale, true);
    return true;
}
