/* fuzz_dns_reply.c: datagrams of a name server from any bytes.
 *
 * Beside memory errors it looks for broken promises of dns_message.h: what is found is bounded and has the
 * family and port that were asked for; only outcomes that say so have any; and what was judged foreign stays
 * so for every other id. */
#include <stdlib.h>

#include "core/dns_message.h"
#include "core/panic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const uint8_t *data, size_t size, const struct dns_name *name, enum dns_type type)
{
    static struct dns_addresses found;
    const uint16_t id = size >= 2 ? (uint16_t)(data[0] << 8 | data[1]) : 7;
    const enum dns_reply reply = dns_reply_parse(data, size, id, name, type, 443, &found);
    ASSERT(found.count <= DNS_ADDRESSES);
    ASSERT(reply != DNS_REPLY_ADDRESSES || found.count > 0);
    ASSERT(found.count == 0 || reply == DNS_REPLY_ADDRESSES || reply == DNS_REPLY_CUT ||
           reply == DNS_REPLY_FAILED);
    for (size_t i = 0; i < found.count; i++) {
        ASSERT(found.items[i].sa.sa_family == (type == DNS_TYPE_A ? AF_INET : AF_INET6));
        ASSERT(net_addr_port(&found.items[i]) == 443);
    }
    ASSERT(dns_reply_parse(data, size, id ^ 1, name, type, 443, &found) == DNS_REPLY_FOREIGN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dns_name name;
    uint8_t *copy = malloc(size + 1); /* exactly as large as it is, for the sanitizer */
    if (copy == NULL || !dns_name_make(SLICE_LIT("app.test"), SLICE_EMPTY, &name)) {
        free(copy);
        return 0;
    }
    if (size > 0)
        memcpy(copy + 1, data, size);
    check(copy + 1, size, &name, DNS_TYPE_A);
    check(copy + 1, size, &name, DNS_TYPE_AAAA);
    free(copy);
    return 0;
}
