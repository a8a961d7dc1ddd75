/* ticket_keys.h: the file of `tls_ticket_keys`, which several nodes have in common: read with each
 * configuration, and anew when it changes. Control thread, or a command. */
#ifndef PROXY_TICKET_KEYS_H
#define PROXY_TICKET_KEYS_H

#include "config/config.h"
#include "proxy/tls_site.h"

/* Owned by the server. */
struct ticket_keys {
    struct tls_ticket_keys next; /* read for a configuration that is not in force yet */
    struct tls_stamp next_stamp, read, found;
    bool in_use; /* the keys are a file's */
};

/* Reads what the configuration names, if anything, into `next`. false and "file:line: [millpond]
 * tls_ticket_keys: what is wrong; what would be right". */
bool ticket_keys_prepare(struct ticket_keys *k, const struct config *c, char *err, size_t err_bytes);
/* The configuration is in force: so are its keys, or new ones of our own if it has none any more. */
void ticket_keys_commit(struct ticket_keys *k, const struct config *c, struct tls_tickets *tickets);
/* Now and then: takes over what the file holds now, when it has changed and does no longer change; or keeps
 * what was read before, and says why. */
void ticket_keys_look(struct ticket_keys *k, const struct config *c, struct tls_tickets *tickets);
/* Nothing of a key is left. */
void ticket_keys_end(struct ticket_keys *k);

#endif
