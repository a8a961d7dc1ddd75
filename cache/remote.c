/* remote.c: see remote.h: what look-ups and writes have in common. */
#include "cache/remote.h"

#include <stdlib.h>

#include "cache/remote_load.h"
#include "cache/remote_peek.h"
#include "cache/remote_save.h"
#include "core/panic.h"

struct cache_remote *cache_remote_open(const struct cache_remote_settings *s)
{
    ASSERT(s->prefix.len <= CACHE_REMOTE_PREFIX_MAX);
    struct cache_remote *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    const struct cache_lease_settings leases = {.redis = s->redis,
                                                .prefix = s->prefix,
                                                .ttl_ms = CACHE_REMOTE_LEASE_MS,
                                                .timeout_ms = s->timeout_ms,
                                                .waiters_max = CACHE_REMOTE_WAITERS_MAX};
    r->magic = CACHE_REMOTE_MAGIC;
    r->settings = *s;
    r->packer = cache_packer_open();
    r->leases = r->packer != NULL ? cache_leases_open(s->worker, &leases) : NULL;
    if (r->leases == NULL) {
        cache_packer_close(&r->packer);
        free(r);
        return NULL;
    }
    list_init(&r->loads);
    list_init(&r->peeks);
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
    cache_remote_end_peeks(r);
    cache_remote_end_saves(r);
    cache_leases_close(&r->leases);
    list_remove(&r->save_hook.node);
    cache_packer_close(&r->packer);
    r->magic = 0;
    worker_bury(r->settings.worker, &r->grave, free, r);
}
