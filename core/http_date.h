/* http_date.h: HTTP dates (RFC 9110 section 5.6.7). Reads the three formats strictly, writes IMF-fixdate. */
#ifndef CORE_HTTP_DATE_H
#define CORE_HTTP_DATE_H

#include "core/clock.h"
#include "core/slice.h"

#define HTTP_DATE_LEN 29

/* false when `s` is none of IMF-fixdate, RFC 850 or asctime, or names an impossible day or time. `now_s`
 * resolves two-digit years: more than 50 years ahead means the past century. A leap second :60 is taken. */
bool http_date_parse(slice_t s, wall_s_t now_s, wall_s_t *out);

/* Writes HTTP_DATE_LEN bytes, not terminated. */
void http_date_write(char *buf, wall_s_t t);

#endif
