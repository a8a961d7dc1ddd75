/* range.c: see range.h. Pure; any thread.
 *
 * Joining happens as each spec is read, so the work is bounded by specs times parts whatever is sent. Parts
 * keep the order of the request, as RFC 9110 section 15.3.7.2 asks; rejected: sorting them, which would spare
 * the search for neighbours. Numbers too large for 64 bits are taken as the largest: they lie beyond the end
 * of any body, which is all that matters. */
#include "cache/range.h"

#include "core/http_date.h"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The digits at the front of `s`, taken off it; false when there are none. */
static bool take_number(slice_t *s, uint64_t *out)
{
    size_t n = 0;
    while (n < s->len && is_digit(s->ptr[n]))
        n++;
    if (!slice_to_u64(slice_make(s->ptr, n), out))
        *out = UINT64_MAX;
    *s = slice_make(s->ptr + n, s->len - n);
    return n > 0;
}

/* One range-spec. false: malformed. What it wants of a body of `size` bytes; empty when it cannot be had. */
static bool spec_parse(slice_t s, uint64_t size, struct cache_range *out)
{
    uint64_t first, last = UINT64_MAX;
    bool suffix = !take_number(&s, &first);
    if (s.len == 0 || s.ptr[0] != '-')
        return false;
    s = slice_make(s.ptr + 1, s.len - 1);
    bool open = !take_number(&s, &last);
    if (s.len > 0 || (suffix && open))
        return false;
    if (suffix) {
        *out = (struct cache_range){size - MIN(last, size), size};
        return true;
    }
    if (!open && last < first)
        return false;
    *out = (struct cache_range){MIN(first, size), last < size ? last + 1 : size};
    return true;
}

/* Adds `r` to the set, joined with what it meets. false: too many parts or overlaps. */
static bool set_add(struct cache_range_set *set, struct cache_range r, unsigned *overlaps)
{
    unsigned at = set->count, kept = 0;
    for (unsigned i = 0; i < set->count; i++) {
        struct cache_range p = set->parts[i];
        if (p.end < r.start || r.end < p.start) {
            set->parts[kept++] = p;
            continue;
        }
        *overlaps += r.start < p.end && p.start < r.end;
        r = (struct cache_range){MIN(p.start, r.start), MAX(p.end, r.end)};
        if (at == set->count)
            at = kept++; /* its place; filled below, when it has met all others */
    }
    if (at == set->count)
        at = kept++;
    if (kept > CACHE_RANGE_PARTS_MAX || *overlaps > CACHE_RANGE_OVERLAPS_MAX)
        return false;
    set->parts[at] = r;
    set->count = kept;
    return true;
}

enum cache_range_verdict cache_range_parse(slice_t value, uint64_t size, struct cache_range_set *out)
{
    const size_t unit = sizeof "bytes=" - 1;
    unsigned specs = 0, overlaps = 0;
    out->count = 0;
    if (value.len < unit || !slice_ieq(slice_make(value.ptr, unit), SLICE_LIT("bytes=")))
        return CACHE_RANGE_WHOLE;
    slice_t rest = slice_make(value.ptr + unit, value.len - unit);
    while (rest.len > 0) {
        size_t comma = MIN(slice_find(rest, ',', 0), rest.len);
        slice_t spec = slice_trim(slice_make(rest.ptr, comma));
        size_t skip = MIN(comma + 1, rest.len);
        rest = slice_make(rest.ptr + skip, rest.len - skip);
        struct cache_range r;
        if (spec.len == 0)
            continue; /* empty list elements are allowed (RFC 9110 section 5.6.1.2) */
        if (++specs > CACHE_RANGE_SPECS_MAX || !spec_parse(spec, size, &r))
            return CACHE_RANGE_WHOLE;
        if (r.start < r.end && !set_add(out, r, &overlaps))
            return CACHE_RANGE_WHOLE;
    }
    if (specs == 0 || size == 0) /* an empty body has no range that could be named: it is sent as it is */
        return CACHE_RANGE_WHOLE;
    return out->count > 0 ? CACHE_RANGE_PARTS : CACHE_RANGE_UNSATISFIABLE;
}

/* Digits and what must follow them, taken off `s`; false also for what 64 bits do not hold. */
static bool take_exact(slice_t *s, slice_t after, uint64_t *out)
{
    slice_t digits = *s;
    if (!take_number(s, out) || !slice_starts(*s, after))
        return false;
    digits.len -= s->len;
    *s = slice_make(s->ptr + after.len, s->len - after.len);
    return slice_to_u64(digits, out);
}

bool cache_content_range_parse(slice_t value, struct cache_range *part, uint64_t *size)
{
    const size_t unit = sizeof "bytes " - 1;
    uint64_t first, last;
    if (value.len < unit || !slice_ieq(slice_make(value.ptr, unit), SLICE_LIT("bytes ")))
        return false;
    slice_t rest = slice_make(value.ptr + unit, value.len - unit);
    if (!take_exact(&rest, SLICE_LIT("-"), &first) || !take_exact(&rest, SLICE_LIT("/"), &last) ||
        !take_exact(&rest, SLICE_EMPTY, size) || rest.len > 0 || last < first || *size <= last)
        return false;
    *part = (struct cache_range){first, last + 1};
    return true;
}

bool cache_if_range_holds(const struct http_head *request, const struct cache_validators *stored,
                          wall_s_t date_s, wall_s_t now_s)
{
    const struct http_field *f = http_head_get(request, HTTP_FIELD_IF_RANGE);
    wall_s_t asked_s;
    if (f == NULL)
        return true;
    if (http_head_count(request, HTTP_FIELD_IF_RANGE) != 1)
        return false;
    if (slice_starts(f->value, SLICE_LIT("\"")))
        return slice_eq(f->value, stored->etag); /* `stored` is strong when it begins alike */
    return http_date_parse(f->value, now_s, &asked_s) && stored->last_modified_s != 0 &&
           asked_s == stored->last_modified_s && stored->last_modified_s < date_s;
}
