/* client_identity.h: who a client is by the certificate it showed (core/tls_verify.h), on its way to the
 * instance and into the cache's key.
 *
 * To the cache a certificate is a credential, as Authorization is: what comes of such requests is shared only
 * if the response says so, and then only among requests that came with a certificate to the same listener,
 * since whoever got in without one, or by other authorities, has no right to it. That is done by a part of
 * the key. The certificate of a trusted proxy says who the proxy is, and nothing about whom it speaks for: it
 * is passed on, and plays no part in the cache. Worker's thread. */
#ifndef PROXY_CLIENT_IDENTITY_H
#define PROXY_CLIENT_IDENTITY_H

#include "core/text.h"
#include "proxy/exchange.h"

/* Notes who the client of a new exchange is, if its connection was asked for a certificate. false when out of
 * memory. */
bool client_identity_take(struct exchange *x);
/* The same for an exchange without a client, as of another's. false when out of memory. */
bool client_identity_copy(struct exchange *x, const struct tls_peer *peer);

/* Of a request that came: takes out what says who the client is by a certificate, unless a trusted proxy says
 * it, and puts in what is true, so that what the ini file reads of requests (routes, keys, limits) reads
 * that. Needed if there is a `peer`, or the configuration reads such fields. false when out of memory. */
bool client_identity_tell(struct exchange *x);
/* The first `identity_fields` fields of the request, whose text then is that of its own `peer`. */
void client_identity_retell(struct exchange *x);

/* Appends to the key, behind the URL, what keeps `certified` requests apart. false when out of memory. */
bool client_identity_extend_key(struct exchange *x);

/* The fields for the instance, on exchanges with a `peer`: at most so many bytes. */
size_t client_identity_bound(const struct exchange *x);
void client_identity_put_fields(struct text *t, const struct exchange *x);

/* The listener requires a certificate, and the connection is from before it did: 421. */
static inline bool client_identity_is_missing(const struct exchange *x)
{
    return x->listen->tls_client_verify == TLS_VERIFY_REQUIRED &&
           (x->peer == NULL || x->peer->sha256.len == 0);
}

#endif
