/* redis_url.c: see redis_url.h. */
#include "config/redis_url.h"

#include <stdio.h>

#include "config/value.h"
#include "core/net.h"

static slice_t rest_behind(slice_t s, size_t n)
{
    return slice_make(s.ptr + n, s.len - n);
}

/* Value of the escape at `i`; -1 where there is none. */
static int escape_at(slice_t s, size_t i)
{
    uint64_t v;
    if (s.ptr[i] != '%' || s.len - i < 3 || !slice_hex_to_u64(slice_make(s.ptr + i + 1, 2), &v))
        return -1;
    return (int)v;
}

static bool is_encoded(slice_t s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '%' && escape_at(s, i) <= 0)
            return false;
    }
    return true;
}

size_t redis_url_decode(slice_t encoded, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < encoded.len; i++) {
        int c = escape_at(encoded, i);
        out[n++] = c >= 0 ? (char)c : encoded.ptr[i];
        i += c >= 0 ? 2 : 0;
    }
    return n;
}

static const char *take_database(slice_t s, struct redis_url *out)
{
    uint64_t n;
    if (!slice_to_u64(s, &n) || n > INT32_MAX)
        return "has no number where the database stands; write one, such as redis://127.0.0.1:6379/1 or "
               "unix:/run/redis.sock?db=1";
    out->database = (unsigned)n;
    return NULL;
}

static const char *parse_unix(slice_t rest, struct redis_url *out)
{
    struct net_addr addr;
    char text[NET_ADDR_TEXT];
    if (slice_starts(rest, SLICE_LIT("//")))
        rest = rest_behind(rest, 2);
    size_t query = slice_find(rest, '?', 0);
    out->host = query == SIZE_MAX ? rest : slice_make(rest.ptr, query);
    int n = snprintf(text, sizeof text, "unix:" SLICE_FMT, SLICE_ARG(out->host));
    if (out->host.len == 0 || out->host.ptr[0] != '/' || n >= (int)sizeof text ||
        !net_addr_parse(slice_str(text), &addr))
        return "has no usable path; write unix:/path or unix:///path, of at most 107 bytes, and user and "
               "password in the keys of that name";
    if (query == SIZE_MAX)
        return NULL;
    slice_t behind = rest_behind(rest, query + 1);
    if (!slice_starts(behind, SLICE_LIT("db=")))
        return "has something else than a database behind the question mark; write ?db=1, or nothing";
    return take_database(rest_behind(behind, 3), out);
}

static const char *take_user(slice_t s, struct redis_url *out)
{
    size_t colon = slice_find(s, ':', 0);
    out->username = colon == SIZE_MAX ? s : slice_make(s.ptr, colon);
    out->password = colon == SIZE_MAX ? SLICE_EMPTY : rest_behind(s, colon + 1);
    if (out->username.len + out->password.len == 0)
        return "has an @ with neither user nor password before it; write redis://user:password@host";
    if (!is_encoded(s))
        return "has a % before the @ that begins no escape, or %00; write %25 for a percent sign";
    return NULL;
}

static const char *take_address(slice_t s, struct redis_url *out)
{
    bool has_port = s.len > 0 && s.ptr[s.len - 1] != ']' && slice_find(s, ':', 0) != SIZE_MAX;
    out->host = s;
    if (has_port && (!net_host_port_split(s, &out->host, &out->port) || out->port == 0))
        return "has no usable port; write one from 1 to 65535 behind the host, as in "
               "redis://127.0.0.1:6379, and %3A, %2F and %40 for : / and @ in user and password";
    if (value_parse_host(out->host) != NULL)
        return "has no usable host; write a name, an IPv4 address or [v6], as in redis://127.0.0.1:6379";
    return NULL;
}

static const char *parse_network(slice_t rest, struct redis_url *out)
{
    size_t slash = slice_find(rest, '/', 0);
    slice_t authority = slash == SIZE_MAX ? rest : slice_make(rest.ptr, slash);
    slice_t database = slash == SIZE_MAX ? SLICE_EMPTY : rest_behind(rest, slash + 1);
    size_t at = slice_find(authority, '@', 0);
    if (slice_find(rest, '?', 0) != SIZE_MAX || slice_find(rest, '#', 0) != SIZE_MAX)
        return "has a ? or # in it; write %3F and %23 in user and password, and the database as /1";
    if (slice_find(database, '@', 0) != SIZE_MAX ||
        (at != SIZE_MAX && slice_find(authority, '@', at + 1) != SIZE_MAX))
        return "has a slash or an @ in user or password; write %2F and %40 there";
    const char *wrong = at == SIZE_MAX ? NULL : take_user(slice_make(authority.ptr, at), out);
    if (wrong == NULL)
        wrong = take_address(at == SIZE_MAX ? authority : rest_behind(authority, at + 1), out);
    return wrong != NULL || database.len == 0 ? wrong : take_database(database, out);
}

const char *redis_url_parse(slice_t text, struct redis_url *out)
{
    static const struct {
        slice_t begin;
        enum redis_url_scheme scheme;
        const char *(*parse)(slice_t rest, struct redis_url *out);
    } schemes[] = {{SLICE_LIT("redis://"), REDIS_URL_PLAIN, parse_network},
                   {SLICE_LIT("rediss://"), REDIS_URL_TLS, parse_network},
                   {SLICE_LIT("unix:"), REDIS_URL_UNIX, parse_unix}};
    for (size_t i = 0; i < text.len; i++) {
        if ((unsigned char)text.ptr[i] <= ' ' || text.ptr[i] == 0x7f)
            return "has a blank or control character in it; write a blank in user and password as %20";
    }
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (!slice_starts(text, schemes[i].begin))
            continue;
        *out = (struct redis_url){schemes[i].scheme, SLICE_EMPTY, SLICE_EMPTY, SLICE_EMPTY, 0, 0};
        return schemes[i].parse(rest_behind(text, schemes[i].begin.len), out);
    }
    return "begins with neither redis://, rediss:// nor unix:; write one, such as redis://127.0.0.1:6379";
}

bool redis_url_hide(slice_t text, char out[REDIS_URL_SHOWN])
{
    struct redis_url url;
    bool known = redis_url_parse(text, &url) == NULL;
    if (known && url.password.len == 0)
        return false;
    if (!known) {
        snprintf(out, REDIS_URL_SHOWN, "***");
        return true;
    }
    slice_t before = slice_make(text.ptr, (size_t)(url.password.ptr - text.ptr));
    slice_t behind = rest_behind(text, before.len + url.password.len);
    snprintf(out, REDIS_URL_SHOWN, SLICE_FMT "***" SLICE_FMT, SLICE_ARG(before), SLICE_ARG(behind));
    return true;
}
