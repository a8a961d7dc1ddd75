/* dns_system.c: see dns_system.h. Control thread. Both files are small and local; reading them takes some
 * microseconds, once per lookup. The words are those of resolv.conf(5) and hosts(5); unknown ones and what
 * is not understood are passed over, as every resolver does.
 *
 * Rejected: to keep what was read until inotify says that it changed. The files are often links that are
 * exchanged, and a lookup is rare. */
#include "core/dns_system.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DNS_NDOTS_MAX    15
#define DNS_ATTEMPTS_MAX 5
#define DNS_TIMEOUT_MAX  5 /* seconds */

struct dns_files dns_files = {.resolv_conf = "/etc/resolv.conf", .hosts = "/etc/hosts", .port = DNS_PORT};

/* The content, to be freed; SLICE_EMPTY when there is none. */
static slice_t file_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *buf = fd >= 0 ? malloc(DNS_FILE_BYTES) : NULL;
    size_t len = 0;
    while (buf != NULL && len < DNS_FILE_BYTES) {
        ssize_t n = read(fd, buf + len, DNS_FILE_BYTES - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    if (fd >= 0)
        close(fd);
    return slice_make(buf, len);
}

/* Takes the next line off `text`, without a comment. */
static slice_t next_line(slice_t *text)
{
    size_t end = MIN(slice_find(*text, '\n', 0), text->len);
    slice_t line = slice_make(text->ptr, end);
    end += end < text->len;
    *text = slice_make(text->ptr + end, text->len - end);
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] == '#' || line.ptr[i] == ';')
            line.len = i;
    return line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Takes the next word off `line`; empty: there is none. */
static slice_t next_word(slice_t *line)
{
    size_t from = 0, to;
    while (from < line->len && is_blank(line->ptr[from]))
        from++;
    for (to = from; to < line->len && !is_blank(line->ptr[to]);)
        to++;
    slice_t word = slice_make(line->ptr + from, to - from);
    *line = slice_make(line->ptr + to, line->len - to);
    return word;
}

bool dns_address_parse(slice_t text, uint16_t port, struct net_addr *out)
{
    char buf[NET_ADDR_TEXT];
    const bool v6 = slice_find(text, ':', 0) != SIZE_MAX;
    int n = snprintf(buf, sizeof buf, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)MIN(text.len, sizeof buf), text.ptr,
                     port);
    return text.len > 0 && n > 0 && (size_t)n < sizeof buf &&
           net_addr_parse(slice_make(buf, (size_t)n), out) && out->sa.sa_family != AF_UNIX;
}

/* ---- resolv.conf ---- */

static void system_add_search(struct dns_system *s, slice_t word)
{
    if (s->search_count == DNS_SEARCH || word.len >= DNS_SUFFIX_TEXT || slice_eq(word, SLICE_LIT(".")))
        return;
    memcpy(s->search[s->search_count], word.ptr, word.len);
    s->search[s->search_count++][word.len] = '\0';
}

static bool option_number(slice_t word, slice_t name, uint64_t *out)
{
    return slice_starts(word, name) &&
           slice_to_u64(slice_make(word.ptr + name.len, word.len - name.len), out);
}

static void system_set_option(struct dns_system *s, slice_t word)
{
    uint64_t n;
    if (option_number(word, SLICE_LIT("ndots:"), &n))
        s->ndots = (unsigned)MIN(n, DNS_NDOTS_MAX);
    else if (option_number(word, SLICE_LIT("timeout:"), &n))
        s->timeout_ms = (dur_ms_t)MIN(MAX(n, 1), DNS_TIMEOUT_MAX) * 1000;
    else if (option_number(word, SLICE_LIT("attempts:"), &n))
        s->attempts = (unsigned)MIN(MAX(n, 1), DNS_ATTEMPTS_MAX);
}

void dns_system_parse(slice_t text, uint16_t port, struct dns_system *out)
{
    *out = (struct dns_system){.ndots = 1, .attempts = DNS_ATTEMPTS, .timeout_ms = DNS_TIMEOUT_MS};
    while (text.len > 0) {
        slice_t line = next_line(&text), key = next_word(&line), word;
        if (slice_eq(key, SLICE_LIT("nameserver"))) {
            if (out->servers.count < DNS_SERVERS &&
                dns_address_parse(next_word(&line), port, &out->servers.items[out->servers.count]))
                out->servers.count++;
        } else if (slice_eq(key, SLICE_LIT("search")) || slice_eq(key, SLICE_LIT("domain"))) {
            out->search_count = 0; /* the last one counts */
            while ((word = next_word(&line)).len > 0)
                system_add_search(out, word);
        } else if (slice_eq(key, SLICE_LIT("options"))) {
            while ((word = next_word(&line)).len > 0)
                system_set_option(out, word);
        }
    }
}

void dns_system_read(struct dns_system *out)
{
    slice_t text = file_read(dns_files.resolv_conf);
    dns_system_parse(text, dns_files.port, out);
    free((char *)text.ptr);
}

/* ---- hosts ---- */

static void hosts_add(const struct net_addr *a, struct net_addr *out, size_t *count, size_t room)
{
    for (size_t i = 0; i < *count; i++)
        if (net_addr_eq(&out[i], a))
            return;
    if (*count < room)
        out[(*count)++] = *a;
}

static void hosts_scan(slice_t text, slice_t host, int family, uint16_t port, struct net_addr *out,
                       size_t *count, size_t room)
{
    while (text.len > 0) {
        slice_t line = next_line(&text), word;
        struct net_addr a;
        if (!dns_address_parse(next_word(&line), port, &a) || a.sa.sa_family != family)
            continue;
        while ((word = next_word(&line)).len > 0)
            if (slice_ieq(word, host))
                hosts_add(&a, out, count, room);
    }
}

size_t dns_hosts_parse(slice_t text, slice_t host, uint16_t port, struct net_addr *out, size_t room)
{
    size_t count = 0;
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    hosts_scan(text, host, AF_INET, port, out, &count, room);
    hosts_scan(text, host, AF_INET6, port, out, &count, room);
    return count;
}

static bool is_localhost(slice_t host)
{
    static const slice_t name = SLICE_LIT("localhost");
    if (host.len > 0 && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len < name.len || !slice_ieq(slice_make(host.ptr + host.len - name.len, name.len), name))
        return false;
    return host.len == name.len || host.ptr[host.len - name.len - 1] == '.';
}

size_t dns_hosts_find(slice_t host, uint16_t port, struct net_addr *out, size_t room)
{
    slice_t text = file_read(dns_files.hosts);
    size_t count = dns_hosts_parse(text, host, port, out, room);
    free((char *)text.ptr);
    if (count > 0 || !is_localhost(host) || room < 2)
        return count;
    dns_address_parse(SLICE_LIT("127.0.0.1"), port, &out[0]);
    dns_address_parse(SLICE_LIT("::1"), port, &out[1]);
    return 2;
}
