/* key_rules.c: see key_rules.h. Making them: control thread, once per snapshot and route; the tag is FNV-1a,
 * the same in every process, and nobody but the operator chooses what goes into it. */
#include "cache/key_rules.h"

#include "core/http_field.h"
#include "core/text.h"

#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static void mix(uint64_t *h, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        *h = (*h ^ p[i]) * FNV_PRIME;
}

/* With its NUL, so that two texts never run into one another. */
static void mix_text(uint64_t *h, const char *text)
{
    mix(h, text, strlen(text) + 1);
}

static void mix_strings(uint64_t *h, const struct config_strings *list)
{
    mix(h, &(uint32_t){(uint32_t)list->count}, sizeof(uint32_t));
    for (size_t i = 0; i < list->count; i++)
        mix_text(h, list->items[i]);
}

static bool is_default(const struct config_route *r)
{
    const struct config_key *k = &r->key;
    return k->query == CONFIG_QUERY_ALL && k->sort && k->headers.count == 0 && k->cookies.count == 0 &&
           !k->device && k->languages.count == 0 && r->header_count == 0 && r->compress.count == 0;
}

static uint64_t fingerprint(const struct config_route *r)
{
    const struct config_key *k = &r->key;
    uint64_t h = FNV_START;
    mix(&h, (const uint8_t[]){(uint8_t)k->query, k->sort, k->device}, 3);
    for (size_t i = 0; i < k->param_count; i++) {
        mix(&h, &(uint8_t){k->params[i].prefix}, 1);
        mix_text(&h, k->params[i].text);
    }
    mix_strings(&h, &k->headers);
    mix_strings(&h, &k->cookies);
    mix_strings(&h, &k->languages);
    for (size_t i = 0; i < r->header_count; i++) {
        mix_text(&h, r->headers[i].name);
        mix_text(&h, r->headers[i].value);
    }
    if (r->compress.count > 0) /* what was stored plain is not what is wanted now */
        mix(&h, r->compress.items, r->compress.count);
    return h;
}

static void make_custom(const struct config_route *r, uint64_t h, struct cache_key_rules *out)
{
    out->custom = &r->key;
    struct text t = text_make(out->tag, sizeof out->tag);
    TEXT_LIT(&t, " rules:");
    text_put_hex16(t.at, h);
}

void cache_key_rules_make(const struct config_route *r, struct cache_key_rules *out)
{
    *out = (struct cache_key_rules){.custom = NULL};
    if (!is_default(r))
        make_custom(r, fingerprint(r), out);
}

void cache_key_rules_make_canary(const struct config_route *r, const char *pool, struct cache_key_rules *out)
{
    uint64_t h = fingerprint(r);
    mix_text(&h, "canary");
    mix_text(&h, pool);
    make_custom(r, h, out);
}

static bool is_any(slice_t name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_ieq(name, slice_str(names[i])))
            return true;
    }
    return false;
}

static bool covers(const struct config_key *key, slice_t name)
{
    static const char *const device[] = {"User-Agent", "Sec-CH-UA-Mobile", "Millpond-Device"};
    static const char *const language[] = {"Accept-Language", "Millpond-Language"};
    return is_any(name, key->headers.items, key->headers.count) ||
           (key->device && is_any(name, device, ARRAY_LEN(device))) ||
           (key->languages.count > 0 && is_any(name, language, ARRAY_LEN(language)));
}

/* The list without what the key covers; `.ptr` is NULL without memory. */
static slice_t uncovered(struct arena *arena, const struct config_key *key, slice_t list)
{
    slice_t name;
    char *buf = arena_alloc(arena, list.len + 1);
    if (buf == NULL)
        return (slice_t){NULL, 0};
    struct text t = text_make(buf, list.len + 1);
    while (http_list_next(&list, &name)) {
        if (covers(key, name))
            continue;
        TEXT_LIT(&t, ",");
        text_put(&t, name);
    }
    return text_slice(&t);
}

const struct http_head *cache_key_rules_vary(struct arena *arena, const struct cache_key_rules *k,
                                             const struct http_head *head)
{
    if (k->custom == NULL || !http_head_has(head, HTTP_FIELD_VARY))
        return head;
    struct http_head *copy = arena_alloc(arena, sizeof *copy);
    struct http_field *fields = arena_alloc(arena, head->field_count * sizeof *fields);
    if (copy == NULL || fields == NULL)
        return head;
    memcpy(fields, head->fields, head->field_count * sizeof *fields);
    for (unsigned i = 0; i < head->field_count; i++) {
        if (fields[i].id != HTTP_FIELD_VARY)
            continue;
        fields[i].value = uncovered(arena, k->custom, fields[i].value);
        if (fields[i].value.ptr == NULL)
            return head;
    }
    *copy = *head;
    copy->fields = fields;
    return copy;
}
