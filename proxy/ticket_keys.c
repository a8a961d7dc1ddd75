/* ticket_keys.c: see ticket_keys.h. Rejected: deriving the keys from one secret and the time, as some servers
 * do. Who steals that secret can read what was recorded at any time before. */
#include "proxy/ticket_keys.h"

#include <openssl/crypto.h>
#include <string.h>

#include "core/log.h"

static bool keys_read(struct ticket_keys *k, const struct config *c, char *err, size_t err_bytes)
{
    char why[1024];
    const char *path = c->main.tls_ticket_keys;
    struct config_origin at = config_main_origin(c, "tls_ticket_keys");
    k->next_stamp = tls_stamp_of(path); /* before it is read: what changes meanwhile is seen as a change */
    if (tls_ticket_keys_read(&k->next, path, why, sizeof why))
        return true;
    snprintf(err, err_bytes, "%s:%d: [millpond] tls_ticket_keys: %s", at.file, at.line, why);
    return false;
}

bool ticket_keys_prepare(struct ticket_keys *k, const struct config *c, char *err, size_t err_bytes)
{
    return c->main.tls_ticket_keys[0] == '\0' || keys_read(k, c, err, err_bytes);
}

void ticket_keys_commit(struct ticket_keys *k, const struct config *c, struct tls_tickets *tickets)
{
    const bool before = k->in_use;
    k->in_use = c->main.tls_ticket_keys[0] != '\0';
    k->read = k->found = k->next_stamp;
    if (k->in_use)
        tls_tickets_set(tickets, &k->next);
    else if (before)
        tls_tickets_rotate(tickets);
    OPENSSL_cleanse(&k->next, sizeof k->next);
}

void ticket_keys_look(struct ticket_keys *k, const struct config *c, struct tls_tickets *tickets)
{
    char err[1400];
    if (!k->in_use)
        return;
    const struct tls_stamp now = tls_stamp_of(c->main.tls_ticket_keys);
    bool changed = memcmp(&now, &k->read, sizeof now) != 0,
         settled = memcmp(&now, &k->found, sizeof now) == 0;
    k->found = now;
    if (!changed || !settled)
        return;
    if (keys_read(k, c, err, sizeof err)) {
        ticket_keys_commit(k, c, tickets);
        log_info("[millpond] tls_ticket_keys read anew, since the file has changed");
        return;
    }
    k->read = now; /* once is enough */
    log_error("%s; the keys read before stay in use", err);
}

void ticket_keys_end(struct ticket_keys *k)
{
    OPENSSL_cleanse(k, sizeof *k);
}
