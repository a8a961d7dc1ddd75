/* remote.c: see remote.h: what look-ups and writes have in common. */
#include "cache/remote.h"

#include <stdlib.h>

#include "cache/remote_load.h"
#include "cache/remote_save.h"
#include "core/panic.h"

struct cache_remote *cache_remote_open(const struct cache_remote_settings *s)
{
    ASSERT(s->prefix.len <= CACHE_REMOTE_PREFIX_MAX);
    struct cache_remote *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->magic = CACHE_REMOTE_MAGIC;
    r->settings = *s;
    list_init(&r->loads);
    list_init(&r->saves);
    list_init(&r->waiting_saves);
    list_init(&r->save_hook.node);
    hash_random(&r->random, sizeof r->random);
    return r;
}

void cache_remote_close(struct cache_remote **rp)
{
    struct cache_remote *r = *rp;
    *rp = NULL;
    if (r == NULL)
        return;
    CHECK_MAGIC(r, CACHE_REMOTE_MAGIC);
    cache_remote_end_loads(r);
    cache_remote_end_saves(r);
    list_remove(&r->save_hook.node);
    r->magic = 0;
    worker_bury(r->settings.worker, &r->grave, free, r);
}

/* ---- what is not there ------------------------------------------------------------------------------------
 */

static size_t absent_slot(uint64_t hash)
{
    return (hash >> 32) % CACHE_REMOTE_ABSENT_ENTRIES;
}

bool cache_remote_is_absent(const struct cache_remote *r, uint64_t hash)
{
    const struct cache_remote_absent *a = &r->absent[absent_slot(hash)];
    return a->hash == hash && worker_now_ms(r->settings.worker) < a->until_ms;
}

void cache_remote_remember_absent(struct cache_remote *r, uint64_t hash)
{
    r->absent[absent_slot(hash)] =
        (struct cache_remote_absent){hash, worker_now_ms(r->settings.worker) + CACHE_REMOTE_ABSENT_MS};
}

void cache_remote_forget_absent(struct cache_remote *r, uint64_t hash)
{
    struct cache_remote_absent *a = &r->absent[absent_slot(hash)];
    if (a->hash == hash)
        *a = (struct cache_remote_absent){0, 0};
}
