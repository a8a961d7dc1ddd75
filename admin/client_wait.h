/* client_wait.h: `millpond purge --wait`: from one status to the next, whether all nodes have applied what
 * was purged before the first; what is purged meanwhile does not matter. Pure but for the stream that is
 * printed to. */
#ifndef ADMIN_CLIENT_WAIT_H
#define ADMIN_CLIENT_WAIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#define CLIENT_WAIT_EVERY_MS 50
#define CLIENT_WAIT_MS       30000

struct client_wait {
    /* the stream id up to which every node has to come; 0-0 until this node has seen its event come back */
    unsigned long long ms, seq;
    json_int_t number; /* of the last event of the purge, as the answer to it said */
};

enum client_wait_state {
    CLIENT_WAIT_GO_ON,
    CLIENT_WAIT_REACHED, /* by all nodes; or there is only this one */
    CLIENT_WAIT_MISSED   /* by all but those that were not heard of for some time */
};

/* `purges` is that member of the status, of now. */
enum client_wait_state client_wait_look(struct client_wait *w, const json_t *purges);
/* How far each node is, and what becomes of those that are not there yet. */
void client_wait_print(const struct client_wait *w, const json_t *purges, FILE *out);

#endif
