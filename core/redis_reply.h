/* redis_reply.h: what servers answer, read: hiredis' reply tree as slices, and the few answers the client
 * itself lives on: a redirection, a role, the address of a master.
 *
 * Pure: a reply in, a verdict out. A reply that is not what the documentation promises is false, never an
 * assertion. The slices point into the reply. */
#ifndef CORE_REDIS_REPLY_H
#define CORE_REDIS_REPLY_H

#include "core/slice.h"

struct redisReader;
struct redisReply;

#define REDIS_ELEMENTS_MAX 65536 /* of one array in a reply */
#define REDIS_SERVER_TEXT  272   /* room for "host:port" or "unix:/path", NUL included */

/* Reads RESP2 and fails on an array of more elements than the above, instead of making room for them. */
struct redisReader *redis_reader_create(void);

/* The bytes of a string, status or error; empty (never NULL) for anything else, NULL included. */
slice_t redis_reply_text(const struct redisReply *r);
bool redis_reply_is_nil(const struct redisReply *r);
/* Element `i` of an array; NULL when there is none. */
const struct redisReply *redis_reply_at(const struct redisReply *r, size_t i);
size_t redis_reply_count(const struct redisReply *r); /* 0 when it is no array */
/* false, and nothing written, when it is no integer. */
bool redis_reply_integer(const struct redisReply *r, int64_t *out);

/* Where a server says another one is. */
struct redis_server {
    slice_t host; /* empty: the one that says so itself */
    uint16_t port;
};
/* "host:port", IPv6 in brackets, as redis_node_open takes it; `self` stands for an empty host. false, and an
 * empty text, when it is too long. */
bool redis_server_format(const struct redis_server *s, slice_t self, char out[REDIS_SERVER_TEXT]);
/* The host of "host:port", without brackets; the whole of "unix:/path". */
slice_t redis_server_host(slice_t server);

enum redis_redirect_kind { REDIS_MOVED, REDIS_ASK };
struct redis_redirect {
    enum redis_redirect_kind kind;
    unsigned slot;
    struct redis_server server;
};
/* "MOVED 3999 127.0.0.1:6381" or "ASK ...", the text of an error. */
bool redis_redirect_parse(slice_t error, struct redis_redirect *out);

/* The answer to ROLE. */
bool redis_role_is_master(const struct redisReply *r);
/* The answer to SENTINEL GET-MASTER-ADDR-BY-NAME. */
bool redis_master_addr_parse(const struct redisReply *r, struct redis_server *out);

#endif
