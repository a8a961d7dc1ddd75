/* access_format.h: a compiled access log format. Private to proxy/access_*.c. */
#ifndef PROXY_ACCESS_FORMAT_H
#define PROXY_ACCESS_FORMAT_H

#include "proxy/access_log.h"
#include "proxy/access_text.h"

enum access_kind {
    ACCESS_KIND_NONE, /* literal only */
    ACCESS_KIND_ISO,
    ACCESS_KIND_CLF,
    ACCESS_KIND_TEXT,
    ACCESS_KIND_UINT,
    ACCESS_KIND_U64,
    ACCESS_KIND_OPT,
    ACCESS_KIND_VERDICT,
    ACCESS_KIND_NO_STORE,
    ACCESS_KIND_FETCH,
    ACCESS_KIND_CLOSE,
};

#define ACCESS_PIECES_MAX 256
#define ACCESS_PIECE_TEXT 32 /* copied whole, so that the copy has a constant length */
#define ACCESS_VALUE_MAX  40 /* longest value that is not a text */

struct access_piece { /* some literal text, then one field */
    char text[ACCESS_PIECE_TEXT];
    uint8_t text_bytes;
    uint8_t kind;    /* enum access_kind */
    bool quoted;     /* JSON: a quote behind the value (the one before is in `text`) */
    uint16_t offset; /* of the member in struct access_record */
};

struct access_format {
    enum access_escape escape;
    bool skip_absent; /* JSON: leave the piece out; else write "-" */
    size_t fixed_max; /* everything but texts, at most, with the slack that copies scribble on */
    size_t texts;     /* pieces that are texts */
    size_t piece_count;
    struct access_piece pieces[];
};

#endif
