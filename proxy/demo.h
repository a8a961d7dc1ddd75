/* demo.h: `millpond demo`: two sample instances and Millpond in front of them, for somebody who wants to see
 * it work. */
#ifndef PROXY_DEMO_H
#define PROXY_DEMO_H

#include <getopt.h>

/* `demo [--port N] [--admin-port N]` (0 = any free one). Starts three children of this program (`run`, twice
 * `demo-app`), prints what to try once probes of both instances succeed, starts a sample instance again some
 * time after it died, and ends all of them and its temporary folder on SIGINT, SIGTERM or SIGHUP. The calling
 * process must have no threads yet. Returns the exit status: 0, 1 when something could not be started or
 * Millpond itself ended, 2 wrong usage. */
int demo_main(int argc, char **argv);
/* The options above, for who completes them. */
extern const struct option demo_options[];

#endif
