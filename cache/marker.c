/* marker.c: see marker.h. Rejected: list links in every object; 16 bytes each for the few that vary. */
#include "cache/marker.h"

#include <stdlib.h>

#include "core/panic.h"

static size_t marker_charge(const struct cache_marker *m)
{
    return cache_memory_rounded(sizeof *m + m->key_bytes + m->names_bytes) +
           cache_memory_rounded(m->room * sizeof(struct cache_object *));
}

struct cache_marker *cache_marker_create(struct cache_account *a, uint64_t hash, slice_t key, slice_t names)
{
    ASSERT(key.len <= UINT16_MAX && names.len <= UINT16_MAX);
    struct cache_marker *m = cache_memory_alloc(sizeof *m + key.len + names.len);
    if (m == NULL)
        return NULL;
    *m = (struct cache_marker){.hash = hash, .account = a->id};
    m->key_bytes = (uint16_t)key.len;
    m->names_bytes = (uint16_t)names.len;
    memcpy(m->text, key.ptr, key.len);
    memcpy(m->text + key.len, names.ptr, names.len);
    cache_account_charge(a, marker_charge(m));
    return m;
}

static void marker_free(void *obj)
{
    struct cache_marker *m = obj;
    free(m->variants);
    free(m);
}

void cache_marker_retire(struct cache_marker *m)
{
    ASSERT(m->count == 0);
    cache_account_release(cache_account_of(m->account), marker_charge(m));
    rcu_free_later(&m->grave, marker_free, m);
}

bool cache_marker_add(struct cache_marker *m, struct cache_object *o)
{
    ASSERT(m->count < CACHE_MARKER_VARIANTS);
    if (m->count == m->room) {
        uint32_t room = m->room == 0 ? 2 : m->room * 2;
        struct cache_object **v = cache_memory_alloc(room * sizeof *v);
        if (v == NULL)
            return false;
        if (m->count > 0)
            memcpy(v, m->variants, m->count * sizeof *v);
        free(m->variants);
        size_t before = marker_charge(m);
        m->variants = v;
        m->room = room;
        cache_account_charge(cache_account_of(m->account), marker_charge(m) - before);
    }
    m->variants[m->count++] = o;
    return true;
}

void cache_marker_forget(struct cache_marker *m, const struct cache_object *o)
{
    uint32_t i = 0;
    while (i < m->count && m->variants[i] != o)
        i++;
    ASSERT(i < m->count);
    m->count--;
    memmove(&m->variants[i], &m->variants[i + 1], (m->count - i) * sizeof m->variants[0]);
}
