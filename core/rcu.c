/* rcu.c: see rcu.h. */
#include "core/rcu.h"

#include <signal.h>
#include <stdlib.h>

#ifdef RCU_TSAN
char rcu_tsan_token;

/* The library allocates, frees and locks for itself, in an order that TSan does not see. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liburcu.so\n";
}
#endif

static void on_first_grace(struct rcu_head *head)
{
    RCU_TSAN_ACQUIRE();
    void *volatile some = malloc(1);
    free(some);
    free(CONTAINER_OF(head, struct rcu_grave, head));
    RCU_TSAN_RELEASE();
}

bool rcu_start(void)
{
    struct rcu_grave *grave = malloc(sizeof *grave);
    if (grave == NULL)
        return false;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread's, too */
    rcu_call_later(&grave->head, on_first_grace);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rcu_flush();
    return true;
}

void rcu_thread_start(void)
{
    rcu_register_thread();
}

void rcu_thread_stop(void)
{
    rcu_unregister_thread();
}

static void rcu_on_grace(struct rcu_head *head)
{
    struct rcu_grave *grave = CONTAINER_OF(head, struct rcu_grave, head);
    RCU_TSAN_ACQUIRE();
    grave->free_fn(grave->obj);
    RCU_TSAN_RELEASE(); /* rcu_flush comes after all of this */
}

void rcu_free_later(struct rcu_grave *grave, void (*free_fn)(void *obj), void *obj)
{
    grave->free_fn = free_fn;
    grave->obj = obj;
    RCU_TSAN_RELEASE();
    call_rcu(&grave->head, rcu_on_grace);
}

void rcu_call_later(struct rcu_head *head, void (*on_grace)(struct rcu_head *head))
{
    RCU_TSAN_RELEASE();
    call_rcu(head, on_grace);
}

void rcu_wait_readers(void)
{
    RCU_TSAN_RELEASE();
    synchronize_rcu();
    RCU_TSAN_ACQUIRE();
}

void rcu_flush(void)
{
    rcu_barrier();
    RCU_TSAN_ACQUIRE();
}
