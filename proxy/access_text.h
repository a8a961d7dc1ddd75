/* access_text.h: escaping of untrusted text for log lines. Private to proxy/access_*.c and tests.
 *
 * Two ways. JSON: quote, backslash, controls (C1 too) and bytes that are not UTF-8 become escapes, valid
 * UTF-8 stays. HEX, as nginx does it: quote, backslash, controls and everything from 0x7f up become \xHH.
 * Neither ever lets a CR or LF through. */
#ifndef PROXY_ACCESS_TEXT_H
#define PROXY_ACCESS_TEXT_H

#include "core/slice.h"

enum access_escape { ACCESS_ESCAPE_JSON, ACCESS_ESCAPE_HEX };

#define ACCESS_ESCAPE_WORST 6 /* bytes out per byte in, at most */
#define ACCESS_TEXT_SLACK   8 /* bytes behind the end that access_text_put may scribble on */

/* Writes all of `s`; the end. Needs room for the escaped length plus ACCESS_TEXT_SLACK. */
char *access_text_put(char *to, slice_t s, enum access_escape how);
/* What access_text_put would write; stops counting beyond `enough`. */
size_t access_text_length(slice_t s, enum access_escape how, size_t enough);
/* At most `limit` (>= 3) bytes: all of it, or a beginning and "...". No character is split. */
char *access_text_put_cut(char *to, slice_t s, enum access_escape how, size_t limit);

#endif
