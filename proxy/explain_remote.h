/* explain_remote.h: what `explain` says of the store that nodes share: whether the request would look there,
 * what it would find, and whether a response of its kind would be put there.
 *
 * What is there only Redis knows, and only a worker talks to it: the answer goes to one by letter, with its
 * question, and comes back within the time limit of a look-up. Nothing is counted as a request's look-up. */
#ifndef PROXY_EXPLAIN_REMOTE_H
#define PROXY_EXPLAIN_REMOTE_H

#include "proxy/explain_case.h"

/* Whether it would look there: X(id, name, asks, text). */
#define EXPLAIN_REDIS_USES(X)                                                                                \
    X(ASKED, "asked", 1, "looked for there first; what is not there is fetched by one node for all")         \
    X(BACKGROUND, "background", 1, "answered from memory; the fetch that renews it looks there first")       \
    X(GUARDED, "credentials", 1,                                                                             \
      "only the ini file says that what is there is fresh, which does not count for requests with "          \
      "credentials")                                                                                         \
    X(NOT_FRESHER, "not_fresher", 1, "what is there is no fresher than what memory has")                     \
    X(ROUTE_LIMIT, "route_limit", 1, "what is there is larger than max_object_size of the route")            \
    X(STALE, "stale", 1, "brought back into memory as stale as it is, and used or renewed from there")       \
    X(NO_SECTION, "no_redis", 0, "there is no [redis] section")                                              \
    X(NOT_SHARED, "store", 0, "store in [cache] is neither tiered nor redis: nothing is kept in Redis")      \
    X(STOPPING, "stopping", 0, "this server is stopping")                                                    \
    X(MEMORY, "memory", 0, "answered from memory")                                                           \
    X(FETCHING, "fetching", 0, "waits for the fetch that is under way")                                      \
    X(CLIENT, "client", 0, "the client's Cache-Control or Pragma wants it from an instance")                 \
    X(METHOD, "method", 0, "only GET looks there")                                                           \
    X(NO_VARY, "no_vary_search", 0, "its key is made by a No-Vary-Search, which other nodes may not know")   \
    X(SLICE, "slice", 0, "slices are kept in memory only")                                                   \
    X(UNFOLLOWED, "unfollowed", 0,                                                                           \
      "the stream of purges is not followed, so nothing there can be believed and nothing is put there")     \
    X(BYPASS, "", 0, "fetched without looking there")

enum explain_redis_use {
#define X(id, name, asks, text) EXPLAIN_REDIS_##id,
    EXPLAIN_REDIS_USES(X)
#undef X
};

/* Whether its response would be put there: X(id, name, text). */
#define EXPLAIN_REDIS_KEEPS(X)                                                                               \
    X(YES, "kept", "a response like the stored one is put there")                                            \
    X(UNSEEN, "unseen",                                                                                      \
      "what may be stored is put there, unless it is larger than max_object_size of [redis]")                \
    X(NEVER_FRESH, "not_fresh", "never fresh, so of no use to other nodes")                                  \
    X(PART, "part", "parts of responses are not put there")                                                  \
    X(NO_VARY, "no_vary_search", "what has a No-Vary-Search is not put there")                               \
    X(TOO_LARGE, "too_large", "larger than max_object_size of [redis]")                                      \
    X(UNFOLLOWED, "unfollowed", "nothing is put there while the stream of purges is not followed")           \
    X(NOT_STORED, "", "")

enum explain_redis_keep {
#define X(id, name, text) EXPLAIN_KEEP_##id,
    EXPLAIN_REDIS_KEEPS(X)
#undef X
};

/* What is known before Redis is asked. */
struct explain_redis {
    enum explain_redis_use use;
    enum explain_redis_keep keep;
    enum no_store_reason keep_not; /* NOT_STORED */
    uint64_t body_bytes;           /* of what is stored, when `keep` is YES */
    enum no_store_reason credentials;
    bool has_ours; /* memory has a response */
    dur_ms_t ours_left_ms;
    uint64_t route_max_bytes;
    bool takes_stale, is_directed;      /* memory would; the client says what it takes */
    dur_ms_t stale_while_revalidate_ms; /* of the route */
};

/* After explain_decide, inside rcu_enter. */
void explain_remote_decide(const struct explain_case *e, const struct explain_place *p,
                           struct explain_redis *out);
/* The "redis" object of the answer, as far as it is known now. `because` is its "reason". */
void explain_remote_add(json_t *answer, const struct explain_case *e, const struct explain_redis *r,
                        const char *because);
/* Is there something to ask Redis? */
bool explain_remote_asks(const struct explain_case *e, const struct explain_place *p,
                         const struct explain_redis *r);
/* Sends a question and its answer to p->worker. Takes over both, and answers later; false when too many are
 * under way: nothing is taken, and the answer says so. */
bool explain_remote_send(struct exchange **x, json_t **answer, const struct explain_redis *r,
                         const struct explain_place *p, const struct admin_reply *reply);

#endif
