/* tls_site.h: what one [listen] section with a certificate offers at the moment. Belongs to a snapshot; when
 * the certificates' files change, the control thread puts what they hold now in the place of what they held,
 * and connections that are open keep what they began with. */
#ifndef PROXY_TLS_SITE_H
#define PROXY_TLS_SITE_H

#include "config/config.h"
#include "core/tls_file.h"
#include "core/tls_server.h"

struct tls_site {
    const struct config_listen *config; /* set once, as the next */
    size_t files;                       /* that it names */
    _Atomic(struct tls_server *) current;
    /* control thread */
    char *problem;                  /* NULL, or why the files as they are now are not in use */
    struct tls_stamp *read, *found; /* of its files: as tls_stamps_are_due has it */
};

/* The sites of all listeners, in their order; NULL for one without TLS, and for all when none has it. false
 * and "file:line: [listen NAME] key: what is wrong; what would be right". Control thread, or a command. */
bool tls_sites_new(const struct config *c, struct tls_tickets *tickets, struct tls_site ***out, char *err,
                   size_t err_bytes);
void tls_sites_free(struct tls_site **sites, size_t count);

/* Whether there is anything to say about the n-th certificate: what some clients will not accept, that it has
 * expired, or will within TLS_EXPIRY_WARN_DAYS; or, behind those, about a file of `tls_ocsp`; with its line.
 * `n` is less than tls_site_doubts_max. */
bool tls_site_doubt(const struct config *c, const struct tls_site *s, size_t n, wall_ms_t now_ms, char *buf,
                    size_t buf_bytes);

size_t tls_site_doubts_max(const struct tls_site *s);
/* When the next OCSP response is no longer shown; TLS_STAPLE_NEVER_MS: none. */
wall_ms_t tls_site_staple_ends_ms(const struct tls_site *s, wall_ms_t after_ms);

/* Control thread, now and then: if files have changed, and do no longer change, what they hold takes the
 * place of what they held, or `problem` says why it cannot. Both are logged. true when either happened. */
bool tls_site_look(const struct config *c, struct tls_site *s, struct tls_tickets *tickets);

/* A reference. Any thread that RCU knows. */
struct tls_server *tls_site_get(struct tls_site *s);

#endif
