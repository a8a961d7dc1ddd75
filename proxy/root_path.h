/* root_path.h: from the path of a URL to the name of a file below a route's `root`, and what a file's name
 * says of its type. Pure. */
#ifndef PROXY_ROOT_PATH_H
#define PROXY_ROOT_PATH_H

#include "core/slice.h"

#define ROOT_PATH_BYTES 4096
#define ROOT_INDEX      "index.html"

/* The path (raw, without query), percent-decoded once, relative and NUL-terminated; "index.html" is put
 * behind a slash at its end. false: there is no such file, whatever the folder holds: a segment is empty or
 * begins with a dot (but for /.well-known), or there is a byte that no name should have: NUL, other control
 * characters, a backslash, an encoded slash. */
bool root_path_map(slice_t path, char out[ROOT_PATH_BYTES]);

/* By what follows the last dot; application/octet-stream when that says nothing. Static text. */
const char *root_path_type(slice_t name);

#endif
