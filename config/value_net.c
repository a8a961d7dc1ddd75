/* value_net.c: addresses, hosts and path patterns; see value.h. */
#include "config/value.h"

const char *value_parse_cidr(slice_t s, struct net_cidr *out)
{
    if (net_cidr_parse(s, out))
        return NULL;
    return "is not a network; write an address with an optional prefix length, such as 10.0.0.0/8, ::1 or "
           "unix";
}

static bool value_is_dns_char(char c)
{
    c = ascii_lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* A DNS name or an IPv4 address. A name of digits and dots only must be an address. */
static bool value_is_dns_name(slice_t s)
{
    bool numeric = true;
    if (s.len == 0 || s.len > 253 || s.ptr[0] == '.' || s.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!value_is_dns_char(s.ptr[i]) || (s.ptr[i] == '.' && i + 1 < s.len && s.ptr[i + 1] == '.'))
            return false;
        numeric = numeric && ((s.ptr[i] >= '0' && s.ptr[i] <= '9') || s.ptr[i] == '.');
    }
    struct net_cidr cidr;
    return !numeric || net_cidr_parse(s, &cidr);
}

static bool value_is_v6_literal(slice_t s)
{
    struct net_cidr cidr;
    if (s.len < 4 || s.ptr[0] != '[' || s.ptr[s.len - 1] != ']')
        return false;
    slice_t inside = slice_make(s.ptr + 1, s.len - 2);
    return memchr(inside.ptr, ':', inside.len) != NULL && memchr(inside.ptr, '/', inside.len) == NULL &&
           net_cidr_parse(inside, &cidr);
}

const char *value_parse_host(slice_t s)
{
    if (value_is_dns_name(s) || value_is_v6_literal(s))
        return NULL;
    slice_t host;
    uint16_t port;
    if (net_host_port_split(s, &host, &port) && (value_is_dns_name(host) || value_is_v6_literal(host)))
        return "has a port; write the host alone";
    return "is not a host; write a name, an IPv4 address or [v6], such as example.com";
}

const char *value_parse_host_pattern(slice_t s)
{
    if (slice_starts(s, SLICE_LIT("*."))) {
        if (value_is_dns_name(slice_make(s.ptr + 2, s.len - 2)))
            return NULL;
    } else if (s.len > 0 && memchr(s.ptr, '*', s.len) == NULL) {
        return value_parse_host(s);
    }
    return "is not a host pattern; a star stands for the first part only, such as *.example.com";
}

const char *value_parse_listen_address(slice_t s, struct net_addr *out)
{
    slice_t host;
    uint16_t port;
    if (net_addr_parse(s, out))
        return NULL;
    if (slice_starts(s, SLICE_LIT("unix:")))
        return "is not a usable socket path; write unix:/path of at most 107 bytes";
    uint64_t number;
    if (slice_to_u64(s, &number))
        return "is not an address; write a colon before the port, such as :8080";
    if (!net_host_port_split(s, &host, &port))
        return "has no port; write address:port, such as 127.0.0.1:8080 or :8080";
    return "is not an address to listen on; write a numeric one with a port from 1 to 65535, such as "
           "127.0.0.1:8080, [::1]:8080, :8080 or unix:/path";
}

const char *value_parse_server_address(slice_t s, slice_t *host)
{
    struct net_addr addr;
    uint16_t port;
    if (slice_starts(s, SLICE_LIT("unix:"))) {
        *host = SLICE_LIT("localhost");
        return net_addr_parse(s, &addr)
                   ? NULL
                   : "is not a usable socket path; write unix:/path of at most 107 bytes";
    }
    if (slice_starts(s, SLICE_LIT("http://")) || slice_starts(s, SLICE_LIT("https://")))
        return "is a URL; write host:port, such as 127.0.0.1:3001";
    if (s.len > 0 && (s.ptr[0] == '"' || s.ptr[0] == '\''))
        return "stands in quotes; write it without them, such as 127.0.0.1:3001";
    if (memchr(s.ptr, '/', s.len) != NULL)
        return "has a path; write host:port alone, such as 127.0.0.1:3001";
    if (!net_host_port_split(s, host, &port))
        return memchr(s.ptr, ':', s.len) != NULL
                   ? "has no port from 1 to 65535; write host:port or [v6]:port, such as 127.0.0.1:3001"
                   : "has no port; write host:port, such as 127.0.0.1:3001";
    if (port == 0)
        return "has port 0; write host:port with a port from 1 to 65535";
    if (!value_is_dns_name(*host) && !value_is_v6_literal(*host))
        return "is not an address; write host:port, [v6]:port or unix:/path, such as 127.0.0.1:3001";
    return NULL;
}

const char *value_parse_path_pattern(slice_t s, struct config_path *out)
{
    static const char advice[] = "is not a path pattern; write /exact, /prefix/* or *.ext";
    bool leading = s.len > 0 && s.ptr[0] == '*', trailing = s.len > 1 && s.ptr[s.len - 1] == '*';
    if (memchr(s.ptr, '?', s.len) != NULL || memchr(s.ptr, '#', s.len) != NULL)
        return "has a query; a route looks at the path alone, such as /search";
    if (memchr(s.ptr, ' ', s.len) != NULL || memchr(s.ptr, '\t', s.len) != NULL)
        return "contains a blank; write it as %20, and several paths with commas between them";
    slice_t rest = leading ? slice_make(s.ptr + 1, s.len - 1) : s;
    rest.len -= trailing;
    if ((leading && trailing) || memchr(rest.ptr, '*', rest.len) != NULL)
        return advice;
    if (leading) {
        if (rest.len < 2 || rest.ptr[0] != '.' || memchr(rest.ptr, '/', rest.len) != NULL)
            return advice;
        *out = (struct config_path){CONFIG_PATH_SUFFIX, rest.ptr, rest.len};
        return NULL;
    }
    if (rest.len == 0 || rest.ptr[0] != '/')
        return "does not begin with a slash; write /exact, /prefix/* or *.ext";
    if (trailing && rest.ptr[rest.len - 1] != '/')
        return "has its star in the middle of a part; write /prefix/*, with a slash before the star";
    *out = (struct config_path){trailing ? CONFIG_PATH_PREFIX : CONFIG_PATH_EXACT, rest.ptr, rest.len};
    return NULL;
}
