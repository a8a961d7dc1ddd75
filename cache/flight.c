/* flight.c: see flight.h. Rejected: waiting followers on a condition or a lock held across the fetch; a
 * follower is a parked request that gets a mail. */
#include "cache/flight.h"

#include <stdlib.h>

#include "cache/follower.h"
#include "core/panic.h"

static size_t flight_charge(size_t key_bytes)
{
    return cache_memory_rounded(sizeof(struct cache_flight)) + cache_memory_rounded(key_bytes);
}

struct cache_flight *cache_flight_create(struct cache *c, struct cache_shard *sh,
                                         const struct cache_key *primary, const struct cache_key *whole)
{
    struct cache_flight *fl = cache_memory_alloc(sizeof *fl);
    char *key = cache_memory_alloc(whole->text.len);
    if (fl == NULL || key == NULL) {
        free(fl);
        free(key);
        return NULL;
    }
    memset(fl, 0, sizeof *fl);
    memcpy(key, whole->text.ptr, whole->text.len);
    fl->magic = FLIGHT_MAGIC;
    atomic_init(&fl->refs, 1);
    fl->cache = c;
    fl->shard = sh;
    fl->primary_hash = primary->hash;
    fl->primary_bytes = primary->text.len;
    if (UNLIKELY(memchr(primary->text.ptr, ' ', primary->text.len) != NULL))
        atomic_store(&c->keys_have_parts, true);
    fl->start_id = cache_inval_head(&c->inval);
    fl->key = key;
    fl->key_bytes = whole->text.len;
    fl->hash = whole->hash.lo;
    fl->charge = flight_charge(whole->text.len);
    list_init(&fl->node);
    list_init(&fl->followers);
    lock_init(&fl->lock, LOCK_CACHE_FILL);
    cache_account_charge(&c->account, fl->charge);
    atomic_fetch_add_explicit(&c->flights_now, 1, memory_order_relaxed);
    return fl;
}

void cache_flight_unref(struct cache_flight **flp)
{
    struct cache_flight *fl = *flp;
    *flp = NULL;
    if (fl == NULL || atomic_fetch_sub_explicit(&fl->refs, 1, memory_order_acq_rel) != 1)
        return;
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    ASSERT(list_empty(&fl->node) && list_empty(&fl->followers) && fl->leader_gone);
    cache_object_unref(&fl->object);
    cache_account_release(&fl->cache->account, fl->charge);
    atomic_fetch_sub_explicit(&fl->cache->flights_now, 1, memory_order_relaxed);
    lock_destroy(&fl->lock);
    fl->magic = 0;
    free(fl->key);
    free(fl);
}

struct cache_flight *cache_flight_find_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t key,
                                              uint64_t hash)
{
    lock_assert_held(&sh->lock);
    LIST_FOREACH (n, cache_shard_flights(sh, primary_hash)) {
        struct cache_flight *fl = CONTAINER_OF(n, struct cache_flight, node);
        if (fl->hash == hash && slice_eq(slice_make(fl->key, fl->key_bytes), key))
            return fl;
    }
    return NULL;
}

static bool flight_is_of_url(const struct cache_flight *fl, hash128_t primary_hash, slice_t primary)
{
    return hash_eq(fl->primary_hash, primary_hash) &&
           slice_eq(slice_make(fl->key, fl->primary_bytes), primary);
}

struct cache_flight *cache_flight_find_varying_locked(struct cache_shard *sh, const struct cache_key *primary)
{
    lock_assert_held(&sh->lock);
    LIST_FOREACH (n, cache_shard_flights(sh, primary->hash)) {
        struct cache_flight *fl = CONTAINER_OF(n, struct cache_flight, node);
        if (fl->varies != NULL && flight_is_of_url(fl, primary->hash, primary->text))
            return fl;
    }
    return NULL;
}

bool cache_flight_is_in_table_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t primary)
{
    LIST_FOREACH (n, cache_shard_flights(sh, primary_hash)) {
        if (flight_is_of_url(CONTAINER_OF(n, struct cache_flight, node), primary_hash, primary))
            return true;
    }
    return false;
}

void cache_flight_enter_locked(struct cache_flight *fl)
{
    lock_assert_held(&fl->shard->lock);
    list_push_front(cache_shard_flights(fl->shard, fl->primary_hash), &fl->node);
}

void cache_flight_leave_locked(struct cache_flight *fl)
{
    lock_assert_held(&fl->shard->lock);
    list_remove(&fl->node);
}

bool cache_flight_rekey_locked(struct cache_flight *fl, const struct cache_key *whole)
{
    lock_assert_held(&fl->shard->lock);
    char *key = cache_memory_alloc(whole->text.len);
    if (key == NULL)
        return false;
    memcpy(key, whole->text.ptr, whole->text.len);
    struct cache_flight *other =
        cache_flight_find_locked(fl->shard, fl->primary_hash, whole->text, whole->hash.lo);
    if (other != NULL && other != fl)
        cache_flight_leave_locked(fl);
    free(fl->key);
    fl->key = key;
    fl->key_bytes = whole->text.len;
    fl->hash = whole->hash.lo;
    size_t charge = flight_charge(whole->text.len);
    cache_account_charge(&fl->cache->account, charge);
    cache_account_release(&fl->cache->account, fl->charge);
    fl->charge = charge;
    return true;
}

void cache_flight_detach_url_locked(struct cache_shard *sh, hash128_t primary_hash, slice_t primary)
{
    lock_assert_held(&sh->lock);
    LIST_FOREACH_SAFE (n, tmp, cache_shard_flights(sh, primary_hash)) {
        struct cache_flight *fl = CONTAINER_OF(n, struct cache_flight, node);
        if (flight_is_of_url(fl, primary_hash, primary))
            cache_flight_leave_locked(fl);
    }
}

void cache_flight_set_state_locked(struct cache_flight *fl, enum cache_flight_state state)
{
#define TO(s) (1u << FLIGHT_##s)
    static const uint16_t legal[FLIGHT_STATES] = {
        [FLIGHT_FETCHING] = TO(FILLING) | TO(COMPLETE) | TO(RELEASED) | TO(FAILED) | TO(RETRIED),
        [FLIGHT_FILLING] = TO(WINDOW) | TO(COMPLETE) | TO(CUT),
        [FLIGHT_WINDOW] = TO(COMPLETE) | TO(CUT),
    };
#undef TO
    lock_assert_held(&fl->lock);
    ASSERT((legal[fl->state] >> state) & 1);
    fl->state = (uint8_t)state;
    if (state == FLIGHT_WINDOW)
        atomic_store(&fl->windowed, true);
}

void cache_mails_post(struct cache_mails *mails)
{
    while (mails->first != NULL) {
        struct cache_mail *m = CONTAINER_OF(mails->first, struct cache_mail, mail);
        mails->first = m->mail.next;
        worker_post(m->to, &m->mail);
    }
}
