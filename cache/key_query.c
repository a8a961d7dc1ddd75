/* key_query.c: see key_query.h. Any thread; memory is the caller's.
 *
 * Hot path: most queries have no '%' and their names in order already; one look says so, and the query is
 * copied as it is. Rejected: sorting by whole parameters. "a=2&a=1" and "a=1&a=2" are different requests. */
#include "cache/key_query.h"

#include "cache/percent.h"

struct param {
    slice_t text;
    size_t name_len;
};

static slice_t param_name(const struct param *p)
{
    return slice_make(p->text.ptr, p->name_len);
}

static struct param param_make(slice_t text)
{
    return (struct param){text, MIN(slice_find(text, '=', 0), text.len)};
}

/* Takes the next parameter off *rest; false behind the last one. An empty query is one empty parameter. */
static bool next_param(slice_t *rest, slice_t *out)
{
    if (rest->ptr == NULL)
        return false;
    size_t end = slice_find(*rest, '&', 0);
    *out = slice_make(rest->ptr, MIN(end, rest->len));
    *rest = end == SIZE_MAX ? (slice_t){NULL, 0} : slice_make(rest->ptr + end + 1, rest->len - end - 1);
    return true;
}

/* A byte of the name that goes on at `p`, -1 behind it. */
static int name_byte(const char *p, const char *end)
{
    return p == end || *p == '=' || *p == '&' ? -1 : (unsigned char)*p;
}

/* Two names that differ here may be one to an application: see name_fold. */
static bool is_folded(int c)
{
    return (c >= 'A' && c <= 'Z') || c == '.' || c == '[' || c == '+';
}

/* For certain, without a look at more than tells two neighbours apart. */
static bool in_order(slice_t query)
{
    const char *end = query.ptr + query.len, *last = query.ptr, *mark;
    for (; (mark = memchr(last, '&', (size_t)(end - last))) != NULL; last = mark + 1) {
        const char *a = last, *b = mark + 1;
        while (name_byte(a, end) == name_byte(b, end) && name_byte(a, end) >= 0)
            a++, b++;
        int x = name_byte(a, end), y = name_byte(b, end);
        if (x > y || (UNLIKELY(x != y) && (is_folded(x) || is_folded(y))))
            return false;
    }
    return true;
}

/* ---- which parameters ---- */

static bool is_named(slice_t name, const struct config_key_param *p)
{
    return (p->prefix ? name.len >= p->len : name.len == p->len) && memcmp(name.ptr, p->text, p->len) == 0;
}

/* PHP reads ' ' and '.' in a name as '_'; ASP.NET does not tell letters of either case apart. */
static char name_fold(unsigned char c)
{
    return c == '.' || c == ' ' || c == '+' || c == '[' ? '_' : ascii_lower((char)c);
}

/* Could an application read the name as the listed one? "a[]" and "a[x]" are arrays called "a"; what is
 * behind a NUL or in front of the first letter may be lost. */
static bool may_be_named(slice_t name, const struct config_key_param *p)
{
    size_t n = 0;
    for (size_t i = 0; i < name.len;) {
        unsigned char c = cache_percent_byte(name, &i);
        if (n == 0 && (c == ' ' || c == '+'))
            continue;
        if (n == p->len)
            return p->prefix || c == '[' || c == '\0';
        if (name_fold(c) != name_fold((unsigned char)p->text[n]))
            return false;
        n++;
    }
    return n == p->len;
}

static bool is_kept(const struct config_key *rules, const struct param *p)
{
    if (rules->query == CONFIG_QUERY_ALL || slice_find(p->text, ';', 0) != SIZE_MAX)
        return true;
    bool only = rules->query == CONFIG_QUERY_ONLY;
    for (size_t i = 0; i < rules->param_count; i++) {
        if (only ? may_be_named(param_name(p), &rules->params[i])
                 : is_named(param_name(p), &rules->params[i]))
            return only;
    }
    return !only;
}

/* ---- in which order ---- */

static size_t behind_blanks(slice_t name)
{
    size_t at = 0;
    for (size_t next = 0; next < name.len; at = next) {
        unsigned char c = cache_percent_byte(name, &next);
        if (c != ' ' && c != '+')
            break;
    }
    return at;
}

/* The next byte of the name as far as all applications agree on it, -1 behind that. */
static int next_folded(slice_t name, size_t *at)
{
    unsigned char c = '\0';
    if (*at < name.len)
        c = cache_percent_byte(name, at);
    if (c != '[' && c != '\0')
        return (unsigned char)name_fold(c);
    *at = name.len;
    return -1;
}

int cache_name_compare(slice_t a, slice_t b)
{
    size_t at_a = behind_blanks(a), at_b = behind_blanks(b);
    for (;;) {
        int x = next_folded(a, &at_a), y = next_folded(b, &at_b);
        if (x != y || x < 0)
            return x - y;
    }
}

static char *put_unsorted(char *out, const struct config_key *rules, slice_t query)
{
    slice_t text;
    char separator = '?';
    while (next_param(&query, &text)) {
        char *end = cache_percent_put(out + 1, text);
        const struct param p = param_make(slice_make(out + 1, (size_t)(end - out - 1)));
        if (!is_kept(rules, &p))
            continue;
        *out = separator;
        separator = '&';
        out = end;
    }
    return out;
}

/* Stable, and linear for what is nearly in order. */
static void sort_params(struct param *params, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct param p = params[i];
        size_t at = i;
        for (; at > 0 && cache_name_compare(param_name(&params[at - 1]), param_name(&p)) > 0; at--)
            params[at] = params[at - 1];
        params[at] = p;
    }
}

/* The second half of the buffer takes the normalised parameters, the first the result. */
static char *put_sorted(char *out, const struct config_key *rules, slice_t query)
{
    struct param params[CACHE_QUERY_SORT_MAX];
    size_t count = 0;
    slice_t rest = query, text;
    char *spare = out + 1 + query.len;
    while (next_param(&rest, &text)) {
        char *end = cache_percent_put(spare, text);
        const struct param p = param_make(slice_make(spare, (size_t)(end - spare)));
        if (!is_kept(rules, &p))
            continue;
        if (count == CACHE_QUERY_SORT_MAX || slice_find(p.text, ';', 0) != SIZE_MAX)
            return put_unsorted(out, rules, query);
        params[count++] = p;
        spare = end;
    }
    sort_params(params, count);
    for (size_t i = 0; i < count; i++) {
        *out++ = i == 0 ? '?' : '&';
        memcpy(out, params[i].text.ptr, params[i].text.len);
        out += params[i].text.len;
    }
    return out;
}

char *cache_query_put(char *out, const struct config_key *rules, slice_t query)
{
    if (rules->query == CONFIG_QUERY_NONE)
        return out;
    if (LIKELY(rules->query == CONFIG_QUERY_ALL && memchr(query.ptr, '%', query.len) == NULL &&
               (!rules->sort || in_order(query)))) {
        *out++ = '?';
        memcpy(out, query.ptr, query.len);
        return out + query.len;
    }
    return rules->sort ? put_sorted(out, rules, query) : put_unsorted(out, rules, query);
}
