/* status_text.h: the status and pools of the API as people read them on a terminal. Pure: JSON and a clock
 * in, text out. What is missing in the JSON (another version's) is left out, never an error. */
#ifndef ADMIN_STATUS_TEXT_H
#define ADMIN_STATUS_TEXT_H

#include <jansson.h>
#include <stdio.h>

#include "core/clock.h"

void admin_status_print(const json_t *status, wall_ms_t now_ms, FILE *out);
/* `pools` is the array of /api/pools. */
void admin_pools_print(const json_t *pools, wall_ms_t now_ms, FILE *out);

#endif
