/* redis_url.h: where a Redis server is, as people write it: redis://[user[:password]@]host[:port][/database],
 * rediss:// for TLS, unix:/path[?db=N] or unix:///path.
 *
 * Pure. What is refused is said without a word of the text, since any part of it may be a password that was
 * written wrongly. User and password are percent-encoded (RFC 3986 section 2.1); a path of a socket is not.
 */
#ifndef CONFIG_REDIS_URL_H
#define CONFIG_REDIS_URL_H

#include "core/slice.h"

enum redis_url_scheme { REDIS_URL_PLAIN, REDIS_URL_TLS, REDIS_URL_UNIX };

/* Slices of the text. */
struct redis_url {
    enum redis_url_scheme scheme;
    slice_t username, password; /* encoded, see redis_url_decode; empty = none */
    slice_t host;               /* name, IPv4 or [v6]; with unix: the path */
    uint16_t port;              /* 0 = not given */
    unsigned database;          /* 0 = that, or not given */
};

/* NULL on success, else constant text that goes on after "the url": "has what is wrong; what would be right".
 */
const char *redis_url_parse(slice_t text, struct redis_url *out);
/* A user or password of a parsed url, into at most as many bytes; returns how many. No byte is NUL. */
size_t redis_url_decode(slice_t encoded, char *out);

#define REDIS_URL_SHOWN 512
/* Whether the text holds a password; then `out` is the text (perhaps cut) with stars for it, or, of what is
 * no url, nothing of the text. */
bool redis_url_hide(slice_t text, char out[REDIS_URL_SHOWN]);

#endif
