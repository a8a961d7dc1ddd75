/* unkeyed.c: see unkeyed.h.
 *
 * Not on the way of a hit: fields are looked at when a request goes out, and for the key only when the peer
 * is a trusted proxy or the route keeps some. A proxy that is trusted may still pass on what its own client
 * sent, which many do with X-Forwarded-Host, so belief alone does not make a field harmless: it is keyed.
 * Client addresses are the exception; each client would have its own copy of everything.
 *
 * The parts stand behind the URL and a blank, which a URL cannot have, so whatever goes by the URL (a purge)
 * concerns all of them. Rejected: refusing such requests; they are everyday behind misconfigured proxies. */
#include "proxy/unkeyed.h"

#include "cache/key_parts.h"
#include "core/http_field.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/fold.h"

#define NAME_MAX_BYTES 32 /* of the table's names */

static const struct unkeyed_field {
    slice_t name;
    enum unkeyed_kind kind;
} table[] = {
#define UNKEYED(name, kind, use) {{name, sizeof(name) - 1}, UNKEYED_##kind},
#include "core/unkeyed_tbl.h"
#undef UNKEYED
};

/* Few names have the same length, and memchr looks at many at once. */
static const uint8_t lengths[] = {
#define UNKEYED(name, kind, use) sizeof(name) - 1,
#include "core/unkeyed_tbl.h"
#undef UNKEYED
};

enum unkeyed_kind unkeyed_kind(slice_t name)
{
    const uint8_t *p = lengths, *end = lengths + sizeof lengths;
    if (name.len > NAME_MAX_BYTES)
        return UNKEYED_NONE;
    for (; (p = memchr(p, (int)name.len, (size_t)(end - p))) != NULL; p++) {
        if (slice_ieq(table[p - lengths].name, name))
            return table[p - lengths].kind;
    }
    return UNKEYED_NONE;
}

bool unkeyed_is_disguised(slice_t name)
{
    char dashed[NAME_MAX_BYTES];
    if (name.len > sizeof dashed || slice_find(name, '_', 0) == SIZE_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++)
        dashed[i] = name.ptr[i] == '_' ? '-' : name.ptr[i];
    slice_t as = slice_make(dashed, name.len);
    const struct http_field f = {.name = as, .id = (uint8_t)http_field_lookup(as)};
    return f.id != HTTP_FIELD_OTHER || unkeyed_kind(as) != UNKEYED_NONE || fold_is_ours(&f);
}

/* The same of a field of the route's key. */
static bool is_disguised_key(const struct exchange *x, slice_t name)
{
    const struct config_key *key = x->route->rules.key.custom;
    for (size_t i = 0; key != NULL && i < key->headers.count; i++) {
        slice_t keyed = slice_str(key->headers.items[i]);
        size_t n = 0;
        while (n < name.len && n < keyed.len &&
               (ascii_lower(name.ptr[n]) == ascii_lower(keyed.ptr[n]) ||
                (name.ptr[n] == '_' && keyed.ptr[n] == '-')))
            n++;
        if (n == name.len && n == keyed.len && !slice_ieq(name, keyed))
            return true;
    }
    return false;
}

static bool is_kept_by_name(const struct exchange *x, slice_t name)
{
    const struct config_strings *keep = &x->route->config->keep_request_headers;
    for (size_t i = 0; i < keep->count; i++) {
        if (slice_ieq(slice_str(keep->items[i]), name))
            return true;
    }
    return false;
}

bool unkeyed_is_believed(const struct exchange *x, slice_t name)
{
    return x->peer_trusted || is_kept_by_name(x, name);
}

static bool is_removed(const struct exchange *x, slice_t name, enum unkeyed_kind kind)
{
    bool read = x->req.method == HTTP_GET || x->req.method == HTTP_HEAD;
    switch (kind) {
    case UNKEYED_NONE:
    case UNKEYED_OURS:
        return false;
    case UNKEYED_METHOD:
        return read && !unkeyed_is_believed(x, name);
    case UNKEYED_KEYED:
    case UNKEYED_ADDRESS:
        return !unkeyed_is_believed(x, name);
    case UNKEYED_IDENTITY:
        return x->peer != NULL || !x->peer_trusted || !is_kept_by_name(x, name);
    case UNKEYED_NEVER:
        break;
    }
    return !is_kept_by_name(x, name);
}

bool unkeyed_is_removed(const struct exchange *x, const struct http_field *f)
{
    return unkeyed_is_disguised(f->name) || is_disguised_key(x, f->name) ||
           is_removed(x, f->name, unkeyed_kind(f->name));
}

/* What the application would be told anyway. */
static bool says_the_truth(const struct exchange *x, const struct http_field *f)
{
    if (f->id == HTTP_FIELD_X_FORWARDED_HOST)
        return slice_ieq(f->value, x->host);
    return f->id == HTTP_FIELD_X_FORWARDED_PROTO && slice_ieq(f->value, exchange_scheme(x));
}

static void put_part(struct text *t, slice_t name, slice_t value)
{
    TEXT_LIT(t, " ");
    text_put(t, name);
    TEXT_LIT(t, "=");
    cache_key_put_value(t, value);
}

/* Of Forwarded only what is not about the client. */
static void put_forwarded(struct text *t, slice_t value)
{
    slice_t element;
    const char *before = " forwarded=";
    while (http_list_next(&value, &element)) {
        while (element.len > 0) {
            size_t end = MIN(slice_find(element, ';', 0), element.len);
            slice_t pair = slice_trim(slice_make(element.ptr, end));
            size_t skip = MIN(end + 1, element.len);
            element = slice_make(element.ptr + skip, element.len - skip);
            slice_t key = slice_trim(slice_make(pair.ptr, MIN(slice_find(pair, '=', 0), pair.len)));
            if (slice_ieq(key, SLICE_LIT("for")) || slice_ieq(key, SLICE_LIT("by")) || pair.len == 0)
                continue;
            text_put(t, slice_str(before));
            cache_key_put_value(t, pair);
            before = ";";
        }
    }
}

static bool is_keyed(const struct exchange *x, const struct unkeyed_field *u, const struct http_field *f)
{
    if (!slice_ieq(u->name, f->name) || says_the_truth(x, f))
        return false;
    if (u->kind == UNKEYED_IDENTITY)
        return !is_removed(x, u->name, UNKEYED_IDENTITY);
    return u->kind == UNKEYED_ADDRESS || u->kind == UNKEYED_NEVER ? is_kept_by_name(x, u->name)
                                                                  : unkeyed_is_believed(x, u->name);
}

bool unkeyed_extend_key(struct exchange *x)
{
    const struct http_head *h = &x->req;
    size_t bound = x->key.text.len;
    for (unsigned i = 0; i < h->field_count; i++)
        bound += h->fields[i].name.len + 3 * h->fields[i].value.len + sizeof " =;";
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, bound);
    text_put(&t, x->key.text);
    for (size_t u = 0; u < ARRAY_LEN(table); u++) {
        for (unsigned i = 0; i < h->field_count; i++) {
            const struct http_field *f = &h->fields[i];
            if (!is_keyed(x, &table[u], f))
                continue;
            if (f->id == HTTP_FIELD_FORWARDED)
                put_forwarded(&t, f->value);
            else
                put_part(&t, table[u].name, f->value);
        }
    }
    ASSERT(!t.overflow);
    x->key.text = text_slice(&t);
    x->key.hash = hash_bytes(x->key.text.ptr, x->key.text.len);
    return true;
}
