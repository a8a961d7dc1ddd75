/* key.c: see key.h. Pure; any thread; memory is the caller's.
 *
 * Building the primary key runs for every request that may be a hit, so the plain case is three block copies:
 * a path is looked at byte by byte only behind its first '%'. Normalising never merges what an application
 * might tell apart: only RFC 3986 section 6.2.2.2 equivalents (percent.h), and by default the order of
 * parameters of different names (key_query.h).
 *
 * The key text is unambiguous because its parts cannot hold their separators: hosts have no '/', paths no
 * '?', field values no line feed; the parsers guarantee that, and cache_key_from_url checks it for its own
 * input. Rejected: a hash over the parts without the text. Two requests would then share a response by
 * chance. */
#include "cache/key.h"

#include "cache/key_query.h"
#include "cache/percent.h"
#include "core/http_field.h"

#define VARY_NONE ((slice_t){NULL, 0})

/* Lower-cases ASCII, eight bytes at a time: bit 7 of each byte of `upper` is set where the byte is A-Z. */
static char *put_lower(char *out, slice_t s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    size_t i = 0;
    for (; i + 8 <= s.len; i += 8) {
        uint64_t v;
        memcpy(&v, s.ptr + i, sizeof v);
        uint64_t low7 = v & (ones * 0x7f);
        uint64_t upper = ((low7 + ones * (0x80 - 'A')) ^ (low7 + ones * (0x7f - 'Z'))) & ~v & (ones * 0x80);
        v |= upper >> 2;
        memcpy(out + i, &v, sizeof v);
    }
    for (; i < s.len; i++)
        out[i] = ascii_lower(s.ptr[i]);
    return out + s.len;
}

static char *put(char *out, slice_t s)
{
    memcpy(out, s.ptr, s.len);
    return out + s.len;
}

static char *put_path(char *out, slice_t path)
{
    if (path.len == 0) {
        *out++ = '/';
        return out;
    }
    const char *escape = memchr(path.ptr, '%', path.len);
    if (LIKELY(escape == NULL))
        return put(out, path);
    size_t plain = (size_t)(escape - path.ptr);
    out = put(out, slice_make(path.ptr, plain));
    return cache_percent_put(out, slice_make(escape, path.len - plain));
}

/* Splits "name:port"; the port comes without leading zeros. What is neither name nor name:digits stays whole.
 */
static slice_t split_port(slice_t host, slice_t *port)
{
    size_t from = 0;
    *port = SLICE_EMPTY;
    if (host.len > 0 && host.ptr[0] == '[')
        from = slice_find(host, ']', 0);
    size_t colon = slice_find(host, ':', from);
    if (colon == SIZE_MAX)
        return host;
    for (size_t i = colon + 1; i < host.len; i++) {
        if (host.ptr[i] < '0' || host.ptr[i] > '9')
            return host;
    }
    size_t digits = colon + 1;
    while (digits + 1 < host.len && host.ptr[digits] == '0')
        digits++;
    *port = slice_make(host.ptr + digits, host.len - digits);
    return slice_make(host.ptr, colon);
}

static char *put_host(char *out, slice_t scheme, slice_t host)
{
    slice_t port;
    slice_t name = split_port(host, &port);
    /* "example.com." names the same host; ".." and "." are no names at all and stay. */
    if (name.len > 1 && name.ptr[name.len - 1] == '.' && name.ptr[name.len - 2] != '.' &&
        slice_find(name, ':', 0) == SIZE_MAX)
        name.len--;
    out = put_lower(out, name);
    slice_t default_port = scheme.len == 5 ? SLICE_LIT("443") : SLICE_LIT("80");
    if (port.len > 0 && !slice_eq(port, default_port)) {
        *out++ = ':';
        out = put(out, port);
    }
    return out;
}

const struct config_key cache_key_default = {.query = CONFIG_QUERY_ALL, .sort = true};

void cache_key_build_by(char *buf, const struct config_key *rules, const struct cache_url *url, slice_t parts,
                        struct cache_key *out)
{
    char *p = put_lower(buf, url->scheme);
    p = put(p, SLICE_LIT("://"));
    p = put_host(p, url->scheme, url->host);
    p = put_path(p, url->path);
    if (url->query.ptr != NULL)
        p = cache_query_put(p, rules, url->query);
    if (UNLIKELY(parts.len > 0))
        p = put(p, parts);
    out->text = slice_make(buf, (size_t)(p - buf));
    out->hash = hash_bytes(buf, out->text.len);
}

void cache_key_build(char *buf, slice_t scheme, slice_t host, slice_t path, slice_t query,
                     struct cache_key *out)
{
    const struct cache_url url = {scheme, host, path, query};
    cache_key_build_by(buf, &cache_key_default, &url, SLICE_EMPTY, out);
}

bool cache_key_of_url(struct arena *arena, const struct config_key *rules, const struct cache_url *url,
                      struct cache_key *out)
{
    char *buf = arena_alloc(arena, cache_key_bound(url->scheme, url->host, url->path, url->query));
    if (buf == NULL)
        return false;
    cache_key_build_by(buf, rules, url, SLICE_EMPTY, out);
    return true;
}

void cache_key_other_scheme(const struct cache_key *key, char *buf, struct cache_key *out)
{
    bool secure = slice_starts(key->text, SLICE_LIT("https:"));
    char *p = put(buf, secure ? SLICE_LIT("http") : SLICE_LIT("https"));
    p = put(p, cache_url_past_scheme(key->text));
    out->text = slice_make(buf, (size_t)(p - buf));
    out->hash = hash_bytes(buf, out->text.len);
}

/* Takes "http://" or "https://" from the front of `url`. */
static bool take_scheme(slice_t *url, slice_t *scheme)
{
    static const slice_t schemes[] = {{"http", 4}, {"https", 5}};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = schemes[i].len;
        if (url->len < len + 3 || memcmp(url->ptr + len, "://", 3) != 0 ||
            !slice_ieq(slice_make(url->ptr, len), schemes[i]))
            continue;
        *scheme = schemes[i];
        *url = slice_make(url->ptr + len + 3, url->len - len - 3);
        return true;
    }
    return false;
}

bool cache_url_split(slice_t text, struct cache_url *out)
{
    slice_t rest = text;
    out->query = (slice_t){NULL, 0};
    if (!take_scheme(&rest, &out->scheme))
        return false;
    for (size_t i = 0; i < rest.len; i++) {
        if ((unsigned char)rest.ptr[i] <= ' ' || (unsigned char)rest.ptr[i] >= 0x7f)
            return false;
    }
    /* A fragment stays in the browser (RFC 9110 section 4.2.5); a URL copied from there may carry one. */
    rest.len = MIN(slice_find(rest, '#', 0), rest.len);
    size_t mark = slice_find(rest, '?', 0);
    if (mark != SIZE_MAX) {
        out->query = slice_make(rest.ptr + mark + 1, rest.len - mark - 1);
        rest.len = mark;
    }
    size_t slash = MIN(slice_find(rest, '/', 0), rest.len);
    out->host = slice_make(rest.ptr, slash);
    out->path = slice_make(rest.ptr + slash, rest.len - slash);
    return http_host_is_valid(out->host);
}

bool cache_key_from_url(struct arena *arena, slice_t text, struct cache_key *out)
{
    struct cache_url url;
    return cache_url_split(text, &url) && cache_key_of_url(arena, &cache_key_default, &url, out);
}

/* Sorted, without repeats. */
struct name_set {
    slice_t items[CACHE_VARY_MAX_FIELDS];
    size_t count;
};

static int name_compare(slice_t a, slice_t b)
{
    int c = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

/* false when there is no room. */
static bool name_set_add(struct name_set *set, slice_t name)
{
    size_t at = 0;
    int c = 1;
    while (at < set->count && (c = name_compare(name, set->items[at])) > 0)
        at++;
    if (at < set->count && c == 0)
        return true;
    if (set->count == CACHE_VARY_MAX_FIELDS)
        return false;
    memmove(set->items + at + 1, set->items + at, (set->count - at) * sizeof set->items[0]);
    set->items[at] = name;
    set->count++;
    return true;
}

/* Adds what one Vary line lists. An element that is no field name may mean anything, so it counts as `*`. */
static bool names_from_line(struct arena *arena, slice_t value, struct name_set *set, bool *star)
{
    slice_t element;
    while (http_list_next(&value, &element)) {
        if (slice_eq(element, SLICE_LIT("*")) || !http_is_token(element)) {
            *star = true;
            return false;
        }
        char *copy = arena_alloc(arena, element.len);
        if (copy == NULL)
            return false;
        put_lower(copy, element);
        if (!name_set_add(set, slice_make(copy, element.len)))
            return false;
    }
    return true;
}

slice_t cache_vary_names(struct arena *arena, const struct http_head *response, bool *star)
{
    struct name_set set = {.count = 0};
    *star = false;
    if (LIKELY(!http_head_has(response, HTTP_FIELD_VARY)))
        return SLICE_EMPTY;
    bool whole = true;
    /* A `*` in a later line counts even when an earlier line names too many fields. */
    for (unsigned i = 0; i < response->field_count && !*star; i++) {
        if (response->fields[i].id == HTTP_FIELD_VARY)
            whole &= names_from_line(arena, response->fields[i].value, &set, star);
    }
    if (!whole)
        return VARY_NONE;
    size_t bytes = 0;
    for (size_t i = 0; i < set.count; i++)
        bytes += set.items[i].len + 1;
    if (bytes == 0)
        return SLICE_EMPTY;
    char *buf = arena_alloc(arena, bytes);
    if (buf == NULL)
        return VARY_NONE;
    char *p = buf;
    for (size_t i = 0; i < set.count; i++) {
        p = put(p, set.items[i]);
        *p++ = ',';
    }
    return slice_make(buf, bytes - 1);
}

/* Text of bounded size; `full` once something did not fit. */
struct vary_text {
    size_t len;
    bool full;
    char buf[CACHE_VARY_MAX_BYTES];
};

static void vary_put(struct vary_text *t, slice_t s)
{
    if (s.len > sizeof t->buf - t->len) {
        t->full = true;
        return;
    }
    memcpy(t->buf + t->len, s.ptr, s.len);
    t->len += s.len;
}

static void vary_put_element(struct vary_text *t, slice_t element, size_t *count)
{
    vary_put(t, (*count)++ == 0 ? SLICE_LIT(": ") : SLICE_LIT(", "));
    vary_put(t, element);
}

/* Credentials are compared as they came: only their owner may know which changes mean nothing. */
static void vary_put_value(struct vary_text *t, const struct http_field *f, size_t *count)
{
    slice_t rest = f->value, element;
    if (f->id == HTTP_FIELD_COOKIE || f->id == HTTP_FIELD_AUTHORIZATION) {
        vary_put_element(t, f->value, count);
        return;
    }
    while (http_list_next(&rest, &element))
        vary_put_element(t, element, count);
}

/* In lower case and without white space. */
static bool preference_add(struct arena *arena, slice_t element, struct name_set *set)
{
    size_t n = 0;
    char *copy = arena_alloc(arena, element.len);
    if (copy == NULL)
        return false;
    for (size_t i = 0; i < element.len; i++) {
        if (element.ptr[i] != ' ' && element.ptr[i] != '\t')
            copy[n++] = ascii_lower(element.ptr[i]);
    }
    return name_set_add(set, slice_make(copy, n));
}

/* The elements of all lines of Accept-Encoding or Accept-Language, sorted: nothing but their weights orders
 * them (RFC 9110 sections 12.5.3 and 12.5.4). false when there are too many. */
static bool vary_put_preferences(struct vary_text *t, struct arena *arena, enum http_field_id id,
                                 const struct http_head *request, size_t *count)
{
    struct name_set set = {.count = 0};
    for (unsigned i = 0; i < request->field_count; i++) {
        slice_t rest = request->fields[i].value, element;
        while (request->fields[i].id == id && http_list_next(&rest, &element)) {
            if (!preference_add(arena, element, &set))
                return false;
        }
    }
    for (size_t i = 0; i < set.count; i++)
        vary_put_element(t, set.items[i], count);
    return true;
}

/* "name: a, b\n", or "name\n" when the request has no such field. */
static void vary_put_field(struct vary_text *t, struct arena *arena, slice_t name,
                           const struct http_head *request)
{
    enum http_field_id id = http_field_lookup(name);
    bool sorted = id == HTTP_FIELD_ACCEPT_ENCODING || id == HTTP_FIELD_ACCEPT_LANGUAGE;
    bool present = false;
    size_t count = 0;
    vary_put(t, name);
    if (id == HTTP_FIELD_OTHER || http_head_has(request, id)) {
        sorted = sorted && vary_put_preferences(t, arena, id, request, &count);
        for (unsigned i = 0; i < request->field_count; i++) {
            const struct http_field *f = &request->fields[i];
            if (f->id != id || (id == HTTP_FIELD_OTHER && !slice_ieq(f->name, name)))
                continue;
            present = true;
            if (!sorted)
                vary_put_value(t, f, &count);
        }
    }
    if (present && count == 0)
        vary_put(t, SLICE_LIT(": "));
    vary_put(t, SLICE_LIT("\n"));
}

slice_t cache_vary_key(struct arena *arena, slice_t names, const struct http_head *request)
{
    struct vary_text t;
    t.len = 0;
    t.full = false;
    if (names.len == 0)
        return SLICE_EMPTY;
    while (names.len > 0 && !t.full) {
        size_t end = MIN(slice_find(names, ',', 0), names.len);
        vary_put_field(&t, arena, slice_make(names.ptr, end), request);
        size_t skip = MIN(end + 1, names.len);
        names = slice_make(names.ptr + skip, names.len - skip);
    }
    return t.full ? VARY_NONE : arena_copy(arena, slice_make(t.buf, t.len));
}
