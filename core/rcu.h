/* rcu.h: liburcu (memory-barrier flavour) behind five words, so that ThreadSanitizer can follow it.
 *
 * Readers: rcu_enter .. rcu_leave, on registered threads, nestable, never across a wait. Writers unlink an
 * object under their own mutex and hand it to rcu_free_later; it is freed when no reader can see it.
 * Pointers that readers follow are C11 atomics (release to publish, acquire to read). The library is not
 * instrumented, so sanitizer builds tell TSan about the order a grace period gives. */
#ifndef CORE_RCU_H
#define CORE_RCU_H

#include "core/base.h"

#if defined(__SANITIZE_THREAD__)
#define RCU_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RCU_TSAN 1
#endif
#endif

/* Inlined into our code the library's own atomics would look like races; called, they are not looked at. */
#ifndef RCU_TSAN
#define _LGPL_SOURCE
#endif
#include <urcu.h>

#ifdef RCU_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
extern char rcu_tsan_token;
#define RCU_TSAN_ACQUIRE() __tsan_acquire(&rcu_tsan_token)
#define RCU_TSAN_RELEASE() __tsan_release(&rcu_tsan_token)
#else
#define RCU_TSAN_ACQUIRE() ((void)0)
#define RCU_TSAN_RELEASE() ((void)0)
#endif

/* Embedded in what is freed later. */
struct rcu_grave {
    struct rcu_head head;
    void (*free_fn)(void *obj);
    void *obj;
};

static inline void rcu_enter(void)
{
    rcu_read_lock();
}

static inline void rcu_leave(void)
{
    RCU_TSAN_RELEASE();
    rcu_read_unlock();
}

/* Starts the reclaimer thread; once, before anything is served. The library would start it when it is first
 * needed, and end the process where no thread can be had then; and jemalloc crashes in a thread that first
 * comes to it when there is no memory left for what it keeps per thread. False: out of memory. */
bool rcu_start(void);

/* Each thread that reads calls these once at its start and end. */
void rcu_thread_start(void);
void rcu_thread_stop(void);

/* free_fn(obj) runs on the reclaimer thread after a grace period. `grave` must lie inside `obj`. */
void rcu_free_later(struct rcu_grave *grave, void (*free_fn)(void *obj), void *obj);

/* The same with the library's bare head, for objects that count every byte: `on_grace` runs on the reclaimer
 * thread and begins with RCU_TSAN_ACQUIRE(). */
void rcu_call_later(struct rcu_head *head, void (*on_grace)(struct rcu_head *head));

/* Waits until no reader can see any more what was unlinked before. Not inside rcu_enter .. rcu_leave. */
void rcu_wait_readers(void);

/* Waits until everything handed to rcu_free_later and rcu_call_later before has been freed. Control thread,
 * shutdown, tests. */
void rcu_flush(void);

#endif
