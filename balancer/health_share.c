/* health_share.c: see health_share.h. Probers are few and looked for when instances come, go or are reloaded:
 * a walk over all of them will do. */
#include "balancer/health_share.h"

#include <stdlib.h>
#include <string.h>

#include "core/tls_target.h"

/* Lives as long as somebody shares it. Its settings are always those of one of them, since the texts in there
 * are borrowed. */
struct health_prober {
    struct health_probe probe;
    struct net_addr addr;
    struct list node, shares;
    uint64_t results;
    struct grave grave;
};

void health_probers_init(struct health_probers *all, struct worker *control)
{
    all->control = control;
    list_init(&all->all);
}

void health_share_init(struct health_share *s, struct health_probers *probers, const struct net_addr *addr,
                       void (*on_result)(struct health_share *s, const struct health_result *result))
{
    *s = (struct health_share){.probers = probers, .addr = addr, .on_result = on_result};
    list_init(&s->node);
}

struct health_probe *health_share_probe(const struct health_share *s)
{
    return s->prober != NULL ? &s->prober->probe : NULL;
}

/* ---- who asks the same ---- */

static bool is_same_text(const char *a, const char *b)
{
    return strcmp(a != NULL ? a : "", b != NULL ? b : "") == 0;
}

static bool is_same_tls(const struct health_settings *a, const struct health_settings *b)
{
    if (a->tls == NULL || b->tls == NULL)
        return a->tls == b->tls;
    return tls_target_is_same(a->tls, b->tls) && is_same_text(a->tls_name, b->tls_name);
}

static bool is_same_request(const struct health_settings *a, const struct health_settings *b)
{
    return a->port == b->port && a->http2 == b->http2 && is_same_text(a->path, b->path) &&
           is_same_text(a->host, b->host) && is_same_text(a->body, b->body) &&
           a->range_count == b->range_count &&
           (a->range_count == 0 || memcmp(a->ranges, b->ranges, a->range_count * sizeof *a->ranges) == 0);
}

static bool is_same_question(const struct health_settings *a, const struct health_settings *b)
{
    return a->kind == b->kind && a->interval_ms == b->interval_ms && a->timeout_ms == b->timeout_ms &&
           a->proxy_header == b->proxy_header && is_same_tls(a, b) &&
           (a->kind != CONFIG_HEALTH_HTTP || is_same_request(a, b));
}

static struct health_share *prober_first(const struct health_prober *p)
{
    return CONTAINER_OF(p->shares.next, struct health_share, node);
}

/* One that asks this already, other than for `s` alone. */
static struct health_prober *prober_find(const struct health_share *s, const struct health_settings *settings)
{
    LIST_FOREACH (n, &s->probers->all) {
        struct health_prober *p = CONTAINER_OF(n, struct health_prober, node);
        if (net_addr_eq(&p->addr, s->addr) && is_same_question(&p->probe.settings, settings))
            return p;
    }
    return NULL;
}

/* ---- coming and going ---- */

static struct health_share *prober_next_to_tell(const struct health_prober *p)
{
    LIST_FOREACH (n, &p->shares) {
        struct health_share *s = CONTAINER_OF(n, struct health_share, node);
        if (s->told != p->results)
            return s;
    }
    return NULL;
}

/* Who is told may make others come and go: so each time the first is taken who has not heard of it. */
static void prober_on_result(struct health_probe *probe, const struct health_result *result)
{
    struct health_prober *p = CONTAINER_OF(probe, struct health_prober, probe);
    struct health_share *s;
    p->results++;
    while ((s = prober_next_to_tell(p)) != NULL) {
        s->told = p->results;
        s->on_result(s, result);
    }
}

static struct health_prober *prober_new(const struct health_share *s, const struct health_settings *settings,
                                        dur_ms_t delay_ms)
{
    struct health_prober *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->addr = *s->addr;
    list_init(&p->shares);
    list_push_back(&s->probers->all, &p->node);
    health_probe_init(&p->probe, s->probers->control, &p->addr, prober_on_result);
    health_probe_start(&p->probe, settings, delay_ms);
    return p;
}

static void prober_free(void *obj)
{
    free(obj);
}

void health_share_stop(struct health_share *s)
{
    struct health_prober *p = s->prober;
    if (p == NULL)
        return;
    s->prober = NULL;
    list_remove(&s->node);
    if (!list_empty(&p->shares)) {
        health_probe_start(&p->probe, &prober_first(p)->settings, 0);
        return;
    }
    health_probe_stop(&p->probe);
    list_remove(&p->node);
    worker_bury(s->probers->control, &p->grave, prober_free, p);
}

bool health_share_start(struct health_share *s, const struct health_settings *settings, dur_ms_t delay_ms)
{
    struct health_prober *p = prober_find(s, settings), *own = s->prober;
    const bool alone = own != NULL && s->node.next == s->node.prev;
    s->settings = *settings;
    if (own != NULL && (p == own || (p == NULL && alone))) {
        health_probe_start(&own->probe, settings, delay_ms);
        return true;
    }
    health_share_stop(s);
    if (p == NULL && (p = prober_new(s, settings, delay_ms)) == NULL)
        return false;
    s->prober = p;
    s->told = p->results;
    list_push_back(&p->shares, &s->node);
    if (delay_ms == 0)
        health_probe_hurry(&p->probe);
    return true;
}

void health_share_hurry(struct health_share *s)
{
    if (s->prober != NULL)
        health_probe_hurry(&s->prober->probe);
}
