/* secret_file.h: one line of text in a file that only its owner may read: a token, a key. Control thread. */
#ifndef CORE_SECRET_FILE_H
#define CORE_SECRET_FILE_H

#include "core/base.h"

/* The file's text without the line's end, NUL-terminated in `out`, and its length; 0 when there is none, it
 * is no plain file (a link is not followed: who can place one there must not choose what is read), or it is
 * longer. One that others may read is closed to them, which is logged. */
size_t secret_file_read(const char *path, char *out, size_t out_bytes);

/* Writes a line aside and renames it, so that a crash leaves the old file or the new one. The folder is made
 * when it is not there. false with errno. */
bool secret_file_write(const char *path, const char *line);

#endif
