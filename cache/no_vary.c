/* no_vary.c: see no_vary.h. Any thread.
 *
 * A rule is turned into what a route's key_query and key_sort are, and a query into one spelling, so that the
 * rest is done by the code that does it for routes. Rejected: comparing URLs pair by pair as the draft writes
 * it. That finds the one among many stored responses; with a key, there is one to look for. */
#include "cache/no_vary.h"

#include "cache/percent.h"
#include "core/sf.h"
#include "core/text.h"

#define FIELD_MAX 4096 /* bytes of all lines; more is not looked at */

/* ---- one spelling ---- */

static bool is_unreserved(unsigned char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower((char)c) >= 'a' && ascii_lower((char)c) <= 'z') ||
           c == '-' || c == '.' || c == '_' || c == '~';
}

/* The next byte of a name or value. */
static unsigned char form_byte(slice_t s, size_t *at)
{
    if (s.ptr[*at] != '+')
        return cache_percent_byte(s, at);
    (*at)++;
    return ' ';
}

/* At most three times as long. A bare ';' stays what it is: some applications end a parameter there. */
static char *put_form(char *out, slice_t s)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len;) {
        bool bare = s.ptr[i] == ';';
        unsigned char c = form_byte(s, &i);
        if (bare || is_unreserved(c)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

/* Pairs as "name=value", without empty ones; `.len` is 0 when there are none, `.ptr` is NULL without memory.
 */
static slice_t form_query(struct arena *arena, slice_t query)
{
    char *buf = arena_alloc(arena, 4 * query.len + 1), *out = buf;
    if (buf == NULL)
        return (slice_t){NULL, 0};
    while (query.len > 0) {
        size_t end = MIN(slice_find(query, '&', 0), query.len), skip = MIN(end + 1, query.len);
        slice_t pair = slice_make(query.ptr, end);
        query = slice_make(query.ptr + skip, query.len - skip);
        if (pair.len == 0)
            continue;
        size_t name = MIN(slice_find(pair, '=', 0), pair.len), value = MIN(name + 1, pair.len);
        if (out > buf)
            *out++ = '&';
        out = put_form(out, slice_make(pair.ptr, name));
        *out++ = '=';
        out = put_form(out, slice_make(pair.ptr + value, pair.len - value));
    }
    return slice_make(buf, (size_t)(out - buf));
}

/* ---- the field ---- */

struct statement { /* the members that count; the last of each name does */
    bool has_except;
    bool order, all;
    slice_t params, except; /* inner lists; `.ptr` is NULL when there is none */
};

static bool take_order(const struct sf_member *m, struct statement *st)
{
    st->order = m->integer != 0;
    return m->type == SF_BOOLEAN;
}

static bool take_params(const struct sf_member *m, struct statement *st)
{
    bool list = m->type == SF_INNER_LIST;
    st->all = m->type == SF_BOOLEAN && m->integer != 0;
    st->params = list ? m->text : (slice_t){NULL, 0};
    return list || m->type == SF_BOOLEAN;
}

static bool take_except(const struct sf_member *m, struct statement *st)
{
    st->has_except = true;
    st->except = m->text;
    return m->type == SF_INNER_LIST;
}

/* Which of two members of one name counts is known at the end, so what is wrong about each is, too. */
static bool read_members(slice_t field, struct statement *st)
{
    bool order = true, params = true, except = true;
    struct sf_member m;
    enum sf_step step;
    *st = (struct statement){.params = {NULL, 0}, .except = {NULL, 0}};
    while ((step = sf_dictionary_next(&field, &m)) == SF_MEMBER) {
        if (slice_eq(m.key, SLICE_LIT("key-order")))
            order = take_order(&m, st);
        else if (slice_eq(m.key, SLICE_LIT("params")))
            params = take_params(&m, st);
        else if (slice_eq(m.key, SLICE_LIT("except")))
            except = take_except(&m, st);
    }
    return step == SF_END && order && params && except && (!st->has_except || st->all);
}

/* All lines as one. `.ptr` is NULL when they are too long. */
static slice_t join_lines(char *buf, const struct http_head *response)
{
    struct text t = text_make(buf, FIELD_MAX);
    bool first = true;
    for (unsigned i = 0; i < response->field_count; i++) {
        if (response->fields[i].id != HTTP_FIELD_NO_VARY_SEARCH)
            continue;
        text_put(&t, slice_str(first ? "" : ", "));
        text_put(&t, slice_trim(response->fields[i].value));
        first = false;
    }
    slice_t all = text_slice(&t);
    return t.overflow ? (slice_t){NULL, 0} : all;
}

/* ---- the names in it ---- */

/* Bytes that follow the first of a character, -1 when it is none. */
static int utf8_more(unsigned char c)
{
    return c < 0x80                ? 0
           : c >= 0xc2 && c < 0xe0 ? 1
           : c >= 0xe0 && c < 0xf0 ? 2
           : c >= 0xf0 && c < 0xf5 ? 3
                                   : -1;
}

/* UTF-8 (RFC 3629) without U+FFFD, which stands for whatever is none: bytes are then equal exactly when
 * characters are. */
static bool is_plain_utf8(slice_t name)
{
    for (size_t i = 0; i < name.len;) {
        unsigned char first = form_byte(name, &i);
        uint32_t code = first;
        int more = utf8_more(first);
        if (more > 0)
            code &= 0x3fu >> more;
        for (int k = 0; k < more; k++) {
            unsigned char c = i < name.len ? form_byte(name, &i) : 0;
            if ((c & 0xc0) != 0x80)
                return false;
            code = code << 6 | (c & 0x3f);
        }
        static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
        if (more < 0 || code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ||
            code == 0xfffd)
            return false;
    }
    return true;
}

static int name_compare(slice_t a, slice_t b)
{
    int c = memcmp(a.ptr, b.ptr, MIN(a.len, b.len));
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

struct names { /* sorted, without repeats */
    slice_t items[NO_VARY_NAMES_MAX];
    size_t count;
};

static bool names_add(struct names *n, slice_t name)
{
    size_t at = 0;
    int c = 1;
    while (at < n->count && (c = name_compare(name, n->items[at])) > 0)
        at++;
    if (at < n->count && c == 0)
        return true;
    if (n->count == NO_VARY_NAMES_MAX)
        return false;
    memmove(n->items + at + 1, n->items + at, (n->count - at) * sizeof n->items[0]);
    n->items[at] = name;
    n->count++;
    return true;
}

/* false when an item is no string, or no name that can be heeded; or there are too many. */
static bool read_names(struct arena *arena, slice_t list, struct names *out)
{
    struct sf_member item;
    enum sf_step step;
    out->count = 0;
    while ((step = sf_inner_list_next(&list, &item)) == SF_MEMBER) {
        char *raw = arena_alloc(arena, item.text.len + 1), *buf = arena_alloc(arena, 3 * item.text.len + 1);
        size_t n = 0;
        if (item.type != SF_STRING || raw == NULL || buf == NULL)
            return false;
        for (size_t i = 0; i < item.text.len; i++) {
            i += item.text.ptr[i] == '\\';
            raw[n++] = item.text.ptr[i];
        }
        slice_t name = slice_make(raw, n);
        if (!is_plain_utf8(name) || !names_add(out, slice_make(buf, (size_t)(put_form(buf, name) - buf))))
            return false;
    }
    return step == SF_END;
}

static void put_names(struct text *t, const struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        text_put(t, slice_str(i > 0 ? "&" : ""));
        text_put(t, names->items[i]);
    }
}

slice_t cache_no_vary_parse(struct arena *arena, const struct http_head *response)
{
    char field[FIELD_MAX], out[NO_VARY_TEXT_MAX];
    struct text t = text_make(out, sizeof out);
    struct statement st;
    struct names names = {.count = 0};
    if (LIKELY(!http_head_has(response, HTTP_FIELD_NO_VARY_SEARCH)))
        return SLICE_EMPTY;
    slice_t all = join_lines(field, response), list;
    if (all.ptr == NULL || !read_members(all, &st))
        return SLICE_EMPTY;
    list = st.has_except ? st.except : st.params;
    if (list.ptr != NULL && !read_names(arena, list, &names))
        return SLICE_EMPTY;
    text_put(&t, NO_VARY_PART);
    if (st.all && names.count == 0) {
        TEXT_LIT(&t, "none");
    } else if (names.count > 0) {
        text_put(&t, st.order ? SLICE_LIT("order,") : SLICE_EMPTY);
        text_put(&t, st.all ? SLICE_LIT("only:") : SLICE_LIT("except:"));
        put_names(&t, &names);
    } else if (st.order) {
        TEXT_LIT(&t, "order");
    } else {
        return SLICE_EMPTY;
    }
    slice_t copy = t.overflow ? SLICE_EMPTY : arena_copy(arena, text_slice(&t));
    return copy.ptr != NULL ? copy : SLICE_EMPTY;
}

/* ---- a rule ---- */

/* `only` reads the names of a request as applications may (key_query.h), so its own are decoded, and without
 * the blanks in front, which are not looked at. */
static slice_t decode_name(char *out, slice_t name)
{
    size_t n = 0;
    for (size_t i = 0; i < name.len;) {
        char c = (char)cache_percent_byte(name, &i);
        if (n > 0 || c != ' ')
            out[n++] = c;
    }
    return slice_make(out, n);
}

void cache_no_vary_read(slice_t text, struct no_vary_rule *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->bytes, text.ptr, text.len);
    out->text = slice_make(out->bytes, text.len);
    out->key.params = out->names;
    slice_t rest = slice_make(out->bytes + NO_VARY_PART.len, text.len - NO_VARY_PART.len);
    out->key.sort = slice_starts(rest, SLICE_LIT("order"));
    if (slice_eq(rest, SLICE_LIT("none")))
        out->key.query = CONFIG_QUERY_NONE;
    size_t colon = slice_find(rest, ':', 0);
    if (colon == SIZE_MAX)
        return;
    bool only = colon >= 4 && memcmp(rest.ptr + colon - 4, "only", 4) == 0;
    out->key.query = only ? CONFIG_QUERY_ONLY : CONFIG_QUERY_EXCEPT;
    char *decoded = out->decoded;
    for (size_t at = colon + 1; at <= rest.len && out->key.param_count < NO_VARY_NAMES_MAX;) {
        size_t end = MIN(slice_find(rest, '&', at), rest.len);
        slice_t name = slice_make(rest.ptr + at, end - at);
        if (only)
            name = decode_name(decoded, name);
        decoded += name.len;
        out->names[out->key.param_count++] = (struct config_key_param){.text = name.ptr, .len = name.len};
        at = end + 1;
    }
}

bool cache_no_vary_key(struct arena *arena, const struct no_vary_rule *rule, slice_t plain,
                       struct cache_key *out)
{
    slice_t url = cache_key_url(plain);
    size_t mark = MIN(slice_find(url, '?', 0), url.len);
    slice_t query = slice_make(url.ptr + MIN(mark + 1, url.len), url.len - MIN(mark + 1, url.len));
    slice_t parts = slice_make(plain.ptr + url.len, plain.len - url.len);
    query = form_query(arena, query);
    size_t bound = mark + cache_query_bound(query) + rule->text.len + parts.len;
    char *buf = query.ptr != NULL ? arena_alloc(arena, bound) : NULL;
    if (buf == NULL)
        return false;
    memcpy(buf, url.ptr, mark);
    char *p = buf + mark;
    if (query.len > 0)
        p = cache_query_put(p, &rule->key, query);
    memcpy(p, rule->text.ptr, rule->text.len);
    p += rule->text.len;
    memcpy(p, parts.ptr, parts.len);
    out->text = slice_make(buf, (size_t)(p - buf) + parts.len);
    out->hash = hash_bytes(buf, out->text.len);
    return true;
}
