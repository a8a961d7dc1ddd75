/* redis_slots.h: which slot of a Redis Cluster a key belongs to, and which server each slot belongs to. Pure.
 */
#ifndef CORE_REDIS_SLOTS_H
#define CORE_REDIS_SLOTS_H

#include "core/redis_reply.h"

#define REDIS_SLOTS       16384
#define REDIS_SERVERS_MAX 1000 /* masters; what Redis Cluster is made for */
#define REDIS_NO_SERVER   UINT16_MAX

/* CRC16 (XMODEM) of the key, or of what stands between its first '{' and the next '}', if that is not empty.
 */
unsigned redis_key_slot(slice_t key);

/* The servers' hosts point into the reply. */
struct redis_slots {
    size_t server_count;
    struct redis_server servers[REDIS_SERVERS_MAX];
    uint16_t owner[REDIS_SLOTS]; /* index of a server, or REDIS_NO_SERVER */
    unsigned covered;            /* slots with an owner */
};

/* The answer to CLUSTER SLOTS. A range whose master has no address ("?") is as if it were not there. false
 * when the reply has another shape, gives a slot to two masters, or names more of them than the above. */
bool redis_slots_parse(const struct redisReply *r, struct redis_slots *out);

#endif
