/* stream_id.c: see stream_id.h. Strict, so that an id has one text and two ids are equal when their texts
 * are. */
#include "cache/stream_id.h"

static bool number_parse(slice_t text, uint64_t *out)
{
    return (text.len == 1 || (text.len > 1 && text.ptr[0] != '0')) && slice_to_u64(text, out);
}

bool cache_stream_id_parse(slice_t text, struct cache_stream_id *out)
{
    size_t dash = slice_find(text, '-', 0);
    return dash != SIZE_MAX && number_parse(slice_make(text.ptr, dash), &out->ms) &&
           number_parse(slice_make(text.ptr + dash + 1, text.len - dash - 1), &out->seq);
}

slice_t cache_stream_id_print(char *buf, struct cache_stream_id id)
{
    size_t n = slice_put_u64(buf, id.ms);
    buf[n++] = '-';
    return slice_make(buf, n + slice_put_u64(buf + n, id.seq));
}
