/* demo_app.h: the sample application behind `millpond demo`: a small web site with every kind of page a cache
 * cares about. One thread, one event base; it knows nothing of the proxy in front of it. */
#ifndef PROXY_DEMO_APP_H
#define PROXY_DEMO_APP_H

#include "core/base.h"

struct event_base;
struct demo_app;

struct demo_app_settings { /* strings are copied */
    const char *name;      /* shown on every page */
    const char *data_path; /* file of the product's price, shared by all instances; NULL: kept in memory */
    const char *purge_command; /* what a person types before a URL to purge it; NULL: "millpond purge" */
};

/* Serves on the listening socket `fd`, which it takes over also when it fails. NULL when out of memory. */
struct demo_app *demo_app_create(struct event_base *base, int fd, const struct demo_app_settings *s);
void demo_app_destroy(struct demo_app *app);

/* `demo-app --port N --name NAME [--data FILE] [--purge COMMAND]`: serves on 127.0.0.1 until SIGTERM or
 * SIGINT. Returns the exit status: 0, 1 out of memory, 2 wrong usage, DEMO_APP_NO_PORT. */
#define DEMO_APP_NO_PORT 3
int demo_app_main(int argc, char **argv);

#endif
