/* events.h: the timeline (core/timeline.h) as JSON for the API, and as people read it on a terminal. */
#ifndef ADMIN_EVENTS_H
#define ADMIN_EVENTS_H

#include <jansson.h>
#include <stdio.h>

/* [{"at_ms", "kind", "count", "text"}], newest first, at most `most`. A new reference, NULL when out of
 * memory. */
json_t *admin_events_build(size_t most);

/* The same array, oldest first, as logs are read. Pure but for the stream. */
void admin_events_print(const json_t *events, FILE *out);

#endif
