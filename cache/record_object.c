/* record_object.c: see record_object.h. Any thread; a record of an object lives no longer than a reference on
 * that. Rejected: Age as it is at load time as the initial age. A soft purge that comes later counts its
 * stale windows from the purge, and one before the load from its moment: both need to know when the response
 * came, so that moment is moved to the reader's clock instead. */
#include "cache/record_object.h"

#include "cache/hidden.h"
#include "cache/object.h"
#include "cache/record_text.h"

dur_ms_t cache_record_expire_ms(const struct cache_freshness *f, wall_ms_t now_ms)
{
    dur_ms_t left = cache_freshness_left_ms(f, now_ms) + cache_freshness_keep_ms(f->keep_code);
    return left < CACHE_RECORD_EXPIRE_LEAST_MS ? 0 : MIN(left, CACHE_RECORD_EXPIRE_MAX_MS);
}

bool cache_record_of_object(const struct cache_object *o, const struct cache_stream_map *map,
                            uint64_t write_id, wall_ms_t now_ms, struct cache_record *out)
{
    const uint64_t checked = atomic_load_explicit(&o->checked_id, memory_order_acquire);
    struct cache_stream_stamp stamp;
    if (!cache_object_is_complete(o) || (checked & CACHE_STALE_BIT) /* or CACHE_ID_UNSHOWN */ ||
        !cache_stream_map_stamp(map, checked, &stamp))
        return false;
    const struct cache_object_info i = cache_object_info(o);
    *out = (struct cache_record){
        .kind = CACHE_RECORD_OBJECT,
        .key = cache_object_key(o),
        .vary_names = i.vary_names,
        .primary_bytes = o->primary_bytes,
        .head = cache_object_whole_head(o),
        .status = i.status,
        .status_line_bytes = i.status_line_bytes,
        .early_code = (uint8_t)o->early_code,
        .fresh = i.fresh,
        .last_modified_s = o->last_modified_s,
        .tags = cache_object_tag_fields(o),
        .stamp = stamp,
        .write_id = write_id,
        .written_ms = MAX(now_ms, 0),
        .expire_ms = cache_record_expire_ms(&i.fresh, now_ms),
        .body_bytes = (uint64_t)i.body_bytes,
        .object = o,
    };
    return out->expire_ms > 0 && out->body_bytes <= CACHE_RECORD_BODY_MAX;
}

struct cache_record cache_record_of_marker(slice_t primary, slice_t vary_names)
{
    return (struct cache_record){
        .kind = CACHE_RECORD_MARKER, .key = primary, .primary_bytes = primary.len, .vary_names = vary_names};
}

/* How long the record lay in the store. */
static dur_ms_t resident_ms(const struct cache_record *r, wall_ms_t now_ms, dur_ms_t left_ms)
{
    if (left_ms >= 0 && left_ms <= r->expire_ms)
        return r->expire_ms - left_ms;
    const dur_ms_t by_clock_ms = now_ms - r->written_ms;
    if (by_clock_ms < -CACHE_RECORD_SKEW_MS)
        return r->expire_ms;
    return MAX(by_clock_ms, 0);
}

void cache_record_to_fill(const struct cache_record *r, uint64_t checked_id, const struct http_head *request,
                          int64_t max_object_bytes, wall_ms_t now_ms, dur_ms_t left_ms,
                          struct cache_record_fill *out)
{
    slice_t shown = r->head;
    cache_hidden_take(&shown);
    *out = (struct cache_record_fill){
        .vary = {SLICE_LIT("Vary"), r->vary_names, HTTP_FIELD_VARY},
        .fill = {.request = request,
                 .head = r->head,
                 .status = r->status,
                 .status_line_bytes = r->status_line_bytes,
                 .body_bytes = (int64_t)r->body_bytes,
                 .max_object_bytes = max_object_bytes,
                 .fresh = r->fresh,
                 .early_code = r->early_code,
                 .etag = cache_record_head_field(shown, HTTP_FIELD_ETAG),
                 .last_modified = cache_record_head_field(shown, HTTP_FIELD_LAST_MODIFIED),
                 .last_modified_s = r->last_modified_s,
                 .tags = r->tags,
                 .loaded = true,
                 .checked_id = checked_id},
    };
    const dur_ms_t before_ms = MAX(r->written_ms - r->fresh.response_ms, 0);
    out->fill.fresh.response_ms = now_ms - before_ms - resident_ms(r, now_ms, left_ms);
    if (r->vary_names.len > 0)
        out->response = (struct http_head){.present = HTTP_BIT(VARY), .fields = &out->vary, .field_count = 1};
    out->fill.response = &out->response;
}
