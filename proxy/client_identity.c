/* client_identity.c: see client_identity.h. The fields' names are those that nginx and HAProxy are mostly
 * configured with. Rejected: Client-Cert of RFC 9440, the whole certificate with each request, which few
 * applications read; keeping each client's responses apart, which is a cache for nobody. */
#include "proxy/client_identity.h"

#include "cache/key_parts.h"
#include "core/panic.h"
#include "proxy/client_conn.h"
#include "proxy/client_tls.h"
#include "proxy/forward.h"
#include "proxy/unkeyed.h"

#define KEY_PART "client-certificate="
#define VERIFY   SLICE_LIT("X-SSL-Client-Verify")
#define SUBJECT  SLICE_LIT("X-SSL-Client-S-DN")
#define SHA256   SLICE_LIT("X-SSL-Client-SHA256")

#define FIELDS_MAX 3

bool client_identity_copy(struct exchange *x, const struct tls_peer *peer)
{
    if (peer == NULL)
        return true;
    struct tls_peer *p = arena_alloc(&x->arena, sizeof *p);
    if (p == NULL)
        return false;
    *p = (struct tls_peer){arena_copy(&x->arena, peer->subject), arena_copy(&x->arena, peer->sha256)};
    x->peer = p;
    return p->subject.ptr != NULL && p->sha256.ptr != NULL;
}

bool client_identity_take(struct exchange *x)
{
    const struct tls_peer *peer = x->client->tls->conn.peer;
    x->certified = peer != NULL && peer->sha256.len > 0 && !x->peer_trusted;
    return client_identity_copy(x, peer);
}

static slice_t verify_of(const struct tls_peer *peer)
{
    return peer->sha256.len > 0 ? SLICE_LIT("SUCCESS") : SLICE_LIT("NONE");
}

static unsigned tell(struct http_field *to, const struct tls_peer *peer)
{
    const struct http_field all[FIELDS_MAX] = {{.name = VERIFY, .value = verify_of(peer)},
                                               {.name = SUBJECT, .value = peer->subject},
                                               {.name = SHA256, .value = peer->sha256}};
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        if (all[i].value.len > 0)
            to[n++] = all[i];
    }
    return n;
}

bool client_identity_tell(struct exchange *x)
{
    struct http_head *h = &x->req;
    struct http_field *to = h->fields;
    unsigned n = 0;
    if (x->peer == NULL && x->peer_trusted)
        return true;
    if (x->peer != NULL) {
        to = arena_alloc(&x->arena, (h->field_count + FIELDS_MAX) * sizeof *to);
        if (to == NULL)
            return false;
        n = x->identity_fields = (uint8_t)tell(to, x->peer);
        h->present |= HTTP_BIT(OTHER);
    }
    for (unsigned i = 0; i < h->field_count; i++) {
        const struct http_field f = h->fields[i];
        if (f.id != HTTP_FIELD_OTHER || unkeyed_kind(f.name) != UNKEYED_IDENTITY)
            to[n++] = f;
    }
    h->fields = to;
    h->field_count = (uint16_t)n;
    return true;
}

void client_identity_retell(struct exchange *x)
{
    if (x->identity_fields > 0)
        tell(x->req.fields, x->peer);
}

bool client_identity_extend_key(struct exchange *x)
{
    slice_t listener = slice_str(x->listen->name);
    size_t bound = x->key.text.len + sizeof " " KEY_PART + 3 * listener.len;
    char *buf = arena_alloc(&x->arena, bound);
    if (buf == NULL)
        return false;
    struct text t = text_make(buf, bound);
    text_put(&t, x->key.text);
    TEXT_LIT(&t, " " KEY_PART);
    cache_key_put_value(&t, listener);
    ASSERT(!t.overflow);
    x->key.text = text_slice(&t);
    x->key.hash = hash_bytes(x->key.text.ptr, x->key.text.len);
    return true;
}

size_t client_identity_bound(const struct exchange *x)
{
    return VERIFY.len + SUBJECT.len + SHA256.len + x->peer->subject.len + x->peer->sha256.len + 32;
}

static void put(struct text *t, const struct exchange *x, slice_t name, slice_t value)
{
    const struct config_route *r = x->route->config;
    if (value.len == 0 || forward_is_edited(r->request_edits, r->request_edit_count, name))
        return;
    text_put(t, name);
    TEXT_LIT(t, ": ");
    text_put(t, value);
    TEXT_LIT(t, "\r\n");
}

void client_identity_put_fields(struct text *t, const struct exchange *x)
{
    put(t, x, VERIFY, verify_of(x->peer));
    put(t, x, SUBJECT, x->peer->subject);
    put(t, x, SHA256, x->peer->sha256);
}
