/* slice_stored.c: what is stored of an URL in slices, which of them belong together, and for whom it was
 * asked for in vain (slices.h). Worker's thread; inside the RCU section of phase_run.
 *
 * An answer that is no slice is remembered with the URL only if it says something about that: if it was made
 * for a request without credentials or cookies, and does not vary. Otherwise the next one may well get a
 * slice, so it is remembered for that client alone, by its address and what it says of itself. Either way
 * this is no word on what is stored: a request that needs nothing else is answered from that. Rejected:
 * remembering by Vary, as variants are. What is not remembered costs no second request, since the answer is
 * used for the request that got it. */
#include "core/http_date.h"
#include "core/rcu.h"
#include "proxy/deliver.h"
#include "proxy/proxy_worker.h"
#include "proxy/slices.h"

#include "cache/guard.h"

#define UNSLICED_MS 120000 /* how long an URL is not asked for in slices */
#define LOOKED_MAX  256    /* slices that are looked at ahead, for a request that may not ask for any */

/* ---- versions ---- */

bool slice_read(const struct slices *s, uint64_t index, const struct cache_object_info *info, uint64_t *size)
{
    struct cache_range part;
    return info->status == 206 &&
           cache_content_range_parse(head_text_field(info->head, HTTP_FIELD_CONTENT_RANGE), &part, size) &&
           slicing_is_slice(part, *size, s->slice_bytes, index) &&
           info->body_bytes == (int64_t)(part.end - part.start);
}

bool slice_is_of_version(const struct exchange *x, uint64_t index, struct cache_object *o)
{
    const struct slices *s = x->slices;
    const struct cache_object_info info = cache_object_info(o);
    uint64_t size;
    return slice_read(s, index, &info, &size) && size == s->size && s->validator.len > 0 &&
           slice_eq(partial_strong_validator(x, &info), s->validator) &&
           slice_eq(head_text_field(info.head, HTTP_FIELD_CONTENT_ENCODING), s->coding);
}

static struct cache_object *look(struct exchange *x, uint64_t index)
{
    struct slices *s = x->slices;
    struct cache_key key;
    arena_reset(&s->scratch);
    slicing_key(&x->key, s->slice_bytes, index, s->key_buffer, &key);
    return cache_look(x->pw->cache, &key, &x->req, &s->scratch);
}

void slices_forget_first(struct exchange *x)
{
    rcu_enter();
    struct cache_object *o = look(x, x->slices->first);
    if (o != NULL && slice_is_of_version(x, x->slices->first, o))
        cache_forget(x->pw->cache, o);
    rcu_leave();
}

/* ---- what may be used as it is ---- */

/* A stored slice that this request may be given unasked. */
static bool look_usable(struct exchange *x, uint64_t index, struct cache_object_info *info, uint64_t *size)
{
    struct cache_object *o = look(x, index);
    if (o == NULL)
        return false;
    *info = cache_object_info(o);
    return slice_read(x->slices, index, info, size) &&
           guard_allows((enum no_store_reason)x->credentials, &info->fresh) &&
           cache_freshness_is_fresh(&info->fresh, x->pw->worker->now_wall_ms);
}

bool slices_end_before(struct exchange *x, uint64_t start)
{
    struct cache_object_info info;
    uint64_t size;
    return look_usable(x, 0, &info, &size) && size <= start &&
           !look_usable(x, start / x->slices->slice_bytes, &info, &size); /* of a longer version */
}

/* The bytes that the response will have, by the first slice that is stored of it. */
static struct cache_range wanted(const struct exchange *x, const struct cache_object_info *info,
                                 uint64_t size)
{
    const struct cache_range whole = {0, size};
    const wall_s_t now_s = x->pw->worker->now_wall_ms / 1000;
    struct cache_range_set set;
    wall_s_t date_s = 0;
    if (x->req.method != HTTP_GET)
        return (struct cache_range){0, 0};
    if (http_head_count(&x->req, HTTP_FIELD_RANGE) != 1)
        return whole;
    if (!http_date_parse(head_text_field(info->head, HTTP_FIELD_DATE), now_s, &date_s))
        date_s = 0;
    if (!cache_if_range_holds(&x->req, &info->validators, date_s, now_s))
        return whole;
    switch (cache_range_parse(http_head_get(&x->req, HTTP_FIELD_RANGE)->value, size, &set)) {
    case CACHE_RANGE_PARTS:
        return set.parts[0];
    case CACHE_RANGE_UNSATISFIABLE:
        return (struct cache_range){0, 0};
    case CACHE_RANGE_WHOLE:
        break;
    }
    return whole;
}

static bool are_together(const struct exchange *x, const struct cache_object_info *a,
                         const struct cache_object_info *b)
{
    const slice_t validator = partial_strong_validator(x, a);
    return validator.len > 0 && slice_eq(validator, partial_strong_validator(x, b)) &&
           slice_eq(head_text_field(a->head, HTTP_FIELD_CONTENT_ENCODING),
                    head_text_field(b->head, HTTP_FIELD_CONTENT_ENCODING));
}

bool slices_are_stored(struct exchange *x)
{
    const uint64_t bytes = x->slices->slice_bytes;
    struct cache_object_info first, info;
    uint64_t start, size, other;
    if (!slicing_first(&x->req, &start))
        return false;
    if (!look_usable(x, start / bytes, &first, &size))
        return !http_head_has(&x->req, HTTP_FIELD_IF_RANGE) && slices_end_before(x, start);
    const struct cache_range want = wanted(x, &first, size);
    const uint64_t from = want.start / bytes, count = (want.end + bytes - 1) / bytes - from;
    if (count > LOOKED_MAX)
        return false;
    for (uint64_t i = from; i < from + count; i++) {
        if (i != start / bytes &&
            (!look_usable(x, i, &info, &other) || other != size || !are_together(x, &first, &info)))
            return false;
    }
    return true;
}

/* ---- what was asked for in vain ---- */

/* A fingerprint of the client, and of whom it says to be; not 0. */
static uint64_t who_asks(const struct exchange *x)
{
    uint64_t who = hash_short(x->client_ip.ptr, x->client_ip.len);
    for (unsigned i = 0; i < x->req.field_count; i++) {
        const struct http_field *f = &x->req.fields[i];
        if (f->id == HTTP_FIELD_COOKIE || f->id == HTTP_FIELD_AUTHORIZATION)
            who = who * 31 + hash_short(f->value.ptr, f->value.len);
    }
    return who | 1;
}

bool slices_are_refused(const struct exchange *x)
{
    struct cache *c = x->pw->cache;
    return cache_is_unsliced(c, &x->key, 0) || cache_is_unsliced(c, &x->key, who_asks(x)) ||
           (x->credentials != NO_STORE_STORED && cache_is_personal(c, &x->key));
}

void slices_remember(const struct exchange *x, const struct cache_key *whole, bool for_all)
{
    cache_remember_unsliced(x->pw->cache, whole, for_all ? 0 : who_asks(x), UNSLICED_MS);
}
