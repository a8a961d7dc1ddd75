/* window.c: a body that outgrew what may be stored, on its way to those who read it already. Nobody can join
 * them any more.
 *
 * The window begins where the slowest reader is, and the leader pauses when it has become too long. Then
 * either all wait for their clients, which is plain back-pressure to the instance, or one has all there is
 * and waits for the others. Those are asked to leave (CACHE_EVENT_BEHIND): each goes on with a fetch of its
 * own, and the rest at their pace. Asked is only whose client takes no more, since a reader whose worker is
 * merely busy will catch up by itself; and only the hindmost, up to a window from the beginning, so that what
 * each of them does on leaving is bounded.
 *
 * Who has left must know, when nothing else tells, that a second response is the one he was reading: by the
 * digest of what he has been given. What the window leaves behind is hashed for that, as long as there is
 * more than one reader, a piece with each step of any of them. When the window opens all from the first byte
 * on is there to be hashed; until that is done, the window begins where the digest is, and a paused leader
 * wakes himself, once per turn, for the next piece. Rejected: a digest per reader (hashing as often as there
 * are readers), and hashing bodies before they outgrow the limit (few ever do). */
#include "cache/fill.h"

#include "core/panic.h"

#define DIGEST_STEP (128 * KB) /* twice the largest chunk of a window; a tenth of a millisecond */

struct survey {
    uint64_t filled, slowest;
    bool waited_for; /* a reader has all there is */
};

static struct survey window_survey(const struct cache_flight *fl)
{
    struct survey s = {.filled = cache_object_filled(fl->object)};
    s.slowest = s.filled;
    LIST_FOREACH (n, &fl->followers) {
        uint64_t offset = atomic_load(&CONTAINER_OF(n, struct cache_follower, node)->offset);
        s.slowest = MIN(s.slowest, offset);
        s.waited_for = s.waited_for || offset >= s.filled;
    }
    return s;
}

static void digest_body(struct digest *d, const struct cache_object *o, uint64_t from, uint64_t to)
{
    struct iovec iov[8];
    while (from < to) {
        size_t n = cache_object_iov(o, from, iov, ARRAY_LEN(iov));
        ASSERT(n > 0);
        for (size_t i = 0; i < n && from < to; i++) {
            size_t bytes = (size_t)MIN((uint64_t)iov[i].iov_len, to - from);
            digest_add(d, iov[i].iov_base, bytes);
            from += bytes;
        }
    }
}

void cache_flight_open_window_locked(struct cache_flight *fl)
{
    lock_assert_held(&fl->lock);
    if (fl->follower_count > 1)
        fl->digest = digest_new();
}

/* Where the window may begin. */
static uint64_t window_start_locked(struct cache_flight *fl, uint64_t slowest)
{
    if (fl->digest == NULL)
        return slowest;
    if (fl->follower_count < 2) {
        digest_free(&fl->digest);
        return slowest;
    }
    ASSERT(fl->hashed <= slowest);
    uint64_t end = MIN(slowest, fl->hashed + DIGEST_STEP);
    digest_body(fl->digest, fl->object, fl->hashed, end);
    fl->hashed = end;
    return end;
}

static void window_ask_to_leave_locked(struct cache_flight *fl, const struct survey *s,
                                       struct cache_mails *mails)
{
    LIST_FOREACH (n, &fl->followers) {
        struct cache_follower *f = CONTAINER_OF(n, struct cache_follower, node);
        uint64_t offset = atomic_load(&f->offset);
        if (s->filled - MIN(offset, s->filled) > CACHE_WINDOW_BYTES &&
            offset <= s->slowest + CACHE_WINDOW_BYTES && atomic_load(&f->stalled))
            cache_follower_ask_to_leave_locked(f, mails);
    }
}

static void flight_on_room_mail(struct worker *w, struct mail *m)
{
    UNUSED(w);
    struct cache_flight *fl = CONTAINER_OF(m, struct cache_flight, room_mail.mail);
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    lock_take(&fl->lock);
    fl->room = ROOM_NONE;
    void (*on_room)(void *arg) = fl->on_room;
    void *arg = fl->room_arg;
    lock_drop(&fl->lock);
    bool gone = fl->leader_gone;
    cache_flight_unref(&fl);
    if (!gone)
        on_room(arg);
}

static __attribute__((noinline)) void window_slide_locked(struct cache_flight *fl, struct cache_mails *mails)
{
    ASSERT(fl->object->kind == CACHE_BODY_SHARED);
    const struct survey s = window_survey(fl);
    const uint64_t start = window_start_locked(fl, s.slowest), bytes = s.filled - start;
    cache_body_trim(fl->object->body, start);
    if (fl->room != ROOM_WANTED)
        return;
    if (bytes > CACHE_WINDOW_BYTES / (s.waited_for ? 1 : 2) && start == s.slowest) {
        if (s.waited_for)
            window_ask_to_leave_locked(fl, &s, mails);
        return;
    }
    fl->room = ROOM_POSTED;
    atomic_fetch_add_explicit(&fl->refs, 1, memory_order_relaxed);
    fl->room_mail.mail.on_mail = flight_on_room_mail;
    cache_mails_add(mails, &fl->room_mail);
}

void cache_flight_slide_locked(struct cache_flight *fl, struct cache_mails *mails)
{
    lock_assert_held(&fl->lock);
    if (UNLIKELY(atomic_load_explicit(&fl->windowed, memory_order_relaxed)))
        window_slide_locked(fl, mails);
}

static __attribute__((noinline)) bool window_is_full(struct cache_flight *fl, void (*on_room)(void *arg),
                                                     void *arg, struct worker *w)
{
    struct cache_mails mails = {NULL};
    lock_take(&fl->lock);
    const uint64_t slowest = window_survey(fl).slowest;
    const uint64_t start = fl->digest != NULL ? MIN(fl->hashed, slowest) : slowest;
    bool pause = cache_object_filled(fl->object) - start > CACHE_WINDOW_BYTES;
    if (pause && fl->room != ROOM_POSTED) {
        fl->room = ROOM_WANTED;
        fl->on_room = on_room;
        fl->room_arg = arg;
        fl->room_mail.to = w;
        window_slide_locked(fl, &mails);
    }
    lock_drop(&fl->lock);
    cache_mails_post(&mails);
    return pause;
}

bool cache_fill_should_pause(struct cache_flight *fl, void (*on_room)(void *arg), void *arg, struct worker *w)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    return UNLIKELY(fl->state == FLIGHT_WINDOW) && window_is_full(fl, on_room, arg, w);
}

void cache_fill_set_leader(struct cache_flight *fl, void *arg)
{
    CHECK_MAGIC(fl, FLIGHT_MAGIC);
    lock_take(&fl->lock);
    fl->room_arg = arg;
    lock_drop(&fl->lock);
}

bool cache_follower_digest(struct cache_follower *f, uint64_t offset, uint8_t value[DIGEST_BYTES])
{
    CHECK_MAGIC(f, FOLLOWER_MAGIC);
    struct cache_flight *fl = f->flight;
    lock_take(&fl->lock);
    struct digest *d = fl->digest != NULL ? digest_copy(fl->digest) : NULL;
    if (d != NULL)
        digest_body(d, fl->object, fl->hashed, offset);
    lock_drop(&fl->lock);
    return digest_end(&d, value);
}
