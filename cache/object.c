/* object.c: see object.h. Rejected: a separate struct of slices per object (136 bytes of pointers into one's
 * own allocation), and always-inline bodies (1 KB + head lands in jemalloc's 1536-byte class and wastes 130
 * bytes). */
#include "cache/object.h"

#include <stdlib.h>

#include "cache/hidden.h"
#include "cache/inval_log.h"
#include "core/panic.h"

#define SMALL_STATE_SHIFT 30
#define SMALL_BYTES_MASK  ((1u << SMALL_STATE_SHIFT) - 1)
#define MS42_MAX          (((uint64_t)1 << 42) - 1)

bool cache_object_parts_fit(const struct cache_object_parts *p)
{
    return p->fill->tags.text.len <= UINT16_MAX && p->key.len <= UINT16_MAX &&
           p->vary_names.len <= UINT16_MAX && p->fill->head.len <= UINT16_MAX;
}

/* What stands in front of the tags' text. */
struct tags_head {
    uint16_t bytes, of_field[CACHE_TAG_FIELDS];
};

static size_t tags_room(size_t text_bytes)
{
    return text_bytes == 0 ? 0 : sizeof(struct tags_head) + text_bytes;
}

static size_t parts_text_bytes(const struct cache_object_parts *p)
{
    return sizeof(struct cache_object) + p->key.len + p->vary_names.len + p->fill->head.len +
           tags_room(p->fill->tags.text.len);
}

static char *object_tags_at(const struct cache_object *o)
{
    return (char *)(uintptr_t)o->text + o->key_bytes + o->vary_bytes + o->head_bytes;
}

static struct tags_head object_tags_head(const struct cache_object *o)
{
    struct tags_head h = {0};
    if (o->has_tags)
        memcpy(&h, object_tags_at(o), sizeof h);
    return h;
}

/* Not on the way of a hit without tags. */
__attribute__((noinline)) static size_t object_tags_room(const struct cache_object *o)
{
    return tags_room(object_tags_head(o).bytes);
}

/* Bytes of `text` in front of an inline body. */
static inline size_t object_text_bytes(const struct cache_object *o)
{
    size_t bytes = (size_t)o->key_bytes + o->vary_bytes + o->head_bytes;
    return LIKELY(!o->has_tags) ? bytes : bytes + object_tags_room(o);
}

static inline char *object_small_body(const struct cache_object *o)
{
    return o->kind == CACHE_BODY_OWNED ? o->owned : (char *)(uintptr_t)o->text + object_text_bytes(o);
}

/* Which kind costs least, and the bytes of the main allocation. */
static enum cache_body_kind object_plan(const struct cache_object_parts *p, bool shares_body,
                                        size_t *main_bytes)
{
    *main_bytes = parts_text_bytes(p);
    if (shares_body || p->body_bytes < 0 || (uint64_t)p->body_bytes > CACHE_SMALL_BODY_MAX)
        return CACHE_BODY_SHARED;
    size_t body = (size_t)p->body_bytes;
    if (cache_memory_rounded(*main_bytes + body) >
        cache_memory_rounded(*main_bytes) + cache_memory_rounded(body))
        return CACHE_BODY_OWNED;
    *main_bytes += body;
    return CACHE_BODY_INLINE;
}

size_t cache_object_cost(const struct cache_object_parts *p, bool shares_body)
{
    size_t main_bytes;
    enum cache_body_kind kind = object_plan(p, shares_body, &main_bytes);
    size_t cost = cache_memory_rounded(main_bytes);
    if (kind == CACHE_BODY_OWNED)
        cost += cache_memory_rounded((size_t)p->body_bytes);
    else if (kind == CACHE_BODY_SHARED && !shares_body)
        cost += cache_body_base_bytes();
    return cost;
}

static uint64_t ms42(int64_t ms)
{
    return ms < 0 ? 0 : MIN((uint64_t)ms, MS42_MAX);
}

static uint16_t offset_in(slice_t head, slice_t part)
{
    ASSERT(part.len == 0 || (part.ptr >= head.ptr && part.ptr + part.len <= head.ptr + head.len));
    return part.len == 0 ? 0 : (uint16_t)(part.ptr - head.ptr);
}

static void object_fill_in(struct cache_object *o, const struct cache_object_parts *p)
{
    const struct cache_fill *f = p->fill;
    o->hash = p->hash;
    o->shard = p->shard & ((1u << CACHE_SHARD_BITS) - 1);
    o->response_ms = ms42(f->fresh.response_ms);
    o->corrected_initial_ms = ms42(f->fresh.corrected_initial_ms);
    o->lifetime_ms = ms42(f->fresh.lifetime_ms);
    o->source = f->fresh.source & 7;
    o->revalidate_always = f->fresh.revalidate_always;
    o->never_stale = f->fresh.never_stale;
    o->keep_code = f->fresh.keep_code & CACHE_KEEP_CODE_MAX;
    o->early_code = f->early_code & 0xf;
    o->status = f->status & 0x3ff;
    o->status_line_bytes = f->status_line_bytes;
    o->head_bytes = f->head.len & 0xffff;
    o->key_bytes = p->key.len & 0xffff;
    o->primary_bytes = (uint16_t)p->primary_bytes;
    o->vary_bytes = (uint16_t)p->vary_names.len;
    o->etag_at = offset_in(f->head, f->etag);
    o->etag_bytes = (uint16_t)f->etag.len;
    if (f->last_modified.len <= UINT8_MAX) { /* a longer one is no date */
        o->last_modified_at = offset_in(f->head, f->last_modified);
        o->last_modified_bytes = (uint8_t)f->last_modified.len;
    }
    if (f->last_modified_s > 0 && f->last_modified_s <= (wall_s_t)UINT32_MAX)
        o->last_modified_s = (uint32_t)f->last_modified_s;
    char *text = o->text;
    memcpy(text, p->key.ptr, p->key.len);
    if (p->vary_names.len > 0)
        memcpy(text + p->key.len, p->vary_names.ptr, p->vary_names.len);
    if (f->head.len > 0)
        memcpy(text + p->key.len + p->vary_names.len, f->head.ptr, f->head.len);
    o->has_tags = f->tags.text.len > 0;
    if (o->has_tags) {
        struct tags_head h = {.bytes = (uint16_t)f->tags.text.len};
        memcpy(h.of_field, f->tags.bytes, sizeof h.of_field);
        memcpy(object_tags_at(o), &h, sizeof h);
        memcpy(object_tags_at(o) + sizeof h, f->tags.text.ptr, f->tags.text.len);
    }
}

_Static_assert(FRESHNESS_SOURCE_COUNT <= 8, "source has three bits");

struct cache_object *cache_object_create(struct cache_account *a, const struct cache_object_parts *p,
                                         struct cache_body *body)
{
    ASSERT(cache_object_parts_fit(p));
    size_t main_bytes;
    enum cache_body_kind kind = object_plan(p, body != NULL, &main_bytes);
    struct cache_object *o = cache_memory_alloc(main_bytes);
    if (o == NULL)
        return NULL;
    memset(o, 0, sizeof *o);
    o->kind = kind;
    o->account = a->id;
    list_init(&o->queue);
    if (kind == CACHE_BODY_SHARED)
        o->body = body != NULL ? cache_body_ref(body) : cache_body_create(a, p->body_bytes);
    else if (kind == CACHE_BODY_OWNED)
        o->owned = cache_memory_alloc((size_t)p->body_bytes);
    if (kind != CACHE_BODY_INLINE && o->owned == NULL) {
        free(o);
        return NULL;
    }
    if (kind != CACHE_BODY_SHARED)
        o->small_bytes = (uint32_t)p->body_bytes;
    object_fill_in(o, p);
    atomic_init(&o->refs, 1);
    atomic_fetch_add_explicit(&a->live_objects, 1, memory_order_relaxed);
    return o;
}

size_t cache_object_charge(const struct cache_object *o, bool with_body)
{
    size_t text = sizeof *o + object_text_bytes(o);
    if (o->kind == CACHE_BODY_INLINE)
        return cache_memory_rounded(text + o->small_bytes);
    size_t charge = cache_memory_rounded(text);
    if (o->kind == CACHE_BODY_OWNED)
        return charge + cache_memory_rounded(o->small_bytes);
    return with_body ? charge + atomic_load_explicit(&o->body->charge, memory_order_relaxed) : charge;
}

struct cache_object *cache_object_ref(struct cache_object *o)
{
    uint32_t before = atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < UINT32_MAX);
    return o;
}

void cache_object_unref(struct cache_object **op)
{
    struct cache_object *o = *op;
    *op = NULL;
    if (o == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before != 1)
        return;
    struct cache_account *a = cache_account_of(o->account);
    cache_account_release(a, cache_object_charge(o, false));
    if (o->kind == CACHE_BODY_SHARED)
        cache_body_unref(&o->body);
    else if (o->kind == CACHE_BODY_OWNED)
        free(o->owned);
    free(o);
    atomic_fetch_sub_explicit(&a->live_objects, 1, memory_order_release);
}

static void object_on_grace(struct rcu_head *head)
{
    RCU_TSAN_ACQUIRE();
    struct cache_object *o = CONTAINER_OF(head, struct cache_object, rcu);
    cache_account_undoom(cache_account_of(o->account),
                         cache_object_charge(o, o->place == CACHE_PLACE_GONE_BODY));
    cache_object_unref(&o);
}

size_t cache_object_retire(struct cache_object *o)
{
    ASSERT(o->place == CACHE_PLACE_NONE);
    /* Whether another object shares the body is decided once, here: what leaves `used` now must come back
     * then. */
    bool with_body = o->kind == CACHE_BODY_SHARED && atomic_load(&o->body->refs) == 1;
    o->place = with_body ? CACHE_PLACE_GONE_BODY : CACHE_PLACE_GONE;
    const size_t bytes = cache_object_charge(o, with_body);
    cache_account_doom(cache_account_of(o->account), bytes);
    rcu_call_later(&o->rcu, object_on_grace);
    return bytes;
}

char *cache_object_small_body(struct cache_object *o)
{
    ASSERT(o->kind != CACHE_BODY_SHARED);
    return object_small_body(o);
}

void cache_object_commit_small(struct cache_object *o, size_t n)
{
    uint32_t now = atomic_load_explicit(&o->small_filled, memory_order_relaxed);
    ASSERT((now >> SMALL_STATE_SHIFT) == CACHE_FILLING && n <= o->small_bytes - now);
    atomic_store_explicit(&o->small_filled, now + (uint32_t)n, memory_order_release);
}

void cache_object_seal(struct cache_object *o, size_t more)
{
    if (o->kind == CACHE_BODY_SHARED)
        cache_body_seal(o->body, more);
}

void cache_object_show(struct cache_object *o, size_t more)
{
    if (o->kind == CACHE_BODY_SHARED && more > 0)
        cache_body_commit(o->body, more);
    else if (more > 0)
        cache_object_commit_small(o, more);
    cache_object_end(o, CACHE_COMPLETE);
}

void cache_object_end(struct cache_object *o, enum cache_fill_state state)
{
    if (o->kind == CACHE_BODY_SHARED) {
        cache_body_end(o->body, state);
        return;
    }
    uint32_t now = atomic_load_explicit(&o->small_filled, memory_order_relaxed);
    ASSERT((now >> SMALL_STATE_SHIFT) == CACHE_FILLING && state != CACHE_FILLING);
    ASSERT(state != CACHE_COMPLETE || now == o->small_bytes);
    atomic_store_explicit(&o->small_filled, now | (uint32_t)state << SMALL_STATE_SHIFT, memory_order_release);
}

enum cache_fill_state cache_object_state(const struct cache_object *o)
{
    if (o->kind == CACHE_BODY_SHARED)
        return (enum cache_fill_state)atomic_load_explicit(&o->body->state, memory_order_acquire);
    return (enum cache_fill_state)(atomic_load_explicit(&o->small_filled, memory_order_acquire) >>
                                   SMALL_STATE_SHIFT);
}

bool cache_object_is_complete(const struct cache_object *o)
{
    return cache_object_state(o) == CACHE_COMPLETE;
}

uint64_t cache_object_filled(const struct cache_object *o)
{
    if (o->kind == CACHE_BODY_SHARED)
        return atomic_load_explicit(&o->body->filled, memory_order_acquire);
    return atomic_load_explicit(&o->small_filled, memory_order_acquire) & SMALL_BYTES_MASK;
}

size_t cache_object_iov(const struct cache_object *o, uint64_t offset, struct iovec *iov, size_t max)
{
    if (o->kind == CACHE_BODY_SHARED)
        return cache_body_iov(o->body, offset, iov, max);
    uint64_t filled = cache_object_filled(o);
    if (offset >= filled || max == 0)
        return 0;
    iov[0].iov_base = object_small_body(o) + offset;
    iov[0].iov_len = (size_t)(filled - offset);
    return 1;
}

/* Counted from the moment itself, so that a clock that lags behind it makes nothing fresh again. */
__attribute__((noinline)) static void freshness_end_at(struct cache_freshness *f, wall_ms_t moment_ms)
{
    f->corrected_initial_ms = cache_freshness_age_ms(f, moment_ms);
    f->response_ms = MAX(f->response_ms, moment_ms);
    f->lifetime_ms = MIN(f->lifetime_ms, f->corrected_initial_ms);
}

unsigned cache_object_early_code(const struct cache_object *o)
{
    return (unsigned)o->early_code;
}

static inline __attribute__((always_inline)) struct cache_freshness
object_freshness(const struct cache_object *o)
{
    struct cache_freshness f = {
        .response_ms = (wall_ms_t)o->response_ms,
        .corrected_initial_ms = (dur_ms_t)o->corrected_initial_ms,
        .lifetime_ms = (dur_ms_t)o->lifetime_ms,
        .source = (uint8_t)o->source,
        .revalidate_always = o->revalidate_always,
        .never_stale = o->never_stale,
        .keep_code = o->keep_code,
    };
    uint64_t checked = atomic_load_explicit(&o->checked_id, memory_order_relaxed);
    if (UNLIKELY(checked & CACHE_STALE_BIT) && checked != CACHE_ID_UNSHOWN)
        freshness_end_at(&f, cache_inval_ms(checked & ~CACHE_STALE_BIT));
    return f;
}

struct cache_freshness cache_object_freshness(const struct cache_object *o)
{
    return object_freshness(o);
}

struct cache_tags cache_object_tag_fields(const struct cache_object *o)
{
    const struct tags_head h = object_tags_head(o);
    struct cache_tags tags = {.text = SLICE_EMPTY};
    if (o->has_tags)
        tags.text = slice_make(object_tags_at(o) + sizeof h, h.bytes);
    memcpy(tags.bytes, h.of_field, sizeof tags.bytes);
    return tags;
}

slice_t cache_object_tags(const struct cache_object *o)
{
    const struct cache_tags tags = cache_object_tag_fields(o);
    return cache_tags_joined(&tags);
}

static int64_t object_body_bytes(const struct cache_object *o)
{
    if (o->kind != CACHE_BODY_SHARED)
        return o->small_bytes;
    return cache_object_is_complete(o) ? (int64_t)cache_object_filled(o) : o->body->announced_bytes;
}

struct cache_object_info cache_object_info(const struct cache_object *o)
{
    const char *names = o->text + o->key_bytes, *head = names + o->vary_bytes;
    slice_t shown = slice_make(head, o->head_bytes);
    uint16_t hidden_bytes = cache_hidden_take(&shown);
    return (struct cache_object_info){
        .head = shown,
        .hidden_bytes = hidden_bytes,
        .status = (uint16_t)o->status,
        .status_line_bytes = o->status_line_bytes,
        .body_bytes = object_body_bytes(o),
        .fresh = object_freshness(o),
        .validators = {.etag = slice_make(head + o->etag_at, o->etag_bytes),
                       .last_modified = slice_make(head + o->last_modified_at, o->last_modified_bytes),
                       .last_modified_s = o->last_modified_s},
        .key = slice_make(o->text, o->primary_bytes),
        .vary_names = slice_make(names, o->vary_bytes),
    };
}
