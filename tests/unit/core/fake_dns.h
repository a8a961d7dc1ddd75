/* fake_dns.h: a getaddrinfo of the test's own, which the linker prefers to the C library's: hosts with
 * scripted addresses, failures, and answers held back until the test lets them go. One per test program. */
#ifndef TESTS_UNIT_CORE_FAKE_DNS_H
#define TESTS_UNIT_CORE_FAKE_DNS_H

#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/dns_system.h"

#define FAKE_DNS_HOSTS 8

struct fake_dns_host {
    const char *host;
    const char *addresses[4]; /* literals without port, [v6] in brackets; none: EAI_NONAME */
    bool held;
    unsigned lookups;
};

static struct fake_dns_host fake_dns[FAKE_DNS_HOSTS];
static pthread_mutex_t fake_dns_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fake_dns_change = PTHREAD_COND_INITIALIZER;

/* Both under the lock. */
static struct fake_dns_host *fake_dns_find(const char *host)
{
    for (size_t i = 0; i < FAKE_DNS_HOSTS; i++)
        if (fake_dns[i].host != NULL && strcmp(fake_dns[i].host, host) == 0)
            return &fake_dns[i];
    return NULL;
}

static struct addrinfo *fake_dns_entry(const char *literal, const char *port)
{
    struct {
        struct addrinfo info;
        struct net_addr addr;
    } *e = calloc(1, sizeof *e);
    char text[100];
    if (e == NULL)
        abort();
    snprintf(text, sizeof text, "%s:%s", literal, port);
    if (!net_addr_parse(slice_str(text), &e->addr))
        abort();
    e->info.ai_family = e->addr.sa.sa_family;
    e->info.ai_addrlen = e->addr.len;
    e->info.ai_addr = &e->addr.sa;
    return &e->info;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
    struct addrinfo **end = out;
    UNUSED(hints);
    *out = NULL;
    pthread_mutex_lock(&fake_dns_lock);
    struct fake_dns_host *h = fake_dns_find(host);
    if (h != NULL)
        h->lookups++;
    pthread_cond_broadcast(&fake_dns_change);
    while (h != NULL && h->held)
        pthread_cond_wait(&fake_dns_change, &fake_dns_lock);
    for (size_t i = 0; h != NULL && i < ARRAY_LEN(h->addresses) && h->addresses[i] != NULL; i++) {
        *end = fake_dns_entry(h->addresses[i], port);
        end = &(*end)->ai_next;
    }
    pthread_mutex_unlock(&fake_dns_lock);
    return *out != NULL ? 0 : EAI_NONAME;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list != NULL) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* Sets what a host has from now on; NULL for an address ends the list. */
static inline void fake_dns_set(const char *host, const char *a, const char *b, const char *c)
{
    pthread_mutex_lock(&fake_dns_lock);
    struct fake_dns_host *h = fake_dns_find(host);
    for (size_t i = 0; h == NULL; i++)
        if (fake_dns[i].host == NULL)
            h = &fake_dns[i];
    h->host = host;
    h->addresses[0] = a;
    h->addresses[1] = a != NULL ? b : NULL;
    h->addresses[2] = a != NULL && b != NULL ? c : NULL;
    pthread_mutex_unlock(&fake_dns_lock);
}

static inline void fake_dns_hold(const char *host, bool held)
{
    pthread_mutex_lock(&fake_dns_lock);
    fake_dns_find(host)->held = held;
    pthread_cond_broadcast(&fake_dns_change);
    pthread_mutex_unlock(&fake_dns_lock);
}

static inline unsigned fake_dns_lookups(const char *host)
{
    pthread_mutex_lock(&fake_dns_lock);
    unsigned n = fake_dns_find(host)->lookups;
    pthread_mutex_unlock(&fake_dns_lock);
    return n;
}

static inline void fake_dns_wait_for_lookup(const char *host, unsigned lookups)
{
    pthread_mutex_lock(&fake_dns_lock);
    while (fake_dns_find(host)->lookups < lookups)
        pthread_cond_wait(&fake_dns_change, &fake_dns_lock);
    pthread_mutex_unlock(&fake_dns_lock);
}

/* And no files of the machine's: names are looked up here alone. */
static inline void fake_dns_clear(void)
{
    dns_files.resolv_conf = dns_files.hosts = "/nonexistent/file";
    pthread_mutex_lock(&fake_dns_lock);
    memset(fake_dns, 0, sizeof fake_dns);
    pthread_mutex_unlock(&fake_dns_lock);
}

#endif
