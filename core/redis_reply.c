/* redis_reply.c: see redis_reply.h. */
#include "core/redis_reply.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdio.h>

#include "core/net.h"
#include "core/redis_slots.h"

static redisReplyObjectFunctions bounded;
static void *(*create_any_array)(const redisReadTask *task, int elements);

static void *create_array(const redisReadTask *task, int elements)
{
    return elements <= REDIS_ELEMENTS_MAX ? create_any_array(task, elements) : NULL;
}

/* The library does not show its own functions, but its readers do. */
static void bounded_init(void)
{
    redisReader *r = redisReaderCreate();
    if (r == NULL)
        return;
    bounded = *r->fn;
    create_any_array = bounded.createArray;
    bounded.createArray = create_array;
    redisReaderFree(r);
}

struct redisReader *redis_reader_create(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, bounded_init);
    return create_any_array != NULL ? redisReaderCreateWithFunctions(&bounded) : NULL;
}

slice_t redis_reply_text(const struct redisReply *r)
{
    bool text = r != NULL && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS ||
                              r->type == REDIS_REPLY_ERROR);
    return text ? slice_make(r->str, (size_t)r->len) : SLICE_EMPTY;
}

bool redis_reply_is_nil(const struct redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_NIL;
}

size_t redis_reply_count(const struct redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_ARRAY ? r->elements : 0;
}

const struct redisReply *redis_reply_at(const struct redisReply *r, size_t i)
{
    return i < redis_reply_count(r) ? r->element[i] : NULL;
}

bool redis_reply_integer(const struct redisReply *r, int64_t *out)
{
    bool integer = r != NULL && r->type == REDIS_REPLY_INTEGER;
    if (integer)
        *out = r->integer;
    return integer;
}

bool redis_server_format(const struct redis_server *s, slice_t self, char out[REDIS_SERVER_TEXT])
{
    slice_t host = s->host.len > 0 ? s->host : self;
    bool v6 = slice_find(host, ':', 0) != SIZE_MAX;
    int n = snprintf(out, REDIS_SERVER_TEXT, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)MIN(host.len, 1024), host.ptr,
                     s->port);
    bool ok = host.len > 0 && n < REDIS_SERVER_TEXT && memchr(host.ptr, '\0', host.len) == NULL;
    if (!ok)
        out[0] = '\0';
    return ok;
}

slice_t redis_server_host(slice_t server)
{
    size_t end = server.len;
    if (slice_starts(server, SLICE_LIT("unix:")))
        return server;
    while (end > 0 && server.ptr[end - 1] != ':')
        end--;
    slice_t host = slice_make(server.ptr, end > 0 ? end - 1 : server.len);
    bool bracketed = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    return bracketed ? slice_make(host.ptr + 1, host.len - 2) : host;
}

/* Up to the next space, which is taken away too; empty at the end. */
static slice_t next_word(slice_t *rest)
{
    size_t end = MIN(slice_find(*rest, ' ', 0), rest->len);
    slice_t word = slice_make(rest->ptr, end);
    size_t next = MIN(end + 1, rest->len);
    *rest = slice_make(rest->ptr + next, rest->len - next);
    return word;
}

bool redis_redirect_parse(slice_t error, struct redis_redirect *out)
{
    slice_t rest = error;
    slice_t kind = next_word(&rest), slot_text = next_word(&rest);
    uint64_t slot;
    if (slice_eq(kind, SLICE_LIT("MOVED")))
        out->kind = REDIS_MOVED;
    else if (slice_eq(kind, SLICE_LIT("ASK")))
        out->kind = REDIS_ASK;
    else
        return false;
    slice_t server = next_word(&rest);
    if (!slice_to_u64(slot_text, &slot) || slot >= REDIS_SLOTS || rest.len > 0 ||
        !net_host_port_split(server, &out->server.host, &out->server.port) || out->server.port == 0)
        return false;
    out->slot = (unsigned)slot;
    return !slice_eq(out->server.host, SLICE_LIT("?")); /* a node that was to announce a name and has none */
}

bool redis_role_is_master(const struct redisReply *r)
{
    return slice_eq(redis_reply_text(redis_reply_at(r, 0)), SLICE_LIT("master"));
}

bool redis_master_addr_parse(const struct redisReply *r, struct redis_server *out)
{
    uint64_t port;
    out->host = redis_reply_text(redis_reply_at(r, 0));
    if (redis_reply_count(r) != 2 || out->host.len == 0 ||
        !slice_to_u64(redis_reply_text(redis_reply_at(r, 1)), &port) || port == 0 || port > UINT16_MAX)
        return false;
    out->port = (uint16_t)port;
    return true;
}
