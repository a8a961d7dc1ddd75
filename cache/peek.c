/* peek.c: see peek.h. The control thread asks now and then, so a shard's lock is taken where a worker would
 * go without: it keeps the list of variants and the table of flights still. */
#include "cache/peek.h"

#include "cache/validity.h"

static void peek_variants_locked(struct cache_marker *m, struct cache_peek *out)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct cache_object *o = m->variants[i];
        size_t at = (size_t)o->primary_bytes + 1;
        if (out->variant_count < CACHE_PEEK_VARIANTS)
            out->variants[out->variant_count] =
                (struct cache_peek_variant){slice_make(o->text + at, o->key_bytes - at), o};
        out->variant_count++;
    }
}

static void peek_locked(struct cache *c, struct cache_shard *sh, const struct cache_key *key,
                        const struct http_head *request, struct arena *arena, struct cache_peek *out)
{
    struct cache_key whole = *key;
    cache_entry_t e = cache_index_find(&sh->index, key->hash.lo, key->text);
    struct cache_marker *m = cache_entry_marker(e);
    if (m != NULL) {
        out->varies = true;
        out->vary_names = cache_marker_names(m);
        peek_variants_locked(m, out);
        out->variant_known = cache_variant_key(arena, key->text, out->vary_names, request, &whole);
        if (!out->variant_known)
            return;
        out->secondary = slice_make(whole.text.ptr + key->text.len + 1, whole.text.len - key->text.len - 1);
        e = cache_index_find(&sh->index, whole.hash.lo, whole.text);
    }
    struct cache_object *o = cache_entry_object(e);
    if (o != NULL && !cache_object_is_purged(&c->inval, o, key->hash.lo))
        out->object = o;
    struct cache_flight *fl = cache_flight_find_locked(sh, key->hash, whole.text, whole.hash.lo);
    out->fetching = fl != NULL && !cache_flight_is_overtaken(fl);
}

/* Where nothing is stored, purges by tag and those the log has forgotten look like never seen. */
static wall_ms_t last_purge_ms(const struct cache *c, const struct cache_key *key,
                               const struct cache_object *o)
{
    const uint64_t checked = o != NULL ? atomic_load(&o->checked_id) : 0;
    if (o != NULL)
        return checked & CACHE_STALE_BIT ? cache_inval_ms(checked & ~CACHE_STALE_BIT) : 0;
    const struct cache_inval_subject subject = cache_inval_subject(key->text, key->hash.lo, SLICE_EMPTY);
    const uint64_t floor = atomic_load(&c->inval.floor[CACHE_INVAL_HARD]);
    return cache_inval_ms(cache_inval_find(&c->inval, &subject, floor).hard);
}

void cache_peek(struct cache *c, const struct cache_key *key, const struct http_head *request,
                struct arena *arena, struct cache_peek *out)
{
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    *out = (struct cache_peek){.variant_known = true};
    out->passing = cache_pass_get(c->pass, key->hash.lo, clock_mono_ms(), &out->pass);
    lock_take(&sh->lock);
    peek_locked(c, sh, key, request, arena, out);
    out->purged_ms = last_purge_ms(c, key, out->object);
    lock_drop(&sh->lock);
}

/* ---- other queries ---- */

#define SCAN_SLOTS 64 /* looked at in one hold of the lock */

/* Do the keys differ by their query alone? What routes put behind the URL may have a '?' in it, too. */
static bool is_same_page(slice_t a, slice_t b)
{
    const slice_t url_a = cache_key_url(a), url_b = cache_key_url(b);
    const size_t page_a = MIN(slice_find(url_a, '?', 0), url_a.len);
    const size_t page_b = MIN(slice_find(url_b, '?', 0), url_b.len);
    return slice_eq(slice_make(a.ptr, page_a), slice_make(b.ptr, page_b)) && !slice_eq(url_a, url_b) &&
           slice_eq(slice_make(a.ptr + url_a.len, a.len - url_a.len),
                    slice_make(b.ptr + url_b.len, b.len - url_b.len));
}

static slice_t primary_of(cache_entry_t e)
{
    const struct cache_marker *m = cache_entry_marker(e);
    const struct cache_object *o = cache_entry_object(e);
    if (m != NULL)
        return cache_marker_key(m);
    return o != NULL && !cache_object_is_variant(o) ? cache_object_key(o) : SLICE_EMPTY;
}

size_t cache_peek_queries(struct cache *c, const struct cache_key *key, size_t max_slots, slice_t *example)
{
    size_t found = 0;
    for (unsigned i = 0; i < CACHE_SHARDS && max_slots > 0; i++) {
        struct cache_shard *sh = &c->shards[i];
        size_t cursor = 0;
        do {
            cache_entry_t entries[SCAN_SLOTS];
            lock_take(&sh->lock);
            size_t n = cache_index_scan(&sh->index, &cursor, entries, SCAN_SLOTS);
            for (size_t k = 0; k < n; k++) {
                slice_t other = primary_of(entries[k]);
                if (!is_same_page(other, key->text))
                    continue;
                *example = cache_key_url(other);
                found++;
            }
            lock_drop(&sh->lock);
            max_slots -= MIN(max_slots, (size_t)SCAN_SLOTS);
        } while (cursor != 0 && max_slots > 0);
    }
    return found;
}
