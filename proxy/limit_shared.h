/* limit_shared.h: a rate limit that several nodes count together: one number for each client in Redis.
 *
 * Redis is asked for each request that this node's own count lets pass, by a script that reads the number,
 * compares and writes in one step. Redis' clock counts, not those of nodes. So with Redis there, what passes
 * at all nodes together in any time t is at most burst + rate * t, as with one node: nothing is added for the
 * number of nodes, for how requests are spread over them, or for how long messages take. The price is one
 * round trip for a request that passes. Who is over the limit costs Redis nothing: each answer says how much
 * of the room is used, this node's table learns it (core/rate.h), and refuses until the time has come.
 *
 * Whatever goes wrong, this node's own count stands, at once when Redis is known to be away, else within the
 * time limit of [redis]. That count always runs along, so there is no other mode to change to. While N nodes
 * have no Redis they let pass N times the rate at most. Each time that it goes and comes back, each node adds
 * at most a burst, less what it knows to be used, and Redis, which has not heard of those requests, one more.
 *
 * Rejected: taking tokens from Redis in batches, so that few requests wait. What one node has taken the
 * others refuse although nobody used it, and with the small limits that are worth sharing (logins) a batch is
 * one. And counting after the fact: then each node lets a burst pass before it hears of the others.
 *
 *   PREFIX limit:DIGEST   the theoretical arrival time in microseconds, by Redis' clock; expires with it
 *
 * The digest is over the route, the rate and who is counted, so nodes with another rate for the route count
 * for themselves, and no address or header stands in Redis. The number is never taken for later than a full
 * room from now, so a clock that is set back does not lock anybody out for longer than the burst takes. */
#ifndef PROXY_LIMIT_SHARED_H
#define PROXY_LIMIT_SHARED_H

#include "core/rate.h"
#include "core/redis.h"

#define LIMIT_SHARED_PREFIX_MAX 64
#define LIMIT_SHARED_NAME_BYTES (LIMIT_SHARED_PREFIX_MAX + 6 + 32)

/* Who is counted by what. */
struct limit_shared_key {
    slice_t route, by, who;
    struct rate_limit rate;
};
/* The name of its number. Empty: out of memory. */
slice_t limit_shared_name(char buf[LIMIT_SHARED_NAME_BYTES], slice_t prefix,
                          const struct limit_shared_key *k);

/* May one more request pass? As redis_call. */
bool limit_shared_ask(struct redis *r, struct redis_call *call, slice_t name, const struct rate_limit *l);

struct limit_shared_answer {
    bool passed;
    rate_ns_t used_ns; /* of the room, this request included if it passed */
};
/* What an answer says. false: it is not one of the script's. */
bool limit_shared_read(const struct redisReply *reply, struct limit_shared_answer *out);

#endif
