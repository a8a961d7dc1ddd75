/* dns_system.h: what this machine knows of names: its name servers and search list (resolv.conf), and its own
 * table (hosts). Both files are read anew for each lookup, as people change them while the program runs. */
#ifndef CORE_DNS_SYSTEM_H
#define CORE_DNS_SYSTEM_H

#include "core/clock.h"
#include "core/net.h"
#include "core/slice.h"

#define DNS_SERVERS     8
#define DNS_SEARCH      8
#define DNS_TIMEOUT_MS  2000 /* of one try, where nothing is said */
#define DNS_ATTEMPTS    2    /* at each server */
#define DNS_PORT        53
#define DNS_FILE_BYTES  (256 * 1024) /* what lies beyond is not read */
#define DNS_SUFFIX_TEXT 256

struct dns_servers {
    size_t count;
    struct net_addr items[DNS_SERVERS];
};

struct dns_system {
    struct dns_servers servers;
    size_t search_count;
    char search[DNS_SEARCH][DNS_SUFFIX_TEXT];
    unsigned ndots; /* a name with fewer dots is first looked for below the search list */
    unsigned attempts;
    dur_ms_t timeout_ms;
};

/* Where they are; tests set others. */
struct dns_files {
    const char *resolv_conf, *hosts;
    uint16_t port; /* of the servers that resolv.conf names */
};
extern struct dns_files dns_files;

/* Without a file, or without `nameserver` in it: no servers. */
void dns_system_read(struct dns_system *out);
/* The text of a resolv.conf. Pure. */
void dns_system_parse(slice_t text, uint16_t port, struct dns_system *out);

/* The addresses that the hosts file has for `host`, and those of localhost and *.localhost in any case (RFC
 * 6761 section 6.3): such names are never asked for. IPv4 first; how many. */
size_t dns_hosts_find(slice_t host, uint16_t port, struct net_addr *out, size_t room);
/* In the text of a hosts file. Pure. */
size_t dns_hosts_parse(slice_t text, slice_t host, uint16_t port, struct net_addr *out, size_t room);

/* A numeric address without port ("10.0.0.1", "fe80::1"), given one. */
bool dns_address_parse(slice_t text, uint16_t port, struct net_addr *out);

#endif
