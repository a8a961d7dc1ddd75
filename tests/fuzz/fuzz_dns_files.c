/* fuzz_dns_files.c: resolv.conf and hosts files from any bytes.
 *
 * Beside memory errors it looks for broken promises of dns_system.h: counts and numbers stay within their
 * limits, texts end, addresses have the port that was given, IPv4 comes first. */
#include <stdlib.h>

#include "core/dns_system.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct dns_system s;
    struct net_addr found[16];
    char *copy = malloc(size + 1);
    if (copy == NULL)
        return 0;
    if (size > 0)
        memcpy(copy + 1, data, size);
    const slice_t text = slice_make(copy + 1, size);
    dns_system_parse(text, 53, &s);
    ASSERT(s.servers.count <= DNS_SERVERS && s.search_count <= DNS_SEARCH && s.ndots <= 15);
    ASSERT(s.attempts >= 1 && s.attempts <= 5 && s.timeout_ms >= 1000 && s.timeout_ms <= 5000);
    for (size_t i = 0; i < s.servers.count; i++)
        ASSERT(net_addr_port(&s.servers.items[i]) == 53);
    for (size_t i = 0; i < s.search_count; i++)
        ASSERT(strnlen(s.search[i], DNS_SUFFIX_TEXT) < DNS_SUFFIX_TEXT);
    const size_t count = dns_hosts_parse(text, SLICE_LIT("app.test"), 80, found, ARRAY_LEN(found));
    ASSERT(count <= ARRAY_LEN(found));
    for (size_t i = 0; i < count; i++) {
        ASSERT(net_addr_port(&found[i]) == 80);
        ASSERT(i == 0 || found[i].sa.sa_family == AF_INET6 || found[i - 1].sa.sa_family == AF_INET);
    }
    free(copy);
    return 0;
}
