/* early_hints.c: see early_hints.h.
 *
 * What an instance says goes to clients of HTTP/1.1 and HTTP/2 alike, as RFC 9110 section 15.2 asks of
 * proxies. What is learned goes to clients of HTTP/2 only: nobody asked for it, and some old clients of
 * HTTP/1.1 take an interim response for the final one (RFC 8297 section 3).
 *
 * Learned are links of a response that is stored for this very request, variant and all, and that the leak
 * guard would let it have; nothing is remembered beside the cache, so what is purged or forgotten gives no
 * hints. Of its links only those that a browser acts on early, and that do no harm when they are outdated. */
#include "proxy/early_hints.h"

#include "core/http_field.h"
#include "core/link_field.h"
#include "core/metrics.h"
#include "core/panic.h"
#include "core/text.h"
#include "proxy/client.h"
#include "proxy/deliver.h"
#include "proxy/forward.h"
#include "proxy/proxy_worker.h"

#define LEARNED_MAX (4 * KB)

void exchange_on_interim(struct exchange *x, const struct http_head *head)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    const bool hints = head->status == 103;
    if (x->client == NULL || x->head_sent || x->req.version_minor == 0 || client_is_blocked(x) ||
        (hints && x->route->config->early_hints == CONFIG_EARLY_HINTS_OFF))
        return;
    slice_t text = forward_interim(x, head);
    if (text.ptr == NULL)
        return;
    client_interim(x, text);
    proxy_count(x->pw, METRIC_EARLY_HINTS, hints);
}

/* Whole links only, as many as there is room for. */
static void put_links(struct text *t, slice_t value)
{
    struct link_value link;
    while (link_next(&value, &link)) {
        if (!link_rel_has(link.rel, SLICE_LIT("preload")) && !link_rel_has(link.rel, SLICE_LIT("preconnect")))
            continue;
        if (text_slice(t).len + link.text.len + sizeof "link: \r\n\r\n" > LEARNED_MAX)
            continue;
        TEXT_LIT(t, "link: ");
        text_put(t, link.text);
        TEXT_LIT(t, "\r\n");
    }
}

/* It was never to be used before the instance has confirmed it: neither are its links. */
static bool needs_confirmation(const struct cache_freshness *f)
{
    return f->revalidate_always || (f->never_stale && f->lifetime_ms <= 0);
}

void early_hints_learn(struct exchange *x)
{
    const struct config_route *r = x->route->config;
    const slice_t status_line = SLICE_LIT("HTTP/1.1 103 Early Hints\r\n");
    if (x->stream == NULL || x->hinted || x->req.method != HTTP_GET || x->info.status != 200 ||
        needs_confirmation(&x->info.fresh) ||
        forward_is_edited(r->response_edits, r->response_edit_count, SLICE_LIT("link")))
        return;
    char buf[LEARNED_MAX];
    struct text t = text_make(buf, sizeof buf);
    slice_t rest = x->info.head, name, value;
    text_put(&t, status_line);
    while (head_text_next(&rest, &name, &value)) {
        if (http_field_lookup(name) == HTTP_FIELD_LINK)
            put_links(&t, value);
    }
    if (text_slice(&t).len == status_line.len)
        return;
    TEXT_LIT(&t, "\r\n");
    ASSERT(!t.overflow);
    x->hinted = true;
    client_interim(x, text_slice(&t));
    proxy_count(x->pw, METRIC_EARLY_HINTS_LEARNED, 1);
}
