/* follower.c: see follower.h. */
#include "cache/follower.h"

#include <stdlib.h>

#include "core/panic.h"

struct cache_follower *cache_follower_create(struct cache *c, struct cache_flight *fl, struct worker *w,
                                             void (*on_event)(void *arg, enum cache_event event), void *arg)
{
    struct cache_follower *f = cache_memory_alloc(sizeof *f);
    if (f == NULL)
        return NULL;
    memset(f, 0, sizeof *f);
    f->magic = FOLLOWER_MAGIC;
    f->on_event = on_event;
    f->arg = arg;
    f->cache = c;
    f->join_id = cache_inval_head(&c->inval);
    f->mail.to = w;
    list_init(&f->node);
    if (fl != NULL) {
        atomic_fetch_add_explicit(&fl->refs, 1, memory_order_relaxed);
        f->flight = fl;
    }
    atomic_fetch_add_explicit(&c->followers_now, 1, memory_order_relaxed);
    return f;
}

static void follower_free(struct cache_follower *f)
{
    f->magic = 0;
    free(f);
}

/* The one setter. Under the flight's lock where there is a flight. */
static void follower_set_state(struct cache_follower *f, enum cache_follower_state state)
{
#define TO(s) (1u << FOLLOWER_##s)
    static const uint8_t legal[FOLLOWER_STATES] = {
        [FOLLOWER_WAITING] = TO(CALLED) | TO(READING),
        [FOLLOWER_CALLED] = TO(READING) | TO(DONE) | TO(ORPHAN),
        [FOLLOWER_READING] = TO(ARMED) | TO(WOKEN),
        [FOLLOWER_ARMED] = TO(WOKEN) | TO(READING),
        [FOLLOWER_WOKEN] = TO(READING) | TO(ORPHAN),
    };
#undef TO
    ASSERT((legal[f->state] >> state) & 1);
    f->state = (uint8_t)state;
}

static void follower_on_mail(struct worker *w, struct mail *m)
{
    struct cache_follower *f = CONTAINER_OF(m, struct cache_follower, mail.mail);
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    ASSERT(w == f->mail.to);
    struct cache_flight *fl = f->flight;
    if (fl != NULL)
        lock_take(&fl->lock);
    if (f->state == FOLLOWER_ORPHAN) {
        ASSERT(fl == NULL);
        follower_free(f);
        return;
    }
    enum cache_event event = (enum cache_event)f->event;
    bool reads = f->state == FOLLOWER_WOKEN || event == CACHE_EVENT_OBJECT;
    follower_set_state(f, reads ? FOLLOWER_READING : FOLLOWER_DONE);
    if (fl != NULL)
        lock_drop(&fl->lock);
    f->on_event(f->arg, event);
}

void cache_follower_attach_locked(struct cache_follower *f, bool own, struct cache_mails *mails)
{
    struct cache_flight *fl = f->flight;
    lock_assert_held(&fl->lock);
    f->own = own;
    list_push_back(&fl->followers, &f->node);
    fl->follower_count++;
    fl->own_count += own;
    if (own)
        follower_set_state(f, FOLLOWER_READING);
    else if (fl->state != FLIGHT_FETCHING && !fl->head_held)
        cache_follower_call_locked(f, CACHE_EVENT_OBJECT, mails);
}

static void follower_detach_locked(struct cache_follower *f)
{
    if (list_empty(&f->node))
        return;
    list_remove(&f->node);
    f->flight->follower_count--;
    f->flight->own_count -= f->own;
}

void cache_follower_call_locked(struct cache_follower *f, enum cache_event event, struct cache_mails *mails)
{
    follower_set_state(f, FOLLOWER_CALLED);
    f->event = (uint8_t)event;
    if (event != CACHE_EVENT_OBJECT)
        follower_detach_locked(f);
    f->mail.mail.on_mail = follower_on_mail;
    cache_mails_add(mails, &f->mail);
}

static void follower_rouse_locked(struct cache_follower *f, enum cache_event event, struct cache_mails *mails)
{
    follower_set_state(f, FOLLOWER_WOKEN);
    f->event = (uint8_t)event;
    f->mail.mail.on_mail = follower_on_mail;
    cache_mails_add(mails, &f->mail);
}

void cache_follower_wake_locked(struct cache_follower *f, enum cache_event event, struct cache_mails *mails)
{
    if (f->state == FOLLOWER_ARMED)
        follower_rouse_locked(f, event, mails);
}

void cache_follower_ask_to_leave_locked(struct cache_follower *f, struct cache_mails *mails)
{
    if (f->state == FOLLOWER_READING)
        follower_rouse_locked(f, CACHE_EVENT_BEHIND, mails);
}

void cache_follower_call_retry(struct cache_follower *f)
{
    ASSERT(f->flight == NULL);
    struct cache_mails mails = {NULL};
    cache_follower_call_locked(f, CACHE_EVENT_RETRY, &mails);
    cache_mails_post(&mails);
}

struct cache_object *cache_follower_object(struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    ASSERT(f->flight != NULL && f->flight->object != NULL);
    return f->flight->object;
}

bool cache_follower_is_loaded(const struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    return f->flight->loaded;
}

enum fetch_error cache_follower_error(const struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    if (f->flight == NULL)
        return FETCH_NONE;
    lock_take(&f->flight->lock);
    enum fetch_error error = (enum fetch_error)f->flight->error;
    lock_drop(&f->flight->lock);
    return error;
}

unsigned cache_follower_status(const struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    if (f->flight == NULL)
        return 0;
    lock_take(&f->flight->lock);
    unsigned status = f->flight->failed_status;
    lock_drop(&f->flight->lock);
    return status;
}

bool cache_follower_is_cut(const struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    ASSERT(f->flight != NULL && f->flight->object != NULL);
    return cache_object_state(f->flight->object) == CACHE_CUT;
}

static void follower_slide(struct cache_flight *fl)
{
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    cache_flight_slide_locked(fl, &mails);
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
}

void cache_follower_set_offset(struct cache_follower *f, uint64_t offset)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    ASSERT(f->flight != NULL && offset >= atomic_load_explicit(&f->offset, memory_order_relaxed));
    atomic_store_explicit(&f->stalled, false, memory_order_relaxed);
    /* Sequentially consistent on both sides: either the leader that opens the window sees the offset, or this
     * sees the window. */
    atomic_store(&f->offset, offset);
    if (UNLIKELY(atomic_load(&f->flight->windowed)))
        follower_slide(f->flight);
}

bool cache_follower_in_window(const struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    return atomic_load_explicit(&f->flight->windowed, memory_order_relaxed);
}

void cache_follower_set_stalled(struct cache_follower *f)
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    atomic_store(&f->stalled, true); /* as the offset */
    if (UNLIKELY(atomic_load(&f->flight->windowed)))
        follower_slide(f->flight);
}

bool cache_follower_arm(struct cache_follower *f, uint64_t offset)
{
    cache_follower_set_offset(f, offset);
    struct cache_flight *fl = f->flight;
    lock_take(&fl->lock);
    ASSERT(f->state == FOLLOWER_READING || f->state == FOLLOWER_ARMED || f->state == FOLLOWER_WOKEN);
    bool wait = cache_object_state(fl->object) == CACHE_FILLING && cache_object_filled(fl->object) <= offset;
    if (wait && f->state == FOLLOWER_READING)
        follower_set_state(f, FOLLOWER_ARMED);
    else if (!wait && f->state == FOLLOWER_ARMED)
        follower_set_state(f, FOLLOWER_READING);
    lock_drop(&fl->lock);
    return wait;
}

void cache_follower_close(struct cache_follower **fp)
{
    struct cache_follower *f = *fp;
    *fp = NULL;
    if (f == NULL)
        return;
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    struct cache_flight *fl = f->flight;
    struct cache_mails mails = {NULL};
    if (fl != NULL) {
        lock_take(&fl->lock);
        follower_detach_locked(f);
        cache_flight_slide_locked(fl, &mails);
    }
    bool mailed = f->state == FOLLOWER_CALLED || f->state == FOLLOWER_WOKEN;
    if (mailed)
        follower_set_state(f, FOLLOWER_ORPHAN);
    f->flight = NULL;
    atomic_fetch_sub_explicit(&f->cache->followers_now, 1, memory_order_relaxed);
    if (fl != NULL)
        lock_drop(&fl->lock);
    cache_mails_post(&mails);
    cache_flight_unref(&fl);
    if (!mailed)
        follower_free(f);
}
