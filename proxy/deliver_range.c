/* deliver_range.c: see deliver_range.h.
 *
 * Ranges are cut out when the response goes to the client, never when it is fetched: the cache holds whole
 * bodies, and x->offset merely takes jumps. So an object that is still being filled serves ranges as its
 * bytes arrive, provided that its length was announced (Content-Range and Content-Length must be known at the
 * start) and that parts follow each other upwards, since an object that outgrows the memory is read through a
 * window that only moves on. Whatever cannot be done is answered in full, which is always right.
 *
 * Accept-Ranges is what the instance said: a line more on every hit would help no client that just asks, and
 * "none" is obeyed. Rejected: gathering a multipart body in memory; only its few lines of text are made
 * ahead.
 */
#include "proxy/deliver_range.h"

#include "core/http_date.h"
#include "proxy/client.h"
#include "proxy/deliver.h"
#include "proxy/exchange.h"
#include "proxy/forward.h"
#include "proxy/partial.h"
#include "proxy/proxy_worker.h"

#define PUMP_IOV       32
#define MULTIPART_TYPE "multipart/byteranges; boundary="
#define PART_TEXT_MAX  160 /* around the type: boundary, field names, three numbers */

static void put_content_range(struct text *t, const struct deliver_range *r, const struct cache_range *part)
{
    TEXT_LIT(t, "Content-Range: bytes ");
    text_put_u64(t, part->start);
    TEXT_LIT(t, "-");
    text_put_u64(t, part->end - 1);
    TEXT_LIT(t, "/");
    text_put_u64(t, r->size);
    TEXT_LIT(t, "\r\n");
}

/* The text between the parts. Its length. -1: no memory, or not to be done for this head. */
static int64_t multipart_begin(struct exchange *x, struct deliver_range *r, slice_t base)
{
    const struct config_route *route = x->route->config;
    slice_t type = head_text_field(base, HTTP_FIELD_CONTENT_TYPE);
    size_t bound = (r->set.count + 1) * (PART_TEXT_MAX + type.len);
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL || forward_is_edited(route->response_edits, route->response_edit_count,
                                         http_field_name(HTTP_FIELD_CONTENT_TYPE)))
        return -1;
    memcpy(r->boundary, x->pw->id_prefix, 16);
    text_put_hex16(r->boundary + 16, ++x->pw->id_counter);
    struct text t = text_make(buf, bound);
    for (unsigned i = 0; i < r->set.count; i++) {
        char *from = t.at;
        TEXT_LIT(&t, "\r\n--");
        text_put(&t, slice_make(r->boundary, sizeof r->boundary));
        TEXT_LIT(&t, "\r\n");
        if (type.len > 0) {
            TEXT_LIT(&t, "Content-Type: ");
            text_put(&t, type);
            TEXT_LIT(&t, "\r\n");
        }
        put_content_range(&t, r, &r->set.parts[i]);
        TEXT_LIT(&t, "\r\n");
        r->before[i] = slice_make(from, (size_t)(t.at - from));
    }
    r->end.ptr = t.at;
    TEXT_LIT(&t, "\r\n--");
    text_put(&t, slice_make(r->boundary, sizeof r->boundary));
    TEXT_LIT(&t, "--\r\n");
    r->end.len = (size_t)(t.at - r->end.ptr);
    return t.overflow ? -1 : (int64_t)text_slice(&t).len;
}

/* An object being filled is read forwards only. */
static bool order_is_possible(const struct exchange *x, const struct cache_range_set *set)
{
    for (unsigned i = 1; x->source == SOURCE_FOLLOW && i < set->count; i++) {
        if (set->parts[i].start < set->parts[i - 1].end)
            return false;
    }
    return true;
}

static bool range_is_usable(const struct exchange *x, slice_t base)
{
    wall_s_t now_s = x->pw->worker->now_wall_ms / 1000, date_s = 0;
    if (x->source == SOURCE_RELAY || (x->status != 200 && x->status != 206) || x->req.method != HTTP_GET ||
        x->response_length < 0 || http_head_count(&x->req, HTTP_FIELD_RANGE) != 1)
        return false;
    if (!http_date_parse(head_text_field(base, HTTP_FIELD_DATE), now_s, &date_s))
        date_s = 0;
    return cache_if_range_holds(&x->req, &x->info.validators, date_s, now_s) &&
           !slice_ieq(head_text_field(base, HTTP_FIELD_ACCEPT_RANGES), SLICE_LIT("none"));
}

void deliver_range_begin(struct exchange *x, slice_t base)
{
    if (!range_is_usable(x, base))
        return;
    struct deliver_range *r = arena_alloc(&x->arena, sizeof *r);
    struct cache_range held = {0, (uint64_t)x->response_length};
    uint64_t size = held.end;
    if (r == NULL || (x->status == 206 && partial_use(&x->req, &x->info, x->pw->worker->now_wall_ms / 1000,
                                                      &held, &size) != PARTIAL_CUT))
        return;
    *r = (struct deliver_range){.size = size, .base = held.start};
    enum cache_range_verdict v =
        cache_range_parse(http_head_get(&x->req, HTTP_FIELD_RANGE)->value, r->size, &r->set);
    if (v == CACHE_RANGE_WHOLE || !order_is_possible(x, &r->set))
        return;
    if (v == CACHE_RANGE_UNSATISFIABLE) {
        x->range = r;
        deliver_refuse(x, 416, "the requested range lies beyond the end of the content");
        return;
    }
    int64_t length = r->set.count > 1 ? multipart_begin(x, r, base) : 0;
    if (length < 0)
        return;
    for (unsigned i = 0; i < r->set.count; i++)
        length += (int64_t)(r->set.parts[i].end - r->set.parts[i].start);
    x->range = r;
    x->status = 206;
    x->response_length = length;
    x->offset = r->set.parts[0].start - r->base;
}

bool deliver_range_drops(const struct exchange *x, const struct http_field *f)
{
    /* Digests of the content; those of the representation (Repr-Digest) stay (RFC 9530 section 2). */
    if (f->id == HTTP_FIELD_OTHER)
        return slice_ieq(f->name, SLICE_LIT("content-digest")) ||
               slice_ieq(f->name, SLICE_LIT("content-md5"));
    return f->id == HTTP_FIELD_CONTENT_RANGE || (f->id == HTTP_FIELD_CONTENT_TYPE && x->range->set.count > 1);
}

void deliver_range_put_fields(struct text *t, const struct exchange *x)
{
    const struct deliver_range *r = x->range;
    if (x->status == 416) {
        TEXT_LIT(t, "Content-Range: bytes */");
        text_put_u64(t, r->size);
        TEXT_LIT(t, "\r\n");
    } else if (r->set.count == 1) {
        put_content_range(t, r, &r->set.parts[0]);
    } else {
        TEXT_LIT(t, "Content-Type: " MULTIPART_TYPE);
        text_put(t, slice_make(r->boundary, sizeof r->boundary));
        TEXT_LIT(t, "\r\n");
    }
}

/* The bytes of the part under way that are there. */
static void pump_part(struct exchange *x, uint64_t end, const struct iovec *iov, size_t n)
{
    for (size_t i = 0; i < n && x->offset < end; i++) {
        size_t bytes = (size_t)MIN(iov[i].iov_len, end - x->offset);
        client_add(x, iov[i].iov_base, bytes, x->object);
        x->offset += bytes;
        x->response_bytes += bytes;
    }
}

bool deliver_range_pump(struct exchange *x)
{
    struct deliver_range *r = x->range;
    struct iovec iov[PUMP_IOV];
    const uint64_t end = r->set.parts[r->next].end - r->base;
    size_t n = cache_object_iov(x->object, x->offset, iov, PUMP_IOV);
    deliver_step(x, iov, &n);
    if (!client_ready(x, (unsigned)n + 2, 0))
        return false;
    if (!r->begun) {
        client_add(x, r->before[r->next].ptr, r->before[r->next].len, NULL);
        x->response_bytes += r->before[r->next].len;
        r->begun = true;
    }
    pump_part(x, end, iov, n);
    if (x->offset < end)
        return true;
    r->begun = false;
    if (++r->next < r->set.count) {
        x->offset = r->set.parts[r->next].start - r->base;
        return true;
    }
    client_add(x, r->end.ptr, r->end.len, NULL);
    x->response_bytes += r->end.len;
    x->offset = r->size;
    return true;
}
