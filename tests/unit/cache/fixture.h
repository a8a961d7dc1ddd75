/* fixture.h: what the cache tests share: keys and heads from literals, a whole store in one call, and a
 * worker whose turns the test itself runs (pump), so that mail arrives when the test says so. */
#ifndef TESTS_UNIT_CACHE_FIXTURE_H
#define TESTS_UNIT_CACHE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cache/follower.h"
#include "core/panic.h"

#define FIX_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"v1\"\r\n"

/* One follower's log of events. */
struct fix_reader {
    struct cache_follower *follower;
    enum cache_event events[32];
    unsigned count;
};

static inline void fix_on_event(void *arg, enum cache_event event)
{
    struct fix_reader *r = arg;
    assert_true(r->count < ARRAY_LEN(r->events));
    r->events[r->count++] = event;
}

static inline struct cache_key fix_key(const char *text)
{
    slice_t s = slice_str(text);
    return (struct cache_key){s, hash_bytes(s.ptr, s.len)};
}

static inline struct cache *fix_cache(size_t memory_bytes)
{
    struct cache *c =
        cache_create(&(struct cache_settings){.memory_bytes = memory_bytes, .max_waiters = 1000});
    assert_non_null(c);
    return c;
}

/* Bytes the empty cache takes. */
static inline struct cache_stats fix_stats(struct cache *c)
{
    struct cache_stats s;
    cache_get_stats(c, &s);
    return s;
}

static inline void fix_stop_mail(struct worker *w, struct mail *m)
{
    UNUSED(m);
    worker_stop(w);
}

/* Delivers all mail that was posted to `w`, on this thread. */
static inline void fix_pump(struct worker *w)
{
    for (unsigned round = 0; round < 3; round++) { /* mail posted by mail comes in the next round */
        struct mail stop = {.on_mail = fix_stop_mail};
        worker_post(w, &stop);
        w->stopping = false;
        rcu_thread_stop();
        worker_run(w);
        rcu_thread_start();
    }
}

/* A request or response head with at most one field. */
struct fix_head {
    struct http_head head;
    struct http_field field;
};

static inline const struct http_head *fix_with_field(struct fix_head *h, enum http_field_id id,
                                                     const char *name, const char *value)
{
    *h = (struct fix_head){.field = {slice_str(name), slice_str(value), (uint8_t)id}};
    h->head.fields = &h->field;
    h->head.field_count = value == NULL ? 0 : 1;
    h->head.present = value == NULL ? 0 : (uint64_t)1 << id;
    return &h->head;
}

static inline const struct http_head *fix_plain(void)
{
    static const struct http_head none;
    return &none;
}

static inline struct cache_fill fix_fill(int64_t body_bytes)
{
    slice_t head = SLICE_LIT(FIX_HEAD);
    return (struct cache_fill){.request = fix_plain(),
                               .response = fix_plain(),
                               .head = head,
                               .status = 200,
                               .status_line_bytes = 17,
                               .body_bytes = body_bytes,
                               .max_object_bytes = 64 * 1024 * 1024,
                               .etag = slice_make(head.ptr + slice_find(head, '"', 0), 4),
                               .fresh = {.response_ms = clock_wall_ms(), .lifetime_ms = 3600000}};
}

static inline struct cache_join_result fix_join(struct cache *c, const char *key,
                                                const struct http_head *request, struct worker *w,
                                                struct fix_reader *r)
{
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_key k = fix_key(key);
    struct cache_join_result j =
        cache_join(c, &k, request != NULL ? request : fix_plain(), &scratch, NULL, w, fix_on_event, r);
    arena_reset(&scratch);
    if (r != NULL)
        r->follower = j.follower;
    return j;
}

static inline struct cache_flight *fix_lead(struct cache *c, const char *key)
{
    struct cache_join_result j = fix_join(c, key, NULL, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    return j.flight;
}

/* Writes `n` bytes, each telling its offset, through as many buffers as it takes. */
static inline bool fix_pour(struct cache_flight *fl, uint64_t *offset, uint64_t n)
{
    while (n > 0) {
        size_t room;
        char *p = cache_fill_buffer(fl, &room);
        if (p == NULL)
            return false;
        room = (size_t)MIN((uint64_t)room, n);
        for (size_t i = 0; i < room; i++)
            p[i] = (char)((*offset + i) * 31 % 251);
        cache_fill_commit(fl, room);
        *offset += room;
        n -= room;
    }
    return true;
}

/* True when the object's bytes from `offset` on are those of fix_pour, `bytes` of them. */
static inline bool fix_body_is_right(const struct cache_object *o, uint64_t offset, uint64_t bytes)
{
    struct iovec iov[8];
    uint64_t at = offset;
    for (;;) {
        size_t n = cache_object_iov(o, at, iov, ARRAY_LEN(iov));
        if (n == 0)
            return at - offset == bytes;
        for (size_t i = 0; i < n; i++) {
            const char *p = iov[i].iov_base;
            for (size_t b = 0; b < iov[i].iov_len; b++, at++) {
                if (p[b] != (char)(at * 31 % 251))
                    return false;
            }
        }
    }
}

static inline enum no_store_reason fix_store_fill(struct cache *c, const char *key,
                                                  const struct cache_fill *fill, uint64_t bytes)
{
    struct cache_join_result j = fix_join(c, key, fill->request, NULL, NULL);
    assert_int_equal(j.what, CACHE_LEAD);
    enum no_store_reason why;
    uint64_t at = 0;
    if (cache_fill_begin(j.flight, fill, &why) == NULL) {
        cache_flight_release(&j.flight, why, 0);
        return why;
    }
    if (!fix_pour(j.flight, &at, bytes)) {
        cache_fill_abort(&j.flight);
        return NO_STORE_NO_MEMORY;
    }
    return cache_fill_finish(&j.flight);
}

static inline enum no_store_reason fix_store(struct cache *c, const char *key, uint64_t bytes)
{
    struct cache_fill fill = fix_fill((int64_t)bytes);
    return fix_store_fill(c, key, &fill, bytes);
}

/* Looks up, with a reference when found. */
static inline struct cache_object *fix_find_as(struct cache *c, const char *key,
                                               const struct http_head *request)
{
    struct arena scratch;
    arena_init(&scratch, NULL, 0, 64 * KB);
    struct cache_key k = fix_key(key);
    enum no_store_reason pass;
    rcu_enter();
    struct cache_object *o = cache_find(c, &k, request, &scratch, &pass);
    if (o != NULL)
        cache_object_ref(o);
    rcu_leave();
    arena_reset(&scratch);
    return o;
}

static inline struct cache_object *fix_find(struct cache *c, const char *key)
{
    return fix_find_as(c, key, fix_plain());
}

static inline bool fix_has(struct cache *c, const char *key)
{
    struct cache_object *o = fix_find(c, key);
    bool has = o != NULL;
    cache_object_unref(&o);
    return has;
}

static inline bool fix_pass(struct cache *c, const char *key)
{
    struct cache_key k = fix_key(key);
    enum no_store_reason pass;
    rcu_enter();
    cache_find(c, &k, fix_plain(), NULL, &pass);
    rcu_leave();
    return pass != NO_STORE_STORED;
}

/* Another thread that has a lock and stands still, as if it had lost its processor. */
struct fix_holder {
    pthread_t thread;
    struct lock *lock;
    sem_t taken, drop;
};

static inline void *fix_holder_main(void *arg)
{
    struct fix_holder *h = arg;
    lock_take(h->lock);
    sem_post(&h->taken);
    while (sem_wait(&h->drop) != 0) /* interrupted */
        continue;
    lock_drop(h->lock);
    return NULL;
}

static inline void fix_hold(struct fix_holder *h, struct lock *l)
{
    h->lock = l;
    assert_int_equal(sem_init(&h->taken, 0, 0), 0);
    assert_int_equal(sem_init(&h->drop, 0, 0), 0);
    assert_int_equal(pthread_create(&h->thread, NULL, fix_holder_main, h), 0);
    while (sem_wait(&h->taken) != 0)
        continue;
}

static inline void fix_let_go(struct fix_holder *h)
{
    sem_post(&h->drop);
    pthread_join(h->thread, NULL);
    sem_destroy(&h->taken);
    sem_destroy(&h->drop);
}

/* What the sweeper does, here and now. */
static inline void fix_sweep(struct cache *c)
{
    cache_sweeper_stop(c);
    struct cache_sweep s = {.target_id = cache_inval_head(&c->inval)};
    while (cache_sweep_step(c, &s))
        continue;
}

/* Everything that was handed out is back, and the cache goes without a trace (asserted by cache_destroy). */
static inline void fix_end(struct cache **c)
{
    cache_destroy(*c);
    *c = NULL;
}

static inline int fix_group_setup(void **state)
{
    UNUSED(state);
    hash_seed_fixed(7);
    rcu_thread_start();
    return 0;
}

static inline int fix_group_teardown(void **state)
{
    UNUSED(state);
    rcu_flush();
    rcu_thread_stop();
    return 0;
}

#endif
