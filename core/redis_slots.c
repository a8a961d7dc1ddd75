/* redis_slots.c: see redis_slots.h. CLUSTER SLOTS and not CLUSTER SHARDS: every version answers it. */
#include "core/redis_slots.h"

#include <hiredis/hiredis.h>

#define CRC16_POLYNOMIAL 0x1021

/* Bit by bit: under a microsecond for a key, of the tens that a call takes. */
static uint16_t crc16(slice_t s)
{
    uint16_t crc = 0;
    for (size_t i = 0; i < s.len; i++) {
        crc = (uint16_t)(crc ^ (uint8_t)s.ptr[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ CRC16_POLYNOMIAL : crc << 1);
    }
    return crc;
}

unsigned redis_key_slot(slice_t key)
{
    size_t open = slice_find(key, '{', 0);
    size_t close = open != SIZE_MAX ? slice_find(key, '}', open + 1) : SIZE_MAX;
    if (close != SIZE_MAX && close > open + 1)
        key = slice_make(key.ptr + open + 1, close - open - 1);
    return crc16(key) % REDIS_SLOTS;
}

static bool integer_between(const redisReply *r, long long min, long long max)
{
    return r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer >= min && r->integer <= max;
}

static bool server_eq(const struct redis_server *a, const struct redis_server *b)
{
    return a->port == b->port && slice_eq(a->host, b->host);
}

/* Index of the server, added when it is new; REDIS_NO_SERVER when there are too many. */
static uint16_t slots_find_server(struct redis_slots *s, const struct redis_server *server)
{
    for (size_t i = 0; i < s->server_count; i++) {
        if (server_eq(&s->servers[i], server))
            return (uint16_t)i;
    }
    if (s->server_count == REDIS_SERVERS_MAX)
        return REDIS_NO_SERVER;
    s->servers[s->server_count] = *server;
    return (uint16_t)s->server_count++;
}

/* [first slot, last slot, [host, port, ...] of the master, replicas...] */
static bool slots_parse_range(const redisReply *range, struct redis_slots *out)
{
    const redisReply *first = redis_reply_at(range, 0), *last = redis_reply_at(range, 1);
    const redisReply *master = redis_reply_at(range, 2);
    const redisReply *host = redis_reply_at(master, 0), *port = redis_reply_at(master, 1);
    if (!integer_between(first, 0, REDIS_SLOTS - 1) ||
        !integer_between(last, first->integer, REDIS_SLOTS - 1) || host == NULL ||
        !integer_between(port, 0, UINT16_MAX))
        return false;
    struct redis_server server = {redis_reply_text(host), (uint16_t)port->integer};
    if (server.port == 0 || slice_eq(server.host, SLICE_LIT("?")))
        return true;
    uint16_t owner = slots_find_server(out, &server);
    if (owner == REDIS_NO_SERVER)
        return false;
    for (long long slot = first->integer; slot <= last->integer; slot++) {
        if (out->owner[slot] != REDIS_NO_SERVER)
            return false;
        out->owner[slot] = owner;
        out->covered++;
    }
    return true;
}

bool redis_slots_parse(const struct redisReply *r, struct redis_slots *out)
{
    out->server_count = 0;
    out->covered = 0;
    for (size_t i = 0; i < REDIS_SLOTS; i++)
        out->owner[i] = REDIS_NO_SERVER;
    if (r == NULL || r->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < r->elements; i++) {
        if (!slots_parse_range(r->element[i], out))
            return false;
    }
    return true;
}
