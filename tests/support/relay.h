/* relay.h: a TCP link that a test can cut, stall and slow down: what is in front of a server that stays as it
 * is.
 *
 * A thread of its own carries the bytes of all connections both ways. Test thread. */
#ifndef TESTS_SUPPORT_RELAY_H
#define TESTS_SUPPORT_RELAY_H

#include "tests/support/support.h"

struct relay;

/* Listens on a port of the kernel's and carries on to 127.0.0.1:port. Ends with the test. */
struct relay *relay_start(uint16_t port);
const char *relay_address(const struct relay *r); /* "127.0.0.1:port" */
uint16_t relay_port(const struct relay *r);
/* Each of these is done when it returns, and lasts until the next one. */
void relay_cut(struct relay *r);   /* all connections are reset, and so is each new one */
void relay_stall(struct relay *r); /* connections stand, and new ones are accepted, but no byte passes */
void relay_slow(struct relay *r, unsigned bytes_per_tick); /* a tick is 10 ms, per connection and direction */
void relay_delay(struct relay *r, unsigned ms);            /* each piece is held for so long, both ways */
/* Connections are reset when so many bytes of answers have passed from now on, new ones likewise. */
void relay_cut_after(struct relay *r, unsigned bytes);
void relay_heal(struct relay *r);            /* as in the beginning; what was held back passes */
unsigned relay_connections(struct relay *r); /* now */

#endif
