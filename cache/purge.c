/* purge.c: see purge.h. The order is what keeps promise 2: an event in the log, then what is stored. So
 * whatever is decided under a shard's lock sees the event, or is undone here; and what is not undone here is
 * refused to whoever looks, because he compares with the log. */
#include "cache/purge.h"

#include <stdlib.h>

#include "cache/flight.h"
#include "cache/stream_queue.h"
#include "cache/validity.h"
#include "core/panic.h"

#define SHARED_EXTRA 128 /* bytes of an event of the stream, and of each thing in it, beside its text */

static bool text_is_plain(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if ((unsigned char)s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return false;
    }
    return true;
}

const char *cache_purge_problem(const struct cache_purge *p)
{
    ASSERT((unsigned)p->kind < CACHE_PURGE_KINDS);
    bool url = p->kind == CACHE_PURGE_URL || p->kind == CACHE_PURGE_URL_ANY_QUERY;
    bool pattern = p->kind == CACHE_PURGE_PREFIX || p->kind == CACHE_PURGE_GLOB;
    if (p->kind == CACHE_PURGE_ALL)
        return NULL;
    if (p->text.len == 0)
        return "there is no text that says what to purge";
    if (p->text.len > (pattern ? CACHE_PURGE_PATTERN_MAX : CACHE_PURGE_TEXT_MAX))
        return "the text is too long";
    if (!text_is_plain(p->text))
        return "the text has white space or control characters in it";
    if (url && !slice_starts(p->text, SLICE_LIT("http://")) && !slice_starts(p->text, SLICE_LIT("https://")))
        return "a URL begins with http:// or https://";
    if (p->kind == CACHE_PURGE_HOST && slice_find(p->text, '/', 0) != SIZE_MAX)
        return "a host is a name and perhaps a port, without scheme and path";
    return NULL;
}

/* Removes (soft: notes as stale) what is stored under exactly this key; how many objects. That an earlier
 * response could not be stored counts no longer: who purges has often just cured it. */
static size_t purge_key(struct cache *c, const struct cache_key *key, bool soft)
{
    cache_pass_forget(c->pass, key->hash.lo);
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    lock_take(&sh->lock);
    if (!soft) /* softly purged, it may still be stored, as stale */
        cache_flight_detach_url_locked(sh, key->hash, key->text);
    size_t n = soft ? cache_shard_check_url_locked(c, sh, key->hash.lo, key->text)
                    : cache_shard_drop_url_locked(c, sh, key->hash.lo, key->text);
    lock_drop(&sh->lock);
    return n;
}

/* The same by both schemes. Without memory the log alone says that the other is gone. */
static size_t purge_both(struct cache *c, const struct cache_key *key, bool soft)
{
    size_t n = purge_key(c, key, soft);
    struct cache_key other;
    char *buf = malloc(key->text.len + 1);
    if (buf == NULL)
        return n;
    cache_key_other_scheme(key, buf, &other);
    n += purge_key(c, &other, soft);
    free(buf);
    return n;
}

/* An exact URL leaves nothing to sweep, or (where keys have further parts) so little that it can wait. */
static bool needs_sweep(struct cache *c, const struct cache_purge *p, size_t count)
{
    bool others = false;
    for (size_t i = 0; i < count && !others; i++)
        others = p[i].kind != CACHE_PURGE_URL;
    return others || cache_inval_is_crowded(&c->inval, atomic_load(&c->sweeper.swept_id));
}

static uint64_t purge_append(struct cache *c, const struct cache_purge *p, size_t count)
{
    uint64_t id = cache_inval_append(&c->inval, clock_wall_ms(), p, count);
    atomic_fetch_add_explicit(&c->purges, count, memory_order_relaxed);
    return id;
}

static void purge_sweep(struct cache *c, const struct cache_purge *p, size_t count, uint64_t id)
{
    if (needs_sweep(c, p, count))
        cache_sweep_ask(c, id);
}

/* Here: in the log, and what can be removed at once. */
static void purge_here(struct cache *c, const struct cache_purge *p, size_t count,
                       struct cache_purge_result *out)
{
    out->id = purge_append(c, p, count);
    for (size_t i = 0; i < count; i++) {
        if (p[i].kind == CACHE_PURGE_ALL)
            cache_pass_clear(c->pass);
        if (p[i].kind != CACHE_PURGE_URL)
            continue;
        const struct cache_key key = {p[i].text, hash_bytes(p[i].text.ptr, p[i].text.len)};
        out->removed += purge_both(c, &key, p[i].soft);
    }
    purge_sweep(c, p, count, out->id);
}

/* How many of them one event of the stream takes. */
static size_t shared_count(const struct cache_purge *p, size_t count)
{
    _Static_assert(CACHE_PURGE_TEXT_MAX + 2 * SHARED_EXTRA <= CACHE_STREAM_ENTRY_BYTES, "one always fits");
    size_t n = 0, bytes = SHARED_EXTRA;
    while (n < MIN(count, CACHE_STREAM_ITEMS_MAX) && bytes <= CACHE_STREAM_ENTRY_BYTES) {
        bytes += p[n].text.len + SHARED_EXTRA;
        n += bytes <= CACHE_STREAM_ENTRY_BYTES;
    }
    return n;
}

/* When it is done here, and before whoever asked hears of it. */
static void purge_tell(struct cache *c)
{
    const struct cache_purge_watch *w = atomic_load_explicit(&c->watch, memory_order_acquire);
    if (UNLIKELY(w != NULL))
        w->on_purge(w->arg);
}

void cache_watch_purges(struct cache *c, const struct cache_purge_watch *w)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    atomic_store_explicit(&c->watch, w, memory_order_release);
}

static void purge_everywhere(struct cache *c, const struct cache_purge *p, size_t count,
                             struct cache_purge_result *out)
{
    if (LIKELY(c->stream == NULL)) {
        purge_here(c, p, count, out);
        return;
    }
    for (size_t n; count > 0; p += n, count -= n) {
        n = shared_count(p, count);
        out->stream_number = cache_stream_queue_begin(c->stream);
        purge_here(c, p, n, out);
        out->stream_ticket = cache_stream_queue_put(c->stream, out->stream_number, out->id, p, n);
    }
    out->is_shared = true;
    out->flows = cache_stream_queue_flows(c->stream);
}

bool cache_purge(struct cache *c, const struct cache_purge *p, size_t count, struct cache_purge_result *out)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    *out = (struct cache_purge_result){0};
    for (size_t i = 0; i < count; i++) {
        out->problem = cache_purge_problem(&p[i]);
        if (out->problem != NULL)
            return false;
    }
    purge_everywhere(c, p, count, out);
    purge_tell(c);
    return true;
}

void cache_share_purges(struct cache *c, struct cache_stream_queue *q)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    c->stream = q;
}

uint64_t cache_purge_followed(struct cache *c, const struct cache_purge *p, size_t count)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    struct cache_purge_result out = {0};
    purge_here(c, p, count, &out);
    return out.id;
}

/* What nodes tell each other must be valid for its kind, as every request to purge is; the URL of a client's
 * request may be too long for that, or hold what no URL should. Rather too much than too little. */
static struct cache_purge shared_form(const struct cache_purge *p)
{
    struct cache_purge wider = {.kind = CACHE_PURGE_HOST, .soft = p->soft};
    if (cache_purge_problem(p) == NULL)
        return *p;
    const size_t from = slice_find(p->text, ':', 0) + sizeof "://" - 1;
    if (from < p->text.len)
        wider.text = slice_make(p->text.ptr + from, MIN(slice_find(p->text, '/', from), p->text.len) - from);
    if (cache_purge_problem(&wider) != NULL)
        wider.kind = CACHE_PURGE_ALL;
    return wider;
}

size_t cache_purge_url(struct cache *c, const struct cache_key *key)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    const struct cache_purge p = {.kind = CACHE_PURGE_URL, .text = cache_key_url(key->text)};
    const uint64_t number = c->stream != NULL ? cache_stream_queue_begin(c->stream) : 0;
    uint64_t id = purge_append(c, &p, 1);
    size_t removed = purge_both(c, key, false);
    purge_sweep(c, &p, 1, id);
    if (c->stream != NULL) {
        const struct cache_purge shared = shared_form(&p);
        cache_stream_queue_put(c->stream, number, id, &shared, 1);
    }
    purge_tell(c);
    return removed;
}

static bool is_known(struct cache *c, const struct cache_key *key)
{
    struct cache_shard *sh = cache_shard_of(c, key->hash);
    lock_take(&sh->lock);
    bool found = cache_index_find(&sh->index, key->hash.lo, key->text) != 0 ||
                 cache_flight_is_in_table_locked(sh, key->hash, key->text);
    lock_drop(&sh->lock);
    return found;
}

static bool is_known_by_other_scheme(struct cache *c, const struct cache_key *key)
{
    struct cache_key other;
    char *buf = malloc(key->text.len + 1);
    if (buf == NULL)
        return true;
    cache_key_other_scheme(key, buf, &other);
    bool found = is_known(c, &other);
    free(buf);
    return found;
}

/* What may be stored of this URL is in the index or a flight in the table, both under the shard's lock; a
 * fetch that begins later begins after this call. */
bool cache_invalidate_url(struct cache *c, const struct cache_key *key)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    bool found = atomic_load(&c->keys_have_parts) || is_known(c, key) || is_known_by_other_scheme(c, key);
    if (found)
        cache_purge_url(c, key);
    else /* who watches may know it */
        purge_tell(c);
    return found;
}

void cache_purge_all(struct cache *c)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    const struct cache_purge p = {.kind = CACHE_PURGE_ALL, .text = SLICE_EMPTY};
    struct cache_purge_result done;
    cache_purge(c, &p, 1, &done);
}
